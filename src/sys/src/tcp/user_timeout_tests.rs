use super::super::testing::{CAP_SYS_PTRACE, connect, endpoint, play_dead, twins, without};
use super::*;
use crate::testing::TempDir;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// No test passes sooner for it, and none of them gets near.
const PATIENCE: Duration = Duration::from_secs(20);

/// Another process that holds a connection, and goes by iscsid's name.
struct Iscsid {
    _dir: TempDir,
    roots: Roots,
    process: Child,
    ours: Option<TcpStream>,
    endpoint: Endpoint,
}

impl Iscsid {
    /// With a new connection; the peer's end too.
    fn start() -> (Self, TcpStream) {
        let (ours, peer) = connect("127.0.0.1").unwrap();
        (Self::holding(ours), peer)
    }

    fn holding(ours: TcpStream) -> Self {
        let dir = TempDir::new();
        let program = dir.path().join("iscsid");
        symlink("/bin/cat", &program).unwrap();
        // The connection is its standard error: held and never used.
        let mut process = Command::new(program)
            .arg0("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::os::fd::OwnedFd::from(ours.try_clone().unwrap()))
            .spawn()
            .unwrap();
        // Once it answers, it has its name.
        process.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        process.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        dir.write("run/iscsid.pid", &process.id().to_string());
        let roots = Roots { proc: PathBuf::from("/proc"), ..Roots::under(dir.path()) };
        let endpoint = endpoint(&ours);
        Self { _dir: dir, roots, process, ours: Some(ours), endpoint }
    }

    /// Sets the limit; `None`, and a word about it, where this kernel does not let us.
    fn set(&self, ms: u32) -> Option<u32> {
        match set_user_timeout(&self.roots, &self.endpoint, ms) {
            Err(why @ (Miss::NotPermitted(_) | Miss::Unsupported(_))) => {
                eprintln!("skipped, for this kernel does not let us: {why}");
                None
            }
            other => Some(other.unwrap()),
        }
    }
}

impl Drop for Iscsid {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_limit_is_set_on_the_socket_of_another_process_and_read_back() {
    let (iscsid, _peer) = Iscsid::start();
    let before = iscsid.ours.as_ref().map(|ours| getsockopt(ours, TcpUserTimeout).unwrap());
    assert_eq!(before, Some(0));
    for ms in [3_000, 2_500, 0] {
        let Some(found) = iscsid.set(ms) else { return };
        assert_eq!(found, ms);
        assert_eq!(user_timeout(&iscsid.roots, &iscsid.endpoint).unwrap(), ms);
        assert_eq!(getsockopt(iscsid.ours.as_ref().unwrap(), TcpUserTimeout).unwrap(), ms);
        assert_eq!(getsockopt(iscsid.ours.as_ref().unwrap(), KeepAlive).unwrap(), ms > 0);
    }
}

#[test]
fn a_peer_that_dies_silently_is_given_up_by_the_kernel_alone() {
    let (iscsid, peer) = Iscsid::start();
    if iscsid.set(300).is_none() {
        return;
    }
    if !play_dead(&peer) {
        return;
    }
    let mut ours = iscsid.ours.as_ref().unwrap();
    ours.write_all(b"is anybody there?").unwrap();
    // Without the limit it would be a quarter of an hour, and this another kind of error.
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_peer_that_stops_reading_is_given_up_once_its_window_is_shut() {
    let (iscsid, _peer) = Iscsid::start();
    if iscsid.set(300).is_none() {
        return;
    }
    let mut ours = iscsid.ours.as_ref().unwrap();
    ours.set_write_timeout(Some(PATIENCE)).unwrap();
    let refused = std::iter::repeat_with(|| ours.write_all(&[0; 65_536])).find_map(Result::err).unwrap();
    // It acknowledged everything it had room for, and every probe after that.
    assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn nothing_is_kept_open() {
    let (mut iscsid, mut peer) = Iscsid::start();
    if iscsid.set(3_000).is_none() {
        return;
    }
    iscsid.ours = None;
    iscsid.process.kill().unwrap();
    iscsid.process.wait().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the last descriptor was iscsid's");
}

#[test]
fn a_value_that_the_kernel_refuses_is_an_error() {
    let (iscsid, _peer) = Iscsid::start();
    if iscsid.set(1).is_some() {
        let said = set_user_timeout(&iscsid.roots, &iscsid.endpoint, u32::MAX).unwrap_err();
        assert!(matches!(said, Miss::Failed(_)), "{said}");
        let wanted = format!("set TCP_USER_TIMEOUT of {} to 4294967295: Invalid argument", iscsid.endpoint);
        assert!(said.to_string().starts_with(&wanted), "{said}");
    }
}

#[test]
fn only_the_sessions_own_socket_will_do() {
    let (iscsid, _peer) = Iscsid::start();
    if iscsid.set(3_000).is_none() {
        return;
    }
    let Endpoint { peer_port, local_port, .. } = iscsid.endpoint;
    for other in [
        Endpoint { local_port: peer_port, peer_port: local_port, ..iscsid.endpoint },
        Endpoint { peer: "127.0.0.2".parse().unwrap(), ..iscsid.endpoint },
        Endpoint { local_port: local_port ^ 1, ..iscsid.endpoint },
    ] {
        let said = set_user_timeout(&iscsid.roots, &other, 1).unwrap_err();
        assert!(matches!(said, Miss::NoSocket { pid, endpoint } if pid == iscsid.process.id() && endpoint == other));
    }
    assert_eq!(user_timeout(&iscsid.roots, &iscsid.endpoint).unwrap(), 3_000);
}

#[test]
fn of_two_sockets_that_fit_neither_is_touched() {
    let ([one, other], _portal) = twins();
    // Inherited, as it is not closed on exec.
    fcntl(&other, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let iscsid = Iscsid::holding(one);
    match set_user_timeout(&iscsid.roots, &iscsid.endpoint, 3_000).unwrap_err() {
        why @ (Miss::NotPermitted(_) | Miss::Unsupported(_)) => eprintln!("skipped: {why}"),
        said => assert!(said.to_string().contains("iscsid has two, from "), "{said}"),
    }
    for socket in [iscsid.ours.as_ref().unwrap(), &other] {
        assert_eq!(getsockopt(socket, TcpUserTimeout).unwrap(), 0);
    }
}

#[test]
fn without_iscsid_there_is_nobody_to_ask() {
    let dir = TempDir::new();
    dir.write("proc/1/comm", "systemd");
    let endpoint = Endpoint { peer: "10.0.0.1".parse().unwrap(), peer_port: 3260, local_port: 40_000 };
    let roots = Roots::under(dir.path());
    assert!(matches!(user_timeout(&roots, &endpoint), Err(Miss::NoIscsid)));
    // One that has ended between two looks: no process has so high a number.
    dir.write("proc/4194305/stat", "4194305 (iscsid) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 10 -10 1 0 500 1000 100");
    assert!(matches!(user_timeout(&roots, &endpoint), Err(Miss::NoIscsid)));
}

#[test]
fn a_process_without_the_right_is_told_so() {
    let (iscsid, _peer) = Iscsid::start();
    if iscsid.set(3_000).is_none() {
        return;
    }
    // Now iscsid has a capability that the asker has not, as in the field.
    let Some(said) = without(CAP_SYS_PTRACE, || user_timeout(&iscsid.roots, &iscsid.endpoint)) else { return };
    let said = said.unwrap_err();
    assert!(matches!(said, Miss::NotPermitted(_)), "{said}");
}

#[test]
fn what_comes_back_is_told_apart() {
    let miss = |errno| Miss::from_errno("x".into(), errno);
    assert!(matches!(miss(Errno::ENOSYS), Miss::Unsupported(_)));
    assert!(matches!(miss(Errno::EPERM), Miss::NotPermitted(_)));
    assert!(matches!(miss(Errno::ESRCH), Miss::NoIscsid));
    assert!(matches!(miss(Errno::EMFILE), Miss::Failed(_)));
}
