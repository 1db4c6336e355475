//! OpenTelemetry's settings to [`crate::otlp::Config`].
//!
//! A signal is on where an endpoint is set for it, and its exporter is not `none`. Settings count
//! where they are used: what is wrong with any other is only warned of, since such variables are
//! often set for everything that runs in a cluster.

mod parse;

use std::time::Duration;

use opentelemetry_semantic_conventions::attribute::SERVICE_NAME;

use super::model::Role;
use super::problem::Warning;
use super::reader::Reader;
use super::sections::{TlsSettings, tried_files, warn_unused};
use super::setting::Setting;
use super::settings::otel::{self as s, Exporter};
use crate::otlp::config::{Batch, Compression, Config, Endpoint, Headers, Protocol, Root, Sampler};
use crate::tls::TlsFiles;

/// One of the three things that can be exported.
struct Signal {
    name: &'static str,
    /// What goes behind the path of an endpoint that is set for all signals.
    path: &'static str,
    switch: &'static Setting,
    own: &'static Exporter,
}

const TRACES: Signal =
    Signal { name: "traces", path: "/v1/traces", switch: &s::OTEL_TRACES_EXPORTER, own: &s::TRACES };
const METRICS: Signal =
    Signal { name: "metrics", path: "/v1/metrics", switch: &s::OTEL_METRICS_EXPORTER, own: &s::METRICS };
const LOGS: Signal = Signal { name: "logs", path: "/v1/logs", switch: &s::OTEL_LOGS_EXPORTER, own: &s::LOGS };

/// Where a signal goes, and which settings said so.
struct Destination {
    endpoint: Endpoint,
    from: Exporter,
    /// Whether the setting of insecure endpoints was asked.
    asked_insecure: bool,
}

impl Destination {
    fn is_secured(&self) -> bool {
        self.endpoint.uri.scheme_str() == Some("https")
    }
}

/// What became of a signal's settings.
struct Outcome {
    /// Whether its exporter is `none`.
    is_none: bool,
    /// Why it is off.
    off: Option<String>,
    destination: Option<Destination>,
}

/// Everything about OTLP.
pub(super) fn read(r: &mut Reader<'_>, role: Role) -> Config {
    // The signals share settings, and each finds the same fault in them.
    let mut own = r.apart();
    let config = config(&mut own, role);
    r.join_once(own);
    config
}

fn config(r: &mut Reader<'_>, role: Role) -> Config {
    let endpoints = [&s::GENERAL, &s::TRACES, &s::METRICS, &s::LOGS].map(|exporter| exporter.endpoint);
    let is_set = endpoints.into_iter().any(|endpoint| r.is_given(endpoint));
    let unset = (!is_set).then(|| "no endpoint is set".to_owned());
    let disabled = read_where(r, unset.as_deref(), |r| r.switch(&s::OTEL_SDK_DISABLED));
    let off = if disabled { Some("OTEL_SDK_DISABLED is true".to_owned()) } else { unset };

    let mut tried = Vec::new();
    let [traces, metrics, logs] =
        [&TRACES, &METRICS, &LOGS].map(|signal| outcome(r, signal, off.as_deref(), &mut tried));
    let nothing = off.or_else(|| {
        let is_idle = [&traces, &metrics, &logs].into_iter().all(|signal| signal.off.is_some());
        is_idle.then(|| "nothing is exported".to_owned())
    });
    if nothing.is_some() {
        read_where(r, nothing.as_deref(), |r| drop(destination(r, s::GENERAL, None)));
    }
    let destinations = [&traces, &metrics, &logs].map(|signal| signal.destination.as_ref());
    warn_of_unused(r, &destinations.into_iter().flatten().collect::<Vec<_>>());

    let carry_spans = r.switch(&s::TRACE_CARRY) && !disabled && !traces.is_none;
    let program_log = r.switch(&s::OTLP_PROGRAM_LOG);
    if let (true, Some(reason)) = (program_log, &logs.off) {
        warn_unused(r, &s::OTLP_PROGRAM_LOG, reason);
    }
    let carries = carry_spans && role != Role::Subscriber;
    let of_metrics = read_where(r, metrics.off.as_deref(), self::metrics);
    read_where(r, traces.off.as_deref(), propagators);
    Config {
        resource: read_where(r, nothing.as_deref(), resource),
        sampler: sampler(r, traces.off.as_deref(), carries),
        metric_interval: of_metrics.interval,
        metric_timeout: of_metrics.timeout,
        span_batch: read_where(r, traces.off.as_deref(), |r| batch(r, SPANS)),
        log_batch: read_where(r, logs.off.as_deref(), |r| batch(r, RECORDS)),
        program_log,
        carry_spans,
        exemplars: of_metrics.exemplars,
        traces: traces.destination.map(|destination| destination.endpoint),
        metrics: metrics.destination.map(|destination| destination.endpoint),
        logs: logs.destination.map(|destination| destination.endpoint),
    }
}

