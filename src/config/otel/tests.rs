use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::config::tests::pem_files;
use crate::config::{Flags, MapSource, Problem, load, settings};
use crate::secret::Secret;
use crate::tls::ClientFiles;

mod problems;

type Variables<'a> = &'a [(&'a str, &'a str)];

/// Turns everything on.
const ON: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");

/// What a role makes of the variables, and its warnings about them.
#[track_caller]
fn of_role(role: Role, variables: Variables<'_>) -> (Config, Vec<String>) {
    let (config, warnings) = load(role, &Flags::new(), &MapSource::new(variables)).unwrap();
    let ours = warnings.iter().filter(|warning| !warning.name.starts_with("PUBLISHER_CONFIG_PATH"));
    (config.process.otlp, ours.map(ToString::to_string).collect())
}

#[track_caller]
fn standalone(variables: Variables<'_>) -> (Config, Vec<String>) {
    of_role(Role::Standalone, variables)
}

/// The configuration of variables that nothing is to be warned of.
#[track_caller]
fn fine(variables: Variables<'_>) -> Config {
    let (config, warnings) = standalone(variables);
    assert_eq!(warnings, [""; 0]);
    config
}

/// The warnings about variables that turn something on.
#[track_caller]
fn warnings(variables: Variables<'_>) -> Vec<String> {
    standalone(&[&[ON], variables].concat()).1
}

fn problems(variables: Variables<'_>) -> Vec<Problem> {
    let result = load(Role::Standalone, &Flags::new(), &MapSource::new(variables));
    result.map(drop).unwrap_err().iter().cloned().collect()
}

fn uris(config: &Config) -> [Option<String>; 3] {
    [&config.traces, &config.metrics, &config.logs]
        .map(|endpoint| endpoint.as_ref().map(|endpoint| endpoint.uri.to_string()))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn it_is_off_unless_an_endpoint_is_set() {
    for variables in [&[][..], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], &[("OTEL_TRACES_EXPORTER", "otlp")]] {
        for role in [Role::Subscriber, Role::Standalone] {
            assert_eq!(of_role(role, variables), (Config::default(), vec![]), "{variables:?}");
        }
    }
    let (temporality, aggregation) = (
        s::OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE.default,
        s::OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION.default,
    );
    assert_eq!(parse::only("cumulative", temporality), Ok(()));
    assert_eq!(parse::only("explicit_bucket_histogram", aggregation), Ok(()));
    assert_eq!(parse::propagators(s::OTEL_PROPAGATORS.default), Ok(vec![]));
}

fn headers(text: &str) -> Headers {
    Headers::given(parse::headers(text).unwrap())
}

#[test]
fn an_endpoint_turns_every_signal_on() {
    let config = fine(&[ON]);
    let expected = ["traces", "metrics", "logs"].map(|path| Some(format!("http://c:4318/v1/{path}")));
    assert_eq!(uris(&config), expected);
    let endpoint = Endpoint {
        uri: "http://c:4318/v1/logs".parse().unwrap(),
        protocol: Protocol::HttpProtobuf,
        headers: headers(""),
        timeout: Duration::from_secs(10),
        compression: Compression::None,
        tls: TlsFiles::default(),
    };
    assert_eq!(config.logs, Some(endpoint));
    assert_eq!(Config { traces: None, metrics: None, logs: None, ..config }, Config::default());
}

#[test]
fn a_flag_goes_before_its_variable() {
    let flags = Flags::from([("otel.exporter-otlp-endpoint", "http://flag/".to_owned())]);
    let (config, _) = load(Role::Subscriber, &flags, &MapSource::new(&[ON])).unwrap();
    assert_eq!(uris(&config.process.otlp)[0], some("http://flag/v1/traces"));
}

#[test]
fn a_signal_is_on_alone_and_off_alone() {
    let config = fine(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m")]);
    assert_eq!(uris(&config), [None, some("http://m/"), None]);
    assert!(config.carry_spans);
    let none = fine(&[ON, ("OTEL_METRICS_EXPORTER", "none")]);
    assert_eq!(uris(&none), [some("http://c:4318/v1/traces"), None, some("http://c:4318/v1/logs")]);
    assert!(none.carry_spans);
    let none = fine(&[ON, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "None")]);
    assert_eq!(uris(&none), [None, some("http://c:4318/v1/metrics"), None]);
    assert!(!none.carry_spans);
    // Nobody wants traces, endpoint or not.
    assert!(!fine(&[("OTEL_TRACES_EXPORTER", "none")]).carry_spans);
    assert!(!fine(&[ON, ("TRACE_CARRY", "false")]).carry_spans);
    assert!(fine(&[ON, ("OTEL_TRACES_SAMPLER", "always_off")]).carry_spans);
    // A subscriber has no heartbeats of its own.
    assert_eq!(of_role(Role::Subscriber, &[("TRACE_CARRY", "x")]), (Config::default(), vec![]));
}

