//! Names that outlive a reboot: targets by IQN and portal, LVM objects by UUID, block devices by number.
//!
//! `sdX`, session ids and arrival order are never keys (design, principle 4): a re-login changes all three.

use crate::name::Name;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?}: {why}")]
pub struct BadId {
    /// Which kind of identifier was expected.
    pub what: &'static str,
    /// The offending text, shortened to 80 characters.
    pub text: String,
    /// The rule it breaks.
    pub why: &'static str,
}

impl BadId {
    fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self { what, text: text.chars().take(80).collect(), why }
    }
}

/// Length of an LVM UUID as LVM prints it.
const PRINTED: usize = 38;

/// Where the dashes are: groups of 6, 4, 4, 4, 4, 4 and 6 characters (lvm2 `lib/uuid/uuid.c`).
const DASHES: [usize; 6] = [6, 11, 16, 21, 26, 31];

/// An LVM UUID in its printed form, `pDpQc6-octx-75S3-6nXa-Ix8T-bW8b-67gg1n`. Held in place: maps are keyed by it, and it is
/// copied and compared all the time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LvmUuid([u8; PRINTED]);

impl LvmUuid {
    /// Accepts the printed form and the 32 characters used in dm uuids and on disk.
    ///
    /// # Errors
    /// When the text does not hold exactly 32 of LVM's UUID characters, or has its dashes elsewhere.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let mut bare = text.bytes().filter(|b| *b != b'-');
        let mut printed = [b'-'; PRINTED];
        for (_, place) in printed.iter_mut().enumerate().filter(|(i, _)| !DASHES.contains(i)) {
            let known = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'!' | b'#');
            let other = || BadId::new("LVM UUID", text, "not 32 characters of LVM's alphabet");
            *place = bare.next().filter(known).ok_or_else(other)?;
        }
        if bare.next().is_some() {
            return Err(BadId::new("LVM UUID", text, "not 32 characters of LVM's alphabet"));
        }
        if text.contains('-') && text.as_bytes() != printed {
            return Err(BadId::new("LVM UUID", text, "dashes in the wrong places"));
        }
        Ok(Self(printed))
    }

    /// The printed form.
    pub fn as_str(&self) -> &str {
        // Nothing but ASCII gets in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The 32 characters without dashes, as in dm uuids.
    pub fn compact(&self) -> String {
        let mut bare = String::with_capacity(PRINTED - DASHES.len());
        let (printed, mut begun) = (self.as_str(), 0);
        for end in DASHES.into_iter().chain([PRINTED]) {
            bare.push_str(&printed[begun..end]);
            begun = end + 1;
        }
        bare
    }

    /// What follows after the 32 characters without dashes, in a text that begins with them.
    pub fn strip_from<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let (mut rest, mut begun) = (text, 0);
        for end in DASHES.into_iter().chain([PRINTED]) {
            rest = rest.strip_prefix(self.0.get(begun..end)?)?;
            begun = end + 1;
        }
        Some(rest)
    }

    /// The 32 characters without dashes that a text begins with.
    pub fn begin(text: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(text.get(..PRINTED - DASHES.len())?).ok()?).ok()
    }

    /// Eight of its characters as a number, in their order.
    fn word(&self, at: usize) -> u64 {
        self.0[at..].first_chunk().map_or(0, |word| u64::from_be_bytes(*word))
    }
}

/// Where the words begin that two UUIDs are compared by: the first nearly always tells them apart, the last overlaps.
const WORDS: [usize; 5] = [0, 8, 16, 24, PRINTED - 8];

impl PartialEq for LvmUuid {
    fn eq(&self, other: &Self) -> bool {
        WORDS.iter().all(|at| self.word(*at) == other.word(*at))
    }
}

impl Eq for LvmUuid {}

impl Ord for LvmUuid {
    fn cmp(&self, other: &Self) -> Ordering {
        let differ = WORDS.iter().map(|at| self.word(*at).cmp(&other.word(*at))).find(|order| order.is_ne());
        differ.unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for LvmUuid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<String> for LvmUuid {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        Self::parse(&text)
    }
}

impl From<LvmUuid> for String {
    fn from(id: LvmUuid) -> Self {
        id.as_str().to_owned()
    }
}

impl fmt::Display for LvmUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LvmUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LvmUuid").field(&self.as_str()).finish()
    }
}

/// UUID of a physical volume: one leg lives on one of these.
pub type PvUuid = LvmUuid;
/// UUID of a volume group.
pub type VgUuid = LvmUuid;
/// UUID of a logical volume.
pub type LvUuid = LvmUuid;

/// An iSCSI target at one portal, the unit that open-iscsi logs in to. Shared, because every place that a disk is mentioned in
/// carries one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TargetKey(Arc<TargetParts>);

