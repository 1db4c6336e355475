//! What is wrong, or has no effect, and is said.

use super::*;

/// A setting with a text that is wrong for it, and what is said of it.
const WRONG: &[(&str, &str, &str)] = &[
    ("OTEL_SDK_DISABLED", "ture", "it is neither true nor false (1, 0, yes, no, on, off)"),
    ("OTEL_RESOURCE_ATTRIBUTES", "a", "\"a\" is not of the form key=value"),
    ("OTEL_TRACES_EXPORTER", "jaeger", "\"jaeger\" is not supported; otlp and none are"),
    ("OTEL_METRICS_EXPORTER", "prometheus", "\"prometheus\" is not supported; otlp and none are"),
    ("OTEL_LOGS_EXPORTER", "console", "\"console\" is not supported; otlp and none are"),
    ("OTEL_PROPAGATORS", "b3", "tracecontext is not among them, and nothing else is supported"),
    ("OTEL_METRICS_EXEMPLAR_FILTER", "always_on", "it is neither trace_based nor always_off"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "it is neither http/protobuf nor grpc"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a", "entry 1 is not of the form name=value"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "it is not a whole number from 1 to 3600000"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "it is neither none nor gzip"),
    ("OTEL_EXPORTER_OTLP_INSECURE", "2", "it is neither true nor false (1, 0, yes, no, on, off)"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "unix:/x", "its scheme is neither http nor https"),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http", "it is neither http/protobuf nor grpc"),
    ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "0", "it is not from 1 to 3600000"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "99", "it is not from 100 to 86400000"),
    ("OTEL_METRIC_EXPORT_TIMEOUT", "x", "it is not a whole number from 1 to 3600000"),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", "it is not supported: only cumulative is"),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "base2_exponential_bucket_histogram",
        "it is not supported: only explicit_bucket_histogram is",
    ),
    ("OTEL_BSP_SCHEDULE_DELAY", "0", "it is not from 1 to 3600000"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "it is not from 1 to 100000000"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1", "it is not from 1 to 100000000"),
    ("OTEL_BLRP_SCHEDULE_DELAY", "1.5", "it is not a whole number from 1 to 3600000"),
    ("OTEL_BLRP_MAX_QUEUE_SIZE", "0", "it is not from 1 to 100000000"),
    ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "0", "it is not from 1 to 100000000"),
];

const WRONG_SAMPLER: (&str, &str, &str) = (
    "OTEL_TRACES_SAMPLER",
    "jaeger_remote",
    "it is none of always_on, always_off, traceidratio, bare or after parentbased_",
);

#[test]
fn every_wrong_setting_is_reported_at_once() {
    let mut wrong = WRONG.to_vec();
    wrong.push(WRONG_SAMPLER);
    let mut variables: Vec<(&str, &str)> = wrong.iter().map(|(name, value, _)| (*name, *value)).collect();
    variables.push(ON);
    let found = problems(&variables);
    for (name, value, why) in &wrong {
        let mine: Vec<_> =
            found.iter().filter(|problem| problem.name.split(' ').next() == Some(name)).collect();
        assert_eq!(mine.len(), 1, "{name}: {mine:?}");
        assert_eq!(mine[0].why, *why, "{name}");
        assert!(mine[0].example.starts_with(&format!("{name}=")), "{}", mine[0].example);
        let value = (!name.ends_with("HEADERS")).then_some(*value);
        assert_eq!(mine[0].value.as_deref(), value, "{name}");
    }
    assert_eq!(found.len(), wrong.len(), "{found:#?}");
}

#[test]
fn the_example_of_a_signal_is_that_of_all() {
    let found = problems(&[
        ON,
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "x"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "c"),
    ]);
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL (--otel.exporter-otlp-traces-protocol): \
             it is neither http/protobuf nor grpc\n    value:   \"x\"\n    \
             example: OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf",
            "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT (--otel.exporter-otlp-logs-endpoint): \
             it has no scheme: http:// or https:// goes before the host\n    value:   \"c\"\n    \
             example: OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://collector:4318/v1/logs",
        ]
    );
}