/// Reads settings that count unless `off` says why not; then what is wrong with them is a warning.
fn read_where<T>(r: &mut Reader<'_>, off: Option<&str>, read: impl FnOnce(&mut Reader<'_>) -> T) -> T {
    let consequence = off.map(not_used);
    read_or_warn(r, consequence.as_deref(), read)
}

fn not_used(reason: &str) -> String {
    format!("it is not used, since {reason}")
}

/// Reads settings; with a `consequence`, what is wrong with them is a warning, and that behind it.
fn read_or_warn<T>(
    r: &mut Reader<'_>,
    consequence: Option<&str>,
    read: impl FnOnce(&mut Reader<'_>) -> T,
) -> T {
    let Some(consequence) = consequence else { return read(r) };
    let mut apart = r.apart();
    let value = read(&mut apart);
    let warning = |name: &str, why: &str| Warning::new(name, format!("{why}; {consequence}"));
    r.warnings.extend(apart.problems.iter().map(|problem| warning(&problem.name, &problem.why)));
    value
}

fn outcome(
    r: &mut Reader<'_>,
    signal: &Signal,
    off: Option<&str>,
    tried: &mut Vec<(Exporter, TlsFiles)>,
) -> Outcome {
    let chosen = signal.own.or(&s::GENERAL, |setting| r.is_given(setting));
    let unset = || (!r.is_given(chosen.endpoint)).then(|| format!("no endpoint is set for {}", signal.name));
    let off = off.map(str::to_owned).or_else(unset);
    let exported = read_where(r, off.as_deref(), |r| r.read(signal.switch, parse::exporter));
    let off = off.or_else(|| (!exported).then(|| format!("{} is none", signal.switch.variable)));
    if off.is_some() {
        // What is set for all signals is another one's, or looked at when there is none.
        read_where(r, off.as_deref(), |r| drop(destination(r, *signal.own, None)));
        return Outcome { is_none: !exported, off, destination: None };
    }
    let is_own = r.is_given(signal.own.endpoint);
    let mut destination = destination(r, chosen, (!is_own).then_some(signal.path));
    if let Some(destination) = destination.as_mut().filter(|destination| destination.is_secured()) {
        destination.endpoint.tls = files(r, chosen, tried);
    }
    Outcome { is_none: false, off, destination }
}

/// Where requests go, without the files of TLS. `added`: what goes behind the endpoint's path.
fn destination(r: &mut Reader<'_>, from: Exporter, added: Option<&str>) -> Option<Destination> {
    let protocol = r.given(from.protocol, parse::protocol);
    // Whether a missing scheme is a fault is open where the protocol is wrong, or another setting's to say.
    let is_open = protocol.is_none() && (r.is_given(from.protocol) || from.protocol.general.is_some());
    let protocol = protocol.unwrap_or_default();
    let insecure = r.switch(from.insecure);
    let timeout = millis(r, from.timeout);
    let compression: Compression = r.given(from.compression, parse::compression).unwrap_or_default();
    let headers = headers(r, from.headers);
    let address = r.given(from.endpoint, |text| match protocol {
        Protocol::HttpProtobuf if !is_open || text.contains("://") => parse::http_endpoint(text, added),
        _ => parse::grpc_endpoint(text, insecure),
    })?;
    if address.path_ignored {
        r.warn(from.endpoint, "its path is not used: gRPC has paths of its own");
    }
    let uri = address.uri;
    // The likeliest mix-up: each protocol has a usual port of its own.
    let (other_port, other) = match protocol {
        Protocol::HttpProtobuf => (4317, "grpc"),
        Protocol::Grpc => (4318, "http/protobuf"),
    };
    if uri.port_u16() == Some(other_port) {
        let text = format!(
            "its port is {other_port}, where receivers usually speak {other}, and {} is not that",
            from.protocol.general.unwrap_or(from.protocol).variable
        );
        r.warn(from.endpoint, text);
    }
    let endpoint = Endpoint { uri, protocol, headers, timeout, compression, tls: TlsFiles::default() };
    Some(Destination { endpoint, from, asked_insecure: !address.has_scheme })
}

fn headers(r: &mut Reader<'_>, setting: &'static Setting) -> Headers {
    let parsed = r.secret(setting).map(|source| source.parsed(parse::headers)).transpose();
    parsed
        .unwrap_or_else(|why| {
            r.problem(setting, None, why);
            None
        })
        .unwrap_or_else(|| Headers::given(Vec::new()))
}

/// The files of TLS, tried once for all signals that name the same.
fn files(r: &mut Reader<'_>, from: Exporter, tried: &mut Vec<(Exporter, TlsFiles)>) -> TlsFiles {
    let variables =
        |of: &Exporter| [of.certificate, of.client_certificate, of.client_key].map(|s| s.variable);
    if let Some((_, files)) = tried.iter().find(|(known, _)| variables(known) == variables(&from)) {
        return files.clone();
    }
    let settings = TlsSettings {
        switch: from.endpoint,
        ca: from.certificate,
        cert: from.client_certificate,
        key: from.client_key,
    };
    let files = tried_files(r, &settings);
    tried.push((from, files.clone()));
    files
}

/// Warns of settings that were looked at for some signal, and that none had a use for.
fn warn_of_unused(r: &mut Reader<'_>, all: &[&Destination]) {
    type Column = fn(&Exporter) -> &'static Setting;
    let mut warn = |column: Column, is_user: fn(&&&Destination) -> bool, reason: &str| {
        for setting in all.iter().map(|one| column(&one.from)) {
            let mut users = all.iter().filter(is_user).map(|one| column(&one.from).variable);
            if r.is_given(setting) && !users.any(|variable| variable == setting.variable) {
                warn_unused(r, setting, reason);
            }
        }
    };
    let files: [Column; 3] = [|of| of.certificate, |of| of.client_certificate, |of| of.client_key];
    for column in files {
        warn(column, |one| one.is_secured(), "the endpoint is not https");
    }
    warn(|of| of.insecure, |one| one.asked_insecure, "the endpoint names its scheme");
}

fn resource(r: &mut Reader<'_>) -> Vec<(String, String)> {
    let mut attributes = r.given(&s::OTEL_RESOURCE_ATTRIBUTES, parse::resource).unwrap_or_default();
    if let Some(name) = r.given(&s::OTEL_SERVICE_NAME, |text| Ok(text.to_owned())) {
        attributes.retain(|(key, _)| key != SERVICE_NAME);
        attributes.push((SERVICE_NAME.to_owned(), name));
    }
    attributes
}

/// Which traces are recorded. Without an exporter they may still be, for the heartbeat to carry.
fn sampler(r: &mut Reader<'_>, off: Option<&str>, carries: bool) -> Sampler {
    let consequence = off.map(|reason| match carries {
        true => format!("the default is used, since {reason}"),
        false => not_used(reason),
    });
    read_or_warn(r, consequence.as_deref(), |r| {
        let mut sampler = r.read(&s::OTEL_TRACES_SAMPLER, parse::sampler);
        if let Root::Ratio(share) = &mut sampler.root {
            *share = r.read(&s::OTEL_TRACES_SAMPLER_ARG, parse::share);
        } else if r.is_given(&s::OTEL_TRACES_SAMPLER_ARG) {
            warn_unused(r, &s::OTEL_TRACES_SAMPLER_ARG, "OTEL_TRACES_SAMPLER takes no share");
        }
        sampler
    })
}

/// A trace goes on by its W3C context alone, so whatever else is asked for is told to have no effect.
fn propagators(r: &mut Reader<'_>) {
    let useless = r.given(&s::OTEL_PROPAGATORS, parse::propagators).unwrap_or_default();
    for name in useless {
        r.warn(&s::OTEL_PROPAGATORS, format!("{name:?} is not supported and has no effect"));
    }
}

/// How metrics are exported.
struct Metrics {
    interval: Duration,
    timeout: Duration,
    exemplars: bool,
}

fn metrics(r: &mut Reader<'_>) -> Metrics {
    for (setting, word) in [
        (&s::OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE, "cumulative"),
        (&s::OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION, "explicit_bucket_histogram"),
    ] {
        r.read(setting, |text| parse::only(word, text));
    }
    Metrics {
        interval: millis(r, &s::OTEL_METRIC_EXPORT_INTERVAL),
        timeout: millis(r, &s::OTEL_METRIC_EXPORT_TIMEOUT),
        exemplars: r.read(&s::OTEL_METRICS_EXEMPLAR_FILTER, parse::exemplars),
    }
}

/// Delay, queue and request of what is exported in batches.
type BatchSettings = [&'static Setting; 3];

const SPANS: BatchSettings =
    [&s::OTEL_BSP_SCHEDULE_DELAY, &s::OTEL_BSP_MAX_QUEUE_SIZE, &s::OTEL_BSP_MAX_EXPORT_BATCH_SIZE];
const RECORDS: BatchSettings =
    [&s::OTEL_BLRP_SCHEDULE_DELAY, &s::OTEL_BLRP_MAX_QUEUE_SIZE, &s::OTEL_BLRP_MAX_EXPORT_BATCH_SIZE];

fn batch(r: &mut Reader<'_>, [delay, queue, request]: BatchSettings) -> Batch {
    let (queue_max, request_max): (usize, usize) = (r.number(queue), r.number(request));
    if request_max > queue_max && r.is_given(request) {
        r.warn(request, format!("it is larger than {}; {queue_max} is used", queue.variable));
    }
    Batch { delay: millis(r, delay), queue_max, request_max: request_max.min(queue_max) }
}

fn millis(r: &mut Reader<'_>, setting: &'static Setting) -> Duration {
    Duration::from_millis(r.number(setting))
}

#[cfg(test)]
mod tests;
