//! Checks beyond the contract's, each kind in a file of its own, after blackbox_exporter's model: what is asked is a
//! *spec*, pure data; a [`Prober`] asks it again and again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::dns::{self, DnsSpec};
use super::grpc::{self, GrpcSpec};
use super::http::{self, HttpSpec};
use super::secure::SecureSpec;
use super::tls::{self, TlsSpec};
use super::{Checked, Finding, Seen, Verdict};
use crate::dial::endpoint;
use crate::heartbeat::Reason;
use crate::secret::{Secret, SecretFile};
use crate::telemetry::Chain;
use crate::tls::{Means, TlsFiles, Trust};

/// Longest time that files of checks are waited for.
const FILES_TIME: Duration = Duration::from_secs(2);

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

/// What was made of the files that specs name. Those that name the same share it: the system's roots alone are hundreds, and
/// on a disk that does not answer one thread is enough.
#[derive(Debug, Default)]
pub struct SharedFiles {
    trusts: Vec<Arc<Trust>>,
    secrets: HashMap<PathBuf, SecretFile>,
}

impl SharedFiles {
    fn trust(&mut self, files: &TlsFiles) -> Arc<Trust> {
        if let Some(known) = self.trusts.iter().find(|known| known.files() == files) {
            return Arc::clone(known);
        }
        let trust = Arc::new(Trust::new(files.clone()));
        self.trusts.push(Arc::clone(&trust));
        trust
    }

    fn secret(&mut self, path: &Path) -> SecretFile {
        self.secrets.entry(path.to_owned()).or_insert_with_key(|path| SecretFile::new(path.clone())).clone()
    }
}

/// The files that one spec names.
#[derive(Debug)]
pub(super) struct Files {
    /// Whom it trusts; `None` where it is asked without TLS.
    trust: Option<Arc<Trust>>,
    /// Those of its secrets, in the order of these.
    secrets: Vec<SecretFile>,
}

/// What was read for one check.
#[derive(Debug)]
pub(super) struct OnHand {
    /// What its handshakes are made with, or what the lack of it says.
    pub(super) means: Result<Means, Finding>,
    /// In the order of the spec's.
    pub(super) secrets: Vec<Secret>,
}

impl Files {
    pub(super) fn of(spec: &ProbeSpec, shared: &mut SharedFiles) -> Self {
        let trust = spec.secure().map(|secure| shared.trust(&secure.files));
        let secrets = match spec {
            ProbeSpec::Http(spec) => &spec.secrets[..],
            _ => &[],
        };
        let secrets = secrets.iter().map(|secret| shared.secret(&secret.file)).collect();
        Self { trust, secrets }
    }

    /// Reads them all, within so long. What is known to hang is not waited for: as many checks may need it as there are.
    pub(super) async fn read(&self, time: Duration) -> Result<OnHand, Finding> {
        let secrets = join_all(self.secrets.iter().map(async |file| {
            file.read(time).await.map_err(|error| {
                let detail = format!("{} cannot be used: {}", file.path().display(), Chain(&*error));
                Verdict::unknown(Reason::Local).because(detail)
            })
        }));
        let (means, secrets) = tokio::join!(self.means(time), secrets);
        Ok(OnHand { means, secrets: secrets.into_iter().collect::<Result<_, _>>()? })
    }

    async fn means(&self, time: Duration) -> Result<Means, Finding> {
        let unusable = Verdict::unknown(Reason::Local);
        let read = self.trust.as_ref().ok_or(unusable)?.read(time).await;
        read.map_err(|error| unusable.because(Chain(&*error).to_string()))
    }
}

/// Asks one component.
#[derive(Debug)]
pub struct Prober {
    spec: ProbeSpec,
    files: Files,
}

impl Prober {
    /// Makes one.
    pub fn new(spec: ProbeSpec, shared: &mut SharedFiles) -> Self {
        let files = Files::of(&spec, shared);
        Self { spec, files }
    }

