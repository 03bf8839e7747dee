//! What can go wrong between a client and the service, sorted by what the caller can do about it.

use zbus::fdo;

/// Prefix of the service's own error names.
const PREFIX: &str = "org.mirrorkeeper1.Error.";

/// Result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No bus, no service on it, or no answer.
    #[error("{0}")]
    Unreachable(String),
    /// The caller may not do this.
    #[error("{0}")]
    AccessDenied(String),
    /// The service refuses, with an error of the contract.
    #[error("{message}")]
    Refused {
        /// Its name without the prefix: `NoSuchObject`, `Held`, …
        code: String,
        /// For a person.
        message: String,
    },
    /// Anything else.
    #[error("D-Bus: {0}")]
    Bus(zbus::Error),
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        use fdo::Error as Fdo;
        match &error {
            zbus::Error::MethodError(name, message, _) => match name.as_str().strip_prefix(PREFIX) {
                Some(code) => Self::Refused { code: code.to_owned(), message: message.clone().unwrap_or_default() },
                None => Self::Bus(error),
            },
            zbus::Error::FDO(standard) => match standard.as_ref() {
                Fdo::AccessDenied(message) | Fdo::InteractiveAuthorizationRequired(message) => {
                    Self::AccessDenied(message.clone())
                }
                Fdo::ServiceUnknown(message)
                | Fdo::NameHasNoOwner(message)
                | Fdo::NoReply(message)
                | Fdo::TimedOut(message)
                | Fdo::Timeout(message)
                | Fdo::Disconnected(message) => Self::Unreachable(message.clone()),
                _ => Self::Bus(error),
            },
            zbus::Error::InputOutput(reason) => Self::Unreachable(reason.to_string()),
            _ => Self::Bus(error),
        }
    }
}
