//! Entries of `tls`.

use super::entry::{Entry, TLS_KEYS};
use super::files::What;
use crate::check::probe::ProbeSpec;
use crate::check::tls::TlsSpec;

pub(super) const KEYS: &[&[&str]] = &[&["host", "port"], TLS_KEYS];

pub(super) const EXAMPLE: &str = r#"{"host": "db.example.org", "port": 636}"#;

pub(super) fn read(entry: &mut Entry<'_>) -> Option<(ProbeSpec, String)> {
    let (host, port, secure) = (entry.host("host"), entry.port(), entry.secure());
    entry.names(What::Tls(secure.files.clone()));
    if secure.server_name.is_none()
        && let Some(host) = host
        && crate::check::secure::server_name(host).is_err()
    {
        entry.problem(
            "host",
            "which is no name for a certificate; a `server_name` beside it would do",
            EXAMPLE,
        );
    }
    let host = host?;
    Some((ProbeSpec::Tls(TlsSpec { host: host.into(), port: port?, secure }), host.to_owned()))
}
