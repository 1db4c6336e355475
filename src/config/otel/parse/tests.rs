use super::*;

/// Of `Ok`, `None`; of `Err`, the reason.
fn why<T>(result: Result<T, Why>) -> Option<String> {
    result.err()
}

#[test]
fn an_exporter_is_otlp_or_none_alone() {
    for text in ["otlp", " OTLP ", "otlp,", "otlp,otlp"] {
        assert_eq!(exporter(text), Ok(true), "{text}");
    }
    for text in ["none", "None", "none,"] {
        assert_eq!(exporter(text), Ok(false), "{text}");
    }
    for known in ["console", "prometheus", "zipkin", "jaeger", "logging", "otlp/stdout", "oltp"] {
        let expected = format!("{known:?} is not supported; otlp and none are");
        assert_eq!(exporter(known), Err(expected.clone()), "{known}");
        assert_eq!(exporter(&format!("otlp,{known}")), Err(expected), "{known}");
    }
    for text in ["otlp,none", "none,none", ",", " "] {
        assert_eq!(exporter(text), Err("it is neither otlp, nor none alone".into()), "{text}");
    }
}

#[test]
fn words() {
    assert_eq!(protocol("GRPC"), Ok(Protocol::Grpc));
    assert_eq!(protocol(" http/protobuf"), Ok(Protocol::HttpProtobuf));
    for text in ["http/json", "http", ""] {
        assert_eq!(why(protocol(text)).as_deref(), Some("it is neither http/protobuf nor grpc"), "{text}");
    }
    assert_eq!(compression("none"), Ok(Compression::None));
    assert_eq!(compression("Gzip "), Ok(Compression::Gzip));
    for text in ["zstd", "snappy", "true"] {
        assert_eq!(why(compression(text)).as_deref(), Some("it is neither none nor gzip"), "{text}");
    }
    assert_eq!(exemplars("Trace_Based"), Ok(true));
    assert_eq!(exemplars("always_off"), Ok(false));
    assert_eq!(exemplars("always_on"), Err("it is neither trace_based nor always_off".into()));
    assert_eq!(only("cumulative", " Cumulative"), Ok(()));
    for text in ["delta", "lowmemory"] {
        assert_eq!(only("cumulative", text), Err("it is not supported: only cumulative is".into()));
    }
}

#[test]
fn samplers() {
    for (text, root, parent_based) in [
        ("always_on", Root::AlwaysOn, false),
        ("always_off", Root::AlwaysOff, false),
        ("traceidratio", Root::Ratio(1.0), false),
        ("parentbased_always_on", Root::AlwaysOn, true),
        ("ParentBased_Always_Off", Root::AlwaysOff, true),
        ("parentbased_traceidratio", Root::Ratio(1.0), true),
    ] {
        assert_eq!(sampler(text), Ok(Sampler { root, parent_based }), "{text}");
    }
    for text in ["parentbased", "parentbased_", "parentbased_parentbased_always_on", "jaeger_remote", "xray"]
    {
        let expected = "it is none of always_on, always_off, traceidratio, bare or after parentbased_";
        assert_eq!(why(sampler(text)).as_deref(), Some(expected), "{text}");
    }
    for (text, value) in [("0", 0.0), ("1", 1.0), (" 0.25 ", 0.25), ("1e-3", 0.001)] {
        assert_eq!(share(text), Ok(value), "{text}");
    }
    for text in ["-0.1", "1.01", "nan", "inf", "", "half", "50%"] {
        assert_eq!(share(text), Err("it is not a number from 0 to 1".into()), "{text}");
    }
}

