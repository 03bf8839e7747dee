//! The lab's hand in the guest: runs what the host asks over the virtio-serial port.
//!
//! Every request has a thread of its own, because the interesting moments of the lab are those in which some
//! commands hang in the kernel and others must still answer. A child that cannot be killed (state D) is left behind
//! at its deadline; the agent never waits for it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::protocol::{Exit, Op, PORT, Reply, Request, Response, from_hex, to_hex};

/// More output than this of one command is cut: the port is a serial line, not a disk.
const OUTPUT_LIMIT: usize = 8 << 20;

/// Serves the port until the guest goes down.
pub fn serve() -> Result<()> {
    let path = format!("/dev/virtio-ports/{PORT}");
    let port = OpenOptions::new().read(true).write(true).open(&path).with_context(|| format!("opening {path}"))?;
    let out = Arc::new(Mutex::new(port.try_clone()?));
    let mut lines = BufReader::new(port);
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            // No host connected just now: the port reads as ended, and has no other way to wait.
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        // A line cut in two by a snapshot or a reconnection is no request; the host sends it anew.
        let Ok(request) = serde_json::from_slice::<Request>(&line) else { continue };
        let out = Arc::clone(&out);
        thread::spawn(move || {
            let reply = perform(request.op).unwrap_or_else(|e| Reply::Error { message: format!("{e:#}") });
            let Ok(mut answer) = serde_json::to_vec(&Response { id: request.id, reply }) else { return };
            answer.push(b'\n');
            if let Ok(mut port) = out.lock() {
                // Nobody to tell when the host is gone.
                let _ = port.write_all(&answer);
            }
        });
    }
}

fn perform(op: Op) -> Result<Reply> {
    match op {
        Op::Exec { argv, stdin, timeout_ms } => Ok(Reply::Exit(exec(&argv, stdin, Duration::from_millis(timeout_ms))?)),
        Op::Put { path, offset, mode, hex } => {
            let data = from_hex(&hex).context("not hexadecimal")?;
            put(&path, offset, mode, &data).with_context(|| format!("writing {path}"))?;
            Ok(Reply::Done)
        }
        Op::Get { path, offset, len } => {
            let mut file = File::open(&path).with_context(|| format!("opening {path}"))?;
            file.seek(SeekFrom::Start(offset))?;
            let mut data = Vec::new();
            file.take(len).read_to_end(&mut data)?;
            Ok(Reply::Data { hex: to_hex(&data) })
        }
    }
}

fn put(path: &str, offset: u64, mode: u32, data: &[u8]) -> Result<()> {
    if offset == 0 {
        // A new inode: the old one may be a program that runs.
        let _ = fs::remove_file(path);
    }
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).mode(mode).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(data)?;
    Ok(())
}

fn exec(argv: &[String], stdin: Option<String>, timeout: Duration) -> Result<Exit> {
    let Some((program, args)) = argv.split_first() else { bail!("empty command line") };
    let mut child = Command::new(program)
        .args(args)
        .process_group(0)
        .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let group = Pid::from_raw(i32::try_from(child.id())?);
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        thread::spawn(move || pipe.write_all(text.as_bytes()));
    }
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let deadline = Instant::now() + timeout;
    let rc = match wait(child, deadline) {
        Some(rc) => rc,
        None => {
            let _ = killpg(group, Signal::SIGKILL);
            124
        }
    };
    // The pipes may stay open in a grandchild or a process that cannot die: take what has come by then.
    let grace = Duration::from_millis(if rc == 124 { 300 } else { 2000 });
    Ok(Exit { rc, stdout: collect(&stdout, grace), stderr: collect(&stderr, grace) })
}

/// The exit status, or `None` at the deadline. A thread does the waiting: it alone is lost with a child in state D.
fn wait(mut child: Child, deadline: Instant) -> Option<i32> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let _ = tell.send(child.wait());
    });
    let status = told.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?.ok()?;
    Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            if tell.send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    told
}

/// Everything the pipe gave until it ended or `grace` went by without a byte.
fn collect(pieces: &Receiver<Vec<u8>>, grace: Duration) -> String {
    let mut all = Vec::new();
    while let Ok(piece) = pieces.recv_timeout(grace) {
        if all.len() < OUTPUT_LIMIT {
            all.extend_from_slice(&piece);
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}
