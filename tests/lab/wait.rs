//! Waiting for conditions. Nothing in the lab sleeps to let something happen: it asks until it has happened, and
//! says what it waited for when it has not.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks. A look is a command in the guest, which costs it far more than this costs the host.
const PAUSE: Duration = Duration::from_millis(300);

/// What one look found.
pub enum Look<T> {
    /// It has happened.
    Done(T),
    /// Not yet; the text says what is there instead.
    NotYet(String),
}

/// Looks until it is done or `limit` is over. An error of the look itself counts as "not yet", since a guest that
/// is just losing its disks fails many a command.
pub fn wait_until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let instead = match look() {
            Ok(Look::Done(value)) => return Ok(value),
            Ok(Look::NotYet(instead)) => instead,
            Err(e) => format!("{e:#}"),
        };
        if start.elapsed() > limit {
            bail!("waited {} s for {what}; last seen: {instead}", limit.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

/// The look that wants one value of something that is read.
pub fn is<T: PartialEq + Debug>(found: T, wanted: &T) -> Look<T> {
    if found == *wanted { Look::Done(found) } else { Look::NotYet(format!("{found:?}")) }
}
