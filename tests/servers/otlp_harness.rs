//! The OTLP receiver of the harness: what is sent to it is what it says was sent, and it answers as it is told.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::transport::Identity;
use tonic::{Code, Status};

use crate::support::certificates::Certificates;
use crate::support::http;
use crate::support::otlp::clients::{channel, gzip, https_post, post, tls, tls_channel};
use crate::support::otlp::samples::{sized, some_logs, some_metrics, some_traces};
use crate::support::otlp::{Answer, BYTES_MAX, Bins, Collector, Kind, Options, Request, Signal, Transport};
use crate::support::process::folder;
use crate::support::wait::wait_until;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_over_grpc_is_what_is_received() {
    let collector = Collector::start(Options::default());
    let channel = channel(&collector).await;
    let mut traces = TraceServiceClient::new(channel.clone());
    let mut logs = LogsServiceClient::new(channel.clone()).send_compressed(CompressionEncoding::Gzip);
    let mut metrics = MetricsServiceClient::new(channel);
    let mut request = tonic::Request::new(some_traces());
    request.metadata_mut().insert("x-tenant", "one".parse().unwrap());
    assert_eq!(traces.export(request).await.unwrap().into_inner().partial_success, None);
    logs.export(some_logs()).await.unwrap();
    metrics.export(some_metrics()).await.unwrap();

    let received = collector.received();
    let seen: Vec<(Signal, Transport)> = received.iter().map(|one| (one.signal, one.transport)).collect();
    assert_eq!(seen, [Signal::Traces, Signal::Logs, Signal::Metrics].map(|signal| (signal, Transport::Grpc)));
    assert_eq!(received[0].request, Request::Traces(some_traces()));
    assert_eq!(received[1].request, Request::Logs(some_logs()));
    assert_eq!(received[2].request, Request::Metrics(some_metrics()));
    assert_eq!(received[0].headers["x-tenant"], "one");
    assert_eq!(received[1].headers["grpc-encoding"], "gzip");
    assert_eq!(received[2].headers.get("grpc-encoding"), None);
    assert_eq!(received[2].bytes, some_metrics().encoded_len());
    assert!(received[0].at <= received[1].at && received[1].at <= Instant::now());
    assert_eq!(collector.requests(), 3);
    assert_eq!(collector.spans()[0].2.name, "a span");
    assert_eq!(collector.logs()[0].2.severity_text, "INFO");
    assert_eq!(collector.metrics().len(), 3);
    assert_eq!(collector.metrics()[0].1.name, "a scope");
    collector.clear();
    assert_eq!((collector.requests(), collector.received().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_over_http_is_what_is_received() {
    let collector = Collector::start(Options::default());
    let metrics = some_metrics().encode_to_vec();
    let answer = post(&collector, "/v1/metrics", &metrics, &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/x-protobuf");
    let message = ExportMetricsServiceResponse::decode(answer.body).unwrap();
    assert_eq!(message.partial_success, None);
    let traces = gzip(&some_traces().encode_to_vec());
    assert_eq!(post(&collector, "/v1/traces", &traces, &[("content-encoding", "gzip")]).await.status, 200);
    let logs = some_logs().encode_to_vec();
    assert_eq!(post(&collector, "/v1/logs", &logs, &[("x-tenant", "one")]).await.status, 200);

    let received = collector.received();
    assert_eq!(received[0].request, Request::Metrics(some_metrics()));
    assert_eq!(received[1].request, Request::Traces(some_traces()));
    assert_eq!(received[2].request, Request::Logs(some_logs()));
    assert!(received.iter().all(|one| one.transport == Transport::Http));
    assert_eq!(received[0].bytes, metrics.len());
    assert_eq!(received[1].headers["content-encoding"], "gzip");
    assert_eq!(received[2].headers["x-tenant"], "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_otlp_is_refused_over_http() {
    let collector = Collector::start(Options::default());
    let address = collector.http_address();
    let status = async |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        http::request(address, method, path, headers, body).await.unwrap().status
    };
    let protobuf = ("content-type", "application/x-protobuf");
    assert_eq!(status("GET", "/v1/metrics", &[protobuf], b"").await, 405);
    assert_eq!(status("POST", "/v1/other", &[protobuf], b"").await, 404);
    assert_eq!(status("POST", "/v1/metrics", &[("content-type", "application/json")], b"{}").await, 415);
    assert_eq!(status("POST", "/v1/metrics", &[protobuf, ("content-encoding", "br")], b"").await, 415);
    assert_eq!(status("POST", "/v1/metrics", &[protobuf, ("content-encoding", "gzip")], b"no").await, 400);
    assert_eq!(status("POST", "/v1/metrics", &[protobuf], b"\xff\xff").await, 400);
    assert_eq!((collector.requests(), collector.received().len()), (6, 0), "all are counted, none is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_points_are_flat() {
    let collector = Collector::start(Options::default());
    let mut client = MetricsServiceClient::new(channel(&collector).await);
    client.export(some_metrics()).await.unwrap();
    client.export(some_metrics()).await.unwrap();
    let points = collector.data_points();
    assert_eq!(points.iter().map(|point| point.request).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 1, 1]);
    let [sum, gauge, gone, histogram] = &points[..4] else { panic!("{points:?}") };

    assert_eq!((sum.name.as_str(), sum.unit.as_str(), sum.description.as_str()), ("sum", "1", "about sum"));
    assert_eq!((sum.kind, sum.monotonic, sum.value), (Kind::Sum, true, Some(5.0)));
    assert_eq!(sum.temporality, Some(AggregationTemporality::Cumulative));
    assert_eq!((sum.start_time_unix_nano, sum.time_unix_nano), (10, 20));
    assert_eq!(sum.resource, text_map(&[("service.name", "test")]));
    assert_eq!(sum.attributes, text_map(&[("publisher", "p"), ("n", "7")]));
    assert_eq!((gauge.kind, gauge.value, gauge.no_recorded_value), (Kind::Gauge, Some(0.5), false));
    assert_eq!((gone.value, gone.no_recorded_value), (None, true));
    let bins = Bins { count: 3, sum: Some(1.5), bounds: vec![0.5], counts: vec![1, 2] };
    assert_eq!((histogram.kind, histogram.histogram.as_ref()), (Kind::Histogram, Some(&bins)));
    let exemplar = &histogram.exemplars[0];
    assert_eq!(exemplar.value, Some(0.7));
    assert_eq!(
        (exemplar.trace_id.as_str(), exemplar.span_id.as_str()),
        ("ab".repeat(16).as_str(), "cd".repeat(8).as_str())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_on_a_request_holds() {
    let collector = Collector::start(Options::default());
    let (fits, large) = (sized(BYTES_MAX), sized(BYTES_MAX + 1));
    assert_eq!((fits.encoded_len(), large.encoded_len()), (BYTES_MAX, BYTES_MAX + 1));
    let mut plain = MetricsServiceClient::new(channel(&collector).await);
    let mut compressed = plain.clone().send_compressed(CompressionEncoding::Gzip);
    plain.export(fits.clone()).await.unwrap();
    compressed.export(fits.clone()).await.unwrap();
    let refused = |status: Status| matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted);
    assert!(refused(plain.export(large.clone()).await.unwrap_err()));
    assert!(refused(compressed.export(large.clone()).await.unwrap_err()));

    let (fits, large) = (fits.encode_to_vec(), large.encode_to_vec());
    let gzipped = [("content-encoding", "gzip")];
    assert_eq!(post(&collector, "/v1/metrics", &fits, &[]).await.status, 200);
    assert_eq!(post(&collector, "/v1/metrics", &gzip(&fits), &gzipped).await.status, 200);
    assert_eq!(post(&collector, "/v1/metrics", &large, &[]).await.status, 413);
    assert_eq!(post(&collector, "/v1/metrics", &gzip(&large), &gzipped).await.status, 413);
    assert_eq!((collector.requests(), collector.received().len()), (8, 4));
    assert!(collector.received().iter().all(|one| one.bytes == BYTES_MAX));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_speaks_tls_to_who_knows_its_ca() {
    let collector = Collector::start(Options { tls: true, ..Options::default() });
    let Certificates { ca, .. } = collector.certificates.clone().unwrap();
    let mut client = TraceServiceClient::new(tls_channel(&collector, tls(&ca)).await.unwrap());
    client.export(some_traces()).await.unwrap();
    let stranger = Certificates::make(&folder("other-ca")).ca;
    assert!(tls_channel(&collector, tls(&stranger)).await.is_err(), "an unknown CA was trusted");

    assert_eq!(https_post(&collector, &ca).await.unwrap(), 200);
    assert!(https_post(&collector, &stranger).await.is_err(), "an unknown CA was trusted");
    let plain = http::get(collector.http_address(), "/v1/traces").await;
    assert!(plain.is_err(), "plain HTTP was answered: {plain:?}");
    assert_eq!(collector.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_can_ask_for_a_certificate() {
    let options = Options { tls: true, require_client_certificate: true, ..Options::default() };
    let collector = Collector::start(options);
    let Certificates { ca, client, client_key, .. } = collector.certificates.clone().unwrap();
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let with = tls(&ca).identity(Identity::from_pem(read(&client), read(&client_key)));
    TraceServiceClient::new(tls_channel(&collector, with).await.unwrap())
        .export(some_traces())
        .await
        .unwrap();
    // TLS 1.3 tells the client after its handshake is done, so the connect alone may succeed.
    let without = async {
        let channel = tls_channel(&collector, tls(&ca)).await.map_err(|error| error.to_string())?;
        TraceServiceClient::new(channel).export(some_traces()).await.map_err(|error| error.to_string())
    };
    assert!(without.await.is_err(), "nobody's request was taken");
    assert_eq!(collector.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_refuses_as_it_is_told() {
    let collector = Collector::start(Options::default());
    let mut client = MetricsServiceClient::new(channel(&collector).await);
    let mut told = async |answer: Answer| {
        collector.answer(answer);
        let status = client.export(some_metrics()).await.unwrap_err();
        (status, post(&collector, "/v1/metrics", &some_metrics().encode_to_vec(), &[]).await)
    };
    let (status, answer) = told(Answer::Busy { retry_after: Some(Duration::from_millis(1500)) }).await;
    assert_eq!((status.code(), answer.status), (Code::Unavailable, 429));
    assert_eq!(answer.headers["retry-after"], "2", "whole seconds, and not too early");
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("type.googleapis.com/google.rpc.RetryInfo"), "{details}");
    // The duration: 1 second and 500 million nanoseconds, as the wire has them.
    let delay = [0x08, 0x01, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
    assert!(status.details().ends_with(&delay), "{:x?}", status.details());
    let (status, answer) = told(Answer::Busy { retry_after: None }).await;
    assert_eq!((status.code(), answer.status), (Code::Unavailable, 429));
    assert_eq!((status.details(), answer.headers.get("retry-after")), (&b""[..], None));
    let (status, answer) = told(Answer::TooLarge).await;
    assert_eq!((status.code(), answer.status), (Code::ResourceExhausted, 413));
    assert!(status.message().contains("received message larger than max"), "{status}");
    let (status, answer) = told(Answer::Refused).await;
    assert_eq!((status.code(), answer.status), (Code::InvalidArgument, 400));
    assert_eq!((collector.requests(), collector.received().len()), (8, 0), "all are counted, none is kept");

    collector.answer(Answer::Ok);
    client.export(some_metrics()).await.unwrap();
    assert_eq!((collector.requests(), collector.received().len()), (9, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_takes_a_part() {
    let collector = Collector::start(Options::default());
    collector.answer(Answer::Partial { rejected: 3, message: "too old".to_owned() });
    let mut client = MetricsServiceClient::new(channel(&collector).await);
    let over_grpc = client.export(some_metrics()).await.unwrap().into_inner();
    let answer = post(&collector, "/v1/metrics", &some_metrics().encode_to_vec(), &[]).await;
    assert_eq!(answer.status, 200);
    for answer in [over_grpc, ExportMetricsServiceResponse::decode(answer.body).unwrap()] {
        let partial = answer.partial_success.unwrap();
        assert_eq!((partial.rejected_data_points, partial.error_message.as_str()), (3, "too old"));
    }
    assert_eq!(collector.received().len(), 2, "the rest is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_answers_too_much() {
    const BYTES: usize = 5 << 20;
    let collector = Collector::start(Options::default());
    collector.answer(Answer::Oversized { bytes: BYTES });
    let mut client = MetricsServiceClient::new(channel(&collector).await);
    let status = client.export(some_metrics()).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "tonic reads 4 MiB: {status}");
    let mut patient = client.max_decoding_message_size(2 * BYTES);
    let answer = patient.export(some_metrics()).await.unwrap().into_inner();
    assert_eq!(answer.partial_success.unwrap().error_message.len(), BYTES);

    let answer = post(&collector, "/v1/metrics", &some_metrics().encode_to_vec(), &[]).await;
    assert_eq!((answer.status, answer.body.len()), (200, BYTES));
    assert!(ExportMetricsServiceResponse::decode(answer.body).is_err(), "junk was a message");
    assert_eq!((collector.requests(), collector.received().len()), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_hangs_until_it_is_stopped() {
    let collector = Collector::start(Options::default());
    collector.answer(Answer::Hang);
    let mut client = MetricsServiceClient::new(channel(&collector).await);
    let over_grpc = tokio::spawn(async move { client.export(some_metrics()).await });
    let address = collector.http_address();
    let protobuf = [("content-type", "application/x-protobuf")];
    let over_http =
        tokio::spawn(async move { http::request(address, "POST", "/v1/logs", &protobuf, b"").await });
    wait_until("both requests are there", SOON, async || match collector.requests() {
        2 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    assert!(!over_grpc.is_finished() && !over_http.is_finished(), "it answered");

    collector.stop().await;
    tokio::time::timeout(SOON, over_grpc).await.expect("the connection goes on").unwrap().unwrap_err();
    tokio::time::timeout(SOON, over_http).await.expect("the connection goes on").unwrap().unwrap_err();
    assert_eq!(collector.received().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_stops_and_starts_again() {
    let collector = Collector::start(Options::default());
    let mut client = TraceServiceClient::new(channel(&collector).await);
    client.export(some_traces()).await.unwrap();
    let endpoints = (collector.grpc_endpoint(), collector.http_endpoint());
    let addresses = [collector.grpc_address(), collector.http_address()];

    collector.stop().await;
    for address in addresses {
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    assert!(client.export(some_traces()).await.is_err(), "an open connection outlived the stop");

    collector.start_again();
    assert_eq!((collector.grpc_endpoint(), collector.http_endpoint()), endpoints);
    let mut client = TraceServiceClient::new(channel(&collector).await);
    client.export(some_traces()).await.unwrap();
    let traces = some_traces().encode_to_vec();
    assert_eq!(post(&collector, "/v1/traces", &traces, &[]).await.status, 200);
    assert_eq!(collector.received().len(), 3, "what came before the stop is kept");

    drop(collector);
    wait_until("both ports are closed", SOON, async || {
        match addresses.iter().filter(|address| TcpStream::connect(address).is_ok()).count() {
            0 => Ok(()),
            open => Err(format!("{open} open")),
        }
    })
    .await;
}

fn text_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
