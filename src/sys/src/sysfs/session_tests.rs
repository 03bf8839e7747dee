use super::*;
use crate::testing::TempDir;
use mirrorkeeper_core::ids::DevNo;
use mirrorkeeper_core::observation::ScsiState;
use std::fs;

fn observe(dir: &TempDir) -> (Vec<SessionObs>, Vec<String>) {
    let mut gaps = Vec::new();
    (sessions(&Roots::under(dir.path()), &mut gaps), gaps)
}

fn recorded(fixture: &str) -> (TempDir, Vec<SessionObs>) {
    let dir = TempDir::new();
    dir.sysfs(fixture);
    let (sessions, gaps) = observe(&dir);
    assert_eq!(gaps, [""; 0], "{fixture}");
    (dir, sessions)
}

#[test]
fn a_healthy_machine_reads_in_full() {
    let (_dir, sessions) = recorded("deb13-healthy");
    assert_eq!(sessions.len(), 2);
    let b = &sessions[0];
    assert_eq!((b.sid, &b.state), (1, &SessionState::LoggedIn));
    assert_eq!(b.target.to_string(), "iqn.2006-01.com.openfiler:linuxtest1lv-b,10.10.2.2:3260");
    assert!(b.local_port.is_some());
    let [disk] = &b.disks[..] else { panic!("{:?}", b.disks) };
    assert_eq!((disk.name.as_str(), disk.dev), ("sda", DevNo { major: 8, minor: 0 }));
    assert_eq!((&disk.state, disk.size), (&ScsiState::Running, 419_430_400));
    assert_eq!(disk.wwid, "naa.60000000000000000e00000000010001");
}

#[test]
fn an_outage_reads_without_gaps_from_its_first_moment_to_its_end() {
    let (_dir, sessions) = recorded("one-leg-cut-blocked");
    assert_eq!((&sessions[0].state, &sessions[0].disks[0].state), (&SessionState::Failed, &ScsiState::Blocked));
    let (_dir, sessions) = recorded("one-leg-offline");
    assert_eq!((&sessions[0].state, &sessions[0].disks[0].state), (&SessionState::Free, &ScsiState::TransportOffline));
    let (_dir, sessions) = recorded("both-down");
    assert!(sessions.iter().all(|s| s.state == SessionState::Free));
}

#[test]
fn every_recorded_machine_reads_without_gaps() {
    for (fixture, _) in crate::testing::each_fixture("sysfs.tsv") {
        let (_dir, sessions) = recorded(&fixture);
        assert!(!sessions.is_empty(), "{fixture}");
    }
}

#[test]
fn only_what_cannot_be_read_is_missing() {
    let dir = TempDir::new();
    dir.sysfs("healthy");
    let connection = |sid: u32, file: &str| format!("sys/class/iscsi_connection/connection{sid}:0/{file}");
    dir.write(&connection(1, "persistent_port"), "none");
    dir.write("sys/class/iscsi_session/session2/recovery_tmo", "soon");
    dir.write("sys/class/iscsi_session/session2/ifacename", "(null)");
    dir.write(&connection(2, "local_port"), "(null)");
    let (sessions, gaps) = observe(&dir);
    let [session] = &sessions[..] else { panic!("{sessions:?}") };
    assert_eq!((session.sid, session.local_port, session.recovery_tmo), (2, None, None));
    assert_eq!(session.target.iface, "default");
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert!(gaps[0].ends_with("connection1:0/persistent_port: \"none\" is not a port"), "{gaps:?}");
    assert!(gaps[1].ends_with("session2/recovery_tmo: \"soon\" is not seconds or off"), "{gaps:?}");
}

#[test]
fn a_session_without_name_or_portal_is_a_gap() {
    for file in ["iscsi_session/session1/targetname", "iscsi_connection/connection1:0/persistent_address"] {
        let dir = TempDir::new();
        dir.sysfs("healthy");
        dir.write(&format!("sys/class/{file}"), "(null)\n");
        let (sessions, gaps) = observe(&dir);
        assert_eq!(sessions.iter().map(|s| s.sid).collect::<Vec<_>>(), [2]);
        assert!(matches!(&gaps[..], [gap] if gap.ends_with(&format!("{file}: \"\" is not set"))), "{gaps:?}");
    }
}

