//! What sysfs says of a session's connection besides its state: the live socket's ends, and the NOP intervals in force.
//!
//! A reconnect makes a new socket with a new local port; while there is none the kernel answers ENOTCONN
//! (`iscsi_tcp.c`, `conn_get_param`), which is no error.

use crate::error::{Error, Result};
use crate::{Roots, text};
use nix::errno::Errno;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

/// One TCP connection as seen from here. The local address is not in sysfs: a route picks it, and the port tells enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where the portal really is: after a redirect not the configured address.
    pub peer: IpAddr,
    /// Its port.
    pub peer_port: u16,
    /// Our port.
    pub local_port: u16,
}

impl Endpoint {
    /// Whether a socket with these names is this connection. IPv4 in IPv6 clothes is IPv4; scopes are not compared,
    /// since sysfs does not name them.
    pub fn is(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        self.local_port == local.port()
            && self.peer_port == peer.port()
            && self.peer.to_canonical() == peer.ip().to_canonical()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} to {}", self.local_port, SocketAddr::new(self.peer, self.peer_port))
    }
}

/// A session's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connection {
    /// Its socket; `None` while it has none.
    pub endpoint: Option<Endpoint>,
    /// Seconds of silence until a NOP is sent (`recv_tmo`); 0 = never. `None` = not told.
    pub noop_interval: Option<u32>,
    /// Seconds a NOP may stay without an answer (`ping_tmo`). `None` = not told.
    pub noop_timeout: Option<u32>,
}

/// Reads a session's connection. What cannot be read becomes a line in `gaps`; a session that is gone has nothing.
pub fn connection(roots: &Roots, sid: u32, gaps: &mut Vec<String>) -> Connection {
    let dir = roots.sysfs.join(format!("class/iscsi_connection/connection{sid}:0"));
    let endpoint = endpoint(&dir).unwrap_or_else(|e| {
        gaps.push(e.to_string());
        None
    });
    let mut seconds = |file: &str| {
        attribute(&dir.join(file), "seconds").unwrap_or_else(|e| {
            gaps.push(e.to_string());
            None
        })
    };
    Connection { endpoint, noop_interval: seconds("recv_tmo"), noop_timeout: seconds("ping_tmo") }
}

fn endpoint(dir: &Path) -> Result<Option<Endpoint>> {
    let Some(peer) = attribute(&dir.join("address"), "an address")? else { return Ok(None) };
    let Some(peer_port) = attribute(&dir.join("port"), "a port")? else { return Ok(None) };
    let Some(local_port) = attribute(&dir.join("local_port"), "a port")? else { return Ok(None) };
    Ok(Some(Endpoint { peer, peer_port, local_port }))
}

/// The value of a file; `None` without a file, a value or a socket.
fn attribute<T: FromStr>(path: &Path, wanted: &str) -> Result<Option<T>> {
    told(path, text::optional(path), wanted)
}

