//! The fault proxy does what it says, seen by a plain client and a plain server.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::support::proxy::{Direction, Proxy, Side, Toxics};
use crate::support::wait::wait_until;

/// Far above what anything takes here, so that only what never comes meets it.
const BOUND: Duration = Duration::from_secs(20);

/// Long enough to believe that nothing comes.
const QUIET: Duration = Duration::from_millis(300);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A server that echoes, and tells how each of its connections ended.
struct Echo {
    address: SocketAddr,
    ends: mpsc::Receiver<std::io::Result<usize>>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, ends) = mpsc::channel(100);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut bytes = vec![0; 65536];
                    let end = loop {
                        match stream.read(&mut bytes).await {
                            Ok(read @ 1..) => {
                                if let Err(error) = stream.write_all(&bytes[..read]).await {
                                    break Err(error);
                                }
                            }
                            end => break end,
                        }
                    };
                    let _ = sender.send(end).await;
                });
            }
        });
        Self { address, ends }
    }

    async fn end(&mut self) -> std::io::Result<usize> {
        timeout(BOUND, self.ends.recv()).await.expect("a connection of the server ends").unwrap()
    }
}

async fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends, and waits for the same to come back; how long it took.
async fn round_trip(stream: &mut TcpStream, text: &[u8]) -> Duration {
    let begun = Instant::now();
    stream.write_all(text).await.unwrap();
    assert_eq!(receive(stream, text.len()).await, text);
    begun.elapsed()
}

async fn receive(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut seen = vec![0; length];
    timeout(BOUND, stream.read_exact(&mut seen)).await.expect("an answer comes").unwrap();
    seen
}

/// An end is counted a moment after the peers have seen it.
async fn wait_open(proxy: &Proxy, open: u64) {
    wait_until(&format!("{open} connections are up"), BOUND, async || match proxy.counts() {
        counts if counts.open == open => Ok(()),
        counts => Err(format!("{counts:?}")),
    })
    .await;
}

async fn assert_quiet(stream: &mut TcpStream) {
    let seen = timeout(QUIET, stream.read_u8()).await;
    assert!(seen.is_err(), "there should be nothing: {seen:?}");
}

async fn assert_reset(stream: &mut TcpStream) {
    let seen = timeout(BOUND, stream.read_u8()).await.expect("it ends");
    assert!(seen.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset), "{seen:?}");
}

async fn assert_closed(stream: &mut TcpStream) {
    let seen = timeout(BOUND, stream.read_u8()).await.expect("it ends");
    assert!(seen.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::UnexpectedEof), "{seen:?}");
}

#[tokio::test]
async fn without_toxics_it_carries_both_ways_and_both_ends() {
    let mut echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"hello").await;
    assert_eq!(proxy.counts().open, 1);
    stream.shutdown().await.unwrap();
    assert_closed(&mut stream).await;
    assert_eq!(echo.end().await.unwrap(), 0);
    wait_open(&proxy, 0).await;
    let counts = proxy.counts();
    assert_eq!((counts.accepted, counts.upstream, counts.downstream, counts.swallowed), (1, 5, 5, 0));
}

#[tokio::test]
async fn latency_delays_each_way_and_does_not_add_up() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    proxy.set_both(Toxics::latency(ms(100), ms(50)));
    let took = round_trip(&mut stream, b"hello").await;
    assert!(took >= ms(100), "two ways of 50 ms at least: {took:?}");
    // A hundred messages one after the other are under way side by side.
    let begun = Instant::now();
    for _ in 0..100 {
        stream.write_all(b"x").await.unwrap();
        tokio::time::sleep(ms(1)).await;
    }
    receive(&mut stream, 100).await;
    assert!(begun.elapsed() < ms(100 * 100), "they were delayed one after the other: {:?}", begun.elapsed());
    assert!(proxy.counts().delayed > 2, "{:?}", proxy.counts());
    proxy.clear();
    assert!(round_trip(&mut stream, b"hello").await < ms(100));
}

