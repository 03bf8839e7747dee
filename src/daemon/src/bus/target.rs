//! `org.mirrorkeeper1.Target`: one IQN at one portal, as a node record, a session or both.

use super::auth::Action;
use super::error::CallError;
use super::gate::Gate;
use super::objects::listed;
use super::{Exported, path, wire};
use mirrorkeeper_core::ids::TargetKey;
use mirrorkeeper_core::input::{Command, Refusal};
use mirrorkeeper_core::observation::Startup;
use mirrorkeeper_core::snapshot::TargetView;
use tokio::sync::watch;
use zbus::message::Header;
use zbus::{Connection, OwnedObjectPath, interface};

/// Longest replacement timeout that can be set, in seconds: a day. Longer than that, nobody means a number.
const LONGEST: u32 = 86_400;

/// There is no session, or no node record.
const NONE: i32 = -2;

/// A target object.
pub struct Target {
    key: TargetKey,
    view: watch::Receiver<TargetView>,
    gate: Gate,
}

impl Target {
    fn show<T>(&self, value: impl FnOnce(&TargetView) -> T) -> T {
        value(&self.view.borrow())
    }
}

impl Exported for Target {
    type Key = TargetKey;
    type View = TargetView;

    fn new(key: &TargetKey, view: watch::Receiver<TargetView>, gate: Gate) -> Self {
        Self { key: key.clone(), view, gate }
    }

    fn path(key: &TargetKey) -> OwnedObjectPath {
        path::target(key)
    }
}

#[interface(name = "org.mirrorkeeper1.Target", introspection_docs = false)]
impl Target {
    #[zbus(property)]
    fn iqn(&self) -> String {
        wire::text(&self.key.iqn)
    }

    #[zbus(property)]
    fn portal(&self) -> String {
        wire::text(&self.key.portal)
    }

    #[zbus(property)]
    fn interface(&self) -> String {
        wire::text(&self.key.iface)
    }

    #[zbus(property)]
    fn server(&self) -> OwnedObjectPath {
        self.show(|t| if t.server.is_empty() { path::none() } else { path::server(&t.server) })
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.show(|t| t.state.word())
    }

    #[zbus(property, name = "SinceUSec")]
    fn since_usec(&self) -> u64 {
        self.show(|t| t.since.0)
    }

    #[zbus(property)]
    fn session_id(&self) -> i32 {
        self.show(|t| t.sid.and_then(|sid| i32::try_from(sid).ok()).unwrap_or(-1))
    }

    #[zbus(property)]
    fn disks(&self) -> Vec<String> {
        self.show(|t| t.disks.iter().map(|disk| wire::text(disk)).collect())
    }

    #[zbus(property)]
    fn startup(&self) -> &'static str {
        self.show(|t| match t.startup {
            Some(Startup::Automatic) => "automatic",
            Some(Startup::Manual) => "manual",
            Some(Startup::Onboot) => "onboot",
            None => "none",
        })
    }

    #[zbus(property)]
    fn managed(&self) -> bool {
        self.show(|t| t.managed)
    }

    #[zbus(property)]
    fn replacement_timeout_sec(&self) -> i32 {
        self.show(|t| t.replacement_timeout.unwrap_or(NONE))
    }

    #[zbus(property)]
    fn configured_replacement_timeout_sec(&self) -> i32 {
        self.show(|t| t.configured_timeout.unwrap_or(NONE))
    }

    #[zbus(property)]
    fn timeout_reason(&self) -> &'static str {
        self.show(|t| t.timeout_reason.word())
    }

    #[zbus(property, name = "DetectTimeoutUSec")]
    fn detect_timeout_usec(&self) -> u64 {
        self.show(|t| t.detect_timeout.map_or(0, |timeout| wire::micros_or_max(Some(timeout))))
    }

    #[zbus(property, name = "StallEstimateUSec")]
    fn stall_estimate_usec(&self) -> u64 {
        self.show(|t| wire::micros_or_max(t.stall_estimate))
    }

    #[zbus(property)]
    fn last_error(&self) -> String {
        self.show(|t| wire::text(&t.last_error))
    }

    #[zbus(property, name = "NextAttemptAtUSec")]
    fn next_attempt_at_usec(&self) -> u64 {
        self.show(|t| wire::micros_or_never(t.next_attempt))
    }

    #[zbus(property)]
    fn attempts(&self) -> u32 {
        self.show(|t| t.attempts)
    }

    #[zbus(out_args("job"))]
    async fn reconnect(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<OwnedObjectPath, CallError> {
        let target = self.key.clone();
        self.gate.ask_for_job(connection, &call, Action::Heal, |uid| Ok(Command::Reconnect { target, uid })).await
    }

    async fn set_replacement_timeout(
        &self,
        seconds: u32,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        let target = self.key.clone();
        let command = |uid| match seconds {
            0..=LONGEST => Ok(Command::SetReplacementTimeout { target, seconds, uid }),
            _ => Err(Refusal::InvalidArgument(format!("{seconds} s: 1 to {LONGEST}, or 0 for automatic")).into()),
        };
        self.gate.ask(connection, &call, Action::Tune, command).await.map(drop)
    }
}

listed!(Target {
    "Iqn": iqn,
    "Portal": portal,
    "Interface": interface,
    "Server": server,
    "State": state,
    "SinceUSec": since_usec,
    "SessionId": session_id,
    "Disks": disks,
    "Startup": startup,
    "Managed": managed,
    "ReplacementTimeoutSec": replacement_timeout_sec,
    "ConfiguredReplacementTimeoutSec": configured_replacement_timeout_sec,
    "TimeoutReason": timeout_reason,
    "DetectTimeoutUSec": detect_timeout_usec,
    "StallEstimateUSec": stall_estimate_usec,
    "LastError": last_error,
    "NextAttemptAtUSec": next_attempt_at_usec,
    "Attempts": attempts,
});
