//! Whoever may send heartbeats may choose names. They come out whole in every place where they are shown, and do no
//! harm there: no label, key, line, path or page is another than it seems.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::otlp::exporting;
use crate::otlp::logs::events;
use crate::support::bridge::{Bridge, SOON};
use crate::support::field::{Field, Shown, config, listener, stop};
use crate::support::http;
use crate::support::otlp::{Collector, Options, Transport};
use crate::support::program::Program;
use crate::support::prometheus::Prometheus;
use crate::support::rabbitmq::RabbitMq;
use crate::support::rabbitmq_api::Permissions;
use crate::support::v2::Simulated;
use crate::support::wait::wait_until;

/// Names that break careless writers: of text formats, logs, terminals, keys, globs, paths, pages and templates.
const NAMES: &[&str] = &[
    "say \"hi\"",
    "back\\slash\\",
    "x\"} 1 # ",
    "# HELP heartbeat_publisher_up",
    "{b07}:*?[a-z]",
    "service:x:ok",
    "<script>alert('1')</script>&amp;",
    "\u{202e}gpj.exe\u{2066}\u{200f}\u{feff}",
    "\u{1f600}\u{10ffff}",
    "e\u{301}",
    " spaces ",
    "%2F%s%n%00",
    "{{ $labels.name }} $__all ${x} `id`",
    "../../etc/passwd",
    "a/b?c=d#e;f",
    "level=error msg=forged",
];

/// Those that a terminal or a log must not be given as they are.
const UNSEEN: &[char] = &['\u{202e}', '\u{2066}', '\u{200f}', '\u{feff}', '\u{1b}'];

/// A heartbeat of a publisher of that name, with a host, a consumer and a queue of it.
fn named(publisher: &mut Simulated, host: &str) -> String {
    let name = publisher.id.clone();
    let mut message: Value = serde_json::from_slice(&publisher.beat()).unwrap();
    let components = message["v2"]["components"].as_array_mut().unwrap();
    for component in components.iter_mut() {
        component["name"] = json!(name);
        match component["kind"].as_str().unwrap() {
            "consumer" => component["queue"] = json!(name),
            "host" => {
                component["target"] = json!(name);
                component["outcome"] = json!(host);
                component["reason"] = json!("refused");
            }
            _ => {}
        }
    }
    message["v2"]["version"] = json!(name);
    message.to_string()
}

/// What was asked of each exposition: the publishers, and the names and queues of their components.
fn expected() -> BTreeSet<(String, String, String, String)> {
    let of = |name: &&str| {
        let name = (*name).to_owned();
        [("host", ""), ("consumer", &*name), ("queue", "")]
            .map(|(kind, queue)| (name.clone(), kind.to_owned(), name.clone(), queue.to_owned()))
    };
    NAMES.iter().flat_map(of).collect()
}

/// Those four labels of a series.
fn of_labels<'a>(label: impl Fn(&str) -> Option<&'a str>) -> (String, String, String, String) {
    let text = |name| label(name).unwrap_or_default().to_owned();
    (text("publisher"), text("kind"), text("name"), text("queue"))
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_out_whole_and_harmless_everywhere() {
    let bridge = Bridge::new().await;
    let collector = Collector::start(Options::default());
    let setup = exporting(bridge.subscriber(), &collector, Transport::Grpc).env("LOG_LEVEL", "debug");
    let subscriber = setup.start_ready().await;
    let mut fleet: Vec<Simulated> = NAMES.iter().map(|name| Simulated::new(name)).collect();
    for host in ["up", "down"] {
        bridge.send(fleet.iter_mut().map(|publisher| named(publisher, host))).await;
        bridge.drained(&subscriber, SOON).await;
    }
    let refused = ["a\nb", "\u{1b}[2J", "a\u{0}b", "\u{2028}", "\u{85}"];
    bridge.send(refused.map(|name| named(&mut Simulated::new(name), "up"))).await;
    bridge.drained(&subscriber, SOON).await;

    in_the_texts(&subscriber).await;
    in_prometheus(&subscriber).await;
    in_redis(&bridge, refused.len()).await;
    in_otlp(&collector).await;
    on_the_pages(&subscriber).await;
    in_the_log(&subscriber.log());
}

/// Both texts, read by others than we, hold each series once.
async fn in_the_texts(subscriber: &Program) {
    let unknown = "heartbeat_component_unknown";
    let open_metrics = subscriber.open_metrics().await.unwrap();
    let found = open_metrics.all(unknown).into_iter();
    let found: Vec<_> = found.map(|one| of_labels(|name| one.labels.get(name).map(String::as_str))).collect();
    assert_eq!(found.len(), expected().len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected(), "in OpenMetrics");

    let text = http::get(subscriber.http(), "/metrics").await.unwrap().text();
    let (rest, families) = nom_openmetrics::parser::prometheus(&text).unwrap();
    assert_eq!(rest, "");
    let samples = families.iter().flat_map(|family| &family.samples).filter(|one| one.name() == unknown);
    let found = samples.map(|one| {
        of_labels(|name| one.labels().iter().find(|label| label.name == name).map(|label| &*label.value))
    });
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), expected().len());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected(), "in the classic text");

    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Prometheus itself takes them all, and finds each by its name.
