//! What a child does besides reading: each ends with exit status 0 only when it is done.

use super::{FLAG, direct, print};
use crate::error::{Error, Result};
use crate::{Roots, blockdev, scsi, sysfs};
use std::io::Write;

/// Something to do that may wait for a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Have the kernel read a disk's capacity again.
    Rescan(String),
    /// Let a disk answer again that was set offline.
    Running(String),
    /// Have disks write their caches out.
    Flush(Vec<String>),
    /// Register a key with a disk's target, where nobody else has one, and print what is registered then.
    Register(String, u64),
    /// Take the key away, and print what is registered then.
    Unregister(String, u64),
    /// Read the block of a device that holds the byte at this offset, past the page cache, and print how it went.
    ReadDirect(String, u64),
}

const VERBS: &str =
    "rescan DISK, running DISK, flush NAME…, register DISK KEY, unregister DISK KEY or read-direct NAME OFFSET";

impl Verb {
    /// The command line.
    pub fn argv(&self) -> Vec<String> {
        let key = |key: &u64| format!("{key:016x}");
        let words = match self {
            Self::Rescan(disk) => vec!["rescan".to_owned(), disk.clone()],
            Self::Running(disk) => vec!["running".to_owned(), disk.clone()],
            Self::Flush(names) => std::iter::once("flush".to_owned()).chain(names.iter().cloned()).collect(),
            Self::Register(disk, ours) => vec!["register".to_owned(), disk.clone(), key(ours)],
            Self::Unregister(disk, ours) => vec!["unregister".to_owned(), disk.clone(), key(ours)],
            Self::ReadDirect(name, offset) => vec!["read-direct".to_owned(), name.clone(), offset.to_string()],
        };
        super::argv().into_iter().chain(words).collect()
    }

    /// Reads the words after [`FLAG`].
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        let bad = |why: String| Error::malformed(format!("{FLAG} {}", words.join(" ")), why);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(match words[..] {
            ["rescan", disk] => Self::Rescan(disk.to_owned()),
            ["running", disk] => Self::Running(disk.to_owned()),
            ["flush", ref names @ ..] if !names.is_empty() => {
                Self::Flush(names.iter().map(|name| (*name).to_owned()).collect())
            }
            ["register", disk, ours] => Self::Register(disk.to_owned(), key(ours).map_err(bad)?),
            ["unregister", disk, ours] => Self::Unregister(disk.to_owned(), key(ours).map_err(bad)?),
            ["read-direct", name, offset] => {
                let offset = offset.parse().map_err(|_| bad(format!("{offset:?} is no offset in bytes")))?;
                Self::ReadDirect(name.to_owned(), offset)
            }
            _ => return Err(bad(format!("not {VERBS}"))),
        })
    }

    /// Does it.
    pub(super) fn run(self, roots: &Roots, output: impl Write) -> Result<()> {
        match self {
            Self::Rescan(disk) => sysfs::rescan(roots, &disk),
            Self::Running(disk) => sysfs::set_running(roots, &disk),
            Self::Flush(names) => flush(roots, &names),
            Self::Register(disk, ours) => print(&scsi::register(&mut scsi::Disk::open(roots, &disk)?, ours), output),
            Self::Unregister(disk, ours) => {
                print(&scsi::unregister(&mut scsi::Disk::open(roots, &disk)?, ours), output)
            }
            Self::ReadDirect(name, offset) => print(&direct::read(roots, &name, offset)?, output),
        }
    }
}

/// Flushes all of them, also when one fails, and names every one that did.
fn flush(roots: &Roots, names: &[String]) -> Result<()> {
    let failed = names.iter().filter_map(|name| blockdev::flush(roots, name).err());
    let failed: Vec<String> = failed.map(|e| e.to_string()).collect();
    if failed.is_empty() { Ok(()) } else { Err(Error::NotAll { what: "flush", failed }) }
}

/// A key in hexadecimal. Zero is none: it takes a registration away.
fn key(text: &str) -> std::result::Result<u64, String> {
    let digits = text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    digits.filter(|key| *key != 0).ok_or_else(|| format!("{text:?} is no key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Verb> {
        Verb::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_child_understands_what_its_parent_says() {
        let verbs = [
            Verb::Rescan("sda".into()),
            Verb::Running("sda".into()),
            Verb::Flush(vec!["sda".into(), "sdb".into()]),
            Verb::Register("sda".into(), u64::MAX),
            Verb::Unregister("sda".into(), 1),
            Verb::ReadDirect("dm-3".into(), u64::MAX),
        ];
        for verb in verbs {
            let argv = verb.argv();
            assert_eq!(argv[..2], ["/proc/self/exe".to_owned(), FLAG.to_owned()]);
            assert_eq!(Verb::parse(&argv[2..]).unwrap(), verb);
        }
    }

    #[test]
    fn what_is_no_verb_is_refused() {
        let lines = ["format sda", "rescan", "rescan sda sdb", "flush", "register sda", "running", "register sda 1 2"];
        for line in lines.into_iter().chain(["read-direct sda", "read-direct sda 0 0"]) {
            assert!(parse(line).unwrap_err().to_string().contains("unregister DISK KEY"), "{line}");
        }
        for offset in ["", "-1", "0x10", "4k", "18446744073709551616"] {
            let said = parse(&format!("read-direct sda {offset}")).unwrap_err().to_string();
            assert!(said.contains("is no offset"), "{offset}: {said}");
        }
        for key in ["0", "0000000000000000", "", "+1", "0x1", "g", "10000000000000000", "-1"] {
            let said = parse(&format!("register sda {key}")).unwrap_err().to_string();
            assert!(said.contains("is no key"), "{key}: {said}");
        }
        assert_eq!(parse("unregister sdb 6D6b").unwrap(), Verb::Unregister("sdb".into(), 0x6d6b));
    }
}
