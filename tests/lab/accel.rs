//! How QEMU runs the guest's instructions here: by KVM where that really boots, else by emulation.
//!
//! On some machines `/dev/kvm` opens and a guest started on it never says a word, so the only honest test is to boot
//! something. The kernel without a root file system is enough: it panics and, told to, resets the machine.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cache;
use crate::image::Image;
use crate::progress;

/// A kernel on working KVM gets through this in two seconds.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// The way this machine can run guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    /// Hardware.
    Kvm,
    /// Emulation: some ten times slower, so every limit in the lab is made for it.
    Tcg,
}

impl Accel {
    /// As remembered, or found out now.
    pub fn choose(image: &Image) -> Result<Self> {
        let note = cache::dir()?.join("accel");
        match fs::read_to_string(&note).as_deref().map(str::trim) {
            Ok("kvm") if fs::metadata("/dev/kvm").is_ok() => return Ok(Self::Kvm),
            Ok("tcg") => return Ok(Self::Tcg),
            _ => {}
        }
        let accel = if works(image)? { Self::Kvm } else { Self::Tcg };
        progress(&format!("guests will run by {}; remembered in {}", accel.word(), note.display()));
        fs::write(&note, accel.word())?;
        Ok(accel)
    }

    /// QEMU's arguments for it. Old QEMUs emulate `cmpxchg16b` in a way that kernels from 6.12 on die of.
    pub fn args(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16"],
        }
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

fn works(image: &Image) -> Result<bool> {
    if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(false);
    }
    progress("/dev/kvm is there; trying whether it boots");
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(Accel::Kvm.args())
        .args(["-m", "512", "-display", "none", "-nodefaults", "-no-reboot", "-append", "panic=-1"])
        .arg("-kernel")
        .arg(&image.kernel)
        .arg("-initrd")
        .arg(&image.initrd)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting qemu-system-x86_64")?;
    let start = Instant::now();
    while start.elapsed() < PROBE_LIMIT {
        if let Some(status) = qemu.try_wait()? {
            return Ok(status.success());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    qemu.kill()?;
    qemu.wait()?;
    Ok(false)
}
