//! The file after restarts, cuts at every byte, bad sectors, and much of everything.

use super::*;
use crate::history::{Fact, Facts};
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const NOW: Wall = Wall(AGE * 3);

fn entry(n: u64) -> Entry {
    let (code, severity, object) = ("leg-lost".into(), "error".into(), "/org/mirrorkeeper1".into());
    Entry { at: NOW.0 + n, code, severity, object, details: Facts::default() }
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
    numbers.map(entry).collect()
}

fn open(dir: &TempDir) -> (Book, Option<Damage>) {
    Book::open(dir.path(), NOW).unwrap()
}

fn all(dir: &TempDir) -> Vec<Entry> {
    select(dir.path(), NOW, 0, MOST).unwrap()
}

fn path(dir: &TempDir) -> PathBuf {
    dir.path().join(NAME)
}

#[test]
fn entries_are_there_after_a_restart_and_are_for_root_only() {
    let dir = TempDir::new().unwrap();
    assert_eq!(all(&dir), [], "no file yet");
    open(&dir).0.append(&entries(0..2), NOW).unwrap();
    open(&dir).0.append(&entries(2..3), NOW).unwrap();
    assert_eq!(all(&dir), entries(0..3));
    assert_eq!(std::fs::metadata(path(&dir)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_newest_are_shown_and_none_older_than_asked_for_or_than_ninety_days() {
    let dir = TempDir::new().unwrap();
    open(&dir).0.append(&entries(0..5), NOW).unwrap();
    let shown = |now, since, limit| select(dir.path(), now, since, limit).unwrap();
    assert_eq!(shown(NOW, NOW.0 + 2, MOST), entries(2..5));
    assert_eq!(shown(NOW, 0, 2), entries(3..5));
    assert_eq!(shown(NOW, NOW.0 + 4, 2), entries(4..5));
    assert_eq!(shown(Wall(NOW.0 + AGE + 3), 0, MOST), entries(3..5));
    assert_eq!(shown(Wall(NOW.0 + AGE + 9), 0, MOST), []);
    assert_eq!(shown(NOW, 0, MOST), entries(0..5), "a clock that jumped wiped nothing");
}

#[test]
fn a_cut_at_any_byte_costs_the_entries_not_written_whole_and_nothing_is_put_aside() {
    let dir = TempDir::new().unwrap();
    open(&dir).0.append(&entries(0..3), NOW).unwrap();
    let whole = std::fs::read(path(&dir)).unwrap();
    let lines: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
    for cut in 0..whole.len() {
        std::fs::write(path(&dir), &whole[..cut]).unwrap();
        let (mut book, damage) = open(&dir);
        assert_eq!(damage, None, "cut at {cut}");
        book.append(&entries(7..8), NOW).unwrap();
        let kept = lines.iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(all(&dir), [entries(0..kept), entries(7..8)].concat(), "cut at {cut}");
    }
}

#[test]
fn a_damaged_byte_costs_its_entry_alone_and_is_put_aside() {
    let dir = TempDir::new().unwrap();
    open(&dir).0.append(&entries(0..3), NOW).unwrap();
    let whole = std::fs::read(path(&dir)).unwrap();
    let line = whole.len() / 3;
    for at in line..2 * line - 1 {
        let mut text = whole.clone();
        text[at] = 0;
        std::fs::write(path(&dir), &text).unwrap();
        let (_, damage) = open(&dir);
        let damage = damage.unwrap();
        assert_eq!(damage.lines, 1);
        assert_eq!(std::fs::read(&damage.aside).unwrap(), text[line..2 * line], "byte {at}");
        assert_eq!(all(&dir), [entry(0), entry(2)], "byte {at}");
        assert_eq!(open(&dir).1, None, "told once");
        std::fs::remove_file(damage.aside).unwrap();
    }
}

#[test]
fn what_is_no_history_at_all_is_put_aside_whole() {
    let dir = TempDir::new().unwrap();
    let text = [&[0; 5000][..], b"\n", "{\"version\": 9}\n\nä".as_bytes()].concat();
    std::fs::write(path(&dir), &text).unwrap();
    let damage = open(&dir).1.unwrap();
    assert_eq!((damage.lines, all(&dir)), (3, vec![]));
    assert_eq!(std::fs::read(damage.aside).unwrap(), text[..text.len() - 2]);
}

#[test]
fn a_new_file_that_was_not_finished_does_no_harm() {
    let dir = TempDir::new().unwrap();
    open(&dir).0.append(&entries(0..2), NOW).unwrap();
    std::fs::write(dir.path().join("history.log.new"), b"half of").unwrap();
    std::fs::write(path(&dir), [&std::fs::read(path(&dir)).unwrap()[..], b"torn"].concat()).unwrap();
    assert_eq!(open(&dir).1, None);
    assert_eq!(all(&dir), entries(0..2));
}

#[test]
fn it_stays_within_its_bounds() {
    let dir = TempDir::new().unwrap();
    let (mut book, _) = open(&dir);
    let many = (MOST + SLACK) as u64;
    book.append(&entries(0..many), NOW).unwrap();
    let lines = || std::fs::read(path(&dir)).unwrap().iter().filter(|b| **b == b'\n').count();
    assert_eq!(lines(), MOST + SLACK);
    assert_eq!(all(&dir), entries(SLACK as u64..many), "not more than that is shown");
    book.append(&entries(many..many + 1), NOW).unwrap();
    assert_eq!(lines(), MOST);
    book.append(&entries(many + 1..many + 2), NOW).unwrap();
    assert_eq!(lines(), MOST + 1, "appended to the new file");

    let mut long = entry(many + 2);
    long.details.0.push(("reason".into(), Fact("x".repeat(5 << 20).into())));
    book.append(&[long.clone()], NOW).unwrap();
    book.append(&[long, entry(many + 3)], NOW).unwrap();
    assert!(std::fs::metadata(path(&dir)).unwrap().len() <= MOST_BYTES / 2);
    assert_eq!(all(&dir), [entry(many + 3)], "what is too long does not stay at the cost of what follows");
}

#[test]
fn a_full_disk_is_an_error_and_leaves_the_entries_before_it() {
    let dir = TempDir::new().unwrap();
    let (mut book, _) = open(&dir);
    book.append(&entries(0..1), NOW).unwrap();
    let half = &entry(1).to_line()[..20];
    book.file.write_all(half.as_bytes()).unwrap();
    book.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(book.append(&entries(1..2), NOW).unwrap_err().kind(), ErrorKind::StorageFull);
    open(&dir).0.append(&entries(2..3), NOW).unwrap();
    assert_eq!(all(&dir), [entry(0), entry(2)]);
}
