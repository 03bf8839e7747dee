//! The queue with a sink that can be held up.

use super::*;
use std::sync::Mutex;
use tracing::Level;

/// A layer that hands over what reaches it, and waits at a gate before it takes anything.
struct Held {
    gate: Mutex<mpsc::Receiver<()>>,
    seen: mpsc::Sender<(Level, Vec<(String, String)>)>,
}

impl<S: Subscriber> Layer<S> for Held {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let _ = self.gate.lock().unwrap().recv();
        let mut record = Record { metadata: event.metadata(), values: Vec::new() };
        event.record(&mut record);
        let values = record.values.into_iter().map(|(field, text)| (field.name().to_owned(), text)).collect();
        self.seen.send((*event.metadata().level(), values)).unwrap();
    }
}

type Seen = mpsc::Receiver<(Level, Vec<(String, String)>)>;

fn held(capacity: usize) -> (Dispatch, Log, mpsc::Sender<()>, Seen) {
    let ((open, gate), (seen, out)) = (mpsc::channel(), mpsc::channel());
    let sinks = move || {
        let normal = Dispatch::new(Registry::default().with(Held { gate: Mutex::new(gate), seen }));
        Sinks { critical: normal.clone(), normal }
    };
    let (queue, log) = queue(capacity, sinks).unwrap();
    (Dispatch::new(Registry::default().with(queue)), log, open, out)
}

fn message(values: &[(String, String)]) -> &str {
    values.iter().find(|(name, _)| name == "message").map_or("", |(_, text)| text)
}

#[test]
fn an_entry_keeps_its_level_and_its_fields() {
    let (log_here, _log, open, seen) = held(4);
    open.send(()).unwrap();
    let absent: Option<String> = None;
    dispatcher::with_default(&log_here, || {
        tracing::error!(mirror = "vg0/a", leg = absent, exit = 5, "it {}", "failed")
    });
    let (level, values) = seen.recv().unwrap();
    assert_eq!((level, message(&values)), (Level::ERROR, "it failed"));
    let has = |name: &str, text: &str| values.contains(&(name.to_owned(), text.to_owned()));
    assert!(has("mirror", "vg0/a") && has("exit", "5") && values.len() == 3, "{values:?}");
}

#[test]
fn a_stalled_journal_costs_entries_but_never_the_callers_time_and_the_loss_is_counted() {
    let (log_here, log, open, seen) = held(4);
    // The thread holds at most one entry and the queue four, so of 50 at least 45 are lost.
    dispatcher::with_default(&log_here, || (0..50).for_each(|number| tracing::info!("entry {number}")));
    drop(open); // the journal answers again
    log.flush();
    let messages: Vec<_> = seen.try_iter().map(|(_, values)| message(&values).to_owned()).collect();
    let (losses, entries): (Vec<_>, Vec<_>) = messages.iter().partition(|m| m.contains("were dropped"));
    let lost: usize = losses.iter().map(|m| m.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert!((4..=5).contains(&entries.len()), "{messages:?}");
    assert_eq!(entries.len() + lost, 50, "{messages:?}");
}

#[test]
fn a_critical_event_goes_to_the_sink_of_its_own() {
    let field_of = |severity: &str| {
        let (entries, waiting) = mpsc::sync_channel(1);
        let queue = Queue { entries, dropped: Arc::default() };
        let here = Dispatch::new(Registry::default().with(queue));
        dispatcher::with_default(&here, || tracing::error!(severity, "both servers are gone"));
        match waiting.recv().unwrap() {
            Message::Record(record) => record.is_critical(),
            Message::Flush(_) => unreachable!("nobody flushes"),
        }
    };
    assert!(field_of("critical") && !field_of("error"));
}

#[test]
fn flushing_a_journal_that_never_answers_ends() {
    let (log_here, log, _open, _seen) = held(4);
    dispatcher::with_default(&log_here, || tracing::info!("stuck"));
    log.flush();
}
