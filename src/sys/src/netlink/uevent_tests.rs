use super::*;
use crate::testing::fixture_text;
use proptest::prelude::*;

fn properties(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs.iter().flat_map(|(k, v)| format!("{k}={v}\0").into_bytes()).collect()
}

/// As udev sends it: prefix, magic, header size, offset and length of the properties, hashes.
fn by_udev(magic: u32, properties: &[u8]) -> Vec<u8> {
    let mut message = b"libudev\0".to_vec();
    message.extend(magic.to_be_bytes());
    message.extend(40_u32.to_ne_bytes());
    message.extend(40_u32.to_ne_bytes());
    message.extend(u32::try_from(properties.len()).unwrap().to_ne_bytes());
    message.extend([0; 16]);
    message.extend(properties);
    message
}

fn by_kernel(action: &str, devpath: &str, rest: &[u8]) -> Vec<u8> {
    [format!("{action}@{devpath}\0").as_bytes(), rest].concat()
}

#[test]
fn both_formats_say_the_same() {
    let pairs =
        properties(&[("ACTION", "add"), ("DEVPATH", "/devices/x/block/sda"), ("SUBSYSTEM", "block"), ("X", "=")]);
    let wanted = Uevent { action: "add".into(), subsystem: "block".into(), devpath: "/devices/x/block/sda".into() };
    assert_eq!(parse(&by_udev(UDEV_MAGIC, &pairs)).unwrap(), wanted);
    assert_eq!(parse(&by_kernel("add", "/devices/x/block/sda", &pairs)).unwrap(), wanted);
    assert!(wanted.wakes());
}

#[test]
fn recorded_events_wake_by_their_subsystem() {
    let mut woken = std::collections::BTreeSet::new();
    let mut slept = std::collections::BTreeSet::new();
    for line in fixture_text("cycle-logout-login-kill-return", "uevents.jsonl").lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let env = event["env"].as_object().unwrap();
        let pairs: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str().unwrap())).collect();
        let message = [event["head"].as_str().unwrap().as_bytes(), b"\0", &properties(&pairs)].concat();
        let event = parse(&message).unwrap();
        if event.wakes() { &mut woken } else { &mut slept }.insert(event.subsystem);
    }
    assert!(woken.contains("iscsi_session") && woken.contains("block") && woken.contains("scsi"), "{woken:?}");
    assert!(slept.contains("bsg"), "{slept:?}");
}

#[test]
fn other_messages_are_none() {
    let pairs = properties(&[("ACTION", "add"), ("DEVPATH", "/x"), ("SUBSYSTEM", "block")]);
    assert_eq!(parse(&by_udev(0xdead_beef, &pairs)), None);
    assert_eq!(parse(&by_udev(UDEV_MAGIC, &pairs)[..20]), None);
    assert_eq!(parse(b"libudev\0"), None);
    assert_eq!(parse(b"nonsense"), None);
    assert_eq!(parse(b""), None);
}

/// Group 1 may be joined by anybody, so this works without rights; where there are no netlink sockets at all, opening
/// must say so instead of panicking.
#[tokio::test]
async fn the_socket_opens_or_says_why() {
    let dir = crate::testing::TempDir::new();
    match Listener::open(&Roots::under(dir.path())) {
        Ok(mut listener) => {
            // Nothing of a foreign sender may get through; with no event the future stays pending.
            let poll = std::future::poll_fn(|cx| {
                let mut next = std::pin::pin!(listener.next());
                std::task::Poll::Ready(std::future::Future::poll(next.as_mut(), cx).map(|r| r.is_ok()))
            });
            assert!(!matches!(poll.await, std::task::Poll::Ready(false)));
        }
        Err(e) => assert!(e.to_string().starts_with("listen to uevents"), "{e}"),
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), udev: bool) {
        parse(&if udev { by_udev(UDEV_MAGIC, &bytes) } else { bytes });
    }
}