    /// The longest that a check may take: its files, and then the component.
    pub fn time_max(deadline: Duration) -> Duration {
        deadline + deadline.min(FILES_TIME)
    }

    /// Asks once, within one deadline for the whole of it; it begins when the files are read, so that a slow disk of this
    /// machine leaves the component no less of it. Only then it waits for its `turn`, which others are to have meanwhile.
    pub async fn check<T>(&self, deadline: Duration, turn: impl Future<Output = T>) -> Checked {
        let on_hand = match self.files.read(deadline.min(FILES_TIME)).await {
            Ok(on_hand) => on_hand,
            Err(Finding { verdict, detail }) => {
                return Checked { detail, ..verdict.after(Duration::ZERO, None) };
            }
        };
        let _turn = turn.await;
        let start = Instant::now();
        let end = start + deadline;
        let mut seen = Seen::default();
        // In a box each, of the size that its kind needs.
        let asked: Pin<Box<dyn Future<Output = Result<(), Finding>> + Send + '_>> = match &self.spec {
            ProbeSpec::Http(spec) => Box::pin(http::check(spec, &on_hand, end, &mut seen)),
            ProbeSpec::Tls(spec) => Box::pin(tls::check(spec, &on_hand, end, &mut seen)),
            ProbeSpec::Dns(spec) => Box::pin(dns::check(spec, end, &mut seen)),
            ProbeSpec::Grpc(spec) => Box::pin(grpc::check(spec, &on_hand, end, &mut seen)),
        };
        let Finding { verdict, detail } = match timeout_at(end, asked).await {
            Ok(Ok(())) => Verdict::UP.into(),
            Ok(Err(finding)) => finding,
            Err(_) if seen.here_since.is_some() => Verdict::unknown(Reason::Local).into(),
            Err(_) => Verdict::down(Reason::Timeout).into(),
        };
        let checked = verdict.after(start.elapsed().saturating_sub(seen.here), seen.peer);
        Checked { certificate_not_after: seen.certificate_not_after, detail, ..checked }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::heartbeat::Outcome;

    /// Who opens such a file to read it is kept waiting until somebody writes, as by a mount whose server is gone.
    #[tokio::test]
    async fn roots_that_cannot_be_read_in_time_are_no_fault_of_the_component() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca");
        mknodat(CWD, &ca, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let files = TlsFiles { ca: Some(ca.clone()), client: None };
        let secure = || SecureSpec { files: files.clone(), ..SecureSpec::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (host, port) = ("127.0.0.1", listener.local_addr().unwrap().port());
        let tls = TlsSpec { host: host.into(), port, secure: secure() };
        let grpc = GrpcSpec { host: host.into(), port, service: "".into(), secure: Some(secure()) };
        let mut shared = SharedFiles::default();
        for spec in [ProbeSpec::Tls(tls), ProbeSpec::Grpc(Box::new(grpc))] {
            let checked = Prober::new(spec, &mut shared).check(Duration::from_millis(100), ready(())).await;
            assert_eq!((checked.outcome, checked.reason), (Outcome::Unknown, Some(Reason::Local)));
        }
        // What hangs is known to, and however many need it, a round is not held up.
        let tls = TlsSpec { host: host.into(), port, secure: secure() };
        let prober = Prober::new(ProbeSpec::Tls(tls), &mut shared);
        let (begun, limit) = (Instant::now(), Duration::from_millis(500));
        tokio::time::sleep(limit).await;
        for _ in 0..100 {
            let checked = prober.check(limit, ready(())).await;
            assert_eq!((checked.outcome, checked.reason), (Outcome::Unknown, Some(Reason::Local)));
        }
        assert!(begun.elapsed() < 20 * limit, "it took {:?}", begun.elapsed());
        // One thread waits, for all. Lets it go.
        std::fs::write(&ca, "").unwrap();
    }
}
