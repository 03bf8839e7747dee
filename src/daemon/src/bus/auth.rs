//! Who may change something: root always, others when polkit says so, and nobody else.
//!
//! The caller is known by the bus daemon's word about the sender of the message, never by anything in the message, and
//! never by a PID, which may be another process by now. A person is asked for a password only if the caller said with the
//! message that it can wait for that. Without polkit, or when it does not answer, only root may. Healing never comes
//! through here.

use super::error::CallError;
use super::limits::Limits;
use mirrorkeeper_core::words::Operation;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;
use zbus::message::{Flags, Header};
use zbus::proxy::{Builder, CacheProperties, MethodFlags};
use zbus::{Connection, Proxy, Variant};

/// The caller's uid when the call is allowed.
pub type Verdict<'a> = Pin<Box<dyn Future<Output = Result<u32, CallError>> + Send + 'a>>;

/// Calls of one user that may wait for polkit. A person answers one question at a time; without this, some connections
/// that never answer theirs would take all permits from everybody else.
const WAITING: usize = 8;

/// Flag of `CheckAuthorization`: a person may be asked.
const ALLOW_USER_INTERACTION: u32 = 1;

/// What there is to be allowed: the actions of `packaging/polkit/org.mirrorkeeper1.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To do now what is done anyway, or to have it stopped for a while.
    Heal,
    /// To set numbers.
    Tune,
    /// To take a server out, to activate, to leave a VG alone.
    Maintain,
    /// To choose between legs.
    Resolve,
}

impl Action {
    /// Its name in polkit.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Heal => "org.mirrorkeeper1.heal",
            Self::Tune => "org.mirrorkeeper1.tune",
            Self::Maintain => "org.mirrorkeeper1.maintain",
            Self::Resolve => "org.mirrorkeeper1.resolve",
        }
    }
}

/// What it takes to ask for an operation, and to cancel it.
impl From<Operation> for Action {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Reconnect | Operation::Heal | Operation::Check => Self::Heal,
            Operation::Activate | Operation::Forget | Operation::EnterMaintenance | Operation::LeaveMaintenance => {
                Self::Maintain
            }
            Operation::Resolve => Self::Resolve,
        }
    }
}

/// Decides whether the sender of a call may change something.
pub trait Authority: Send + Sync {
    /// Answers with the caller's uid.
    fn allow<'a>(&'a self, connection: &'a Connection, call: &'a Header<'a>, action: Action) -> Verdict<'a>;
}

/// What does not depend on polkit. Other values than the default are for tests, all of whose callers have one uid.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The uid that is not asked about.
    pub root: u32,
    /// How long polkit may take to look at its rules. 15 s: it may have to be started by the bus first.
    pub answer: Duration,
    /// How long a person may take to type a password. 2 min: longer than that, nobody sits there.
    pub person: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { root: 0, answer: Duration::from_secs(15), person: Duration::from_secs(120) }
    }
}

/// Asks polkit for everybody but root.
#[derive(Debug)]
pub struct Polkit {
    terms: Terms,
    waiting: Limits<u32>,
    /// Names a question, so that it can be withdrawn.
    next: AtomicU64,
}

impl Polkit {
    /// Nobody waits for an answer yet.
    pub fn new(terms: Terms) -> Self {
        Self { terms, waiting: Limits::new(WAITING), next: AtomicU64::new(0) }
    }

    async fn ask(&self, connection: &Connection, call: &Header<'_>, uid: u32, action: Action) -> Result<(), CallError> {
        let full = || CallError::limits_exceeded(format!("{WAITING} calls of uid {uid} wait for an answer already"));
        let _permit = self.waiting.take(uid).ok_or_else(full)?;
        let interactive = call.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        let question = Question {
            sender: sender(call)?,
            action: action.id(),
            interactive,
            id: format!("mirrorkeeper-{}", self.next.fetch_add(1, Ordering::Relaxed)),
        };
        let patience = if interactive { self.terms.person } else { self.terms.answer };
        let answer = match timeout(patience, question.put(connection)).await {
            Ok(answer) => answer,
            Err(_) => {
                question.withdraw(connection).await;
                return Err(CallError::access_denied(format!("nobody has allowed {} in time", action.id())));
            }
        };
        let method = call.member().map_or("this", |member| member.as_str());
        match answer {
            Ok((true, _)) => Ok(()),
            Ok((false, true)) if !interactive => Err(CallError::interaction_required(format!(
                "{method} needs a password ({}), and the caller did not allow to ask for one",
                action.id()
            ))),
            Ok((false, _)) => Err(CallError::access_denied(format!("uid {uid} may not {}", action.id()))),
            Err(error) => {
                Err(CallError::access_denied(format!("without polkit {method} is for root only, and it says: {error}")))
            }
        }
    }
}

impl Authority for Polkit {
    fn allow<'a>(&'a self, connection: &'a Connection, call: &'a Header<'a>, action: Action) -> Verdict<'a> {
        Box::pin(async move {
            let uid = caller(connection, call).await?;
            if uid != self.terms.root {
                self.ask(connection, call, uid, action).await?;
            }
            Ok(uid)
        })
    }
}

/// A question to polkit.
struct Question {
    sender: String,
    action: &'static str,
    interactive: bool,
    id: String,
}

impl Question {
    /// Whether it is allowed, and whether it could be if a person were asked.
    async fn put(&self, connection: &Connection) -> zbus::Result<(bool, bool)> {
        let subject = ("system-bus-name", HashMap::from([("name", Variant::from(self.sender.as_str()))]));
        let flags = if self.interactive { ALLOW_USER_INTERACTION } else { 0 };
        let body = (subject, self.action, HashMap::<&str, &str>::new(), flags, self.id.as_str());
        // Not by `Connection::call_method`: its time-out is for the bus daemon, not for a person.
        let asked =
            authority(connection).await?.call_with_flags("CheckAuthorization", MethodFlags::empty(), &body).await?;
        let (allowed, challenge, _): (bool, bool, HashMap<String, String>) = asked.ok_or(zbus::Error::InvalidReply)?;
        Ok((allowed, challenge))
    }

    /// Takes a dialogue off the screen that nobody answers.
    async fn withdraw(&self, connection: &Connection) {
        let Ok(authority) = authority(connection).await else { return };
        // The answer would be an error to the question, which nobody waits for any more.
        let _ = authority.call_noreply("CancelCheckAuthorization", &self.id.as_str()).await;
    }
}

async fn authority(connection: &Connection) -> zbus::Result<Proxy<'_>> {
    Builder::new(connection)
        .destination("org.freedesktop.PolicyKit1")
        .path("/org/freedesktop/PolicyKit1/Authority")
        .interface("org.freedesktop.PolicyKit1.Authority")
        .cache_properties(CacheProperties::No)
        .build()
        .await
}

fn sender(call: &Header<'_>) -> Result<String, CallError> {
    let sender = call.sender().ok_or_else(|| CallError::access_denied("the call names no sender"))?;
    Ok(sender.to_string())
}

/// Asks the bus daemon whose connection the call came from.
async fn caller(connection: &Connection, call: &Header<'_>) -> Result<u32, CallError> {
    let sender = sender(call)?;
    let bus = Some("org.freedesktop.DBus");
    let asked = connection.call_method(bus, "/org/freedesktop/DBus", bus, "GetConnectionUnixUser", &sender).await;
    asked
        .and_then(|reply| reply.body().deserialize())
        .map_err(|error| CallError::access_denied(format!("cannot tell who {sender} is: {error}")))
}
