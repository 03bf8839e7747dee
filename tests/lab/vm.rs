//! One QEMU: how it is started, snapshotted and ended.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd;

use crate::accel::Accel;
use crate::agent::Agent;
use crate::guest::Guest;
use crate::image::Image;
use crate::protocol::PORT;
use crate::qmp::Qmp;
use crate::wait::{Look, wait_until};

/// From power-on to an answering agent: 40 s in emulation on an idle machine; the rest is for a busy one.
pub const BOOT_LIMIT: Duration = Duration::from_secs(300);

/// What a guest is made of.
pub struct Spec<'a> {
    /// `client` or `server`: which of the image's units start.
    pub role: Role,
    /// Kernel and initrd.
    pub image: &'a Image,
    /// How it runs.
    pub accel: Accel,
    /// Sockets and the console's log go here.
    pub dir: PathBuf,
    /// The root disk: an overlay on the image, written to.
    pub disk: PathBuf,
    /// The disk that carries `lab-guest`.
    pub program: PathBuf,
    /// The LUN of a server guest.
    pub data: Option<PathBuf>,
    /// UDP ports of the wire between two guests: our end and the other.
    pub wire: (u16, u16),
    /// Do not run until a snapshot is loaded.
    pub paused: bool,
    /// Outlives this program (`lab up`); otherwise dies with it.
    pub detached: bool,
}

/// The two parts a guest can play.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Initiator, mirrors, daemon; servers a and b in network namespaces.
    Client,
    /// Server c alone, so that its power can be cut.
    Server,
}

/// A running QEMU.
pub struct Vm {
    /// Commands inside.
    pub guest: Guest,
    child: Option<Child>,
    dir: PathBuf,
}

impl Vm {
    /// Starts it and, unless paused, waits for its agent.
    pub fn start(spec: &Spec<'_>) -> Result<Self> {
        fs::create_dir_all(&spec.dir)?;
        for socket in ["agent.sock", "qmp.sock"] {
            let _ = fs::remove_file(spec.dir.join(socket));
        }
        let child = command(spec)?.spawn().context("starting qemu-system-x86_64")?;
        fs::write(spec.dir.join("pid"), child.id().to_string())?;
        let socket = spec.dir.join("agent.sock");
        let agent = wait_until("QEMU's sockets", Duration::from_secs(20), || Agent::connect(&socket).map(Look::Done))
            .with_context(|| fs::read_to_string(spec.dir.join("qemu.err")).unwrap_or_default())?;
        let vm = Self { guest: Guest::new(agent), child: Some(child), dir: spec.dir.clone() };
        if !spec.paused {
            vm.wait_for_agent(BOOT_LIMIT)?;
        }
        Ok(vm)
    }

    /// Takes up the one that `lab up` left running.
    pub fn attach(dir: &Path) -> Result<Self> {
        let agent = Agent::connect(&dir.join("agent.sock")).context("no guest is up; `lab up` starts one")?;
        Ok(Self { guest: Guest::new(agent), child: None, dir: dir.to_owned() })
    }

    /// Asks until the agent answers.
    pub fn wait_for_agent(&self, limit: Duration) -> Result<()> {
        wait_until("the agent in the guest", limit, || self.guest.agent().ping(Duration::from_secs(3)).map(Look::Done))
            .with_context(|| format!("the console's log is {}", self.dir.join("console.log").display()))
    }

    /// Keeps everything, disks and memory, under a name.
    pub fn save(&self, name: &str) -> Result<()> {
        self.qmp()?.monitor(&format!("savevm {name}"))
    }

    /// Goes back to what was kept. Whatever was on the line to the agent belongs to another past: it is dropped.
    pub fn load(&mut self, name: &str) -> Result<()> {
        let mut qmp = self.qmp()?;
        qmp.monitor(&format!("loadvm {name}"))?;
        qmp.call("cont", serde_json::json!({}))?;
        self.guest.replace(Agent::connect(&self.dir.join("agent.sock"))?);
        self.wait_for_agent(Duration::from_secs(60))?;
        self.guest.set_clock()
    }

