//! Processes as procfs shows them: which iscsid looks after the sessions, and whether an LVM command is at work.

use crate::error::{Error, Result};
use crate::{Roots, text};
use mirrorkeeper_core::observation::ProcessObs;
use std::fs;

/// LVM verbs that can leave a device suspended for a moment, or mend one that is. Reports are not among them: one of
/// our own must not look like somebody at work.
const LVM_VERBS: [&str; 32] = [
    "lvchange",
    "lvconvert",
    "lvcreate",
    "lvextend",
    "lvpoll",
    "lvreduce",
    "lvremove",
    "lvrename",
    "lvresize",
    "pvchange",
    "pvcreate",
    "pvmove",
    "pvremove",
    "pvresize",
    "pvscan",
    "vgcfgrestore",
    "vgchange",
    "vgck",
    "vgconvert",
    "vgcreate",
    "vgexport",
    "vgextend",
    "vgimport",
    "vgimportclone",
    "vgimportdevices",
    "vgmerge",
    "vgmknodes",
    "vgreduce",
    "vgremove",
    "vgrename",
    "vgscan",
    "vgsplit",
];

/// The iscsid in charge: the one its pid file names, else the youngest process of that name (it forks a logger first).
pub fn iscsid(roots: &Roots) -> Result<Option<ProcessObs>> {
    let named = text::optional(&roots.run.join("iscsid.pid"))?.and_then(|pid| pid.parse().ok());
    if let Some(process) = named.and_then(|pid| alive(roots, pid, "iscsid")) {
        return Ok(Some(process));
    }
    let found = pids(roots)?.into_iter().filter_map(|pid| alive(roots, pid, "iscsid"));
    Ok(found.max_by_key(|p| (p.start, p.pid)))
}

/// Whether a process runs an LVM command that changes something. dmeventd's own repairs run inside dmeventd and
/// cannot be seen.
pub fn lvm_running(roots: &Roots) -> Result<bool> {
    Ok(pids(roots)?.into_iter().any(|pid| lvm_at_work(roots, pid).is_some()))
}

/// A process that runs an LVM command that changes something.
fn lvm_at_work(roots: &Roots, pid: u32) -> Option<Command> {
    let comm = text::read(&roots.proc.join(pid.to_string()).join("comm")).ok()?;
    let arguments = arguments(roots, pid);
    // `lvm` alone says nothing: the verb is its first argument, and without one it is an interactive shell.
    let at_work = match comm.as_str() {
        "lvm" => arguments.get(1).is_none_or(|verb| LVM_VERBS.contains(&verb.as_str())),
        verb => LVM_VERBS.contains(&verb),
    };
    let process = at_work.then(|| alive(roots, pid, &comm)).flatten()?;
    Some(Command { process, comm, arguments })
}

/// An LVM command at work.
#[derive(Debug)]
struct Command {
    process: ProcessObs,
    comm: String,
    arguments: Vec<String>,
}

/// LVM commands of an earlier run of the service: a writer is never killed, so it outlives the daemon that began it.
#[derive(Debug, Default)]
pub struct LeftOver(Vec<Command>);

impl LeftOver {
    /// Those in our own control group. To be called before any command of this run.
    ///
    /// One that was told to go on in the background (`-b`) is left out: it may wait for the end of a copy for hours, and what it
    /// writes before that is a leg that is wanted.
    ///
    /// # Errors
    /// No list of processes.
    pub fn find(roots: &Roots) -> Result<Self> {
        let group = |pid: &str| text::read(&roots.proc.join(pid).join("cgroup")).ok();
        let own = group("self");
        let ours = |pid: &u32| own.is_some() && group(&pid.to_string()) == own;
        let found = pids(roots)?.into_iter().filter(ours).filter_map(|pid| lvm_at_work(roots, pid));
        let waits = |command: &Command| command.arguments.iter().any(|word| word == "-b");
        Ok(Self(found.filter(|command| !waits(command)).collect()))
    }

    /// The command lines of those that are not at their end.
    pub fn look(&mut self, roots: &Roots) -> Vec<String> {
        self.0.retain(|c| alive(roots, c.process.pid, &c.comm) == Some(c.process));
        self.0.iter().map(|c| c.arguments.join(" ")).collect()
    }
}

