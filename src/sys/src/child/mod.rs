//! Child processes with a deadline: whatever may wait for storage runs in one.
//!
//! argv only, never a shell. Output is drained to its end, since a full pipe stops an LVM command while it holds
//! devices suspended (`facts/lvm.md` 3). A writer is never killed: it gets SIGTERM once and is then waited for, however
//! long that takes (lvmteam/lvm2#75). Children outlive this process on purpose, so no parent-death signal is set.

mod output;

use mirrorkeeper_core::op::OnDeadline;
use nix::sys::signal::{SigHandler, Signal, kill, killpg};
use nix::unistd::Pid;
use output::Captured;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child as Process, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// Where programs are looked up, in this order.
const PATH: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// How long output may still come once the child has ended. Only a grandchild that inherited the pipes (a background
/// poller) can make it longer; its output is drained on, but nobody waits for it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Bounds of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take.
    pub deadline: Duration,
    /// What happens then.
    pub on_deadline: OnDeadline,
    /// Bytes kept: of standard output the first ones, of standard error the last ones.
    pub max_output: usize,
}

/// What became of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ended.
    Ended(Ended),
    /// Its deadline passed. A writer goes on; its end follows as a second outcome.
    TimedOut,
    /// It could not be started; why.
    NotStarted(String),
}

/// A child that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Exit status; 128 + signal when a signal ended it.
    pub code: i32,
    /// Head of standard output.
    pub stdout: Vec<u8>,
    /// Whether standard output was longer than what is kept.
    pub truncated: bool,
    /// Tail of standard error.
    pub stderr: Vec<u8>,
}

impl Ended {
    /// The last line that is not blank, standard error first; empty when there is none.
    pub fn last_line(&self) -> String {
        let last = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.lines().rev().map(str::trim).find(|l| !l.is_empty()).map(str::to_owned)
        };
        last(&self.stderr).or_else(|| last(&self.stdout)).unwrap_or_default()
    }
}

/// A started child. Dropping this does not stop it: it is still drained, held to its deadline and reaped.
#[derive(Debug)]
pub struct Child(mpsc::Receiver<Outcome>);

impl Child {
    /// The next outcome: the end, or `TimedOut` and for writers the end later. `None` after the last one.
    pub async fn next(&mut self) -> Option<Outcome> {
        self.0.recv().await
    }
}

/// Starts a program (looked up in a fixed path unless it has a slash in it) in its own process group, with an
/// environment of three variables. `stdin` is written to it and closed; without, it reads nothing. Needs a tokio
/// runtime.
pub fn spawn(argv: &[String], limits: Limits, stdin: Option<Vec<u8>>) -> Child {
    let (sender, receiver) = mpsc::channel(2);
    match start(argv, stdin.is_some()) {
        Ok(process) => drop(tokio::spawn(attend(process, limits, stdin, sender))),
        // The channel is fresh and holds two, so this cannot fail.
        Err(why) => drop(sender.try_send(Outcome::NotStarted(why))),
    }
    Child(receiver)
}

/// As [`spawn`], for those who care for the first outcome only.
pub async fn run(argv: &[String], limits: Limits, stdin: Option<Vec<u8>>) -> Outcome {
    let ended = Outcome::NotStarted("its attendant is gone".to_owned());
    spawn(argv, limits, stdin).next().await.unwrap_or(ended)
}

fn start(argv: &[String], has_stdin: bool) -> Result<Process, String> {
    let Some((program, arguments)) = argv.split_first() else { return Err("empty command line".to_owned()) };
    let path = find(program).ok_or_else(|| format!("{program}: not found in {}", PATH.join(":")))?;
    let mut command = Command::new(&path);
    // SAFETY: between fork and exec only `signal`, which is async-signal-safe, is called.
    unsafe {
        // Should this process die, a writer must not be killed by its next line to the closed pipe while it holds
        // devices suspended. The standard library resets SIGPIPE before this runs.
        command
            .pre_exec(|| nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigIgn).map(drop).map_err(Into::into));
    }
    command
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", PATH.join(":"))
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .current_dir("/")
        .stdin(if has_stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(false)
        .spawn()
        .map_err(|e| format!("{}: {e}", path.display()))
}

fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program));
    }
    PATH.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.is_file())
}

/// Looks after one child from its start to its end.
async fn attend(mut process: Process, limits: Limits, stdin: Option<Vec<u8>>, outcomes: mpsc::Sender<Outcome>) {
    let deadline = Instant::now() + limits.deadline;
    let pid = process.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    if let (Some(mut pipe), Some(bytes)) = (process.stdin.take(), stdin) {
        // A child that does not want its input closes the pipe; its exit code tells.
        tokio::spawn(async move { pipe.write_all(&bytes).await });
    }
    let stdout = output::head(process.stdout.take(), limits.max_output);
    let stderr = output::tail(process.stderr.take(), limits.max_output);
    let status = match timeout_at(deadline, process.wait()).await {
        Ok(status) => status,
        Err(_) => {
            match limits.on_deadline {
                OnDeadline::Kill => signal(pid, |pid| killpg(pid, Signal::SIGKILL)),
                OnDeadline::TermAndWait => signal(pid, |pid| kill(pid, Signal::SIGTERM)),
            }
            // Whether anybody still listens makes no difference: the child must be reaped.
            let _ = outcomes.send(Outcome::TimedOut).await;
            let status = process.wait().await;
            if limits.on_deadline == OnDeadline::Kill {
                return;
            }
            status
        }
    };
    let _ = outcomes.send(ended(status, stdout, stderr).await).await;
}

async fn ended(status: io::Result<ExitStatus>, mut stdout: Captured, mut stderr: Captured) -> Outcome {
    let code = match status {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        Err(e) => return Outcome::NotStarted(format!("waiting for it: {e}")),
    };
    // Both may run out the time; then there is a grandchild, and what came so far is what there is.
    let _ = timeout(LAST_WORDS, async { (stdout.end().await, stderr.end().await) }).await;
    let (stdout, truncated) = stdout.take();
    let (stderr, _) = stderr.take();
    Outcome::Ended(Ended { code, stdout, truncated, stderr })
}

fn signal(pid: Option<Pid>, send: impl FnOnce(Pid) -> nix::Result<()>) {
    // Not yet reaped, so the id is still its own.
    if let Some(Err(e)) = pid.map(send) {
        tracing::warn!(error = %e, "a child past its deadline could not be signalled");
    }
}

#[cfg(test)]
mod tests;
