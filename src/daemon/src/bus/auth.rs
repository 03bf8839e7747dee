//! Who may change something. Until polkit is asked: root, and nobody else.
//!
//! The caller is known by the bus daemon's word about the sender of the message, never by anything in the message, and
//! never by a PID. Who cannot be identified is refused.

use super::error::CallError;
use std::future::Future;
use std::pin::Pin;
use zbus::Connection;
use zbus::message::Header;

/// The caller's uid when the call is allowed.
pub type Verdict<'a> = Pin<Box<dyn Future<Output = Result<u32, CallError>> + Send + 'a>>;

/// Decides whether the sender of a call may change something.
pub trait Authority: Send + Sync {
    /// Answers with the caller's uid, or with `AccessDenied`.
    fn allow<'a>(&'a self, connection: &'a Connection, call: &'a Header<'a>) -> Verdict<'a>;
}

/// Allows root only.
#[derive(Debug, Clone, Copy, Default)]
pub struct RootOnly;

impl Authority for RootOnly {
    fn allow<'a>(&'a self, connection: &'a Connection, call: &'a Header<'a>) -> Verdict<'a> {
        Box::pin(async move {
            let uid = caller(connection, call).await?;
            root_only(uid, call)
        })
    }
}

/// The rule itself, for an identified caller.
///
/// # Errors
/// `AccessDenied` for everybody but uid 0.
pub fn root_only(uid: u32, call: &Header<'_>) -> Result<u32, CallError> {
    if uid == 0 {
        return Ok(uid);
    }
    let method = call.member().map_or("this", |member| member.as_str());
    Err(CallError::access_denied(format!("{method} is for root only, and uid {uid} asked")))
}

/// Asks the bus daemon whose connection the call came from.
async fn caller(connection: &Connection, call: &Header<'_>) -> Result<u32, CallError> {
    let sender = call.sender().ok_or_else(|| CallError::access_denied("the call names no sender"))?;
    let bus = Some("org.freedesktop.DBus");
    let asked = connection.call_method(bus, "/org/freedesktop/DBus", bus, "GetConnectionUnixUser", sender).await;
    asked
        .and_then(|reply| reply.body().deserialize())
        .map_err(|error| CallError::access_denied(format!("cannot tell who {sender} is: {error}")))
}
