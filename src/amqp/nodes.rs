//! The addresses of a broker: one, or those of the nodes of a cluster. Whoever connects begins with another one each time,
//! so that a node that takes connections and is of no use keeps nobody from the others.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::dial;

/// Longest wait for the addresses of one name, where there are other nodes to connect to.
const LOOKUP: Duration = Duration::from_secs(2);

/// One node: host name or address, and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Host name or address.
    pub host: String,
    /// Port, of TLS where that is on.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dial::endpoint(&self.host, self.port))
    }
}

/// All nodes, in the order in which they are configured. Copies take turns together: what one of them found dead, the
/// next one does not begin with.
#[derive(Clone, Debug)]
pub struct Nodes {
    list: Arc<[Node]>,
    next: Arc<AtomicUsize>,
}

/// Why no node took the connection.
#[derive(Debug)]
pub(super) enum NotConnected {
    /// None of the names stands for an address, or what the last one of these answered.
    Failed(std::io::Error),
    /// Nobody answered in time, and to what.
    OutOfTime(&'static str),
}

impl Nodes {
    /// In this order.
    pub fn new(list: impl IntoIterator<Item = Node>) -> Self {
        Self { list: list.into_iter().collect(), next: Arc::default() }
    }

    /// The one node, where there is only one.
    pub fn only(&self) -> Option<&Node> {
        match &*self.list {
            [node] => Some(node),
            _ => None,
        }
    }

    /// Whom several processes mean that name the same nodes, in whatever order.
    pub fn identity(&self) -> String {
        let mut sorted: Vec<String> = self.list.iter().map(Node::to_string).collect();
        sorted.sort_unstable();
        sorted.join(",")
    }

    /// All of them, beginning with the one whose turn it is.
    fn in_turn(&self) -> Vec<&Node> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.list.len().max(1);
        self.list.iter().cycle().skip(first).take(self.list.len()).collect()
    }

    /// A TCP connection to the first address of any node that takes it: one that is dead hides none of the others.
    pub(super) async fn connect(&self, end: Instant) -> Result<(TcpStream, &Node), NotConnected> {
        let nodes = self.in_turn();
        let lookups_end = if nodes.len() > 1 { end.min(Instant::now() + LOOKUP) } else { end };
        let lookups = nodes.iter().copied().map(|node| async move {
            let found = timeout_at(lookups_end, lookup_host((node.host.as_str(), node.port))).await;
            found.map(|found| found.map(Iterator::collect::<Vec<_>>))
        });
        let mut addresses: Vec<(SocketAddr, &Node)> = Vec::new();
        let mut failed = None;
        let found = join_all(lookups).await;
        for (node, found) in nodes.into_iter().zip(found) {
            match found {
                Ok(Ok(found)) => addresses.extend(found.into_iter().map(|address| (address, node))),
                Ok(Err(error)) => failed = Some(NotConnected::Failed(error)),
                Err(_) => failed = Some(NotConnected::OutOfTime("looking up the addresses of")),
            }
        }
        if let Some(failed) = failed.filter(|_| addresses.is_empty()) {
            return Err(failed);
        }
        let all: Vec<SocketAddr> = addresses.iter().map(|(address, _)| *address).collect();
        let connect = async |address| Ok((TcpStream::connect(address).await?, address));
        let (stream, taken) = dial::first(&all, end, connect).await.map_err(not_connected)?;
        let node = addresses.into_iter().find(|(address, _)| *address == taken).map(|(_, node)| node);
        node.map(|node| (stream, node)).ok_or(NotConnected::OutOfTime("connecting to"))
    }
}

fn not_connected(mut told: dial::Failed<std::io::Error>) -> NotConnected {
    match told.errors.pop() {
        Some(error) if !told.out_of_time => NotConnected::Failed(error),
        _ => NotConnected::OutOfTime("connecting to"),
    }
}

/// For people.
impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.list.iter().enumerate() {
            write!(f, "{}{node}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node { host: host.into(), port }
    }

    async fn listener() -> (TcpListener, Node) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, node("127.0.0.1", port))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[tokio::test]
    async fn each_attempt_begins_with_another_node_also_of_a_copy() {
        let ((_one, first), (_other, second)) = (listener().await, listener().await);
        let nodes = Nodes::new([first.clone(), second.clone()]);
        let copy = nodes.clone();
        for nodes in [&nodes, &copy] {
            assert_eq!(nodes.connect(soon()).await.unwrap().1, &first);
            assert_eq!(nodes.connect(soon()).await.unwrap().1, &second);
        }
    }

    #[tokio::test]
    async fn a_dead_node_and_a_name_that_fails_hide_no_other() {
        let (dead, refuses) = listener().await;
        drop(dead);
        let (_alive, alive) = listener().await;
        let nodes = Nodes::new([node("no-such-host.invalid", 1), refuses.clone(), alive.clone()]);
        for _ in 0..3 {
            assert_eq!(nodes.connect(soon()).await.unwrap().1, &alive);
        }
        let nodes = Nodes::new([node("no-such-host.invalid", 1), refuses]);
        assert!(matches!(nodes.connect(soon()).await, Err(NotConnected::Failed(_))));
    }

    #[test]
    fn they_are_named_as_given_and_known_in_any_order() {
        let nodes = Nodes::new([node("b", 2), node("::1", 1)]);
        assert_eq!(nodes.to_string(), "b:2,[::1]:1");
        assert_eq!(nodes.identity(), Nodes::new([node("::1", 1), node("b", 2)]).identity());
        assert_eq!((nodes.only(), Nodes::new([node("a", 1)]).only()), (None, Some(&node("a", 1))));
    }
}
