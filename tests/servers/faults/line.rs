//! What befalls the lines to RabbitMQ and Redis: each led through a proxy that does what networks do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::bridge::{Bridge, QUEUE, SOON, report};
use crate::support::proxy::{Direction, Proxy, Toxics};
use crate::support::v2::Chance;
use crate::support::wait::wait_until;

use super::stage::{BACK, Stage, nothing_leaked, resident_mib};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A stage with a proxy before RabbitMQ and one before Redis.
async fn behind_proxies() -> (Stage, Proxy, Proxy) {
    let bridge = Bridge::new().await;
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let rabbitmq = Proxy::start(loopback(bridge.vhost.ports.amqp));
    let redis = Proxy::start(loopback(bridge.redis.port));
    let setup = bridge
        .subscriber()
        .env("RABBITMQ_PORT", &rabbitmq.port().to_string())
        .env("RABBITMQ_HEARTBEAT", "2s")
        .env("REDIS_PORT", &redis.port().to_string())
        .env("REDIS_TIMEOUT", "1s")
        .env("RECONNECT_MAX", "500ms");
    (Stage::with(bridge, setup).await, rabbitmq, redis)
}

/// Connections end after any number of bytes, in either direction, by FIN or by RST, in the middle of a handshake, a
/// frame, or an answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_cut_at_any_byte_loses_nothing() {
    let (stage, rabbitmq, redis) = behind_proxies().await;
    let before = stage.subscriber.metrics().await.unwrap();
    let mut chance = Chance::new(crate::support::bridge::figure("HEARTBEAT_TEST_SEED", 1));
    let cuts = crate::support::bridge::figure("HEARTBEAT_TEST_CUTS", 12);
    for number in 0..cuts {
        let proxy = if number % 2 == 0 { &rabbitmq } else { &redis };
        let direction = Direction::BOTH[usize::try_from(chance.below(2)).unwrap()];
        // Half of them within the handshake of the next connection, half within what is up.
        let most = if chance.below(2) == 0 { 40 } else { 2000 };
        let bytes = chance.below(most);
        let toxics = if chance.below(2) == 0 { Toxics::reset_at(bytes) } else { Toxics::close_at(bytes) };
        wait_until("there is something to cut", SOON, async || {
            if proxy.counts().open > 0 { Ok(()) } else { Err(format!("{:?}", proxy.counts())) }
        })
        .await;
        let cut = proxy.counts().cut;
        if chance.below(2) == 0 {
            proxy.set_existing(direction, toxics);
        } else {
            proxy.set_next(direction, toxics);
            proxy.reset();
        }
        wait_until("it is cut", SOON, async || {
            if proxy.counts().cut > cut { Ok(()) } else { Err(format!("{:?}", proxy.counts())) }
        })
        .await;
        proxy.clear();
    }
    stage.back("7 lines cut at any byte", Instant::now(), Duration::from_secs(5)).await;
    let peers = ["rabbitmq", "redis"];
    let scrape = stage.subscriber.metrics().await.unwrap();
    let again = peers.map(|peer| scrape.value("heartbeat_subscriber_reconnects_total", &[("peer", peer)]));
    // A cut in the middle of a handshake is felt by an attempt alone.
    assert!(again.iter().all(|again| *again > Some(0.0)), "none of {cuts} cuts was felt: {again:?}");
    nothing_leaked(&stage.subscriber, &before).await;
    report(&format!("7 lines cut {cuts} times: {again:?} connections made anew"));
    stage.end().await;
}

