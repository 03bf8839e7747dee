//! Helpers for tests on real sockets: connections over loopback, a peer that dies silently, a thread without a right.

use super::Endpoint;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::str::FromStr;

pub const CAP_NET_ADMIN: u32 = 12;
pub const CAP_SYS_PTRACE: u32 = 19;

/// Our end and the peer's of a new connection, on `127.0.0.1` or `::1`.
pub fn connect(address: &str) -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((address, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    Ok((ours, listener.accept()?.0))
}

/// Two connections to one portal, from the same port of two of our addresses, as two interfaces would make them;
/// and the portal, whose end would end them.
pub fn twins() -> ([TcpStream; 2], TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = SockaddrIn::from_str(&listener.local_addr().unwrap().to_string()).unwrap();
    let connect = |from: &str| {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(socket.as_raw_fd(), &SockaddrIn::from_str(from).unwrap())?;
        nix::sys::socket::connect(socket.as_raw_fd(), &portal)?;
        nix::Result::Ok(TcpStream::from(socket))
    };
    loop {
        let one = connect("127.0.0.2:0").unwrap();
        // Some other test may have that port at that address.
        if let Ok(other) = connect(&format!("127.0.0.3:{}", one.local_addr().unwrap().port())) {
            return ([one, other], listener);
        }
    }
}

/// As sysfs would name it.
pub fn endpoint(ours: &TcpStream) -> Endpoint {
    let peer = ours.peer_addr().unwrap();
    Endpoint { peer: peer.ip(), peer_port: peer.port(), local_port: ours.local_addr().unwrap().port() }
}

/// From now on this socket drops whatever arrives before TCP sees it, so that nothing is acknowledged: what the other
/// end makes of it is what it makes of a server without power. `false`, and a word about it, where that needs a right
/// that we do not have.
pub fn play_dead(socket: &TcpStream) -> bool {
    let mut drop_all = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut drop_all };
    match filter(socket, libc::SO_ATTACH_FILTER, &program) {
        Err(Errno::EPERM) => {
            eprintln!("skipped: attaching a filter to a socket is not permitted");
            false
        }
        attached => attached.is_ok() || panic!("{attached:?}"),
    }
}

/// Takes [`play_dead`] back.
pub fn come_back(socket: &TcpStream) {
    filter(socket, libc::SO_DETACH_FILTER, &0_i32).unwrap();
}

fn filter<T>(socket: &TcpStream, option: libc::c_int, value: &T) -> nix::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel copies `size` bytes from `value`, and the one instruction a program in it points to; both live.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const *value).cast(), size) };
    Errno::result(result).map(drop)
}

/// Runs this in a thread that has lost a capability for good; `None`, and a word about it, where there is none to lose.
pub fn without<T: Send>(capability: u32, run: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // `_LINUX_CAPABILITY_VERSION_3`, this thread; effective, permitted and inheritable, low words first.
            let mut header = [0x2008_0522_u32, 0];
            let mut sets = [[0_u32; 3]; 2];
            // SAFETY: the call has a header of two words and two times three words to read and write, as given.
            unsafe { Errno::result(libc::syscall(libc::SYS_capget, &raw mut header, &raw mut sets)) }.unwrap();
            if sets[0][0] & 1 << capability == 0 {
                eprintln!("skipped: there is no capability {capability} to lose");
                return None;
            }
            sets[0].iter_mut().for_each(|set| *set &= !(1 << capability));
            // SAFETY: as above.
            unsafe { Errno::result(libc::syscall(libc::SYS_capset, &raw mut header, &raw const sets)) }.unwrap();
            Some(run())
        });
        thread.join().unwrap()
    })
}
