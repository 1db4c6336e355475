//! A real Prometheus with a configuration of the test's, and questions to it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::http;
use super::ports::free_port;
use super::process::{Process, folder};
use super::wait::wait_until;

/// It starts in a second; a loaded machine may take its time.
const START_BOUND: Duration = Duration::from_secs(60);

/// One series of an answer.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its labels, with `__name__` where it has one.
    pub labels: BTreeMap<String, String>,
    /// Its newest value.
    pub value: f64,
}

/// A Prometheus; killed when dropped.
pub struct Prometheus {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
}

impl Prometheus {
    /// A folder for its files; rules may be put there before it starts.
    pub fn folder() -> PathBuf {
        folder("prometheus")
    }

    /// Starts one in its folder, with flags beside its own, and waits until it serves.
    pub async fn start(folder: &Path, config: &str, flags: &[&str]) -> Self {
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        std::fs::write(path("prometheus.yml"), config).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let args = [
            format!("--config.file={}", path("prometheus.yml")),
            format!("--storage.tsdb.path={}", path("data")),
            format!("--web.listen-address={address}"),
            "--log.level=warn".to_owned(),
        ];
        let args = args.iter().map(String::as_str).chain(flags.iter().copied());
        let process =
            Process::start("prometheus", Path::new("/usr/bin/prometheus"), args, [], &folder.join("log"));
        let this = Self { address, _process: process };
        wait_until("Prometheus serves", START_BOUND, async || {
            let answer = http::get(address, "/-/ready").await?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        })
        .await;
        this
    }

    /// Asks its API; the error is what it says.
    pub async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let encoded = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect::<Vec<_>>()
            .join("&");
        let answer = http::get(self.address, &format!("/api/v1/{path}?{encoded}")).await?;
        let text = answer.text();
        let body: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if body["status"] == "success" { Ok(body["data"].clone()) } else { Err(text) }
    }

    /// A query, as of now.
    pub async fn query(&self, query: &str) -> Result<Vec<Series>, String> {
        let data =
            self.api("query", &[("query", query)]).await.map_err(|error| format!("{query}: {error}"))?;
        if data["resultType"] == "scalar" {
            return Ok(vec![Series { labels: BTreeMap::new(), value: number(&data["result"][1]) }]);
        }
        Ok(data["result"].as_array().unwrap().iter().map(|series| one(series, &series["value"])).collect())
    }

    /// A query over the last `span`, with `step` between two points.
    pub async fn query_range(
        &self,
        query: &str,
        span: Duration,
        step: Duration,
    ) -> Result<Vec<Series>, String> {
        let now = jiff::Timestamp::now().as_second();
        let start = (now - i64::try_from(span.as_secs()).unwrap()).to_string();
        let step = step.as_secs().to_string();
        let parameters = [("query", query), ("start", &start), ("end", &now.to_string()), ("step", &step)];
        let data = self.api("query_range", &parameters).await.map_err(|error| format!("{query}: {error}"))?;
        let last = |series: &Value| series["values"].as_array().and_then(|all| all.last()).cloned();
        let series = data["result"].as_array().unwrap().iter();
        Ok(series.map(|series| one(series, &last(series).unwrap_or_default())).collect())
    }

    /// The names of the alerts that fire at present.
    pub async fn firing(&self) -> Result<Vec<String>, String> {
        let alerts = self.api("alerts", &[]).await?;
        let alerts = alerts["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        Ok(firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect())
    }
}

fn one(series: &Value, sample: &Value) -> Series {
    let labels = series["metric"].as_object().unwrap().iter();
    let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    Series { labels, value: number(&sample[1]) }
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}
