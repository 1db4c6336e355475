//! Asks the world how its components are. A check never fails: what it could not find out is an outcome
//! too, with its reason.
//!
//! - [`tcp`]: whether a host takes connections.
//! - [`management`]: whether the expected listeners consume their queues.
//! - [`pattern`]: which consumers are a listener's, and what a body must hold.
//! - [`probe`]: the kinds beyond the contract's, [`http`], [`tls`], [`dns`] and [`grpc`].
//!
//! Every check has a deadline for the whole of its work and knows nothing of where its settings came from.

mod asking;
pub mod dns;
pub mod grpc;
pub mod http;
pub mod management;
mod open;
pub mod pattern;
pub mod probe;
mod resolve;
pub mod secure;
pub mod tcp;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::heartbeat::{Outcome, Reason, Timestamp};

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether the component works.
    pub outcome: Outcome,
    /// Why it is not up; `None` exactly when it is.
    pub reason: Option<Reason>,
    /// How long the check took.
    pub took: Duration,
    /// Who answered, or was tried; `None` where it did not come to that.
    pub peer: Option<SocketAddr>,
    /// When the certificate that was shown ends; `None` where none was seen that a trusted CA vouches for.
    pub certificate_not_after: Option<Timestamp>,
    /// What is known beside the reason, for people. No secret, nothing of a body, and no query of a URL.
    pub detail: Option<Box<str>>,
}

/// An outcome with its reason, before anyone looked at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the component works.
    pub outcome: Outcome,
    /// Why it is not up; `None` exactly when it is.
    pub reason: Option<Reason>,
}

impl Verdict {
    /// It works.
    pub const UP: Self = Self { outcome: Outcome::Up, reason: None };

    /// It was checked and does not work.
    pub const fn down(reason: Reason) -> Self {
        Self { outcome: Outcome::Down, reason: Some(reason) }
    }

    /// It could not be checked.
    pub const fn unknown(reason: Reason) -> Self {
        Self { outcome: Outcome::Unknown, reason: Some(reason) }
    }

    /// With the time that the check took, and who answered or was tried.
    pub const fn after(self, took: Duration, peer: Option<SocketAddr>) -> Checked {
        let (certificate_not_after, detail) = (None, None);
        Checked { outcome: self.outcome, reason: self.reason, took, peer, certificate_not_after, detail }
    }

    /// With what is known beside the reason.
    fn because(self, detail: impl Into<Box<str>>) -> Finding {
        Finding { verdict: self, detail: Some(detail.into()) }
    }
}

/// Why something is not up, with what is known beside the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    /// See [`Checked::detail`].
    detail: Option<Box<str>>,
}

impl From<Verdict> for Finding {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, detail: None }
    }
}

/// What a check came across on its way, wherever it ended.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The first that answered, or was tried: a redirect leads to others.
    peer: Option<SocketAddr>,
    /// The earliest of those that were shown.
    certificate_not_after: Option<Timestamp>,
    /// Since when this machine is waited for, and not the component.
    here_since: Option<Instant>,
    /// How long this machine was waited for before.
    here: Duration,
}

impl Seen {
    /// Connects, and notes to whom.
    async fn open(&mut self, host: &str, port: u16, end: Instant) -> Result<TcpStream, Verdict> {
        let (opened, peer) = match open::open(host, port, end).await {
            Ok((stream, peer)) => (Ok(stream), Some(peer)),
            Err(open::Unopened { verdict, tried }) => (Err(verdict), tried),
        };
        self.peer = self.peer.or(peer);
        opened
    }

    /// Notes when a certificate ends.
    fn certificate(&mut self, not_after: Timestamp) {
        self.certificate_not_after =
            Some(self.certificate_not_after.map_or(not_after, |earliest| earliest.min(not_after)));
    }

    /// Waits for this machine. The component is not to blame for the time that it takes, nor for a deadline that passes then.
    async fn here<T>(&mut self, work: impl Future<Output = T>) -> T {
        let since = Instant::now();
        self.here_since = Some(since);
        let done = work.await;
        self.here_since = None;
        self.here += since.elapsed();
        done
    }
}

/// Whether an error says that this machine had not the means or the permission to try, and so nothing about
/// the peer: no descriptors, no buffers, no memory, a local firewall or security module.
fn is_local_failure(error: &io::Error) -> bool {
    let local =
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ACCESS, Errno::PERM, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| local.contains(&errno))
}
