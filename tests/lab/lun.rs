//! What lies behind a server's LUN: kept, put back later, swapped for something else. Only while the server is down.

use anyhow::{Result, ensure};

use crate::fault::Server;
use crate::guest::Guest;

/// A file that can stand for a server's LUN.
pub struct Image(String);

fn lun(server: Server) -> String {
    format!("/srv/lab/{}.img", server.letter())
}

impl Image {
    /// A copy of what a server's LUN holds now. tgt writes through the guest's page cache, which the copy reads.
    pub fn keep(guest: &Guest, server: Server) -> Result<Self> {
        let copy = Self(format!("{}.kept", lun(server)));
        guest.sh(&format!("cp --sparse=always {} {copy}", lun(server), copy = copy.0))?;
        Ok(copy)
    }

    /// A blank disk of the same size.
    pub fn blank(guest: &Guest) -> Result<Self> {
        guest.sh("rm -f /srv/lab/blank.img; truncate -s 400M /srv/lab/blank.img")?;
        Ok(Self("/srv/lab/blank.img".to_owned()))
    }

    /// The same size, with a PV of somebody else's VG on it.
    pub fn foreign(guest: &Guest) -> Result<Self> {
        guest.sh("rm -f /srv/lab/foreign.img; truncate -s 400M /srv/lab/foreign.img
             loop=$(losetup --find --show /srv/lab/foreign.img)
             vgcreate -y vgx $loop
             losetup --detach $loop; udevadm settle")?;
        Ok(Self("/srv/lab/foreign.img".to_owned()))
    }

    /// What a server's LUN holds now, cut to 200 MiB: all the legs fit, the PV says that it is larger.
    pub fn smaller(guest: &Guest, server: Server) -> Result<Self> {
        let copy = Self(format!("{}.smaller", lun(server)));
        guest.sh(&format!("cp --sparse=always {} {copy}; truncate -s 200M {copy}", lun(server), copy = copy.0))?;
        Ok(copy)
    }

    /// Becomes a server's LUN, in place of what was there.
    pub fn put_behind(&self, guest: &Guest, server: Server) -> Result<()> {
        let unit = format!("lab-target@{}", server.letter());
        let state = guest.exec(&["systemctl", "is-active", &unit])?.stdout;
        ensure!(state.trim() != "active", "the LUN of a running server is not to be swapped");
        guest.sh(&format!("cp --sparse=always {} {lun}.new; mv {lun}.new {lun}", self.0, lun = lun(server))).map(drop)
    }

    /// Becomes a server's LUN when it is next started, as at the next boot.
    pub fn put_behind_at_next_start(&self, guest: &Guest, server: Server) -> Result<()> {
        let dir = format!("/etc/systemd/system/lab-target@{}.service.d", server.letter());
        guest
            .sh(&format!(
                "mkdir -p {dir}
             printf '[Service]\\nExecStartPre=/bin/sh -c \"test ! -f {from} || mv {from} {to}\"\\n' > {dir}/swap.conf
             systemctl daemon-reload",
                from = self.0,
                to = lun(server),
            ))
            .map(drop)
    }

    /// A sum of what a server's LUN holds, to see that nobody wrote to it.
    pub fn sum_behind(guest: &Guest, server: Server) -> Result<String> {
        guest.sh(&format!("md5sum < {}", lun(server)))
    }

    /// The same for its first sectors: labels, metadata, and the volumes that lie there.
    pub fn sum_of_first(guest: &Guest, server: Server, sectors: u64) -> Result<String> {
        guest.sh(&format!("head -c {} {} | md5sum", sectors * 512, lun(server)))
    }
}
