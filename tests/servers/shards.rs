//! `/metrics` in shards: each publisher in exactly one, what is not of a publisher in the first, and Prometheus with the
//! configuration of the documentation has everything once.

use std::collections::BTreeMap;

use crate::support::bridge::{Bridge, SOON};
use crate::support::http;
use crate::support::program::Program;
use crate::support::prometheus::Prometheus;
use crate::support::scrape::Scrape;
use crate::support::shipped::file;
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

const PUBLISHERS: usize = 24;

/// What the documentation has.
const SHARDS: usize = 2;

async fn scraped(subscriber: &Program, path: &str) -> Scrape {
    let answer = http::get(subscriber.http(), path).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    Scrape::parse(&answer.text()).unwrap()
}

/// The values that do not change with time, of publishers and of components.
fn of_publishers(scrape: &Scrape) -> BTreeMap<String, f64> {
    let samples = scrape.samples.iter().filter(|sample| sample.labels.contains_key("publisher"));
    samples.map(|sample| (format!("{}{:?}", sample.name, sample.labels), sample.value)).collect()
}

/// The job of the documentation, for another target.
fn job(subscriber: &Program) -> String {
    let page = file("docs/capacity.md");
    let begins = page.find("scrape_configs:").expect("a job");
    let ends = begins + page[begins..].find("```").expect("its end");
    let job = page[begins..ends].replace("subscriber:11911", &subscriber.http().to_string());
    job.replace("scrape_interval: 15s", "scrape_interval: 1s")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_publisher_is_in_one_shard_and_everything_once() {
    let bridge = Bridge::new().await;
    let subscriber = bridge.subscriber().env("EXPECTED_PUBLISHERS", "never-seen").start_ready().await;
    let mut fleet: Vec<Simulated> =
        (0..PUBLISHERS).map(|number| Simulated::new(&format!("site-{number:02}"))).collect();
    bridge.send(fleet.iter_mut().map(Simulated::beat)).await;
    bridge.drained(&subscriber, SOON).await;

    let whole = scraped(&subscriber, "/metrics").await;
    let (mut together, mut sizes) = (BTreeMap::new(), Vec::new());
    for shard in 1..=SHARDS {
        let part = scraped(&subscriber, &format!("/metrics?shard={shard}%2F{SHARDS}")).await;
        let of_part = of_publishers(&part);
        let own = part.samples.len() - of_part.len();
        assert_eq!(own > 0, shard == 1, "{own} samples of shard {shard} are of no publisher");
        sizes.push(
            part.all("heartbeat_publisher_expected").len() + part.all("heartbeat_publisher_sequence").len(),
        );
        for (series, value) in of_part {
            assert!(together.insert(series.clone(), value).is_none(), "{series} is in two shards");
        }
    }
    assert_eq!(together, of_publishers(&whole));
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");

    for bad in ["0/2", "3/2", "x", ""] {
        let answer = http::get(subscriber.http(), &format!("/metrics?shard={bad}")).await.unwrap();
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text());
        assert!(answer.text().contains("2/8, the second of eight"), "{}", answer.text());
    }

    let folder = Prometheus::folder();
    let prometheus = Prometheus::start(&folder, &job(&subscriber), &[]).await;
    wait_until("Prometheus has each publisher once, from both shards", SOON, async || {
        let known = prometheus.query("count(heartbeat_publisher_sequence)").await?;
        let shards = prometheus.query("count(count by (shard) (heartbeat_publisher_sequence))").await?;
        let up = prometheus.query("sum(up{job=\"heartbeat\"})").await?;
        let own = prometheus.query("count(heartbeat_subscriber_received_total)").await?;
        let values = [known, shards, up, own].map(|found| found.first().map(|one| one.value));
        let wanted = [PUBLISHERS as f64, SHARDS as f64, SHARDS as f64, 1.0].map(Some);
        if values == wanted { Ok(()) } else { Err(format!("{values:?}")) }
    })
    .await;
}