#[test]
fn wrong_settings_that_are_not_used_are_warned_of() {
    let wrong: Vec<(&str, &str)> = WRONG
        .iter()
        .filter(|(name, ..)| !name.ends_with("_ENDPOINT"))
        .map(|(name, value, _)| (*name, *value))
        .collect();
    let expected = |reason: &str| -> Vec<String> {
        let of = |(name, _, why): &(&str, &str, &str)| {
            let flag = settings::ALL.iter().find(|setting| setting.variable == *name).unwrap();
            format!("{}: {why}; it is not used, since {reason}", flag.title())
        };
        let mut all: Vec<_> =
            WRONG.iter().filter(|(name, ..)| wrong.iter().any(|w| w.0 == *name)).map(of).collect();
        all.sort();
        all
    };
    let (config, mut found) = standalone(&wrong);
    found.sort();
    assert_eq!(found, expected("no endpoint is set"));
    assert_eq!(config, Config::default());

    let disabled = ("OTEL_SDK_DISABLED", "TRUE");
    let wrong: Vec<_> = wrong.into_iter().filter(|(name, _)| *name != "OTEL_SDK_DISABLED").collect();
    let with = [&wrong[..], &[disabled, ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:/x")]].concat();
    let (config, found) = standalone(&with);
    assert_eq!(config, Config { carry_spans: false, ..Config::default() });
    assert_eq!(found.len(), wrong.len() + 1, "{found:#?}");
    assert!(
        found.iter().all(|text| text.ends_with("it is not used, since OTEL_SDK_DISABLED is true")),
        "{found:#?}"
    );
}

#[test]
fn settings_of_a_signal_that_is_off_are_not_used() {
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t");
    let (config, found) = standalone(&[
        traces,
        ("OTEL_METRIC_EXPORT_INTERVAL", "x"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "x"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "br"),
    ]);
    assert_eq!(uris(&config), [some("http://t/"), None, None]);
    let with = |reason: &str| found.iter().filter(|text| text.ends_with(reason)).count();
    let (metrics, logs) = ("no endpoint is set for metrics", "no endpoint is set for logs");
    assert_eq!((found.len(), with(metrics), with(logs)), (4, 2, 2), "{found:#?}");

    let logs = [("OTEL_LOGS_EXPORTER", "none"), ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://u@l")];
    let found = warnings(&logs);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].ends_with("OTEL_EXPORTER_OTLP_HEADERS; it is not used, since OTEL_LOGS_EXPORTER is none")
    );

    // All are off, so what is set for all is not used either.
    let none =
        ["OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"].map(|name| (name, "none"));
    let found = warnings(&[&none[..], &[("OTEL_EXPORTER_OTLP_TIMEOUT", "x")]].concat());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("; it is not used, since nothing is exported"), "{found:?}");
    // What is right and not used is nothing to tell: it is set for others.
    let right = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "1")];
    assert_eq!(standalone(&right).1, [""; 0]);
    // Whether gRPC's way to write it is right is for the protocol to say, which is right.
    let grpc = [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "c:4317"),
    ];
    assert_eq!(standalone(&grpc).1, [""; 0]);
}

#[test]
fn a_fault_that_all_signals_share_is_told_once() {
    let found = problems(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "0")]);
    let names: Vec<&str> = found.iter().map(|problem| problem.name.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
    // A protocol that is not known does not make the endpoint wrong too.
    assert_eq!(
        problems(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "gprc")]).len(),
        1
    );
    assert_eq!(
        problems(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "unix://c"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "gprc")])
            .len(),
        2
    );
}

#[test]
fn insecure_is_for_grpc_without_a_scheme() {
    const INSECURE: (&str, &str) = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
    const GRPC: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let config = fine(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "[::1]:4317"), GRPC, INSECURE]);
    assert_eq!(uris(&config), [(); 3].map(|()| some("http://[::1]:4317/")));
    // One signal has a use for it.
    fine(&[
        ON,
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "c"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
        INSECURE,
    ]);
    let unused = "OTEL_EXPORTER_OTLP_INSECURE (--otel.exporter-otlp-insecure): \
                  it is set and not used, since the endpoint names its scheme";
    assert_eq!(warnings(&[INSECURE]), [unused]);
    assert!(warnings(&[INSECURE, GRPC]).contains(&unused.to_owned()));
    assert_eq!(warnings(&[("OTEL_EXPORTER_OTLP_LOGS_INSECURE", "true")]).len(), 1);
}

