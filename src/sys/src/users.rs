//! Who uses a disk besides device-mapper: mounts, swap, md and other holders. A session with such a disk must wait for its
//! server, since nobody has a second copy of what is on it.
//!
//! Facts come from `/proc/self/mountinfo`, `/proc/swaps` and sysfs, which answer from memory; no path in them is followed
//! but device nodes below `/dev`. What cannot be told counts as used: whoever waits loses nothing. Mounts in other mount
//! namespaces, and journals or logs kept on a device of their own, are not seen.

use crate::error::{Error, Result};
use crate::{Roots, sysfs, text};
use mirrorkeeper_core::ids::DevNo;
use mirrorkeeper_core::observation::{DiskObs, SessionObs};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;

/// Users named of each disk: enough for a person, and an end to a container host's thousand bind mounts.
const MOST: usize = 8;

/// A mount takes some 200 bytes, and the kernel allows 100 000 a namespace (`fs.mount-max`).
const LARGEST: u64 = 32 << 20;

/// Fills in `users` of every disk. The tables are read once, and not at all when there is no disk.
pub fn fill(roots: &Roots, sessions: &mut [SessionObs], gaps: &mut Vec<String>) {
    let mut disks = sessions.iter_mut().flat_map(|session| &mut session.disks).peekable();
    if disks.peek().is_none() {
        return;
    }
    let tables = Tables::read(roots).map_err(|e| e.to_string());
    gaps.extend(tables.as_ref().err().cloned());
    for disk in disks {
        let users =
            tables.as_ref().map_err(String::clone).and_then(|t| users(roots, t, disk).map_err(|e| e.to_string()));
        disk.users = users.unwrap_or_else(|why| vec![format!("unknown: {why}")]);
    }
}

fn users(roots: &Roots, tables: &Tables, disk: &DiskObs) -> Result<Vec<String>> {
    let mut users = BTreeSet::new();
    let parts = disk.partitions.iter().map(|(name, dev)| (name.as_str(), *dev));
    for (name, dev) in parts.chain([(disk.name.as_str(), disk.dev)]) {
        users.extend(tables.0.get(&dev).into_iter().flatten().cloned());
        // What lies on it through device-mapper is known from there.
        let holders = text::names(&sysfs::block(roots, name)?.join("holders"))?;
        users.extend(holders.into_iter().filter(|holder| !holder.starts_with("dm-")));
    }
    Ok(users.into_iter().take(MOST).collect())
}

/// Mounts and swaps by the number of the device that they are on.
#[derive(Debug, Default)]
struct Tables(BTreeMap<DevNo, BTreeSet<String>>);

impl Tables {
    fn read(roots: &Roots) -> Result<Self> {
        let mut tables = Self::default();
        for mount in table(roots, "self/mountinfo", mount)? {
            tables.add(Some(mount.dev), &mount.point);
            // btrfs and its like show a number of their own; the device is in the name of the source.
            let nodes = mount.source.split(':').filter(|_| mount.dev.major == 0);
            nodes.for_each(|node| tables.add(node_number(roots, node), &mount.point));
        }
        // The first line is the heading.
        for swap in table(roots, "swaps", swap)?.into_iter().flatten() {
            tables.add(node_number(roots, &swap), "swap");
        }
        // A mount names one device of a btrfs that may have several.
        let btrfs = roots.sysfs.join("fs/btrfs");
        for id in text::names(&btrfs)? {
            let devices = text::names(&btrfs.join(id).join("devices"))?;
            devices.iter().for_each(|name| tables.add(sysfs::block_number(roots, name).ok(), "btrfs"));
        }
        Ok(tables)
    }

    fn add(&mut self, dev: Option<DevNo>, user: &str) {
        if let Some(dev) = dev {
            self.0.entry(dev).or_default().insert(user.to_owned());
        }
    }
}

/// Each line of a file below `/proc`; none without the file.
fn table<T>(roots: &Roots, file: &str, parse: fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let path = roots.proc.join(file);
    let fail = |e| Error::io(format!("read {}", path.display()), e);
    let mut bytes = Vec::new();
    match fs::File::open(&path).map_err(fail) {
        Ok(file) => file.take(LARGEST).read_to_end(&mut bytes).map_err(fail)?,
        Err(Error::Absent { .. }) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let text = String::from_utf8_lossy(&bytes);
    // Only line feeds end a line: others stand in names as they are.
    let lines = text.split('\n').filter(|line| !line.is_empty());
    lines.map(|line| parse(line).ok_or_else(|| text::not(&path, line, "a line of that table"))).collect()
}

/// The number of a device node named as below `/dev`; `None` for what is no such thing.
fn node_number(roots: &Roots, node: &str) -> Option<DevNo> {
    let path = roots.dev.join(node.strip_prefix("/dev/")?).canonicalize().ok()?;
    sysfs::block_number(roots, path.file_name()?.to_str()?).ok()
}

/// One line of mountinfo (`proc_pid_mountinfo(5)`).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    dev: DevNo,
    point: String,
    source: String,
}

/// `36 35 98:0 /root /point options optional-fields… - type source options`
fn mount(line: &str) -> Option<Mount> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [_, _, dev, _, point, _, rest @ ..] = &fields[..] else { return None };
    let end = rest.iter().position(|field| *field == "-")?;
    let source = rest.get(end + 2)?;
    Some(Mount { dev: DevNo::parse(dev).ok()?, point: decoded(point), source: decoded(source) })
}

/// `/dev/sda2 partition 1048572 0 -2`: the device, or nothing for the heading and for a file, whose file system is mounted.
#[expect(clippy::option_option, reason = "the outer one is a line that says neither")]
fn swap(line: &str) -> Option<Option<String>> {
    let mut fields = line.split_ascii_whitespace();
    let (name, kind) = (fields.next()?, fields.next()?);
    Some((kind == "partition").then(|| decoded(name)))
}

/// A name as it was before the kernel wrote white space, `\` and `#` in octal. What could end a line for a reader, or talk to
/// his terminal, is shown and not passed on.
fn decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(octal);
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(&bytes).chars().map(visible).collect()
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digit = |b: &u8| (b'0'..=b'7').contains(b);
    std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(digit)).and_then(|d| u8::from_str_radix(d, 8).ok())
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
