//! The simulator: a model of servers, network, kernel, LVM and boot with a virtual clock, against which the real engine
//! runs. A seed determines everything; a checker looks at every promise after every event.
//!
//! It must never ask a real clock, do I/O or know what the daemon ought to do: it says what the machine does. Facts come
//! from measurements on the real stack (`facts/lab.md`); the calibration tests show state by state that the model says
//! what the machine said.

pub mod admin;
pub mod boot;
pub mod clock;
pub mod content;
pub mod daemon;
pub mod dm_mirror;
pub mod excuse;
pub mod exec;
pub mod hand;
pub mod io;
pub mod lvm;
pub mod nemesis;
pub mod people;
pub mod raid;
pub mod report;
pub mod rng;
pub mod roles;
pub mod schedule;
pub mod server;
pub mod session;
pub mod truth;
pub mod truth_keeper;
pub mod view;
pub mod volume;
pub mod world;

pub use clock::SECOND;
pub use world::{Plan, World};
