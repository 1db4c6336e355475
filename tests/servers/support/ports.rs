//! Free loopback ports.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex};

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
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port between {} and {}", RANGE.start, RANGE.end);
}
