//! The settings of OpenTelemetry, by the names and with the defaults of its specification, and ours
//! beside them. Those of the specification that are not here are not supported.

use super::{COUNT_MAX, DAY, EMITS, HOUR, Heading, Kind, Scopes, Setting, new};

const OTEL: (Heading, Scopes) = (Heading::OpenTelemetry, Scopes::ROLES);

/// A time in milliseconds, as the specification writes times: a bare number, and no unit.
const fn millis(min: u64, max: u64) -> Kind {
    Kind::Number(min, max)
}

settings! {
    /// All of them.
    TABLE:

    OTEL_SDK_DISABLED = new("otel.sdk-disabled", OTEL, Kind::Boolean, "false",
        "Export nothing, and trace nothing, whatever else is set");
    OTEL_SERVICE_NAME = new("otel.service-name", OTEL, Kind::Text("NAME"), "",
        "What this process is called in what it exports; goes before service.name in OTEL_RESOURCE_ATTRIBUTES")
        .derived_from("the program's name and role").such_as("heartbeat-publisher");
    OTEL_RESOURCE_ATTRIBUTES = new("otel.resource-attributes", OTEL, Kind::List("KEY=VALUE"), "",
        "What else to say of this process, as key=value, percent-encoded, separated by commas")
        .such_as("deployment.environment.name=test,host.name=oslo-1");
    OTEL_TRACES_EXPORTER = new("otel.traces-exporter", OTEL, Kind::Text("EXPORTER"), "otlp",
        "How traces leave: otlp or none");
    OTEL_METRICS_EXPORTER = new("otel.metrics-exporter", OTEL, Kind::Text("EXPORTER"), "otlp",
        "How metrics leave, besides the exposition: otlp or none");
    OTEL_LOGS_EXPORTER = new("otel.logs-exporter", OTEL, Kind::Text("EXPORTER"), "otlp",
        "How log records leave, besides stderr: otlp or none");
    OTEL_PROPAGATORS = new("otel.propagators", OTEL, Kind::List("NAME"), "tracecontext,baggage",
        "How a trace goes on in another process; tracecontext must be among them, and is all that is used");
    OTEL_TRACES_SAMPLER = new("otel.traces-sampler", OTEL, Kind::Text("SAMPLER"), "parentbased_always_on",
        "Which traces are recorded: always_on, always_off, traceidratio, or one of them after parentbased_");
    OTEL_TRACES_SAMPLER_ARG = new("otel.traces-sampler-arg", OTEL, Kind::Text("SHARE"), "1",
        "Share of the traces that traceidratio records, from 0 to 1").such_as("0.1");
    OTEL_METRICS_EXEMPLAR_FILTER = new("otel.metrics-exemplar-filter", OTEL, Kind::Text("FILTER"),
        "trace_based",
        "Whether samples name the trace that they were taken of: trace_based or always_off");

    OTEL_EXPORTER_OTLP_ENDPOINT = new("otel.exporter-otlp-endpoint", OTEL, Kind::Text("URL"), "",
        "URL of the OTLP receiver; http/protobuf adds /v1/traces, /v1/metrics and /v1/logs to its path")
        .derived_from("none, nothing is exported").such_as("http://collector:4318");
    OTEL_EXPORTER_OTLP_PROTOCOL = new("otel.exporter-otlp-protocol", OTEL, Kind::Text("PROTOCOL"),
        "http/protobuf",
        "How the receiver is spoken to: http/protobuf (usually port 4318) or grpc (usually port 4317)");
    OTEL_EXPORTER_OTLP_HEADERS = new("otel.exporter-otlp-headers", OTEL, Kind::Secret, "",
        "Headers of each request, as name=value, percent-encoded, separated by commas")
        .such_as("authorization=Bearer%20KEY");
    OTEL_EXPORTER_OTLP_TIMEOUT = new("otel.exporter-otlp-timeout", OTEL, millis(1, HOUR * 1000), "10000",
        "Longest time of one request, in milliseconds");
    OTEL_EXPORTER_OTLP_COMPRESSION = new("otel.exporter-otlp-compression", OTEL, Kind::Text("METHOD"), "none",
        "Compression of requests: none or gzip");
    OTEL_EXPORTER_OTLP_CERTIFICATE = new("otel.exporter-otlp-certificate", OTEL, Kind::File, "",
        "PEM file with the only roots that the receiver is trusted by")
        .derived_from("the system's roots").such_as("/etc/heartbeat/ca.pem").that_protects();
    OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE = new("otel.exporter-otlp-client-certificate", OTEL, Kind::File, "",
        "PEM file with the client's certificate and its chain").such_as("/etc/heartbeat/client.pem")
        .that_protects();
    OTEL_EXPORTER_OTLP_CLIENT_KEY = new("otel.exporter-otlp-client-key", OTEL, Kind::File, "",
        "PEM file with the client's key (PKCS#8, PKCS#1 or SEC1, not encrypted)")
        .such_as("/etc/heartbeat/client.key").that_protects();
    OTEL_EXPORTER_OTLP_INSECURE = new("otel.exporter-otlp-insecure", OTEL, Kind::Boolean, "false",
        "Whether a gRPC endpoint that is written without a scheme is http, and not https");

    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT = Setting::part_of(&OTEL_EXPORTER_OTLP_ENDPOINT,
        "otel.exporter-otlp-traces-endpoint", "URL for traces alone, taken as it is, with its path")
        .such_as("http://collector:4318/v1/traces");
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL = Setting::part_of(&OTEL_EXPORTER_OTLP_PROTOCOL,
        "otel.exporter-otlp-traces-protocol", "Protocol for traces alone");
    OTEL_EXPORTER_OTLP_TRACES_HEADERS = Setting::part_of(&OTEL_EXPORTER_OTLP_HEADERS,
        "otel.exporter-otlp-traces-headers", "Headers for traces alone, in place of those for all");
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT = Setting::part_of(&OTEL_EXPORTER_OTLP_TIMEOUT,
        "otel.exporter-otlp-traces-timeout", "Longest time of one request with traces, in milliseconds");
    OTEL_EXPORTER_OTLP_TRACES_COMPRESSION = Setting::part_of(&OTEL_EXPORTER_OTLP_COMPRESSION,
        "otel.exporter-otlp-traces-compression", "Compression of traces alone");
    OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE = Setting::part_of(&OTEL_EXPORTER_OTLP_CERTIFICATE,
        "otel.exporter-otlp-traces-certificate",
        "PEM file with the only roots that the receiver of traces is trusted by");
    OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE = Setting::part_of(&OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE,
        "otel.exporter-otlp-traces-client-certificate",
        "PEM file with the client's certificate and its chain, for traces alone");
    OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY = Setting::part_of(&OTEL_EXPORTER_OTLP_CLIENT_KEY,
        "otel.exporter-otlp-traces-client-key", "PEM file with the client's key, for traces alone");
    OTEL_EXPORTER_OTLP_TRACES_INSECURE = Setting::part_of(&OTEL_EXPORTER_OTLP_INSECURE,
        "otel.exporter-otlp-traces-insecure",
        "Whether a gRPC endpoint of traces that is written without a scheme is http");

    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT = Setting::part_of(&OTEL_EXPORTER_OTLP_ENDPOINT,
        "otel.exporter-otlp-metrics-endpoint", "URL for metrics alone, taken as it is, with its path")
        .such_as("http://collector:4318/v1/metrics");
    OTEL_EXPORTER_OTLP_METRICS_PROTOCOL = Setting::part_of(&OTEL_EXPORTER_OTLP_PROTOCOL,
        "otel.exporter-otlp-metrics-protocol", "Protocol for metrics alone");
    OTEL_EXPORTER_OTLP_METRICS_HEADERS = Setting::part_of(&OTEL_EXPORTER_OTLP_HEADERS,
        "otel.exporter-otlp-metrics-headers", "Headers for metrics alone, in place of those for all");
    OTEL_EXPORTER_OTLP_METRICS_TIMEOUT = Setting::part_of(&OTEL_EXPORTER_OTLP_TIMEOUT,
        "otel.exporter-otlp-metrics-timeout", "Longest time of one request with metrics, in milliseconds");
    OTEL_EXPORTER_OTLP_METRICS_COMPRESSION = Setting::part_of(&OTEL_EXPORTER_OTLP_COMPRESSION,
        "otel.exporter-otlp-metrics-compression", "Compression of metrics alone");
    OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE = Setting::part_of(&OTEL_EXPORTER_OTLP_CERTIFICATE,
        "otel.exporter-otlp-metrics-certificate",
        "PEM file with the only roots that the receiver of metrics is trusted by");
    OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE = Setting::part_of(&OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE,
        "otel.exporter-otlp-metrics-client-certificate",
        "PEM file with the client's certificate and its chain, for metrics alone");
    OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY = Setting::part_of(&OTEL_EXPORTER_OTLP_CLIENT_KEY,
        "otel.exporter-otlp-metrics-client-key", "PEM file with the client's key, for metrics alone");
    OTEL_EXPORTER_OTLP_METRICS_INSECURE = Setting::part_of(&OTEL_EXPORTER_OTLP_INSECURE,
        "otel.exporter-otlp-metrics-insecure",
        "Whether a gRPC endpoint of metrics that is written without a scheme is http");

    OTEL_EXPORTER_OTLP_LOGS_ENDPOINT = Setting::part_of(&OTEL_EXPORTER_OTLP_ENDPOINT,
        "otel.exporter-otlp-logs-endpoint", "URL for logs alone, taken as it is, with its path")
        .such_as("http://collector:4318/v1/logs");
    OTEL_EXPORTER_OTLP_LOGS_PROTOCOL = Setting::part_of(&OTEL_EXPORTER_OTLP_PROTOCOL,
        "otel.exporter-otlp-logs-protocol", "Protocol for logs alone");
    OTEL_EXPORTER_OTLP_LOGS_HEADERS = Setting::part_of(&OTEL_EXPORTER_OTLP_HEADERS,
        "otel.exporter-otlp-logs-headers", "Headers for logs alone, in place of those for all");
    OTEL_EXPORTER_OTLP_LOGS_TIMEOUT = Setting::part_of(&OTEL_EXPORTER_OTLP_TIMEOUT,
        "otel.exporter-otlp-logs-timeout", "Longest time of one request with logs, in milliseconds");
    OTEL_EXPORTER_OTLP_LOGS_COMPRESSION = Setting::part_of(&OTEL_EXPORTER_OTLP_COMPRESSION,
        "otel.exporter-otlp-logs-compression", "Compression of logs alone");
    OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE = Setting::part_of(&OTEL_EXPORTER_OTLP_CERTIFICATE,
        "otel.exporter-otlp-logs-certificate",
        "PEM file with the only roots that the receiver of logs is trusted by");
    OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE = Setting::part_of(&OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE,
        "otel.exporter-otlp-logs-client-certificate",
        "PEM file with the client's certificate and its chain, for logs alone");
    OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY = Setting::part_of(&OTEL_EXPORTER_OTLP_CLIENT_KEY,
        "otel.exporter-otlp-logs-client-key", "PEM file with the client's key, for logs alone");
    OTEL_EXPORTER_OTLP_LOGS_INSECURE = Setting::part_of(&OTEL_EXPORTER_OTLP_INSECURE,
        "otel.exporter-otlp-logs-insecure",
        "Whether a gRPC endpoint of logs that is written without a scheme is http");

    OTEL_METRIC_EXPORT_INTERVAL = new("otel.metric-export-interval", OTEL, millis(100, DAY * 1000), "60000",
        "Time between two exports of metrics, in milliseconds");
    OTEL_METRIC_EXPORT_TIMEOUT = new("otel.metric-export-timeout", OTEL, millis(1, HOUR * 1000), "30000",
        "Longest time of one export of metrics, all its requests together, in milliseconds");
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE = new(
        "otel.exporter-otlp-metrics-temporality-preference", OTEL, Kind::Text("TEMPORALITY"), "cumulative",
        "What counters count from: cumulative is all that is sent");
    OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION = new(
        "otel.exporter-otlp-metrics-default-histogram-aggregation", OTEL, Kind::Text("AGGREGATION"),
        "explicit_bucket_histogram", "Form of histograms: explicit_bucket_histogram is all that is sent");
    OTEL_BSP_SCHEDULE_DELAY = new("otel.bsp-schedule-delay", OTEL, millis(1, HOUR * 1000), "5000",
        "Longest wait from a span to its request, in milliseconds");
    OTEL_BSP_MAX_QUEUE_SIZE = new("otel.bsp-max-queue-size", OTEL, Kind::Number(1, COUNT_MAX), "2048",
        "Most spans that wait; beyond, the oldest are dropped and counted");
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE = new("otel.bsp-max-export-batch-size", OTEL, Kind::Number(1, COUNT_MAX),
        "512",
        "Most spans in one request");
    OTEL_BLRP_SCHEDULE_DELAY = new("otel.blrp-schedule-delay", OTEL, millis(1, HOUR * 1000), "1000",
        "Longest wait from a log record to its request, in milliseconds");
    OTEL_BLRP_MAX_QUEUE_SIZE = new("otel.blrp-max-queue-size", OTEL, Kind::Number(1, COUNT_MAX), "2048",
        "Most log records that wait; beyond, the oldest are dropped and counted");
    OTEL_BLRP_MAX_EXPORT_BATCH_SIZE = new("otel.blrp-max-export-batch-size", OTEL, Kind::Number(1, COUNT_MAX),
        "512", "Most log records in one request");

    OTLP_PROGRAM_LOG = new("otlp.program-log", OTEL, Kind::Boolean, "false",
        "Export the program's own log too, where log records are exported");
    TRACE_CARRY = new("trace.carry", (Heading::OpenTelemetry, EMITS), Kind::Boolean, "true",
        "Send spans along with the heartbeat where this publisher exports none itself, for the subscriber to export");
}

