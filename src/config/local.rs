//! The publisher's local API: where those who run beside it tell it something.

use std::path::PathBuf;

use super::model::{ListenAddress, LocalAddress, LocalConfig};
use super::parse::{self, Why};
use super::reader::Reader;
use super::sections::warn_unused;
use super::settings as s;

/// Longest path of a Unix socket, in bytes: the system's, without the end of the text.
const SOCKET_BYTES_MAX: usize = 107;

/// The local API, where one is wanted by a publisher.
pub(super) fn local(r: &mut Reader<'_>) -> Option<LocalConfig> {
    read(r, "it is not set, and anybody who reaches LOCAL_LISTEN_ADDRESS could speak for every job")
}

/// The same for whoever speaks to it.
pub(super) fn elsewhere(r: &mut Reader<'_>) -> Option<LocalConfig> {
    read(
        r,
        "it is not set here, and a publisher that listens on a port wants one; set it to what the publisher has",
    )
}

fn read(r: &mut Reader<'_>, without_token: &str) -> Option<LocalConfig> {
    let token = r.secret(&s::LOCAL_TOKEN);
    let Some(listen) = r.given(&s::LOCAL_LISTEN_ADDRESS, address) else {
        if token.is_some() && !r.is_given(&s::LOCAL_LISTEN_ADDRESS) {
            warn_unused(r, &s::LOCAL_TOKEN, "LOCAL_LISTEN_ADDRESS is not set");
        }
        return None;
    };
    if let LocalAddress::Tcp(address) = &listen {
        // One that cannot be read, or is given twice, has its own problem.
        if token.is_none() && !r.is_given(&s::LOCAL_TOKEN) {
            r.problem(&s::LOCAL_TOKEN, None, without_token);
        }
        if !is_of_this_machine(address) {
            let text = "others than this machine reach it, and the token travels in clear";
            r.warn(&s::LOCAL_LISTEN_ADDRESS, text);
        }
    }
    Some(LocalConfig { listen, token })
}

/// `unix:/path`, or an address as others are.
fn address(text: &str) -> Result<LocalAddress, Why> {
    let Some(path) = text.trim().strip_prefix("unix:") else {
        if text.contains('/') {
            return Err("it looks like the path of a socket, which has unix: before it".into());
        }
        return parse::listen_address(text).map(LocalAddress::Tcp);
    };
    if !path.starts_with('/') || path.ends_with('/') {
        return Err("it is no absolute path of a socket behind unix:".into());
    }
    if path.len() > SOCKET_BYTES_MAX {
        return Err(format!("its path is longer than the {SOCKET_BYTES_MAX} bytes that a socket's may have"));
    }
    Ok(LocalAddress::Unix(PathBuf::from(path)))
}

fn is_of_this_machine(address: &ListenAddress) -> bool {
    match address.host.as_deref() {
        None => false,
        Some("localhost") => true,
        Some(host) => host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, MapSource, Role, RoleConfig, load};

    fn read(variables: &[(&str, &str)]) -> Result<(Option<LocalConfig>, Vec<String>), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("checks.json");
        std::fs::write(&file, r#"{"heartbeat": {}}"#).unwrap();
        let file = file.to_str().unwrap();
        let own = [("PUBLISHER_CONFIG_PATH", file), ("PUBLISHER_ID", "oslo")];
        let all: Vec<_> = own.into_iter().chain(variables.iter().copied()).collect();
        let (config, warnings) = load(Role::Publisher, &Flags::new(), &MapSource::new(&all))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let RoleConfig::Publisher(publisher) = config.role else { panic!() };
        Ok((publisher.emitter.local, warnings.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn it_is_off_unless_it_is_set() {
        assert_eq!(read(&[]).unwrap(), (None, Vec::new()));
        let (local, warnings) = read(&[("LOCAL_TOKEN", "sesame")]).unwrap();
        assert_eq!(local, None);
        assert!(warnings[0].contains("LOCAL_LISTEN_ADDRESS is not set"), "{warnings:?}");
    }

    #[test]
    fn a_socket_needs_no_token_and_a_port_does() {
        let socket = ("LOCAL_LISTEN_ADDRESS", "unix:/run/heartbeat/publisher.sock");
        let (local, warnings) = read(&[socket]).unwrap();
        let listen = LocalAddress::Unix("/run/heartbeat/publisher.sock".into());
        assert_eq!((local, warnings), (Some(LocalConfig { listen, token: None }), Vec::new()));
        let port = ("LOCAL_LISTEN_ADDRESS", "127.0.0.1:9912");
        let problem = read(&[port]).unwrap_err();
        assert!(problem.contains("LOCAL_TOKEN") && problem.contains("speak for every job"), "{problem}");
        let (local, warnings) = read(&[port, ("LOCAL_TOKEN", "sesame")]).unwrap();
        assert!(local.unwrap().token.is_some() && warnings.is_empty(), "{warnings:?}");
        let (_, warnings) = read(&[("LOCAL_LISTEN_ADDRESS", ":9912"), ("LOCAL_TOKEN", "sesame")]).unwrap();
        assert!(warnings[0].contains("travels in clear"), "{warnings:?}");
    }

    /// Their disk may not answer, and whoever makes the file or the socket says what is wrong there.
    #[test]
    fn no_folder_is_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none");
        let (socket, state) = (format!("unix:{}/api.sock", none.display()), none.join("state.json"));
        for state in [state.to_str().unwrap(), "state.json"] {
            let (_, warnings) =
                read(&[("LOCAL_LISTEN_ADDRESS", &socket), ("PUBLISHER_STATE_FILE", state)]).unwrap();
            assert_eq!(warnings, [""; 0]);
        }
    }

    /// Whoever has two has no need of a third.
    #[test]
    fn a_token_that_cannot_be_read_is_one_problem() {
        let port = ("LOCAL_LISTEN_ADDRESS", "127.0.0.1:9912");
        let gone = ("LOCAL_TOKEN_FILE", "/does/not/exist");
        let twice = read(&[port, gone, ("LOCAL_TOKEN", "sesame")]).unwrap_err();
        assert!(twice.contains("keep one of them") && !twice.contains("not set"), "{twice}");
        let unread = read(&[port, gone]).unwrap_err();
        assert!(unread.contains("no such file") && !unread.contains("not set"), "{unread}");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("unix:/{}", "x".repeat(107));
        for (text, expected) in [
            ("unix:run/x.sock", "no absolute path"),
            ("unix:", "no absolute path"),
            ("/run/x.sock", "which has unix: before it"),
            ("run/x.sock", "which has unix: before it"),
            ("9912", "is a port alone; write it as :9912"),
            (&long, "longer than the 107 bytes"),
        ] {
            let problem = read(&[("LOCAL_LISTEN_ADDRESS", text)]).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
