//! `heartbeat standalone`: both roles in one process, with no server at all. The same code: only
//! the link between them and the store are in-process.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::reload::Reloading;
use super::subscriber::{PULSE, shown, snapshots, watch};
use super::web::{self, Shown};
use super::{Process, StartError, convert, local, posts, tell_health};
use crate::amqp::publish::Publisher;
use crate::clock::StoreClock;
use crate::config::targets::{HostTarget, Targets};
use crate::config::{ProofsConfig, StandaloneConfig, WebConfig};
use crate::health::{Health, Pulse};
use crate::http;
use crate::otlp::Otlp;
use crate::otlp::heartbeat::{Destination, IN_PROCESS};
use crate::publisher::jobs::JobLine;
use crate::publisher::memory::Memory;
use crate::publisher::{Emitter, Link};
use crate::subscriber::{Place, Source, Subscriber};
use crate::telemetry::registry;
use crate::tls::Expiry;

/// Runs until `stop`. Says whether it ended in order.
pub(super) async fn run(
    config: StandaloneConfig,
    process: Process,
    otlp: Otlp,
    stop: CancellationToken,
) -> Result<bool, StartError> {
    let StandaloneConfig { mut emitter, view, batch, web, amqp } = config;
    let mut registry = registry::root();
    let expiry = Expiry::register(&mut registry);
    let targets = emitter.targets.take().unwrap_or_else(|| own_port(&web));
    let stop_late = CancellationToken::new();
    let (inspector, inspector_task) = if targets.queues.is_empty() {
        (None, None)
    } else {
        let amqp = convert::looking_only(&amqp, "heartbeat standalone".into(), &expiry)?;
        let (publisher, task) = Publisher::new(amqp, Duration::from_secs(5));
        (Some(publisher), Some(tokio::spawn(task.run(stop_late.clone()))))
    };
    // One clock for both ends, so that a step of the wall clock moves neither.
    let clock = Arc::new(StoreClock::default());
    let (link, (events, state)) = Link::in_process(inspector, Arc::clone(&clock));
    let proofs = ProofsConfig::default();
    let wanted = convert::subscriber(&view, &amqp, &batch, None, proofs, &otlp, &expiry)?;
    let place = Place {
        system: IN_PROCESS,
        server: None,
        store: "memory",
        exchange: IN_PROCESS.into(),
        queue: "".into(),
        instance: otlp.instance().into(),
    };
    let outlets = convert::outlets(&otlp, place);
    let source = Source::InProcess(events, state);
    let subscriber = Subscriber::start(wanted, source, clock, outlets, &mut registry);
    let readiness = subscriber.readiness();
    let pulse = Pulse::new(emitter.publish_interval.min(emitter.probe_interval));
    let destination =
        Destination { system: IN_PROCESS, server: None, exchange: IN_PROCESS.into(), routing_key: "".into() };
    let (jobs, heard) = JobLine::new();
    let (file, id) = (emitter.state_file.clone(), emitter.id.clone());
    let memory = Memory::open(file, id, &mut registry, stop_late.clone());
    let (memory, keeping) = memory.await.map_err(StartError::StateFile)?;
    let tracing = convert::tracing(&otlp, destination);
    let mut checks = convert::emitter(&emitter, targets, tracing, None, (heard, memory), &expiry)?;
    let commanded = checks.maintenance.clone();
    let reloading = Reloading::new(&emitter, &mut checks, &expiry, &mut registry)?;
    let local_config = emitter.local;
    let emitter = Emitter::new(checks, link, pulse.clone(), &mut registry);
    otlp.register(&mut registry);
    let metrics = http::Metrics::register(&mut registry);
    let shown = shown(&readiness, subscriber.replica());
    let local = match &local_config {
        None => None,
        Some(config) => {
            let posts =
                posts::local(reloading.reloads.clone(), reloading.in_force.clone(), jobs, commanded.clone());
            Some(
                local::bind(
                    config,
                    posts,
                    local::Windows { commanded, in_force: reloading.in_force.clone() },
                    Arc::clone(&shown.ready),
                    metrics.clone(),
                )
                .await?,
            )
        }
    };
    let shown = Shown { posts: Some(posts::exposed(reloading.reloads.clone())), ..shown };
    let bound = web::bind(&web, shown, metrics, registry, &expiry).await?;
    let exports = otlp.start(bound.registry(), Some(snapshots(subscriber.replica())), &expiry);
    let server = bound.serve(stop_late.clone());
    let watching = Pulse::new(PULSE);
    let health = Health::of([pulse, watching.clone(), subscriber.pulse()]);
    let health = tell_health(&health, "standalone", &process, &stop, &stop_late);
    let expiry = tokio::spawn(expiry.watch(stop_late.clone()));
    let reloading = reloading.spawn(stop_late.clone());
    let local = local.map(|server| tokio::spawn(server.serve(stop_late.clone())));
    let emitting = tokio::spawn(emitter.run(stop.clone(), process.grace));
    let as_told = watch(&subscriber, &watching, &stop).await;

    let end = Instant::now() + process.grace;
    let _ = tokio::time::timeout_at(end, emitting).await;
    let orderly = subscriber.stop(process.grace).await && as_told;
    exports.stop(end).await;
    stop_late.cancel();
    for task in [Some(health), Some(server), Some(expiry), Some(reloading), keeping, local, inspector_task]
        .into_iter()
        .flatten()
    {
        let _ = tokio::time::timeout(process.grace, task).await;
    }
    Ok(orderly)
}

/// Without a file to say what to check, it checks its own port, and says so.
pub(super) fn own_port(web: &WebConfig) -> Targets {
    let Some(listen) = web.listen.first() else { return Targets::default() };
    let host = listen.host.clone().unwrap_or_else(|| "localhost".into());
    info!(
        host,
        port = listen.port,
        "No configuration file (--config.file=); checking this program's own port"
    );
    let own = HostTarget {
        name: Arc::from("heartbeat"),
        endpoints: vec![(host.into(), listen.port)],
        timeout: None,
        failure_threshold: 1,
        success_threshold: 1,
    };
    Targets { hosts: vec![own], ..Targets::default() }
}