#[test]
fn what_is_set_for_a_signal_goes_before_what_is_set_for_all() {
    let (config, found) = standalone(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all/base/"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://one/base/"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "c=3"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
    ]);
    // gRPC, for metrics, has no use for the path.
    assert_eq!(found.len(), 1, "{found:?}");
    let traces = Endpoint {
        uri: "http://one/base/".parse().unwrap(),
        protocol: Protocol::HttpProtobuf,
        headers: headers("c=3"),
        timeout: Duration::from_secs(2),
        compression: Compression::None,
        tls: TlsFiles::default(),
    };
    assert_eq!(config.traces, Some(traces));
    let logs = Endpoint {
        uri: "http://all/base/v1/logs".parse().unwrap(),
        protocol: Protocol::HttpProtobuf,
        headers: headers("a=1,b=2"),
        timeout: Duration::from_secs(1),
        compression: Compression::Gzip,
        tls: TlsFiles::default(),
    };
    assert_eq!(config.logs, Some(logs.clone()));
    let metrics = Endpoint { uri: "http://all/".parse().unwrap(), protocol: Protocol::Grpc, ..logs };
    assert_eq!(config.metrics, Some(metrics));
}

#[test]
fn every_signal_has_its_own_settings() {
    for (own, name) in [(&s::TRACES, "TRACES"), (&s::METRICS, "METRICS"), (&s::LOGS, "LOGS")] {
        let pairs = |of: &Exporter| {
            let Exporter { endpoint, protocol, headers, timeout, compression, .. } = *of;
            let Exporter { certificate, client_certificate, client_key, insecure, .. } = *of;
            [
                endpoint,
                protocol,
                headers,
                timeout,
                compression,
                certificate,
                client_certificate,
                client_key,
                insecure,
            ]
        };
        for (own, general) in pairs(own).into_iter().zip(pairs(&s::GENERAL)) {
            let expected = general.variable.replace("_OTLP_", &format!("_OTLP_{name}_"));
            assert_eq!(own.variable, expected);
            assert_eq!(own.general.map(|general| general.variable), Some(general.variable));
        }
        let taken = own.or(&s::GENERAL, |_| true);
        assert_eq!(pairs(&taken).map(|s| s.variable), pairs(own).map(|s| s.variable));
        let left = own.or(&s::GENERAL, |_| false);
        assert_eq!(pairs(&left).map(|s| s.variable), pairs(&s::GENERAL).map(|s| s.variable));
    }
}

