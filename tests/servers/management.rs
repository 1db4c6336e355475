//! What cannot be told of a queue is unknown, with its own reason, and never down.

use serde_json::{Value, json};

use crate::support::field::{Field, Shown, config, listener, stop};
use crate::support::program::Program;
use crate::support::rabbitmq::RabbitMq;
use crate::support::rabbitmq_api::Permissions;
use crate::support::tcp::FakeHttp;

/// Checks a queue that has its listener, one that has another's, and one that is not there.
fn checks(id: &str) -> Value {
    let of_it = |kind| format!("{kind}-{id}");
    config(
        &[],
        &[
            listener(&of_it("work"), "worker", &of_it("worker")),
            listener(&of_it("gone"), "worker", &of_it("missing")),
        ],
    )
}

/// Answers as to a user who is shown no consumer but its own, in the list and in the queue alike.
fn hiding(queue: &str) -> FakeHttp {
    let queue = json!({"name": queue, "consumers": 1, "messages": 0, "consumer_details": []});
    FakeHttp::json_by_path(&[("/api/consumers/", "[]"), ("/api/queues/", &queue.to_string())])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_does_not_tell_leaves_it_unknown() {
    let mut field = Field::start(RabbitMq::vhost().await).await;
    let watcher = format!("watcher-{}", field.vhost.name);
    let stranger = format!("stranger-{}", field.vhost.name);
    field.vhost.create_user(&watcher, "secret", "management", Permissions::ALL).await;
    field.vhost.create_user(&stranger, "secret", "", Permissions::ALL).await;
    let html = "<html><body>Welcome to nginx!</body></html>";
    let fakes = [
        ("denied", "management_denied", FakeHttp::answering("401 Unauthorized", "text/plain", "no")),
        ("broken", "management_error", FakeHttp::answering("500 Internal Server Error", "text/plain", "")),
        ("html", "management_invalid", FakeHttp::answering("200 OK", "text/html", html)),
        ("elsewhere", "management_invalid", FakeHttp::answering("404 Not Found", "text/html", html)),
        ("hung", "management_timeout", FakeHttp::hung()),
        ("hidden", "consumers_hidden", hiding("work-hidden")),
    ];
    let mut consumers = Vec::new();
    let mut cases: Vec<(&'static str, &'static str, Program)> = Vec::new();
    for id in ["denied", "broken", "html", "elsewhere", "hung", "hidden", "watcher", "stranger"] {
        consumers.push(field.vhost.consume(&format!("work-{id}"), "the-worker-1").await);
    }
    field.vhost.wait_consumer("work-watcher", "the-worker-1").await;
    for (id, reason, fake) in &fakes {
        let setup = field.publisher(id, &checks(id)).env("CHECK_TIMEOUT", "2s");
        let port = fake.address.port().to_string();
        cases.push((id, reason, setup.env("RABBITMQ_MANAGEMENT_PORT", &port).start()));
    }
    // The list is empty for the one, but a single queue is shown with its consumers; the other may not ask at all.
    for (id, reason, user) in [("watcher", "", &watcher), ("stranger", "management_denied", &stranger)] {
        let setup = field.publisher(id, &checks(id)).env("RABBITMQ_USER", user);
        cases.push((id, reason, setup.env("RABBITMQ_PASS", "secret").start()));
    }
    for (id, reason, _) in &cases {
        let shown = if reason.is_empty() { Shown::Up } else { Shown::Unknown(reason) };
        field.wait_shown(id, "consumer", &format!("worker-{id}"), shown).await;
        field.wait_shown(id, "queue", &format!("work-{id}"), shown).await;
        // That a queue is not there the broker itself tells, whatever the API is.
        field.wait_shown(id, "queue", &format!("gone-{id}"), Shown::Down("no_queue")).await;
        field.wait_shown(id, "consumer", &format!("missing-{id}"), Shown::Down("no_queue")).await;
    }
    let ids: Vec<&str> = cases.iter().map(|(id, _, _)| *id).collect();
    stop(cases.into_iter().map(|(_, _, publisher)| publisher)).await;
    field.assert_as_version_1().await;
    for id in ids {
        let heartbeats = field.reader.heartbeats(id);
        assert!(!heartbeats.is_empty(), "{id} was not heard of");
        for (_, heartbeat) in heartbeats {
            let components = heartbeat["components"].as_array().unwrap();
            let work = components.iter().filter(|one| one["name"].as_str().unwrap().starts_with("work"));
            for component in work {
                let expected = if id == "watcher" { "up" } else { "unknown" };
                assert_eq!(component["outcome"], expected, "{id}: {component}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_is_up_when_it_is_there_and_down_when_it_is_not() {
    let mut field = Field::start(RabbitMq::vhost().await).await;
    let worker = field.vhost.consume("jobs", "ctag-worker-1").await;
    let _other = field.vhost.consume("lonely", "somebody").await;
    field.vhost.declare_queue("deserted", json!({})).await;
    field.vhost.wait_consumer("jobs", "ctag-worker-1").await;
    field.vhost.wait_consumer("lonely", "somebody").await;
    let wanted = [
        listener("jobs", "worker-[0-9]+$", "worker"),
        listener("lonely", "worker", "absent"),
        listener("deserted", "worker", "nobody"),
        listener("gone", "worker", "missing"),
    ];
    let publisher = field.publisher("real", &config(&[], &wanted)).start();
    field.wait_shown("real", "consumer", "worker", Shown::Up).await;
    field.wait_shown("real", "queue", "jobs", Shown::Up).await;
    field.wait_shown("real", "consumer", "absent", Shown::Down("no_consumer")).await;
    field.wait_shown("real", "queue", "lonely", Shown::Down("listener")).await;
    field.wait_shown("real", "consumer", "nobody", Shown::Down("no_consumer")).await;
    field.wait_shown("real", "queue", "gone", Shown::Down("no_queue")).await;
    let of_it = |queue| [("publisher", "real"), ("queue", queue)];
    let scrape = field.subscriber.metrics().await.unwrap();
    assert_eq!(scrape.value("heartbeat_queue_consumers", &of_it("jobs")), Some(1.0));
    assert_eq!(scrape.value("heartbeat_queue_messages", &of_it("deserted")), Some(0.0));
    assert_eq!(scrape.value("heartbeat_queue_consumers", &of_it("gone")), None);
    // Told from the heartbeats first: the flip below leaves a key of each status.
    let heartbeats = field.reader.heartbeats("real");
    let was_unknown = heartbeats.iter().any(|(_, heartbeat)| heartbeat.to_string().contains("unknown"));
    assert!(!was_unknown, "what can be told was told as unknown");
    worker.close(200, "gone".into()).await.unwrap();
    field.wait_shown("real", "consumer", "worker", Shown::Down("no_consumer")).await;
    stop([publisher]).await;
    field.assert_as_version_1().await;
}
