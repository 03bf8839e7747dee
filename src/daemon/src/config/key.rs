//! Every key of the configuration: its name, what it accepts, and where it goes. The reader, `--print-config` and the test
//! of the packaged example all go by these tables.
//!
//! A range keeps out what would defeat the purpose of the setting; the built-in values are those of [`Settings`].

use mirrorkeeper_core::settings::{MirrorPolicy, ServerPolicy, Settings, Verify};
use mirrorkeeper_core::window::Window;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use toml::de::DeValue;

/// A value that a key accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Whole seconds.
    Seconds(u64),
    /// A number of something else.
    Count(i64),
    /// Portals.
    Portals(Vec<String>),
    /// `true` or `false`.
    Flag(bool),
    /// When to verify.
    Verify(Verify),
    /// Hours of the day; `None` for any.
    Hours(Option<Window>),
}

/// As in a file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "{seconds}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Portals(portals) => write!(f, "[\"{}\"]", portals.join("\", \"")),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Verify(Verify::Auto) => f.write_str("\"auto\""),
            Self::Verify(Verify::Always) => f.write_str("\"always\""),
            Self::Verify(Verify::Never) => f.write_str("\"never\""),
            Self::Hours(Some(window)) => write!(f, "\"{window}\""),
            Self::Hours(None) => f.write_str("\"\""),
        }
    }
}

/// What a key accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// Whole seconds within bounds.
    Seconds {
        /// At least.
        least: u64,
        /// At most.
        most: u64,
        /// 0 too, for never.
        or_never: bool,
    },
    /// Whole numbers within bounds.
    Count {
        /// Of what.
        what: &'static str,
        /// At least.
        least: i64,
        /// At most.
        most: i64,
    },
    /// A list that is not empty, of addresses or host names with or without a port.
    Portals,
    /// `true` or `false`.
    Flag,
    /// One of three words.
    Verify,
    /// Hours of the day.
    Hours,
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds { least, most, or_never: true } => write!(f, "seconds: {least} to {most}, or 0 for never"),
            Self::Seconds { least, most, or_never: false } => write!(f, "seconds: {least} to {most}"),
            Self::Count { what, least, most } => write!(f, "{what}: {least} to {most}"),
            Self::Portals => f.write_str("a list of \"ADDR:PORT\" or \"ADDR\", IPv6 with a port as \"[ADDR]:PORT\""),
            Self::Flag => f.write_str("true or false"),
            Self::Verify => f.write_str("\"auto\", \"always\" or \"never\""),
            Self::Hours => f.write_str("hours of the day such as \"22:00-06:00\", in 24 hours, or \"\" for any"),
        }
    }
}

