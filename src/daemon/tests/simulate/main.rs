//! `mirrorkeeperd --simulate` as its users meet it: the program on a private bus, asked and listened to from outside.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise; clippy only knows that of #[test] functions"
)]

mod faults;
#[path = "../contract/members.rs"]
mod members;
mod program;
mod start;
mod stories;
#[allow(dead_code, reason = "the other half of it is for the contract's tests")]
#[path = "../contract/support.rs"]
mod support;
mod verbs;
