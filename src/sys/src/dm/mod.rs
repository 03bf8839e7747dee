//! Device-mapper, read only: what devices there are, what their tables say, how their legs are.
//!
//! Must never suspend, load, message or remove: those wait for storage, and status, table, list and deps do not
//! (`facts/lvm.md` 2). Formats: `include/uapi/linux/dm-ioctl.h`, `Documentation/admin-guide/device-mapper/dm-raid.rst`,
//! `drivers/md/dm-raid1.c`; quirks in `facts/lvm.md` 1.

mod control;
mod events;
pub mod status;
pub mod wire;

pub use control::Control;
pub use events::Events;
