//! One test per behaviour of the engine, told on the bench: a machine, a fault, and what must come of it.
#![allow(clippy::unwrap_used, reason = "a model that cannot go on has failed its test")]

#[path = "../bench/mod.rs"]
mod bench;

mod chaos;
mod healthy;
mod holds;
mod legs;
mod mirrors;
mod never;
mod people;
mod quick;
mod restarts;
mod returns;
mod service;
mod sessions;
mod timeouts;
mod trouble;
mod window;
