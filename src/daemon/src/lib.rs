//! The shell of mirrorkeeper: everything of the daemon that waits, reads, writes or runs.
//!
//! [`reactor`] is the one loop and the only owner of the engine. What it decides is carried out by [`execute`] and
//! [`ledgerfile`] and shown by [`publish`], [`journal`] and [`systemd`]. None of them decides anything.

pub mod audience;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod execute;
pub mod history;
pub mod hooks;
pub mod identity;
pub mod inhibit;
pub mod journal;
pub mod ledgerfile;
pub mod link;
pub mod offline;
pub mod publish;
pub mod reactor;
pub mod sense;
#[cfg(feature = "simulate")]
pub mod simulate;
pub mod survive;
pub mod systemd;
