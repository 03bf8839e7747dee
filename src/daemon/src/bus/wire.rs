//! Values of the read model as D-Bus values. Every conversion here succeeds: a string that D-Bus cannot carry is changed
//! rather than refused, because a getter that fails would drop its property from every listing.

use crate::history::{Entry, Facts};
use mirrorkeeper_core::snapshot::{Details, Value};
use mirrorkeeper_core::time::Wall;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;
use zbus::{ObjectPath, Signature, Type, Variant, as_variant};

/// An entry of the history as time, event code, severity, object, details: `(tssoa{sv})`. Written straight from the entry:
/// there may be ten thousand, and everything else on this thread waits meanwhile.
#[derive(Debug)]
pub struct WireEntry(Entry);

impl WireEntry {
    /// `None` if its path is none, which only another version could have written.
    pub fn new(entry: Entry) -> Option<Self> {
        ObjectPath::try_from(&*entry.object).is_ok().then_some(Self(entry))
    }
}

impl Type for WireEntry {
    const SIGNATURE: &'static Signature = <(u64, &str, &str, ObjectPath<'_>, HashMap<&str, Variant<'_>>)>::SIGNATURE;
}

impl Serialize for WireEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Entry { at, code, severity, object, details } = &self.0;
        (at, code, severity, ObjectPath::from_str_unchecked(object), WireFacts(details)).serialize(serializer)
    }
}

struct WireFacts<'f>(&'f Facts);

impl Serialize for WireFacts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.0.iter().map(|(name, fact)| (name, WireFact(&fact.0))))
    }
}

/// Named facts: `a{sv}`.
#[derive(Debug)]
pub struct WireDetails(pub Details);

impl Type for WireDetails {
    const SIGNATURE: &'static Signature = <HashMap<&str, Variant<'_>>>::SIGNATURE;
}

impl Serialize for WireDetails {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, WireFact(value))))
    }
}

struct WireFact<'f>(&'f Value);

impl Serialize for WireFact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(value) => as_variant::serialize(value, serializer),
            Value::U32(value) => as_variant::serialize(value, serializer),
            Value::U64(value) => as_variant::serialize(value, serializer),
            Value::F64(value) => as_variant::serialize(value, serializer),
            Value::Str(value) => as_variant::serialize(&clean(value), serializer),
            Value::Strs(values) => {
                let values: Vec<Cow<'_, str>> = values.iter().map(|value| clean(value)).collect();
                as_variant::serialize(&values, serializer)
            }
        }
    }
}

/// A string without the one character that D-Bus forbids. Tools may print anything.
pub fn text(text: &str) -> String {
    clean(text).into_owned()
}

fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// A ratio of 0.0–1.0, whatever was divided by what.
pub fn ratio(ratio: f64) -> f64 {
    if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) }
}

/// Microseconds; the largest number for "not known" and "until it returns".
pub fn micros_or_max(duration: Option<Duration>) -> u64 {
    duration.and_then(|d| u64::try_from(d.as_micros()).ok()).unwrap_or(u64::MAX)
}

/// Microseconds since 1970; 0 for never.
pub fn micros_or_never(at: Option<Wall>) -> u64 {
    at.map_or(0, |at| at.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::OwnedVariant;
    use zbus::wire::serialized::Context;
    use zbus::wire::{LE, to_bytes};

    #[test]
    fn what_dbus_cannot_carry_is_changed() {
        assert_eq!(text("a\0b"), "a\u{fffd}b");
        assert_eq!([ratio(f64::NAN), ratio(-0.5), ratio(1.5), ratio(0.25)], [0.0, 0.0, 1.0, 0.25]);
    }

    #[test]
    fn unknown_durations_are_the_largest_number() {
        assert_eq!(micros_or_max(None), u64::MAX);
        assert_eq!(micros_or_max(Some(Duration::MAX)), u64::MAX);
        assert_eq!(micros_or_max(Some(Duration::from_millis(2))), 2000);
        assert_eq!((micros_or_never(None), micros_or_never(Some(Wall(7)))), (0, 7));
    }

    #[test]
    fn details_keep_their_types() {
        let all = Details::from([
            ("bool", Value::Bool(true)),
            ("u32", Value::U32(1)),
            ("u64", Value::U64(2)),
            ("f64", Value::F64(0.5)),
            ("str", Value::from("a\0")),
            ("strs", Value::Strs(vec!["x".to_owned()])),
        ]);
        let bytes = to_bytes(Context::new(LE, 0), &WireDetails(all)).unwrap();
        let wire: HashMap<String, OwnedVariant> = bytes.deserialize().unwrap().0;
        let signature = |name: &str| wire[name].value_signature().to_string();
        assert_eq!(wire.len(), 6);
        assert_eq!(["bool", "u32", "u64", "f64", "str", "strs"].map(signature), ["b", "u", "t", "d", "s", "as"]);
    }
}