#[test]
fn grpc_has_no_use_for_a_path() {
    let (config, found) = standalone(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317/base"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]);
    assert_eq!(uris(&config)[0], some("http://c:4317/"));
    assert_eq!(
        found,
        [
            "OTEL_EXPORTER_OTLP_ENDPOINT (--otel.exporter-otlp-endpoint): its path is not used: gRPC has paths of its own"
        ]
    );
}

#[test]
fn a_port_of_the_other_protocol_is_warned_of() {
    let warned = |endpoint: &str, protocol: &str| {
        let (_, found) = standalone(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        found
    };
    let text = |port: u16, other: &str| {
        format!(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (--otel.exporter-otlp-traces-endpoint): its port is {port}, where \
             receivers usually speak {other}, and OTEL_EXPORTER_OTLP_PROTOCOL is not that"
        )
    };
    assert_eq!(warned("http://c:4317/v1/traces", ""), [text(4317, "grpc")]);
    assert_eq!(warned("http://c:4318", "grpc"), [text(4318, "http/protobuf")]);
    assert!(warned("http://c:4317", "grpc").is_empty() && warned("http://c:4318/v1/traces", "").is_empty());
}

#[test]
fn files_of_tls_that_no_endpoint_uses_are_warned_of() {
    let dir = TempDir::new().unwrap();
    let (ca, ..) = pem_files(&dir);
    let unused = |variable: &str, flag: &str| {
        format!("{variable} (--{flag}): it is set and not used, since the endpoint is not https")
    };
    assert_eq!(
        warnings(&[
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/none"),
            ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "/none")
        ]),
        [
            unused("OTEL_EXPORTER_OTLP_CERTIFICATE", "otel.exporter-otlp-certificate"),
            unused("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "otel.exporter-otlp-logs-client-key"),
        ]
    );
    // One signal has a use for it.
    let https =
        [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca)];
    assert_eq!(warnings(&https), [""; 0]);
    // One that is another signal's is of no use to it.
    assert_eq!(
        warnings(&[&https[..], &[("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/none")]].concat()),
        [unused("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "otel.exporter-otlp-metrics-certificate")]
    );
    // Not even looked at where nothing is exported.
    assert_eq!(standalone(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/none")]).1, [""; 0]);
}

#[test]
fn a_secret_in_headers_is_never_shown() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("headers").display().to_string();
    for headers in ["k=canary", "canary", "k=canary%", "k=canary\u{fffd}", "k=a,canary", "k=canary,k=canary"]
    {
        fs::write(&path, headers).unwrap();
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_HEADERS", headers),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", headers),
            ("OTEL_EXPORTER_OTLP_HEADERS_FILE", &path),
        ] {
            for more in
                [&[ON][..], &[], &[ON, ("OTEL_SDK_DISABLED", "true")], &[ON, ("OTEL_LOGS_EXPORTER", "none")]]
            {
                let variables = [more, &[(name, value)]].concat();
                let text = match load(Role::Standalone, &Flags::new(), &MapSource::new(&variables)) {
                    Ok((config, warnings)) => format!("{config:?}{config:#?}{warnings:?}"),
                    Err(problems) => format!("{problems}{problems:?}"),
                };
                assert!(!text.contains("canary"), "{variables:?}: {text}");
            }
        }
    }
    let exposed = fine(&[ON, ("OTEL_EXPORTER_OTLP_HEADERS", "k=canary")]).logs.unwrap();
    assert_eq!(exposed.headers.read()[0].1.expose(), "canary");
}

#[test]
fn a_wrong_sampler_of_what_is_carried_is_told_with_what_counts() {
    let (name, value, why) = WRONG_SAMPLER;
    let (config, found) = standalone(&[(name, value)]);
    let title = "OTEL_TRACES_SAMPLER (--otel.traces-sampler)";
    assert_eq!(found, [format!("{title}: {why}; the default is used, since no endpoint is set")]);
    assert_eq!(config, Config::default());
    let unused = format!("{title}: {why}; it is not used, since no endpoint is set");
    assert_eq!(standalone(&[(name, value), ("TRACE_CARRY", "false")]).1, std::slice::from_ref(&unused));
    assert_eq!(of_role(Role::Subscriber, &[(name, value)]).1, [unused]);
}

#[test]
fn other_propagators_have_no_effect() {
    let title = "OTEL_PROPAGATORS (--otel.propagators)";
    let told = |name| format!("{title}: {name:?} is not supported and has no effect");
    assert_eq!(warnings(&[("OTEL_PROPAGATORS", "tracecontext,b3,baggage,xray")]), [told("b3"), told("xray")]);
    assert_eq!(warnings(&[("OTEL_PROPAGATORS", "none")]), [told("none")]);
}

#[test]
fn variables_that_are_no_settings_are_told_where_something_is_exported() {
    let strangers = [
        ("OTEL_LOG_LEVEL", "debug"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1"),
        ("OTEL_EXPORTER_ZIPKIN_ENDPOINT", ""),
        ("OTEL_TRACE_EXPORTER", "none"),
    ];
    let near = "OTEL_TRACE_EXPORTER: it is not supported and has no effect; is OTEL_TRACES_EXPORTER meant?";
    assert_eq!(
        warnings(&strangers),
        [
            "OTEL_BSP_EXPORT_TIMEOUT: it is not supported and has no effect; \
             OTEL_EXPORTER_OTLP_TIMEOUT bounds each request",
            "OTEL_LOG_LEVEL: it is not supported and has no effect",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: it is not supported and has no effect",
            near,
        ]
    );
    assert_eq!(standalone(&strangers).1, [near]);
    assert_eq!(standalone(&[&strangers[..], &[ON, ("OTEL_SDK_DISABLED", "true")]].concat()).1, [near]);
}