#[tokio::test]
async fn jitter_follows_the_seed() {
    let echo = Echo::start().await;
    let mut order = Vec::new();
    for seed in [1, 1, 2] {
        let proxy = Proxy::seeded(echo.address, seed);
        proxy.set(Direction::Upstream, Toxics::latency(ms(150), ms(150)));
        let mut stream = connect(&proxy).await;
        let mut took = Vec::new();
        for _ in 0..4 {
            took.push(round_trip(&mut stream, b"x").await);
        }
        order.push(took);
    }
    let apart = |a: &[Duration], b: &[Duration]| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    let (same, other) = (apart(&order[0], &order[1]), apart(&order[0], &order[2]));
    assert!(same < other, "one seed twice: {same:?} apart; two seeds: {other:?}; {order:?}");
}

#[tokio::test]
async fn a_stall_holds_everything_and_releases_it() {
    let mut echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"before").await;
    proxy.set(Direction::Downstream, Toxics::stall());
    stream.write_all(b"held").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(echo.end().await.unwrap(), 0, "upstream it passes");
    assert_quiet(&mut stream).await;
    proxy.clear();
    assert_eq!(receive(&mut stream, 4).await, b"held");
    assert_closed(&mut stream).await;
    assert!(proxy.counts().stalled > 0);
    assert_eq!(proxy.counts().swallowed, 0);
}

#[tokio::test]
async fn a_stall_slows_the_sender_down() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    proxy.set(Direction::Upstream, Toxics::stall());
    let much = vec![7; 64 << 20];
    let sent = timeout(QUIET, stream.write_all(&much)).await;
    assert!(sent.is_err(), "64 MiB fit into the windows: {sent:?}");
}

#[tokio::test]
async fn a_black_hole_loses_one_way_for_good() {
    let mut echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"before").await;
    proxy.set(Direction::Downstream, Toxics::swallow());
    stream.write_all(b"lost").await.unwrap();
    assert_quiet(&mut stream).await;
    assert_eq!(proxy.counts().swallowed, 4);
    proxy.clear();
    // A stream with a hole in it would be a lie: this connection stays deaf, a new one works.
    stream.write_all(b"lost as well").await.unwrap();
    assert_quiet(&mut stream).await;
    round_trip(&mut connect(&proxy).await, b"after").await;
    assert_eq!(echo.end().await.unwrap(), 0, "the new one ends, the old one stays up");
    wait_open(&proxy, 1).await;
}

#[tokio::test]
async fn a_black_hole_swallows_ends_too() {
    let mut echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"before").await;
    proxy.set_both(Toxics::swallow());
    stream.write_all(b"lost").await.unwrap();
    drop(stream);
    assert!(timeout(QUIET, echo.ends.recv()).await.is_err(), "the server was told");
    assert_eq!(proxy.reset(), 1);
    assert!(echo.end().await.is_err());
}

#[tokio::test]
async fn existing_new_and_next_connections_are_told_apart() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut old = connect(&proxy).await;
    round_trip(&mut old, b"old").await;
    proxy.set_new(Direction::Upstream, Toxics::stall());
    let mut new = connect(&proxy).await;
    new.write_all(b"new").await.unwrap();
    assert_quiet(&mut new).await;
    round_trip(&mut old, b"old").await;
    proxy.set_new(Direction::Upstream, Toxics::none());
    proxy.set_existing(Direction::Upstream, Toxics::none());
    assert_eq!(receive(&mut new, 3).await, b"new");
    proxy.set_existing(Direction::Upstream, Toxics::stall());
    round_trip(&mut connect(&proxy).await, b"newer").await;
    old.write_all(b"held").await.unwrap();
    assert_quiet(&mut old).await;
    proxy.set_next(Direction::Downstream, Toxics::reset_at(2));
    let mut next = connect(&proxy).await;
    next.write_all(b"cut").await.unwrap();
    assert_eq!(receive(&mut next, 2).await, b"cu");
    assert_reset(&mut next).await;
    round_trip(&mut connect(&proxy).await, b"whole").await;
}

#[tokio::test]
async fn refused_is_refused_until_it_accepts_again() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut old = connect(&proxy).await;
    round_trip(&mut old, b"old").await;
    proxy.refuse().await;
    let refused = TcpStream::connect(proxy.address).await;
    assert!(
        refused.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused),
        "{refused:?}"
    );
    round_trip(&mut old, b"old").await;
    proxy.clear();
    round_trip(&mut connect(&proxy).await, b"new").await;
}

#[tokio::test]
async fn a_server_that_is_away_resets_the_client() {
    let address = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let proxy = Proxy::start(address);
    assert_reset(&mut connect(&proxy).await).await;
}

