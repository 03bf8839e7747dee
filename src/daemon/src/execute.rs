//! Carrying out what the engine decided: one task an operation, each with its deadline, each ending in an input.
//!
//! Whatever can wait for storage is a child process. An exit code is passed on as a hint and never believed: the next
//! observation tells what happened. A new LVM command or login is not begun while the system is going down, but for the
//! closing stamp; that is looked up just before each, since no signal tells us before our own turn to stop.

mod read;

pub use read::Readers;

use mirrorkeeper_core::ids::{OpId, TargetKey};
use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::name::Name;
use mirrorkeeper_core::observation::{Backlog, Detect};
use mirrorkeeper_core::op::{OnDeadline, Op, OpResult};
use mirrorkeeper_sys::child::{self, Ended, Limits, Outcome};
use mirrorkeeper_sys::netlink::stop;
use mirrorkeeper_sys::probe::{self, DirectRead, Verb};
use mirrorkeeper_sys::tcp::{self, Miss, Sockets};
use mirrorkeeper_sys::{Error, Roots, sysfs, throttle};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// How long a portal may take to accept a connection. A healthy one on a LAN needs under a millisecond; one lost SYN is
/// sent again after 1 s, and this leaves room for that.
const CONNECT: Duration = Duration::from_secs(2);

/// How long PID 1 may take to say whether the system is stopping. It was measured at some 10 ms.
const ASK_SYSTEMD: Duration = Duration::from_secs(2);

/// Output kept of an operation: a probe of thousands of legs answers some 120 bytes for each superblock.
const OUTPUT: usize = 4 * 1024 * 1024;

/// Starts operations and reports their ends.
#[derive(Debug, Clone)]
pub struct Executor {
    roots: Roots,
    results: mpsc::Sender<Input>,
    sockets: Arc<Sockets>,
}

impl Executor {
    /// Ends go to `results`.
    pub fn new(roots: Roots, results: mpsc::Sender<Input>) -> Self {
        Self { roots, results, sockets: Arc::default() }
    }

    /// Begins an operation and returns at once.
    pub fn start(&self, id: OpId, op: Op) {
        let this = self.clone();
        tokio::spawn(async move { this.carry_out(id, op).await });
    }

    /// Asks whether the whole system is stopping; the answer comes as an input.
    pub fn ask_system(&self) {
        let results = self.results.clone();
        tokio::spawn(async move { results.send(Input::SystemStopping(system_is_stopping().await)).await });
    }