fn pids(roots: &Roots) -> Result<Vec<u32>> {
    let entries = fs::read_dir(&roots.proc).map_err(|e| Error::io(format!("list {}", roots.proc.display()), e))?;
    Ok(entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// The process of that id, if it has that name and is no zombie.
fn alive(roots: &Roots, pid: u32, comm: &str) -> Option<ProcessObs> {
    let stat = text::read(&roots.proc.join(pid.to_string()).join("stat")).ok()?;
    let (name, state, start) = stat_fields(&stat)?;
    (name == comm && !matches!(state, "Z" | "X")).then_some(ProcessObs { pid, start })
}

/// Name, state and start time (fields 2, 3 and 22) of `/proc/PID/stat`. The name stands in parentheses and may hold
/// spaces and parentheses itself, so fields are counted from the last one.
fn stat_fields(stat: &str) -> Option<(&str, &str, u64)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    Some((name, state, fields.nth(18)?.parse().ok()?))
}

fn arguments(roots: &Roots, pid: u32) -> Vec<String> {
    let line = fs::read(roots.proc.join(pid.to_string()).join("cmdline")).unwrap_or_default();
    let words = line.split(|b| *b == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn stat(pid: u32, comm: &str, state: &str, start: u64) -> String {
        format!("{pid} ({comm}) {state} 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 10 -10 1 0 {start} 1000 100")
    }

    fn process(dir: &TempDir, pid: u32, comm: &str, state: &str, start: u64, cmdline: &str) {
        dir.write(&format!("proc/{pid}/comm"), comm);
        dir.write(&format!("proc/{pid}/stat"), &stat(pid, comm, state, start));
        dir.write(&format!("proc/{pid}/cmdline"), cmdline);
    }

    #[test]
    fn stat_is_read_past_any_name() {
        assert_eq!(stat_fields(&stat(7, "a) R 1 (b", "S", 99)), Some(("a) R 1 (b", "S", 99)));
        for broken in ["", "1", "1 (x", "1 (x)", "1 (x) S 1 2", ")("] {
            assert_eq!(stat_fields(broken), None, "{broken}");
        }
    }

    #[test]
    fn iscsid_comes_from_its_pid_file_when_that_is_true() {
        let dir = TempDir::new();
        let roots = Roots::under(dir.path());
        process(&dir, 10, "iscsid", "S", 500, "");
        process(&dir, 11, "iscsid", "S", 500, "");
        process(&dir, 12, "sshd", "S", 900, "");
        assert_eq!(iscsid(&roots).unwrap(), Some(ProcessObs { pid: 11, start: 500 }), "the younger one");
        dir.write("run/iscsid.pid", "10\n");
        assert_eq!(iscsid(&roots).unwrap(), Some(ProcessObs { pid: 10, start: 500 }));
        dir.write("run/iscsid.pid", "12\n");
        assert_eq!(iscsid(&roots).unwrap(), Some(ProcessObs { pid: 11, start: 500 }), "a stale pid file");
    }

    #[test]
    fn nobody_is_iscsid() {
        let dir = TempDir::new();
        process(&dir, 10, "iscsid", "Z", 500, "");
        assert_eq!(iscsid(&Roots::under(dir.path())).unwrap(), None);
    }

    #[test]
    fn a_command_of_an_earlier_run_is_seen_until_its_end() {
        let dir = TempDir::new();
        let roots = Roots::under(dir.path());
        let (own, other) = ("0::/system.slice/mirrorkeeper.service\n", "0::/user.slice\n");
        dir.write("proc/self/cgroup", own);
        for (pid, group, verb) in [
            (10, own, "lvconvert\0-y"),
            (11, other, "lvconvert\0-y"),
            (12, own, "lvconvert\0-b"),
            (13, own, "fullreport"),
        ] {
            process(&dir, pid, "lvm", "S", 7, &format!("lvm\0{verb}\0vg0/r1\0"));
            dir.write(&format!("proc/{pid}/cgroup"), group);
        }
        let mut left = LeftOver::find(&roots).unwrap();
        assert_eq!(left.look(&roots), ["lvm lvconvert -y vg0/r1"]);
        // Its number is another one's now.
        process(&dir, 10, "lvm", "S", 8, "lvm\0lvconvert\0-y\0");
        assert!(left.look(&roots).is_empty());
    }

    #[test]
    fn only_living_lvm_commands_that_change_something_count() {
        let table = [
            ("lvm", "S", "/usr/sbin/lvm\0lvchange\0--refresh\0", true),
            ("lvm", "S", "/usr/sbin/lvm\0fullreport\0-a\0", false),
            ("lvm", "S", "lvm\0", true),
            ("lvconvert", "D", "lvconvert\0", true),
            ("lvconvert", "Z", "", false),
            ("lvs", "S", "lvs\0", false),
            ("pvestatd", "S", "pvestatd\0", false),
        ];
        for (comm, state, cmdline, wanted) in table {
            let dir = TempDir::new();
            process(&dir, 10, comm, state, 1, cmdline);
            assert_eq!(lvm_running(&Roots::under(dir.path())).unwrap(), wanted, "{comm} {state} {cmdline:?}");
        }
    }
}