#[tokio::test]
async fn reset_and_close_end_both_sides() {
    let mut echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"x").await;
    assert_eq!(proxy.reset(), 1);
    assert_reset(&mut stream).await;
    let end = echo.end().await;
    assert!(end.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset), "{end:?}");
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"x").await;
    assert_eq!(proxy.close(), 1);
    assert_closed(&mut stream).await;
    assert_eq!(echo.end().await.unwrap(), 0);
    assert_eq!(proxy.counts().ended, 2);
}

#[tokio::test]
async fn half_open_tells_one_side_alone() {
    let mut echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"x").await;
    assert_eq!(proxy.half_open(Side::Client), 1);
    assert_eq!(echo.end().await.unwrap(), 0, "the server is told");
    stream.write_all(b"to nobody").await.unwrap();
    assert_quiet(&mut stream).await;
    assert_eq!(proxy.counts().swallowed, 9);
    let mut other = connect(&proxy).await;
    round_trip(&mut other, b"x").await;
    proxy.reset();
    assert_reset(&mut stream).await;
    assert!(echo.end().await.is_err());
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"x").await;
    assert_eq!(proxy.half_open(Side::Server), 1);
    assert_closed(&mut stream).await;
    assert!(timeout(QUIET, echo.ends.recv()).await.is_err(), "the server was told");
}

#[tokio::test]
async fn it_cuts_and_flips_at_a_byte() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    proxy.set(Direction::Downstream, Toxics::close_at(7));
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"abc").await;
    stream.write_all(b"defghi").await.unwrap();
    assert_eq!(receive(&mut stream, 4).await, b"defg");
    assert_closed(&mut stream).await;
    proxy.clear();

    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"abc").await;
    // Of a connection that is up it counts from now.
    proxy.set(Direction::Upstream, Toxics::flip_at(1));
    stream.write_all(b"abc").await.unwrap();
    assert_eq!(receive(&mut stream, 3).await, [b'a', !b'b', b'c']);
    round_trip(&mut stream, b"only once").await;
    let counts = proxy.counts();
    assert_eq!((counts.cut, counts.flipped), (1, 1));
}

#[tokio::test]
async fn slices_come_one_by_one() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    proxy.set(Direction::Downstream, Toxics::slicer(1, ms(2)));
    stream.write_all(b"twenty bytes of text").await.unwrap();
    let (mut seen, mut reads) = (Vec::new(), 0);
    while seen.len() < 20 {
        let mut bytes = [0; 64];
        let read = timeout(BOUND, stream.read(&mut bytes)).await.expect("it comes").unwrap();
        seen.extend_from_slice(&bytes[..read]);
        reads += 1;
    }
    assert_eq!(seen, b"twenty bytes of text");
    assert!(reads > 5, "a loaded machine may join some, but {reads} reads are too few");
    assert_eq!(proxy.counts().sliced, 20);
}

#[tokio::test]
async fn bandwidth_is_what_it_says() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    proxy.set(Direction::Upstream, Toxics::bandwidth(20_000));
    let took = round_trip(&mut stream, &[7; 10_000]).await;
    assert!(took >= ms(400), "10,000 bytes at 20,000 a second took {took:?}");
    // A change is felt at once, also in the middle of a chunk.
    proxy.set(Direction::Upstream, Toxics::bandwidth(1));
    stream.write_all(&[7; 4000]).await.unwrap();
    assert_quiet_but(&mut stream, 1).await;
    proxy.clear();
    receive(&mut stream, 3999).await;
}

/// Some bytes, and then nothing.
async fn assert_quiet_but(stream: &mut TcpStream, bytes: usize) {
    receive(stream, bytes).await;
    assert_quiet(stream).await;
}

#[tokio::test]
async fn a_close_comes_late() {
    let mut echo = Echo::start().await;
    let proxy = Proxy::start(echo.address);
    let mut stream = connect(&proxy).await;
    round_trip(&mut stream, b"x").await;
    proxy.set(Direction::Upstream, Toxics::slow_close(ms(500)));
    let begun = Instant::now();
    stream.shutdown().await.unwrap();
    assert_eq!(echo.end().await.unwrap(), 0);
    assert!(begun.elapsed() >= ms(500), "{:?}", begun.elapsed());
}
