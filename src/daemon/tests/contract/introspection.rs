//! `dbus/*.xml` against the running service, member by member, and every property's value through the client crate.

use crate::members::members;
use crate::page;
use crate::support::*;
use mirrorkeeper_client::{Client, Value};
use std::collections::{BTreeSet, HashMap};
use zbus::OwnedVariant;
use zbus::fdo::ManagedObjects;
use zbus_xml::Node;

/// Interfaces zbus adds to every object.
const STANDARD: &str = "org.freedesktop.DBus.";

#[tokio::test]
async fn the_service_is_what_the_xml_files_say() {
    let service = Service::start(world()).await;
    let client = service.bus.client().await;
    let objects =
        [("Manager", "/org/mirrorkeeper1"), ("Server", SERVER), ("Target", TARGET), ("Mirror", MIRROR), ("Job", JOB)];
    for (name, path) in objects {
        let file = format!("{}/../../dbus/org.mirrorkeeper1.{name}.xml", env!("CARGO_MANIFEST_DIR"));
        let (written, warnings) = Node::from_reader_with_warnings(std::fs::File::open(&file).unwrap()).unwrap();
        assert!(warnings.is_empty(), "{file}: {warnings:?}");

        let introspectable = Some("org.freedesktop.DBus.Introspectable");
        let reply = client.call_method(Some("org.mirrorkeeper1"), path, introspectable, "Introspect", &()).await;
        let xml: String = reply.unwrap().body().deserialize().unwrap();
        let live = Node::from_reader(xml.as_bytes()).unwrap();
        let ours = live.interfaces().iter().filter(|i| !i.name().as_str().starts_with(STANDARD)).collect::<Vec<_>>();

        assert_eq!(written.interfaces().len(), 1, "{file}");
        assert_eq!(ours.len(), 1, "one interface per object: {path}");
        assert_eq!(ours[0].name(), written.interfaces()[0].name());
        assert_eq!(members(ours[0]), members(&written.interfaces()[0]), "left: the service, right: {file}");
        assert_eq!(page::members(ours[0]), page::served(name), "left: the service, right: the contract less the gaps");
    }
}

#[tokio::test]
async fn managed_objects_are_those_of_the_snapshot_and_read_back_as_they_are() {
    let service = Service::start(world()).await;
    let status = Client::connect(Some(&service.bus.address())).await.unwrap().status().await.unwrap();

    let paths: BTreeSet<&str> = status.targets.keys().map(String::as_str).collect();
    assert_eq!(paths, BTreeSet::from([TARGET, &TARGET.replace("2e1_3a", "2e2_3a")]));
    assert_eq!(status.mirrors.keys().collect::<Vec<_>>(), [MIRROR]);
    assert_eq!(status.jobs.keys().collect::<Vec<_>>(), [JOB]);
    assert_eq!(status.servers.keys().collect::<Vec<_>>(), [SERVER]);

    assert_eq!((status.manager.state.as_str(), status.manager.mirrors, status.manager.targets), ("redundant", 1, 2));
    assert_eq!(status.manager.version, env!("CARGO_PKG_VERSION"));
    let server = &status.servers[SERVER];
    assert_eq!(
        (server.name.as_str(), server.state.as_str(), &server.portals[0]),
        ("10.0.0.1", "up", &"10.0.0.1:3260".to_owned())
    );
    assert_eq!((server.targets[0].as_str(), server.mirrors[0].as_str()), (TARGET, MIRROR));
    assert_eq!((server.maintenance, server.flap_count, server.held_until_at_usec, server.since_usec), (false, 0, 0, 5));
    let target = &status.targets[TARGET];
    assert_eq!(target.server.as_str(), SERVER);
    assert_eq!((target.portal.as_str(), target.startup.as_str(), target.session_id), ("10.0.0.1:3260", "none", 1));
    assert_eq!((target.replacement_timeout_sec, target.configured_replacement_timeout_sec), (10, -2));
    assert_eq!((target.stall_estimate_usec, target.detect_timeout_usec), (u64::MAX, 0));
    let mirror = &status.mirrors[MIRROR];
    assert_eq!((mirror.sync_action.as_str(), mirror.sync_ratio, mirror.sync_remaining_usec), ("none", 1.0, 0));
    assert_eq!((mirror.hold.as_str(), mirror.managed, mirror.unmanaged_reason.as_str()), ("", true, ""));
    assert_eq!(mirror.legs[0].target.as_str(), TARGET);
    assert_eq!(mirror.legs[0].details["events"], Value::Uint(7));
    let job = &status.jobs[JOB];
    assert_eq!((job.object.as_str(), job.progress_valid, job.steps[0].exit), (MIRROR, false, -1));
}

#[tokio::test]
async fn the_list_of_all_objects_says_what_each_says_by_itself() {
    let service = Service::start(world()).await;
    let client = service.bus.client().await;
    let name = Some("org.mirrorkeeper1");
    let manager = Some("org.freedesktop.DBus.ObjectManager");
    let reply = client.call_method(name, "/org/mirrorkeeper1", manager, "GetManagedObjects", &()).await.unwrap();
    let all: ManagedObjects = reply.body().deserialize().unwrap();
    assert_eq!(all.len(), 5, "a server, two targets, a mirror and a job");
    for (path, interfaces) in &all {
        assert_eq!(interfaces.len(), 1, "{path}");
        for (interface, listed) in interfaces {
            let properties = Some("org.freedesktop.DBus.Properties");
            let reply = client.call_method(name, path, properties, "GetAll", &interface.as_str()).await.unwrap();
            let said: HashMap<String, OwnedVariant> = reply.body().deserialize().unwrap();
            assert_eq!(*listed, said, "{path}");
        }
    }
}

#[tokio::test]
async fn the_word_for_none_is_as_in_the_contract() {
    let mut snapshot = world();
    let target = snapshot.targets.get_mut(&key(1)).unwrap();
    (target.sid, target.replacement_timeout, target.configured_timeout) = (None, None, Some(-1));
    (target.server, target.detect_timeout) = ("".into(), Some(std::time::Duration::from_secs(3)));
    target.last_error = "nul \0 in a tool's output".to_owned();
    let mirror = snapshot.mirrors.get_mut("vg0/lv").unwrap();
    (mirror.remaining, mirror.ratio) = (None, f64::NAN);
    mirror.legs[1].target = None;
    let service = Service::start(snapshot).await;
    let status = Client::connect(Some(&service.bus.address())).await.unwrap().status().await.unwrap();

    let target = &status.targets[TARGET];
    assert_eq!((target.session_id, target.next_attempt_at_usec), (-1, 0));
    assert_eq!((target.server.as_str(), target.detect_timeout_usec), ("/", 3_000_000));
    assert_eq!((target.replacement_timeout_sec, target.configured_replacement_timeout_sec), (-2, -1));
    assert_eq!(target.last_error, "nul \u{fffd} in a tool's output");
    let mirror = &status.mirrors[MIRROR];
    assert_eq!((mirror.sync_remaining_usec, mirror.sync_ratio), (u64::MAX, 0.0));
    assert_eq!(mirror.legs[1].target.as_str(), "/");
}
