//! What each hold means and what to do about it: the one place for these texts. The command prints them; the catalog
//! entry for `held` lists them, and a test of the daemon keeps it so.
//!
//! A hold is never an error of the user's making, so a text says what is the case, what happens by itself, and what a
//! person can do. A code that is not here comes from a newer service.

/// A hold code of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The word on the bus.
    pub code: &'static str,
    /// What it means, what to do.
    pub text: &'static str,
    /// The command that ends it, with `MIRROR` for the mirror's name; empty where no command of ours does.
    command: &'static str,
}

impl Hold {
    /// Whether it lasts until a person decides.
    pub fn is_for_a_person(&self) -> bool {
        self.command == RESOLVE
    }

    /// The command that ends it, where there is one. `PV_UUID` in it is for a person to fill in.
    pub fn command(&self, mirror: &str) -> Option<String> {
        (!self.command.is_empty()).then(|| self.command.replace("MIRROR", mirror))
    }
}

/// Keeps one leg and copies the others anew.
const RESOLVE: &str = "mirrorkeeper resolve MIRROR --keep PV_UUID";

/// Does not wait any longer.
const HEAL: &str = "mirrorkeeper heal MIRROR";

const fn hold(code: &'static str, text: &'static str, command: &'static str) -> Hold {
    Hold { code, text, command }
}

/// Every hold code, from the gravest to the most harmless.
pub const HOLDS: [Hold; 21] = [
    hold(
        "split-brain",
        "Legs were written apart from each other; no program can know which one is right. Decide which to keep and save \
         what you need from the other. Do not refresh, repair or activate the volume by hand.",
        RESOLVE,
    ),
    hold(
        "rolled-back-leg",
        "A leg is older than it was when it was lost: its LUN was put back from an image, or its server lost writes. \
         Keep another leg, unless the older data is what you want.",
        RESOLVE,
    ),
    hold(
        "stale-leg",
        "Only a leg is there that is known to be older. Bring back the server with the newer one and all is healed by \
         itself. If that one is gone for good, keep the older leg and lose what was written after it.",
        RESOLVE,
    ),
    hold(
        "identity-mismatch",
        "The device is not the leg that it should be: another PV, VG, size or disk. Export the right LUN again. For a \
         disk that was replaced: pvcreate, vgextend, lvconvert --repair.",
        "",
    ),
    hold(
        "blank-device",
        "The device holds nothing where the leg was. Export the right LUN again. For a disk that was replaced: pvcreate, \
         vgextend, lvconvert --repair.",
        "",
    ),
    hold(
        "no-history",
        "A leg was already out of sync when it was first seen, or what was remembered of it is gone, so nobody knows who \
         is right. Compare the legs in `mirrorkeeper status` and choose the one to keep.",
        RESOLVE,
    ),
    hold(
        "unverified-only",
        "The last proven leg is gone and one that was not checked yet serves. Bring back the server of the proven one; \
         it goes on by itself.",
        "",
    ),
    hold(
        "needs-operator",
        "Something has to be done that is never done without a person; the details say what. A raid10 is healed when \
         verify = \"never\" is configured for it: its returned leg is then read without a check.",
        "",
    ),
    hold(
        "unmanaged-user",
        "Another volume in use on the same PV forbids the step. Unmount and deactivate that one, or move it elsewhere.",
        "",
    ),
    hold(
        "ledger-unwritable",
        "What is to be remembered cannot be written, and without it nothing is begun. Look at the disk of \
         /var/lib/mirrorkeeper: full, read-only, broken?",
        "",
    ),
    hold(
        "unreadable",
        "Something needed for the decision could not be read; the details say what. It is tried again.",
        "",
    ),
    hold(
        "vg-incomplete",
        "Another PV of the volume group is missing, and LVM refuses the step until it is back. Bring back its server.",
        "",
    ),
    hold(
        "device-blocked",
        "The connection to a disk is lost and I/O to it waits, so LVM would hang. It goes on when the server is back or \
         the timeout is over.",
        "",
    ),
    hold(
        "last-server",
        "All servers vanished together, which speaks for this machine's own network. Look there first. It goes on when \
         they are back.",
        "",
    ),
    hold("maintenance", "Its server is in maintenance. It goes on when that is over.", ""),
    hold("paused", "Healing was switched off by a person. It goes on when it is switched on again.", ""),
    hold(
        "flapping",
        "The server came and went too often and is waited for longer each time. See why it does: power, network, target \
         service.",
        HEAL,
    ),
    hold("back-off", "The last try failed, and the next one comes by itself. The job says why it failed.", HEAL),
    hold("vg-busy", "Another command works on the volume group. It goes on when that has ended.", ""),
    hold(
        "queued",
        "Another operation comes first, or the hours for comparisons have not begun (`[resync] window`). It goes on by \
         itself; of these hours a person who asks for healing is free.",
        "",
    ),
    hold("settling", "The server is back, and has to stay up for a while first. It goes on by itself.", HEAL),
];

/// The texts for a code.
pub fn find(code: &str) -> Option<&'static Hold> {
    HOLDS.iter().find(|hold| hold.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_the_mirror() {
        let command = |code| find(code).and_then(|hold| hold.command("vg0/lv"));
        assert_eq!(command("split-brain").as_deref(), Some("mirrorkeeper resolve vg0/lv --keep PV_UUID"));
        assert_eq!(command("settling").as_deref(), Some("mirrorkeeper heal vg0/lv"));
        assert_eq!(command("maintenance"), None);
        assert_eq!(find("a-new-word"), None);
    }

    #[test]
    fn exactly_what_resolve_ends_says_so() {
        let ended: Vec<_> = HOLDS.iter().filter(|hold| hold.command == RESOLVE).map(|hold| hold.code).collect();
        assert_eq!(ended, ["split-brain", "rolled-back-leg", "stale-leg", "no-history"], "as in the contract");
    }
}
