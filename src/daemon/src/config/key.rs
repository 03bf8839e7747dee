//! Every key of the configuration: its name, what it accepts, and where it goes. The reader, `--print-config` and the test
//! of the packaged example all go by these tables.
//!
//! A range keeps out what would defeat the purpose of the setting; the built-in values are those of [`Settings`].

use mirrorkeeper_core::settings::{MirrorPolicy, Settings, Verify};
use std::fmt;
use std::time::Duration;
use toml::de::DeValue;

/// A value that a key accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Whole seconds.
    Seconds(u64),
    /// `true` or `false`.
    Flag(bool),
    /// When to verify.
    Verify(Verify),
}

/// As in a file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "{seconds}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Verify(Verify::Auto) => f.write_str("\"auto\""),
            Self::Verify(Verify::Always) => f.write_str("\"always\""),
            Self::Verify(Verify::Never) => f.write_str("\"never\""),
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
    /// `true` or `false`.
    Flag,
    /// One of three words.
    Verify,
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds { least, most, or_never: true } => write!(f, "seconds: {least} to {most}, or 0 for never"),
            Self::Seconds { least, most, or_never: false } => write!(f, "seconds: {least} to {most}"),
            Self::Flag => f.write_str("true or false"),
            Self::Verify => f.write_str("\"auto\", \"always\" or \"never\""),
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
            (Self::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
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

/// A key of a table that becomes a `T`.
pub struct Key<T: 'static> {
    /// Its table; empty within `[mirrors."VG/LV"]`.
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
pub const SETTINGS: [Key<Settings>; 7] = [
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
                settings.last_leg_timeout = u32::try_from(seconds).unwrap_or(u32::MAX);
            }
        },
        get: |settings| Some(Value::Seconds(settings.last_leg_timeout.into())),
    },
];

/// What can be said of a single mirror.
pub const POLICY: [Key<MirrorPolicy>; 2] = [
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
];
