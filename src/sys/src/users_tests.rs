use super::*;
use crate::testing::TempDir;
use proptest::prelude::*;

/// Two sessions with a disk each; sda has a partition.
fn machine() -> (TempDir, Roots) {
    let dir = TempDir::new();
    dir.sysfs("healthy");
    for (name, dev) in [("sda1", "8:1"), ("vda2", "254:2")] {
        dir.write(&format!("sys/class/block/{name}/dev"), dev);
        dir.write(&format!("dev/{name}"), "");
    }
    dir.write("sys/block/sda/sda1/partition", "1\n");
    dir.write("sys/block/sda/sda1/dev", "8:1\n");
    let roots = Roots::under(dir.path());
    (dir, roots)
}

fn of(roots: &Roots) -> (Vec<Vec<String>>, Vec<String>) {
    let mut gaps = Vec::new();
    let mut sessions = sysfs::sessions(roots, &mut gaps);
    fill(roots, &mut sessions, &mut gaps);
    (sessions.into_iter().flat_map(|s| s.disks).map(|d| d.users).collect(), gaps)
}

#[test]
fn a_disk_of_mirrors_has_no_user() {
    let (dir, roots) = machine();
    dir.write("proc/self/mountinfo", "26 1 254:2 / / rw,relatime shared:1 - ext4 /dev/vda2 rw\n");
    dir.write("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    dir.write("sys/class/block/sda/holders/dm-3", "");
    assert_eq!(of(&roots), (vec![vec![]; 2], vec![]));
    std::fs::remove_dir_all(roots.proc).unwrap();
    assert_eq!(of(&Roots::under(dir.path())), (vec![vec![]; 2], vec![]), "no procfs is no user");
}

#[test]
fn mounts_swap_and_holders_of_a_disk_or_its_partition_are_its_users() {
    let (dir, roots) = machine();
    let mounts = "26 1 254:2 / / rw,relatime shared:1 - ext4 /dev/vda2 rw\n\
                  40 26 8:1 / /srv/data rw master:2 propagate_from:1 - xfs /dev/sda1 rw\n\
                  41 26 8:1 /sub /srv/again rw - xfs /dev/sda1 rw\n";
    dir.write("proc/self/mountinfo", mounts);
    dir.write(
        "proc/swaps",
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda1                               partition\t1\t0\t-2\n",
    );
    dir.write("sys/class/block/sdb/holders/md0", "");
    let (users, gaps) = of(&roots);
    assert_eq!(users[0], ["/srv/again", "/srv/data", "swap"]);
    assert_eq!((users[1].as_slice(), gaps), (&["md0".to_owned()][..], vec![]));
}

#[test]
fn a_file_system_with_a_number_of_its_own_is_known_by_its_source() {
    let (dir, roots) = machine();
    dir.write("proc/self/mountinfo", "50 26 0:45 / /pool rw - bcachefs /dev/vda2:/dev/sda1 rw\n");
    assert_eq!(of(&roots).0[0], ["/pool"]);
    // Elsewhere the number says it, whatever the source is called.
    dir.write("proc/self/mountinfo", "50 26 254:2 / /pool rw - ext4 /dev/sda1 rw\n");
    assert_eq!(of(&roots).0[0], [""; 0]);
    dir.write("sys/fs/btrfs/features/raid1c34", "0");
    dir.write("sys/fs/btrfs/1a-2b/devices/sda1/size", "0");
    assert_eq!(of(&roots).0[0], ["btrfs"]);
}

#[test]
fn hostile_mount_points_are_read_as_the_kernel_means_them() {
    let point = |line: &str| mount(line).map(|mount| mount.point);
    let on = |point: &str| format!("40 26 8:1 / {point} rw - xfs /dev/sda1 rw");
    let table = [
        (r"/a\040b", "/a b"),
        (r"/a\134040b", r"/a\040b"),
        (r"/\043x\011y\012z", "/#x\u{fffd}y\u{fffd}z"),
        (r"/a\", r"/a\"),
        (r"/a\04", r"/a\04"),
        (r"/a\400\09x\+12", r"/a\400\09x\+12"),
        (r"/-", "/-"),
        ("/\u{1b}[2J\r", "/\u{fffd}[2J\u{fffd}"),
        (r"/\303\244\377", "/ä\u{fffd}"),
    ];
    for (written, wanted) in table {
        assert_eq!(point(&on(written)).as_deref(), Some(wanted), "{written}");
    }
    // A file system without a source leaves its field empty; a mount on `-` and one of type `-` are none.
    let bare = mount("40 26 0:9 / /t rw shared:1 master:2 - tmpfs  rw").unwrap();
    assert_eq!((bare.dev, bare.source.as_str()), (DevNo { major: 0, minor: 9 }, ""));
    for line in
        ["", "40 26 8:1 / /x rw", "40 26 8:1 / /x rw -", "40 26 8:1 / /x rw - xfs", "40 26 8 / /x rw - xfs s rw"]
    {
        assert_eq!(mount(line), None, "{line}");
    }
}

#[test]
fn swap_files_and_the_heading_are_no_devices() {
    assert_eq!(swap("Filename Type Size"), Some(None));
    assert_eq!(swap("/swap\\040file file 1 0 -2"), Some(None));
    assert_eq!(swap("/dev/sda\\0402\tpartition\t1"), Some(Some("/dev/sda 2".to_owned())));
    assert_eq!((swap("/dev/sda2"), swap("")), (None, None));
}

#[test]
fn what_cannot_be_told_counts_as_used() {
    let (dir, roots) = machine();
    dir.write("proc/self/mountinfo", "26 1 254:2 / / rw,relatime shared:1\n");
    let (users, gaps) = of(&roots);
    assert!(users.iter().all(|users| users.len() == 1 && users[0].starts_with("unknown: ")), "{users:?}");
    assert!(matches!(&gaps[..], [gap] if gap.contains("self/mountinfo: \"26 1 254:2")), "{gaps:?}");
}

#[test]
fn a_disk_with_a_thousand_mounts_names_a_few() {
    let (dir, roots) = machine();
    let mounts: String = (0..1000).map(|n| format!("4 2 8:1 / /c{n} rw - xfs /dev/sda1 rw\n")).collect();
    dir.write("proc/self/mountinfo", &mounts);
    assert_eq!(of(&roots).0[0].len(), MOST);
}

proptest! {
    #[test]
    fn no_line_panics(line: String, number: u8) {
        drop((mount(&line), swap(&line)));
        let escaped = format!(r"\{number:03o}{line}");
        let known = mount(&format!("40 26 8:1 / {escaped} rw - xfs {escaped} rw"));
        prop_assert!(line.contains(' ') || known.is_some());
        prop_assert!(!decoded(&escaped).chars().any(char::is_control));
    }
}
