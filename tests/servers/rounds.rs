//! Rounds of checks: side by side, bounded, never overlapping.

use jiff::Timestamp;
use serde_json::Value;

use crate::support::field::{BOUND, Field, Shown, config, host, listener, stop};
use crate::support::rabbitmq::RabbitMq;
use crate::support::tcp::{Accepting, BlackHole, FakeHttp};
use crate::support::wait::wait_until;

/// The deadline of each check below, in seconds.
const TIMEOUT: f64 = 2.0;

fn seconds(time: &Value) -> f64 {
    let time: Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_millisecond() as f64 / 1000.0
}

fn component<'a>(heartbeat: &'a Value, name: &str) -> &'a Value {
    let components = heartbeat["components"].as_array().unwrap();
    components.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}: {heartbeat}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_peers_hold_nothing_up() {
    let mut field = Field::start(RabbitMq::vhost().await).await;
    let _worker = field.vhost.consume("jobs", "worker").await;
    let holes: Vec<BlackHole> = (0..10).map(|_| BlackHole::open()).collect();
    let good: Vec<Accepting> = (0..3).map(|_| Accepting::open()).collect();
    let mut closed = Accepting::open();
    closed.close().await;
    let hung = FakeHttp::hung();
    let mut hosts = vec![host("closed", closed.address)];
    hosts.extend(holes.iter().enumerate().map(|(n, hole)| host(&format!("hole-{n}"), hole.address)));
    hosts.extend(good.iter().enumerate().map(|(n, port)| host(&format!("good-{n}"), port.address)));
    let wanted = config(&hosts, &[listener("jobs", "worker", "worker"), listener("gone", "x", "missing")]);
    let publisher = field
        .publisher("rounds", &wanted)
        .env("RABBITMQ_MANAGEMENT_PORT", &hung.address.port().to_string())
        .env("CHECK_TIMEOUT", "2s")
        .env("PROBE_INTERVAL", "500ms")
        .listening()
        .start_ready()
        .await;
    for n in 0..10 {
        field.wait_shown("rounds", "host", &format!("hole-{n}"), Shown::Down("timeout")).await;
    }
    for n in 0..3 {
        field.wait_shown("rounds", "host", &format!("good-{n}"), Shown::Up).await;
    }
    field.wait_shown("rounds", "host", "closed", Shown::Down("refused")).await;
    field.wait_shown("rounds", "queue", "jobs", Shown::Unknown("management_timeout")).await;
    field.wait_shown("rounds", "queue", "gone", Shown::Down("no_queue")).await;
    let heartbeats = wait_until("some rounds have ended", BOUND, async || {
        let heartbeats = field.reader.heartbeats("rounds");
        match heartbeats.last() {
            Some((_, last)) if component(last, "hole-0")["checks_total"].as_u64() >= Some(4) => {
                Ok(heartbeats)
            }
            _ => Err(format!("{} heartbeats", heartbeats.len())),
        }
    })
    .await;
    // The first heartbeat is sent when the first round has ended.
    let first = &heartbeats[0].1;
    assert_eq!(first["components"].as_array().unwrap().len(), 14 + 4, "{first}");
    let took = first["uptime_ms"].as_f64().unwrap() / 1000.0;
    assert!(took < TIMEOUT + 1.0, "the first round took {took} s");
    for (_, heartbeat) in &heartbeats {
        for one in heartbeat["components"].as_array().unwrap() {
            let took = one["duration_seconds"].as_f64().unwrap();
            assert!(took < TIMEOUT + 1.0, "{one} took {took} s");
            let expected = match one["name"].as_str().unwrap() {
                name if name.starts_with("good") => "up",
                "jobs" | "worker" => "unknown",
                _ => "down",
            };
            assert_eq!(one["outcome"], expected, "{one}");
        }
    }
    // Each round lasts for as long as its holes: between two checks of one lies a whole round.
    let hole = |heartbeat: &Value| {
        let hole = component(heartbeat, "hole-0");
        (hole["checks_total"].as_f64().unwrap(), seconds(&hole["checked_at"]))
    };
    for pair in heartbeats.windows(2) {
        let ((checks, at), (checks_after, at_after)) = (hole(&pair[0].1), hole(&pair[1].1));
        let rounds = checks_after - checks;
        assert!(at_after - at >= rounds * TIMEOUT * 0.99, "{rounds} rounds within {} s", at_after - at);
    }
    let scrape = publisher.metrics().await.unwrap();
    assert!(scrape.value("heartbeat_emitter_rounds_skipped_total", &[]) > Some(0.0));
    stop([publisher]).await;
    field.assert_as_version_1().await;
}