fn told<T: FromStr>(path: &Path, read: Result<Option<String>>, wanted: &str) -> Result<Option<T>> {
    match read {
        Ok(None) => Ok(None),
        Ok(Some(value)) => value.parse().map(Some).map_err(|_| text::not(path, &value, wanted)),
        Err(Error::Io { source, .. }) if source.raw_os_error() == Some(Errno::ENOTCONN as i32) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, each_fixture};
    use proptest::prelude::*;

    fn read(dir: &TempDir, sid: u32) -> (Connection, Vec<String>) {
        let mut gaps = Vec::new();
        (connection(&Roots::under(dir.path()), sid, &mut gaps), gaps)
    }

    fn endpoint(peer: &str, peer_port: u16, local_port: u16) -> Endpoint {
        Endpoint { peer: peer.parse().unwrap(), peer_port, local_port }
    }

    #[test]
    fn a_connection_that_is_up_has_its_ends_and_its_intervals() {
        let dir = TempDir::new();
        dir.sysfs("deb13-healthy");
        let wanted = Connection {
            endpoint: Some(endpoint("10.10.2.2", 3260, 37004)),
            noop_interval: Some(5),
            noop_timeout: Some(5),
        };
        assert_eq!(read(&dir, 1), (wanted, vec![]));
    }

    #[test]
    fn a_connection_that_is_down_has_intervals_only() {
        let dir = TempDir::new();
        dir.sysfs("one-leg-cut-blocked");
        let (down, gaps) = read(&dir, 1);
        assert_eq!((down.endpoint, down.noop_interval, gaps), (None, Some(5), vec![]));
        assert!(read(&dir, 2).0.endpoint.is_some());
    }

    #[test]
    fn every_recorded_connection_reads_without_gaps() {
        let mut up = 0;
        for (fixture, _) in each_fixture("sysfs.tsv") {
            let dir = TempDir::new();
            dir.sysfs(&fixture);
            for sid in 1..=3 {
                let (found, gaps) = read(&dir, sid);
                assert_eq!(gaps, [""; 0], "{fixture}");
                up += usize::from(found.endpoint.is_some());
            }
        }
        assert!(up > 20, "{up}");
    }

    #[test]
    fn a_session_that_is_gone_has_nothing_and_nonsense_is_named() {
        let dir = TempDir::new();
        assert_eq!(read(&dir, 7), (Connection::default(), vec![]));
        for (file, value) in [("address", "10.0.0.300"), ("port", "3260"), ("local_port", "1"), ("ping_tmo", "-1")] {
            dir.write(&format!("sys/class/iscsi_connection/connection7:0/{file}"), value);
        }
        let (found, gaps) = read(&dir, 7);
        assert_eq!(found, Connection::default());
        assert!(gaps[0].ends_with("address: \"10.0.0.300\" is not an address"), "{gaps:?}");
        assert!(gaps[1].ends_with("ping_tmo: \"-1\" is not seconds"), "{gaps:?}");
    }

    #[test]
    fn a_connection_without_a_socket_has_no_port_and_no_gap() {
        let port = |read| told::<u16>(Path::new("local_port"), read, "a port");
        let failed = |errno: Errno| Err(Error::io("read local_port", errno.into()));
        assert_eq!(port(failed(Errno::ENOTCONN)).unwrap(), None);
        assert_eq!(port(Ok(None)).unwrap(), None);
        assert_eq!(port(Ok(Some("51536".into()))).unwrap(), Some(51_536));
        assert!(port(failed(Errno::EIO)).is_err());
        assert!(port(Ok(Some("65536".into()))).is_err());
    }

    #[test]
    fn a_socket_is_known_by_both_ports_and_the_portal() {
        let table = [
            ("10.0.0.1", "10.0.0.9:40000", "10.0.0.1:3260", true),
            ("10.0.0.1", "[::ffff:10.0.0.9]:40000", "[::ffff:10.0.0.1]:3260", true),
            // How sysfs writes IPv6.
            ("fe80:0000:0000:0000:0000:0000:0000:0001", "[fe80::9%2]:40000", "[fe80::1%2]:3260", true),
            ("10.0.0.1", "10.0.0.9:40001", "10.0.0.1:3260", false),
            ("10.0.0.1", "10.0.0.9:40000", "10.0.0.1:3261", false),
            ("10.0.0.1", "10.0.0.9:40000", "10.0.0.2:3260", false),
        ];
        for (portal, local, peer, wanted) in table {
            let found = endpoint(portal, 3260, 40000).is(local.parse().unwrap(), peer.parse().unwrap());
            assert_eq!(found, wanted, "{portal} {local} {peer}");
        }
    }

    proptest! {
        // Each case writes files.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_attribute_panics(address: String, port: String, seconds: String) {
            let dir = TempDir::new();
            for (file, value) in [("address", &address), ("port", &port), ("local_port", &port), ("recv_tmo", &seconds)] {
                dir.write(&format!("sys/class/iscsi_connection/connection1:0/{file}"), value);
            }
            let (found, gaps) = read(&dir, 1);
            prop_assert!(found.endpoint.is_none() || gaps.len() < 2);
        }
    }
}