    /// Power lost and back at once: the guest boots anew with what had reached its disks.
    pub fn reset(&self) -> Result<()> {
        self.qmp()?.call("system_reset", serde_json::json!({})).map(drop)
    }

    /// Power cut: QEMU is killed, and with it everything the guest had only in memory.
    pub fn power_cut(mut self) -> Result<()> {
        match self.child.take() {
            Some(mut child) => {
                child.kill()?;
                child.wait()?;
                Ok(())
            }
            None => self.kill_by_pid(),
        }
    }

    /// Lets it run on after this program (only for one started detached).
    pub fn leave(mut self) {
        self.child = None;
    }

    fn kill_by_pid(&self) -> Result<()> {
        let path = self.dir.join("pid");
        let pid: i32 = fs::read_to_string(&path)?.trim().parse()?;
        // The number may have been given to somebody else since.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with("qemu-system") {
            nix::sys::signal::kill(unistd::Pid::from_raw(pid), Signal::SIGKILL)?;
        }
        fs::remove_file(path).context("removing the pid file")
    }

    fn qmp(&self) -> Result<Qmp> {
        Qmp::connect(&self.dir.join("qmp.sock"))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn command(spec: &Spec<'_>) -> Result<Command> {
    let file = |path: &Path| path.display().to_string();
    let socket = |name: &str| file(&spec.dir.join(name));
    if socket("agent.sock").len() > 100 {
        bail!("{} is too long a path for a socket", spec.dir.display());
    }
    let (role, memory, mac) = match spec.role {
        Role::Client => ("client", "1024", "52:54:00:00:03:01"),
        Role::Server => ("server", "384", "52:54:00:00:03:02"),
    };
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(spec.accel.args()).args(["-smp", "2", "-m", memory, "-display", "none", "-nodefaults"]);
    qemu.arg("-kernel").arg(&spec.image.kernel).arg("-initrd").arg(&spec.image.initrd);
    qemu.arg("-append").arg(format!(
        "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off systemd.show_status=0 quiet lab.role={role}"
    ));
    qemu.args(["-serial", &format!("file:{}", socket("console.log"))]);
    qemu.args(["-qmp", &format!("unix:{},server=on,wait=off", socket("qmp.sock"))]);
    qemu.args(["-device", "virtio-serial-pci"]);
    qemu.args(["-chardev", &format!("socket,id=agent,path={},server=on,wait=off", socket("agent.sock"))]);
    qemu.args(["-device", &format!("virtserialport,chardev=agent,name={PORT}")]);

    let mut disk = |id: &str, options: String| {
        qemu.args(["-drive", &format!("if=none,id={id},{options}")]);
        qemu.args(["-device", &format!("virtio-blk-pci,drive={id},serial={id}")]);
    };
    // The root disk need not survive the host; the LUN's disk must keep exactly what its guest flushed or wrote back.
    disk("root", format!("file={},format=qcow2,cache=unsafe,discard=unmap,detect-zeroes=unmap", file(&spec.disk)));
    disk("labguest", format!("file={},format=raw,readonly=on", file(&spec.program)));
    if let Some(data) = &spec.data {
        disk("labdata", format!("file={},format=raw,cache=writeback", file(data)));
    }
    let (ours, theirs) = spec.wire;
    // Datagrams: either end may vanish and come back without the other noticing at this level.
    qemu.args(["-netdev", &format!("socket,id=wire,udp=127.0.0.1:{theirs},localaddr=127.0.0.1:{ours}")]);
    qemu.args(["-device", &format!("virtio-net-pci,netdev=wire,mac={mac}")]);
    if spec.paused {
        qemu.arg("-S");
    }
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(spec.dir.join("qemu.err"))?);
    let detached = spec.detached;
    // SAFETY: setsid and prctl are async-signal-safe and touch nothing of the parent.
    unsafe {
        qemu.pre_exec(move || {
            if detached { unistd::setsid().map(drop) } else { prctl::set_pdeathsig(Signal::SIGKILL) }
                .map_err(Into::into)
        });
    }
    Ok(qemu)
}
