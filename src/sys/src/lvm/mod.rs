//! What LVM says about its metadata. The command itself is run by the caller, in a child with a deadline, and never
//! while a device is blocked (`facts/lvm.md` 3).

pub(crate) mod config;
pub mod report;
