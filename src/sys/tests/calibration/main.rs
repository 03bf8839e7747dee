//! The model says what the machine said: each test does to the model what was done in the lab and expects the outcome
//! that was measured. Letters and numbers in names and comments are those of `facts/lab.md`.

mod boot;
mod lab;
mod metadata;
mod mirror;
mod raid;
mod servers;
mod split_brain;
mod stalls;
