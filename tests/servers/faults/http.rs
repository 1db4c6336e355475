//! What befalls /metrics: nobody to tell of yet, and too many who ask, or ask slowly.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::bridge::{Bridge, SOON, report};
use crate::support::http;
use crate::support::proxy::{Proxy, Toxics};
use crate::support::v2::{Beating, Simulated};
use crate::support::wait::wait_until;

use super::stage::{BACK, Stage, all_up, nothing_leaked, within};

/// Before Redis has answered, and again when it is back, nobody is judged and everybody who asks is answered.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_view_there_is_an_answer_and_no_verdict() {
    let bridge = Bridge::new().await;
    let setup = || bridge.subscriber().env("EXPECTED_PUBLISHERS", "p0").env("REDIS_TIMEOUT", "1s");
    let mut subscriber = setup().start_ready().await;
    let fleet = (0..5).map(|number| Simulated::new(&format!("p{number}"))).collect();
    let beating = Beating::start(&bridge, fleet, Duration::from_millis(250), |_| {});
    all_up(&subscriber).await;
    subscriber.kill();
    bridge.redis.pause();
    subscriber.start_again();
    let begun = Instant::now();
    let scrape = wait_until("it answers", SOON, async || subscriber.metrics().await).await;
    within("44 scrape at start, Redis silent", "an answer", begun.elapsed(), Duration::from_secs(5));
    assert_eq!(scrape.value("heartbeat_subscriber_view_synced", &[]), Some(0.0));
    assert!(scrape.all("heartbeat_publisher_up").is_empty(), "a verdict without a view: {scrape:?}");
    bridge.redis.resume();
    let resumed = Instant::now();
    wait_until("it judges when it knows, and not before", SOON, async || {
        let scrape = subscriber.metrics().await?;
        let synced = scrape.value("heartbeat_subscriber_view_synced", &[]);
        let verdicts = scrape.all("heartbeat_publisher_up").len();
        assert!(synced == Some(1.0) || verdicts == 0, "{verdicts} verdicts, view_synced {synced:?}");
        if verdicts == 5 { Ok(()) } else { Err(format!("{verdicts} verdicts, view_synced {synced:?}")) }
    })
    .await;
    within("44 scrape at start, Redis back", "all verdicts", resumed.elapsed(), BACK);
    beating.end().await;
}

/// A crowd that asks at once, some of which never take their answer: they get it or are turned away, and heartbeats go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_scrapers_holds_no_heartbeat_up() {
    const CROWD: usize = 300;
    let stage = Stage::set(Bridge::new().await).await;
    let before = stage.subscriber.metrics().await.unwrap();
    let address = stage.subscriber.http();
    let narrow = Proxy::start(address);
    narrow.set_both(Toxics::bandwidth(500));
    let slow: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let address = narrow.address;
                async move { http::get(address, "/metrics").await }
            })
        })
        .collect();
    // Whoever says nothing at all takes a place, too.
    let mute: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    let begun = Instant::now();
    let crowd = (0..CROWD).map(|_| tokio::spawn(async move { http::get(address, "/metrics").await }));
    let crowd: Vec<_> = crowd.collect();
    let (mut answered, mut refused) = (0, 0);
    for asked in crowd {
        match asked.await.unwrap() {
            Ok(answer) if answer.status == 200 => answered += 1,
            _ => refused += 1,
        }
    }
    report(&format!(
        "43 a crowd of {CROWD}: {answered} answered, {refused} turned away in {:?}",
        begun.elapsed()
    ));
    let counted = wait_until("it answers again", SOON, async || {
        stage.subscriber.metrics().await?.value("heartbeat_http_rejected_total", &[]).ok_or("none".to_owned())
    })
    .await;
    assert!(counted > 0.0, "nobody was turned away: too small a crowd");
    drop((mute, slow));
    stage.back("43 a crowd of scrapers", Instant::now(), BACK).await;
    nothing_leaked(&stage.subscriber, &before).await;
    stage.end().await;
}
