//! Small things for `make up`. Two are worth checking: `demo listen ADDRESS` accepts TCP connections, and
//! `demo consume URI QUEUE TAG` consumes a queue, making it where it is not there, again and again. And
//! `demo notified ADDRESS` is who is woken: it prints a line for each alert that Alertmanager sends to it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::sleep;

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest notification, in bytes: some thousand alerts.
const NOTIFICATION_MAX: usize = 4 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["listen", address] => listen(address).await,
        ["consume", uri, queue, tag] => loop {
            if let Err(error) = consume(uri, queue, tag).await {
                say(&format!("{error}; trying again"));
            }
            sleep(PAUSE).await;
        },
        ["notified", address] => notified(address).await,
        _ => {
            say("demo listen ADDRESS | demo consume URI QUEUE TAG | demo notified ADDRESS");
            ExitCode::FAILURE
        }
    }
}

async fn bind(address: &str) -> Option<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.inspect_err(|error| say(&format!("cannot listen on {address}: {error}"))).ok()
}

async fn listen(address: &str) -> ExitCode {
    let Some(listener) = bind(address).await else {
        return ExitCode::FAILURE;
    };
    loop {
        // What connects is dropped at once: a check asks for no more.
        let _ = listener.accept().await;
    }
}

/// Consumes until the connection or the consumer is gone.
async fn consume(uri: &str, queue: &str, tag: &str) -> lapin::Result<()> {
    let connection = Connection::connect(uri, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.queue_declare(queue.into(), QueueDeclareOptions::durable(), FieldTable::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer =
        channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default()).await?;
    say(&format!("consuming {queue} as {tag}"));
    while let Some(delivery) = consumer.next().await {
        delivery?.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// What Alertmanager posts to a webhook, as far as it is shown.
#[derive(Deserialize)]
struct Notification {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    status: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

async fn notified(address: &str) -> ExitCode {
    let Some(listener) = bind(address).await else {
        return ExitCode::FAILURE;
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let mut server = http1::Builder::new();
        // Whoever begins a request and does not end it is let go after a while.
        server.timer(TokioTimer::new());
        let connection = server.serve_connection(TokioIo::new(stream), service_fn(take));
        tokio::spawn(async move {
            // What goes wrong on a connection is Alertmanager's to see.
            let _ = connection.await;
        });
    }
}

/// Prints `13:29:00Z page firing HeartbeatPublisherStale: Nothing was heard of …`, the receiver's path first.
async fn take(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let receiver = request.uri().path().trim_start_matches('/').to_owned();
    let body = Limited::new(request.into_body(), NOTIFICATION_MAX).collect().await;
    let notification =
        body.ok().and_then(|body| serde_json::from_slice::<Notification>(&body.to_bytes()).ok());
    let mut response = Response::new(Empty::new());
    match notification {
        Some(notification) => {
            for Alert { status, labels, annotations } in notification.alerts {
                let text = |map: &BTreeMap<String, String>, key| map.get(key).cloned().unwrap_or_default();
                let (name, description) = (text(&labels, "alertname"), text(&annotations, "description"));
                let at = jiff::Timestamp::now().strftime("%H:%M:%SZ");
                say(&format!("{at} {receiver} {status} {name}: {description}"));
            }
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

#[expect(clippy::print_stderr, reason = "an example has no log")]
fn say(text: &str) {
    eprintln!("{text}");
}
