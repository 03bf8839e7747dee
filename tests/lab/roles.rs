//! Which leg fails fast and which one waits, as the daemon says it and as the kernel has it; and what the writers felt.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::fault::Server;
use crate::guest::{Guest, object_path, server_path};
use crate::signals;
use crate::stage::{HEAL_LIMIT, Stage, name};
use crate::stock::VOLUMES;
use crate::wait::{Look, wait_until};

const USER_TIMEOUTS: &str = include_str!("in-guest/user-timeouts");

/// With both servers well: a's leg, the lower, fails fast, and b's waits.
pub const HEALTHY: [(Server, &str); 2] = [(Server::A, "quick"), (Server::B, "anchor")];

impl Server {
    /// The object of its target on the bus.
    pub fn target(self) -> String {
        let name = format!("iqn.2006-01.com.openfiler:linuxtest1lv-{},{}:3260", self.letter(), self.address());
        object_path("target", &name)
    }

    /// Its own object.
    pub fn object(self) -> String {
        server_path(self.address())
    }
}

impl Guest {
    /// `TimeoutReason` of a server's target.
    pub fn role(&self, server: Server) -> Result<String> {
        let value = self.property(&server.target(), "Target", "TimeoutReason")?;
        value.as_str().map(str::to_owned).context("TimeoutReason is no string")
    }

    /// `StallEstimateUSec` of a server's target.
    pub fn stall_estimate(&self, server: Server) -> Result<Duration> {
        let value = self.property(&server.target(), "Target", "StallEstimateUSec")?;
        value.as_u64().map(Duration::from_micros).context("StallEstimateUSec is no number")
    }

    /// The kernel's replacement timeout of a server's session in seconds.
    pub fn recovery_tmo(&self, server: Server) -> Result<u32> {
        let text = self.sh(&format!(
            "cd /sys/class/iscsi_session
             for s in session*; do ! grep -q 'lv-{}$' $s/targetname || cat $s/recovery_tmo; done",
            server.letter()
        ))?;
        text.trim().parse().with_context(|| format!("recovery_tmo says {text:?}"))
    }

    /// TCP_USER_TIMEOUT on the socket of a server's session in milliseconds; none while it has no socket.
    pub fn user_timeout(&self, server: Server) -> Result<Option<u32>> {
        if self.exec(&["test", "-x", "/root/user-timeouts"])?.rc != 0 {
            self.agent().put(USER_TIMEOUTS.as_bytes(), "/root/user-timeouts", 0o755)?;
        }
        let text = self.sh("/root/user-timeouts")?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(address, _)| *address == server.address());
        found.map(|(_, millis)| millis.parse().context("not milliseconds")).transpose()
    }

    /// The guest's clock in microseconds, as in the writers' ledgers.
    pub fn clock(&self) -> Result<u64> {
        self.sh("date +%s%6N")?.trim().parse().context("date said no number")
    }

    /// How long the longest write took that was acknowledged since, in seconds.
    pub fn longest_write(&self, volume: &str, since: u64) -> Result<f64> {
        self.longest_write_until(volume, since, u64::MAX)
    }

    /// The same of a span of time.
    pub fn longest_write_until(&self, volume: &str, since: u64, until: u64) -> Result<f64> {
        let n = name(volume);
        let text = self.sh(&format!(
            "awk '$3 >= {since} && $3 < {until} && $4 > m {{ m = $4 }} END {{ print m / 1e6 }}' /root/{n}.ledger"
        ))?;
        text.trim().parse().context("awk said no number")
    }
}

impl Stage<'_> {
    /// Waits until both servers have these roles, in what the daemon says.
    pub fn wait_for_roles(&self, roles: [(Server, &str); 2]) -> Result<()> {
        for (server, wanted) in roles {
            wait_until(&format!("{server:?} to be {wanted}"), HEAL_LIMIT, || {
                let role = self.guest().role(server)?;
                Ok(if role == wanted { Look::Done(()) } else { Look::NotYet(role) })
            })?;
        }
        self.step(&format!("roles: {roles:?}"));
        Ok(())
    }

    /// Waits until kernel and sockets have what the roles of healthy servers ask for: seconds on a's session, 600 on b's,
    /// and `detect` milliseconds on both sockets.
    pub fn wait_for_limits(&self, quick: u32, detect: u32) -> Result<()> {
        for (server, seconds) in [(Server::A, quick), (Server::B, 600)] {
            wait_until(&format!("{seconds} s and {detect} ms on {server:?}"), HEAL_LIMIT, || {
                let found = (self.guest().recovery_tmo(server)?, self.guest().user_timeout(server)?);
                let wanted = (seconds, Some(detect));
                Ok(if found == wanted { Look::Done(()) } else { Look::NotYet(format!("{found:?}")) })
            })?;
        }
        self.step(&format!("a gives up after {quick} s, b after 600 s, both sockets have {detect} ms"));
        Ok(())
    }

    /// Compares the longest writes since `since` with what the daemon had promised: within 1 s and a fifth, and what emulation costs.
    pub fn check_stalls(&mut self, what: &str, since: u64, promised: Duration) -> Result<()> {
        let promised = promised.as_secs_f64();
        let mut text = format!("{what}: {promised:.1} s promised");
        let (mut worst, mut late): (f64, Vec<&str>) = (0.0, Vec::new());
        for volume in VOLUMES {
            let stall = self.guest().longest_write(volume, since)?;
            text += &format!(", {} {stall:.1} s", name(volume));
            worst = worst.max(stall);
            let raid = self.guest().dm_status(volume)?.target == "raid";
            let most = promised * 1.2 + 1.0 + if raid { SLOWNESS } else { EMULATION };
            late.extend((stall > most).then_some(volume));
        }
        self.step(&text);
        ensure!(late.is_empty(), "{text}: too long for {late:?}");
        ensure!(worst >= promised * 0.8 - 1.0, "writes stalled for {worst:.1} s only: {promised:.1} s is no estimate");
        self.figure(text);
        Ok(())
    }

    /// How often an event was announced so far.
    pub fn events(&self, code: &str) -> Result<usize> {
        Ok(signals::events(&signals::read(self.guest())?).iter().filter(|event| *event == code).count())
    }
}

/// What a busy machine without KVM adds to a stall that ends in the kernel.
const SLOWNESS: f64 = 1.5;

/// What it adds where dmeventd has to act: dmeventd alone takes 2 to 4 s to drop a leg of the mirror, half a second on hardware.
pub const EMULATION: f64 = 5.0;
