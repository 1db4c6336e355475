//! A process without free file descriptors goes on accepting once there are some again. Alone in its
//! process, whose limit it lowers.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_bridge::http::{Config, Exposition, Handlers, Metrics, bind};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

fn accept_failures(registry: &Registry) -> u64 {
    let mut text = String::new();
    encode(&mut text, registry).expect("text takes everything");
    let name = "heartbeat_http_accept_failures_total ";
    let value = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is registered");
    value.parse().expect("it is a number")
}

#[tokio::test]
async fn connections_are_accepted_again_after_file_descriptors_ran_out() {
    let handlers = Handlers {
        metrics: Some(Arc::new(|_| Ok(Exposition::default()))),
        ready: Arc::new(|| Ok(())),
        pages: Arc::new(|_| heartbeat_bridge::http::Answer::Nothing),
        posts: None,
    };
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let server = bind(Config::on(vec![(Ipv4Addr::LOCALHOST, 0).into()]), handlers, metrics).unwrap();
    let address = server.addresses()[0];
    // The system shakes hands by itself, so these wait to be accepted.
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: limit.maximum }).unwrap();
    let serving = tokio::spawn(server.serve(CancellationToken::new()));
    let failed_twice = async {
        while accept_failures(&registry) < 2 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(10), failed_twice).await.unwrap();
    assert!(!serving.is_finished());

    setrlimit(Resource::Nofile, limit).unwrap();
    for mut client in clients {
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), client.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
}
