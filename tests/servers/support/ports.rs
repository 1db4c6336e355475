//! Free loopback ports, and listening on them.
//!
//! A program that some thread starts holds a copy of every socket of this process until it is executed. So a port is not free
//! the moment its listener is dropped, and what is asked here is asked with that in mind.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Below the kernel's ephemeral range, so that no outgoing connection takes the port of a server that is down
/// for a moment and must come back on it.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Ports given out; a server that is stopped keeps its own.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port that nobody listens on and that this process never gives out again.
pub fn free_port() -> u16 {
    let mut given = GIVEN.lock().unwrap();
    // A random start keeps test runs beside each other from asking for the same ports in the same order.
    for _ in 0..10_000 {
        let port = rand::random_range(RANGE);
        if !given.contains(&port) && is_free(port) {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port between {} and {}", RANGE.start, RANGE.end);
}

/// Whether nobody listens on a port. It is bound and never listened on, since a copy that listens would keep the port from
/// whom it is for.
fn is_free(port: u16) -> bool {
    let bound = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
    };
    bound().is_ok()
}

/// How long copies of a listener that was closed may stay: far above what it takes to execute a program.
const COPIES: Duration = Duration::from_secs(10);

/// Listens where nobody else does, which may have been done before and ended.
pub fn listen(address: SocketAddr) -> tokio::net::TcpListener {
    let deadline = Instant::now() + COPIES;
    loop {
        // std binds with SO_REUSEADDR, so connections that ended lately are in nobody's way.
        match TcpListener::bind(address) {
            Ok(listener) => {
                listener.set_nonblocking(true).unwrap();
                return tokio::net::TcpListener::from_std(listener).unwrap();
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("listening on {address}: {error}"),
        }
    }
}

/// While programs are started all the time. Ports are never given twice, so only so many are asked for.
#[test]
fn a_port_that_is_given_is_free() {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::process::Command::new("true").status().unwrap();
                }
            });
        }
        let bound =
            (0..500).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()))).find(Result::is_err);
        done.store(true, Ordering::Relaxed);
        assert!(bound.is_none(), "{bound:?}");
    });
}