/// The settings that say where a signal goes.
#[derive(Clone, Copy, Debug)]
pub struct Exporter {
    /// Where to.
    pub endpoint: &'static Setting,
    /// How it is spoken to.
    pub protocol: &'static Setting,
    /// Headers of each request.
    pub headers: &'static Setting,
    /// Longest time of one request.
    pub timeout: &'static Setting,
    /// Compression of requests.
    pub compression: &'static Setting,
    /// The only roots.
    pub certificate: &'static Setting,
    /// The client's certificate.
    pub client_certificate: &'static Setting,
    /// The client's key.
    pub client_key: &'static Setting,
    /// Whether what has no scheme is http.
    pub insecure: &'static Setting,
}

impl Exporter {
    /// Each setting of these that is given, and of `general` the others.
    pub fn or(&self, general: &Self, is_given: impl Fn(&Setting) -> bool) -> Self {
        let pick =
            |own: &'static Setting, general: &'static Setting| if is_given(own) { own } else { general };
        Self {
            endpoint: pick(self.endpoint, general.endpoint),
            protocol: pick(self.protocol, general.protocol),
            headers: pick(self.headers, general.headers),
            timeout: pick(self.timeout, general.timeout),
            compression: pick(self.compression, general.compression),
            certificate: pick(self.certificate, general.certificate),
            client_certificate: pick(self.client_certificate, general.client_certificate),
            client_key: pick(self.client_key, general.client_key),
            insecure: pick(self.insecure, general.insecure),
        }
    }
}

