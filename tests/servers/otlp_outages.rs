//! A collector that is away, hangs, refuses or answers nonsense costs the bridge nothing, and has everything again
//! soon after it is back.
//!
//! The long form: `HEARTBEAT_TEST_OUTAGE=60 cargo test --test servers otlp_outages -- --nocapture`.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::otlp::exporting;
use crate::otlp::logs::events;
use crate::support::bridge::{Bridge, SOON, Sender, figure, report};
use crate::support::otlp::{Answer, Collector, Options, Signal, Transport};
use crate::support::program::Program;
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

/// Seconds of each phase of the outage.
fn phase() -> Duration {
    Duration::from_secs(figure("HEARTBEAT_TEST_OUTAGE", 3))
}

/// Resident memory in MiB.
fn resident_mib(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// CPU seconds so far.
fn cpu_seconds(program: &Program) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Sends bursts and waits until each is stored, for so long. Returns messages a second, and CPU seconds for a
/// thousand.
async fn load(
    bridge: &Bridge,
    sender: &Sender,
    subscriber: &Program,
    fleet: &mut [Simulated],
    span: Duration,
) -> (f64, f64) {
    let (began, cpu) = (Instant::now(), cpu_seconds(subscriber));
    let mut messages = 0;
    while began.elapsed() < span {
        let bodies: Vec<_> =
            (0..10).flat_map(|_| fleet.iter_mut().map(Simulated::beat).collect::<Vec<_>>()).collect();
        messages += bodies.len();
        sender.send(bodies).await;
        bridge.drained(subscriber, SOON).await;
    }
    let rate = messages as f64 / began.elapsed().as_secs_f64();
    (rate, (cpu_seconds(subscriber) - cpu) / messages as f64 * 1000.0)
}

fn requests(collector: &Collector, signal: Signal) -> usize {
    collector.received().iter().filter(|received| received.signal == signal).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_and_then_hangs_costs_nothing() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let setup =
        exporting(bridge.subscriber(), &collector, Transport::Grpc).env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000");
    let subscriber = setup.start_ready().await;
    let mut fleet: Vec<Simulated> = (0..50).map(|number| Simulated::new(&format!("p{number:02}"))).collect();
    let sender = bridge.sender();
    let mut shown = Vec::new();
    let mut note = |what: &str, (rate, cpu): (f64, f64)| {
        shown.push(format!(
            "{what}: {rate:.0} messages/s, {cpu:.3} CPU s per 1000, {} MiB",
            resident_mib(&subscriber)
        ));
    };
    note("there", load(&bridge, &sender, &subscriber, &mut fleet, phase()).await);
    let before = resident_mib(&subscriber);
    collector.stop().await;
    note("away", load(&bridge, &sender, &subscriber, &mut fleet, phase()).await);
    collector.answer(Answer::Hang);
    collector.start_again();
    note("hung", load(&bridge, &sender, &subscriber, &mut fleet, phase()).await);
    let after = resident_mib(&subscriber);
    let scrape = subscriber.metrics().await.unwrap();
    assert!(scrape.sum("heartbeat_otlp_export_failures_total", &[]) > 0.0);
    assert!(
        scrape.value("heartbeat_otlp_dropped_total", &[("signal", "traces")]) > Some(0.0),
        "more than a queue holds"
    );
    // The queues hold some thousand spans; what the fleet itself takes is there before.
    assert!(after < before + 64, "{before} MiB before, {after} after");

    collector.clear();
    collector.answer(Answer::Ok);
    let back = Instant::now();
    let mut again = [None; 3];
    wait_until("every signal came again", SOON, async || {
        let bodies = fleet.iter_mut().map(|publisher| {
            publisher.components[0].outcome =
                if publisher.components[0].outcome == "up" { "down" } else { "up" };
            publisher.beat()
        });
        sender.send(bodies.collect::<Vec<_>>()).await;
        for (at, signal) in again.iter_mut().zip([Signal::Metrics, Signal::Traces, Signal::Logs]) {
            if at.is_none() && requests(&collector, signal) > 0 {
                *at = Some(back.elapsed());
            }
        }
        if again.iter().all(Option::is_some) { Ok(()) } else { Err(format!("{again:?}")) }
    })
    .await;
    note("back", load(&bridge, &sender, &subscriber, &mut fleet, phase()).await);
    report(&format!("{}\nback after {again:?} (metrics, traces, logs)", shown.join("\n")));
    let log = subscriber.log();
    // A line for each signal that failed, perhaps one more when it began to hang, and one when it was back; not one
    // for each of hundreds of attempts.
    let (failed, again) = (log.matches("Not exported").count(), log.matches("Exporting again").count());
    assert!(again >= 2 && (again..=12).contains(&failed), "{log}");
}

/// What a collector may answer, and whether what it was asked to take is lost.
#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_survived_and_what_it_costs_is_counted() {
    for transport in [Transport::Grpc, Transport::Http] {
        let bridge = Bridge::new().await;
        let collector = Collector::start(Options::default());
        let subscriber = exporting(bridge.subscriber(), &collector, transport).start_ready().await;
        let mut publisher = Simulated::new("oslo");
        let refusals = [
            (Answer::Busy { retry_after: Some(Duration::from_secs(1)) }, false),
            (Answer::Busy { retry_after: None }, false),
            (Answer::TooLarge, true),
            (Answer::Refused, true),
            (Answer::Partial { rejected: 1, message: "one too many".into() }, true),
        ];
        for (answer, loses) in refusals {
            let dropped = async || {
                let scrape = subscriber.metrics().await.unwrap();
                scrape.value("heartbeat_otlp_dropped_total", &[("signal", "logs")]).unwrap()
            };
            let before = dropped().await;
            collector.clear();
            collector.answer(answer.clone());
            // A turn is one record.
            publisher.components[0].outcome =
                if publisher.components[0].outcome == "up" { "down" } else { "up" };
            bridge.send([publisher.beat()]).await;
            bridge.drained(&subscriber, SOON).await;
            let of_turn =
                || events(&collector).iter().any(|event| event.name == "heartbeat.component.changed");
            if loses {
                wait_until("it is counted as dropped", SOON, async || {
                    let now = dropped().await;
                    if now > before { Ok(()) } else { Err(format!("{answer:?}: {now}")) }
                })
                .await;
            } else {
                wait_until("it was refused", SOON, async || match collector.requests() {
                    requests if requests > 2 => Ok(()),
                    requests => Err(format!("{answer:?}: {requests}")),
                })
                .await;
                assert!(!of_turn());
            }
            collector.answer(Answer::Ok);
            if !loses {
                wait_until("it came all the same", SOON, async || {
                    if of_turn() { Ok(()) } else { Err(format!("{answer:?}: {:?}", events(&collector))) }
                })
                .await;
                assert_eq!(dropped().await, before, "{answer:?}");
            }
        }
        // One that asks for no pause gets one all the same: of three signals some 25 attempts a second at most, and
        // without a pause there would be thousands.
        collector.answer(Answer::Busy { retry_after: Some(Duration::ZERO) });
        collector.clear();
        sleep(Duration::from_secs(3)).await;
        assert!(collector.requests() < 200, "{} requests in 3 s", collector.requests());
        // An answer without an end is not read to its end.
        let before = resident_mib(&subscriber);
        collector.answer(Answer::Oversized { bytes: 64 << 20 });
        let asked = collector.requests();
        wait_until("it answered at length", SOON, async || match collector.requests() {
            requests if requests > asked + 3 => Ok(()),
            requests => Err(format!("{requests}")),
        })
        .await;
        assert!(resident_mib(&subscriber) < before + 32, "{before} MiB, then {}", resident_mib(&subscriber));
        collector.answer(Answer::Ok);
        collector.clear();
        wait_until("exports go on", SOON, async || match requests(&collector, Signal::Metrics) {
            0 => Err("none".to_owned()),
            _ => Ok(()),
        })
        .await;
    }
}

