//! The blackbox exporter as Debian packages it, and a scraper of it that keeps its connections, as Prometheus does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, interval_at};

use super::connecting::target;
use crate::support::http;
use crate::support::ports::free_port;
use crate::support::process::{Process, folder};
use crate::support::wait::wait_until;

const PROGRAM: &str = "/usr/bin/prometheus-blackbox-exporter";

/// As its own example has it.
const CONFIG: &str = "modules:\n  tcp_connect:\n    prober: tcp\n";

/// Of each target, between two checks.
const SECOND: Duration = Duration::from_secs(1);

/// One that runs.
pub struct Blackbox {
    address: SocketAddr,
    process: Process,
}

impl Blackbox {
    /// Starts it and waits until it serves.
    pub async fn start() -> Self {
        let folder = folder("blackbox");
        let config = folder.join("blackbox.yml");
        std::fs::write(&config, CONFIG).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let args = [format!("--config.file={}", config.display()), format!("--web.listen-address={address}")];
        let args = args.iter().map(String::as_str);
        let process = Process::start("blackbox", Path::new(PROGRAM), args, [], &folder.join("log"));
        wait_until("the blackbox exporter serves", Duration::from_secs(30), async || {
            http::get(address, "/-/healthy").await.map(drop)
        })
        .await;
        Self { address, process }
    }

    /// For /proc.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Has it check each target once a second, so many seconds long, over a connection a target and spread evenly, as
    /// Prometheus does; each must be up.
    pub async fn probe(&self, targets: usize, port: u16, seconds: usize) {
        let began = Instant::now();
        let scrapers = (0..targets).map(|number| {
            let uri =
                format!("http://{}/probe?module=tcp_connect&target={}", self.address, target(number, port));
            let uri: Uri = uri.parse().unwrap();
            let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
            let first = began + SECOND * u32::try_from(number).unwrap() / u32::try_from(targets).unwrap();
            tokio::spawn(async move {
                let mut tick = interval_at(first, SECOND);
                for _ in 0..seconds {
                    tick.tick().await;
                    let request = Request::get(uri.clone()).body(Empty::new()).unwrap();
                    let answer = client.request(request).await.unwrap().into_body();
                    let answer = answer.collect().await.unwrap().to_bytes();
                    assert!(answer.ends_with(b"probe_success 1\n"), "{answer:?}");
                }
            })
        });
        for scraper in scrapers.collect::<Vec<_>>() {
            scraper.await.unwrap();
        }
    }
}
