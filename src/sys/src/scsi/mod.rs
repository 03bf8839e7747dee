//! Keys registered with a SCSI target (SPC persistent reservations), as a witness that it did not restart.
//!
//! Only ever registers or takes away our own key; never makes, takes over or clears a reservation, and touches nothing
//! where somebody else's key or a reservation is. What a target says to a registration is not believed, only what
//! reading the keys says afterwards: LIO refuses one that it carries out (`facts/lab.md` E). Building and parsing are
//! pure ([`reservation`], [`sense`]); the ioctl waits for the disk and belongs into a child.

mod disk;
pub mod registration;
pub mod reservation;
pub mod sense;

pub use disk::Disk;
pub use registration::{read, register, unregister};
