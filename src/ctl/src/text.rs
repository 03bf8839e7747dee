//! Numbers and names for people.

/// `43.1 %`, rounded down so that what is not done is never shown as 100 %.
pub fn percent(ratio: f64) -> String {
    format!("{:.1} %", (ratio.clamp(0.0, 1.0) * 1000.0).floor() / 10.0)
}

/// Bytes with a binary unit.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).clamp(1, 6);
    let unit = UNITS[power as usize - 1];
    format!("{:.1} {unit}", bytes as f64 / (1_u64 << (10 * power)) as f64)
}

/// Microseconds as `40 s`, `12 min` or `3 h 20 min`.
pub fn duration(micros: u64) -> String {
    match micros.div_ceil(1_000_000) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Microseconds since 1970 as `2026-11-23 03:12:41Z`: logs of several machines are compared, and this is the same on each.
pub fn utc(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, so that a leap day is the last of one; eras of 400 years are alike.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + month / 10, if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Text of others on a terminal: control characters would be obeyed there.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Lines of a paragraph, with room for an indentation on a terminal of 80 columns.
pub fn wrap(paragraph: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in paragraph.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 76 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// At most `width` characters, with an ellipsis in place of the rest.
pub fn fit(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            line.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_as_done_before_it_is() {
        assert_eq!(
            [percent(0.99999), percent(1.0), percent(0.4319), percent(-1.0)],
            ["99.9 %", "100.0 %", "43.1 %", "0.0 %"]
        );
    }

    #[test]
    fn sizes_and_times_have_a_fitting_unit() {
        let sizes = [0, 1023, 1024, 10 << 30, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "10.0 GiB", "16.0 EiB"]);
        let times = [0, 1, 59_000_000, 60_000_000, 3_599_000_000, 12_000_000_000].map(duration);
        assert_eq!(times, ["0 s", "1 s", "59 s", "1 min", "60 min", "3 h 20 min"]);
    }

    #[test]
    fn moments_are_told_as_on_the_calendar() {
        // From `date -u -d @SECONDS`.
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_709_251_199, "2024-02-29 23:59:59Z"),
            (1_735_689_599, "2024-12-31 23:59:59Z"),
            (1_735_689_600, "2025-01-01 00:00:00Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(utc(seconds * 1_000_000), date);
        }
        assert!(utc(u64::MAX).starts_with("58"), "no clock is beyond it");
    }

    #[test]
    fn paragraphs_are_broken_between_words() {
        let lines = wrap(&"word ".repeat(40));
        assert!(lines.iter().all(|line| line.len() <= 76 && !line.ends_with(' ')), "{lines:?}");
        assert_eq!(lines.join(" "), "word ".repeat(40).trim());
        assert_eq!(wrap(&"x".repeat(100)), ["x".repeat(100)], "a word is never broken: it may be a command");
    }

    #[test]
    fn names_of_others_are_harmless_and_fit() {
        assert_eq!(plain("a\x1b[31m\nb"), "a?[31m?b");
        assert_eq!(fit("grün-grün", Some(6)), "grün-…");
        assert_eq!(fit("short", Some(6)), "short");
        assert_eq!(fit("as long as it likes", None), "as long as it likes");
    }
}