/// For every signal.
pub static GENERAL: Exporter = Exporter {
    endpoint: &OTEL_EXPORTER_OTLP_ENDPOINT,
    protocol: &OTEL_EXPORTER_OTLP_PROTOCOL,
    headers: &OTEL_EXPORTER_OTLP_HEADERS,
    timeout: &OTEL_EXPORTER_OTLP_TIMEOUT,
    compression: &OTEL_EXPORTER_OTLP_COMPRESSION,
    certificate: &OTEL_EXPORTER_OTLP_CERTIFICATE,
    client_certificate: &OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE,
    client_key: &OTEL_EXPORTER_OTLP_CLIENT_KEY,
    insecure: &OTEL_EXPORTER_OTLP_INSECURE,
};

/// For traces alone.
pub static TRACES: Exporter = Exporter {
    endpoint: &OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    protocol: &OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    headers: &OTEL_EXPORTER_OTLP_TRACES_HEADERS,
    timeout: &OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
    compression: &OTEL_EXPORTER_OTLP_TRACES_COMPRESSION,
    certificate: &OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE,
    client_certificate: &OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE,
    client_key: &OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY,
    insecure: &OTEL_EXPORTER_OTLP_TRACES_INSECURE,
};

/// For metrics alone.
pub static METRICS: Exporter = Exporter {
    endpoint: &OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    protocol: &OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    headers: &OTEL_EXPORTER_OTLP_METRICS_HEADERS,
    timeout: &OTEL_EXPORTER_OTLP_METRICS_TIMEOUT,
    compression: &OTEL_EXPORTER_OTLP_METRICS_COMPRESSION,
    certificate: &OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE,
    client_certificate: &OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE,
    client_key: &OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY,
    insecure: &OTEL_EXPORTER_OTLP_METRICS_INSECURE,
};

/// For log records alone.
pub static LOGS: Exporter = Exporter {
    endpoint: &OTEL_EXPORTER_OTLP_LOGS_ENDPOINT,
    protocol: &OTEL_EXPORTER_OTLP_LOGS_PROTOCOL,
    headers: &OTEL_EXPORTER_OTLP_LOGS_HEADERS,
    timeout: &OTEL_EXPORTER_OTLP_LOGS_TIMEOUT,
    compression: &OTEL_EXPORTER_OTLP_LOGS_COMPRESSION,
    certificate: &OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE,
    client_certificate: &OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE,
    client_key: &OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY,
    insecure: &OTEL_EXPORTER_OTLP_LOGS_INSECURE,
};
