//! Connections by client, so that one cannot take every place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Who counts as one client: an IPv4 address, or an IPv6 network of 64 bits, which is what one machine is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4([u8; 4]),
    V6([u16; 4]),
}

impl Client {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(network(address)),
        }
    }
}

fn network(address: Ipv6Addr) -> [u16; 4] {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d]
}

/// How many connections each client has. As many entries at most as there may be connections.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    max: usize,
    /// Locked for a look-up alone, never across a wait.
    open: Arc<Mutex<HashMap<Client, usize>>>,
}

impl Clients {
    pub(super) fn new(max: usize) -> Self {
        Self { max, open: Arc::default() }
    }

    /// One more connection; `None` if the client has enough.
    pub(super) fn enter(&self, address: IpAddr) -> Option<OfClient> {
        let client = Client::of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(OfClient { client, open: Arc::clone(&self.open) })
    }
}

/// A connection of a client, given back however it ends.
#[derive(Debug)]
pub(super) struct OfClient {
    client: Client,
    open: Arc<Mutex<HashMap<Client, usize>>>,
}

impl Drop for OfClient {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_share_and_gets_it_back() {
        let clients = Clients::new(2);
        let enter = |address: &str| clients.enter(address.parse().expect("an address"));
        let (first, second) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("192.0.2.1").is_none(), "the same address in both its forms");
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        let third = enter("192.0.2.1");
        assert!(third.is_some() && enter("192.0.2.1").is_none());
        drop((second, third));
        assert!(clients.open.lock().expect("no panic").is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let clients = Clients::new(1);
        let enter = |address: &str| clients.enter(address.parse().expect("an address"));
        let _one = enter("2001:db8:0:1::1");
        assert!(enter("2001:db8:0:1:ffff::2").is_none());
        assert!(enter("2001:db8:0:2::1").is_some());
    }
}
