//! One pipe of a child, drained to its end, of which a bounded part is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

/// Which part is kept of an output longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Head,
    Tail,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    truncated: bool,
}

/// The output so far. The task behind it drains on when this is dropped.
#[derive(Debug)]
pub struct Captured {
    kept: Arc<Mutex<Kept>>,
    task: JoinHandle<()>,
}

/// Keeps the first `limit` bytes: a report is cut at its end, and then does not parse.
pub fn head(pipe: Option<impl AsyncRead + Unpin + Send + 'static>, limit: usize) -> Captured {
    capture(pipe, limit, Keep::Head)
}

/// Keeps the last `limit` bytes: the error that mattered comes last.
pub fn tail(pipe: Option<impl AsyncRead + Unpin + Send + 'static>, limit: usize) -> Captured {
    capture(pipe, limit, Keep::Tail)
}

fn capture(pipe: Option<impl AsyncRead + Unpin + Send + 'static>, limit: usize, keep: Keep) -> Captured {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let into = Arc::clone(&kept);
    let task = tokio::spawn(async move {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 16 * 1024];
        // An error is an end too: the other side is gone.
        while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
            lock(&into).push(&buffer[..n], limit, keep);
        }
    });
    Captured { kept, task }
}

impl Captured {
    /// Waits for the end of the pipe.
    pub async fn end(&mut self) {
        let _ = (&mut self.task).await;
    }

    /// What was kept, and whether there was more.
    pub fn take(&self) -> (Vec<u8>, bool) {
        let mut kept = lock(&self.kept);
        (std::mem::take(&mut kept.bytes).into(), kept.truncated)
    }
}

impl Kept {
    fn push(&mut self, bytes: &[u8], limit: usize, keep: Keep) {
        let room = limit.saturating_sub(self.bytes.len());
        match keep {
            Keep::Head => self.bytes.extend(bytes.iter().take(room)),
            Keep::Tail => {
                self.bytes.extend(bytes);
                let over = self.bytes.len().saturating_sub(limit);
                self.bytes.drain(..over);
            }
        }
        self.truncated |= bytes.len() > room;
    }
}

/// A poisoned lock still guards bytes that are worth showing.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
