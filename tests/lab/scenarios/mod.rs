//! The scenarios: what happens to the servers, and what must become of the mirrors.
//!
//! A scenario starts from a snapshot in which all is well, plays on a [`Stage`], and returns an error that says what
//! was not as it must be. To add one, write a function and a row here.

mod boot;
mod both;
mod bus;
mod daemon;
mod harness;
mod power;
mod returns;
mod session;

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
    with_package("cut-b", true, returns::cut_b, "server b's cable is pulled and plugged in again"),
    with_package("cut-a", false, returns::cut_a, "the same with server a, which carries leg 0"),
    with_package("kill-b", false, returns::kill_b, "server b's target dies and is started again"),
    with_package("kill-a", true, returns::kill_a, "the same with server a"),
    with_package("hang-b", false, returns::hang_b, "server b hangs and goes on"),
    with_package("hang-a", false, returns::hang_a, "the same with server a"),
    with_package("probation-reads", false, returns::probation_reads, "a leg on probation serves not one read"),
    with_package(
        "power-cut",
        true,
        power::cut,
        "a server's power is cut under unflushed writes; no stale block is read",
    ),
    with_package(
        "power-cycle",
        false,
        power::cycle,
        "a server reboots before any timeout; its cache is lost, nobody told us",
    ),
    without(
        "stock-power-cut",
        false,
        power::stock,
        "the same without the daemon reads stale blocks, so the lab can see them",
    ),
    with_package("boot-without-b", false, boot::without_b, "the client boots while server b is down; b comes later"),
    with_package("logout-login", false, session::logout_login, "target b logged out and in by hand: a new disk name"),
    with_package("iscsid-restart", false, session::iscsid_restart, "iscsid restarted: no leg lost, no alarm"),
    with_package("both-servers", false, both::one_after_the_other, "b is lost, then a; both return"),
    with_package(
        "blocked-leg-bus",
        true,
        bus::answers_while_blocked,
        "the bus answers within a second while a disk is blocked",
    ),
    with_package("daemon-killed", true, daemon::killed_in_a_heal, "the daemon is killed in the middle of a heal"),
    with_package("idle", false, daemon::idle, "what the daemon costs when nothing happens"),
];
