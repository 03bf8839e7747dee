//! The scenarios: what happens to the servers, and what must become of the mirrors.
//!
//! A scenario starts from a snapshot in which all is well, plays on a [`Stage`], and returns an error that says what
//! was not as it must be. To add one, write a function and a row here.

mod boot;
mod both;
mod both_away;
mod bus;
mod calm;
mod congested;
mod daemon;
mod dmeventd;
mod fallback;
mod harness;
mod history;
mod journald;
mod killed;
mod life;
mod lio;
mod listeners;
mod maintenance;
mod polkit;
mod power;
mod probation;
mod quick;
mod returns;
mod rollback;
mod services;
mod session;
mod shared;
mod split;
mod swapped;
mod upgrade;
mod var_full;

use anyhow::Result;

use crate::stage::Stage;

/// A row of the table.
pub struct Scenario {
    /// As given to `--only`, and the name of its evidence.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// In the set that every change must pass.
    pub core: bool,
    /// Needs the daemon; the others prove that the lab itself can tell right from wrong.
    pub package: bool,
    /// What happens.
    pub play: fn(&mut Stage<'_>) -> Result<()>,
}

const fn with_package(
    name: &'static str,
    core: bool,
    play: fn(&mut Stage<'_>) -> Result<()>,
    about: &'static str,
) -> Scenario {
    Scenario { name, about, core, package: true, play }
}

const fn without(
    name: &'static str,
    core: bool,
    play: fn(&mut Stage<'_>) -> Result<()>,
    about: &'static str,
) -> Scenario {
    Scenario { name, about, core, package: false, play }
}

/// All of them, in the order they run.
pub const SCENARIOS: &[Scenario] = &[
    without("lab-sees-corruption", true, harness::sees_corruption, "a spoilt record and a spoilt leg are found"),
    // A server goes and comes back.
    with_package("cut-b", true, returns::cut_b, "server b's cable is pulled and plugged in again"),
    with_package("cut-a", false, returns::cut_a, "the same with server a, which carries leg 0"),
    with_package("kill-b", false, returns::kill_b, "server b's target dies and is started again"),
    with_package("kill-a", true, returns::kill_a, "the same with server a"),
    with_package("hang-b", false, returns::hang_b, "server b hangs and goes on"),
    with_package("hang-a", false, returns::hang_a, "the same with server a"),
    with_package("lio-cut", false, lio::cut, "server b is LIO; its cable is pulled and plugged in again"),
    with_package("both-servers", false, both::good_one_first, "b is lost, then a; a returns first"),
    with_package("both-servers-stale-first", false, both::stale_one_first, "b is lost, then a; b returns first"),
    with_package(
        "dmeventd-stopped",
        false,
        dmeventd::stopped,
        "a server is lost while dmeventd and its socket are stopped",
    ),
    with_package("flush-kept", false, dmeventd::flush_kept, "a flush fails on a leg that is back before anybody looks"),
    // What comes back is not what went.
    with_package("power-cut", true, power::cut, "a server loses its power and its cache; no stale block is read"),
    with_package("power-cycle", false, power::cycle, "the same before any timeout ran out; nobody told us"),
    without(
        "stock-power-cut",
        false,
        power::stock,
        "the same without the daemon reads stale blocks: the lab sees them",
    ),
    with_package("rolled-back-active", true, rollback::active_b, "a LUN comes back from an older image, under readers"),
    with_package("rolled-back-active-a", false, rollback::active_a, "the same with leg 0"),
    with_package("rolled-back-last-seconds", false, rollback::last_seconds, "only the last writes are missing from it"),
    with_package("rolled-back-off", false, rollback::off_without_gate, "a LUN is older after a boot; LVM activated it"),
    with_package("rolled-back-off-gate", false, rollback::off_with_gate, "the same; activation was ours"),
    with_package("rolled-back-lio", false, lio::rolled_back, "server b is LIO and restarts with an older LUN"),
    with_package("blank-lun", false, swapped::blank, "a blank LUN stands where a leg was"),
    with_package("foreign-lun", false, swapped::foreign, "somebody else's PV stands where a leg was"),
    with_package("smaller-lun", false, swapped::smaller, "the leg comes back on a smaller LUN"),
    // The client goes and comes back.
    with_package("boot-without-b", false, boot::without_b, "the client boots while server b is down; b comes later"),
    with_package(
        "stale-leg-alone",
        false,
        boot::with_the_stale_leg_alone,
        "the client boots with the older leg alone; nothing is activated until the newer one comes",
    ),
    with_package("split-brain-keep-a", true, split::keep_a, "the older leg was written apart; the newer one is kept"),
    with_package("split-brain-keep-b", false, split::keep_b, "the same; the leg that is mounted is kept"),
    with_package("split-brain-two-mirrors", false, split::two_mirrors, "the same; another mirror shares the PVs"),
    with_package("another-machine", false, split::another_machine, "another machine went on with a while b was away"),
    with_package("lost-in-shutdown", false, history::lost_in_shutdown, "a server is lost while the client shuts down"),
    with_package("ledger-deleted", false, history::ledger_deleted, "the ledger is deleted while a leg is lost"),
    // Probation.
    with_package("probation-reads", false, probation::serves_no_reads, "a leg on probation serves not one read"),
    with_package("probation-lost-again", false, probation::lost_again, "a leg on probation is lost again"),
    // One leg fails fast and one waits.
    with_package("quick-cut", true, quick::quick_cut, "the quick server dies silently: seconds, as promised"),
    with_package("anchor-cut", true, quick::anchor_cut, "the anchor dies silently and is fenced"),
    with_package("quick-hang", false, quick::quick_hang, "the quick server hangs; iSCSI's NOPs find it"),
    with_package("anchor-hang", false, quick::anchor_hang, "the anchor hangs; NOPs find it, and it is fenced"),
    with_package("quick-power-cut", false, quick::quick_power_cut, "the quick server loses its power, and its cache"),
    with_package("anchor-power-cut", false, quick::anchor_power_cut, "the anchor loses its power, and its cache"),
    with_package("tuned", false, quick::tuned, "both die, one after the other, with the shortest useful timeouts"),
    with_package("daemon-dead", false, quick::daemon_dead, "the quick server dies while the daemon is dead"),
    with_package("fallback", false, fallback::watched, "sockets out of reach are watched; each server dies silently"),
    with_package("limits-return", false, quick::limits_return, "iscsid and the daemon restarted: limits are back"),
    with_package("both-away", true, both_away::a_minute, "both servers are away for a minute: no write fails"),
    with_package("a-then-b", false, both_away::a_then_b, "a is cut and a second later b; both return together"),
    with_package("b-then-a", false, both_away::b_then_a, "b is cut and a second later a; both return together"),
    with_package("congested", false, congested::link, "loss, delay, a pause and a saturated link cost no leg"),
    with_package(
        "congested-tuned",
        false,
        congested::tuned,
        "the same with the shortest useful timeouts, but for the pause",
    ),
    with_package(
        "anchor-in-probation",
        false,
        both_away::in_probation,
        "the anchor dies while the other leg is on probation: it is waited for",
    ),
    with_package("shared-lun", false, shared::mounted, "another LUN of a session is mounted: it waits, unfenced"),
    with_package("opposite-legs", false, shared::opposite, "another mirror has its legs the other way round"),
    // People, and the daemon itself.
    with_package("logout-login", false, session::logout_login, "target b logged out and in by hand: a new disk name"),
    with_package("iscsid-restart", false, session::iscsid_restart, "iscsid restarted: no leg lost, no alarm"),
    with_package("iscsid-trapped", false, session::iscsid_trapped, "iscsid can never have a session back by itself"),
    with_package("iscsi-upgrade", false, upgrade::open_iscsi, "open-iscsi is upgraded under load: no leg lost"),
    with_package(
        "blocked-leg-bus",
        true,
        bus::answers_while_blocked,
        "the bus answers within a second while a disk is blocked",
    ),
    with_package("daemon-killed", true, daemon::killed_in_a_heal, "the daemon is killed in the middle of a heal"),
    with_package(
        "killed-before-flag",
        false,
        killed::before_the_flag,
        "killed when the PV is restored, the leg not flagged",
    ),
    with_package("command-killed-suspended", false, killed::command_suspended, "an LVM command dies with r1 suspended"),
    with_package("killed-before-steps", false, killed::before_every_step, "killed before each command of a heal"),
    with_package("killed-in-steps", false, killed::in_every_step, "killed during each command of a heal"),
    with_package("killed-after-steps", false, killed::after_every_step, "killed after each command of a heal"),
    // The package comes and goes.
    with_package("gate-on-off", false, life::gate_on_and_off, "the gate closed, and opened again"),
    with_package("gate-fallback", false, life::fallback, "the gate is closed and the daemon does not start"),
    with_package("clean-stop", false, life::stops, "stopped with nothing active, and with a volume mounted"),
    with_package("purge", false, life::purge, "the package is purged behind a closed gate"),
    // The bus, and whom the daemon lives with.
    with_package("polkit", false, polkit::rules, "who may do what: nobody, whom a rule names, and root"),
    with_package(
        "two-listeners",
        false,
        listeners::hear_the_same,
        "two subscribers hear the same events through cut and return, and History() has them",
    ),
    with_package(
        "transcript",
        false,
        listeners::transcript,
        "what the bus says of a cut and a return, as documentation",
    ),
    with_package(
        "bus-gone",
        false,
        services::bus_gone,
        "bus and polkit are killed during a loss, and gone during a heal",
    ),
    with_package("journal-stopped", false, journald::stopped, "journald hangs through cut and return"),
    with_package("var-full", false, var_full::heals_when_there_is_room, "a server is lost and returns with /var full"),
    with_package(
        "maintenance",
        false,
        maintenance::through_a_reboot,
        "out of service under writers and through reboots",
    ),
    with_package("five-flaps", false, calm::five_flaps, "a server comes and goes five times: two resyncs at most"),
    with_package("copies-in-turn", false, calm::in_turn, "three mirrors are healed over one link, one after the other"),
    with_package("idle", false, daemon::idle, "what the daemon costs when nothing happens"),
];
