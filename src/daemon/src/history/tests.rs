//! The thread and its queue.

use super::*;
use mirrorkeeper_core::snapshot::{Details, Object};
use mirrorkeeper_core::time::Wall;
use mirrorkeeper_core::words::{EventCode, Severity};

fn event(n: u64) -> Event {
    let details = Details::from([("reason", "why".into())]);
    let at = Wall(clock::now().wall.0 + n);
    Event { at, code: EventCode::Held, severity: Severity::Warning, object: Object::Mirror("vg0/lv".into()), details }
}

async fn times(history: &History, since: u64, limit: u32) -> Vec<u64> {
    history.read(since, limit).await.unwrap().iter().map(|entry| entry.at).collect()
}

#[tokio::test]
async fn what_was_noted_is_read_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let events = [event(0), event(1), event(2)];
    let history = History::start(dir.path().to_owned());
    events[..2].iter().for_each(|event| history.note(event));
    assert_eq!(history.read(0, 0).await.unwrap(), [Entry::from(&events[0]), Entry::from(&events[1])]);
    let again = History::start(dir.path().to_owned());
    again.note(&events[2]);
    let at = |n: usize| events[n].at.0;
    assert_eq!(times(&again, 0, 0).await, [at(0), at(1), at(2)]);
    assert_eq!(times(&again, 0, 1).await, [at(2)]);
    assert_eq!(times(&again, at(1), 10).await, [at(1), at(2)]);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_costs_entries_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::write(&state, "in the way").unwrap();
    let history = History::start(state.clone());
    history.note(&event(0));
    assert!(matches!(history.read(0, 0).await, Err(Unanswered::Unreadable(_))));
    std::fs::remove_file(&state).unwrap();
    let second = event(1);
    history.note(&second);
    assert_eq!(times(&history, 0, 0).await, [second.at.0]);
    assert_eq!(history.lost.load(Ordering::Relaxed), 0, "counted and told");
}

#[tokio::test]
async fn a_disk_that_hangs_holds_nobody_up() {
    // A queue that nobody empties, as while the thread waits for its disk.
    let (messages, waiting) = mpsc::sync_channel(2);
    let history = History { messages, lost: Arc::default() };
    (0..5).for_each(|n| history.note(&event(n)));
    assert_eq!(history.lost.load(Ordering::Relaxed), 3);
    assert!(matches!(history.read(0, 0).await, Err(Unanswered::Stuck)));
    drop(waiting);
    assert!(matches!(History::none().read(0, 0).await, Err(Unanswered::Stuck)));
}