async fn in_prometheus(subscriber: &Program) {
    let targets = format!("[{{targets: ['{}']}}]", subscriber.http());
    let scrape = format!("{{job_name: heartbeat, scrape_interval: 1s, static_configs: {targets}}}");
    let prometheus =
        Prometheus::start(&Prometheus::folder(), &format!("scrape_configs: [{scrape}]\n"), &[]).await;
    let found = wait_until("Prometheus has all", SOON, async || {
        let found = prometheus.query("heartbeat_component_unknown").await?;
        if found.len() == expected().len() { Ok(found) } else { Err(format!("{}", found.len())) }
    })
    .await;
    let found = found.iter().map(|one| of_labels(|name| one.labels.get(name).map(String::as_str)));
    assert_eq!(found.collect::<BTreeSet<_>>(), expected(), "in Prometheus");
    for name in NAMES {
        // PromQL's strings have the escapes of JSON.
        let name = json!(name);
        let query = format!("heartbeat_component_up{{kind='host',publisher={name},name={name}}}");
        let found = prometheus.query(&query).await.unwrap();
        assert_eq!(found.len(), 1, "{query}");
        assert_eq!(found[0].value, 0.0, "{query}");
    }
}

/// No key of ours holds a name, and each of the contract's has three parts.
async fn in_redis(bridge: &Bridge, refused: usize) {
    for key in bridge.redis.keys("heartbeat:*").await {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"{}:-".contains(&byte);
        assert!(key.bytes().all(plain), "{key:?}");
    }
    let keys = bridge.contract_keys().await;
    for name in NAMES {
        let name = name.replace(':', "%3A");
        for key in
            [format!("service:{name}:ok"), format!("service:{name}:not_ok"), format!("queue:{name}:ok")]
        {
            assert!(keys.contains_key(&key), "{key:?} of {keys:?}");
        }
    }
    for key in keys.keys() {
        assert_eq!(key.split(':').count(), 3, "{key:?}");
    }
    assert_eq!(keys.len(), NAMES.len() * 3);
    assert_eq!(bridge.records().await.len(), NAMES.len());
    let kept = bridge.redis.command(&["LRANGE", "heartbeat:rejected", "0", "-1"]).await.strings();
    assert_eq!(kept.len(), refused);
    for kept in kept {
        assert!(!kept.contains(['\n', '\u{1b}', '\u{0}']), "{kept:?}");
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept["reason"], "name", "{kept}");
    }
}

/// Points and records bear the names as attributes.
async fn in_otlp(collector: &Collector) {
    wait_until("the collector has all", SOON, async || {
        let points = collector.data_points();
        let points = points.iter().filter(|point| point.name == "heartbeat.component.unknown");
        let found = points.map(|one| of_labels(|name| one.attributes.get(name).map(String::as_str)));
        let found: BTreeSet<_> = found.collect();
        let records: BTreeSet<String> = events(collector)
            .into_iter()
            .filter(|event| event.name == "heartbeat.component.changed")
            .filter_map(|mut event| event.attributes.remove("heartbeat.component.name"))
            .collect();
        let names: BTreeSet<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        let missing = (expected().difference(&found).count(), names.difference(&records).count());
        assert!(found.is_subset(&expected()) && records.is_subset(&names), "{found:?} {records:?}");
        if missing == (0, 0) { Ok(()) } else { Err(format!("{missing:?} are missing")) }
    })
    .await;
}