impl Accepts {
    /// The value, if it is acceptable.
    pub fn read(&self, value: &DeValue<'_>) -> Option<Value> {
        match (*self, value) {
            (Self::Seconds { least, most, or_never }, DeValue::Integer(number)) => {
                let seconds = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
                let fits = (least..=most).contains(&seconds) || (or_never && seconds == 0);
                fits.then_some(Value::Seconds(seconds))
            }
            (Self::Count { least, most, .. }, DeValue::Integer(number)) => {
                let count = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
                (least..=most).contains(&count).then_some(Value::Count(count))
            }
            (Self::Portals, DeValue::Array(list)) if !list.is_empty() => {
                let portals = list.iter().map(|item| match item.get_ref() {
                    DeValue::String(text) if is_portal(text) => Some(text.to_string()),
                    _ => None,
                });
                Some(Value::Portals(portals.collect::<Option<_>>()?))
            }
            (Self::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
            (Self::Hours, DeValue::String(hours)) if hours.is_empty() => Some(Value::Hours(None)),
            (Self::Hours, DeValue::String(hours)) => Some(Value::Hours(Some(Window::parse(hours)?))),
            (Self::Verify, DeValue::String(word)) => match word.as_ref() {
                "auto" => Some(Value::Verify(Verify::Auto)),
                "always" => Some(Value::Verify(Verify::Always)),
                "never" => Some(Value::Verify(Verify::Never)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// An address or a host name, with or without a port.
fn is_portal(text: &str) -> bool {
    let is_host =
        |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    let named = |(host, port): (&str, &str)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0);
    text.parse::<SocketAddr>().is_ok_and(|portal| portal.port() > 0)
        || text.parse::<IpAddr>().is_ok()
        || is_host(text)
        || text.split_once(':').is_some_and(named)
}

/// A key of a table that becomes a `T`.
pub struct Key<T: 'static> {
    /// Its table; empty within `[mirrors."VG/LV"]` and `[servers.NAME]`.
    pub table: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it accepts.
    pub accepts: Accepts,
    /// Puts a value that was accepted where it belongs.
    pub set: fn(&mut T, Value),
    /// The value in force; `None` when the general rule is.
    pub get: fn(&T) -> Option<Value>,
}

impl<T> Key<T> {
    /// Why a value out of bounds would defeat more than itself; empty for most keys.
    pub fn why(&self) -> &'static str {
        match self.name {
            "wait_timeout" => {
                ": the leg that waits would give up before a server has restarted, and no leg would be left"
            }
            "quick_timeout" => ": 0 fails a leg at the first hiccup, and beyond a minute no leg is quick",
            _ => "",
        }
    }
}

const fn seconds(least: u64, most: u64) -> Accepts {
    Accepts::Seconds { least, most, or_never: false }
}

/// One line a key of whole seconds that is a `Duration` in [`Settings`].
macro_rules! duration {
    ($table:literal, $name:literal, $accepts:expr, $field:ident) => {
        Key {
            table: $table,
            name: $name,
            accepts: $accepts,
            set: |settings, value| {
                if let Value::Seconds(seconds) = value {
                    settings.$field = Duration::from_secs(seconds);
                }
            },
            get: |settings| Some(Value::Seconds(settings.$field.as_secs())),
        }
    };
}

/// The general settings.
pub const SETTINGS: [Key<Settings>; 16] = [
    // Up to `settle_max`: more than that, nobody waits even for a server that flaps.
    duration!("heal", "settle", seconds(1, 600), settle),
    // dmeventd needs half a second; after ten minutes of hanging writers nobody waits for it any more.
    duration!("heal", "grace", seconds(1, 600), dmeventd_grace),
    Key {
        table: "heal",
        name: "verify",
        accepts: Accepts::Verify,
        set: |settings, value| {
            if let Value::Verify(verify) = value {
                settings.verify = verify;
            }
        },
        get: |settings| Some(Value::Verify(settings.verify)),
    },
    // Each stamp is a write of the VG's metadata: not more than one a minute; rarer than weekly they tell nothing.
    duration!("heal", "stamp_interval", Accepts::Seconds { least: 60, most: 604_800, or_never: true }, stamp_interval),
    // More than one a day reads the disks for nothing else; rarer than yearly finds what nobody can mend any more.
    duration!(
        "heal",
        "scrub_interval",
        Accepts::Seconds { least: 86_400, most: 31_536_000, or_never: true },
        scrub_interval
    ),
    Key {
        table: "resync",
        name: "limit",
        // 0 for none. The most is far beyond any link; what is too little is the administrator's business.
        accepts: Accepts::Count { what: "bytes a second, 0 for no limit", least: 0, most: 1 << 40 },
        set: |settings, value| {
            if let Value::Count(bytes) = value {
                settings.resync_limit = u64::try_from(bytes).unwrap_or(0);
            }
        },
        get: |settings| i64::try_from(settings.resync_limit).ok().map(Value::Count),
    },
    Key {
        table: "resync",
        name: "parallel",
        // Sixteen over one link are slower than one after the other by any measure.
        accepts: Accepts::Count { what: "copies at a time", least: 1, most: 16 },
        set: |settings, value| {
            if let Value::Count(copies) = value {
                settings.parallel = u32::try_from(copies).unwrap_or(1);
            }
        },
        get: |settings| Some(Value::Count(settings.parallel.into())),
    },
    Key {
        table: "resync",
        name: "window",
        accepts: Accepts::Hours,
        set: |settings, value| {
            if let Value::Hours(window) = value {
                settings.window = window;
            }
        },
        get: |settings| Some(Value::Hours(settings.window)),
    },
    Key {
        table: "resync",
        name: "inhibit_shutdown",
        accepts: Accepts::Flag,
        set: |settings, value| {
            if let Value::Flag(inhibit) = value {
                settings.inhibit_shutdown = inhibit;
            }
        },
        get: |settings| Some(Value::Flag(settings.inhibit_shutdown)),
    },
    // Below a minute every hiccup is told; a day later nobody needs to be told.
    duration!("resync", "stall_after", seconds(60, 86_400), stall_after),
    Key {
        table: "boot",
        name: "gate",
        accepts: Accepts::Flag,
        set: |settings, value| {
            if let Value::Flag(gate) = value {
                settings.gate = gate;
            }
        },
        get: |settings| Some(Value::Flag(settings.gate)),
    },
    duration!("boot", "activation_grace", seconds(0, 3600), activation_grace),
    // From open-iscsi's own default, below which the last good copy would fail writes it need not, to a day.
    Key {
        table: "timeouts",
        name: "wait_timeout",
        accepts: seconds(120, 86_400),
        set: |settings, value| {
            if let Value::Seconds(seconds) = value {
                settings.wait_timeout = u32::try_from(seconds).unwrap_or(u32::MAX);
            }
        },
        get: |settings| Some(Value::Seconds(settings.wait_timeout.into())),
    },
    // The least that the kernel tells from none; and so far below every `wait_timeout` that quick is never the slower one.
    Key {
        table: "timeouts",
        name: "quick_timeout",
        accepts: seconds(1, 60),
        set: |settings, value| {
            if let Value::Seconds(seconds) = value {
                settings.quick_timeout = u32::try_from(seconds).unwrap_or(u32::MAX);
            }
        },
        get: |settings| Some(Value::Seconds(settings.quick_timeout.into())),
    },
    // Beyond a minute, the NOPs of iSCSI are sooner.
    duration!("timeouts", "detect_timeout", Accepts::Seconds { least: 1, most: 60, or_never: true }, detect_timeout),
    Key {
        table: "timeouts",
        name: "fence",
        accepts: Accepts::Flag,
        set: |settings, value| {
            if let Value::Flag(fence) = value {
                settings.fence = fence;
            }
        },
        get: |settings| Some(Value::Flag(settings.fence)),
    },
];

/// What can be said of a single mirror.
pub const POLICY: [Key<MirrorPolicy>; 3] = [
    Key {
        table: "",
        name: "verify",
        accepts: Accepts::Verify,
        set: |policy, value| {
            if let Value::Verify(verify) = value {
                policy.verify = Some(verify);
            }
        },
        get: |policy| policy.verify.map(Value::Verify),
    },
    Key {
        table: "",
        name: "exclude",
        accepts: Accepts::Flag,
        set: |policy, value| {
            if let Value::Flag(exclude) = value {
                policy.exclude = exclude;
            }
        },
        get: |policy| policy.exclude.then_some(Value::Flag(true)),
    },
    Key {
        table: "",
        name: "priority",
        accepts: Accepts::Count { what: "whole numbers", least: -100, most: 100 },
        set: |policy, value| {
            if let Value::Count(priority) = value {
                policy.priority = i32::try_from(priority).unwrap_or(0);
            }
        },
        get: |policy| (policy.priority != 0).then_some(Value::Count(policy.priority.into())),
    },
];

/// What can be said of a storage server.
pub const SERVER: [Key<ServerPolicy>; 1] = [Key {
    table: "",
    name: "portals",
    accepts: Accepts::Portals,
    set: |server, value| {
        if let Value::Portals(portals) = value {
            server.portals = portals;
        }
    },
    get: |server| Some(Value::Portals(server.portals.clone())),
}];
