//! The two readers that need a tool: the LVM report and the node records.
//!
//! Each runs at most once at a time; asked again meanwhile, it runs once more afterwards, since the answer under way may
//! be older than the question.

use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::observation::{LvmView, NodeObs};
use mirrorkeeper_core::op::OnDeadline;
use mirrorkeeper_sys::child::{self, Ended, Limits, Outcome};
use mirrorkeeper_sys::{iscsiadm, lvm};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// The report reads 128 KiB of every device and takes a second at most; a device that turned `blocked` meanwhile keeps it
/// until its session is back or given up. Then this run is worthless: something changed.
const DEADLINE: Duration = Duration::from_secs(60);

/// A report has some 2 KiB for each LV with its hidden parts; this holds several thousand mirrors.
const OUTPUT: usize = 32 << 20;

/// `ECMD_FAILED`: comes with a complete report when some VG could not be processed (`facts/lvm.md` 3).
const LVM_FAILED: i32 = 5;

/// Asks for readings.
#[derive(Debug)]
pub struct Readers {
    lvm: Arc<Notify>,
    nodes: Arc<Notify>,
}

impl Readers {
    /// Starts the tasks that wait to be asked. Answers go to `results`.
    pub fn start(results: &mpsc::Sender<Input>) -> Self {
        let lvm = on_demand(results.clone(), || read("the LVM report", lvm::report::argv(), lvm_view), Input::Lvm);
        let nodes =
            on_demand(results.clone(), || read("node records", iscsiadm::nodes_argv(), node_records), Input::Nodes);
        Self { lvm, nodes }
    }

    /// Asks for the LVM report.
    pub fn lvm(&self) {
        self.lvm.notify_one();
    }

    /// Asks for the node records.
    pub fn nodes(&self) {
        self.nodes.notify_one();
    }
}

/// A task that reads once for each time it is notified, but not twice for notices that came during one reading.
fn on_demand<T, F>(
    results: mpsc::Sender<Input>,
    read: impl Fn() -> F + Send + 'static,
    input: fn(Result<T, String>) -> Input,
) -> Arc<Notify>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send,
{
    let asked = Arc::new(Notify::new());
    let waiting = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut complaint = String::new();
        loop {
            waiting.notified().await;
            let answer = read().await;
            let error = answer.as_ref().err().cloned().unwrap_or_default();
            if error != complaint && !error.is_empty() {
                tracing::warn!("{error}");
            }
            complaint = error;
            if results.send(input(answer)).await.is_err() {
                return;
            }
        }
    });
    asked
}

async fn read<T>(what: &str, argv: Vec<String>, parse: fn(&Ended) -> Result<T, String>) -> Result<T, String> {
    let started = Instant::now();
    let limits = Limits { deadline: DEADLINE, on_deadline: OnDeadline::Kill, max_output: OUTPUT };
    let outcome = child::run(&argv, limits, None).await;
    let (tool, ms) = (argv.first().map_or("", String::as_str), started.elapsed().as_millis());
    match outcome {
        Outcome::Ended(ended) => {
            tracing::debug!(tool, exit = ended.code, ms, "{what}: exit {} after {ms} ms", ended.code);
            parse(&ended).map_err(|why| format!("{what}: {why}"))
        }
        Outcome::TimedOut => Err(format!("{what}: no answer within {} s", DEADLINE.as_secs())),
        Outcome::NotStarted(why) => Err(format!("{what}: {why}")),
    }
}

fn lvm_view(ended: &Ended) -> Result<LvmView, String> {
    if !matches!(ended.code, 0 | LVM_FAILED) || ended.truncated {
        return Err(said(ended));
    }
    let text = std::str::from_utf8(&ended.stdout).map_err(|e| e.to_string())?;
    // An incomplete report does not parse; then LVM's own words say more.
    lvm::report::parse(text).map_err(|e| if ended.code == 0 { e.to_string() } else { said(ended) })
}

fn node_records(ended: &Ended) -> Result<Vec<NodeObs>, String> {
    match ended.code {
        0 if !ended.truncated => {
            let found = iscsiadm::parse_nodes(&String::from_utf8_lossy(&ended.stdout));
            found.gaps.iter().for_each(|gap| tracing::warn!("node record left out: {gap}"));
            Ok(found.nodes)
        }
        code if iscsiadm::meaning(code) == iscsiadm::Exit::NoObjects => Ok(Vec::new()),
        _ => Err(said(ended)),
    }
}

fn said(ended: &Ended) -> String {
    let cut = if ended.truncated { ", more output than can be kept" } else { "" };
    format!("exit {}{cut}: {}", ended.code, ended.last_line())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    fn ended(code: i32, stdout: &str, stderr: &str) -> Ended {
        Ended { code, stdout: stdout.into(), truncated: false, stderr: stderr.into() }
    }

    const REPORT: &str = r#"{"report":[]}"#;

    #[test]
    fn a_report_counts_when_it_is_complete_whatever_lvm_thought_of_some_vg() {
        assert!(lvm_view(&ended(0, REPORT, "")).is_ok());
        assert!(lvm_view(&ended(5, REPORT, "  Cannot access VG x with system ID y\n")).is_ok());
        let cut = lvm_view(&ended(5, r#"{"report":[{"#, "  Failed to read /dev/sda\n")).unwrap_err();
        assert_eq!(cut, "exit 5: Failed to read /dev/sda");
        assert!(lvm_view(&ended(3, REPORT, "  Unrecognised field\n")).unwrap_err().starts_with("exit 3"));
        let long = Ended { truncated: true, ..ended(0, REPORT, "") };
        assert!(lvm_view(&long).unwrap_err().contains("more output than can be kept"));
    }

    #[test]
    fn no_node_records_is_an_empty_list_and_not_an_error() {
        assert_eq!(node_records(&ended(21, "", "iscsiadm: No records found\n")), Ok(Vec::new()));
        assert_eq!(node_records(&ended(6, "", "iscsiadm: db locked\n")).unwrap_err(), "exit 6: iscsiadm: db locked");
    }

    #[tokio::test]
    async fn asked_while_reading_it_reads_once_more_and_only_once() {
        let (results, mut inputs) = mpsc::channel(8);
        let (begun, mut begins) = unbounded_channel();
        let gate = Arc::new(Notify::new());
        let go = Arc::clone(&gate);
        let read = move || {
            let (begun, gate) = (begun.clone(), Arc::clone(&gate));
            async move {
                let _ = begun.send(());
                gate.notified().await;
                Err("nothing".to_owned())
            }
        };
        let asked = on_demand(results, read, Input::Nodes);
        asked.notify_one();
        begins.recv().await.unwrap();
        (0..5).for_each(|_| asked.notify_one());
        for _ in 0..2 {
            go.notify_one();
            assert_eq!(inputs.recv().await, Some(Input::Nodes(Err("nothing".to_owned()))));
        }
        begins.recv().await.unwrap();
        // The reader is back at waiting: one more question is one more reading, and nothing was left over.
        assert!(begins.try_recv().is_err() && inputs.try_recv().is_err());
    }
}
