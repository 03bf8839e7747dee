//! One entry as one line: `CRC32 JSON`. The sum tells a whole line from what a power cut or a bad sector left of it; the
//! names in `details` carry D-Bus types, so that an entry is read back as it was signalled. Compact, since there may be ten
//! thousand of them in one answer.

use crate::bus::{path, wire};
use mirrorkeeper_core::snapshot::{Event, Value};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// An event that was, in the words of the bus. Not the engine's types: a later version may not know every old word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// CLOCK_REALTIME microseconds.
    pub at: u64,
    /// Event code.
    pub code: Box<str>,
    /// Severity.
    pub severity: Box<str>,
    /// Object path.
    pub object: Box<str>,
    /// The facts.
    pub details: Facts,
}

/// Named values in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts(pub Vec<(Box<str>, Fact)>);

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, fact)| (name, fact)))
    }
}

impl<'de> Deserialize<'de> for Facts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Facts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("named values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Facts, A::Error> {
                let mut facts = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    facts.push(entry);
                }
                facts.shrink_to_fit();
                Ok(Facts(facts))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

/// A value that is written with its D-Bus signature: `{"u":2}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact(#[serde(with = "Typed")] pub Value);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Value")]
enum Typed {
    #[serde(rename = "b")]
    Bool(bool),
    #[serde(rename = "u")]
    U32(u32),
    #[serde(rename = "t")]
    U64(u64),
    #[serde(rename = "d")]
    F64(f64),
    #[serde(rename = "s")]
    Str(String),
    #[serde(rename = "as")]
    Strs(Vec<String>),
}

impl From<&Event> for Entry {
    fn from(event: &Event) -> Self {
        // JSON has no word for what is not a number, D-Bus none for NUL.
        let fact = |value: &Value| match value {
            Value::F64(number) if !number.is_finite() => Fact(Value::F64(0.0)),
            Value::Str(text) => Fact(Value::Str(wire::text(text))),
            Value::Strs(texts) => Fact(Value::Strs(texts.iter().map(|text| wire::text(text)).collect())),
            value => Fact(value.clone()),
        };
        Self {
            at: event.at.0,
            code: event.code.word().into(),
            severity: event.severity.word().into(),
            object: path::object(&event.object).as_str().into(),
            details: Facts(event.details.iter().map(|(name, value)| ((*name).into(), fact(value))).collect()),
        }
    }
}

impl Entry {
    /// With its newline.
    pub fn to_line(&self) -> String {
        // Strings, numbers and maps with string keys always have a JSON form.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{:08x} {json}\n", crc32(json.as_bytes()))
    }

    /// From a line without its newline; `None` for anything that was not written whole by [`Self::to_line`].
    pub fn from_line(line: &[u8]) -> Option<Self> {
        let (sum, json) = line.split_at_checked(9)?;
        let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
        (u32::from_str_radix(sum, 16).ok()? == crc32(json)).then(|| serde_json::from_slice(json).ok())?
    }
}

/// CRC-32 as in Ethernet and zip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum: u32, byte| (sum >> 8) ^ TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)])
}

/// The sum of each byte alone.
const TABLE: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorkeeper_core::snapshot::{Details, Object};
    use mirrorkeeper_core::time::Wall;
    use mirrorkeeper_core::words::{EventCode, Severity};

    fn entry() -> Entry {
        let details = Details::from([
            ("b", Value::Bool(true)),
            ("u", Value::U32(u32::MAX)),
            ("t", Value::U64(u64::MAX)),
            ("d", Value::F64(f64::NAN)),
            ("s", "two\nlines\0".into()),
            ("as", Value::Strs(vec!["x".into()])),
        ]);
        let object = Object::Mirror("vg0/lv".into());
        Entry::from(&Event { at: Wall(7), code: EventCode::LegLost, severity: Severity::Error, object, details })
    }

    #[test]
    fn the_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926, "the check value of CRC-32/ISO-HDLC");
    }

    #[test]
    fn an_entry_is_read_back_with_its_types() {
        let entry = entry();
        assert_eq!(&*entry.object, "/org/mirrorkeeper1/mirror/vg0_2flv");
        let facts = &entry.details.0;
        assert!(facts.contains(&("d".into(), Fact(Value::F64(0.0)))));
        assert!(facts.contains(&("s".into(), Fact("two\nlines\u{fffd}".into()))));
        let line = entry.to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(Entry::from_line(line.trim_end().as_bytes()), Some(entry));
    }

    #[test]
    fn no_part_of_a_line_and_no_line_with_another_byte_is_an_entry() {
        let line = entry().to_line();
        let line = line.trim_end().as_bytes();
        for end in 0..line.len() {
            assert_eq!(Entry::from_line(&line[..end]), None, "{end} bytes");
            let mut changed = line.to_vec();
            changed[end] ^= 0x15;
            assert_eq!(Entry::from_line(&changed), None, "byte {end}");
        }
        assert_eq!(Entry::from_line("0000000ä {}".as_bytes()), None);
        assert_eq!(Entry::from_line(b"00000000 "), None);
    }
}
