//! The D-Bus contract, tested on a private bus with a stand-in for the loop: what is served, what is announced and when,
//! and how the service lives with its bus and its callers.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise; clippy only knows that of #[test] functions"
)]

mod calls;
mod flood;
mod history;
mod inhibit;
mod introspection;
mod life;
mod members;
mod page;
mod polkit;
mod signals;
mod support;
