//! `heartbeat publisher`.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::reload::Reloading;
use super::web::{self, Shown};
use super::{Process, StartError, convert, local, posts, tell_health};
use crate::amqp::publish::Publisher;
use crate::config::{PublisherConfig, SigningKeyFile};
use crate::health::{Health, Pulse};
use crate::http::{self, ReadyHandler};
use crate::otlp::Otlp;
use crate::otlp::heartbeat::{Destination, RABBITMQ};
use crate::publisher::jobs::JobLine;
use crate::publisher::memory::Memory;
use crate::publisher::{Emitter, KeyInUse, Link};
use crate::signing::SigningKey;
use crate::telemetry::registry;
use crate::tls::Expiry;
use crate::watched::{Format, Watcher};

/// Runs until `stop`. Says whether it ended in order.
pub(super) async fn run(
    config: PublisherConfig,
    process: Process,
    otlp: Otlp,
    stop: CancellationToken,
) -> Result<bool, StartError> {
    let PublisherConfig { mut emitter, amqp, publish_timeout, signing_key, web } = config;
    let mut registry = registry::root();
    let expiry = Expiry::register(&mut registry);
    let pulse = Pulse::new(emitter.publish_interval.min(emitter.probe_interval));
    let name = format!("heartbeat publisher {}", emitter.id);
    let (publisher, link_task) = Publisher::new(convert::amqp(&amqp, name, &expiry)?, publish_timeout);
    let targets = emitter.targets.take().unwrap_or_default();
    let destination = Destination {
        system: RABBITMQ,
        server: convert::server(&amqp),
        exchange: amqp.exchange.as_str().into(),
        routing_key: amqp.routing_key.as_str().into(),
    };
    let (key_watcher, key_in_use) = signing_key.map(|file| watch_key(emitter.id.as_str(), file)).unzip();
    let tracing = convert::tracing(&otlp, destination);
    let (jobs, heard) = JobLine::new();
    let stop_late = CancellationToken::new();
    let (file, id) = (emitter.state_file.clone(), emitter.id.clone());
    let memory = Memory::open(file, id, &mut registry, stop_late.clone());
    let (memory, keeping) = memory.await.map_err(StartError::StateFile)?;
    let mut checks = convert::emitter(&emitter, targets, tracing, key_in_use, (heard, memory), &expiry)?;
    let commanded = checks.maintenance.clone();
    let reloading = Reloading::new(&emitter, &mut checks, &expiry, &mut registry)?;
    let local_config = emitter.local;
    let emitter = Emitter::new(checks, Link::Amqp(publisher), pulse.clone(), &mut registry);
    otlp.register(&mut registry);

    let own = pulse.clone();
    let ready: ReadyHandler = Arc::new(move || own.ready());
    let serves = web.is_some() || local_config.is_some();
    let metrics = serves.then(|| http::Metrics::register(&mut registry));
    let local = match (&local_config, &metrics) {
        (Some(config), Some(metrics)) => {
            let posts =
                posts::local(reloading.reloads.clone(), reloading.in_force.clone(), jobs, commanded.clone());
            let server = local::bind(
                config,
                posts,
                local::Windows { commanded, in_force: reloading.in_force.clone() },
                Arc::clone(&ready),
                metrics.clone(),
            )
            .await?;
            Some(tokio::spawn(server.serve(stop_late.clone())))
        }
        _ => None,
    };
    let (server, registry) = match (&web, metrics) {
        (Some(web), Some(metrics)) => {
            let posts = Some(posts::exposed(reloading.reloads.clone()));
            let bound =
                web::bind(web, Shown { replica: None, ready, posts }, metrics, registry, &expiry).await?;
            let registry = bound.registry();
            (Some(bound.serve(stop_late.clone())), registry)
        }
        _ => (None, Arc::new(registry)),
    };
    let exports = otlp.start(registry, None, &expiry);
    let health = Health::of([pulse]);
    let health = tell_health(&health, "publisher", &process, &stop, &stop_late);
    let expiry = tokio::spawn(expiry.watch(stop_late.clone()));
    let link = tokio::spawn(link_task.run(stop_late.clone()));
    let reloading = reloading.spawn(stop_late.clone());
    let key = key_watcher.map(|watcher| tokio::spawn(watcher.run(stop_late.clone())));
    let mut emitting = tokio::spawn(emitter.run(stop.clone(), process.grace / 2));
    let ended_first = tokio::select! {
        () = stop.cancelled() => false,
        _ = &mut emitting => true,
    };
    // One grace period for all: a heartbeat on its way may take half, the rest is for goodbyes.
    let end = Instant::now() + process.grace;
    // It ends by itself only when something is broken; told to stop, it may be seen to end first.
    let mut orderly = if ended_first { stop.is_cancelled() } else { timeout_at(end, emitting).await.is_ok() };
    exports.stop(end).await;
    stop_late.cancel();
    for task in [Some(health), Some(link), Some(expiry), Some(reloading), keeping, key, local, server]
        .into_iter()
        .flatten()
    {
        orderly &= timeout_at(end, task).await.is_ok();
    }
    Ok(orderly)
}

/// Looks after the file of the key that signs.
fn watch_key(publisher: &str, file: SigningKeyFile) -> (Watcher<SigningKey>, KeyInUse) {
    info!(publisher, key_id = %file.key.id(), "Heartbeats are signed");
    let format = Format {
        what: "signing key",
        parse: |bytes| SigningKey::from_pem(bytes).map_err(|error| error.to_string()),
        describe: |key: &SigningKey| format!("the key {}", key.id()),
    };
    Watcher::new(file.path, format, file.key)
}
