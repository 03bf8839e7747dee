//! The TCP connection under an iSCSI session: which one it is, how soon the kernel gives it up, how it is doing, its end.
//!
//! Facts come from sysfs (the kernel's own view of the session's socket), from iscsid's file descriptors, and from
//! sock_diag. All of them answer from memory. Never opens a connection, and never touches a socket that is not to the
//! portal and from the port that sysfs names for the session.

mod connection;
pub mod diag;
mod foreign;
mod user_timeout;
mod watch;

pub use connection::{Connection, Endpoint, connection};
pub use user_timeout::{Miss, set_user_timeout, user_timeout};
pub use watch::Sockets;

#[cfg(test)]
mod testing;
