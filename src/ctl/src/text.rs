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
