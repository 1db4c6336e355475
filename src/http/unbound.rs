//! Why a server does not listen, and what to do about it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::Problems;

/// Why the server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// There is nothing to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// One of the addresses is not to be had.
    #[error("cannot listen on {at}")]
    Listen {
        /// Which one.
        at: ListensOn,
        /// What the system said.
        source: io::Error,
    },
    /// The web configuration cannot be used.
    #[error("the web configuration cannot be used")]
    WebConfig(#[source] Problems),
}

/// What a server is to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListensOn {
    /// An address of TCP.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ListensOn {
    /// As it is configured.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Ports that not everybody may take.
const RESERVED: std::ops::Range<u16> = 1..1024;

impl BindError {
    /// What to do about it; `None` where nobody can say more than the error does.
    pub fn to_do(&self) -> Option<String> {
        let Self::Listen { at, source } = self else { return None };
        match at {
            ListensOn::Tcp(address) => to_do_for(*address, source.kind()),
            ListensOn::Unix(path) => to_do_for_socket(path, source.kind()),
        }
    }
}

fn to_do_for(address: SocketAddr, kind: ErrorKind) -> Option<String> {
    let port = address.port();
    match kind {
        ErrorKind::AddrInUse => Some(format!(
            "something listens there already: `ss -ltnp 'sport = :{port}'` shows what; end it, or set another port"
        )),
        ErrorKind::AddrNotAvailable => Some(
            "no interface of this machine has that address: `ip address` shows those that there are".into(),
        ),
        ErrorKind::PermissionDenied if RESERVED.contains(&port) => {
            Some("a port below 1024 takes the capability CAP_NET_BIND_SERVICE; set a higher one".into())
        }
        _ => None,
    }
}

fn to_do_for_socket(path: &Path, kind: ErrorKind) -> Option<String> {
    let folder = path.parent().unwrap_or(Path::new("/")).display();
    match kind {
        ErrorKind::NotFound => Some(format!(
            "make the folder {folder}, writable for this user; systemd makes one below /run for RuntimeDirectory="
        )),
        ErrorKind::PermissionDenied => {
            Some(format!("let this user write in the folder {folder}, or set a path in another one"))
        }
        ErrorKind::AddrInUse => Some("stop the other process, or set another path: each has its own".into()),
        ErrorKind::AlreadyExists => Some("move that file away, or set another path".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::listen::Listener;
    use super::*;

    fn told(at: ListensOn) -> (String, String) {
        let listened = match &at {
            ListensOn::Tcp(address) => Listener::tcp(*address, &[*address]).map(drop),
            ListensOn::Unix(path) => Listener::unix(path).map(drop),
        };
        let error = BindError::Listen { at, source: listened.unwrap_err() };
        (error.to_string(), error.to_do().unwrap())
    }

    #[tokio::test]
    async fn what_keeps_a_server_from_listening_is_said_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let _held = TcpListener::bind(taken).unwrap();
        let (error, to_do) = told(ListensOn::Tcp(taken));
        assert_eq!(error, format!("cannot listen on {taken}"));
        assert!(to_do.contains(&format!("'sport = :{}'", taken.port())), "{to_do}");
        // For documents, and nobody's.
        let (_, to_do) = told(ListensOn::Tcp("192.0.2.1:9".parse().unwrap()));
        assert!(to_do.contains("`ip address` shows"), "{to_do}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/x.sock");
        let (error, to_do) = told(ListensOn::Unix(path.clone()));
        assert_eq!(error, format!("cannot listen on unix:{}", path.display()));
        assert!(to_do.starts_with(&format!("make the folder {}/none,", folder.path().display())), "{to_do}");
        let path = folder.path().join("file");
        std::fs::write(&path, "precious").unwrap();
        assert!(told(ListensOn::Unix(path)).1.starts_with("move that file away"));
        let path = folder.path().join("x.sock");
        let _held = Listener::unix(&path).unwrap();
        assert!(told(ListensOn::Unix(path)).1.starts_with("stop the other process"));
    }
}
