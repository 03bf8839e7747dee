//! Mounts of mirrors that would spoil a boot with a server down, found in `/etc/fstab`.
//!
//! Never opens a device, since that may hang: names are compared, and `UUID=` and `LABEL=` are looked up in udev's links.
//! A source that cannot be told that way is passed over.

use std::path::{Path, PathBuf};

/// Options that a mount of a mirror on iSCSI disks needs, each known by how it begins; README, section Boot, says why.
const NEEDED: [&str; 3] = ["_netdev", "nofail", "x-systemd.device-timeout="];

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    line: usize,
    source: String,
    target: String,
    options: Vec<String>,
}

/// One line for each mount at boot of one of `mirrors` (`VG/LV`) that lacks an option. `dev` is `/dev`.
pub fn warnings<'m>(table: &str, mirrors: impl IntoIterator<Item = &'m str>, dev: &Path) -> Vec<String> {
    let mirrors: Vec<_> = mirrors.into_iter().map(|name| (name, names(name, dev))).collect();
    let mut warnings = Vec::new();
    for entry in parse(table).iter().filter(|entry| entry.is_mounted_at_boot()) {
        let Some(source) = device(&entry.source, dev) else { continue };
        let real = source.canonicalize().ok();
        let is_it = |path: &PathBuf| *path == source || (real.is_some() && path.canonicalize().ok() == real);
        let Some((mirror, _)) = mirrors.iter().find(|(_, paths)| paths.iter().any(is_it)) else { continue };
        let lacking = |needed: &&str| !entry.options.iter().any(|option| option.starts_with(*needed));
        let lacking: Vec<_> = NEEDED.iter().filter(|n| lacking(n)).map(|n| n.trim_end_matches('=')).collect();
        if !lacking.is_empty() {
            let (line, target) = (entry.line, &entry.target);
            warnings.push(format!("/etc/fstab:{line}: {target} is on {mirror}, without {}", lacking.join(", ")));
        }
    }
    warnings
}

impl Entry {
    fn is_mounted_at_boot(&self) -> bool {
        !self.options.iter().any(|option| option == "noauto")
    }
}

/// Reads `fstab(5)`: fields between blanks, `\040` for a blank in a field, `#` begins a comment line. A line without a
/// mount point says nothing.
fn parse(table: &str) -> Vec<Entry> {
    let entry = |(index, line): (usize, &str)| {
        let mut fields = line.split_ascii_whitespace();
        let source = fields.next().filter(|source| !source.starts_with('#'))?;
        let target = fields.next()?;
        let options = fields.nth(1).unwrap_or_default();
        Some(Entry {
            line: index + 1,
            source: unescape(source),
            target: unescape(target),
            options: options.split(',').map(str::to_owned).collect(),
        })
    };
    table.lines().enumerate().filter_map(entry).collect()
}

/// `\040` and the like; anything else stays as it is.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The path of a source, if it names a device.
fn device(source: &str, dev: &Path) -> Option<PathBuf> {
    let (by, name) = match source.split_once('=') {
        Some(("UUID", name)) => ("by-uuid", name),
        Some(("LABEL", name)) => ("by-label", name),
        _ => return Some(dev.join(source.strip_prefix("/dev/")?)),
    };
    Some(dev.join("disk").join(by).join(link_name(name.trim_matches('"'))))
}

/// How udev writes a label as a file name.
fn link_name(label: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii();
    label.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\x{:02x}", u32::from(c)) }).collect()
}

/// The paths of a logical volume. device-mapper doubles the dashes within names.
fn names(mirror: &str, dev: &Path) -> Vec<PathBuf> {
    let Some((vg, lv)) = mirror.split_once('/') else { return Vec::new() };
    let mapper = format!("{}-{}", vg.replace('-', "--"), lv.replace('-', "--"));
    vec![dev.join(vg).join(lv), dev.join("mapper").join(mapper)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const MIRRORS: [&str; 2] = ["vg0/lv", "vg-x/lv-y"];

    fn warned(line: &str) -> Vec<String> {
        warnings(line, MIRRORS, Path::new("/nonexistent/dev"))
    }

    #[test]
    fn what_lacks_an_option_is_named_with_line_and_option() {
        let table = "\
# /dev/vg0/lv /comment ext4 defaults 0 0
/dev/sda1 / ext4 errors=remount-ro 0 1

  /dev/vg0/lv\t/srv/with\\040blank ext4 defaults,_netdev 0 2
/dev/mapper/vg--x-lv--y none swap sw
";
        assert_eq!(
            warned(table),
            [
                "/etc/fstab:4: /srv/with blank is on vg0/lv, without nofail, x-systemd.device-timeout",
                "/etc/fstab:5: none is on vg-x/lv-y, without _netdev, nofail, x-systemd.device-timeout",
            ]
        );
    }

    #[test]
    fn what_has_them_all_or_is_not_mounted_at_boot_is_fine() {
        for line in [
            "/dev/vg0/lv /a ext4 x-systemd.device-timeout=300,nofail,_netdev",
            "/dev/vg0/lv /a ext4 noauto",
            "/dev/vg0/other /a ext4 defaults",
            "/dev/mapper/vg-x-lv-y /a ext4 defaults",
            "tmpfs /tmp tmpfs",
            "server:/export /a nfs",
            "UUID=0000 /a ext4",
            "/dev/vg0/lv",
            "\\ \\0 \\777 \\",
            "",
        ] {
            assert_eq!(warned(line), [""; 0], "{line}");
        }
    }

    #[test]
    fn uuids_and_labels_are_found_by_the_links_of_udev() {
        let dir = tempfile::tempdir().unwrap();
        let dev = dir.path();
        for made in ["vg0", "mapper", "disk/by-uuid", "disk/by-label"] {
            std::fs::create_dir_all(dev.join(made)).unwrap();
        }
        std::fs::write(dev.join("dm-4"), "").unwrap();
        std::fs::write(dev.join("dm-5"), "").unwrap();
        symlink("../dm-4", dev.join("vg0/lv")).unwrap();
        symlink("../dm-4", dev.join("mapper/vg0-lv")).unwrap();
        symlink("../../dm-4", dev.join("disk/by-uuid/12-34")).unwrap();
        symlink("../../dm-4", dev.join("disk/by-label/my\\x20data")).unwrap();
        symlink("../../dm-5", dev.join("disk/by-uuid/other")).unwrap();
        let count = |source: &str| warnings(&format!("{source} /a ext4"), MIRRORS, dev).len();
        assert_eq!([count("UUID=12-34"), count("UUID=\"12-34\""), count("LABEL=my\\040data")], [1, 1, 1]);
        assert_eq!([count("/dev/dm-4"), count("UUID=other"), count("UUID=gone"), count("PARTUUID=1")], [1, 0, 0, 0]);
    }
}
