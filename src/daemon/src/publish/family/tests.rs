//! When progress is announced, with the time as an argument, over a socket pair.

use super::*;
use crate::bus::auth::{Polkit, Terms};
use crate::bus::job::Job;
use crate::bus::path;
use crate::link;
use futures_util::StreamExt;
use mirrorkeeper_core::ids::JobId;
use mirrorkeeper_core::snapshot::{JobView, Object as About};
use mirrorkeeper_core::time::Wall;
use mirrorkeeper_core::words::{JobState, Operation};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use zbus::MessageStream;
use zbus::connection::Builder;
use zbus::fdo::ObjectManager;

struct Pair {
    jobs: Family<Job>,
    heard: MessageStream,
    server: Connection,
    start: Instant,
    _client: Connection,
}

impl Pair {
    /// One job on the bus, with no progress announced yet.
    async fn new() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let server =
            Builder::unix_stream(ours).server(zbus::Guid::generate()).p2p().serve_at(path::ROOT, ObjectManager);
        let (server, client) = tokio::join!(server.build(), Builder::unix_stream(theirs).p2p().build());
        let (server, client) = (server.unwrap(), client.unwrap());
        let gate = Gate::new(
            link::pair().1,
            Arc::new(Polkit::new(Terms::default())),
            watch::channel(std::collections::BTreeSet::default()).1,
        );
        let (jobs, heard, start) = (Family::new(&server, &gate), MessageStream::from(&client), Instant::now());
        let mut pair = Self { jobs, heard, server, start, _client: client };
        pair.show(0, 0.0, JobState::Running).await;
        assert_eq!(pair.heard().await, ["InterfacesAdded"]);
        pair
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    async fn show(&mut self, millis: u64, progress: f64, state: JobState) {
        let now = self.at(millis);
        self.jobs.show(&BTreeMap::from([(JobId(1), job(progress, state))]), now).await;
    }

    async fn pass(&mut self, millis: u64) {
        self.jobs.announce_due(self.at(millis)).await;
    }

    /// What was sent since the last time: members, or changed properties with the progress.
    async fn heard(&mut self) -> Vec<String> {
        let mark = SignalEmitter::new(&self.server, path::ROOT).unwrap();
        mark.emit("org.mirrorkeeper1.Test", "Mark", &()).await.unwrap();
        let mut lines = Vec::new();
        loop {
            let message = self.heard.next().await.unwrap().unwrap();
            let header = message.header();
            match header.member().unwrap().as_str() {
                "Mark" => return lines,
                "PropertiesChanged" => {
                    let (_, changed, _): (String, Values, Vec<String>) = message.body().deserialize().unwrap();
                    let mut words: Vec<String> = changed
                        .iter()
                        .map(|(name, value)| match f64::try_from(value) {
                            Ok(number) => format!("{name}={number}"),
                            Err(_) => name.clone(),
                        })
                        .collect();
                    words.sort();
                    lines.push(words.join(" "));
                }
                member => lines.push(member.to_owned()),
            }
        }
    }
}

fn job(progress: f64, state: JobState) -> JobView {
    JobView {
        operation: Operation::Heal,
        object: About::Manager,
        state,
        progress: Some(progress),
        rate: 0,
        started: Wall(0),
        expected_end: Wall(0),
        uid: 0,
        steps: Vec::new(),
        error: String::new(),
    }
}

const NOTHING: [&str; 0] = [];

#[tokio::test]
async fn progress_is_announced_once_a_second_and_the_last_value_always() {
    let mut pair = Pair::new().await;
    pair.show(0, 0.1, JobState::Running).await;
    assert_eq!(pair.heard().await, ["Progress=0.1"], "the first at once");
    assert_eq!(pair.jobs.due(), None);

    pair.show(300, 0.2, JobState::Running).await;
    pair.show(600, 0.3, JobState::Running).await;
    pair.pass(999).await;
    assert_eq!(pair.heard().await, NOTHING);
    assert_eq!(pair.jobs.due(), Some(pair.at(1000)));

    pair.pass(1000).await;
    assert_eq!(pair.heard().await, ["Progress=0.3"]);
    assert_eq!(pair.jobs.due(), None);
    pair.pass(2000).await;
    assert_eq!(pair.heard().await, NOTHING, "once");
}

#[tokio::test]
async fn anything_else_goes_out_at_once_and_takes_the_progress_along() {
    let mut pair = Pair::new().await;
    pair.show(0, 0.1, JobState::Running).await;
    pair.show(100, 0.97, JobState::Running).await;
    pair.show(200, 1.0, JobState::Succeeded).await;
    assert_eq!(pair.heard().await, ["Progress=0.1", "Progress=1 State"]);
    assert_eq!(pair.jobs.due(), None);
    pair.pass(5000).await;
    assert_eq!(pair.heard().await, NOTHING);
}

#[tokio::test]
async fn progress_that_went_back_before_it_was_due_is_not_announced() {
    let mut pair = Pair::new().await;
    pair.show(0, 0.1, JobState::Running).await;
    pair.show(100, 0.2, JobState::Running).await;
    pair.show(200, 0.1, JobState::Running).await;
    assert_eq!(pair.jobs.due(), None);
    pair.pass(1000).await;
    assert_eq!(pair.heard().await, ["Progress=0.1"]);
}

#[tokio::test]
async fn an_object_that_is_gone_has_nothing_due() {
    let mut pair = Pair::new().await;
    pair.show(0, 0.1, JobState::Running).await;
    pair.show(100, 0.2, JobState::Running).await;
    pair.jobs.show(&BTreeMap::new(), pair.at(200)).await;
    assert_eq!(pair.jobs.due(), None);
    assert_eq!(pair.heard().await, ["Progress=0.1", "InterfacesRemoved"]);
}
