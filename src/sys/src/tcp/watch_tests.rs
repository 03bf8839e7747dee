use super::super::testing::{CAP_NET_ADMIN, come_back, connect, play_dead, without};
use super::*;
use crate::testing::TempDir;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No test passes sooner for it, and none of them gets near.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session over loopback as sysfs shows it: our end, the target's, and the machine.
fn session() -> (TcpStream, TcpStream, TempDir) {
    let (ours, peer) = connect("127.0.0.1").unwrap();
    for end in [&ours, &peer] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let dir = TempDir::new();
    show(&dir, &ours);
    (ours, peer, dir)
}

fn show(dir: &TempDir, ours: &TcpStream) {
    let peer = ours.peer_addr().unwrap();
    let local_port = ours.local_addr().unwrap().port().to_string();
    for (file, value) in
        [("address", peer.ip().to_string()), ("port", peer.port().to_string()), ("local_port", local_port)]
    {
        dir.write(&format!("sys/class/iscsi_connection/connection7:0/{file}"), &value);
    }
}

/// With the rights that we really have.
fn roots(dir: &TempDir) -> Roots {
    Roots { proc: "/proc".into(), ..Roots::under(dir.path()) }
}

/// What its socket has; `None`, and a word about it, where destroying is not permitted: nothing is watched then.
fn backlog(sockets: &Sockets, dir: &TempDir) -> Option<Option<Backlog>> {
    match sockets.backlog(&roots(dir), 7) {
        Err(why @ Error::Denied { .. }) => {
            eprintln!("skipped: {why}");
            None
        }
        found => Some(found.unwrap()),
    }
}

#[test]
fn a_socket_that_stays_silent_is_destroyed() {
    let (mut ours, peer, dir) = session();
    let (sockets, machine) = (Sockets::default(), roots(&dir));
    if backlog(&sockets, &dir).is_none() || !play_dead(&peer) {
        return;
    }
    ours.write_all(&[0; 1000]).unwrap();
    let silent = backlog(&sockets, &dir).unwrap().unwrap();
    assert_eq!(silent.unacked, 1000);
    assert!(sockets.destroy(&machine, 7, silent).unwrap());
    assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(backlog(&sockets, &dir), Some(None));
    assert!(!sockets.destroy(&machine, 7, silent).unwrap(), "it is gone");
}

#[test]
fn one_that_is_answered_again_is_let_live() {
    let (mut ours, mut peer, dir) = session();
    let (sockets, machine) = (Sockets::default(), roots(&dir));
    if backlog(&sockets, &dir).is_none() || !play_dead(&peer) {
        return;
    }
    ours.write_all(&[0; 1000]).unwrap();
    let silent = backlog(&sockets, &dir).unwrap().unwrap();
    come_back(&peer);
    peer.read_exact(&mut [0; 1000]).unwrap();
    peer.write_all(b"y").unwrap();
    ours.read_exact(&mut [0]).unwrap();
    assert!(!sockets.destroy(&machine, 7, silent).unwrap(), "nothing is in flight");
    assert!(play_dead(&peer));
    ours.write_all(&[0; 10]).unwrap();
    assert!(!sockets.destroy(&machine, 7, silent).unwrap(), "the old silence is over");
    let now = backlog(&sockets, &dir).unwrap().unwrap();
    assert_eq!((now.unacked, now.acked), (10, silent.acked + 1000));
}

#[test]
fn another_connection_of_the_session_is_not_the_one_that_was_seen() {
    let (mut ours, peer, dir) = session();
    let (sockets, machine) = (Sockets::default(), roots(&dir));
    if backlog(&sockets, &dir).is_none() || !play_dead(&peer) {
        return;
    }
    ours.write_all(&[0; 10]).unwrap();
    let silent = backlog(&sockets, &dir).unwrap().unwrap();
    let (mut other, other_peer) = connect("127.0.0.1").unwrap();
    assert!(play_dead(&other_peer));
    other.write_all(&[0; 10]).unwrap();
    show(&dir, &other);
    assert!(!sockets.destroy(&machine, 7, silent).unwrap());
    let now = backlog(&sockets, &dir).unwrap().unwrap();
    assert_eq!((now.unacked, now.local_port), (10, other.local_addr().unwrap().port()));
}

#[test]
fn who_may_not_destroy_is_told_at_the_first_look() {
    let (_ours, _peer, dir) = session();
    let Some(said) = without(CAP_NET_ADMIN, || Sockets::default().backlog(&roots(&dir), 7)) else {
        return;
    };
    assert!(matches!(said, Err(Error::Denied { .. })), "{said:?}");
}

#[test]
fn a_session_without_a_socket_has_nothing_to_watch() {
    let dir = TempDir::new();
    assert_eq!(Sockets::default().backlog(&roots(&dir), 7).unwrap(), None);
}
