//! Files in a directory of their own under the system's temporary directory.

use super::*;
use mirrorkeeper_core::ids::LvmUuid;
use mirrorkeeper_core::ledger::*;
use mirrorkeeper_core::op::LogKind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc as sync;
use std::sync::{Arc, Mutex};

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mirrorkeeper-ledger-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn put(&self, text: &str) {
        std::fs::write(self.0.join(NAME), text).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ledger(generation: u64) -> Ledger {
    Ledger { generation, ..Ledger::empty("boot") }
}

const NOW: Wall = Wall(1_700_000_000_000_000);

#[test]
fn what_was_saved_is_loaded_again_and_nothing_else_is_left_behind() {
    let dir = Dir::new();
    save(&dir.0, &ledger(1)).unwrap();
    save(&dir.0, &ledger(2)).unwrap();
    assert_eq!(load(&dir.0, NOW), LedgerFound::Good(Box::new(ledger(2))));
    assert_eq!(dir.names(), [NAME]);
}

#[test]
fn a_first_start_finds_nothing_and_makes_the_directory_when_it_saves() {
    let dir = Dir::new();
    let state = dir.0.join("state");
    assert_eq!(load(&state, NOW), LedgerFound::Absent);
    save(&state, &ledger(1)).unwrap();
    assert_eq!(load(&state, NOW), LedgerFound::Good(Box::new(ledger(1))));
}

#[test]
fn an_unusable_file_is_put_aside_and_never_lost() {
    let good = serde_json::to_string(&ledger(7)).unwrap();
    let cases = [
        ("", "EOF"),
        (&good[..good.len() / 2], "EOF"),
        (&format!("{good}{{}}"), "trailing"),
        (&good.replace("\"version\":2", "\"version\":1"), "format version 1, this daemon reads 2"),
        (&good.replace("\"version\":2", "\"version\":3,\"new\":1"), "format version 3, this daemon reads 2"),
        (&good.replace("\"version\":2,", ""), "missing field `version`"),
        (&good.replace("\"generation\"", "\"shiny\":1,\"generation\""), "unknown field `shiny`"),
        ("\0\0\0\0", "expected value"),
    ];
    for (text, why) in cases {
        let dir = Dir::new();
        dir.put(text);
        let LedgerFound::Damaged(said) = load(&dir.0, NOW) else { panic!("{text:?} was accepted") };
        assert!(said.contains(why) && said.contains("damaged-1700000000"), "{text:?}: {said}");
        assert_eq!(dir.names(), ["ledger.json.damaged-1700000000"]);
        assert_eq!(std::fs::read_to_string(dir.0.join("ledger.json.damaged-1700000000")).unwrap(), text);
        assert_eq!(load(&dir.0, NOW), LedgerFound::Absent);
    }
}

/// A mirror with two legs of which everything is known, and all the incidents that are kept. Words are the longest there
/// are, names as long as LVM and iSCSI usually have them.
fn full() -> Ledger {
    let uuid = |c: char| LvmUuid::parse(&c.to_string().repeat(32)).unwrap();
    let (vg, legs) = (uuid('v'), [uuid('a'), uuid('b')]);
    let now = Wall(1_700_000_000_000_000);
    let target =
        |n: usize| format!("iqn.2006-01.com.example.storage:{n}.volume-group-with-a-long-name,10.10.10.1{n}:3260");
    let loss = Loss {
        stamp: Some(1 << 40),
        witnessed: true,
        diverged: true,
        events: Some(1 << 40),
        seqno: Some(1 << 40),
        flagged: Some(1 << 40),
        continuity: Continuity::Unknown,
        rough: true,
        failed: true,
        older: true,
    };
    let leg = |n| LegRecord {
        size: 1 << 50,
        wwid: "t10.IET     00010001beaf11-and-more-of-it".into(),
        target: Some(target(n).into()),
        healthy: Some(Healthy { events: 1 << 40, event_nr: u32::MAX }),
        registered: Some(u32::MAX),
        vouched: Some(1 << 40),
        last: true,
        kept_out: true,
        unverified: true,
        trust: Trust::Suspect { cause: Cause::SessionDown, since: now, stage: Stage::Mismatched, loss },
        admin_write_mostly: true,
    };
    let boot = "6f4a6d1e-0f0b-4a5e-9f0c-0123456789ab";
    let mirror = MirrorRecord {
        name: "volume-group-with-a-long-name/logical-volume-with-a-long-name".into(),
        vg: vg.clone(),
        kind: Kind::Mirror,
        log: LogKind::Bitmap,
        log_pv: Some(uuid('l')),
        legs: legs.iter().cloned().zip((0..).map(leg).map(Box::new)).collect(),
        degraded_since: Some(now),
        last_check: Some((u64::MAX, now)),
        active_in_boot: boot.into(),
        kept: Some(legs[0].clone()),
        unseen: true,
        gated: true,
        incidents: vec![Incident { at: now, leg: legs[1].clone(), what: "session-down".into() }; INCIDENTS],
    };
    let record = TargetRecord {
        carries_leg: true,
        connection: Some(Connection { sid: u32::MAX, local_port: u16::MAX }),
        raised_from: Some(120),
        node_from: None,
        override_seconds: Some(600),
        override_from: Some(120),
        logged_out_in_boot: Some(boot.into()),
    };
    let noted = Some(Noted { stamp: 1 << 40, seqno: 1 << 40 });
    Ledger {
        vgs: [(vg, VgRecord { stamp: 1 << 40, noted, forgotten: true })].into(),
        mirrors: [(uuid('m'), mirror)].into(),
        targets: (0..2).map(|n| (target(n).into(), record.clone())).collect(),
        ..Ledger::empty(boot)
    }
}

#[test]
fn a_mirror_takes_at_most_4_kib_with_its_vg_and_its_targets() {
    let dir = Dir::new();
    save(&dir.0, &full()).unwrap();
    let size = std::fs::metadata(dir.0.join(NAME)).unwrap().len();
    assert!(size <= 4096, "{size} bytes");
    assert_eq!(load(&dir.0, NOW), LedgerFound::Good(Box::new(full())));
}

#[test]
fn a_ledger_cut_anywhere_is_put_aside() {
    let dir = Dir::new();
    save(&dir.0, &full()).unwrap();
    let whole = std::fs::read_to_string(dir.0.join(NAME)).unwrap();
    // All but the newline at its end.
    for end in 0..whole.len() - 1 {
        dir.put(&whole[..end]);
        assert!(matches!(load(&dir.0, NOW), LedgerFound::Damaged(_)), "{end}");
        assert_eq!(dir.names(), ["ledger.json.damaged-1700000000"], "{end}");
        assert_eq!(std::fs::read_to_string(dir.0.join("ledger.json.damaged-1700000000")).unwrap(), whole[..end]);
    }
}

#[test]
fn a_torn_temporary_file_of_an_earlier_crash_is_overwritten() {
    let dir = Dir::new();
    save(&dir.0, &ledger(1)).unwrap();
    std::fs::write(dir.0.join("ledger.json.new"), "{\"half").unwrap();
    assert_eq!(load(&dir.0, NOW), LedgerFound::Good(Box::new(ledger(1))));
    save(&dir.0, &ledger(2)).unwrap();
    assert_eq!(load(&dir.0, NOW), LedgerFound::Good(Box::new(ledger(2))));
}

#[test]
fn a_place_that_cannot_be_written_is_named_in_the_error() {
    let dir = Dir::new();
    std::fs::write(dir.0.join("file"), "").unwrap();
    let error = save(&dir.0.join("file"), &ledger(1)).unwrap_err().to_string();
    assert!(error.starts_with("create ") && error.contains("file"), "{error}");
    std::fs::create_dir(dir.0.join(NAME)).unwrap();
    let error = save(&dir.0, &ledger(1)).unwrap_err().to_string();
    assert!(error.starts_with("rename"), "{error}");
    let found = load(&dir.0, NOW);
    assert!(matches!(&found, LedgerFound::Damaged(why) if why.starts_with("read ")), "{found:?}");
}

#[tokio::test]
async fn of_several_waiting_ledgers_only_the_newest_is_written() {
    let (go, gate) = sync::channel::<()>();
    let (started, mut starts) = mpsc::unbounded_channel();
    let gate = Arc::new(Mutex::new(gate));
    let (results, mut reports) = mpsc::channel(8);
    let write = move |ledger: &Ledger| {
        started.send(ledger.generation).unwrap();
        gate.lock().unwrap().recv().unwrap();
        Ok(())
    };
    let saver = Saver::start_with(write, results);
    saver.save(Arc::new(ledger(1)));
    assert_eq!(starts.recv().await, Some(1));
    for generation in 2..=5 {
        saver.save(Arc::new(ledger(generation)));
    }
    go.send(()).unwrap();
    assert_eq!(reports.recv().await, Some(Input::LedgerSaved(1, Ok(()))));
    assert_eq!(starts.recv().await, Some(5));
    go.send(()).unwrap();
    assert_eq!(reports.recv().await, Some(Input::LedgerSaved(5, Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_disk_is_reported_at_the_deadline_and_again_when_it_answers() {
    let (go, gate) = sync::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let (results, mut reports) = mpsc::channel(8);
    let write = move |_: &Ledger| gate.lock().unwrap().recv().map_err(|e| e.to_string());
    let saver = Saver::start_with(write, results);
    saver.save(Arc::new(ledger(3)));
    // A blocking task keeps tokio's paused clock from advancing by itself.
    tokio::task::yield_now().await;
    tokio::time::advance(DEADLINE + Duration::from_millis(1)).await;
    let Some(Input::LedgerSaved(3, Err(why))) = reports.recv().await else { panic!("no report") };
    assert!(why.contains("after 20 s"), "{why}");
    go.send(()).unwrap();
    assert_eq!(reports.recv().await, Some(Input::LedgerSaved(3, Ok(()))));
}
