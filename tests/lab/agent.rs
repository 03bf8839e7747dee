//! The host's end of the virtio-serial line: requests out, answers back to whoever waits for them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::protocol::{Exit, Op, Reply, Request, Response, from_hex, to_hex};

/// How long an answer may be late beyond the command's own limit before the guest counts as dead.
const SLACK: Duration = Duration::from_secs(30);

/// Bytes of a file in one request: small enough not to hold up other answers on the line.
const PIECE: usize = 128 << 10;

type Waiting = Arc<Mutex<HashMap<u64, Sender<Reply>>>>;

/// A connection to the agent in a guest; any number of threads may use it at once.
pub struct Agent {
    line: Mutex<UnixStream>,
    waiting: Waiting,
    next: AtomicU64,
}

impl Agent {
    /// Connects to the socket that QEMU made for the port. The guest may not be listening yet.
    pub fn connect(socket: &Path) -> Result<Self> {
        let line = UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
        let waiting = Waiting::default();
        let lines = BufReader::new(line.try_clone()?);
        let to = Arc::clone(&waiting);
        thread::spawn(move || dispatch(lines, &to));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let first = u64::try_from(now.as_nanos() & 0xff_ffff_ffff_ffff).unwrap_or(1);
        // Ends a line that an earlier connection may have left unfinished.
        (&line).write_all(b"\n")?;
        Ok(Self { line: Mutex::new(line), waiting, next: AtomicU64::new(first) })
    }

    /// Runs a program in the guest.
    pub fn exec(&self, argv: &[&str], stdin: Option<&str>, timeout: Duration) -> Result<Exit> {
        let op = Op::Exec {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            stdin: stdin.map(str::to_owned),
            timeout_ms: u64::try_from(timeout.as_millis())?,
        };
        match self.call(op, timeout + SLACK)? {
            Reply::Exit(exit) => Ok(exit),
            _ => bail!("the agent answered something else"),
        }
    }

    /// Is anybody there?
    pub fn ping(&self, patience: Duration) -> Result<()> {
        let op = Op::Exec { argv: vec!["true".to_owned()], stdin: None, timeout_ms: 5000 };
        self.call(op, patience).map(drop)
    }

    /// Copies a file into the guest.
    pub fn put(&self, data: &[u8], path: &str, mode: u32) -> Result<()> {
        let mut offset = 0;
        loop {
            let piece = &data[offset..data.len().min(offset + PIECE)];
            let op = Op::Put { path: path.to_owned(), offset: offset as u64, mode, hex: to_hex(piece) };
            self.call(op, SLACK)?;
            offset += piece.len();
            if offset == data.len() {
                return Ok(());
            }
        }
    }

    /// Copies a file out of the guest.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let op = Op::Get { path: path.to_owned(), offset: all.len() as u64, len: PIECE as u64 };
            let Reply::Data { hex } = self.call(op, SLACK)? else { bail!("the agent answered something else") };
            if hex.is_empty() {
                return Ok(all);
            }
            all.extend(from_hex(&hex).context("the agent sent no hexadecimal")?);
        }
    }

    fn call(&self, op: Op, patience: Duration) -> Result<Reply> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = mpsc::channel();
        lock(&self.waiting).insert(id, tell);
        let mut line = serde_json::to_vec(&Request { id, op })?;
        line.push(b'\n');
        lock(&self.line).write_all(&line).context("writing to the guest")?;
        let reply = told.recv_timeout(patience);
        lock(&self.waiting).remove(&id);
        match reply {
            Ok(Reply::Error { message }) => bail!("in the guest: {message}"),
            Ok(reply) => Ok(reply),
            Err(_) => bail!("the guest did not answer within {} s", patience.as_secs()),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Frees the reading thread, and the port for the next connection.
        let _ = lock(&self.line).shutdown(std::net::Shutdown::Both);
    }
}

fn dispatch(lines: BufReader<UnixStream>, waiting: &Waiting) {
    for line in lines.split(b'\n').map_while(Result::ok) {
        let Ok(answer) = serde_json::from_slice::<Response>(&line) else { continue };
        if let Some(asker) = lock(waiting).remove(&answer.id) {
            let _ = asker.send(answer.reply);
        }
    }
    lock(waiting).clear();
}

/// A panic elsewhere must not hide the failure that caused it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
