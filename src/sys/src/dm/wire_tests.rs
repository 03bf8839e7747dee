use super::*;
use proptest::prelude::*;

/// A list as the kernel writes it: fixed part, name, aligned event number, flags and uuid, aligned next record.
fn listing(devices: &[(u64, &str, u32, Option<&str>)], with_events: bool) -> Vec<u8> {
    let mut data: Vec<u8> = Vec::new();
    for (i, (dev, name, event, uuid)) in devices.iter().enumerate() {
        let start = data.len();
        data.extend(dev.to_ne_bytes());
        data.extend([0; 4]);
        data.extend(name.as_bytes());
        data.push(0);
        data.resize(data.len().next_multiple_of(8), 0);
        if with_events {
            data.extend(event.to_ne_bytes());
            data.extend(match uuid {
                Some(_) => HAS_UUID.to_ne_bytes(),
                None => HAS_NO_UUID.to_ne_bytes(),
            });
            if let Some(uuid) = uuid {
                data.extend(uuid.as_bytes());
                data.push(0);
            }
            data.resize(data.len().next_multiple_of(8), 0);
        }
        if i + 1 < devices.len() {
            let next = u32::try_from(data.len() - start).unwrap();
            data[start + 8..start + 12].copy_from_slice(&next.to_ne_bytes());
        }
    }
    data
}

fn answer(flags: u32, targets: u32, data: &[u8]) -> Vec<u8> {
    let mut buffer = request(HEADER + data.len(), flags, Some(DevNo { major: 253, minor: 7 }));
    buffer[TARGET_COUNT..TARGET_COUNT + 4].copy_from_slice(&targets.to_ne_bytes());
    buffer[HEADER..].copy_from_slice(data);
    buffer
}

fn status_data(lines: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (kind, params) in lines {
        data.extend(0_u64.to_ne_bytes());
        data.extend(262_144_u64.to_ne_bytes());
        data.extend([0; 8]);
        let mut name = [0; 16];
        name[..kind.len()].copy_from_slice(kind.as_bytes());
        data.extend(name);
        data.extend(params.as_bytes());
        data.push(0);
        data.resize(data.len().next_multiple_of(8), 0);
        let next = u32::try_from(data.len()).unwrap();
        let at = data.len() - TARGET_SPEC - (params.len() + 1).next_multiple_of(8) + 20;
        data[at..at + 4].copy_from_slice(&next.to_ne_bytes());
    }
    data
}

#[test]
fn a_request_is_zero_but_for_what_was_asked() {
    let buffer = request(400, STATUS_TABLE | NOFLUSH, Some(DevNo { major: 253, minor: 300 }));
    let header = header(&buffer).unwrap();
    assert_eq!((header.version, header.data.clone(), header.flags), ([4, 0, 0], HEADER..400, STATUS_TABLE | NOFLUSH));
    assert_eq!(header.dev, DevNo { major: 253, minor: 300 });
    assert_eq!((header.event_nr, header.name.as_str(), header.uuid.as_str()), (0, "", ""));
    assert_eq!(request(0, 0, None).len(), HEADER);
}

#[test]
fn device_numbers_survive_both_ways() {
    // 64775 is what a recorded list says of 253:7.
    assert_eq!(decode(64775), DevNo { major: 253, minor: 7 });
    for dev in
        [DevNo { major: 8, minor: 16 }, DevNo { major: 259, minor: 1_048_575 }, DevNo { major: 4095, minor: 256 }]
    {
        assert_eq!(decode(encode(dev)), dev);
    }
}

#[test]
fn a_list_gives_names_events_and_uuids() {
    let data = listing(&[(64775, "vg0-r1", 3, Some("LVM-abc")), (64768, "crypt", 0, None)], true);
    let devices = list(&data).unwrap();
    assert_eq!(
        devices,
        [
            Listed {
                dev: DevNo { major: 253, minor: 7 },
                name: "vg0-r1".into(),
                event_nr: Some(3),
                uuid: Some("LVM-abc".into())
            },
            Listed {
                dev: DevNo { major: 253, minor: 0 },
                name: "crypt".into(),
                event_nr: Some(0),
                uuid: Some(String::new())
            },
        ]
    );
}

