use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;
const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn whole_numbers() {
    assert_eq!(whole_number(" 5672 ", 1, 65_535), Ok(5672));
    assert_eq!(whole_number("0", 0, 15), Ok(0));
    assert_eq!(whole_number("18446744073709551615", 0, u64::MAX), Ok(u64::MAX));
    for out in ["0", "65536", "-1", "99999999999999999999999"] {
        assert_eq!(whole_number(out, 1, 65_535), Err("it is not from 1 to 65535".into()), "{out}");
    }
    for none in ["", " ", "5 6", "1.0", "0x10", "1e3", "+5", "-", "٣"] {
        let why = whole_number(none, 1, 9).expect_err(none);
        assert_eq!(why, "it is not a whole number from 1 to 9", "{none}");
    }
}

#[test]
fn a_kubernetes_service_link_is_recognised() {
    let why = whole_number("tcp://10.0.0.7:6379", 1, 65_535).expect_err("not a port");
    assert!(why.contains("enableServiceLinks"), "{why}");
}

#[test]
fn bare_durations_are_seconds() {
    assert_eq!(duration("60", MS(1), S(600)), Ok(S(60)));
    assert_eq!(duration(" 0.5 ", MS(1), S(600)), Ok(MS(500)));
    assert_eq!(duration("0", Duration::ZERO, S(1)), Ok(Duration::ZERO));
}

#[test]
fn durations_as_people_write_them() {
    for (text, value) in [("500ms", MS(500)), ("7days", S(604_800)), ("1m 30s", S(90)), ("2h", S(7200))] {
        assert_eq!(duration(text, MS(1), S(1_000_000)), Ok(value), "{text}");
    }
}

#[test]
fn durations_that_are_none() {
    for text in ["", "  ", "soon", "1.2.3", ".", "5 parsecs", "1e3", "NaN", "inf", "99999999999999999999y"] {
        let why = duration(text, MS(1), S(600)).expect_err(text);
        assert!(why.starts_with("it is not a duration"), "{text}: {why}");
    }
    assert_eq!(duration("-5", MS(1), S(600)), Err("it is negative".into()));
    assert_eq!(duration("-5s", MS(1), S(600)), Err("it is negative".into()));
    assert_eq!(duration("0", MS(100), S(600)), Err("it is not from 100ms to 10m".into()));
    assert_eq!(duration("601", MS(100), S(600)), Err("it is not from 100ms to 10m".into()));
    // Too many seconds for a Duration, and digits without end.
    assert!(duration("99999999999999999999999", MS(1), S(600)).is_err());
    assert!(duration(&"9".repeat(500), MS(1), S(600)).is_err());
}

#[test]
fn numbers_of_bytes() {
    for (text, value) in [
        ("1MiB", 1 << 20),
        ("64 KiB", 65_536),
        ("1048576", 1 << 20),
        ("2kB", 2000),
        ("1MB", 1_000_000),
        ("7B", 7),
    ] {
        assert_eq!(bytes(text, 1, 1 << 27), Ok(value), "{text}");
    }
    for text in ["", "MiB", "1 GiB", "-1", "1.5MiB", "x"] {
        assert!(
            bytes(text, 1, 1 << 27).expect_err(text).starts_with("it is not a number of bytes"),
            "{text}"
        );
    }
    for text in ["0", "129MiB", "18446744073709551615MiB"] {
        assert!(bytes(text, 1, 1 << 27).expect_err(text).starts_with("it is not from"), "{text}");
    }
}

#[test]
fn booleans() {
    for yes in ["true", "TRUE", "True", "1", "yes", "on", " true "] {
        assert_eq!(boolean(yes), Ok(true), "{yes}");
    }
    for no in ["false", "FALSE", "0", "no", "Off"] {
        assert_eq!(boolean(no), Ok(false), "{no}");
    }
    for neither in ["", "ture", "2", "y", "enabled", "-1"] {
        assert!(boolean(neither).is_err(), "{neither}");
    }
}

#[test]
fn hosts() {
    for (text, value) in
        [("rabbit", "rabbit"), (" mq.x.no ", "mq.x.no"), ("10.0.0.1", "10.0.0.1"), ("[::1]", "::1")]
    {
        assert_eq!(host(text).as_deref(), Ok(value), "{text}");
    }
    assert_eq!(host("fe80::1").as_deref(), Ok("fe80::1"));
    assert!(host("amqp://x").expect_err("url").contains("URL"));
    assert!(host("rabbit:5672").expect_err("port").contains("port"));
    for text in ["", " ", "a b", "a/b", "me@host", "a,b", "[x", "a\u{0}b"] {
        assert!(host(text).is_err(), "{text:?}");
    }
}

#[test]
fn amqp_names_are_short_strings() {
    assert_eq!(amqp_name("/").as_deref(), Ok("/"));
    assert_eq!(amqp_name("ø å").as_deref(), Ok("ø å"));
    assert!(amqp_name(&"x".repeat(255)).is_ok());
    assert!(amqp_name(&"x".repeat(256)).is_err());
    assert!(amqp_name("a\nb").is_err());
}

