//! What befalls the checked: very many that swallow everything.

use serde_json::Value;

use crate::support::bridge::{Bridge, SOON, report};
use crate::support::field::{config, host};
use crate::support::tcp::{Accepting, BlackHole};
use crate::support::wait::wait_until;

/// Checks that run at one time.
const CONCURRENCY: f64 = 64.0;

#[tokio::test(flavor = "multi_thread")]
async fn many_that_swallow_hold_no_other_up_and_cost_few_files() {
    const HOLES: usize = 400;
    let bridge = Bridge::new().await;
    let subscriber = bridge.subscriber().start_ready().await;
    let hole = BlackHole::open();
    let good = Accepting::open();
    let mut hosts: Vec<Value> = (0..HOLES).map(|n| host(&format!("hole-{n}"), hole.address)).collect();
    hosts.push(host("good", good.address));
    let setup = bridge.publisher("many", &config(&hosts, &[]).to_string()).env("PROBE_INTERVAL", "200ms");
    let setup = setup.env("CHECK_TIMEOUT", "300ms").env("CHECK_CONCURRENCY", "64");
    let publisher = setup.listening().start_ready().await;
    let mut most = 0.0f64;
    wait_until("three rounds have ended", SOON, async || {
        let scrape = publisher.metrics().await?;
        most = most.max(scrape.value("process_open_fds", &[]).unwrap());
        match scrape.value("heartbeat_emitter_rounds_total", &[]) {
            Some(rounds) if rounds > 3.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    report(&format!("42 {HOLES} that swallow: {most} files at most"));
    assert!(most < CONCURRENCY + 40.0, "{most} files");
    for (name, up) in [("good", 1.0), ("hole-0", 0.0), ("hole-399", 0.0)] {
        subscriber
            .wait_value(SOON, "heartbeat_component_up", &[("publisher", "many"), ("name", name)], up)
            .await;
    }
    let labels = [("publisher", "many"), ("name", "hole-0"), ("reason", "timeout")];
    subscriber.wait_value(SOON, "heartbeat_component_reason", &labels, 1.0).await;
}