/// A browser finds no element that is not ours.
async fn on_the_pages(subscriber: &Program) {
    let of_each = NAMES.iter().flat_map(|name| {
        let id = utf8_percent_encode(name, NON_ALPHANUMERIC);
        [format!("/publisher?id={id}"), format!("/badge.svg?id={id}")]
    });
    let others = ["/", "/-/ready", "/%3Cscript%3E", "/-/healthy", "/publisher?id=%3Cscript%3E%E2%80%AE"];
    for path in others.into_iter().map(str::to_owned).chain(of_each) {
        let answer = http::get(subscriber.http(), &path).await.unwrap();
        let is_known = !path.contains("%3Cscript%3E%");
        let text = answer.text().replace("<script src=\"assets/page.js\" defer></script>", "");
        assert!(!text.contains("<script") && (!is_known || !text.contains("No such")), "{path}: {text}");
        assert!(!text.contains(UNSEEN), "{path}: {text:?}");
    }
}

/// Each line is one that the program wrote, and shows what a terminal would not.
fn in_the_log(log: &str) {
    for line in log.split_terminator('\n') {
        assert!(line.starts_with("ts=") && line.contains(" level="), "{line:?}");
        assert!(!line.contains(UNSEEN) && !line.contains(char::is_control), "{line:?}");
        let of_ours: String = outside_quotes(line).collect();
        assert!(!of_ours.contains("forged") && of_ours.matches(" level=").count() == 1, "{line:?}");
    }
    for escaped in ["say \\\"hi\\\"", "\\u202egpj.exe\\u2066", "\"level=error msg=forged\""] {
        assert!(log.contains(escaped), "{escaped} is not in the log");
    }
}

/// What of a line stands outside of quoted values.
fn outside_quotes(line: &str) -> impl Iterator<Item = char> {
    let (mut quoted, mut escaped) = (false, false);
    line.chars().filter(move |c| {
        let was_quoted = quoted;
        quoted ^= *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        !was_quoted
    })
}

/// The management API is asked for a queue by a path, in which its name is one segment.
#[tokio::test(flavor = "multi_thread")]
async fn queues_of_any_name_are_asked_for_by_that_name() {
    let queues =
        ["a/b?c=d#e", "%2F", "a%2Fb", "..%2f..", "+&;=", " spaces ", "\u{202e}rtl", "\u{1f600}", "{}\"\\<b>"];
    let mut field = Field::start(RabbitMq::vhost().await).await;
    // Shown no consumers in the list, it is to ask for each queue alone.
    let watcher = format!("watcher-{}", field.vhost.name);
    field.vhost.create_user(&watcher, "secret", "management", Permissions::ALL).await;
    let mut consumers = Vec::new();
    for queue in queues {
        consumers.push(field.vhost.consume(queue, "the-worker-1").await);
    }
    // These two can be declared over AMQP alone: the API's own server takes them for steps in the path, whatever
    // is written for them.
    let (_connection, channel) = field.vhost.connect().await;
    let mut kept = Vec::new();
    for queue in ["..", "."] {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), durable, FieldTable::default()).await.unwrap();
        let options = BasicConsumeOptions::default();
        let consume = channel.basic_consume(
            queue.into(),
            format!("the-worker of {queue}").as_str().into(),
            options,
            FieldTable::default(),
        );
        kept.push(consume.await.unwrap());
    }
    field.vhost.wait_consumer(queues[0], "the-worker-1").await;
    let worker = |queue: &str| format!("worker of {queue}");
    let wanted: Vec<Value> = queues
        .iter()
        .chain(&["..", "."])
        .map(|queue| listener(queue, "the-worker", &worker(queue)))
        .collect();
    let setup = field.publisher("watcher", &config(&[], &wanted)).env("RABBITMQ_USER", &watcher);
    let publisher = setup.env("RABBITMQ_PASS", "secret").start();
    for queue in queues {
        field.wait_shown("watcher", "consumer", &worker(queue), Shown::Up).await;
        field.wait_shown("watcher", "queue", queue, Shown::Up).await;
    }
    // What it answers is about no such queue, and is not taken for one.
    for queue in ["..", "."] {
        field.wait_shown("watcher", "consumer", &worker(queue), Shown::Unknown("management_invalid")).await;
    }
    stop([publisher]).await;
    field.assert_as_version_1().await;
}

