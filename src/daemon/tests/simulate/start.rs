//! What is on the bus, and what is refused before anything is.

use crate::members::members;
use crate::program::*;
use crate::support::{PrivateBus, soon};
use std::process::Stdio;
use zbus_xml::Node;

#[tokio::test]
async fn the_whole_api_is_there_as_the_xml_files_have_it_and_the_simulator_beside() {
    let program = Program::without_story().await;
    let status = program.client.status().await.unwrap();
    assert_eq!(status.servers.keys().collect::<Vec<_>>(), [A, B]);
    assert_eq!(status.targets.len(), 2);
    assert_eq!(status.mirrors.len(), 3);
    assert!(status.mirrors.values().all(|mirror| mirror.state == "redundant" && mirror.copies_in_sync == 2));

    // A job is there once somebody wants something.
    let job = program.client.mirror(path(R1)).await.unwrap().check().await.unwrap();
    let target = status.targets.keys().next().unwrap();
    let objects = [
        (ROOT, &["Manager", "Simulator"][..]),
        (A, &["Server"]),
        (target, &["Target"]),
        (R1, &["Mirror"]),
        (job.as_str(), &["Job"]),
    ];
    for (path, names) in objects {
        let introspectable = Some("org.freedesktop.DBus.Introspectable");
        let reply = program.connection().call_method(Some(NAME), path, introspectable, "Introspect", &()).await;
        let xml: String = reply.unwrap().body().deserialize().unwrap();
        let live = Node::from_reader(xml.as_bytes()).unwrap();
        let ours = live.interfaces().iter().filter(|i| i.name().as_str().starts_with(NAME)).collect::<Vec<_>>();
        assert_eq!(ours.len(), names.len(), "{path}");
        for name in names {
            let file = format!("{}/../../dbus/org.mirrorkeeper1.{name}.xml", env!("CARGO_MANIFEST_DIR"));
            let written = Node::from_reader(std::fs::File::open(&file).unwrap()).unwrap();
            let written = &written.interfaces()[0];
            let live = ours.iter().find(|i| i.name() == written.name()).unwrap();
            assert_eq!(members(live), members(written), "left: the service, right: {file}");
        }
    }
}

#[tokio::test]
async fn a_second_one_is_refused() {
    let program = Program::without_story().await;
    let address = program.bus.address();
    let second = tokio::task::spawn_blocking(move || command(&address, &[]).stderr(Stdio::piped()).output());
    let second = soon(second).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains("another mirrorkeeperd owns org.mirrorkeeper1"), "{said}");
    assert_eq!(program.mirror(R1).await.state, "redundant");
}

#[test]
fn a_bad_file_is_refused_by_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start();
    let file = dir.path().join("s.toml");
    let path = file.to_str().unwrap();
    let refused = |option: &str, text: &str, why: &str| {
        std::fs::write(&file, text).unwrap();
        let ended = command(&bus.address(), &[option, path]).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains(&format!("{path}:{why}")), "{said}");
    };
    refused("--scenario", "[world]\nservers = 9\n", "2: servers: accepted are whole numbers, 2 to 4");
    refused("--config", "[heal]\n\nsettle = \"long\"\n", "3: settle: accepted are seconds");
}
