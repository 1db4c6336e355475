//! A real Alertmanager, and the webhook that its notifications go to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::http;
use super::ports::{free_port, listen};
use super::process::{Process, folder};
use super::wait::wait_until;

/// It starts in a second; a loaded machine may take its time.
const START_BOUND: Duration = Duration::from_secs(60);

/// An Alertmanager; killed when dropped.
pub struct Alertmanager {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

impl Alertmanager {
    /// Where one may be started: Prometheus must know it before.
    pub fn address() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
    }

    /// Starts one with a configuration and waits until it serves.
    pub async fn start(address: SocketAddr, config: &str) -> Self {
        let folder = folder("alertmanager");
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        std::fs::write(path("alertmanager.yml"), config).unwrap();
        let args = [
            format!("--config.file={}", path("alertmanager.yml")),
            format!("--storage.path={}", path("data")),
            format!("--web.listen-address={address}"),
            // One alone, which gossips with nobody.
            "--cluster.listen-address=".to_owned(),
        ];
        let args = args.iter().map(String::as_str);
        let program = Path::new("/usr/bin/prometheus-alertmanager");
        let process = Process::start("alertmanager", program, args, [], &folder.join("log"));
        wait_until("Alertmanager serves", START_BOUND, async || {
            let answer = http::get(address, "/-/ready").await?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        })
        .await;
        Self { address, _process: process }
    }
}

/// One alert within a notification.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// `firing` or `resolved`.
    pub status: String,
    /// What it is of.
    pub labels: BTreeMap<String, String>,
    /// What it says.
    pub annotations: BTreeMap<String, String>,
}

impl Alert {
    /// The name of the alert.
    pub fn name(&self) -> &str {
        &self.labels["alertname"]
    }
}

/// A notification as it came.
#[derive(Clone, Debug)]
pub struct Notification {
    /// To which path, which names the receiver.
    pub path: String,
    /// When.
    pub at: Instant,
    /// Every alert of its group.
    pub alerts: Vec<Alert>,
}

impl Notification {
    /// Whether it tells that an alert fires, or is resolved.
    pub fn tells(&self, name: &str, status: &str) -> bool {
        self.alerts.iter().any(|alert| alert.name() == name && alert.status == status)
    }
}

#[derive(Deserialize)]
struct Body {
    alerts: Vec<Alert>,
}

type Inbox = Arc<Mutex<Vec<Notification>>>;

/// Takes notifications until it is dropped.
pub struct Webhook {
    /// Where.
    pub address: SocketAddr,
    inbox: Inbox,
    task: JoinHandle<()>,
}

impl Webhook {
    /// Listens.
    pub async fn listen() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let listener = listen(address);
        let inbox = Inbox::default();
        let taken = Arc::clone(&inbox);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inbox = Arc::clone(&taken);
                let service = service_fn(move |request| answer(Arc::clone(&inbox), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    // What goes wrong on a connection is its client's to see.
                    let _ = connection.await;
                });
            }
        });
        Self { address, inbox, task }
    }

    /// All that came, in order, without those of the watchdog.
    pub fn notifications(&self) -> Vec<Notification> {
        let all = self.inbox.lock().unwrap();
        all.iter().filter(|notification| notification.path != "/watchdog").cloned().collect()
    }

    /// How many came of the watchdog.
    pub fn watchdogs(&self) -> usize {
        self.inbox.lock().unwrap().iter().filter(|notification| notification.path == "/watchdog").count()
    }

    /// What of these names was told as firing or resolved, in order: for a look at the whole.
    pub fn told(&self) -> Vec<(String, String, String)> {
        let told = |notification: Notification| {
            let path = notification.path;
            notification
                .alerts
                .into_iter()
                .map(move |alert| (path.clone(), alert.name().to_owned(), alert.status))
        };
        self.notifications().into_iter().flat_map(told).collect()
    }

    /// Waits for a notification after the first `seen` that tells of an alert.
    pub async fn wait(&self, bound: Duration, seen: usize, name: &str, status: &str) -> Notification {
        wait_until(&format!("a notification that {name} is {status}"), bound, async || {
            let all = self.notifications();
            let found = all.iter().skip(seen).find(|notification| notification.tells(name, status));
            found.cloned().ok_or_else(|| format!("{:?}", self.told()))
        })
        .await
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(inbox: Inbox, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(status(400)),
    };
    let Ok(Body { alerts }) = serde_json::from_slice(&body) else {
        return Ok(status(400));
    };
    inbox.lock().unwrap().push(Notification { path, at: Instant::now(), alerts });
    Ok(status(200))
}

fn status(code: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
    response
}
