//! Connections, all of which can be ended at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codegen::Service;

use super::super::certificates::Certificates;
use super::super::ports::listen;
use super::received::Inbox;
use super::{grpc, http};

/// For a handshake, and for the end of tasks that are told to end: far above what either takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// After a failed accept.
const PAUSE: Duration = Duration::from_millis(10);

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// gRPC, thus HTTP/2.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// Listeners, connections and requests in hand, until they are stopped.
#[derive(Clone, Default)]
struct Tasks {
    stopped: CancellationToken,
    tasks: TaskTracker,
}

impl Tasks {
    /// Runs something until it ends, or all ends.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stopped.clone();
        self.tasks.spawn(async move {
            stopped.run_until_cancelled_owned(future).await;
        });
    }
}

// HTTP/2 runs each request beside its connection: without this, one that hangs would outlive a stop.
impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.spawn(future);
    }
}

/// Both ports while they are open.
#[derive(Default)]
pub(super) struct Serving {
    tasks: Tasks,
}

impl Serving {
    /// Listens, and serves whoever comes.
    pub(super) fn listen(
        &self,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        protocol: Protocol,
        inbox: &Arc<Inbox>,
    ) {
        let listener = listen(address);
        let (tasks, inbox) = (self.tasks.clone(), Arc::clone(inbox));
        self.tasks.spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    // Out of files, most likely: others must get on first.
                    sleep(PAUSE).await;
                    continue;
                };
                tasks.spawn(connection(stream, tls.clone(), protocol, Arc::clone(&inbox), tasks.clone()));
            }
        });
    }

    /// Ends all, and returns when all has ended.
    pub(super) async fn stop(self) {
        self.tasks.stopped.cancel();
        self.tasks.tasks.close();
        timeout(DEADLINE, self.tasks.tasks.wait()).await.expect("a task goes on after its stop");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.tasks.stopped.cancel();
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    protocol: Protocol,
    inbox: Arc<Inbox>,
    tasks: Tasks,
) {
    // What goes wrong on a connection is its client's to see.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(stream, protocol, inbox, tasks).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(DEADLINE, tls.accept(stream)).await {
                serve(stream, protocol, inbox, tasks).await;
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    protocol: Protocol,
    inbox: Arc<Inbox>,
    tasks: Tasks,
) {
    let stream = TokioIo::new(stream);
    // Again: what goes wrong is the client's to see.
    match protocol {
        Protocol::Grpc => {
            let routes = grpc::routes(&inbox);
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                inbox.count();
                let mut routes = routes.clone();
                async move { routes.call(request).await }
            });
            let _ = hyper::server::conn::http2::Builder::new(tasks).serve_connection(stream, service).await;
        }
        Protocol::Http => {
            let service = service_fn(move |request| http::answer(Arc::clone(&inbox), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
        }
    }
}

/// The server's side of TLS.
pub(super) fn tls_of(certificates: &Certificates, verify_clients: bool, protocol: Protocol) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = if verify_clients {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&certificates.ca).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(&certificates.server).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&certificates.server_key).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    let spoken: &[u8] = match protocol {
        Protocol::Grpc => b"h2",
        Protocol::Http => b"http/1.1",
    };
    config.alpn_protocols = vec![spoken.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
