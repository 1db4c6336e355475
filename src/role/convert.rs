//! From the configuration's types to those of the components, which know nothing of where their
//! settings came from.

use std::collections::HashMap;

use super::StartError;
use crate::check::management::{BODY_BYTES_MAX, ManagementClient};
use crate::config::targets::Targets;
use crate::config::{
    AmqpConfig, BatchConfig, EmitterConfig, LegacyMatch, ManagementConfig, ProofsConfig, RedisConfig,
    ViewConfig,
};
use crate::heartbeat::wire::{Limits, TRACE_BYTES_MAX};
use crate::otlp::Otlp;
use crate::otlp::heartbeat::Destination;
use crate::state::Policy;
use crate::tls::{Expiry, Peer, PeerTls, TlsConfig};
use crate::{amqp, publisher, store, subscriber};

/// TLS to a peer, where it is on; `expiry` is told of certificates.
pub(super) fn tls(
    config: Option<&TlsConfig>,
    peer: Peer,
    expiry: &Expiry,
) -> Result<Option<PeerTls>, StartError> {
    let tls = config.map(|config| PeerTls::new(config.clone(), peer, expiry.clone()));
    tls.transpose().map_err(StartError::Tls)
}

pub(super) fn amqp(config: &AmqpConfig, name: String, expiry: &Expiry) -> Result<amqp::Config, StartError> {
    Ok(amqp::Config {
        nodes: amqp::Nodes::new(config.nodes.iter().cloned()),
        mechanism: config.mechanism,
        user: config.user.clone(),
        password: config.password.clone(),
        vhost: config.vhost.clone(),
        exchange: config.exchange.clone(),
        queues: config.queues.clone(),
        spread: config.spread.clone(),
        queue_type: config.queue_type,
        routing_key: config.routing_key.clone(),
        tls: tls(config.tls.as_ref(), Peer::RabbitMq, expiry)?,
        heartbeat: config.heartbeat,
        reconnect_max: config.reconnect_max,
        send_user_id: config.send_user_id,
        name,
    })
}

/// A connection that only looks at queues: it makes nothing, and binds nothing.
pub(super) fn looking_only(
    config: &AmqpConfig,
    name: String,
    expiry: &Expiry,
) -> Result<amqp::Config, StartError> {
    let config = self::amqp(config, name, expiry)?;
    Ok(amqp::Config { exchange: String::new(), queues: Vec::new(), spread: None, ..config })
}

pub(super) fn redis(config: &RedisConfig, expiry: &Expiry) -> Result<store::RedisConfig, StartError> {
    Ok(store::RedisConfig {
        topology: config.topology.clone(),
        username: config.username.clone(),
        password: config.password.clone(),
        tls: tls(config.tls.as_ref(), Peer::Redis, expiry)?,
        timeout: config.timeout,
        reconnect_max: config.reconnect_max,
    })
}

pub(super) fn subscriber(
    view: &ViewConfig,
    amqp: &AmqpConfig,
    batch: &BatchConfig,
    redis: Option<&RedisConfig>,
    proofs: ProofsConfig,
    otlp: &Otlp,
    expiry: &Expiry,
) -> Result<subscriber::Config, StartError> {
    // What a publisher sends along for a subscriber that exports traces is read by nobody else.
    let trace_bytes = if otlp.config().traces.is_some() { TRACE_BYTES_MAX } else { 0 };
    let mut legacy_ids = HashMap::new();
    let mut legacy_queue_id = None;
    for legacy in &view.legacy_ids {
        match &legacy.matches {
            LegacyMatch::RoutingKey(key) => {
                legacy_ids.insert(key.clone(), legacy.id.clone());
            }
            // Of several queues no message tells by which it came.
            LegacyMatch::Queue(queue) if *amqp.queues == [queue.as_str()] => {
                legacy_queue_id = Some(legacy.id.clone());
            }
            LegacyMatch::Queue(_) => {}
        }
    }
    Ok(subscriber::Config {
        amqp: self::amqp(amqp, "heartbeat subscriber".into(), expiry)?,
        prefetch: amqp.prefetch,
        dead_letter_exchange: amqp.dead_letter_exchange.clone(),
        redis: redis.map(|redis| self::redis(redis, expiry)).transpose()?,
        ingest: subscriber::IngestConfig {
            limits: Limits {
                message_bytes: view.limits.message_bytes,
                components: view.limits.components_per_message,
                trace_bytes,
            },
            batch_max: batch.publishers_max,
            contract_keys: redis.is_some_and(|redis| redis.contract_keys),
            legacy_ids,
            legacy_queue_id,
            broker_timestamp_trusted: view.broker_timestamp_trusted,
            rules: proofs.rules,
        },
        policy: Policy {
            expected: view.expected.iter().cloned().collect(),
            grace: view.grace.by_publisher.clone().into_iter().collect(),
            default_grace: view.grace.everybody,
            publishers_max: view.limits.publishers,
            components_max: view.limits.components,
        },
        retention: view.retention,
        trusted: proofs.trusted,
    })
}

/// The broker in traces, where it is one and the same: which node of a cluster it is changes with each connection.
pub(super) fn server(config: &AmqpConfig) -> Option<(std::sync::Arc<str>, u16)> {
    match &config.nodes[..] {
        [node] => Some((node.host.as_str().into(), node.port)),
        _ => None,
    }
}

/// What a subscriber tells, and in whose name.
pub(super) fn outlets(otlp: &Otlp, place: subscriber::Place) -> subscriber::Outlets {
    subscriber::Outlets {
        tracer: otlp.tracer(),
        recorder: otlp.recorder(),
        place,
        // A trace that nobody exports is no example of anything.
        exemplars: otlp.config().exemplars && otlp.config().traces.is_some(),
    }
}

/// How a publisher traces its heartbeats.
pub(super) fn tracing(otlp: &Otlp, destination: Destination) -> publisher::Tracing {
    publisher::Tracing { tracer: otlp.tracer(), carry: otlp.config().carry_spans, destination }
}

pub(super) fn emitter(
    config: &EmitterConfig,
    targets: Targets,
    tracing: publisher::Tracing,
    signing_key: Option<publisher::KeyInUse>,
    told: (publisher::jobs::JobLineEnd, publisher::memory::Memory),
    expiry: &Expiry,
) -> Result<publisher::Config, StartError> {
    let management =
        if targets.queues.is_empty() { None } else { Some(management(&config.management, expiry)?) };
    Ok(publisher::Config {
        id: config.id.clone(),
        targets,
        publish_interval: config.publish_interval,
        probe_interval: config.probe_interval,
        check_timeout: config.check_timeout,
        check_concurrency: config.check_concurrency,
        management,
        tracing,
        signing_key,
        maintenance: publisher::Commanded::new(told.1.clone()),
        changes: None,
        jobs: told.0,
        memory: told.1,
    })
}

pub(super) fn management(config: &ManagementConfig, expiry: &Expiry) -> Result<ManagementClient, StartError> {
    ManagementClient::new(crate::check::management::ManagementConfig {
        hosts: config.hosts.clone(),
        port: config.port,
        user: config.user.clone(),
        password: config.password.clone(),
        vhost: config.vhost.clone(),
        tls: tls(config.tls.as_ref(), Peer::Management, expiry)?,
        body_bytes_max: BODY_BYTES_MAX,
    })
    .map_err(StartError::Management)
}