    async fn carry_out(&self, id: OpId, op: Op) {
        if begins_something(&op) && system_is_stopping().await {
            tracing::info!(op = op.code(), "not begun: the system is stopping");
            let _ = self.results.send(Input::SystemStopping(true)).await;
            let _ = self.results.send(Input::Stopping).await;
            return self.report(id, OpResult::Failed("the system is stopping".into())).await;
        }
        match &op {
            Op::Login { target } => match portal_answers(target).await {
                Ok(()) => self.run(id, &op, op.argv().unwrap_or_default(), None).await,
                Err(why) => self.report(id, OpResult::NoAnswer(why)).await,
            },
            Op::Knock { target, .. } => {
                let begun = Instant::now();
                let answered = |()| OpResult::Answered(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
                let result = portal_answers(target).await.map_or_else(OpResult::NoAnswer, answered);
                tracing::debug!(op = op.code(), command = op.command_line(), ?result, "{}", op.command_line());
                self.report(id, result).await;
            }
            Op::ClearConnection { sid, .. } => {
                let (roots, sid) = (self.roots.clone(), *sid);
                self.here(id, &op, move || wrote(stop::failed(&roots, sid))).await;
            }
            // It may have come back since that was decided.
            Op::Fence { sid, .. } if sysfs::logged_in(&self.roots, *sid) => {
                self.report(id, OpResult::Failed("it is logged in again".into())).await;
            }
            Op::SetRecoveryTmo { sid, seconds, .. } => {
                let (roots, sid, seconds) = (self.roots.clone(), *sid, *seconds);
                self.here(id, &op, move || wrote(sysfs::write_recovery_tmo(&roots, sid, seconds))).await;
            }
            Op::SetDetect { sid, millis, .. } => {
                let (roots, sid, millis) = (self.roots.clone(), *sid, *millis);
                self.here(id, &op, move || OpResult::Detect(detect(&roots, sid, millis))).await;
            }
            Op::SampleSocket { sid, .. } => {
                let (sockets, roots, sid) = (Arc::clone(&self.sockets), self.roots.clone(), *sid);
                self.here(id, &op, move || sampled(sockets.backlog(&roots, sid))).await;
            }
            Op::DestroySocket { sid, seen, .. } => {
                let (sockets, roots, sid, seen) = (Arc::clone(&self.sockets), self.roots.clone(), *sid, *seen);
                self.here(id, &op, move || match sockets.destroy(&roots, sid, seen) {
                    Ok(true) => OpResult::Wrote,
                    // It is answered again, or gone by itself.
                    Ok(false) => sampled(sockets.backlog(&roots, sid)),
                    Err(error) => OpResult::Failed(error.to_string()),
                })
                .await;
            }
            Op::ReadThrottle { throttle } => {
                let (roots, throttle) = (self.roots.clone(), *throttle);
                self.here(id, &op, move || throttled(throttle::read(&roots, throttle))).await;
            }
            Op::SetThrottle { throttle, value } => {
                let (roots, throttle, value) = (self.roots.clone(), *throttle, *value);
                self.here(id, &op, move || throttled(throttle::write(&roots, throttle, value))).await;
            }
            Op::SetOffline { disk } => {
                let (roots, disk) = (self.roots.clone(), disk.clone());
                self.here(id, &op, move || wrote(sysfs::set_offline(&roots, &disk))).await;
            }
            Op::Probe { targets, .. } => match probe::request(targets) {
                Ok(request) => self.run(id, &op, probe::argv(), Some(request)).await,
                Err(error) => self.report(id, OpResult::Failed(error.to_string())).await,
            },
            _ => {
                let argv = verb(&op).map(|verb| verb.argv()).or_else(|| op.argv());
                self.run(id, &op, argv.unwrap_or_default(), None).await;
            }
        }
    }

    /// Runs a child. A writer past its deadline reports that first, and its real end when it comes.
    async fn run(&self, id: OpId, op: &Op, argv: Vec<String>, stdin: Option<Vec<u8>>) {
        let started = Instant::now();
        let limits = Limits { deadline: op.deadline(), on_deadline: op.on_deadline(), max_output: OUTPUT };
        let mut child = child::spawn(&argv, limits, stdin);
        while let Some(outcome) = child.next().await {
            log(op, &outcome, started.elapsed());
            let result = match outcome {
                Outcome::Ended(ended) => result(op, &ended),
                Outcome::TimedOut => OpResult::TimedOut,
                Outcome::NotStarted(why) => OpResult::Failed(why),
            };
            self.report(id, result).await;
        }
    }

    /// In this process, on a blocking thread: it does no I/O, but takes locks that error handling holds too.
    async fn here<F>(&self, id: OpId, op: &Op, work: F)
    where
        F: FnOnce() -> OpResult + Send + 'static,
    {
        let result = match timeout(op.deadline(), tokio::task::spawn_blocking(work)).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => OpResult::Failed(format!("its thread died: {error}")),
            Err(_) => OpResult::TimedOut,
        };
        let (code, command) = (op.code(), op.command_line());
        match op {
            // As often as once a second.
            Op::SampleSocket { .. } => tracing::debug!(op = code, command, ?result, "{command}"),
            _ => tracing::info!(op = code, command, ?result, "{command}"),
        }
        self.report(id, result).await;
    }

    async fn report(&self, id: OpId, result: OpResult) {
        // Fails only when the loop has ended.
        let _ = self.results.send(Input::OpEnded(id, result)).await;
    }
}

fn sampled(found: Result<Option<Backlog>, Error>) -> OpResult {
    found.map_or_else(|error| OpResult::Failed(error.to_string()), OpResult::Sampled)
}

fn throttled(value: Result<u32, Error>) -> OpResult {
    value.map_or_else(|error| OpResult::Failed(error.to_string()), OpResult::Throttle)
}

/// What our own executable does in a child, since it may wait for a disk.
fn verb(op: &Op) -> Option<Verb> {
    match op {
        Op::Rescan { disk } => Some(Verb::Rescan(disk.to_string())),
        Op::SetRunning { disk } => Some(Verb::Running(disk.to_string())),
        Op::Flush { devices, .. } => Some(Verb::Flush(devices.iter().map(Name::to_string).collect())),
        Op::Register { disk, key, .. } => Some(Verb::Register(disk.to_string(), *key)),
        Op::Unregister { disk, key, .. } => Some(Verb::Unregister(disk.to_string(), *key)),
        // Any block does, and every disk has this one.
        Op::ReadDirect { disk, .. } => Some(Verb::ReadDirect(disk.to_string(), 0)),
        _ => None,
    }
}

fn wrote(result: Result<(), Error>) -> OpResult {
    result.map_or_else(|error| OpResult::Failed(error.to_string()), |()| OpResult::Wrote)
}

