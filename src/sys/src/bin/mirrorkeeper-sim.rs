//! Runs schedules of the simulator: `mirrorkeeper-sim --seeds N [--from S] [--jobs J]`, or one again with its trace:
//! `mirrorkeeper-sim --seed S --trace`. Ends with 1 at the first broken promise and names its seed.

use mirrorkeeper_sys::sim::schedule;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

const USAGE: &str = "usage: mirrorkeeper-sim --seeds N [--from S] [--jobs J] [--keep-going]
       mirrorkeeper-sim --seed S [--trace]";

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

struct Args {
    seeds: u64,
    from: u64,
    jobs: usize,
    keep_going: bool,
    seed: Option<u64>,
    trace: bool,
}

fn args() -> Result<Args, String> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut args = Args { seeds: 1000, from: 0, jobs, keep_going: false, seed: None, trace: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or(format!("{word} needs a number"))?;
            value.replace('_', "").parse::<u64>().map_err(|e| format!("{word} {value}: {e}"))
        };
        match word.as_str() {
            "--seeds" => args.seeds = number()?,
            "--from" => args.from = number()?,
            "--jobs" => args.jobs = usize::try_from(number()?).unwrap_or(1).max(1),
            "--seed" => args.seed = Some(number()?),
            "--keep-going" => args.keep_going = true,
            "--trace" => args.trace = true,
            _ => return Err(format!("{word}: no such option\n{USAGE}")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        eprintln!("VIOLATION seed {}: the engine panics", SEED.get());
        report(info);
    }));
    match args.seed {
        Some(seed) => one(seed, args.trace),
        None => many(&args),
    }
}

/// One schedule, told in full.
fn one(seed: u64, trace: bool) -> ExitCode {
    SEED.set(seed);
    let outcome = schedule::run(seed, trace);
    outcome.trace.iter().for_each(|line| println!("{line}"));
    println!(
        "seed {seed}: {} outages, {} engine steps, {} virtual seconds, {} redundant, {} held",
        outcome.outages, outcome.steps, outcome.seconds, outcome.ended.0, outcome.ended.1
    );
    outcome.anomalies.iter().for_each(|line| println!("anomaly: {line}"));
    outcome.violations.iter().for_each(|line| println!("VIOLATION seed {seed}: {line}"));
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Sum {
    outages: u64,
    steps: u64,
    seconds: u64,
    ended: (u64, u64),
    broken: BTreeMap<u64, String>,
    anomalies: BTreeMap<String, (u64, u64)>,
}

/// What a line says, without names and numbers.
fn kind(line: &str) -> String {
    line.chars().filter(|c| !c.is_ascii_digit()).take(120).collect()
}

fn many(args: &Args) -> ExitCode {
    let (next, stop, sum) = (AtomicU64::new(args.from), AtomicBool::new(false), Mutex::new(Sum::default()));
    let end = args.from.saturating_add(args.seeds);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    SEED.set(seed);
                    let outcome = schedule::run(seed, false);
                    let Ok(mut sum) = sum.lock() else { break };
                    sum.outages += outcome.outages;
                    sum.steps += outcome.steps;
                    sum.seconds += outcome.seconds;
                    sum.ended = (sum.ended.0 + outcome.ended.0, sum.ended.1 + outcome.ended.1);
                    for line in outcome.anomalies {
                        sum.anomalies.entry(kind(&line)).or_insert((seed, 0)).1 += 1;
                    }
                    if let Some(line) = outcome.violations.into_iter().next() {
                        sum.broken.insert(seed, line);
                        stop.fetch_or(!args.keep_going, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let Ok(sum) = sum.into_inner() else { return ExitCode::FAILURE };
    tell(args, &sum, start.elapsed().as_secs_f64(), next.into_inner().min(end) - args.from)
}

fn tell(args: &Args, sum: &Sum, seconds: f64, seeds: u64) -> ExitCode {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (a_second, core) = (|n: u64| n as f64 / seconds, args.jobs as f64);
    for (line, (seed, times)) in &sum.anomalies {
        println!("anomaly x{times}, first seed {seed}: {line}");
    }
    println!(
        "{seeds} seeds in {seconds:.1} s: {:.0} seeds/s, {:.0} outage cycles/s a core, {:.0} engine steps/s a core, {:.1} cycles, \
         {:.0} steps and {:.0} virtual s a seed; volumes ended redundant {}, held {}",
        a_second(seeds),
        a_second(sum.outages) / core,
        a_second(sum.steps) / core,
        a_second(sum.outages) / a_second(seeds),
        a_second(sum.steps) / a_second(seeds),
        a_second(sum.seconds) / a_second(seeds),
        sum.ended.0,
        sum.ended.1
    );
    let mut kinds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (seed, line) in &sum.broken {
        kinds.entry(kind(line)).or_insert((*seed, 0)).1 += 1;
    }
    for (line, (seed, times)) in &kinds {
        println!("VIOLATION x{times}, first seed {seed}: {line}");
    }
    if let (Some((seed, line)), false) = (sum.broken.iter().next(), args.keep_going) {
        let trace = schedule::run(*seed, true).trace;
        let skip = trace.len().saturating_sub(150);
        trace.iter().skip(skip).for_each(|line| println!("{line}"));
        println!("VIOLATION seed {seed}: {line}\nagain, in full: cargo xtask sim --seed {seed} --trace");
    }
    if sum.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
