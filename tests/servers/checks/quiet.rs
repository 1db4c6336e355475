//! What a check of a host leaves in the log of who is checked: nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{checking, wait_all};
use crate::support::field::Shown::Up;
use crate::support::field::{BOUND, host};
use crate::support::postgresql::PostgreSql;
use crate::support::program::Program;
use crate::support::rabbitmq::RabbitMq;
use crate::support::wait::wait_until;

/// Waits until a host was checked so often.
async fn wait_checks(program: &Program, name: &str, least: f64) {
    wait_until(&format!("{name} was checked {least} times"), BOUND, async || {
        let scrape = program.metrics().await?;
        match scrape.value("heartbeat_component_checks_total", &[("kind", "host"), ("name", name)]) {
            Some(checks) if checks >= least => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_and_brokers_log_no_check() {
    let postgresql = PostgreSql::start(&[]).await;
    let broker = RabbitMq::start_own().await;
    let before = postgresql.log();
    mark(&broker, [9, 9, 9, 1]).await;
    let at = |name: &str, port: u16| host(name, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let names = ["database", "broker", "broker with TLS"];
    let ports = [postgresql.port, broker.ports.amqp, broker.ports.amqps];
    let hosts: Vec<_> = names.iter().zip(ports).map(|(name, port)| at(name, port)).collect();
    let program = checking(&json!({"hosts": hosts})).await;
    for name in names {
        wait_all(&program, "host", &[(name, Up)]).await;
        wait_checks(&program, name, 3.0).await;
    }
    assert_eq!(postgresql.log(), before, "PostgreSQL logs a check");
    let log = mark(&broker, [9, 9, 9, 2]).await;
    let (_, since) = log.split_once("{bad_version,{9,9,9,1}}").unwrap();
    for (word, of_the_mark) in
        [("accepting AMQP connection", 1), ("closing AMQP connection", 1), ("[error]", 2), ("[warning]", 0)]
    {
        let lines: Vec<_> = since.lines().filter(|line| line.contains(word)).collect();
        assert_eq!(lines.len(), of_the_mark, "RabbitMQ logs more than the mark: {lines:#?}");
    }
    assert!(!since.contains("TLS"), "RabbitMQ logs a check with TLS: {since}");
    // A connection that is reset would be told.
    reset(postgresql.port).await;
    wait_until("PostgreSQL logs what it does not like", BOUND, async || {
        let log = postgresql.log();
        if log.contains("Connection reset by peer") { Ok(()) } else { Err(log) }
    })
    .await;
}

/// Has the broker log a connection of a version of AMQP that there is not, and waits until it has: whatever came before is
/// then in the log too.
async fn mark(broker: &RabbitMq, version: [u8; 4]) -> String {
    let mut stream = TcpStream::connect(broker.amqp()).await.unwrap();
    stream.write_all(&[b"AMQP".as_slice(), &version].concat()).await.unwrap();
    let [a, b, c, d] = version;
    let told = format!("{{bad_version,{{{a},{b},{c},{d}}}}}");
    wait_until("the broker has logged the mark", BOUND, async || {
        let log = broker.log();
        if log.contains(&told) { Ok(log) } else { Err(format!("{} bytes without {told}", log.len())) }
    })
    .await
}

/// Connects and resets the connection.
async fn reset(port: u16) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}
