//! Faults, as the servers' owners know them.

use anyhow::{Result, bail};

use crate::guest::Guest;

/// A server in the client's own guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Server {
    /// Carries leg 0.
    A,
    /// Carries leg 1.
    B,
    /// A guest of its own; all that can be done to it is to cut its power.
    C,
}

impl Server {
    /// As in the names of units and targets.
    pub fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
            Self::C => 'c',
        }
    }

    /// The address it answers at.
    pub fn address(self) -> &'static str {
        match self {
            Self::A => "10.10.1.2",
            Self::B => "10.10.2.2",
            Self::C => "10.10.3.2",
        }
    }

    /// `iscsiadm` on its node record, to be followed by what to do with it.
    pub fn node(self) -> String {
        format!("iscsiadm -m node -T iqn.2006-01.com.openfiler:linuxtest1lv-{} -p {}", self.letter(), self.address())
    }

    /// From its letter.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            other => bail!("no server {other:?}; there are a and b"),
        }
    }
}

/// What can happen to a server; each has its way back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The cable is pulled: packets vanish, nothing says so.
    Cut,
    /// The target process dies: connections are reset, new ones refused. The server's page cache survives.
    Kill,
    /// The target process hangs: TCP still acknowledges, nobody answers.
    Hang,
}

impl Fault {
    /// From the command line.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "cut" => Ok(Self::Cut),
            "kill" => Ok(Self::Kill),
            "hang" => Ok(Self::Hang),
            other => bail!("no fault {other:?}; there are cut, kill, hang and return"),
        }
    }

    /// Makes it happen.
    pub fn strike(self, guest: &Guest, server: Server) -> Result<()> {
        let s = server.letter();
        match self {
            Self::Cut => guest.sh(&format!("ip -n ns{s} link set eth0 down")),
            Self::Kill => guest.sh(&format!(
                "systemctl kill --kill-whom=main -s KILL lab-target@{s}
                 while systemctl is-active -q lab-target@{s}; do :; done"
            )),
            Self::Hang => guest.sh(&format!("systemctl kill --kill-whom=main -s STOP lab-target@{s}")),
        }
        .map(drop)
    }

    /// Ends it.
    pub fn undo(self, guest: &Guest, server: Server) -> Result<()> {
        let s = server.letter();
        match self {
            Self::Cut => guest.sh(&format!("ip -n ns{s} link set eth0 up")),
            Self::Kill => {
                guest.sh(&format!("systemctl reset-failed lab-target@{s} || true; systemctl start lab-target@{s}"))
            }
            Self::Hang => guest.sh(&format!("systemctl kill --kill-whom=main -s CONT lab-target@{s}")),
        }
        .map(drop)
    }
}

/// Ends whatever was done to a server.
pub fn restore(guest: &Guest, server: Server) -> Result<()> {
    let s = server.letter();
    guest
        .sh(&format!(
            "ip -n ns{s} link set eth0 up
             systemctl kill --kill-whom=main -s CONT lab-target@{s} || true
             systemctl reset-failed lab-target@{s} || true
             systemctl start lab-target@{s}"
        ))
        .map(drop)
}
