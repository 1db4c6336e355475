use std::time::Duration;

use ::http::{Method, StatusCode};
use hickory_proto::op::ResponseCode;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::check::dns::Transport;
use crate::check::http::{BodyRules, SecretForm};
use crate::config::targets::{Form, Problem, Targets, Warning, parse};

fn load(list: &str, entries: &Value) -> Result<(Targets, Vec<Warning>), Vec<Problem>> {
    parse(&json!({"heartbeat": {list: entries}}).to_string(), Form::JsonFirst)
}

/// The only entry of a list, which has nothing wrong about it.
fn read(list: &str, entry: Value) -> ProbeTarget {
    let (mut targets, warnings) = load(list, &json!([entry])).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(targets.probes.len(), 1);
    let target = targets.probes.remove(0);
    assert_eq!(target.spec.kind(), list);
    target
}

fn said(list: &str, entries: Value) -> Vec<String> {
    load(list, &entries).unwrap_err().iter().map(Problem::to_string).collect()
}

fn http_spec(entry: Value) -> crate::check::http::HttpSpec {
    match read("http", entry).spec {
        ProbeSpec::Http(spec) => *spec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_examples_of_the_messages_are_right() {
    for list in LISTS {
        read(list.kind, serde_json::from_str(list.example).unwrap());
    }
}

#[test]
fn http_has_the_defaults_of_a_plain_question() {
    let target = read("http", json!({"url": "https://api.example.org/health?deep=1"}));
    assert_eq!(&*target.name, "https://api.example.org/health");
    assert_eq!((target.timeout, target.failure_threshold, target.success_threshold), (None, 1, 1));
    let spec = http_spec(json!({"url": "https://api.example.org/health?deep=1"}));
    assert_eq!(spec.url.query(), Some("deep=1"));
    assert_eq!((spec.method, spec.follow_redirects, spec.duration_max), (Method::GET, false, None));
    assert_eq!(spec.body, BodyRules::default());
    assert!(spec.status.contains(StatusCode::OK) && !spec.status.contains(StatusCode::FOUND));
}

#[test]
fn http_is_read_with_all_its_keys() {
    let entry = json!({
        "url": "https://10.0.0.9/", "name": "api", "method": "GET", "timeout": 2, "failure_threshold": 3,
        "headers": {"Host": "api.example.org"}, "header_files": {"X-Api-Key": "/s/key"},
        "basic_auth": {"username": "monitor", "password_file": "/s/password"},
        "valid_status_codes": [204, "401", "3xx"], "fail_if_body_matches_regexp": "error",
        "fail_if_body_not_matches_regexp": ["ready", "ok"], "body_size_limit": 4096, "follow_redirects": true,
        "max_duration": "300ms", "server_name": "api.example.org", "ca_file": "/t/ca.pem",
        "cert_file": "/t/c.pem", "key_file": "/t/k.pem", "min_certificate_days": 14,
    });
    let target = read("http", entry.clone());
    assert_eq!((&*target.name, target.timeout), ("api", Some(Duration::from_secs(2))));
    assert_eq!(target.failure_threshold, 3);
    let spec = http_spec(entry);
    assert_eq!(spec.headers.len(), 1);
    let forms: Vec<_> = spec.secrets.iter().map(|secret| (secret.name.as_str(), &secret.form)).collect();
    let basic = SecretForm::Basic { user: "monitor".into() };
    assert_eq!(forms, [("x-api-key", &SecretForm::Plain), ("authorization", &basic)]);
    for (status, right) in [(200, false), (204, true), (401, true), (302, true), (404, false)] {
        assert_eq!(spec.status.contains(StatusCode::from_u16(status).unwrap()), right, "{status}");
    }
    assert_eq!((spec.body.fail_if_matches.len(), spec.body.fail_if_not_matches.len()), (1, 2));
    assert_eq!((spec.body.bytes_max, spec.duration_max), (4096, Some(Duration::from_millis(300))));
    assert!(spec.follow_redirects);
    assert_eq!(spec.secure.certificate_days_min, Some(14));
    assert!(spec.secure.files.ca.is_some() && spec.secure.files.client.is_some());
    assert_eq!(spec.secure.server_name.unwrap().to_str(), "api.example.org");
}

#[test]
fn tls_dns_and_grpc_are_read() {
    let target = read("tls", json!({"host": "db", "port": "636", "min_certificate_days": 30}));
    assert_eq!((&*target.name, target.spec.target().as_str()), ("db", "db:636"));
    let target = read(
        "dns",
        json!({"server": "::1", "port": 5353, "query_name": "db.example.org", "query_type": "AAAA",
               "transport_protocol": "tcp", "recursion_desired": false, "valid_rcodes": ["NOERROR", "NXDOMAIN"],
               "expected_answers": ["2001:db8::1"]}),
    );
    assert_eq!(&*target.name, "db.example.org");
    assert_eq!(target.spec.target(), "db.example.org. AAAA @[::1]:5353");
    let ProbeSpec::Dns(spec) = target.spec else { panic!() };
    assert_eq!((spec.transport, spec.recursion_desired), (Transport::Tcp, false));
    assert_eq!(spec.rcodes, [ResponseCode::NoError, ResponseCode::NXDomain]);
    let ProbeSpec::Dns(plain) = read("dns", json!({"server": "a", "query_name": "b"})).spec else { panic!() };
    assert_eq!((plain.port, plain.transport, plain.recursion_desired), (53, Transport::Udp, true));
    assert_eq!((plain.rcodes, plain.answers.len()), (vec![ResponseCode::NoError], 0));
    let target = read("grpc", json!({"host": "api", "port": 50051, "service": "a.B", "tls": true}));
    assert_eq!((&*target.name, target.spec.target().as_str()), ("api", "api:50051/a.B"));
    assert!(target.spec.secure().is_some());
    assert!(read("grpc", json!({"host": "api", "port": 50051})).spec.secure().is_none());
}

#[test]
fn one_stands_for_a_list_of_itself() {
    for (one, list) in [(json!(404), json!([404])), (json!("3xx"), json!(["3xx"]))] {
        let spec = |codes| read("http", json!({"url": "http://a/", "valid_status_codes": codes})).spec;
        assert_eq!(spec(one), spec(list));
    }
    let spec = |key: &str, value| {
        let mut entry = json!({"server": "a", "query_name": "b"});
        entry[key] = value;
        read("dns", entry).spec
    };
    assert_eq!(spec("valid_rcodes", json!("REFUSED")), spec("valid_rcodes", json!(["REFUSED"])));
    assert_eq!(spec("expected_answers", json!("10.0.0.5")), spec("expected_answers", json!(["10.0.0.5"])));
}

/// Each entry, and what is said of it.
#[test]
fn each_problem_is_named_with_its_place_and_an_example() {
    const URL: &str = r#"; example: "https://api.example.org/health""#;
    let keys = |list: &str| {
        let (_, keys) = crate::config::targets::probe_keys().find(|(kind, _)| *kind == list).unwrap();
        keys.join(", ")
    };
    let example = |list: &str| LISTS.iter().find(|known| known.kind == list).unwrap().example;
    for (list, entry, expected) in [
        ("http", json!({}), format!(".url is missing{URL}")),
        ("http", json!({"url": "api"}), format!(r#".url is no URL: relative URL without a base{URL}"#)),
        ("http", json!({"url": "ftp://a/"}), format!(r#".url is no URL of http or https with a host{URL}"#)),
        (
            "http",
            json!({"url": "http://a/", "folow_redirects": true}),
            format!(".folow_redirects is not known; is `follow_redirects` meant? There are {}", keys("http")),
        ),
        (
            "http",
            json!({"url": "http://a/", "method": "POST"}),
            r#".method is "POST", which is none of GET, HEAD and OPTIONS; example: "HEAD""#.into(),
        ),
        (
            "http",
            json!({"url": "http://a/", "valid_status_codes": [99]}),
            r#".valid_status_codes is [99], which is neither a status from 100 to 599, nor a hundred such as "2xx", nor a list of them; example: [200, "3xx"]"#.into(),
        ),
        (
            "http",
            json!({"url": "http://a/", "ca_file": "x"}),
            r#".ca_file is "x", which has no effect: the URL is one of http"#.into(),
        ),
        (
            "http",
            json!({"url": "https://a/", "cert_file": "x"}),
            r#".key_file is missing: certificate and key are a pair; example: "/etc/heartbeat/client.pem""#.into(),
        ),
        (
            "http",
            json!({"url": "http://a/", "fail_if_body_matches_regexp": "("}),
            r#".fail_if_body_matches_regexp is "(", which cannot be searched for: the pattern does not compile: Parsing error at position 1: Opening parenthesis without closing parenthesis; example: "status.{0,5}ok""#.into(),
        ),
        (
            "http",
            json!({"url": "http://a/", "method": "HEAD", "fail_if_body_matches_regexp": "x"}),
            r#".method is "HEAD", which brings no body that could be judged; example: "GET""#.into(),
        ),
        (
            "tls",
            json!({"host": "db:636", "port": 1, "server_name": "db"}),
            r#".host is "db:636", which is no host name or address; the port has a key of its own; example: "db.example.org""#.into(),
        ),
        (
            "tls",
            json!({"host": "a_b!", "port": 1}),
            format!(r#".host is "a_b!", which is no name for a certificate; a `server_name` beside it would do; example: {}"#, example("tls")),
        ),
        (
            "tls",
            json!({"host": "db", "port": 1, "min_certificate_days": 0}),
            ".min_certificate_days is 0, which is no whole number from 1 to 36500; example: 14".into(),
        ),
        (
            "dns",
            json!({"server": "a", "query_name": "b", "query_type": "AXFR"}),
            r#".query_type is "AXFR", which is none of A, AAAA, CAA, CNAME, DNSKEY, DS, HTTPS, MX, NAPTR, NS, PTR, SOA, SRV, SSHFP, SVCB, TLSA, TXT; example: "AAAA""#.into(),
        ),
        (
            "dns",
            json!({"server": "a", "query_name": "b", "expected_answers": ["b"]}),
            r#".expected_answers is ["b"], which holds what is no record of type A; example: ["192.0.2.1"]"#.into(),
        ),
        (
            "dns",
            json!({"server": "a", "query_name": "b", "valid_rcodes": ["OK"]}),
            r#".valid_rcodes is ["OK"], which holds another than NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED; example: ["NXDOMAIN"]"#.into(),
        ),
        (
            "dns",
            json!({"server": "a", "query_name": "a..b"}),
            r#".query_name is "a..b", which is no name of DNS; example: "db.example.org""#.into(),
        ),
        (
            "grpc",
            json!({"host": "a", "port": 1, "ca_file": "x"}),
            r#".ca_file is "x", which has no effect without `tls`; example: "tls": true"#.into(),
        ),
        ("grpc", json!(7), format!(" is 7, which is no object; example: {}", example("grpc"))),
        (
            "grpc",
            json!({"host": "a", "port": 1, "tls": "yes"}),
            r#".tls is "yes", which is neither true nor false; example: true"#.into(),
        ),
    ] {
        assert_eq!(said(list, json!([entry.clone()])), [format!("heartbeat.{list}[0]{expected}")], "{entry}");
    }
}

#[test]
fn a_name_belongs_to_one_entry_of_a_kind() {
    let entry = json!({"host": "db", "port": 636});
    assert_eq!(
        said("tls", json!([entry, entry])),
        [
            r#"heartbeat.tls[1].name is "db", which another entry of `tls` has; give each a `name` of its own; example: "database""#
        ]
    );
    let both = json!({"heartbeat": {"tls": [entry], "grpc": [entry], "hosts": [entry]}}).to_string();
    assert_eq!(parse(&both, Form::JsonFirst).unwrap().0.probes.len(), 2);
}

/// Wherever somebody put one.
#[test]
fn no_message_repeats_a_secret() {
    for entry in [
        json!({"url": "https://user:canary@a/"}),
        json!({"url": "https://a/", "headers": {"Authorization": "Bearer canary"}}),
        json!({"url": "https://a/", "headers": {"Cookie": "canary"}}),
        json!({"url": "https://a/", "headers": {"X-Token": "canary\n"}}),
        json!({"url": "https://a/", "header_files": {"X-Token": ["canary"]}}),
        json!({"url": "https://a/", "basic_auth": "monitor:canary"}),
        json!({"url": "https://a/", "basic_auth": {"username": "monitor", "password": "canary"}}),
    ] {
        let said = said("http", json!([entry]));
        assert!(!said.is_empty() && !said.join("").contains("canary"), "{said:?}");
    }
}

#[test]
fn one_authorization_is_enough() {
    let entry = json!({"url": "https://a/", "bearer_token_file": "/a",
                       "basic_auth": {"username": "b", "password_file": "/c"}});
    let said = said("http", json!([entry]));
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("there is another `Authorization`"), "{said:?}");
}

/// Entries that look much like the ones of a list.
fn entries() -> impl Strategy<Value = (&'static str, Value)> {
    let list = prop::sample::select(vec!["http", "tls", "dns", "grpc"]);
    list.prop_flat_map(|list| {
        let known = LISTS.iter().find(|known| known.kind == list).unwrap();
        let keys = [&[COMMON_KEYS], known.keys].concat().concat();
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "https?://[a-z:@\\[\\]/?#]{0,12}".prop_map(Value::from),
            prop::collection::vec(".{0,6}", 0..3).prop_map(Value::from),
            prop::collection::hash_map(".{0,12}", ".{0,12}", 0..3).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(key, value)| (key, value.into())).collect()
            )),
        ];
        let entry = prop::collection::vec((prop::sample::select(keys), leaf), 0..8);
        entry.prop_map(move |pairs| {
            let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
            (list, Value::Object(pairs.collect()))
        })
    })
}

proptest! {
    #[test]
    fn no_entry_panics_and_every_message_is_one_line((list, entry) in entries()) {
        match load(list, &json!([entry])) {
            Ok((targets, _)) => {
                prop_assert_eq!(targets.probes.len(), 1);
                prop_assert!(!targets.probes[0].spec.target().is_empty());
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for line in problems.iter().map(Problem::to_string) {
                    prop_assert!(!line.chars().any(char::is_control), "{line:?}");
                }
            }
        }
    }
}
