//! The guest's image: a Debian as small as the scenarios allow, made by mmdebstrap and kept by its recipe.
//!
//! The recipe is the package list, the files in `image/` and their places; change any and the image is made anew.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Fingerprint};
use crate::host;
use crate::progress;

/// The same release as the machines that build the programs under test, so that their C library fits.
const RELEASE: &str = "bookworm";

/// The whole user space of the guest; dependencies come by themselves, recommendations do not.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "polkitd",
    "kmod",
    "procps",
    "util-linux",
    "iproute2",
    "iputils-ping",
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
    "e2fsprogs",
    "less",
    // The stack under test; no lvmdbusd.
    "lvm2",
    "dmeventd",
    "dmsetup",
    "open-iscsi",
    "tgt",
    "sg3-utils",
    // For whoever has to find out why.
    "strace",
    "tcpdump",
];

/// Files put into the image: place, mode, text.
const FILES: &[(&str, u32, &str)] = &[
    ("usr/local/sbin/lab-net", 0o755, include_str!("image/lab-net")),
    ("usr/local/sbin/lab-export", 0o755, include_str!("image/lab-export")),
    ("etc/systemd/system/lab-net.service", 0o644, include_str!("image/lab-net.service")),
    ("etc/systemd/system/lab-agent.service", 0o644, include_str!("image/lab-agent.service")),
    ("etc/systemd/system/lab-target@.service", 0o644, include_str!("image/lab-target@.service")),
    ("etc/systemd/system/lab-target@a.service.d/lab.conf", 0o644, include_str!("image/netns-a.conf")),
    ("etc/systemd/system/lab-target@b.service.d/lab.conf", 0o644, include_str!("image/netns-b.conf")),
    ("etc/systemd/system/lab-target@c.service.d/lab.conf", 0o644, include_str!("image/server-c.conf")),
    ("etc/systemd/journald.conf.d/lab.conf", 0o644, include_str!("image/journald.conf")),
    ("etc/systemd/system.conf.d/lab.conf", 0o644, include_str!("image/fast.conf")),
    ("etc/lab/a.env", 0o644, include_str!("image/a.env")),
    ("etc/lab/b.env", 0o644, include_str!("image/b.env")),
    ("etc/lab/c.env", 0o644, include_str!("image/c.env")),
];

/// Modules that the guest needs to find its root; naming them keeps the initrd, which an emulator unpacks slowly, small.
const INITRD_MODULES: &str = include_str!("image/initramfs-modules");

/// Run in the new system at the end.
const CUSTOMIZE: &str = include_str!("image/customize.sh");

/// A complete image in the cache.
#[derive(Clone)]
pub struct Image {
    /// Read-only from here on; guests run on overlays.
    pub root: PathBuf,
    /// Booted directly, without a boot loader.
    pub kernel: PathBuf,
    /// Its initrd.
    pub initrd: PathBuf,
    /// Of the recipe.
    pub fingerprint: Fingerprint,
}

/// Makes the image unless the cache has it.
pub fn build() -> Result<Image> {
    let fingerprint = recipe();
    let dir = cache::entry("image", fingerprint, |draft| {
        progress("building the guest's image (about a minute, once)");
        make(draft)
    })?;
    Ok(Image { root: dir.join("root.qcow2"), kernel: dir.join("vmlinuz"), initrd: dir.join("initrd"), fingerprint })
}

fn recipe() -> Fingerprint {
    let sum = Fingerprint::new().add(RELEASE.as_bytes()).add(INITRD_MODULES.as_bytes()).add(CUSTOMIZE.as_bytes());
    let sum = PACKAGES.iter().fold(sum, |sum, package| sum.add(package.as_bytes()));
    FILES
        .iter()
        .fold(sum, |sum, (place, mode, text)| sum.add(place.as_bytes()).add(&mode.to_le_bytes()).add(text.as_bytes()))
}

fn make(draft: &Path) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("building the guest's image takes root; run `lab build` once as root with the same cache directory");
    }
    let tree = draft.join("tree");
    bootstrap(draft, &tree)?;
    for (place, mode, text) in FILES {
        let path = tree.join(place);
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    let script = draft.join("customize.sh");
    fs::write(&script, CUSTOMIZE)?;
    host::tool(Command::new("sh").arg(&script).arg(&tree))?;

    fs::copy(newest(&tree.join("boot"), "vmlinuz-")?, draft.join("vmlinuz"))?;
    fs::copy(newest(&tree.join("boot"), "initrd.img-")?, draft.join("initrd"))?;
    let raw = draft.join("root.raw");
    host::tool(Command::new("mke2fs").args(["-q", "-t", "ext4", "-L", "root", "-d"]).arg(&tree).arg(&raw).arg("4G"))?;
    host::tool(Command::new("qemu-img").args(["convert", "-O", "qcow2"]).arg(&raw).arg(draft.join("root.qcow2")))?;
    fs::remove_file(raw)?;
    fs::remove_dir_all(tree).context("removing the unpacked tree")
}

fn bootstrap(draft: &Path, tree: &Path) -> Result<()> {
    let modules = draft.join("modules");
    fs::write(&modules, INITRD_MODULES)?;
    // Before the kernel is unpacked, since its installation makes the initrd.
    let hook = format!(
        "mkdir -p \"$1/etc/initramfs-tools/conf.d\" \"$1/usr/share/initramfs-tools/modules.d\"; \
         echo MODULES=list > \"$1/etc/initramfs-tools/conf.d/lab\"; \
         cp '{}' \"$1/usr/share/initramfs-tools/modules.d/lab\"",
        modules.display()
    );
    host::tool(
        Command::new("mmdebstrap")
            .arg("--variant=minbase")
            .arg(format!("--include={}", PACKAGES.join(",")))
            .arg(format!("--essential-hook={hook}"))
            .arg(RELEASE)
            .arg(tree),
    )
}

fn newest(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect();
    found.sort();
    found.pop().with_context(|| format!("no {prefix}* in {}", dir.display()))
}
