//! The command line of the daemon: few words, since it works without any.

use crate::config;
use crate::offline::Task;
use crate::publish::Bus;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

/// Text of `--help`.
pub const HELP: &str = "\
mirrorkeeperd keeps LVM mirrors over iSCSI servers redundant.

Usage: mirrorkeeperd [OPTIONS]

  --bus ADDRESS|system|session  bus to publish on (default: system)
  --config FILE                 settings, with FILE.d/*.toml after it
                                (default: /etc/mirrorkeeper.toml)
  --state-dir DIR               where the ledger lives (default: /var/lib/mirrorkeeper)
  --log LEVEL                   error, warn, info, debug or trace (default: info)

  --simulate                    serve the whole D-Bus API over a simulated machine,
                                without root, storage or systemd. On the bus of a
                                session or a test, whoever started this may do
                                everything; on the system bus polkit is asked
  --scenario FILE|none          story that is told (default: a loop of what happens
                                to mirrors); none: faults by hand alone, through
                                org.mirrorkeeper1.Simulator
  --speed N                     simulated seconds a second, 1 to 1000 (default: 1)

Instead of being the daemon:
  --print-config                print the settings that a start would use, with
                                their origin; exit status 1 if they are refused
  --gated                       name the mirrors that LVM leaves to us to activate;
                                exit status 1 if there are surely none
  --fallback                    activate these, as long as all their legs are there
  --ungate                      have LVM activate them by itself again
  --purge                       that, put timeouts back, and take our tags and
                                registrations off all disks
  --version                     print the version
  --help                        print this text

The last four are for when no daemon runs, and may be repeated.

Run as root, normally by mirrorkeeper.service. Without a bus, without iSCSI and
without LVM it goes on with what there is.
";

/// Speeds of a simulation. Faster than that a client sees nothing any more.
const SPEEDS: std::ops::RangeInclusive<u32> = 1..=1000;

/// Where the unit's StateDirectory= is.
const STATE_DIR: &str = "/var/lib/mirrorkeeper";

/// How to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cli {
    /// Which bus.
    pub bus: Bus,
    /// The configuration's first file.
    pub config: PathBuf,
    /// Directory of the ledger.
    pub state_dir: PathBuf,
    /// What to log.
    pub log: LevelFilter,
}

/// How to simulate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulation {
    /// Which bus.
    pub bus: Bus,
    /// Settings of the simulated daemon; the built-in ones without.
    pub config: Option<PathBuf>,
    /// What to log.
    pub log: LevelFilter,
    /// What is told.
    pub scenario: Tale,
    /// Simulated seconds a second.
    pub speed: u32,
}

/// What a simulation tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tale {
    /// The built-in story.
    BuiltIn,
    /// Nothing.
    None,
    /// A scenario from a file.
    File(PathBuf),
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Be the daemon.
    Run(Cli),
    /// Be the daemon of a simulated machine.
    Simulate(Simulation),
    /// Print the effective settings.
    PrintConfig(Cli),
    /// Do something in the daemon's place.
    Offline(Task, Cli),
    /// Print the version.
    Version,
    /// Print the options.
    Help,
}

/// Why a command line is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArgument {
    /// No such option.
    #[error("unknown argument {0:?}")]
    Unknown(String),
    /// The option needs a value.
    #[error("{0} needs a value")]
    NoValue(String),
    /// The option is for a simulation.
    #[error("{0} goes with --simulate only")]
    NotSimulating(&'static str),
    /// The value makes no sense.
    #[error("{option} {value:?}: {why}")]
    Value {
        /// Option.
        option: &'static str,
        /// Value given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Command {
    /// Reads the arguments, without the program's name. `--option VALUE` and `--option=VALUE` are the same.
    ///
    /// # Errors
    /// At the first argument that cannot be used.
    pub fn parse(arguments: &[String]) -> Result<Self, BadArgument> {
        let mut cli =
            Cli { bus: Bus::System, config: config::PATH.into(), state_dir: STATE_DIR.into(), log: LevelFilter::INFO };
        let mut command: fn(Cli) -> Self = Self::Run;
        let (mut simulate, mut config, mut scenario, mut speed) = (false, None, None, None);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (option, inline) = match argument.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let mut value =
                || inline.clone().or_else(|| rest.next().cloned()).ok_or(BadArgument::NoValue(option.into()));
            match option {
                "--help" | "-h" => return Ok(Self::Help),
                "--version" | "-V" => return Ok(Self::Version),
                "--bus" => cli.bus = bus(&value()?)?,
                "--print-config" => command = Self::PrintConfig,
                "--gated" => command = |cli| Self::Offline(Task::Gated, cli),
                "--fallback" => command = |cli| Self::Offline(Task::Fallback, cli),
                "--ungate" => command = |cli| Self::Offline(Task::Ungate, cli),
                "--purge" => command = |cli| Self::Offline(Task::Purge, cli),
                "--simulate" => simulate = true,
                "--scenario" => {
                    let value = value()?;
                    scenario = Some(if value == "none" { Tale::None } else { Tale::File(value.into()) });
                }
                "--speed" => {
                    let value = value()?;
                    let found = value.parse().ok().filter(|speed| SPEEDS.contains(speed));
                    let why = "not a whole number from 1 to 1000";
                    speed = Some(found.ok_or(BadArgument::Value { option: "--speed", value, why })?);
                }
                "--config" => config = Some(PathBuf::from(value()?)),
                "--state-dir" => cli.state_dir = value()?.into(),
                "--log" => {
                    let value = value()?;
                    let why = "not a level; use error, warn, info, debug or trace";
                    cli.log = value.parse().map_err(|_| BadArgument::Value { option: "--log", value, why })?;
                }
                _ => return Err(BadArgument::Unknown(argument.clone())),
            }
        }
        if simulate {
            let (scenario, speed) = (scenario.unwrap_or(Tale::BuiltIn), speed.unwrap_or(1));
            return Ok(Self::Simulate(Simulation { bus: cli.bus, config, log: cli.log, scenario, speed }));
        }
        if let Some(option) = scenario.map(|_| "--scenario").or(speed.map(|_| "--speed")) {
            return Err(BadArgument::NotSimulating(option));
        }
        cli.config = config.unwrap_or(cli.config);
        Ok(command(cli))
    }
}

fn bus(text: &str) -> Result<Bus, BadArgument> {
    let bad = |why| BadArgument::Value { option: "--bus", value: text.to_owned(), why };
    match text {
        "system" => Ok(Bus::System),
        "session" => std::env::var("DBUS_SESSION_BUS_ADDRESS")
            .map(Bus::Address)
            .map_err(|_| bad("there is no DBUS_SESSION_BUS_ADDRESS in the environment")),
        address if address.contains(':') => Ok(Bus::Address(address.to_owned())),
        _ => Err(bad("neither `system`, `session` nor a D-Bus address such as unix:path=/run/bus")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Command::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>()).map_err(|e| e.to_string())
    }

    fn default() -> Cli {
        let (config, state_dir) = ("/etc/mirrorkeeper.toml".into(), STATE_DIR.into());
        Cli { bus: Bus::System, config, state_dir, log: LevelFilter::INFO }
    }

    #[test]
    fn the_defaults_are_those_of_the_unit() {
        assert_eq!(parse(""), Ok(Command::Run(default())));
    }

    #[test]
    fn what_is_done_instead_takes_the_same_options() {
        let cli = Cli { state_dir: "/s".into(), config: "/c".into(), ..default() };
        let line = "--state-dir /s --config=/c";
        for (option, task) in [
            ("--gated", Task::Gated),
            ("--fallback", Task::Fallback),
            ("--ungate", Task::Ungate),
            ("--purge", Task::Purge),
        ] {
            assert_eq!(parse(&format!("{option} {line}")), Ok(Command::Offline(task, cli.clone())));
            assert_eq!(parse(&format!("{line} {option}")), Ok(Command::Offline(task, cli.clone())));
            assert!(HELP.contains(option));
        }
        assert_eq!(parse(&format!("--print-config {line}")), Ok(Command::PrintConfig(cli)));
    }

    #[test]
    fn values_follow_or_are_joined() {
        let bus = Bus::Address("unix:path=/b".into());
        let cli = Cli { bus, state_dir: "/s".into(), log: LevelFilter::DEBUG, ..default() };
        assert_eq!(parse("--bus unix:path=/b --state-dir /s --log debug"), Ok(Command::Run(cli.clone())));
        assert_eq!(parse("--bus=unix:path=/b --state-dir=/s --log=debug"), Ok(Command::Run(cli)));
        assert_eq!(parse("--bus system --version"), Ok(Command::Version));
        assert_eq!(parse("-h"), Ok(Command::Help));
    }

    #[test]
    fn a_simulation_has_options_of_its_own() {
        let (bus, log) = (Bus::Address("unix:path=/b".into()), LevelFilter::INFO);
        let plain = Simulation { bus, config: None, log, scenario: Tale::BuiltIn, speed: 1 };
        assert_eq!(parse("--simulate --bus unix:path=/b"), Ok(Command::Simulate(plain.clone())));
        let other = Simulation { config: Some("/c".into()), scenario: Tale::File("/s".into()), speed: 60, ..plain };
        let line = "--bus unix:path=/b --scenario /s --speed=60 --config /c --simulate";
        assert_eq!(parse(line), Ok(Command::Simulate(other.clone())));
        let none = Simulation { scenario: Tale::None, ..other };
        assert_eq!(parse(&format!("{line} --scenario none")), Ok(Command::Simulate(none)));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases = [
            ("--speed 60", "--speed goes with --simulate only"),
            ("--scenario none", "--scenario goes with --simulate only"),
            ("--simulate --speed 0", "not a whole number from 1 to 1000"),
            ("--frob", "unknown argument \"--frob\""),
            ("--bus", "--bus needs a value"),
            ("--bus x", "\"x\""),
            ("--log loud", "\"loud\""),
        ];
        for (line, why) in cases {
            let said = parse(line).unwrap_err();
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
