//! The only place that reads the clocks, and the one timer of the loop.
//!
//! The timer is a timerfd on CLOCK_BOOTTIME, the clock of [`Mono`]: it counts while the machine sleeps, and wakes the
//! process once. tokio's timer wheel does neither: it wakes three times for one deadline half a minute away.

use mirrorkeeper_core::time::{Mono, Now, Wall};
use nix::errno::Errno;
use nix::libc;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How far the clock for people may run away from the reckoned one. 0.1 s: nobody sees that, a clock that is slewed as fast
/// as Linux does it (500 ppm) needs 200 s for it, and two readings are further apart only if one of them was delayed.
const DRIFT: u64 = 100_000;

/// What time it is. Linux has had both clocks since 2.6.39; a failure would read as zero.
///
/// The clock for people is reckoned from the other one. The two cannot be read in one moment, so that a deadline on the one
/// would come out some microseconds different on the other at every look, and be announced each time.
pub fn now() -> Now {
    static OFFSET: AtomicU64 = AtomicU64::new(0);
    let micros = |clock| {
        let time = clock_gettime(clock).map(Duration::from).unwrap_or_default();
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    };
    let (mono, wall) = (micros(ClockId::CLOCK_BOOTTIME), micros(ClockId::CLOCK_REALTIME));
    let offset = steady(OFFSET.load(Ordering::Relaxed), wall.wrapping_sub(mono));
    OFFSET.store(offset, Ordering::Relaxed);
    let wall = Wall(mono.wrapping_add(offset));
    Now { mono: Mono(mono), wall, east: east(wall) }
}

/// Seconds that local time is ahead of UTC then. The rules of the time zone are read once, from the root disk, when this is
/// first called: another zone counts from the next start on, summer time by itself.
fn east(at: Wall) -> i32 {
    let seconds = libc::time_t::try_from(at.0 / 1_000_000).unwrap_or(libc::time_t::MAX);
    let mut local = MaybeUninit::uninit();
    // SAFETY: reads and writes values of ours, which it does not keep.
    let known = !unsafe { libc::localtime_r(&raw const seconds, local.as_mut_ptr()) }.is_null();
    // SAFETY: filled in when known.
    let local: Option<libc::tm> = known.then(|| unsafe { local.assume_init() });
    local.and_then(|tm| i32::try_from(tm.tm_gmtoff).ok()).unwrap_or(0)
}

/// The offset between the clocks: as before, unless one of them was set.
fn steady(before: u64, seen: u64) -> u64 {
    let apart = seen.wrapping_sub(before);
    if apart.min(apart.wrapping_neg()) > DRIFT { seen } else { before }
}

struct Fd(TimerFd);

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Waits for a moment that may be moved as often as wanted.
pub struct Timer {
    fd: AsyncFd<Fd>,
    set: Option<Mono>,
}

impl Timer {
    /// A timer that is not set. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new() -> io::Result<Self> {
        let fd = TimerFd::new(timerfd::ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        // SAFETY: `Fd` keeps its one descriptor open for as long as it lives and always names that one.
        let fd = unsafe { AsyncFd::register_with_interest(Fd(fd), Interest::READABLE) }.map_err(io::Error::from)?;
        Ok(Self { fd, set: None })
    }

    /// Waits until `by`. Dropping the future loses nothing.
    pub async fn until(&mut self, by: Mono) -> io::Result<()> {
        if self.set != Some(by) {
            // Zero would mean never.
            let moment = TimeSpec::from_duration(Duration::from_micros(by.0.max(1)));
            self.fd.get_ref().0.set(Expiration::OneShot(moment), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            self.set = Some(by);
        }
        loop {
            let mut ready = self.fd.readable().await?;
            // Readiness may be left over from a moment that was moved; then there is nothing to read.
            match self.fd.get_ref().0.wait() {
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    ready.clear_ready();
                    self.set = None;
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn the_clocks_keep_their_distance_until_one_is_set() {
        assert_eq!(steady(1_000_000, 1_000_007), 1_000_000);
        assert_eq!(steady(1_000_000, 999_990), 1_000_000);
        assert_eq!(steady(1_000_000, 1_100_001), 1_100_001);
        assert_eq!(steady(1_000_000, 899_999), 899_999);
        // A clock for people that stands before the boot.
        assert_eq!(steady(u64::MAX, 5), u64::MAX);
        assert_eq!(steady(5, u64::MAX - 200_000), u64::MAX - 200_000);
        let apart = |now: Now| now.wall.0.wrapping_sub(now.mono.0);
        let first = apart(now());
        assert!((0..100).all(|_| apart(now()) == first));
    }

    #[tokio::test]
    async fn it_does_not_wake_early_and_a_moment_that_is_past_is_now() {
        let mut timer = Timer::new().unwrap();
        let by = now().mono.after(SOON);
        timer.until(by).await.unwrap();
        assert!(now().mono >= by);
        timer.until(Mono(0)).await.unwrap();
        timer.until(by).await.unwrap();
    }

    #[tokio::test]
    async fn a_moment_that_was_moved_does_not_wake() {
        let mut timer = Timer::new().unwrap();
        let first = now().mono.after(SOON);
        tokio::select! {
            biased;
            _ = timer.until(first) => panic!("too early"),
            () = std::future::ready(()) => {}
        }
        let second = first.after(SOON);
        timer.until(second).await.unwrap();
        assert!(now().mono >= second);
    }
}