#[test]
fn paths_of_the_exposition() {
    assert_eq!(url_path("/metrics").as_deref(), Ok("/metrics"));
    for text in ["", "metrics", "/a b", "/a?b", "/%41", "/", "/-/ready", "/ø"] {
        assert!(url_path(text).is_err(), "{text:?}");
    }
}

#[test]
fn addresses_to_listen_on() {
    let at = |host: Option<&str>, port| ListenAddress { host: host.map(str::to_owned), port };
    assert_eq!(listen_address(":11911"), Ok(at(None, 11_911)));
    assert_eq!(listen_address("[::1]:0"), Ok(at(Some("::1"), 0)));
    assert_eq!(listen_address(" localhost:80 "), Ok(at(Some("localhost"), 80)));
    for text in ["", "11911", "localhost", "::1:80", "[::1]", ":65536", ":-1", "a b:1", "http://x:1", ":"] {
        assert!(listen_address(text).is_err(), "{text:?}");
    }
    assert_eq!(listen_addresses(":1, 127.0.0.1:2,,:1"), Ok(vec![at(None, 1), at(Some("127.0.0.1"), 2)]));
    assert_eq!(listen_addresses(""), Ok(vec![]));
    assert!(listen_addresses(":1,x").is_err());
}

#[test]
fn displayed_addresses_read_back() {
    for text in [":11911", "[::1]:80", "localhost:1"] {
        assert_eq!(listen_address(text).expect(text).to_string(), text);
    }
}

#[test]
fn nodes_have_host_and_port() {
    assert_eq!(nodes("a:1,[::1]:2"), Ok(vec![("a".into(), 1), ("::1".into(), 2)]));
    for text in [":1", "a:0", "a"] {
        assert!(nodes(text).is_err(), "{text}");
    }
}

#[test]
fn nodes_of_a_broker_may_have_ports_of_their_own() {
    let node = |host: &str, port| Node { host: host.into(), port };
    assert_eq!(broker_nodes("mq", 5672), Ok(vec![node("mq", 5672)]));
    assert_eq!(broker_nodes("fe80::1", 5672), Ok(vec![node("fe80::1", 5672)]));
    let several = broker_nodes(" a, b:1 ,[::1]:2,a,,a:3", 5672);
    assert_eq!(several, Ok(vec![node("a", 5672), node("b", 1), node("::1", 2), node("a", 3)]));
    for text in [",", "a:0", "a:x", ":1", "a b", "a,amqp://b", "me:secret,x@host", "a:1:2"] {
        let why = broker_nodes(text, 5672).expect_err(text);
        assert!(!why.contains("secret"), "{why}");
    }
}

#[test]
fn publisher_ids_follow_the_rules_of_names() {
    let ids = publisher_ids("a, b ,a,").expect("valid");
    assert_eq!(ids.iter().map(PublisherId::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert!(publisher_ids(&"x".repeat(129)).expect_err("long").contains("longer than 128"));
}

#[test]
fn ids_of_the_original() {
    let ids = legacy_ids("service.heartbeat=oslo, queue:q=1=bergen").expect("valid");
    assert_eq!(ids[0].matches, LegacyMatch::RoutingKey("service.heartbeat".into()));
    assert_eq!(ids[0].id.as_str(), "oslo");
    assert_eq!(ids[1].matches, LegacyMatch::Queue("q=1".into()));
    for text in ["x", "=a", "a=", "a=b,a=c"] {
        assert!(legacy_ids(text).is_err(), "{text}");
    }
    assert_eq!(legacy_ids("a=b,queue:a=c").map(|ids| ids.len()), Ok(2));
}

#[test]
fn grace_periods() {
    let rules = grace_rules("oslo=5m, *=90").expect("valid");
    assert_eq!(rules.everybody, Some(S(90)));
    assert_eq!(rules.by_publisher.get(&publisher_id("oslo").expect("id")), Some(&S(300)));
    for text in ["oslo", "oslo=0", "oslo=-1", "a=1,a=2", "*=1,*=2", "oslo=x"] {
        assert!(grace_rules(text).is_err(), "{text}");
    }
    assert_eq!(grace_rules(""), Ok(GraceRules::default()));
}

#[test]
fn words_of_the_log() {
    assert_eq!(log_level("WARN"), Ok(LogLevel::Warn));
    assert!(log_level("loud").is_err());
    assert_eq!(log_format("JSON"), Ok(LogFormat::Json));
    assert!(log_format("xml").is_err());
}

#[test]
fn queues_are_named_once() {
    assert_eq!(queues("one, two"), Ok(vec!["one".to_owned(), "two".to_owned()]));
    assert_eq!(queues("one"), Ok(vec!["one".to_owned()]));
    assert_eq!(queues("one,two,one"), Err("it holds \"one\" twice".into()));
    assert_eq!(queues(" , "), Err("it holds no queue".into()));
    let many = |count: usize| (0..count).map(|number| format!("q{number}")).collect::<Vec<_>>().join(",");
    assert_eq!(queues(&many(32)).map(|queues| queues.len()), Ok(32));
    assert_eq!(queues(&many(33)), Err("it holds more than 32 queues".into()));
}
