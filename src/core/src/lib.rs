//! The pure half of mirrorkeeper: what is seen goes in, what to do comes out.
//!
//! [`engine::Engine::step`] takes the time and one input and returns effects. Nothing here reads a clock, a file, a socket or
//! a random number, and nothing here waits; so every decision can be tested from a table, and a simulated world can
//! replay years in a second. The manifest depends on serde and thiserror only, and keeps it so.

pub mod arbiter;
pub mod at_a_loss;
pub mod boot;
pub mod cancel;
pub mod continuity;
pub mod detect;
pub mod diagnose;
pub mod engine;
pub mod fence;
pub mod forecast;
pub mod ids;
pub mod incident;
pub mod input;
pub mod jobs;
pub mod lasting;
pub mod ledger;
pub mod limit;
mod link;
pub mod maintenance;
pub mod mirror;
pub mod name;
pub mod notes;
pub mod observation;
pub mod op;
pub mod pause;
pub mod plan;
mod progress;
pub mod raid1;
mod requests;
pub mod resolve;
pub mod roles;
pub mod safety;
mod scrub;
mod server_view;
pub mod servers;
mod service;
pub mod session;
pub mod settings;
pub mod silence;
pub mod snapshot;
pub mod stall;
pub mod stamp;
pub mod takedown;
pub mod time;
pub mod timeouts;
pub mod topology;
mod trapped;
pub mod trust;
mod upkeep;
pub mod view;
pub mod watch;
pub mod window;
pub mod wishes;
pub mod witness;
pub mod words;
pub mod world;