/// More than a collector takes in one request, at one that takes 4 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn many_components_arrive_whole() {
    let components = usize::try_from(figure("HEARTBEAT_TEST_COMPONENTS", 20_000)).unwrap();
    let publishers = components.div_ceil(1000);
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let setup = exporting(bridge.subscriber(), &collector, Transport::Grpc);
    let subscriber = setup.env("OTEL_METRIC_EXPORT_INTERVAL", "3000").start_ready().await;
    let sender = bridge.sender();
    for number in 0..publishers {
        let mut publisher = Simulated::small(&format!("publisher-{number}"));
        publisher.interval = Duration::from_secs(600);
        let one = publisher.components[0].clone();
        publisher.components =
            (0..1000).map(|index| one.named(&format!("component-{number}-{index}"))).collect();
        sender.send([publisher.beat()]).await;
    }
    bridge.drained(&subscriber, SOON).await;
    // Each export is asked for by itself: a whole one is of one moment.
    wait_until("all of them came", SOON * 2, async || {
        let points = collector.data_points();
        let mut by_time = std::collections::BTreeMap::new();
        for point in points.iter().filter(|point| point.name == "heartbeat.component.up") {
            *by_time.entry(point.time_unix_nano).or_insert(0) += 1;
        }
        collector.clear();
        if by_time.values().any(|count| *count == publishers * 1000) {
            return Ok(());
        }
        sleep(Duration::from_secs(2)).await;
        Err(format!("{by_time:?}"))
    })
    .await;
    let scrape = subscriber.metrics().await.unwrap();
    assert_eq!(scrape.sum("heartbeat_otlp_export_failures_total", &[]), 0.0, "{}", subscriber.log());
    assert_eq!(scrape.sum("heartbeat_otlp_dropped_total", &[]), 0.0);
}
