//! Calls to the daemon: by whom, and what becomes of them.

use anyhow::{Context, Result, ensure};

use crate::guest::{BUS, Guest};

/// Who is never asked for a password.
pub const ROOT: &str = "root";

/// Somebody without any rights.
pub const VISITOR: &str = "visitor";

/// The root object.
pub const MANAGER: &str = "/org/mirrorkeeper1";

/// Not allowed.
pub const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";

/// Perhaps allowed, if a password could be asked for.
pub const ASK_FIRST: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

/// How a call went: what dbus-send prints of the reply, or the name of the error.
pub type Outcome = std::result::Result<String, String>;

impl Guest {
    /// Makes a user without any rights.
    pub fn add_user(&self, user: &str) -> Result<()> {
        self.sh(&format!("useradd --no-create-home {user}")).map(drop)
    }

    /// A call by a user whom nobody may ask for a password, such as `Mirror.Resolve string:UUID`.
    pub fn call_as(&self, user: &str, path: &str, call: &str) -> Result<Outcome> {
        let exit = self.exec(&["sh", "-c", &send(user, path, call)])?;
        if exit.rc == 0 {
            return Ok(Ok(exit.stdout.trim().to_owned()));
        }
        // "Error org.mirrorkeeper1.Error.Busy: text"
        let name = exit.stderr.trim().strip_prefix("Error ").and_then(|text| text.split(':').next());
        Ok(Err(name.with_context(|| format!("dbus-send said {:?}", exit.stderr))?.to_owned()))
    }

    /// The same by a user who could be asked if he sat at a desk. What busctl says when it is refused; empty if it is not.
    pub fn call_interactively(&self, user: &str, path: &str, call: &str) -> Result<String> {
        let (member, argument) = call.split_once(' ').unwrap_or((call, ""));
        let (interface, method) = member.split_once('.').context("an interface and its method")?;
        let argument = if argument.is_empty() { String::new() } else { busctl_argument(argument)? };
        let script =
            format!("{} busctl --timeout=30 call {BUS} {path} {BUS}.{interface} {method} {argument}", by(user));
        let exit = self.exec(&["sh", "-c", &script])?;
        ensure!((exit.rc == 0) == exit.stderr.is_empty(), "busctl ends with {}: {:?}", exit.rc, exit.stderr);
        Ok(exit.stderr.trim().to_owned())
    }
}

/// The command for a call, for whoever runs it elsewhere.
pub fn send(user: &str, path: &str, call: &str) -> String {
    format!(
        "{} dbus-send --system --print-reply=literal --reply-timeout=60000 --dest={BUS} {path} {BUS}.{call}",
        by(user)
    )
}

fn by(user: &str) -> String {
    if user == ROOT { String::new() } else { format!("runuser -u {user} --") }
}

/// `string:x` is `s x` for busctl.
fn busctl_argument(argument: &str) -> Result<String> {
    let (kind, value) = argument.split_once(':').context("an argument is TYPE:VALUE")?;
    let signature = match kind {
        "string" => "s",
        "uint32" => "u",
        "uint64" => "t",
        other => anyhow::bail!("no argument of type {other}"),
    };
    Ok(format!("{signature} {value}"))
}
