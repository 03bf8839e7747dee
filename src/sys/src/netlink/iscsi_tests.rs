use super::*;
use crate::testing::{fixture_text, unhex};
use proptest::prelude::*;

/// The recorded frames of a cycle with what the recorder made of them.
fn recorded(cycle: &str) -> Vec<(String, Vec<u8>)> {
    let text = fixture_text(cycle, "netlink.tsv");
    let fields = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    fields.map(|f| (f[1].to_owned(), unhex(f[2]))).collect()
}

#[test]
fn a_recorded_logout_and_a_kill_read_as_what_they_were() {
    use IscsiHint::{ConnError, LogoutResponse, Unbind};
    use Notice::{Hint, Wake};
    let notices: Vec<_> = recorded("cycle-logout-login-kill-return").iter().flat_map(|(_, f)| parse(f)).collect();
    assert_eq!(
        notices,
        [
            Hint(Unbind { sid: 1 }),
            Hint(LogoutResponse { sid: 1 }),
            Wake, // session destroyed
            Wake, // session created
            Wake, // login response
            Hint(ConnError { sid: 3, code: 1020 }),
            Hint(ConnError { sid: 3, code: 1019 }),
            Wake, // login response
        ]
    );
}

#[test]
fn every_recorded_frame_is_one_notice() {
    for (meaning, frame) in recorded("cycle-silent-cut-and-return") {
        assert_eq!(parse(&frame).len(), 1, "{meaning}");
    }
}

#[test]
fn several_frames_in_one_datagram_are_several_notices() {
    let frames = recorded("cycle-logout-login-kill-return");
    let mut all: Vec<u8> = Vec::new();
    for (_, frame) in &frames {
        all.extend(frame);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    assert_eq!(parse(&all).len(), frames.len());
}

#[test]
fn answers_to_others_are_nothing() {
    let (_, mut frame) = recorded("cycle-silent-cut-and-return").remove(0);
    frame[NLMSGHDR] = 20;
    assert_eq!(parse(&frame), []);
}

#[test]
fn events_not_known_are_a_wake() {
    let (_, mut frame) = recorded("cycle-silent-cut-and-return").remove(0);
    frame[NLMSGHDR] = 110;
    assert_eq!(parse(&frame), [Notice::Wake]);
}

#[test]
fn a_frame_cut_short_says_what_is_left_of_it() {
    let frames = recorded("cycle-logout-login-kill-return");
    let logout = &frames[1].1;
    assert_eq!(parse(&logout[..=PDU]), [Notice::Hint(IscsiHint::LogoutResponse { sid: 1 })]);
    assert_eq!(parse(&logout[..PDU]), [Notice::Wake]);
    assert_eq!(parse(&logout[..10]), [Notice::Wake]);
    assert_eq!(parse(&[]), []);
    let lost = &frames[5].1;
    assert_eq!(parse(&lost[..R + 11]), [Notice::Wake]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        parse(&bytes);
    }

    #[test]
    fn no_damage_panics(at in 0_usize..72, byte: u8, keep in 0_usize..500) {
        let (_, mut frame) = recorded("cycle-logout-login-kill-return").remove(1);
        frame[at] = byte;
        frame.truncate(keep);
        parse(&frame);
    }
}