#[test]
fn propagators_have_the_one_that_counts_among_them() {
    let none: [&str; 0] = [];
    for text in ["tracecontext", "tracecontext,baggage", "baggage, TraceContext"] {
        assert_eq!(propagators(text).unwrap(), none, "{text}");
    }
    assert_eq!(propagators("b3,tracecontext,xray").unwrap(), ["b3", "xray"]);
    assert_eq!(propagators("none").unwrap(), ["none"]);
    for text in ["baggage", "b3", "none,baggage", ","] {
        let expected = "tracecontext is not among them, and nothing else is supported";
        assert_eq!(why(propagators(text)).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn resource_attributes() {
    let found = resource(" service.name = a%2Cb%3D , team=%C3%B8st ,,empty=,url=a=b,k%20=+").unwrap();
    let expected = [("service.name", "a,b="), ("team", "øst"), ("empty", ""), ("url", "a=b"), ("k ", "+")];
    assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert_eq!(resource(",").unwrap(), []);
    for (text, expected) in [
        ("a=b,c", "\"c\" is not of the form key=value"),
        ("=b", "\"=b\" is not of the form key=value"),
        ("a=%", "\"a=%\" is not percent-encoded UTF-8"),
        ("a=100%", "\"a=100%\" is not percent-encoded UTF-8"),
        ("a=%4", "\"a=%4\" is not percent-encoded UTF-8"),
        ("a=%4g", "\"a=%4g\" is not percent-encoded UTF-8"),
        ("a=%øx", "\"a=%øx\" is not percent-encoded UTF-8"),
        ("a=%ff", "\"a=%ff\" is not percent-encoded UTF-8"),
        ("%ff=a", "\"%ff=a\" is not percent-encoded UTF-8"),
        ("a=1,%61=2", "\"a\" is given twice"),
    ] {
        assert_eq!(why(resource(text)).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn headers_are_named_and_decoded() {
    let exposed = |text| -> Vec<(String, String)> {
        let found = headers(text).unwrap();
        found.into_iter().map(|(name, value)| (name, value.expose().to_owned())).collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        exposed("Authorization=Basic%20dTpw%3D%3D, x-key = a=b;c ,,empty="),
        [pair("authorization", "Basic dTpw=="), pair("x-key", "a=b;c"), pair("empty", "")]
    );
    assert_eq!(exposed("a=Basic x"), [pair("a", "Basic x")]);
    assert_eq!(exposed(" , "), []);
}

#[test]
fn faults_of_headers_are_told_without_them() {
    let value = |entry| {
        format!("the value of entry {entry} is not percent-encoded, or not of printable ASCII characters")
    };
    for (text, expected) in [
        ("a=b,canary", "entry 2 is not of the form name=value".to_owned()),
        ("a=b,,c/anary==,c=d", "entry 2 does not begin with a header's name".to_owned()),
        ("can ary=b", "entry 1 does not begin with a header's name".to_owned()),
        ("=canary", "entry 1 does not begin with a header's name".to_owned()),
        ("cänary=b", "entry 1 does not begin with a header's name".to_owned()),
        ("a=canary%", value(1)),
        ("a=b,c=canary%zz", value(2)),
        ("a=canary%0a", value(1)),
        ("a=canary%7F", value(1)),
        ("a=canary%C3%B8", value(1)),
        ("a=canaryø", value(1)),
        ("a=canary\tx", value(1)),
        ("a=b,Content-Type=canary", "entry 2 names content-type, which this program sets itself".to_owned()),
        ("grpc-timeout=canary", "entry 1 names grpc-timeout, which this program sets itself".to_owned()),
        ("key-bin=canary", "entry 1 names key-bin, which this program sets itself".to_owned()),
        ("canary=1,b=2,CANARY=3", "entry 3 names a header that an entry before it names".to_owned()),
    ] {
        assert_eq!(why(headers(text)), Some(expected), "{text}");
    }
}

#[track_caller]
fn http_uri(text: &str, added: Option<&str>) -> String {
    let address = http_endpoint(text, added).unwrap();
    assert!(address.has_scheme && !address.path_ignored);
    address.uri.to_string()
}

#[test]
fn http_endpoints_for_all_signals_get_a_path() {
    for (text, expected) in [
        ("http://c", "http://c/v1/logs"),
        ("http://c:4318", "http://c:4318/v1/logs"),
        ("https://c:4318/", "https://c:4318/v1/logs"),
        (" HTTPS://c/base ", "https://c/base/v1/logs"),
        ("http://c/base//", "http://c/base/v1/logs"),
        ("http://c/a/b/?tenant=x", "http://c/a/b/v1/logs?tenant=x"),
        ("http://c?tenant=x/y", "http://c/v1/logs?tenant=x/y"),
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/logs"),
        ("http://[::1]:4318/x", "http://[::1]:4318/x/v1/logs"),
        ("http://[2001:db8::7]", "http://[2001:db8::7]/v1/logs"),
    ] {
        assert_eq!(http_uri(text, Some("/v1/logs")), expected, "{text}");
    }
}

#[test]
fn http_endpoints_of_one_signal_are_taken_as_they_are() {
    for (text, expected) in [
        ("http://c:4318", "http://c:4318/"),
        ("http://c/", "http://c/"),
        ("http://c/v1/traces/", "http://c/v1/traces/"),
        ("http://c/otlp//x?y=z", "http://c/otlp//x?y=z"),
        ("http://c?y=z", "http://c/?y=z"),
        ("https://[::1]", "https://[::1]/"),
    ] {
        assert_eq!(http_uri(text, None), expected, "{text}");
    }
}

#[test]
fn grpc_endpoints_are_scheme_host_and_port() {
    for (text, insecure, uri, has_scheme, path_ignored) in [
        ("http://c:4317", false, "http://c:4317/", true, false),
        ("https://c", true, "https://c/", true, false),
        ("c:4317", false, "https://c:4317/", false, false),
        ("c:4317", true, "http://c:4317/", false, false),
        ("c", true, "http://c/", false, false),
        ("[::1]:4317", true, "http://[::1]:4317/", false, false),
        ("http://c:4317/", false, "http://c:4317/", true, false),
        ("http://c:4317/v1/traces", false, "http://c:4317/", true, true),
        ("c:4317?x", false, "https://c:4317/", false, true),
    ] {
        let expected = Address { uri: uri.parse().unwrap(), has_scheme, path_ignored };
        assert_eq!(grpc_endpoint(text, insecure), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_endpoint_is_told_why() {
    for (text, expected) in [
        ("c:4318", "it has no scheme: http:// or https:// goes before the host"),
        ("unix:///run/otlp.sock", "its scheme is neither http nor https"),
        ("unix:/run/otlp.sock", "its scheme is neither http nor https"),
        ("grpc://c:4317", "its scheme is neither http nor https"),
        ("://c", "its scheme is neither http nor https"),
        ("http://", "it names no host"),
        ("http://:4318", "it names no host"),
        ("http:///v1/traces", "it names no host"),
        ("http://c:", "its port is not from 1 to 65535"),
        ("http://c:0", "its port is not from 1 to 65535"),
        ("http://c:65536", "its port is not from 1 to 65535"),
        ("http://c:+80", "its port is not from 1 to 65535"),
        ("http://c:x", "its port is not from 1 to 65535"),
        ("http://::1:4318", "its host holds a colon; an IPv6 address is written as [::1]"),
        ("http://::1", "its host holds a colon; an IPv6 address is written as [::1]"),
        ("http://[c]:4318", "its host is not an IPv6 address, and stands in brackets"),
        ("http://[::1", "its host holds a colon; an IPv6 address is written as [::1]"),
        ("http://a,b", "its host is not a name or an address"),
        ("http://a b", "it is not a URL"),
        ("http://ø", "it is not a URL"),
        ("http://c/#x", "it is not a URL"),
        ("http://c/<x>", "it is not a URL"),
        (
            "http://me:canary@c:4318",
            "it holds a user; what the receiver asks for belongs in OTEL_EXPORTER_OTLP_HEADERS",
        ),
    ] {
        assert_eq!(why(http_endpoint(text, None)).as_deref(), Some(expected), "{text}");
        // gRPC reads no path, and needs no scheme; all else is the same to it.
        if !text.ends_with("<x>") && text != "c:4318" {
            assert_eq!(why(grpc_endpoint(text, false)).as_deref(), Some(expected), "{text}");
        }
    }
    let canary = "me:canary@c:4317";
    assert!(why(grpc_endpoint(canary, true)).is_some_and(|why| why.starts_with("it holds a user")));
}
