//! The figures for people, beside their budgets.

use crate::measure::{Figures, Spread};
use std::time::Duration;

/// Prints everything.
pub fn print(sizes: &[usize], figures: &[Figures]) {
    line("mirrors", sizes.iter().map(ToString::to_string), "budget");
    let spread = |of: fn(&Figures) -> &Spread| {
        figures.iter().map(move |f| format!("{} / {}", millis(of(f).median), millis(of(f).p99)))
    };
    line("kernel event to PropertiesChanged, ms", spread(|f| &f.property), "p99 10, and 1000 at most twice 1");
    line("kernel event to Event, ms", spread(|f| &f.event), "p99 10, and 1000 at most twice 1");
    line("GetManagedObjects, ms", spread(|f| &f.objects), "20 with 1000");
    line("start to READY=1, ms", figures.iter().map(|f| millis(f.start)), "300 with 100");
    line("memory (PSS), MiB", figures.iter().map(|f| mebibytes(f.memory)), "8 with 10, 16 with 1000");
    line("  before the daemon began, MiB", figures.iter().map(|f| mebibytes(f.before)), "");
    println!("Times are median / 99th percentile. Memory has the simulated machine in it, a start has not.");
}

fn line(what: &str, values: impl Iterator<Item = String>, budget: &str) {
    let values: String = values.map(|value| format!("{value:>16}")).collect();
    println!("{what:<38}{values}   {budget}");
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1}", kibibytes as f64 / 1024.0)
}