/// Resident memory in MiB: at present, or at its highest.
fn memory_mib(program: &Program, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let found = status.lines().find(|found| found.starts_with(line)).unwrap();
    found.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// What else may stand in Redis: a value that is no record, no revision, no text, under our own keys. It hinders
/// nobody, and the publisher's next heartbeat takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_stands_in_redis_is_replaced() {
    let bridge = Bridge::new().await;
    let mut subscriber = bridge.subscriber().start_ready().await;
    let mut fleet: Vec<Simulated> = (0..8).map(|number| Simulated::new(&format!("p{number}"))).collect();
    bridge.send(fleet.iter_mut().map(Simulated::beat)).await;
    bridge.drained(&subscriber, SOON).await;

    let mut client = bridge.redis.client().await.unwrap();
    let script = r"
        local bodies = {'', '{}', '[1]', '\255\254', string.rep('[', 5000), 'null', '\0', '{\34id\34:1}'}
        local revisions = {'18446744073709551615', '-1', 'x', '\255', '007', '', '1e3', string.rep('9', 400)}
        local n = 0
        for bucket = 0, 63 do
          local tag = string.format('heartbeat:{b%02d}:', bucket)
          for _, key in ipairs(redis.call('HKEYS', tag .. 'records')) do
            n = n + 1
            redis.call('HSET', tag .. 'records', key, bodies[n])
            redis.call('HSET', tag .. 'revisions', key, revisions[n])
            redis.call('XADD', tag .. 'log', '*', 'k', key, 'r', revisions[n])
            redis.call('XADD', tag .. 'log', '*', '\255', '\254')
          end
        end
        redis.call('HSET', 'heartbeat:replicas', '\255', '\254', 'x', '{}')
        return n";
    assert_eq!(client.command(&["EVAL", script, "0"]).await.unwrap().integer(), 8);
    for again in [false, true] {
        if again {
            subscriber.kill();
            subscriber.start_again();
            subscriber.wait_ready().await;
        }
        bridge.send(fleet.iter_mut().map(Simulated::beat)).await;
        bridge.drained(&subscriber, SOON).await;
        wait_until("the view is in step", SOON, async || {
            match subscriber.metrics().await?.value("heartbeat_subscriber_view_synced", &[]) {
                Some(1.0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        bridge.assert_newest(&subscriber, &fleet).await;
    }
}

/// Messages far over the limit, as many as may be on their way at once. The longest form of it:
/// `HEARTBEAT_TEST_OVERSIZE_MIB=16 HEARTBEAT_TEST_OVERSIZE=50`.
#[tokio::test(flavor = "multi_thread")]
async fn messages_over_the_limit_do_not_stay_in_memory() {
    use crate::support::bridge::{figure, report};
    let (mib, count) = (figure("HEARTBEAT_TEST_OVERSIZE_MIB", 8), figure("HEARTBEAT_TEST_OVERSIZE", 16));
    let bridge = Bridge::new().await;
    let mut subscriber = bridge.subscriber().env("RABBITMQ_PREFETCH", &count.to_string()).start_ready().await;
    let before = memory_mib(&subscriber, "VmRSS:");
    // All wait in the queue, so that they come at once.
    subscriber.kill();
    let body = vec![b' '; usize::try_from(mib << 20).unwrap()];
    for _ in 0..count {
        bridge.send([&body]).await;
    }
    let mut good = Simulated::new("good");
    bridge.send([good.beat()]).await;
    subscriber.start_again();
    subscriber.wait_ready().await;
    let all = f64::from(u32::try_from(count).unwrap());
    let oversize = ("reason", "oversize");
    subscriber.wait_value(SOON, "heartbeat_subscriber_rejected_total", &[oversize], all).await;
    subscriber.wait_value(SOON, "heartbeat_publisher_sequence", &[("publisher", "good")], 1.0).await;
    bridge.drained(&subscriber, SOON).await;
    bridge.assert_newest(&subscriber, &[good]).await;
    let told = subscriber.log().matches("set max_message_size on the broker").count();
    assert_eq!(told, 1, "{}", subscriber.log());
    let peak = memory_mib(&subscriber, "VmHWM:");
    // The library grows a body by doubling, so that one may take twice its size while it comes.
    let bound = before + count * mib + 2 * mib + 64;
    assert!(peak <= bound, "{peak} MiB at the highest, {bound} at most");
    let after = wait_until("the memory is given back", Duration::from_secs(30), async || {
        let now = memory_mib(&subscriber, "VmRSS:");
        if now <= before + 64 { Ok(now) } else { Err(format!("{now} MiB, {before} before")) }
    })
    .await;
    report(&format!("{count} x {mib} MiB: {before} MiB before, {peak} at the highest, {after} after"));
}

/// Ever new names, of components and of publishers. The longest form of it: `HEARTBEAT_TEST_NAMES=1000000`.
#[tokio::test(flavor = "multi_thread")]
async fn ever_new_names_are_bounded_and_counted() {
    use crate::support::bridge::{figure, report};
    const AT_ONCE: usize = 1000;
    let names = usize::try_from(figure("HEARTBEAT_TEST_NAMES", 20_000)).unwrap();
    let bridge = Bridge::new().await;
    let limits =
        [("LIMIT_PUBLISHERS", "5"), ("LIMIT_COMPONENTS", "2500"), ("LIMIT_COMPONENTS_PER_MESSAGE", "1000")];
    let mut setup = bridge.subscriber();
    for (name, value) in limits {
        setup = setup.env(name, value);
    }
    let subscriber = setup.start_ready().await;
    let mut good = Simulated::small("good");
    bridge.send([good.beat()]).await;
    bridge.drained(&subscriber, SOON).await;
    let before = memory_mib(&subscriber, "VmRSS:");

    let mut refused = 0;
    let mut flood = Simulated::small("flood");
    for round in 0..names / AT_ONCE {
        // A full snapshot with other names each time, alternately of the same life and of another.
        if round % 2 == 1 {
            flood = flood.restarted();
        }
        let one = flood.components[0].clone();
        flood.components = (0..AT_ONCE).map(|number| one.named(&format!("c{round}-{number}"))).collect();
        // An original of ever new names: what it told stays, so that it meets its own limit.
        let entries: Vec<Value> = (0..AT_ONCE / 2)
            .map(|n| json!({"name": format!("o{round}-{n}"), "status": "ok", "timestamp": "2026-11-23 16:24:49 UTC"}))
            .collect();
        let original =
            json!({"hosts": entries, "rmq_consumers": {"queues_status": [], "services_status": []}});
        // And ever new publishers.
        let stranger = Simulated::small(&format!("stranger {round}")).beat();
        bridge.send([flood.beat(), original.to_string().into_bytes(), stranger, good.beat()]).await;
        bridge.drained(&subscriber, SOON).await;
        // Two messages of the original fit in, and as many strangers as there are places beside the three.
        refused += usize::from(round >= 2) + usize::from(round >= 2);
    }
    let scrape = subscriber.metrics().await.unwrap();
    let value = |name: &str| scrape.value(name, &[]).unwrap();
    assert_eq!(value("heartbeat_subscriber_publishers"), 5.0);
    assert_eq!(value("heartbeat_subscriber_components"), 2003.0);
    let rejected = scrape.value("heartbeat_subscriber_rejected_total", &[("reason", "over_limit")]);
    assert_eq!(rejected, Some(f64::from(u32::try_from(refused).unwrap())));
    let dropped = f64::from(u32::try_from(refused / 2 * (AT_ONCE / 2 + 1)).unwrap());
    assert_eq!(value("heartbeat_subscriber_dropped_components_total"), dropped);
    bridge.assert_newest(&subscriber, &[good]).await;
    let peak = memory_mib(&subscriber, "VmHWM:");
    assert!(peak <= before + 96, "{peak} MiB at the highest, {before} before");
    report(&format!("{names} names: {before} MiB before, {peak} at the highest"));
}
