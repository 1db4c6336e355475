//! `heartbeat subscriber`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::web::{self, Shown};
use super::{Process, StartError, convert, tell_health};
use crate::config::SubscriberConfig;
use crate::health::{Health, Pulse};
use crate::http;
use crate::otlp::heartbeat::RABBITMQ;
use crate::otlp::{Otlp, SnapshotSource};
use crate::subscriber::replica::Replica;
use crate::subscriber::{Place, Readiness, Source, Subscriber};
use crate::telemetry::registry;
use crate::tls::Expiry;

/// How often is looked whether the subscriber is ready.
pub(super) const PULSE: Duration = Duration::from_secs(1);

/// For the tasks of one that does not start after all.
const STOPPED_EARLY: Duration = Duration::from_secs(1);

/// Runs until `stop`. Says whether it ended in order.
pub(super) async fn run(
    config: SubscriberConfig,
    process: Process,
    otlp: Otlp,
    stop: CancellationToken,
) -> Result<bool, StartError> {
    let mut registry = registry::root();
    let expiry = Expiry::register(&mut registry);
    let (amqp, store, proofs) = (&config.amqp, Some(&config.store), config.proofs);
    let wanted = convert::subscriber(&config.view, amqp, &config.batch, store, proofs, &otlp, &expiry)?;
    let place = Place {
        system: RABBITMQ,
        server: convert::server(&config.amqp),
        store: "redis",
        exchange: config.amqp.exchange.as_str().into(),
        queue: config.amqp.queues.join(",").into(),
        instance: otlp.instance().into(),
    };
    let outlets = convert::outlets(&otlp, place);
    let subscriber = Subscriber::start(wanted, Source::Amqp, Arc::default(), outlets, &mut registry);
    otlp.register(&mut registry);
    let readiness = subscriber.readiness();
    let metrics = http::Metrics::register(&mut registry);
    let shown = shown(&readiness, subscriber.replica());
    let bound = match web::bind(&config.web, shown, metrics, registry, &expiry).await {
        Ok(bound) => bound,
        Err(error) => {
            // So that nothing is said of a Redis to which nobody wants to connect any more.
            subscriber.stop(STOPPED_EARLY).await;
            return Err(error);
        }
    };
    let exports = otlp.start(bound.registry(), Some(snapshots(subscriber.replica())), &expiry);
    let stop_late = CancellationToken::new();
    let server = bound.serve(stop_late.clone());
    let expiry = tokio::spawn(expiry.watch(stop_late.clone()));
    let pulse = Pulse::new(PULSE);
    let health = Health::of([pulse.clone(), subscriber.pulse()]);
    let health = tell_health(&health, "subscriber", &process, &stop, &stop_late);
    let as_told = watch(&subscriber, &pulse, &stop).await;

    let end = Instant::now() + process.grace;
    let orderly = subscriber.stop(process.grace).await && as_told;
    exports.stop(end).await;
    // /metrics goes last, so that what is seen of the stop can be scraped.
    stop_late.cancel();
    for task in [health, expiry, server] {
        let _ = tokio::time::timeout(process.grace, task).await;
    }
    Ok(orderly)
}

/// The state, for what is exported of it.
pub(super) fn snapshots(replica: Arc<Replica>) -> SnapshotSource {
    Arc::new(move || replica.snapshot(None))
}

/// What a subscriber shows.
pub(super) fn shown(readiness: &Readiness, replica: Arc<Replica>) -> Shown {
    let ready = readiness.clone();
    Shown { replica: Some(replica), ready: Arc::new(move || ready.check()), posts: None }
}

/// Passes readiness on to its health until `stop`, or until the subscriber ends by itself: by a
/// fault of its own, which ends the program, so that whoever minds it starts it again. Says whether it
/// was told to.
pub(super) async fn watch(subscriber: &Subscriber, pulse: &Pulse, stop: &CancellationToken) -> bool {
    let (readiness, ended) = (subscriber.readiness(), subscriber.ended());
    while !stop.is_cancelled() {
        pulse.beat(readiness.check());
        tokio::select! {
            () = sleep(PULSE) => {}
            () = stop.cancelled() => {}
            // Told to stop, it may be seen to end first.
            () = ended.cancelled() => {
                if stop.is_cancelled() {
                    break;
                }
                error!("The subscriber ended by itself, which is a fault of this program; stopping");
                stop.cancel();
                return false;
            }
        }
    }
    true
}
