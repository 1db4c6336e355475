//! A TCP proxy that does to a connection what networks do, switched while it runs.
//!
//! Reading order: `toxics` (what there is), `pump` (how it is done to one direction of one connection), and here, where
//! connections are taken, ended and counted.
//!
//! What a proxy cannot do: its kernel acknowledges what it reads, so that a black hole here is found by heartbeats and
//! deadlines, never by `TCP_USER_TIMEOUT`; only a stall that fills the windows is.

mod counts;
mod pump;
mod toxics;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use self::counts::Counts;
use self::counts::{Tally, add};
use self::pump::{End, Pump};
#[allow(unused_imports, reason = "a harness offers more than the tests of one day name")]
pub use self::toxics::{Direction, Ending, Latency, Limit, Slicer, Toxics};
use super::ports::{free_port, listen};
use super::v2::Chance;

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who connected.
    Client,
    /// Who was connected to.
    Server,
}

/// One listener that leads to one server.
pub struct Proxy {
    /// Where clients connect to.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    upstream: SocketAddr,
    seed: u64,
    tally: Arc<Tally>,
    state: Mutex<State>,
    tasks: Mutex<JoinSet<()>>,
}

/// Held for short sections only.
#[derive(Default)]
struct State {
    /// What a new connection gets, by direction.
    new: [Toxics; 2],
    /// What the next one gets instead, once.
    next: [Option<Toxics>; 2],
    live: HashMap<u64, Live>,
}

struct Live {
    toxics: [watch::Sender<Toxics>; 2],
    order: watch::Sender<Option<Order>>,
}

#[derive(Clone, Copy)]
enum Order {
    End(Ending),
    HalfOpen(Side),
}

impl Proxy {
    /// One that leads to `upstream` and does no harm yet.
    pub fn start(upstream: SocketAddr) -> Self {
        Self::seeded(upstream, 1)
    }

