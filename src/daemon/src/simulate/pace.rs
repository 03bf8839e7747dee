//! The simulation's clock: virtual time that goes along with the real one, faster if wanted, and can leap.

use std::time::Duration;
use tokio::time::Instant;

/// Maps real moments to virtual ones, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    real: Instant,
    then: u64,
    speed: u32,
}

impl Pace {
    /// A clock that shows `now` and goes on `speed` times as fast as others.
    pub fn new(now: u64, speed: u32) -> Self {
        Self { real: Instant::now(), then: now, speed: speed.max(1) }
    }

    /// What it shows.
    pub fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    fn at(&self, moment: Instant) -> u64 {
        let passed = moment.saturating_duration_since(self.real).as_micros() * u128::from(self.speed);
        self.then.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// When it will show `at`; some time tomorrow at the latest.
    pub fn when(&self, at: u64) -> Instant {
        let left = Duration::from_micros(at.saturating_sub(self.then)) / self.speed;
        self.real + left.min(Duration::from_secs(86_400))
    }

    /// Goes on from `at`, if that is not behind it. The simulation has been there already.
    pub fn reach(&mut self, at: u64) {
        let real = Instant::now();
        (self.then, self.real) = (self.at(real).max(at), real);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_at_its_speed_leaps_and_never_goes_back() {
        let mut pace = Pace::new(1_000, 60);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.now(), 60_001_000);
        pace.reach(5);
        assert_eq!(pace.now(), 60_001_000);
        pace.reach(100_000_000);
        assert_eq!(pace.now(), 100_000_000);
        assert_eq!(pace.when(160_000_000), Instant::now() + Duration::from_secs(1));
        assert_eq!(pace.when(0), Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.now(), 160_000_000);
    }
}
