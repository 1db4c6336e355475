//! Prometheus itself scrapes through TLS, client certificates and a password, and a stranger does not.

use crate::support::certificates::Certificates;
use crate::support::field::BOUND;
use crate::support::program::Setup;
use crate::support::prometheus::Prometheus;
use crate::support::wait::wait_until;

/// A job with its own way to the same target.
fn job(name: &str, address: std::net::SocketAddr, way: &str) -> String {
    format!("  - job_name: {name}\n{way}    static_configs: [{{targets: ['{address}']}}]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_what_is_protected_and_a_stranger_does_not() {
    let setup = Setup::new("standalone");
    let files = Certificates::make(setup.folder());
    let hash = bcrypt::hash("sesame", 10).unwrap();
    let mut program = setup
        .web_config(&format!(
            "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n  \
             client_auth_type: RequireAndVerifyClientCert\nbasic_auth_users:\n  prometheus: {hash}\n"
        ))
        .start();
    program.wait_log(BOUND, "msg=Listening").await;

    let [ca, cert, key] = [&files.ca, &files.client, &files.client_key].map(|path| path.display());
    let tls =
        format!("    scheme: https\n    tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}\n");
    let bare = format!("    scheme: https\n    tls_config: {{ca_file: {ca}}}\n");
    let user = |password: &str| format!("    basic_auth: {{username: prometheus, password: {password}}}\n");
    let address = program.http();
    let config = [
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned(),
        job("known", address, &(tls.clone() + &user("sesame"))),
        job("guessing", address, &(tls.clone() + &user("guess"))),
        job("nameless", address, &tls),
        job("uncertified", address, &(bare + &user("sesame"))),
        job("plain", address, &user("sesame")),
    ]
    .concat();
    let prometheus = Prometheus::start(&Prometheus::folder(), &config, &[]).await;
    wait_until("Prometheus has scraped what it may", BOUND, async || {
        let targets = prometheus.api("targets", &[]).await?;
        let mut told = Vec::new();
        for target in targets["activeTargets"].as_array().unwrap() {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            told.push((text(&target["labels"]["job"]), text(&target["health"]), text(&target["lastError"])));
        }
        let is = |job: &str, health: &str, error: &str| {
            told.iter().any(|(of, seen, why)| of == job && seen == health && why.contains(error))
        };
        let done = is("known", "up", "")
            && is("guessing", "down", "401")
            && is("nameless", "down", "401")
            && is("uncertified", "down", "certificate required")
            && is("plain", "down", "400");
        if done { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let build = prometheus.query("heartbeat_build_info").await.unwrap();
    assert!(build.iter().all(|series| series.labels["job"] == "known") && !build.is_empty(), "{build:?}");

    // What asks for no port is not concerned.
    let mut check = program.command(&["healthcheck", "standalone"]);
    let output = tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(program.terminate(BOUND).await, Some(0));
    let log = program.log();
    assert!(!log.contains("sesame") && !log.contains(&hash), "{log}");
}
