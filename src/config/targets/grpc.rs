//! Entries of `grpc`.

use super::entry::{Entry, TLS_KEYS};
use super::files::What;
use crate::check::grpc::GrpcSpec;
use crate::check::probe::ProbeSpec;
use crate::check::secure::server_name;

pub(super) const KEYS: &[&[&str]] = &[&["host", "port", "service", "tls"], TLS_KEYS];

pub(super) const EXAMPLE: &str = r#"{"host": "api.example.org", "port": 50051}"#;

pub(super) fn read(entry: &mut Entry<'_>) -> Option<(ProbeSpec, String)> {
    let (host, port) = (entry.host("host"), entry.port());
    let service = entry.maybe_text("service", r#""orders.v1.Orders""#).unwrap_or_default();
    let is_secure = entry.switch("tls");
    let secure = entry.secure();
    if is_secure {
        entry.names(What::Tls(secure.files.clone()));
    } else {
        for key in TLS_KEYS.iter().filter(|key| entry.has(key)).copied().collect::<Vec<_>>() {
            entry.problem(key, "which has no effect without `tls`", r#""tls": true"#);
        }
    }
    let host = host?;
    if is_secure && secure.server_name.is_none() && server_name(host).is_err() {
        entry.problem(
            "host",
            "which is no name for a certificate; a `server_name` beside it would do",
            EXAMPLE,
        );
    }
    let secure = is_secure.then_some(secure);
    let spec = GrpcSpec { host: host.into(), port: port?, service: service.into(), secure };
    Some((ProbeSpec::Grpc(Box::new(spec)), host.to_owned()))
}
