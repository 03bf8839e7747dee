//! Names that outlive a reboot: targets by IQN and portal, LVM objects by UUID, block devices by number.
//!
//! `sdX`, session ids and arrival order are never keys (design, principle 4): a re-login changes all three.

use serde::{Deserialize, Serialize};
use std::fmt;

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

/// Groups of an LVM UUID as LVM prints them (lvm2 `lib/uuid/uuid.c`).
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

/// An LVM UUID in its printed form, `pDpQc6-octx-75S3-6nXa-Ix8T-bW8b-67gg1n`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LvmUuid(String);

impl LvmUuid {
    /// Accepts the printed form and the 32 characters used in dm uuids and on disk.
    ///
    /// # Errors
    /// When the text does not hold exactly 32 of LVM's UUID characters, or has its dashes elsewhere.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let bare: String = text.chars().filter(|c| *c != '-').collect();
        if bare.len() != 32 || !bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'!' || b == b'#') {
            return Err(BadId::new("LVM UUID", text, "not 32 characters of LVM's alphabet"));
        }
        let mut printed = String::with_capacity(38);
        let mut rest = bare.as_str();
        for (i, len) in GROUPS.iter().enumerate() {
            let (head, tail) = rest.split_at(*len);
            if i > 0 {
                printed.push('-');
            }
            printed.push_str(head);
            rest = tail;
        }
        if text.contains('-') && text != printed {
            return Err(BadId::new("LVM UUID", text, "dashes in the wrong places"));
        }
        Ok(Self(printed))
    }

    /// The printed form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 32 characters without dashes, as in dm uuids.
    pub fn compact(&self) -> String {
        self.0.chars().filter(|c| *c != '-').collect()
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
        id.0
    }
}

impl fmt::Display for LvmUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// UUID of a physical volume: one leg lives on one of these.
pub type PvUuid = LvmUuid;
/// UUID of a volume group.
pub type VgUuid = LvmUuid;
/// UUID of a logical volume.
pub type LvUuid = LvmUuid;

/// An iSCSI target at one portal, the unit that open-iscsi logs in to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetKey {
    /// Target name, up to 223 bytes by RFC 7143 (longer ones are carried as they are).
    pub iqn: String,
    /// `addr:port`, IPv6 addresses in brackets. The configured (persistent) portal, not a redirect.
    pub portal: String,
    /// open-iscsi interface record, normally `default`.
    pub iface: String,
}

impl TargetKey {
    /// Puts an address and a port into the portal form of the contract.
    pub fn new(iqn: &str, addr: &str, port: u16, iface: &str) -> Self {
        let addr = addr.trim_start_matches('[').trim_end_matches(']');
        let portal = if addr.contains(':') { format!("[{addr}]:{port}") } else { format!("{addr}:{port}") };
        Self { iqn: iqn.to_owned(), portal, iface: iface.to_owned() }
    }

    /// The portal's address without its port: one storage server, unless the configuration says otherwise.
    pub fn host(&self) -> &str {
        self.portal.rsplit_once(':').map_or(self.portal.as_str(), |(host, _)| host)
    }
}

/// `IQN,ADDR:PORT`, with `,IFACE` appended unless it is `default`: the name used on the bus.
impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.iqn, self.portal)?;
        if self.iface == "default" { Ok(()) } else { write!(f, ",{}", self.iface) }
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
