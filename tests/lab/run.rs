//! Runs scenarios one after the other, each from the same snapshot, and says what became of them.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::evidence;
use crate::install;
use crate::lab::Lab;
use crate::progress;
use crate::scenarios::{SCENARIOS, Scenario};
use crate::signals;
use crate::stage::Stage;
use crate::stock;

/// Name of the snapshot with the package in it.
pub const INSTALLED: &str = "installed";

/// Which scenarios, and how.
pub struct Options<'a> {
    /// Every scenario; else the core set.
    pub all: bool,
    /// Only these, whatever set they are in.
    pub only: &'a [String],
    /// The package under test; without it only scenarios that need none.
    pub deb: Option<&'a Path>,
    /// Stop at the first failure and leave that guest up for `lab exec`.
    pub keep: bool,
}

/// Runs them; an error if one failed.
pub fn run(options: &Options<'_>) -> Result<()> {
    let chosen = choose(options)?;
    // `up` is where `lab exec` looks.
    let name = if options.keep { "up" } else { "run" };
    let mut lab = prepare(name, options)?;
    let (mut passed, mut failed) = (0, 0);
    for scenario in chosen {
        let start = Instant::now();
        println!("-------- {}: {}", scenario.name, scenario.about);
        let snapshot = if scenario.package { INSTALLED } else { stock::SNAPSHOT };
        if let Err(e) = lab.vm.load(snapshot) {
            progress(&format!("the guest does not come back from its snapshot ({e:#}); starting another"));
            drop(lab);
            lab = prepare(name, options)?;
            lab.vm.load(snapshot)?;
        }
        let mut stage = Stage::new(&mut lab);
        let result = play(scenario, &mut stage);
        let figures = std::mem::take(&mut stage.figures).join(", ");
        let seconds = start.elapsed().as_secs();
        match result {
            Ok(()) => {
                passed += 1;
                println!("PASS {} ({seconds} s) {figures}", scenario.name);
            }
            Err(e) => {
                failed += 1;
                let reason = format!("{e:#}");
                let dir = evidence::collect(&lab, scenario.name, &reason)?;
                println!("FAIL {}: {reason}; evidence in {}", scenario.name, dir.display());
                if !figures.is_empty() {
                    println!("     after {seconds} s; so far: {figures}");
                }
                if options.keep {
                    println!("the guest is left up as it is; see `lab exec`, and `lab down` to end it");
                    lab.vm.leave();
                    bail!("{} failed", scenario.name);
                }
            }
        }
        lab.end_server();
    }
    println!("{passed} passed, {failed} failed");
    ensure!(failed == 0, "{failed} scenarios failed");
    Ok(())
}

fn play(scenario: &Scenario, stage: &mut Stage<'_>) -> Result<()> {
    if scenario.package {
        signals::record(stage.guest()).context("recording signals")?;
    }
    (scenario.play)(stage)
}

fn prepare(name: &str, options: &Options<'_>) -> Result<Lab> {
    let lab = Lab::start(name, options.keep)?;
    if let Some(deb) = options.deb {
        install::install(&lab.vm.guest, deb)?;
        lab.vm.save(INSTALLED)?;
        progress("installed; snapshot kept");
    }
    Ok(lab)
}

fn choose(options: &Options<'_>) -> Result<Vec<&'static Scenario>> {
    if let Some(unknown) = options.only.iter().find(|name| SCENARIOS.iter().all(|s| s.name != name.as_str())) {
        bail!("no scenario {unknown:?}; `lab list` shows them all");
    }
    let chosen: Vec<&Scenario> = SCENARIOS
        .iter()
        .filter(|s| match options.only {
            [] => options.all || s.core,
            only => only.iter().any(|name| name == s.name),
        })
        .collect();
    if options.deb.is_some() {
        return Ok(chosen);
    }
    let (needy, chosen): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|s| s.package);
    ensure!(options.only.is_empty() || needy.is_empty(), "{} needs the package: --deb FILE", needy[0].name);
    for s in needy {
        println!("SKIP {}: needs the package (--deb FILE)", s.name);
    }
    Ok(chosen)
}

/// What there is.
pub fn list() {
    for s in SCENARIOS {
        let set = if s.core { "core" } else { "" };
        println!("{:<28} {set:<5} {}", s.name, s.about);
    }
}