#[test]
fn a_list_of_an_old_kernel_has_neither_events_nor_uuids() {
    let devices = list(&listing(&[(64775, "vg0-r1", 0, None), (64768, "crypt", 0, None)], false)).unwrap();
    assert_eq!(devices.len(), 2);
    assert!(devices.iter().all(|d| d.event_nr.is_none() && d.uuid.is_none()), "{devices:?}");
}

#[test]
fn no_devices_is_an_empty_list() {
    assert_eq!(list(&[]).unwrap(), []);
    assert_eq!(list(&[0; 16]).unwrap(), []);
}

#[test]
fn a_list_that_runs_in_circles_or_over_the_end_is_refused() {
    let good = listing(&[(64775, "vg0-r1", 3, Some("LVM-abc")), (64768, "crypt", 0, None)], true);
    for next in [1_u32, 8, 12, 4096, u32::MAX] {
        let mut data = good.clone();
        data[8..12].copy_from_slice(&next.to_ne_bytes());
        assert!(list(&data).is_err(), "{next}");
    }
    assert!(list(&good[..14]).is_err());
}

#[test]
fn status_lines_are_found_by_their_offsets() {
    let data = status_data(&[("raid", "raid1 2 AA 262144/262144 idle 0 0 -"), ("linear", "")]);
    let buffer = answer(SUSPENDED, 2, &data);
    let header = header(&buffer).unwrap();
    let lines = lines(&buffer[header.data.clone()], header.target_count).unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].kind.as_str(), lines[0].length), ("raid", 262_144));
    assert_eq!(lines[0].params, "raid1 2 AA 262144/262144 idle 0 0 -");
    assert_eq!((lines[1].kind.as_str(), lines[1].params.as_str()), ("linear", ""));
}

#[test]
fn a_status_that_runs_over_the_end_is_refused() {
    let data = status_data(&[("raid", "raid1 2 AA")]);
    assert!(lines(&data, 2).is_err(), "more targets than data");
    assert!(lines(&data[..45], 1).is_err(), "not terminated");
    assert_eq!(lines(&[], 0).unwrap(), []);
}

#[test]
fn deps_are_counted_not_trusted() {
    let mut data = Vec::new();
    data.extend(2_u32.to_ne_bytes());
    data.extend([0; 4]);
    data.extend(0x800_u64.to_ne_bytes());
    data.extend(0x810_u64.to_ne_bytes());
    assert_eq!(deps(&data).unwrap(), [DevNo { major: 8, minor: 0 }, DevNo { major: 8, minor: 16 }]);
    data[0] = 3;
    assert!(deps(&data).is_err());
    assert_eq!(deps(&[]).unwrap(), [], "a device without a live table");
}

#[test]
fn a_header_that_points_outside_is_refused() {
    let mut buffer = request(HEADER, 0, None);
    buffer[DATA_START..DATA_START + 4].copy_from_slice(&4096_u32.to_ne_bytes());
    assert!(header(&buffer).is_err());
    assert!(header(&[0; HEADER - 1]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(data in proptest::collection::vec(any::<u8>(), 0..700), count in 0_u32..5) {
        let _ = header(&data).map(|h| data[h.data].len());
        let _ = list(&data);
        let _ = lines(&data, count);
        let _ = deps(&data);
    }

    #[test]
    fn a_damaged_list_never_panics(at in 0_usize..64, byte: u8) {
        let mut data = listing(&[(64775, "vg0-r1", 3, Some("LVM-abc")), (64768, "crypt", 0, None)], true);
        let at = at % data.len();
        data[at] = byte;
        let _ = list(&data);
    }
}
