//! Quiet hours: the hours of the day, by local time, for comparisons that may wait, `[resync] window`.
//!
//! Only what proves may wait, never what copies: a comparison by the calendar, and that of a leg which the kernel calls in
//! sync, which gets every write and serves no read. A leg that lacks something is filled at any hour, one that serves reads
//! is compared at any hour, and so is whatever a person asks for. What was begun within the hours is not broken off at
//! their end.

use crate::plan::Situation;
use crate::time::{Mono, Now};
use crate::witness::Objection;
use crate::words::Hold;
use std::fmt;
use std::time::Duration;

/// Minutes of a day.
const DAY: u64 = 24 * 60;

/// Microseconds of a minute.
const MINUTE: u64 = 60_000_000;

/// Hours of every day, perhaps over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Minute of the day at which they begin.
    from: u64,
    /// And end.
    to: u64,
}

impl Window {
    /// Reads `HH:MM-HH:MM`. Hours that end when they begin would be all or none of the day, and are neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let window = Self { from: minute(from)?, to: minute(to)? };
        (window.from != window.to).then_some(window)
    }

    /// When they begin; `None` while they last.
    pub fn opens(self, now: Now) -> Option<Mono> {
        let day = DAY * MINUTE;
        // A day more keeps what is west of Greenwich above zero.
        let local = (now.wall.0 % day + day).saturating_add_signed(i64::from(now.east) * 1_000_000);
        let since = (local + day - self.from * MINUTE) % day;
        let length = (self.to + DAY - self.from) % DAY * MINUTE;
        (since >= length).then(|| now.mono.after(Duration::from_micros(day - since)))
    }
}

/// `HH:MM` in minutes.
fn minute(text: &str) -> Option<u64> {
    let two = |digits: &str, below: u64| {
        let number = digits.parse::<u64>().ok().filter(|n| *n < below)?;
        (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(number)
    };
    let (hours, minutes) = text.split_once(':')?;
    Some(two(hours, 24)? * 60 + two(minutes, 60)?)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// What a comparison that may wait has to wait for now.
pub fn closed(s: &Situation<'_>) -> Option<Objection> {
    let window = s.settings.window?;
    let until = s.now.wall.0 + (window.opens(s.now)?.0 - s.now.mono.0);
    Some(Objection::new(Hold::Queued, "until", until).with("window", window.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    /// 2023-11-14 at that time of day.
    fn at(hour: u64, minute: u64, east: i32) -> Now {
        let seconds = 1_699_920_000 + hour * 3600 + minute * 60;
        Now { mono: Mono(7_000_000), wall: Wall(seconds * 1_000_000), east }
    }

    #[test]
    fn hours_are_read_as_they_are_written() {
        for text in ["22:00-06:00", "00:00-23:59", "09:05-09:06"] {
            assert_eq!(Window::parse(text).map(|w| w.to_string()).as_deref(), Some(text));
        }
        for text in ["", "22-6", "22:00", "24:00-06:00", "22:60-06:00", "22:00-22:00", "+2:00-06:00", "22:00-06:00 "] {
            assert_eq!(Window::parse(text), None, "{text}");
        }
    }

    #[test]
    fn they_open_to_the_minute_by_local_time() {
        // hours, time of day in UTC, seconds east, minutes until they begin
        let table = [
            ("22:00-06:00", (21, 59), 0, Some(1)),
            ("22:00-06:00", (22, 0), 0, None),
            ("22:00-06:00", (0, 0), 0, None),
            ("22:00-06:00", (5, 59), 0, None),
            ("22:00-06:00", (6, 0), 0, Some(16 * 60)),
            ("01:30-02:00", (1, 29), 0, Some(1)),
            ("01:30-02:00", (1, 59), 0, None),
            ("01:30-02:00", (2, 0), 0, Some(23 * 60 + 30)),
            ("22:00-06:00", (20, 30), 3600, Some(30)),
            ("22:00-06:00", (21, 0), 3600, None),
            ("22:00-06:00", (23, 30), -3600, None),
            ("22:00-06:00", (22, 30), -3600, Some(30)),
            ("00:00-01:00", (0, 10), -5 * 3600 - 1800, Some(5 * 60 + 20)),
            ("00:00-01:00", (10, 30), 14 * 3600, None),
        ];
        for (hours, (hour, minute), east, minutes) in table {
            let now = at(hour, minute, east);
            let opens = Window::parse(hours).unwrap().opens(now).map(|at| at.since(now.mono).as_secs());
            assert_eq!(opens, minutes.map(|m| m * 60), "{hours} at {hour}:{minute:02} UTC, {east} s east");
        }
    }
}
