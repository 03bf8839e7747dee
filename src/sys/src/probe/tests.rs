use super::image::{Image, Memory, VG};
use super::*;
use crate::testing::{TempDir, fixture_bytes};
use mirrorkeeper_core::ids::LvmUuid;
use mirrorkeeper_core::observation::VgText;
use proptest::prelude::*;

fn pv(image: &Image, seqno: Option<u64>) -> ProbedIdentity {
    let text = |seqno| VgText {
        vg: LvmUuid::parse(VG).unwrap(),
        seqno,
        missing: [].into(),
        stamps: [4].into(),
        host: "node".into(),
    };
    ProbedIdentity::Pv { pv: image.pv.clone(), metadata: seqno.map(text) }
}

fn identity(bytes: Vec<u8>) -> ProbedIdentity {
    inspect(&mut Memory(bytes), &[]).0
}

#[test]
fn a_pv_gives_identity_and_superblocks_in_the_order_asked() {
    let superblock = fixture_bytes("returned-not-healed", "rmeta_1.bin");
    let image = Image { superblocks: vec![(4096, superblock), (8192, vec![7; 512])], ..Image::default() };
    let (identity, superblocks) = inspect(&mut Memory(image.bytes()), &[8192, 4096, 12288, u64::MAX, 1 << 40]);
    assert_eq!(identity, pv(&image, Some(8)));
    let [foreign, found, blank, overflow, beyond] = &superblocks[..] else { panic!() };
    assert_eq!(*foreign, ProbedSuperblock::Foreign);
    assert!(matches!(found, ProbedSuperblock::Found(s) if s.events == 22 && s.position == 1), "{found:?}");
    assert_eq!(*blank, ProbedSuperblock::Blank);
    assert!(matches!(overflow, ProbedSuperblock::Unreadable(_)) && matches!(beyond, ProbedSuperblock::Unreadable(_)));
}

#[test]
fn metadata_that_goes_round_the_end_of_the_ring_is_read_whole() {
    let image = Image { text_at: 8 * 1024 - 5, ..Image::default() };
    assert_eq!(identity(image.bytes()), pv(&image, Some(8)));
}

#[test]
fn a_pv_made_by_lvm_reads_in_full() {
    // testdata/README says what it is; its metadata goes round the end of the ring.
    let bytes = include_bytes!("../../testdata/pv-wrapped.bin");
    let mut device = bytes.to_vec();
    device.extend(fixture_bytes("healthy", "rmeta_0.bin"));
    let (identity, superblocks) = inspect(&mut Memory(device), &[0]);
    let uuid = |text| LvmUuid::parse(text).unwrap();
    let (pv, vg) = (uuid("IDQikJ-rfnd-qumr-wSOw-t9he-mcgd-RfDmQH"), uuid("Kwd3Xs-RQFf-Arhc-5lai-RQdw-mEp9-D0iNA2"));
    let text = VgText { vg, seqno: 32, missing: [].into(), stamps: [31].into(), host: "example".into() };
    assert_eq!(identity, ProbedIdentity::Pv { pv, metadata: Some(text) });
    assert!(matches!(&superblocks[..], [ProbedSuperblock::Found(s)] if s.position == 0), "{superblocks:?}");
}

#[test]
fn an_orphan_has_no_vg() {
    let image = Image { text: Vec::new(), text_at: 0, ..Image::default() };
    let bytes = { Image { text_at: 512, ..image.clone() } }.bytes();
    assert_eq!(identity(bytes), pv(&image, None));
    let ignored = Image { ignored: true, ..Image::default() };
    assert_eq!(identity(ignored.bytes()), pv(&ignored, None));
}

#[test]
fn damaged_metadata_is_not_an_orphan() {
    let mut bytes = Image::default().bytes();
    bytes[4096 + 512 + 30] ^= 1;
    let wanted = ProbedIdentity::Unreadable("VG metadata: checksum is wrong".into());
    assert_eq!(identity(bytes), wanted);
}

#[test]
fn without_a_label_no_superblock_can_be_found() {
    let (blank, superblocks) = inspect(&mut Memory(vec![0; 1 << 20]), &[0]);
    assert_eq!(blank, ProbedIdentity::Blank);
    assert!(matches!(&superblocks[..], [ProbedSuperblock::Unreadable(_)]));
    assert_eq!(identity(vec![1; 1 << 20]), ProbedIdentity::Foreign);
    assert!(matches!(identity(vec![0; 100]), ProbedIdentity::Unreadable(_)));
}

