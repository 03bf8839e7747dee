//! `org.mirrorkeeper1.Simulator` on the root object, beside the Manager: what happens to the simulated machine, by hand.
//! The contract of it is `dbus/org.mirrorkeeper1.Simulator.xml`; the real service never has it.

use super::deed::{Deed, LONGEST_LEAP, SWAPS, server_named};
use super::pace::Pace;
use crate::bus::auth::{Action, Authority};
use crate::bus::error::CallError;
use crate::bus::path;
use crate::publish::Annex;
use mirrorkeeper_core::input::Refusal;
use mirrorkeeper_sys::sim::server::Fault;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use zbus::message::Header;
use zbus::{Connection, interface};

/// Something to be done, with the way back for the answer.
pub struct Order {
    /// What.
    pub deed: Deed,
    /// Answered once it is done.
    pub reply: oneshot::Sender<Result<(), Refusal>>,
}

/// What the interface shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The clock.
    pub pace: Pace,
    /// What it showed at the beginning.
    pub began: u64,
    /// The last step of the story.
    pub story: String,
}

/// The interface, and what puts it on a connection.
#[derive(Clone)]
pub struct Simulator {
    /// How many servers there are.
    pub servers: usize,
    /// What is shown. Closed when the simulated daemon is gone from the bus.
    pub shown: watch::Receiver<Shown>,
    /// To the simulation.
    pub orders: mpsc::Sender<Order>,
    /// Who may.
    pub authority: Arc<dyn Authority>,
}

impl Annex for Simulator {
    fn serve<'a>(&'a self, connection: &'a Connection) -> Pin<Box<dyn Future<Output = zbus::Result<()>> + Send + 'a>> {
        Box::pin(async move {
            connection.object_server().at(path::ROOT, self.clone()).await?;
            let served = connection.object_server().interface::<_, Self>(path::ROOT).await?;
            let mut shown = self.shown.clone();
            tokio::spawn(async move {
                let mut story = shown.borrow_and_update().story.clone();
                while shown.changed().await.is_ok() {
                    let now = shown.borrow_and_update().story.clone();
                    if std::mem::replace(&mut story, now) != story
                        && let Err(error) = served.get().await.story_changed(served.signal_emitter()).await
                    {
                        tracing::debug!("the story was not announced: {error}");
                    }
                }
            });
            Ok(())
        })
    }
}

impl Simulator {
    async fn order(&self, connection: &Connection, call: &Header<'_>, deed: Deed) -> Result<(), CallError> {
        self.authority.allow(connection, call, Action::Maintain).await?;
        let (reply, answer) = oneshot::channel();
        let ended = |_| CallError::from(Refusal::Busy("the simulation ends".to_owned()));
        self.orders.send(Order { deed, reply }).await.map_err(|_| ended(()))?;
        Ok(answer.await.map_err(|_| ended(()))??)
    }

    fn server(&self, name: &str) -> Result<usize, CallError> {
        let why = || format!("no server {name:?}; there are {}, named a, b and so on", self.servers);
        Ok(server_named(name, self.servers).ok_or_else(|| Refusal::NoSuchObject(why()))?)
    }
}

#[interface(name = "org.mirrorkeeper1.Simulator", introspection_docs = false)]
impl Simulator {
    #[zbus(property(emits_changed_signal = "false"), name = "ElapsedUSec")]
    fn elapsed(&self) -> u64 {
        let shown = self.shown.borrow();
        shown.pace.now().saturating_sub(shown.began)
    }

    #[zbus(property)]
    fn story(&self) -> String {
        self.shown.borrow().story.clone()
    }

    async fn cut(
        &self,
        server: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.order(connection, &call, Deed::Strike(self.server(server)?, Fault::Cut)).await
    }

    async fn power_off(
        &self,
        server: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.order(connection, &call, Deed::Strike(self.server(server)?, Fault::Power)).await
    }

    async fn refuse(
        &self,
        server: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.order(connection, &call, Deed::Strike(self.server(server)?, Fault::Refused)).await
    }

    async fn hang(
        &self,
        server: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.order(connection, &call, Deed::Strike(self.server(server)?, Fault::Hung)).await
    }

    #[zbus(name = "Return")]
    async fn give_back(
        &self,
        server: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.order(connection, &call, Deed::Return(self.server(server)?)).await
    }

    async fn swap(
        &self,
        server: &str,
        with: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        let server = self.server(server)?;
        let found = SWAPS.iter().find(|(word, _)| *word == with).map(|(_, what)| *what);
        let known = || SWAPS.map(|(word, _)| word).join(", ");
        let what = found.ok_or_else(|| Refusal::InvalidArgument(format!("with {with:?}: accepted are {}", known())))?;
        self.order(connection, &call, Deed::Swap(server, what)).await
    }

    async fn use_elsewhere(
        &self,
        server: &str,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.order(connection, &call, Deed::UseElsewhere(self.server(server)?)).await
    }

    async fn reboot_client(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.order(connection, &call, Deed::RebootClient).await
    }

    async fn kill_daemon(
        &self,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        self.order(connection, &call, Deed::KillDaemon).await
    }

    async fn advance(
        &self,
        seconds: u32,
        #[zbus(connection)] connection: &Connection,
        #[zbus(header)] call: Header<'_>,
    ) -> Result<(), CallError> {
        let seconds = u64::from(seconds);
        if seconds > LONGEST_LEAP {
            let why = format!("{seconds} s: at most {LONGEST_LEAP}");
            return Err(Refusal::InvalidArgument(why).into());
        }
        self.order(connection, &call, Deed::Advance(seconds)).await
    }
}