/// What a [`TargetKey`] is made of.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetParts {
    /// Target name, up to 223 bytes by RFC 7143 (longer ones are carried as they are).
    pub iqn: String,
    /// `addr:port`, IPv6 addresses in brackets. The configured (persistent) portal, not a redirect.
    pub portal: String,
    /// open-iscsi interface record, normally `default`.
    pub iface: String,
    /// `IQN,ADDR:PORT`, with `,IFACE` appended unless it is `default`: the name used on the bus and in the ledger.
    pub name: Name,
}

impl TargetKey {
    /// Puts an address and a port into the portal form of the contract.
    pub fn new(iqn: &str, addr: &str, port: u16, iface: &str) -> Self {
        let addr = addr.trim_start_matches('[').trim_end_matches(']');
        let portal = if addr.contains(':') { format!("[{addr}]:{port}") } else { format!("{addr}:{port}") };
        let suffix = if iface == "default" { String::new() } else { format!(",{iface}") };
        let name = format!("{iqn},{portal}{suffix}");
        Self(Arc::new(TargetParts { iqn: iqn.to_owned(), portal, iface: iface.to_owned(), name: name.into() }))
    }

    /// The portal's address without its port: one storage server, unless the configuration says otherwise.
    pub fn host(&self) -> &str {
        self.portal.rsplit_once(':').map_or(self.portal.as_str(), |(host, _)| host)
    }
}

impl Ord for TargetKey {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl PartialOrd for TargetKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Deref for TargetKey {
    type Target = TargetParts;
    fn deref(&self) -> &TargetParts {
        &self.0
    }
}

/// The name used on the bus.
impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (iqn, portal, iface) = (&self.iqn, &self.portal, &self.iface);
        f.debug_struct("TargetKey").field("iqn", iqn).field("portal", portal).field("iface", iface).finish()
    }
}

/// A block device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DevNo {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl DevNo {
    /// Parses `major:minor`.
    ///
    /// # Errors
    /// When either half is missing or not a decimal number.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let bad = || BadId::new("device number", text, "not major:minor");
        let (major, minor) = text.trim().split_once(':').ok_or_else(bad)?;
        Ok(Self { major: major.parse().map_err(|_| bad())?, minor: minor.parse().map_err(|_| bad())? })
    }
}

impl fmt::Display for DevNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// One operation handed to the shell; unique within a run of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// One job on the bus, `/org/mirrorkeeper1/job/N`; unique within a run of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lvm_uuid_reads_both_forms_and_refuses_others() {
        let printed = LvmUuid::parse("pDpQc6-octx-75S3-6nXa-Ix8T-bW8b-67gg1n").unwrap();
        assert_eq!(LvmUuid::parse("pDpQc6octx75S36nXaIx8TbW8b67gg1n").unwrap(), printed);
        assert_eq!(printed.compact(), "pDpQc6octx75S36nXaIx8TbW8b67gg1n");
        for at in 0..32 {
            let mut other = *b"pDpQc6octx75S36nXaIx8TbW8b67gg1n";
            other[at] = b'!';
            let other = LvmUuid::parse(std::str::from_utf8(&other).unwrap()).unwrap();
            assert!(other != printed && other < printed, "{other}");
        }
        assert_eq!(printed.strip_from(b"pDpQc6octx75S36nXaIx8TbW8b67gg1n-real"), Some(&b"-real"[..]));
        assert_eq!(printed.strip_from(b"pDpQc6octx75S36nXaIx8TbW8b67gg1m-real"), None);
        assert_eq!(printed.strip_from(b"pDpQc6octx75S36nXaIx8TbW8b67gg1"), None);
        assert_eq!(LvmUuid::begin(b"pDpQc6octx75S36nXaIx8TbW8b67gg1n-real").as_ref(), Some(&printed));
        assert_eq!(LvmUuid::begin(b"pDpQc6octx75S36nXaIx8TbW8b67gg1"), None);
        for bad in ["", "abc", "pDpQc6-octx-75S3-6nXa-Ix8T-bW8b67-gg1n", "pDpQc6octx75S36nXaIx8TbW8b67gg1/"] {
            assert!(LvmUuid::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn target_key_prints_as_on_the_bus() {
        assert_eq!(TargetKey::new("iqn.x:a", "10.0.0.1", 3260, "default").to_string(), "iqn.x:a,10.0.0.1:3260");
        let v6 = TargetKey::new("iqn.x:a", "fe80::1", 3260, "eth1");
        assert_eq!(v6.to_string(), "iqn.x:a,[fe80::1]:3260,eth1");
        assert_eq!(v6.host(), "[fe80::1]");
    }
}
