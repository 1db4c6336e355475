//! From the configuration's types to those of the components, which know nothing of where their
//! settings came from.

use std::collections::{HashMap, HashSet};

use super::StartError;
use crate::check::management::{BODY_BYTES_MAX, ManagementClient};
use crate::config::targets::Targets;
use crate::config::{
    AmqpConfig, BatchConfig, EmitterConfig, LegacyMatch, ManagementConfig, RedisConfig, RedisTopology,
    ViewConfig,
};
use crate::heartbeat::wire::{Limits, TRACE_BYTES_MAX};
use crate::otlp::Otlp;
use crate::otlp::heartbeat::Destination;
use crate::state::Policy;
use crate::{amqp, publisher, store, subscriber, tls};

pub(super) fn amqp(config: &AmqpConfig, name: String) -> amqp::Config {
    amqp::Config {
        host: config.host.clone(),
        port: config.port,
        user: config.user.clone(),
        password: config.password.clone(),
        vhost: config.vhost.clone(),
        exchange: config.exchange.clone(),
        queue: config.queue.clone(),
        routing_key: config.routing_key.clone(),
        tls: config.tls.clone(),
        heartbeat: config.heartbeat,
        reconnect_max: config.reconnect_max,
        name,
    }
}

pub(super) fn redis(config: &RedisConfig) -> store::RedisConfig {
    let topology = match &config.topology {
        RedisTopology::Single { host, port, database } => {
            store::Topology::Single { node: (host.clone(), *port), database: *database }
        }
        RedisTopology::Sentinel { nodes, service, database } => {
            store::Topology::Sentinel { nodes: nodes.clone(), service: service.clone(), database: *database }
        }
        RedisTopology::Cluster { nodes } => store::Topology::Cluster { nodes: nodes.clone() },
    };
    store::RedisConfig {
        topology,
        username: config.username.clone(),
        password: config.password.clone(),
        tls: config.tls.clone(),
        timeout: config.timeout,
        reconnect_max: config.reconnect_max,
    }
}

pub(super) fn subscriber(
    view: &ViewConfig,
    amqp: &AmqpConfig,
    batch: &BatchConfig,
    redis: Option<&RedisConfig>,
    otlp: &Otlp,
) -> subscriber::Config {
    // What a publisher sends along for a subscriber that exports traces is read by nobody else.
    let trace_bytes = if otlp.config().traces.is_some() { TRACE_BYTES_MAX } else { 0 };
    let mut legacy_ids = HashMap::new();
    let mut legacy_queue_id = None;
    for legacy in &view.legacy_ids {
        match &legacy.matches {
            LegacyMatch::RoutingKey(key) => {
                legacy_ids.insert(key.clone(), legacy.id.clone());
            }
            LegacyMatch::Queue(queue) if *queue == amqp.queue => legacy_queue_id = Some(legacy.id.clone()),
            LegacyMatch::Queue(_) => {}
        }
    }
    subscriber::Config {
        amqp: self::amqp(amqp, "heartbeat subscriber".into()),
        prefetch: amqp.prefetch,
        dead_letter_exchange: amqp.dead_letter_exchange.clone(),
        redis: redis.map(self::redis),
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
        },
        policy: Policy {
            expected: view.expected.iter().cloned().collect(),
            grace: view.grace.by_publisher.clone().into_iter().collect(),
            default_grace: view.grace.everybody,
            publishers_max: view.limits.publishers,
            components_max: view.limits.components,
        },
        retention: view.retention,
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
    config: EmitterConfig,
    targets: Targets,
    tracing: publisher::Tracing,
    signing_key: Option<publisher::KeyInUse>,
) -> Result<publisher::Config, StartError> {
    let management = if targets.queues.is_empty() { None } else { Some(management(&config.management)?) };
    // Checks wait for each other only where there are fewer slots than a process has files.
    let names: HashSet<_> = targets.hosts.iter().flat_map(|host| &host.endpoints).collect();
    let check_concurrency = config.check_concurrency.min(names.len().max(1));
    Ok(publisher::Config {
        id: config.id,
        targets,
        publish_interval: config.publish_interval,
        probe_interval: config.probe_interval,
        check_timeout: config.check_timeout,
        check_concurrency,
        management,
        tracing,
        signing_key,
    })
}

fn management(config: &ManagementConfig) -> Result<ManagementClient, StartError> {
    let tls = config.tls.as_ref().map(tls::client_config).transpose().map_err(StartError::Tls)?;
    ManagementClient::new(crate::check::management::ManagementConfig {
        host: config.host.clone(),
        port: config.port,
        user: config.user.clone(),
        password: config.password.expose().to_owned(),
        vhost: config.vhost.clone(),
        tls,
        body_bytes_max: BODY_BYTES_MAX,
    })
    .map_err(StartError::Management)
}