#[test]
fn a_broken_disk_costs_that_disk_only() {
    let dir = TempDir::new();
    dir.sysfs("healthy");
    dir.write("sys/block/sda/size", "big");
    let (sessions, gaps) = observe(&dir);
    assert_eq!(sessions.iter().map(|s| s.disks.len()).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
}

#[test]
fn optional_attributes_may_be_absent() {
    let dir = TempDir::new();
    dir.sysfs("healthy");
    for file in ["iscsi_session/session1/ifacename", "iscsi_connection/connection1:0/local_port"] {
        fs::remove_file(dir.path().join("sys/class").join(file)).unwrap();
    }
    fs::remove_file(dir.path().join("sys/block/sda/device/wwid")).unwrap();
    let (sessions, gaps) = observe(&dir);
    assert_eq!(gaps, [""; 0]);
    assert_eq!((sessions[0].local_port, sessions[0].disks[0].wwid.as_str()), (None, ""));
    // A directory cannot be read: stands for the EINVAL of a LUN without a WWID.
    fs::create_dir(dir.path().join("sys/block/sda/device/wwid")).unwrap();
    let (sessions, gaps) = observe(&dir);
    assert_eq!((gaps.len(), sessions[0].disks[0].wwid.as_str()), (0, ""));
}

#[test]
fn partitions_and_written_sectors_belong_to_the_disk() {
    let dir = TempDir::new();
    dir.sysfs("healthy");
    dir.write("sys/block/sda/sda1/partition", "1\n");
    dir.write("sys/block/sda/sda1/dev", "8:1\n");
    dir.write("sys/block/sda/queue/dev", "not a partition\n");
    dir.write(
        "sys/block/sda/stat",
        "     100        0      800       10      200        0     1600       20        0 0 0\n",
    );
    let (sessions, gaps) = observe(&dir);
    assert_eq!(gaps, [""; 0]);
    let disk = &sessions[0].disks[0];
    assert_eq!(disk.sectors_written, 1600);
    assert_eq!(disk.partitions, [("sda1".to_owned(), DevNo { major: 8, minor: 1 })]);
}

#[test]
fn the_kernels_word_for_the_cache_is_kept() {
    let dir = TempDir::new();
    dir.sysfs("healthy");
    dir.write("sys/block/sda/queue/write_cache", "write back\n");
    dir.write("sys/block/sdb/queue/write_cache", "write through\n");
    let words = |dir| observe(dir).0.into_iter().flat_map(|s| s.disks).map(|d| d.write_cache).collect::<Vec<_>>();
    assert_eq!(words(&dir), ["write back", "write through"]);
    fs::remove_file(dir.path().join("sys/block/sda/queue/write_cache")).unwrap();
    assert_eq!(words(&dir), ["", "write through"]);
}

#[test]
fn both_noop_times_or_none() {
    let dir = TempDir::new();
    dir.sysfs("healthy");
    let noop = |dir| observe(dir).0[0].noop;
    assert_eq!(noop(&dir), Some((5, 5)));
    for (file, value) in [("recv_tmo", "0"), ("ping_tmo", "0"), ("ping_tmo", "(null)")] {
        dir.write(&format!("sys/class/iscsi_connection/connection1:0/{file}"), value);
        assert_eq!(noop(&dir), None, "{file} {value}");
        dir.write(&format!("sys/class/iscsi_connection/connection1:0/{file}"), "5");
    }
    dir.write("sys/class/iscsi_connection/connection1:0/recv_tmo", "7");
    assert_eq!(noop(&dir), Some((7, 5)));
}

#[test]
fn off_is_never_and_other_words_are_neither() {
    assert_eq!(recovery_tmo("off"), Some(None));
    assert_eq!(recovery_tmo("15"), Some(Some(15)));
    assert_eq!(recovery_tmo("-1"), None);
}

#[test]
fn states_of_kernels_to_come_are_kept() {
    assert_eq!(state("LOGGED_IN"), SessionState::LoggedIn);
    assert_eq!(state("DREAMING"), SessionState::Other("DREAMING".into()));
}
