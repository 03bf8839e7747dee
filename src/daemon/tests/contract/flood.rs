//! What a client that floods, never reads or vanishes does to others: nothing.

use crate::support::*;
use mirrorkeeper_client::{Client, Error, MirrorProxy};
use mirrorkeeper_core::input::{Command, Refusal, Reply};
use mirrorkeeperd::bus::auth::{Action, Authority, Verdict};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zbus::Connection;
use zbus::message::{Header, Message};

/// Calls of a flood.
const FLOOD: usize = 10_000;

/// Calls of one connection and of all that get in (`bus/gate.rs`).
const OF_ONE: usize = 16;
const OF_ALL: usize = 64;

/// Allows everything, but `Heal` not before it is told to: a person who has not typed the password yet.
struct Undecided {
    waiting: watch::Sender<usize>,
    decided: watch::Sender<bool>,
}

impl Undecided {
    fn new() -> Arc<Self> {
        Arc::new(Self { waiting: watch::Sender::new(0), decided: watch::Sender::new(false) })
    }

    async fn all_wait(&self, wanted: usize) {
        soon(self.waiting.subscribe().wait_for(|waiting| *waiting == wanted)).await.unwrap();
    }
}

impl Authority for Undecided {
    fn allow<'a>(&'a self, _: &'a Connection, call: &'a Header<'a>, _: Action) -> Verdict<'a> {
        Box::pin(async move {
            if call.member().is_some_and(|member| member == "Heal") {
                self.waiting.send_modify(|waiting| *waiting += 1);
                self.decided.subscribe().wait_for(|decided| *decided).await.unwrap();
            }
            Ok(0)
        })
    }
}

async fn client(service: &Service) -> Client {
    Client::connect(Some(&service.bus.address())).await.unwrap()
}

async fn mirror(service: &Service) -> MirrorProxy<'static> {
    client(service).await.mirror(zbus::ObjectPath::try_from(MIRROR).unwrap()).await.unwrap()
}

async fn heal(mirror: MirrorProxy<'static>) -> String {
    match mirror.heal().await {
        Err(Error::Refused { code, .. }) => code,
        other => format!("{other:?}"),
    }
}

/// Somebody else reads everything and has something done.
async fn others_are_served(service: &mut Service) {
    let client = client(service).await;
    assert_eq!(soon(client.status()).await.unwrap().manager.state, "redundant");
    let manager = client.manager().await.unwrap();
    let (done, command) = tokio::join!(soon(manager.rescan()), service.answer(Ok(Reply::Done)));
    assert_eq!((done.unwrap(), command), ((), Command::Rescan));
}

#[tokio::test]
async fn a_flood_is_turned_away_and_stalls_nobody_else() {
    let authority = Undecided::new();
    let mut service = Service::start_for(world(), authority.clone()).await;
    let flooder = mirror(&service).await;
    let mut calls = JoinSet::new();
    (0..FLOOD).for_each(|_| drop(calls.spawn(heal(flooder.clone()))));
    authority.all_wait(OF_ONE).await;
    others_are_served(&mut service).await;
    for _ in 0..FLOOD - OF_ONE {
        assert_eq!(soon(calls.join_next()).await.unwrap().unwrap(), "LimitsExceeded");
    }
    others_are_served(&mut service).await;

    authority.decided.send_replace(true);
    for _ in 0..OF_ONE {
        service.answer(Err(Refusal::Held("settling".to_owned()))).await;
    }
    while let Some(call) = soon(calls.join_next()).await {
        assert_eq!(call.unwrap(), "Held", "who got in is answered in the end");
    }
}

#[tokio::test]
async fn many_together_are_turned_away_and_may_all_read() {
    let authority = Undecided::new();
    let service = Service::start_for(world(), authority.clone()).await;
    let mut calls = JoinSet::new();
    for _ in 0..OF_ALL / OF_ONE {
        let one = mirror(&service).await;
        (0..OF_ONE).for_each(|_| drop(calls.spawn(heal(one.clone()))));
    }
    authority.all_wait(OF_ALL).await;
    assert_eq!(soon(heal(mirror(&service).await)).await, "LimitsExceeded");
    assert_eq!(soon(client(&service).await.status()).await.unwrap().manager.state, "redundant");
}

#[tokio::test]
async fn one_that_never_reads_and_then_vanishes_holds_nobody_up() {
    let mut service = Service::start_for(world(), Undecided::new()).await;
    let path = service.bus.address().replace("unix:path=", "");
    let deaf = tokio::task::spawn_blocking(move || deaf_flood(&path)).await.unwrap();
    others_are_served(&mut service).await;
    drop(deaf);
    others_are_served(&mut service).await;
}

/// Ten thousand calls whose answers nobody reads.
fn deaf_flood(path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    let uid: String = nix::unistd::getuid().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
    stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes()).unwrap();
    let mut said = [0; 64];
    let length = stream.read(&mut said).unwrap();
    assert!(said[..length].starts_with(b"OK "), "{}", String::from_utf8_lossy(&said));
    let call = |to, path, interface, method| {
        Message::method_call(path, method).destination(to).interface(interface).build(&()).unwrap()
    };
    let bus = "org.freedesktop.DBus";
    stream.write_all(b"BEGIN\r\n").unwrap();
    stream.write_all(call(bus, "/org/freedesktop/DBus", bus, "Hello").data()).unwrap();
    for _ in 0..FLOOD {
        stream.write_all(call("org.mirrorkeeper1", MIRROR, "org.mirrorkeeper1.Mirror", "Heal").data()).unwrap();
    }
    stream
}
