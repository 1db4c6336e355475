//! The part of the configuration on the subscriber that is asked for the fleet.

use http::Uri;

use super::model::StatusConfig;
use super::parse::Why;
use super::reader::Reader;
use super::sections::{TlsSettings, tried_files, warn_unused};
use super::settings as s;
use crate::tls::TlsConfig;

const TLS: TlsSettings = TlsSettings {
    switch: &s::STATUS_URL,
    ca: &s::STATUS_CA_CERT_PATH,
    cert: &s::STATUS_CLIENT_CERT_PATH,
    key: &s::STATUS_CLIENT_KEY_PATH,
};

/// Which subscriber, and how it is asked.
pub(super) fn status(r: &mut Reader<'_>) -> StatusConfig {
    let url = r.read(&s::STATUS_URL, url);
    let is_secured = url.scheme_str() == Some("https");
    if !is_secured {
        for file in [TLS.ca, TLS.cert, TLS.key] {
            if r.is_given(file) {
                warn_unused(r, file, "STATUS_URL is not https");
            }
        }
    }
    let tls = is_secured.then(|| TlsConfig { files: tried_files(r, &TLS), server_name: None });
    let user = r.given(&s::STATUS_USER, user);
    let password = r.secret(&s::STATUS_PASSWORD);
    if user.is_none() && password.is_some() {
        let why = "it is not set, and STATUS_PASSWORD is";
        r.problem(&s::STATUS_USER, None, why);
    }
    StatusConfig {
        url,
        login: user.map(|user| (user, password.unwrap_or_default())),
        tls,
        timeout: r.time(&s::STATUS_TIMEOUT),
    }
}

fn url(text: &str) -> Result<Uri, Why> {
    let url: Uri = text.trim().parse().map_err(|error| format!("it is no address of HTTP: {error}"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err("it begins with neither http:// nor https://".into());
    }
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("it holds a user; STATUS_USER and STATUS_PASSWORD are for that".into());
    }
    if url.query().is_some() {
        return Err("it holds a question mark, behind which the question will stand".into());
    }
    Ok(url)
}

/// Basic authentication ends the user name at the first colon (RFC 7617).
fn user(text: &str) -> Result<String, Why> {
    if text.contains(':') { Err("it holds a colon".into()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_where_and_nothing_of_who() {
        for right in ["http://localhost:11911", "https://proxy.example.org/heartbeat/", "http://[::1]:1"] {
            assert!(url(right).is_ok(), "{right}");
        }
        for wrong in ["localhost:11911", "ftp://a", "http://me:canary@a", "http://a/?x=1", "http://", ""] {
            let why = url(wrong).unwrap_err();
            assert!(!why.contains("canary"), "{why}");
        }
    }
}
