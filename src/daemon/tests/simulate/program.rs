//! The program on a bus of its own, and somebody who listens.

use crate::support::{Ear, PrivateBus, changed, soon};
use futures_util::StreamExt;
use mirrorkeeper_client::{Client, Mirror, Status};
use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::timeout;
use zbus::fdo::DBusProxy;
use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant};

pub const NAME: &str = "org.mirrorkeeper1";
pub const ROOT: &str = "/org/mirrorkeeper1";
pub const SIMULATOR: &str = "org.mirrorkeeper1.Simulator";
pub const R1: &str = "/org/mirrorkeeper1/mirror/vg0_2fr1";
pub const A: &str = "/org/mirrorkeeper1/server/a";
pub const B: &str = "/org/mirrorkeeper1/server/b";

/// Nothing that is waited for takes that long, on a busy machine either.
const SILENCE: Duration = Duration::from_secs(25);

/// An event as it was announced.
#[derive(Debug)]
pub struct Told {
    pub at: u64,
    pub code: String,
    pub object: String,
}

/// The program.
pub struct Program {
    pub bus: PrivateBus,
    pub client: Client,
    pub ear: Ear,
    /// Events heard so far.
    pub told: Vec<Told>,
    /// Steps of the story heard so far.
    pub story: Vec<String>,
    child: Child,
    _scratch: tempfile::TempDir,
}

/// The command line, on that bus.
pub fn command(bus: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirrorkeeperd"));
    command.args(["--simulate", "--log", "off", "--bus", bus]).args(arguments).stdin(Stdio::null());
    command
}

impl Program {
    /// Starts it, and waits until all is well.
    pub async fn start(arguments: &[&str]) -> Self {
        let bus = PrivateBus::start();
        let client = Client::connect(Some(&bus.address())).await.unwrap();
        let ear = Ear::listen(client.connection()).await;
        let names = DBusProxy::new(client.connection()).await.unwrap();
        let mut owners = names.receive_name_owner_changed_with_args(&[(0, NAME)]).await.unwrap();
        // A program that is killed leaves its history behind.
        let scratch = tempfile::tempdir().unwrap();
        let child = command(&bus.address(), arguments).env("TMPDIR", scratch.path()).spawn().unwrap();
        // What is there before the name is announces nothing.
        soon(owners.next()).await.unwrap();
        let mut program = Self { bus, client, ear, told: Vec::new(), story: Vec::new(), child, _scratch: scratch };
        program.until(|status| status.manager.mirrors > 0 && status.manager.state == "redundant").await;
        program
    }

    /// Without a story.
    pub async fn without_story() -> Self {
        Self::start(&["--scenario", "none"]).await
    }

    pub fn connection(&self) -> &Connection {
        self.client.connection()
    }

    /// Listens until something is so. While nobody is on the bus nothing is.
    pub async fn until(&mut self, so: impl Fn(&Status) -> bool) -> Status {
        loop {
            let status = self.client.status().await;
            match status {
                Ok(status) if so(&status) => return status,
                status => assert!(self.listen().await, "silence, and this is not so: {status:#?}"),
            }
        }
    }

    /// Listens until an event is heard of an object.
    pub async fn until_told(&mut self, code: &str, object: &str) {
        while !self.told.iter().any(|told| told.code == code && told.object == object) {
            assert!(self.listen().await, "silence, and no {code} of {object}: {:?}", self.told);
        }
    }

    /// Hears the next signal. Returns whether there was one; progress alone is told every second.
    pub async fn listen(&mut self) -> bool {
        let Ok(message) = timeout(SILENCE, self.ear.next()).await else { return false };
        let header = message.header();
        if header.member().is_some_and(|member| member == "PropertiesChanged")
            && let Some(step) = changed(&message).remove("Story")
        {
            self.story.push(step.try_into().unwrap());
        }
        if header.member().is_some_and(|member| member == "Event") {
            type Body = (u64, String, String, OwnedObjectPath, HashMap<String, OwnedVariant>);
            let (at, code, _, object, _): Body = message.body().deserialize().unwrap();
            self.told.push(Told { at, code, object: object.to_string() });
        }
        true
    }

    pub async fn mirror(&self, path: &str) -> Mirror {
        self.client.status().await.unwrap().mirrors.remove(path).unwrap()
    }

    /// Calls the simulator.
    pub async fn simulate<B>(&self, method: &str, body: &B) -> zbus::Result<()>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        soon(self.connection().call_method(Some(NAME), ROOT, Some(SIMULATOR), method, body)).await.map(drop)
    }

    pub async fn advance(&self, seconds: u32) {
        self.simulate("Advance", &seconds).await.unwrap();
    }

    /// Events of some objects by their code, in the order in which they were told.
    pub fn codes(&self, objects: &[&str]) -> Vec<&str> {
        let of = self.told.iter().filter(|told| objects.contains(&told.object.as_str()));
        of.map(|told| told.code.as_str()).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether these come in this order, with others between them.
pub fn in_order<T: AsRef<str>>(told: &[T], wanted: &[&str]) -> bool {
    let mut told = told.iter();
    wanted.iter().all(|code| told.any(|heard| heard.as_ref() == *code))
}

/// A path, from a text that is one.
pub fn path(text: &str) -> ObjectPath<'_> {
    ObjectPath::try_from(text).unwrap()
}

/// The name of a D-Bus error.
pub fn name_of(error: &zbus::Error) -> &str {
    match error {
        zbus::Error::MethodError(name, ..) => name.as_str(),
        other => panic!("no error reply: {other}"),
    }
}
