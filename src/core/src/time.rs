//! Time as an argument. Nothing in this crate asks a clock; whoever calls `step` says what time it is.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Microseconds since boot, sleep included (CLOCK_BOOTTIME). Deadlines and delays are counted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

/// Microseconds since 1970 (CLOCK_REALTIME). For people and for the ledger; may jump. What rests on it is
/// `trust::may_lack`, which compares two losses over restarts and boots, and when scrubs and the hours for them are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub u64);

/// The moment of a step on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For delays.
    pub mono: Mono,
    /// For people.
    pub wall: Wall,
    /// Seconds that local time is ahead of UTC, which it is east of Greenwich. Changes twice a year in many places.
    pub east: i32,
}

impl Now {
    /// What people call a moment, past or to come.
    pub fn wall_of(self, at: Mono) -> Wall {
        Wall(self.wall.0.saturating_add(at.0).saturating_sub(self.mono.0))
    }
}

impl Mono {
    /// That long after this moment (saturating).
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_one_name_before_and_after_it_has_come() {
        let now =
            |seconds: u64| Now { mono: Mono(seconds * 1_000_000), wall: Wall((1000 + seconds) * 1_000_000), east: 0 };
        let due = now(5).mono;
        assert_eq!([now(2), now(5), now(9)].map(|now| now.wall_of(due)), [now(5).wall; 3]);
    }
}
