//! The figures that are promised, measured and not asserted: how soon a subscriber hears of what the kernel said, how long
//! `GetManagedObjects` and a start take, and how much memory the daemon has, by the number of mirrors.
//!
//! The daemon is a process of its own, put together as always ([`mirrorkeeperd::daemon::run_on`]) with its loop, its ledger
//! on disk and its connection to a bus that is private; only sensors and executor are those of a simulated machine
//! ([`keeper`]). What the kernel takes to answer is thus not in the figures. Whoever measures is another process, as an
//! applet would be, so that each latency has both hops over the bus daemon in it.

#![allow(clippy::unwrap_used, reason = "a measurement ends at the first surprise")]

mod keeper;
mod measure;
#[allow(dead_code, reason = "most of it is for the contract's tests")]
#[path = "../../tests/contract/support.rs"]
mod support;
mod table;

use measure::Figures;

/// Mirrors: one, the two numbers of the memory budget, and one between.
const SIZES: [usize; 4] = [1, 10, 100, 1000];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, mirrors, address, state_dir] = arguments.as_slice()
        && role == keeper::ROLE
    {
        return keeper::run(mirrors.parse().unwrap(), address, state_dir.into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let figures: Vec<Figures> = SIZES
        .into_iter()
        .map(|mirrors| {
            eprintln!("measuring with {mirrors} mirrors");
            runtime.block_on(measure::all(mirrors))
        })
        .collect();
    table::print(&SIZES, &figures);
}
