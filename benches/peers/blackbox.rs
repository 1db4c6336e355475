//! The blackbox exporter as Debian packages it, and a scraper of it that keeps its connections, as Prometheus does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::connecting::target;
use crate::support::http;
use crate::support::ports::free_port;
use crate::support::process::{Process, folder};
use crate::support::wait::wait_until;

const PROGRAM: &str = "/usr/bin/prometheus-blackbox-exporter";

/// As its own example has it.
const CONFIG: &str = "modules:\n  tcp_connect:\n    prober: tcp\n";

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

    /// Has it check the targets in turn until so many checks are made, so many at one time; each must be up.
    pub async fn probe(&self, targets: usize, port: u16, checks: usize, together: usize) {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let next = Arc::new(AtomicUsize::new(0));
        let scrapers = (0..together).map(|_| {
            let (client, next, address) = (client.clone(), Arc::clone(&next), self.address);
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= checks {
                        return;
                    }
                    let target = target(number % targets, port);
                    let uri = format!("http://{address}/probe?module=tcp_connect&target={target}");
                    let request = Request::get(uri.parse::<Uri>().unwrap()).body(Empty::new()).unwrap();
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
