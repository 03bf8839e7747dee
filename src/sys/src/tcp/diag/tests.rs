use super::super::testing::{CAP_NET_ADMIN, come_back, connect, endpoint, play_dead, twins, without};
use super::*;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// No test passes sooner for it, and none of them gets near.
const PATIENCE: Duration = Duration::from_secs(20);

/// Our end, the peer's, and the kernel's word for ours.
fn connected() -> (TcpStream, TcpStream, SocketId) {
    let (ours, peer) = connect("127.0.0.1").unwrap();
    for end in [&ours, &peer] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let id = find(&endpoint(&ours)).unwrap().unwrap();
    (ours, peer, id)
}

fn now(id: &SocketId) -> Sample {
    sample(id).unwrap().unwrap()
}

/// Destroys it; `None`, and a word about it, where that is not possible here.
fn destroyed(id: &SocketId) -> Option<bool> {
    match destroy(id) {
        Err(why @ Error::Denied { .. }) => {
            eprintln!("skipped: {why}");
            None
        }
        other => Some(other.unwrap()),
    }
}

#[test]
fn a_socket_is_found_by_its_ports_and_its_portal() {
    let (ours, peer, id) = connected();
    assert_eq!((id.local, id.peer), (ours.local_addr().unwrap(), ours.peer_addr().unwrap()));
    // The other end is a socket of this machine too, and another one.
    let other = find(&endpoint(&peer)).unwrap().unwrap();
    assert_eq!((other.local, other.peer), (id.peer, id.local));
    assert_ne!(other.cookie, id.cookie);
    let elsewhere = Endpoint { peer: "127.0.0.2".parse().unwrap(), ..endpoint(&ours) };
    assert_eq!(find(&elsewhere).unwrap(), None);
}

#[test]
fn of_two_that_fit_none_is_taken() {
    let ([one, other], _portal) = twins();
    let said = find(&endpoint(&one)).unwrap_err().to_string();
    for end in [one, other] {
        assert!(said.contains(&format!("from {} to", end.local_addr().unwrap())), "{said}");
    }
}

#[test]
fn ipv6_is_no_different() {
    let (ours, _peer) = match connect("::1") {
        Ok(pair) => pair,
        Err(why) => return eprintln!("skipped, no IPv6 here: {why}"),
    };
    let id = find(&endpoint(&ours)).unwrap().unwrap();
    assert_eq!((id.local, id.peer), (ours.local_addr().unwrap(), ours.peer_addr().unwrap()));
    assert_eq!(now(&id).unacked, 0);
}

#[test]
fn a_peer_that_says_nothing_leaves_data_unacknowledged_until_it_comes_back() {
    let (mut ours, mut peer, id) = connected();
    ours.write_all(&[0; 100]).unwrap();
    peer.read_exact(&mut [0; 100]).unwrap();
    peer.write_all(b"y").unwrap();
    // An answer brings the acknowledgement along.
    ours.read_exact(&mut [0]).unwrap();
    let healthy = now(&id);
    assert_eq!((healthy.unacked, healthy.not_sent, healthy.in_flight), (0, Some(0), 0));

    if !play_dead(&peer) {
        return;
    }
    ours.write_all(&[0; 1000]).unwrap();
    let silent = now(&id);
    assert_eq!((silent.unacked, silent.not_sent, silent.in_flight), (1000, Some(0), 1));
    // The kernel sends them again, and they are the same data still.
    let begun = Instant::now();
    let later = loop {
        match now(&id) {
            later if later.total_retransmits > healthy.total_retransmits => break later,
            _ => assert!(begun.elapsed() < PATIENCE, "not sent again"),
        }
        std::thread::yield_now();
    };
    assert_eq!((later.unacked, later.acked), (1000, healthy.acked));
    assert!(later.last_ack_ms > 0);

    come_back(&peer);
    peer.read_exact(&mut [0; 1000]).unwrap();
    peer.write_all(b"y").unwrap();
    ours.read_exact(&mut [0]).unwrap();
    let back = now(&id);
    assert_eq!((back.unacked, back.in_flight, back.retransmits), (0, 0, 0));
    assert_eq!(back.acked.unwrap(), healthy.acked.unwrap() + 1000);
}

#[test]
fn a_peer_that_does_not_read_leaves_data_unsent() {
    let (mut ours, _peer, id) = connected();
    ours.set_nonblocking(true).unwrap();
    let full = std::iter::repeat_with(|| ours.write_all(&[0; 65_536])).find_map(Result::err).unwrap();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let stuck = now(&id);
    assert!(stuck.not_sent.unwrap() > 0 && stuck.unacked >= stuck.not_sent.unwrap(), "{stuck:?}");
}

#[test]
fn what_is_destroyed_is_gone_for_its_owner_and_for_good() {
    let (mut ours, _peer, id) = connected();
    let endpoint = endpoint(&ours);
    let Some(done) = destroyed(&id) else { return };
    assert!(done);
    assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(sample(&id).unwrap(), None);
    assert_eq!(find(&endpoint).unwrap(), None);
    assert_eq!(destroyed(&id), Some(false));
}

#[test]
fn another_socket_of_the_same_addresses_is_let_live() {
    let (mut ours, mut peer, id) = connected();
    let former = SocketId { cookie: id.cookie - 1, ..id };
    let Some(done) = destroyed(&former) else { return };
    assert!(!done);
    assert_eq!(sample(&former).unwrap(), None);
    peer.write_all(b"y").unwrap();
    ours.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_process_without_the_right_may_look_but_not_destroy() {
    let (_ours, _peer, id) = connected();
    let Some((looked, said)) = without(CAP_NET_ADMIN, || (sample(&id), destroy(&id))) else { return };
    assert!(looked.unwrap().is_some());
    assert!(matches!(said, Err(Error::Denied { .. })), "{said:?}");
    assert!(sample(&id).unwrap().is_some());
}
