use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::{checking, named, wait_all};
use crate::support::certificates::Authority;
use crate::support::field::Shown::{Down, Up};
use crate::support::ports::{free_port, listen};
use crate::support::process::folder;
use crate::support::tcp::{FakeHttp, Greeting};

/// A server that answers the health protocol.
fn health_server(tls: Option<Identity>) -> (HealthReporter, u16) {
    let (reporter, service) = tonic_health::server::health_reporter();
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let port = listener.local_addr().unwrap().port();
    let mut server = Server::builder();
    if let Some(identity) = tls {
        server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    }
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
    (reporter, port)
}

/// One that speaks gRPC and does not know the health protocol.
fn other_server() -> u16 {
    let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let port = listener.local_addr().unwrap().port();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        Server::builder().add_routes(tonic::service::Routes::default()).serve_with_incoming(incoming),
    );
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_as_it_says_of_itself() {
    heartbeat_bridge::tls::install_provider();
    let folder = folder("grpc");
    let ours = Authority::make(&folder, "ours");
    let (certificate, key) = ours.server("localhost", 20);
    let identity = Identity::from_pem(std::fs::read(certificate).unwrap(), std::fs::read(key).unwrap());
    let (reporter, port) = health_server(None);
    reporter.set_service_status("", ServingStatus::Serving).await;
    reporter.set_service_status("orders.v1.Orders", ServingStatus::Serving).await;
    reporter.set_service_status("orders.v1.Refunds", ServingStatus::NotServing).await;
    let (_secure_reporter, secure_port) = health_server(Some(identity));
    let (silent, other) = (FakeHttp::hung(), Greeting::open());
    let at = |port: u16| json!({"host": "localhost", "port": port});
    let entries = [
        named("server", at(port), json!({})),
        named("orders", at(port), json!({"service": "orders.v1.Orders"})),
        named("refunds", at(port), json!({"service": "orders.v1.Refunds"})),
        named("unheard of", at(port), json!({"service": "unheard.v1.Of"})),
        named("no health", at(other_server()), json!({})),
        named(
            "secure",
            at(secure_port),
            json!({"tls": true, "ca_file": ours.ca, "min_certificate_days": 14}),
        ),
        named(
            "expiring",
            at(secure_port),
            json!({"tls": true, "ca_file": ours.ca, "min_certificate_days": 30}),
        ),
        named(
            "other name",
            at(secure_port),
            json!({"tls": true, "ca_file": ours.ca, "server_name": "a.example.org"}),
        ),
        named("no tls", at(port), json!({"tls": true, "ca_file": ours.ca})),
        named("silent", at(silent.address.port()), json!({"timeout": "500ms"})),
        named("no grpc", at(other.address.port()), json!({})),
        named("refused", at(free_port()), json!({})),
    ];
    let program = checking(&json!({"grpc": entries})).await;
    let expected = [
        ("server", Up),
        ("orders", Up),
        ("refunds", Down("not_serving")),
        ("unheard of", Down("not_serving")),
        ("no health", Down("status")),
        ("secure", Up),
        ("expiring", Down("expiring")),
        ("other name", Down("certificate")),
        ("no tls", Down("tls")),
        ("silent", Down("timeout")),
        ("no grpc", Down("protocol")),
        ("refused", Down("refused")),
    ];
    wait_all(&program, "grpc", &expected).await;
    // It says otherwise, and is heard.
    reporter.set_service_status("orders.v1.Refunds", ServingStatus::Serving).await;
    reporter.set_service_status("orders.v1.Orders", ServingStatus::NotServing).await;
    wait_all(&program, "grpc", &[("refunds", Up), ("orders", Down("not_serving"))]).await;
}
