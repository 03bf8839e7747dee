//! Errors as callers see them, and the one place where a refusal of the engine gets its name on the bus.

use crate::history::Unanswered;
use crate::link::NotTaken;
use mirrorkeeper_core::input::{Refusal, Reply};
use zbus::DBusError;
use zbus::message::{Header, Message};
use zbus::names::ErrorName;

/// Authorisation failures keep the name every D-Bus tool knows.
const ACCESS_DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
const INTERACTION_REQUIRED: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

/// The contract has no name of its own for a disk that fails.
const IO_ERROR: &str = "org.freedesktop.DBus.Error.IOError";

/// For what cannot be.
const FAILED: &str = "org.freedesktop.DBus.Error.Failed";

/// An error reply: a name of the contract and a message for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct CallError {
    name: &'static str,
    message: String,
}

impl CallError {
    /// The caller may not do this.
    pub fn access_denied(message: impl Into<String>) -> Self {
        Self { name: ACCESS_DENIED, message: message.into() }
    }

    /// The caller may do this once a person has typed a password, and did not allow to ask for one.
    pub fn interaction_required(message: impl Into<String>) -> Self {
        Self { name: INTERACTION_REQUIRED, message: message.into() }
    }

    /// Too many calls at once.
    pub fn limits_exceeded(message: impl Into<String>) -> Self {
        Self { name: "org.mirrorkeeper1.Error.LimitsExceeded", message: message.into() }
    }

    /// The configuration is refused; where, and what is accepted there.
    pub fn bad_config(message: impl Into<String>) -> Self {
        Self { name: "org.mirrorkeeper1.Error.BadConfig", message: message.into() }
    }

    /// An answer to another question. The engine gives none; a caller is told rather than told wrong.
    pub fn strange(reply: &Reply) -> Self {
        Self { name: FAILED, message: format!("the answer {reply:?} was not asked for") }
    }

    /// The loop did not answer in time.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self { name: "org.mirrorkeeper1.Error.Timedout", message: message.into() }
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        let (name, message) = match refusal {
            Refusal::NoSuchObject(message) => ("org.mirrorkeeper1.Error.NoSuchObject", message),
            Refusal::InvalidArgument(message) => ("org.mirrorkeeper1.Error.InvalidArgument", message),
            Refusal::NotManaged(message) => ("org.mirrorkeeper1.Error.NotManaged", message),
            Refusal::Held(message) => ("org.mirrorkeeper1.Error.Held", message),
            Refusal::Busy(message) => ("org.mirrorkeeper1.Error.Busy", message),
            Refusal::NotHeld(message) => ("org.mirrorkeeper1.Error.NotHeld", message),
            Refusal::LegMissing(message) => ("org.mirrorkeeper1.Error.LegMissing", message),
            Refusal::NotInactive(message) => ("org.mirrorkeeper1.Error.NotInactive", message),
            Refusal::WouldLoseRedundancy(message) => ("org.mirrorkeeper1.Error.WouldLoseRedundancy", message),
            Refusal::LegMismatch(message) => ("org.mirrorkeeper1.Error.LegMismatch", message),
            Refusal::InMaintenance(message) => ("org.mirrorkeeper1.Error.InMaintenance", message),
            Refusal::Paused(message) => ("org.mirrorkeeper1.Error.Paused", message),
            Refusal::ToolFailed(message) => ("org.mirrorkeeper1.Error.ToolFailed", message),
        };
        Self { name, message }
    }
}

impl From<NotTaken> for CallError {
    fn from(reason: NotTaken) -> Self {
        match reason {
            NotTaken::Full => Self::limits_exceeded(reason.to_string()),
            NotTaken::Stopping => Refusal::Busy(reason.to_string()).into(),
        }
    }
}

impl From<Unanswered> for CallError {
    fn from(reason: Unanswered) -> Self {
        match reason {
            Unanswered::Stuck => Self::timed_out(reason.to_string()),
            Unanswered::Unreadable(_) => Self { name: IO_ERROR, message: reason.to_string() },
        }
    }
}

impl DBusError for CallError {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name()).build(&super::wire::text(&self.message))
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::from_static_str_unchecked(self.name)
    }

    fn description(&self) -> Option<&str> {
        Some(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_the_name_of_the_contract() {
        let why = || "why".to_owned();
        for (refusal, name) in [
            (Refusal::NoSuchObject(why()), "org.mirrorkeeper1.Error.NoSuchObject"),
            (Refusal::InvalidArgument(why()), "org.mirrorkeeper1.Error.InvalidArgument"),
            (Refusal::NotManaged(why()), "org.mirrorkeeper1.Error.NotManaged"),
            (Refusal::Held(why()), "org.mirrorkeeper1.Error.Held"),
            (Refusal::Busy(why()), "org.mirrorkeeper1.Error.Busy"),
            (Refusal::NotHeld(why()), "org.mirrorkeeper1.Error.NotHeld"),
            (Refusal::LegMissing(why()), "org.mirrorkeeper1.Error.LegMissing"),
            (Refusal::NotInactive(why()), "org.mirrorkeeper1.Error.NotInactive"),
            (Refusal::WouldLoseRedundancy(why()), "org.mirrorkeeper1.Error.WouldLoseRedundancy"),
            (Refusal::LegMismatch(why()), "org.mirrorkeeper1.Error.LegMismatch"),
            (Refusal::InMaintenance(why()), "org.mirrorkeeper1.Error.InMaintenance"),
            (Refusal::Paused(why()), "org.mirrorkeeper1.Error.Paused"),
            (Refusal::ToolFailed(why()), "org.mirrorkeeper1.Error.ToolFailed"),
        ] {
            let error = CallError::from(refusal);
            assert_eq!((error.name().as_str(), error.description()), (name, Some("why")));
        }
        assert_eq!(CallError::from(NotTaken::Full).name().as_str(), "org.mirrorkeeper1.Error.LimitsExceeded");
        assert_eq!(CallError::bad_config("").name().as_str(), "org.mirrorkeeper1.Error.BadConfig");
        assert_eq!(CallError::access_denied("").name().as_str(), "org.freedesktop.DBus.Error.AccessDenied");
        for error in [CallError::limits_exceeded("x"), CallError::timed_out("x"), NotTaken::Stopping.into()] {
            assert!(ErrorName::try_from(error.name().as_str()).is_ok(), "{error}");
        }
    }
}
