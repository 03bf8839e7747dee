//! Kernel multicasts that say "look again": iSCSI events and uevents. And one message to the kernel.
//!
//! Wake-ups only; the truth is in sysfs (`facts/iscsi.md` 2 and 7). Must never log a payload: login responses may
//! carry CHAP text.

pub mod iscsi;
mod socket;
pub mod stop;
pub mod uevent;
