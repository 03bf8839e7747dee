use super::*;
use crate::testing::unhex;
use proptest::prelude::*;

/// What Linux 6.18 answered about an idle connection over loopback, without the acknowledgement after it.
const RECORDED: &str = concat!(
    "980100001400020001000000e6100000020100009104e7a97f0000010000000000000000000000007f0000010000000000000000",
    "0000000000000000021000000000000000000000000000000000000000000000bcb60500050008000000000008000f0000000000",
    "0c001500010000000000000006001600520000001c010200010000000007aa01e01c030000000000e57f00001802000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000ffff0000d7ff00001d0000000e000000ffffff7f",
    "0a000000cbff00000300000000000000d7ff000000000000c4f3268307000000ffffffffffffffff010000000000000000000000",
    "000000000200000001000000000000001d0000000000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000010000000000000000000000000000000000000000000000000000000000000000000000cbff000000000100",
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
);

fn answered(datagram: &[u8]) -> Answer {
    let mut answer = Answer::default();
    assert_eq!(answer.take(datagram), Ok(false));
    answer
}

/// A message that ends an answer.
fn end(kind: u16, status: i32) -> Vec<u8> {
    let (length, kind, status) = (20_u32.to_ne_bytes(), kind.to_ne_bytes(), status.to_ne_bytes());
    [&length[..], &kind, &[0; 10], &status].concat()
}

#[test]
#[cfg(target_endian = "little")]
fn a_recorded_answer_reads_in_full() {
    let recorded = unhex(RECORDED);
    let answer = answered(&recorded);
    let port = |at: usize| u16::from_be_bytes([recorded[at], recorded[at + 1]]);
    let id = SocketId {
        local: SocketAddr::from(([127, 0, 0, 1], port(20))),
        peer: SocketAddr::from(([127, 0, 0, 1], port(22))),
        interface: 0,
        cookie: u64::from(u32::from_le_bytes([recorded[60], recorded[61], recorded[62], recorded[63]])),
    };
    let sample = Sample {
        unacked: 0,
        not_sent: Some(0),
        in_flight: 0,
        acked: Some(1),
        last_ack_ms: 0,
        last_sent_ms: 0,
        retransmits: 0,
        probes: 0,
        total_retransmits: 0,
    };
    assert_eq!((answer.sockets, answer.errno), (vec![(id, Some(sample))], 0));
}

#[test]
fn each_number_is_read_from_its_place() {
    // Every field of tcp_info holds its own offset.
    let mut info: Vec<u8> = (0..248_u32).step_by(4).flat_map(u32::to_ne_bytes).collect();
    info[2..4].copy_from_slice(&[2, 3]);
    let word = |at: u32| u64::from_ne_bytes([at.to_ne_bytes(), (at + 4).to_ne_bytes()].concat().try_into().unwrap());
    let wanted = Sample {
        unacked: 9,
        not_sent: Some(144),
        in_flight: 24,
        acked: Some(word(120)),
        last_ack_ms: 56,
        last_sent_ms: 44,
        retransmits: 2,
        probes: 3,
        total_retransmits: 100,
    };
    assert_eq!(sample(9, &info), Some(wanted));
    assert_eq!(sample(9, &info[..104]), Some(Sample { acked: None, not_sent: None, ..wanted }), "Linux before 4.1");
    assert_eq!(sample(9, &info[..103]), None);
}

#[test]
fn a_request_names_the_socket_as_the_kernel_did() {
    let ids = [
        ("10.0.0.9:40000", "10.0.0.1:3260", libc::AF_INET as u8),
        ("[fe80::9]:40000", "[fe80::1]:3260", libc::AF_INET6 as u8),
    ];
    for (local, peer, family) in ids {
        let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
        let id = SocketId { local, peer, interface: 7, cookie: 0x0102_0304_0506_0708 };
        let asked = look(&id);
        assert_eq!((asked.len(), ne32(&asked, 0)), (72, Some(72)));
        // An answer begins with other eight bytes, of which four are for things that a request does not have.
        let body = [&[family, 1, 0, 0][..], &asked[24..], &[0; 20]].concat();
        assert_eq!(socket(&body).unwrap(), (id, None));
        assert_eq!(asked[16..20], [family, 6, 2, 0]);
        assert_eq!(array(&asked, 4), Some(20_u16.to_ne_bytes()));
        assert_eq!(array(&destroy(&id), 4), Some(21_u16.to_ne_bytes()));
        assert_eq!(destroy(&id)[8..], asked[8..]);
    }
}

#[test]
fn an_answer_has_an_end() {
    for (kind, status, errno) in [(NLMSG_DONE, 0, 0), (NLMSG_ERROR, 0, 0), (NLMSG_ERROR, -2, 2), (NLMSG_DONE, -2, 2)] {
        let mut answer = answered(&unhex(RECORDED));
        assert_eq!(answer.take(&end(kind, status)), Ok(true));
        assert_eq!((answer.sockets.len(), answer.errno), (1, errno));
        // Or all at once.
        let mut answer = Answer::default();
        assert_eq!(answer.take(&[unhex(RECORDED), end(kind, status)].concat()), Ok(true));
        assert_eq!((answer.sockets.len(), answer.errno), (1, errno));
    }
    let mut answer = Answer::default();
    assert_eq!(answer.take(&end(NLMSG_ERROR, i32::MIN)), Ok(true));
    assert_eq!(answer.errno, i32::MAX);
}

#[test]
fn what_is_cut_or_foreign_is_no_answer() {
    let recorded = unhex(RECORDED);
    let take = |datagram: &[u8]| Answer::default().take(datagram).unwrap_err();
    assert_eq!(take(&[]), "an empty datagram");
    assert_eq!(take(&recorded[..200]), "a message cut off after 200 bytes");
    assert_eq!(take(&recorded[..3]), "a message cut off after 3 bytes");
    assert_eq!(take(&end(NLMSG_ERROR, 0)[..18]), "a message cut off after 18 bytes");
    let mut short = recorded.clone();
    short[..4].copy_from_slice(&8_u32.to_ne_bytes());
    assert_eq!(
        take(&short),
        format!("a message cut off after {} bytes", recorded.len()),
        "shorter than its own header"
    );
    short[..4].copy_from_slice(&87_u32.to_ne_bytes());
    assert_eq!(take(&short), "71 bytes are no socket");
    let mut foreign = recorded;
    foreign[16] = libc::AF_UNIX as u8;
    assert_eq!(take(&foreign), "address family 1 is not IP");
}

proptest! {
    #[test]
    fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = Answer::default().take(&bytes);
        let _ = (socket(&bytes), attribute(&bytes, INET_DIAG_INFO), sample(0, &bytes));
    }

    #[test]
    fn no_damaged_answer_panics(at in 0..408_usize, value: u8, length in 0..408_usize) {
        let mut damaged = unhex(RECORDED);
        damaged[at] = value;
        let _ = Answer::default().take(&damaged);
        damaged.truncate(length);
        prop_assert!(Answer::default().take(&damaged).is_err() || at < 4 || length == 0);
    }
}
