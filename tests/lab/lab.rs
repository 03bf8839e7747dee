//! A client guest for a run: on a copy of the stock disk, so that the cache stays as it is.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host;
use crate::stock::{self, Stock};
use crate::vm::{Role, Spec, Vm};

/// Everything the lab writes but for its cache: `$MIRRORKEEPER_LAB_DIR`, else `target/lab` of the workspace.
pub fn dir() -> PathBuf {
    match std::env::var_os("MIRRORKEEPER_LAB_DIR") {
        Some(dir) if !dir.is_empty() => dir.into(),
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("lab"),
    }
}

/// A port that nobody uses now.
pub fn free_port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A client and the means to give it a second server.
pub struct Lab {
    /// The client.
    pub vm: Vm,
    server: Option<Vm>,
    stock: Stock,
    dir: PathBuf,
    wire: (u16, u16),
    /// Two runs in one directory would write to one disk.
    _lock: fs::File,
}

impl Lab {
    /// Starts a client under `name` and loads the stock snapshot.
    pub fn start(name: &str, detached: bool) -> Result<Self> {
        let stock = stock::build()?;
        let dir = dir().join(name);
        fs::create_dir_all(&dir)?;
        let lock = fs::File::create(dir.join("lock"))?;
        if lock.try_lock().is_err() || Vm::attach(&dir.join("client")).is_ok() {
            bail!("a guest is running in {} already; `lab down` ends one that was left up", dir.display());
        }
        let disk = dir.join("client.qcow2");
        host::tool(Command::new("cp").args(["--reflink=auto", "--sparse=always"]).arg(&stock.disk).arg(&disk))?;
        let wire = (free_port()?, free_port()?);
        let spec = Spec {
            role: Role::Client,
            image: &stock.image,
            accel: stock.accel,
            dir: dir.join("client"),
            disk,
            program: stock.program.clone(),
            data: None,
            wire,
            paused: true,
            detached,
        };
        let mut vm = Vm::start(&spec)?;
        vm.load(stock::SNAPSHOT).context("loading the stock snapshot")?;
        Ok(Self { vm, server: None, stock, dir, wire, _lock: lock })
    }
}

impl Lab {
    /// Boots the second guest, server c, with a LUN of its own: empty the first time, after a power cut with what
    /// had reached its disk.
    pub fn start_server(&mut self) -> Result<()> {
        let data = self.dir.join("c.img");
        if !data.exists() {
            fs::File::create(&data)?.set_len(400 << 20)?;
        }
        let disk = self.dir.join("server.qcow2");
        stock::overlay(&self.stock.image, &disk)?;
        let spec = Spec {
            role: Role::Server,
            image: &self.stock.image,
            accel: self.stock.accel,
            dir: self.dir.join("server"),
            disk,
            program: self.stock.program.clone(),
            data: Some(data),
            wire: (self.wire.1, self.wire.0),
            paused: false,
            detached: false,
        };
        let server = Vm::start(&spec)?;
        stock::wait_for_units(&server.guest, &["lab-target@c"])?;
        self.server = Some(server);
        Ok(())
    }

    /// Server c writes its cache to its disk.
    pub fn sync_server(&self) -> Result<()> {
        self.server.as_ref().context("server c is not running")?.guest.sh("sync").map(drop)
    }

    /// Cuts server c's power.
    pub fn cut_server_power(&mut self) -> Result<()> {
        self.server.take().context("server c is not running")?.power_cut()
    }

    /// Away with server c and its LUN, if it was there.
    pub fn end_server(&mut self) {
        self.server = None;
        let _ = fs::remove_file(self.dir.join("c.img"));
    }

    /// Console logs of the guests.
    pub fn consoles(&self) -> [(&'static str, PathBuf); 2] {
        ["client", "server"].map(|guest| (guest, self.dir.join(guest).join("console.log")))
    }
}
