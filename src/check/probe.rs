//! Checks beyond the contract's, each kind in a file of its own, after blackbox_exporter's model: what is asked is a
//! *spec*, pure data; a [`Prober`] asks it again and again.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::dns::{self, DnsSpec};
use super::grpc::{self, GrpcSpec};
use super::http::{self, HttpSpec};
use super::secure::SecureSpec;
use super::tls::{self, TlsSpec};
use super::{Checked, Seen, Verdict};
use crate::dial::endpoint;
use crate::heartbeat::Reason;
use crate::tls::{TlsFiles, Trust};

/// What is asked of a component.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeSpec {
    /// A page or an interface over HTTP.
    Http(Box<HttpSpec>),
    /// A host that speaks TLS.
    Tls(TlsSpec),
    /// A name server.
    Dns(Box<DnsSpec>),
    /// A gRPC server, or one of its services.
    Grpc(Box<GrpcSpec>),
}

impl ProbeSpec {
    /// Its kind: the list of the file in which it stands, the wire's word and the label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tls(_) => "tls",
            Self::Dns(_) => "dns",
            Self::Grpc(_) => "grpc",
        }
    }

    /// What is asked, for people. It holds no secret.
    pub fn target(&self) -> String {
        match self {
            Self::Http(spec) => spec.target(),
            Self::Tls(spec) => endpoint(&spec.host, spec.port),
            Self::Dns(spec) => spec.target(),
            Self::Grpc(spec) => spec.target(),
        }
    }

    /// Its TLS, where it is asked with TLS.
    pub fn secure(&self) -> Option<&SecureSpec> {
        match self {
            // A redirect may lead from http to https.
            Self::Http(spec) => {
                (spec.url.scheme() == "https" || spec.follow_redirects).then_some(&spec.secure)
            }
            Self::Tls(spec) => Some(&spec.secure),
            Self::Dns(_) => None,
            Self::Grpc(spec) => spec.secure.as_ref(),
        }
    }
}

/// What was made of files of TLS. Specs that name the same files share it: the system's roots alone are hundreds.
#[derive(Debug, Default)]
pub struct Trusts(Vec<Arc<Trust>>);

impl Trusts {
    fn of(&mut self, files: &TlsFiles) -> Arc<Trust> {
        if let Some(known) = self.0.iter().find(|known| known.files() == files) {
            return Arc::clone(known);
        }
        let trust = Arc::new(Trust::new(files.clone()));
        self.0.push(Arc::clone(&trust));
        trust
    }
}

/// Asks one component.
#[derive(Debug)]
pub struct Prober {
    spec: ProbeSpec,
    /// Whom it trusts; of a spec without TLS nobody is asked.
    trust: Arc<Trust>,
}

impl Prober {
    /// Makes one.
    pub fn new(spec: ProbeSpec, trusts: &mut Trusts) -> Self {
        let trust = trusts.of(spec.secure().map_or(&TlsFiles::default(), |secure| &secure.files));
        Self { spec, trust }
    }

    /// Asks once, within one deadline for the whole of it.
    pub async fn check(&self, deadline: Duration) -> Checked {
        let start = Instant::now();
        let end = start + deadline;
        let mut seen = Seen::default();
        // In a box each, of the size that its kind needs.
        let asked: Pin<Box<dyn Future<Output = Result<(), Verdict>> + Send + '_>> = match &self.spec {
            ProbeSpec::Http(spec) => Box::pin(http::check(spec, &self.trust, end, &mut seen)),
            ProbeSpec::Tls(spec) => Box::pin(tls::check(spec, &self.trust, end, &mut seen)),
            ProbeSpec::Dns(spec) => Box::pin(dns::check(spec, end, &mut seen)),
            ProbeSpec::Grpc(spec) => Box::pin(grpc::check(spec, &self.trust, end, &mut seen)),
        };
        let verdict = match timeout_at(end, asked).await {
            Ok(Ok(())) => Verdict::UP,
            Ok(Err(verdict)) => verdict,
            Err(_) => Verdict::down(Reason::Timeout),
        };
        let checked = verdict.after(start.elapsed(), seen.peer);
        Checked { certificate_not_after: seen.certificate_not_after, ..checked }
    }
}