/// Sets TCP_USER_TIMEOUT on the socket that a session has now. What is not there yet is tried again after the next login;
/// what this machine does not allow is said as it is.
fn detect(roots: &Roots, sid: u32, millis: u32) -> Detect {
    // What cannot be read of it is among the gaps of every look.
    let Some(endpoint) = tcp::connection(roots, sid, &mut Vec::new()).endpoint else { return Detect::NoSocket };
    match tcp::set_user_timeout(roots, &endpoint, millis) {
        Ok(found) => Detect::InForce(found),
        Err(miss) => missed(&miss),
    }
}

fn missed(miss: &Miss) -> Detect {
    match miss {
        Miss::NoIscsid | Miss::NoSocket { .. } => Detect::NoSocket,
        Miss::NotPermitted(_) | Miss::Unsupported(_) | Miss::Failed(_) => Detect::Unavailable(miss.to_string()),
    }
}

/// What the end of a child means for the operation that it was. Our own say more than an exit code.
fn result(op: &Op, ended: &Ended) -> OpResult {
    let answer = match op {
        Op::Probe { .. } if ended.code == 0 => probe::answer(&ended.stdout).map(OpResult::Probed),
        Op::Register { .. } | Op::Unregister { .. } if ended.code == 0 => {
            probe::registration(&ended.stdout).map(OpResult::Registered)
        }
        Op::ReadDirect { .. } if ended.code == 0 => probe::direct_read(&ended.stdout).map(|read| match read {
            DirectRead::Answered { micros } => OpResult::Answered(micros),
            DirectRead::Failed { why, .. } => OpResult::Failed(why),
        }),
        Op::SetRunning { .. } if ended.code == 0 => Ok(OpResult::Wrote),
        _ => Ok(OpResult::Exit { code: ended.code, last_line: ended.last_line() }),
    };
    answer.unwrap_or_else(|error| OpResult::Failed(error.to_string()))
}

/// Whether the operation is the start of something, rather than a look, a setting that makes things safer, what a file system
/// has to wait for before it can be unmounted, or what is put on record before the end: the closing stamp and its flush.
fn begins_something(op: &Op) -> bool {
    match op {
        Op::Stamp { .. } => false,
        Op::Login { .. }
        | Op::StartIscsid
        | Op::UpdateNode { .. }
        | Op::SetRunning { .. }
        | Op::Register { .. }
        | Op::Unregister { .. } => true,
        _ => op.writes_vg().is_some(),
    }
}

/// `stopping` from the moment `shutdown.target` is queued, long before this service is told to stop. Where there is no
/// systemd to ask, it is not.
async fn system_is_stopping() -> bool {
    let argv = ["systemctl", "is-system-running"].map(String::from);
    let limits = Limits { deadline: ASK_SYSTEMD, on_deadline: OnDeadline::Kill, max_output: OUTPUT };
    match child::run(&argv, limits, None).await {
        Outcome::Ended(ended) => ended.stdout.trim_ascii() == b"stopping",
        Outcome::TimedOut | Outcome::NotStarted(_) => false,
    }
}

/// A login to a portal that does not answer keeps iscsid busy for minutes, so its TCP port is tried first. A session
/// bound to an interface may reach the portal by a way that we cannot try.
async fn portal_answers(target: &TargetKey) -> Result<(), String> {
    if target.iface != "default" {
        return Ok(());
    }
    let portal = &target.portal;
    match timeout(CONNECT, TcpStream::connect(portal)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("connect to {portal}: {error}")),
        Err(_) => Err(format!("connect to {portal}: {}", io::Error::from(io::ErrorKind::TimedOut))),
    }
}

fn log(op: &Op, outcome: &Outcome, took: Duration) {
    let (op_code, command, ms) = (op.code(), op.command_line(), took.as_millis());
    match outcome {
        Outcome::Ended(ended)
            if matches!(op, Op::Probe { .. } | Op::ReadDirect { .. } | Op::Rescan { .. }) && ended.code == 0 =>
        {
            tracing::debug!(op = op_code, command, exit = ended.code, ms, "{command}");
        }
        Outcome::Ended(ended) => {
            let (exit, said) = (ended.code, ended.last_line());
            tracing::info!(op = op_code, command, exit, ms, said, "{command}: exit {exit}");
        }
        Outcome::TimedOut => tracing::warn!(op = op_code, command, ms, "{command}: not done at its deadline"),
        Outcome::NotStarted(why) => tracing::warn!(op = op_code, command, "{command}: {why}"),
    }
}

#[cfg(test)]
mod tests;