#[test]
fn files_of_tls_are_tried_where_the_endpoint_is_https() {
    let dir = TempDir::new().unwrap();
    let (ca, cert, key) = pem_files(&dir);
    let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c");
    let (with_ca, none) = (("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.as_str()), "/does/not/exist");
    let with_cert = ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", cert.as_str());
    let with_key = ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", key.as_str());

    let all_keys = ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key.as_str());
    let config = fine(&[https, with_ca, with_cert, all_keys]);
    let client = Some(ClientFiles { cert: PathBuf::from(&cert), key: PathBuf::from(&key) });
    let files = TlsFiles { ca: Some(PathBuf::from(&ca)), client };
    for endpoint in [&config.traces, &config.metrics, &config.logs] {
        assert_eq!(endpoint.as_ref().unwrap().tls, files);
    }
    // Without the scheme, gRPC is https.
    let grpc = [("OTEL_EXPORTER_OTLP_ENDPOINT", "c"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    assert_eq!(fine(&[&grpc[..], &[with_ca]].concat()).logs.unwrap().tls.ca, Some(PathBuf::from(&ca)));

    let wrong = |variables: Variables<'_>| {
        let found = problems(variables);
        found
            .iter()
            .map(|problem| format!("{}: {}", problem.name.split(' ').next().unwrap(), problem.why))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        wrong(&[https, ("OTEL_EXPORTER_OTLP_CERTIFICATE", none)]),
        ["OTEL_EXPORTER_OTLP_CERTIFICATE: there is no such file"]
    );
    assert_eq!(
        wrong(&[https, with_ca, ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", &key)]),
        ["OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE: the file holds no certificate in PEM form"]
    );
    assert_eq!(
        wrong(&[https, with_ca, with_cert, with_key]),
        ["OTEL_EXPORTER_OTLP_CLIENT_KEY: it is not set, and OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE is"]
    );
}

#[test]
fn headers_come_from_a_file_too() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("headers").display().to_string();
    fs::write(&path, "authorization=Bearer%20canary\n").unwrap();
    let config =
        fine(&[ON, ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"), ("OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE", &path)]);
    assert_eq!(
        config.traces.unwrap().headers.read(),
        [("authorization".to_owned(), Secret::new("Bearer canary"))]
    );
    assert_eq!(config.logs.unwrap().headers.read(), [("a".to_owned(), Secret::new("1"))]);
    let both =
        problems(&[ON, ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"), ("OTEL_EXPORTER_OTLP_HEADERS_FILE", &path)]);
    assert_eq!(both.len(), 1);
    assert_eq!(both[0].why, "it is set, and so is OTEL_EXPORTER_OTLP_HEADERS_FILE; keep one of them");
}

#[test]
fn the_service_is_named_by_its_own_setting_first() {
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=b");
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(fine(&[ON, attributes]).resource, pairs(&[("service.name", "a"), ("team", "b")]));
    let both = fine(&[ON, attributes, ("OTEL_SERVICE_NAME", "c%20")]);
    assert_eq!(both.resource, pairs(&[("team", "b"), ("service.name", "c%20")]));
    let empty = fine(&[ON, attributes, ("OTEL_SERVICE_NAME", "")]);
    assert_eq!(empty.resource, pairs(&[("service.name", "a"), ("team", "b")]));
}

#[test]
fn the_sampler_and_its_share() {
    let ratio = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
    let sampler = |share| Sampler { root: Root::Ratio(share), parent_based: true };
    assert_eq!(fine(&[ON, ratio]).sampler, sampler(1.0));
    assert_eq!(fine(&[ON, ratio, ("OTEL_TRACES_SAMPLER_ARG", "0.25")]).sampler, sampler(0.25));
    // Without an exporter the heartbeat carries what it chose.
    assert_eq!(fine(&[ratio, ("OTEL_TRACES_SAMPLER_ARG", "0.25")]).sampler, sampler(0.25));
    assert_eq!(
        warnings(&[("OTEL_TRACES_SAMPLER_ARG", "x")]),
        ["OTEL_TRACES_SAMPLER_ARG (--otel.traces-sampler-arg): \
          it is set and not used, since OTEL_TRACES_SAMPLER takes no share"]
    );
    let found = problems(&[ON, ratio, ("OTEL_TRACES_SAMPLER_ARG", "1.5")]);
    assert_eq!((found.len(), found[0].why.as_str()), (1, "it is not a number from 0 to 1"));
}

#[test]
fn times_and_batches() {
    let config = fine(&[
        ON,
        ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "1500"),
        ("OTEL_BSP_SCHEDULE_DELAY", "250"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "350"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "4096"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
    ]);
    let millis = Duration::from_millis;
    assert_eq!((config.metric_interval, config.metric_timeout), (millis(15_000), millis(1500)));
    // The size of a request was not set, and cannot be what was asked for.
    assert_eq!(config.span_batch, Batch { delay: millis(250), queue_max: 100, request_max: 100 });
    assert_eq!(config.log_batch, Batch { delay: millis(350), queue_max: 4096, request_max: 4096 });
    assert!(!config.exemplars);
    let (config, found) = standalone(&[ON, ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2049")]);
    assert_eq!(config.span_batch.request_max, 2048);
    assert_eq!(
        found,
        ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE (--otel.bsp-max-export-batch-size): \
          it is larger than OTEL_BSP_MAX_QUEUE_SIZE; 2048 is used"]
    );
}

#[test]
fn the_programs_log_leaves_where_logs_do() {
    let log = ("OTLP_PROGRAM_LOG", "true");
    assert!(fine(&[ON, log]).program_log);
    assert_eq!(
        standalone(&[log]).1,
        ["OTLP_PROGRAM_LOG (--otlp.program-log): it is set and not used, since no endpoint is set"]
    );
    // Ours are not set for everything, so a wrong one is a mistake wherever it stands.
    let found = problems(&[("OTLP_PROGRAM_LOG", "x"), ("TRACE_CARRY", "x")]);
    assert_eq!(found.len(), 2, "{found:?}");
}