    /// One whose jitter follows from a seed and the number of the connection.
    pub fn seeded(upstream: SocketAddr, seed: u64) -> Self {
        let shared = Shared {
            upstream,
            seed,
            tally: Arc::default(),
            state: Mutex::default(),
            tasks: Mutex::new(JoinSet::new()),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let this = Self { address, shared: Arc::new(shared), accepting: Mutex::new(None) };
        this.accept();
        this
    }

    /// Its port, for a program's variable.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sets one direction of all connections, those that are up and those to come.
    pub fn set(&self, direction: Direction, toxics: Toxics) {
        self.set_new(direction, toxics.clone());
        self.set_existing(direction, toxics);
    }

    /// Sets both directions alike.
    pub fn set_both(&self, toxics: Toxics) {
        Direction::BOTH.into_iter().for_each(|direction| self.set(direction, toxics.clone()));
    }

    /// Sets one direction of the connections to come.
    pub fn set_new(&self, direction: Direction, toxics: Toxics) {
        self.state(|state| state.new[direction as usize] = toxics);
    }

    /// Sets one direction of the connections that are up.
    pub fn set_existing(&self, direction: Direction, toxics: Toxics) {
        self.state(|state| {
            for live in state.live.values() {
                live.toxics[direction as usize].send_replace(toxics.clone());
            }
        });
    }

    /// Sets one direction of the very next connection alone.
    pub fn set_next(&self, direction: Direction, toxics: Toxics) {
        self.state(|state| state.next[direction as usize] = Some(toxics));
    }

    /// Lifts everything, and accepts again. What was swallowed stays lost, with the connections that lost it.
    pub fn clear(&self) {
        self.state(|state| state.next = [None, None]);
        self.set_both(Toxics::none());
        self.accept();
    }

    /// Refuses connections from now on; those that are up stay so.
    pub async fn refuse(&self) {
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(task) = accepting {
            task.abort();
            // The listener is dropped only when the task is.
            let _ = task.await;
        }
    }

    /// Accepts connections, again on the same port.
    pub fn accept(&self) {
        let mut accepting = self.accepting.lock().unwrap();
        if accepting.is_none() {
            *accepting = Some(tokio::spawn(accept(listen(self.address), Arc::clone(&self.shared))));
        }
    }

    /// Resets every connection that is up, towards both sides; says how many.
    pub fn reset(&self) -> usize {
        self.order(Order::End(Ending::Reset))
    }

    /// Closes every connection that is up in order, towards both sides; says how many.
    pub fn close(&self) -> usize {
        self.order(Order::End(Ending::Close))
    }

    /// Leaves every connection that is up half open: one side keeps its connection, to nobody, and is not told. The
    /// other side sees it closed.
    pub fn half_open(&self, keeps: Side) -> usize {
        self.order(Order::HalfOpen(keeps))
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.tally.counts(self.state(|state| state.live.len()))
    }

    fn order(&self, order: Order) -> usize {
        let ordered = self.state(|state| {
            for live in state.live.values() {
                live.order.send_replace(Some(order));
            }
            state.live.len()
        });
        add(&self.shared.tally.ended, ordered);
        ordered
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.shared.state.lock().unwrap())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Ok(Some(task)) = self.accepting.get_mut().map(|task| task.take()) {
            task.abort();
        }
        if let Ok(mut tasks) = self.shared.tasks.lock() {
            tasks.abort_all();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of file descriptors, most likely; a moment later there may be one.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        add(&shared.tally.accepted, 1);
        let number = shared.tally.counts(0).accepted;
        let (order, orders) = watch::channel(None);
        let senders = {
            let mut state = shared.state.lock().unwrap();
            let toxics = Direction::BOTH.map(|direction| {
                let direction = direction as usize;
                let next = state.next[direction].take();
                watch::Sender::new(next.unwrap_or_else(|| state.new[direction].clone()))
            });
            state.live.insert(number, Live { toxics: toxics.clone(), order });
            toxics
        };
        let mut tasks = shared.tasks.lock().unwrap();
        while tasks.try_join_next().is_some() {}
        let owner = Arc::clone(&shared);
        tasks.spawn(async move {
            carry(client, &owner, number, &senders, orders).await;
            owner.state.lock().unwrap().live.remove(&number);
        });
    }
}

/// One connection, from its begin to its end.
async fn carry(
    mut client: TcpStream,
    shared: &Shared,
    number: u64,
    toxics: &[watch::Sender<Toxics>; 2],
    mut orders: watch::Receiver<Option<Order>>,
) {
    let Ok(mut server) = TcpStream::connect(shared.upstream).await else {
        reset_when_dropped(&client);
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
    }
    let pump = |direction: Direction| {
        let (own, other) = (direction as usize, 1 - direction as usize);
        // Each direction draws its own numbers, so that the traffic of one does not change the other's.
        let chance = Chance::new(shared.seed ^ (number << 1 | own as u64).wrapping_mul(0x9e37_79b9));
        Pump::new(
            direction,
            toxics[own].subscribe(),
            toxics[other].subscribe(),
            Arc::clone(&shared.tally),
            chance,
        )
    };
    let order = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        let up = pump(Direction::Upstream).run(client_read, server_write);
        let down = pump(Direction::Downstream).run(server_read, client_write);
        tokio::select! {
            ending = both(up, down) => Order::End(ending),
            order = ordered(&mut orders) => order,
        }
    };
    match order {
        Order::End(Ending::Close) => {}
        Order::End(Ending::Reset) => [&client, &server].into_iter().for_each(reset_when_dropped),
        Order::HalfOpen(keeps) => {
            let (gone, mut kept) = if keeps == Side::Client { (server, client) } else { (client, server) };
            drop(gone);
            orders.borrow_and_update();
            tokio::select! {
                _ = swallow(&mut kept, &shared.tally) => {}
                _ = ordered_anew(&mut orders) => reset_when_dropped(&kept),
            }
        }
    }
}

/// Runs both directions until both are closed, or until one ends the whole connection.
async fn both(up: impl Future<Output = End>, down: impl Future<Output = End>) -> Ending {
    tokio::pin!(up, down);
    let mut closed = [false; 2];
    loop {
        let (at, end) = tokio::select! {
            end = &mut up, if !closed[0] => (0, end),
            end = &mut down, if !closed[1] => (1, end),
        };
        match end {
            End::Whole(ending) => return ending,
            End::Closed => closed[at] = true,
        }
        if closed == [true; 2] {
            return Ending::Close;
        }
    }
}

async fn ordered(orders: &mut watch::Receiver<Option<Order>>) -> Order {
    loop {
        if let Some(order) = *orders.borrow_and_update() {
            return order;
        }
        if orders.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn ordered_anew(orders: &mut watch::Receiver<Option<Order>>) {
    if orders.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Reads and forgets, until the peer gives up.
async fn swallow(stream: &mut TcpStream, tally: &Tally) {
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        add(&tally.swallowed, read);
    }
}

/// A linger of nothing: what closes the socket sends RST instead of FIN.
fn reset_when_dropped(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