fn ask(roots: &Roots, device: &str, disk: &str) -> LegProbe {
    let pv = LvmUuid::parse(VG).unwrap();
    let target = ProbeTarget { pv: pv.clone(), device: device.into(), superblocks: vec![0, 4096], disk: disk.into() };
    let mut output = Vec::new();
    main(&[], roots, &request(&[target]).unwrap()[..], &mut output).unwrap();
    answer(&output).unwrap().remove(&pv).unwrap()
}

#[test]
fn what_cannot_be_opened_is_answered_not_refused() {
    let dir = TempDir::new();
    dir.write("dev/file", "not a device");
    dir.write("secret", "x");
    let roots = Roots::under(dir.path());
    for (device, why) in [
        ("gone", "No such file or directory"),
        ("file", "no block device"),
        ("../secret", "not a kernel name"),
        ("", "not a kernel name"),
    ] {
        let probe = ask(&roots, device, device);
        let ProbedIdentity::Unreadable(text) = &probe.identity else { panic!("{device}: {probe:?}") };
        assert!(text.contains(why), "{device}: {text}");
        assert_eq!((probe.size, probe.superblocks.len()), (0, 2));
        assert!(matches!(&probe.registration, Registration::Unknown(text) if text.contains(why)), "{probe:?}");
    }
}

#[test]
fn every_disk_that_was_not_flushed_is_named() {
    let dir = TempDir::new();
    dir.write("dev/file", "not a device");
    let words = ["flush", "gone", "file"].map(str::to_owned);
    let said = main(&words, &Roots::under(dir.path()), &b""[..], Vec::new()).unwrap_err().to_string();
    assert!(said.contains("dev/gone") && said.contains("dev/file: no block device"), "{said}");
}

#[test]
fn registrations_of_no_disk_are_an_error_and_not_an_answer() {
    let roots = Roots::under(TempDir::new().path());
    for verb in ["register", "unregister"] {
        let mut output = Vec::new();
        let words = [verb, "gone", "1"].map(str::to_owned);
        assert!(main(&words, &roots, &b""[..], &mut output).unwrap_err().is_absent());
        assert!(output.is_empty());
    }
    let found = Registration::Keys { generation: 1, keys: vec![u64::MAX], reserved: false, persists: false };
    let mut output = Vec::new();
    print(&found, &mut output).unwrap();
    assert_eq!(registration(&output).unwrap(), found);
    assert!(registration(b"").is_err());
}

#[test]
fn rescan_writes_one_to_the_disk_named() {
    let dir = TempDir::new();
    dir.write("sys/class/block/sda/device/rescan", "");
    let roots = Roots::under(dir.path());
    let arguments = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    main(&arguments(&["rescan", "sda"]), &roots, &b""[..], Vec::new()).unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("sys/class/block/sda/device/rescan")).unwrap(), "1\n");
    for words in [&["rescan", "../sda"][..], &["rescan"], &["format", "sda"], &["rescan", "sda", "sdb"]] {
        assert!(main(&arguments(words), &roots, &b""[..], Vec::new()).is_err(), "{words:?}");
    }
}

#[test]
fn a_request_that_is_none_is_refused() {
    let roots = Roots::default();
    for request in [&b""[..], b"{}", b"[1]", b"[{\"pv\":\"x\",\"device\":\"sda\",\"superblocks\":[]}]"] {
        assert!(main(&[], &roots, request, Vec::new()).is_err());
    }
    assert!(answer(b"{\"x\": 1}").is_err());
}

proptest! {
    #[test]
    fn no_device_panics(bytes in proptest::collection::vec(any::<u8>(), 0..6000), at: u64) {
        inspect(&mut Memory(bytes), &[0, at]);
    }

    #[test]
    fn no_damage_panics(at in 0_usize..20_000, byte: u8, size in 0_usize..65_536) {
        let mut bytes = Image::default().bytes();
        bytes[at] = byte;
        bytes.truncate(size);
        inspect(&mut Memory(bytes), &[0, 4096]);
    }
}