/// Late, in small pieces, narrow, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_makes_nobody_look_dead_and_costs_no_memory() {
    let (stage, rabbitmq, redis) = behind_proxies().await;
    let both = |toxics: &Toxics| [&rabbitmq, &redis].iter().for_each(|proxy| proxy.set_both(toxics.clone()));
    let clear = || [&rabbitmq, &redis].iter().for_each(|proxy| proxy.clear());

    both(&Toxics::slicer(1, Duration::ZERO));
    stage.back("12 segments of one byte, during", Instant::now(), BACK).await;
    assert!(rabbitmq.counts().sliced > 100 && redis.counts().sliced > 100);
    clear();

    both(&Toxics::latency(ms(200), ms(100)));
    let begun = Instant::now();
    stage.back("9 latency of 200 ms, during", begun, BACK).await;
    both(&Toxics::latency(ms(300), ms(300)));
    stage.back("10 latency as of a line that loses much, during", Instant::now(), BACK).await;
    assert!(rabbitmq.counts().delayed > 2 && redis.counts().delayed > 2);
    clear();
    stage.back("9 latency, after", Instant::now(), BACK).await;

    // A fraction of what is sent: what does not come through waits in the broker, not here.
    let resident = resident_mib(&stage.subscriber);
    rabbitmq.set_both(Toxics::bandwidth(8_000));
    wait_until("messages wait in the broker, or on the line", SOON, async || {
        let scrape = stage.subscriber.metrics().await?;
        match scrape.value("heartbeat_subscriber_listening", &[]) {
            Some(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    sleep(Duration::from_secs(2)).await;
    let grown = resident_mib(&stage.subscriber) - resident;
    clear();
    stage.back("11 64 kbit/s", Instant::now(), BACK).await;
    report(&format!("11 64 kbit/s: {grown:.1} MiB more"));
    assert!(grown < 16.0, "{grown} MiB more");

    stage.end().await;
}

/// Bytes of one direction vanish, and then nothing passes at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_dead_without_a_word_is_noticed() {
    let (stage, rabbitmq, redis) = behind_proxies().await;
    let before = stage.subscriber.metrics().await.unwrap();
    for direction in Direction::BOTH {
        let (heard, _) = stage.failures("consumer", "closed").await.unwrap();
        let begun = Instant::now();
        rabbitmq.set_existing(direction, Toxics::swallow());
        stage.failed("consumer", "closed", heard).await;
        rabbitmq.clear();
        let fault = format!("8 black hole {direction:?}, RabbitMQ");
        stage.back(&fault, begun, Duration::from_secs(25)).await;
        let (stored, _) = stage.failures("store", "timeout").await.unwrap();
        let begun = Instant::now();
        redis.set_existing(direction, Toxics::swallow());
        stage.failed("store", "timeout", stored).await;
        redis.clear();
        let fault = format!("8 black hole {direction:?}, Redis");
        stage.back(&fault, begun, Duration::from_secs(25)).await;
    }

    for proxy in [&rabbitmq, &redis] {
        proxy.set_both(Toxics::stall());
    }
    // Nothing may have been on its way to Redis when both stopped: its connection is then found dead by the watchdog.
    for peer in ["rabbitmq", "redis"] {
        stage.subscriber.wait_value(SOON, "heartbeat_subscriber_connected", &[("peer", peer)], 0.0).await;
    }
    for proxy in [&rabbitmq, &redis] {
        proxy.clear();
    }
    stage.back("5 both stand still", Instant::now(), Duration::from_secs(15)).await;
    nothing_leaked(&stage.subscriber, &before).await;
    stage.end().await;
}

/// The broker takes the consumer away while nothing from here reaches it: what is on its way there is thrown away with
/// the connection. Closed in order, it would hold what was delivered for as long as the line is stalled.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_given_up_is_cut_off() {
    let bridge = Bridge::new().await;
    let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, bridge.vhost.ports.amqp)));
    let setup = bridge.subscriber().env("RABBITMQ_PORT", &proxy.port().to_string());
    let subscriber = setup.env("RABBITMQ_HEARTBEAT", "60s").start_ready().await;
    assert_eq!(connections_to(proxy.port()), 1);
    proxy.set_existing(Direction::Upstream, Toxics::stall());
    bridge.vhost.delete_queue(QUEUE).await;
    wait_until("it consumes by another connection, and that is the only one", SOON / 2, async || {
        let (anew, connections) = (proxy.counts().accepted > 1, connections_to(proxy.port()));
        match subscriber.metrics().await?.value("heartbeat_subscriber_listening", &[]) {
            Some(1.0) if anew && connections == 1 => Ok(()),
            listening => {
                Err(format!("listening {listening:?}, connected anew {anew}, {connections} connections"))
            }
        }
    })
    .await;
}

/// Connections to a port of this machine, as their clients' side of the kernel has them.
fn connections_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    // The third column is the peer, and ends in its port.
    let peers = table.lines().filter_map(|line| line.split_whitespace().nth(2));
    peers.filter(|peer| peer.ends_with(&format!(":{port:04X}"))).count()
}
