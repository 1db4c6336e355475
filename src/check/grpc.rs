//! Whether a gRPC server says of itself, or of one of its services, that it serves: gRPC's own health protocol,
//! `grpc.health.v1`.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::asking::{answer_over, causes, io_causes, is_of_the_connection};
use super::probe::OnHand;
use super::secure::{SecureSpec, broken, handshake, lasts, secure, server_name};
use super::{Finding, Seen, Verdict};
use crate::dial;
use crate::heartbeat::Reason;
use crate::telemetry::Chain;
use crate::tls::Own;

/// Longest answer that is read: the protocol's own has two bytes.
const ANSWER_BYTES_MAX: usize = 4096;

/// What is asked of a gRPC server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcSpec {
    /// Host name or address.
    pub host: Box<str>,
    /// TCP port.
    pub port: u16,
    /// The service that is asked about; empty: the whole server.
    pub service: Box<str>,
    /// What its TLS must be; `None`: it is asked in the clear.
    pub secure: Option<SecureSpec>,
}

impl GrpcSpec {
    /// Who is asked, and about what.
    pub fn target(&self) -> String {
        let server = dial::endpoint(&self.host, self.port);
        if self.service.is_empty() { server } else { format!("{server}/{}", self.service) }
    }
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SERVING`, of the three statuses and those to come.
const SERVING: i32 = 1;

/// A status as the protocol has it.
fn word(status: i32) -> String {
    match status {
        0 => "UNKNOWN".into(),
        SERVING => "SERVING".into(),
        2 => "NOT_SERVING".into(),
        3 => "SERVICE_UNKNOWN".into(),
        other => format!("number {other}"),
    }
}

pub(super) async fn check(
    spec: &GrpcSpec,
    on_hand: &OnHand,
    end: Instant,
    seen: &mut Seen,
) -> Result<(), Finding> {
    let stream = seen.open(&spec.host, spec.port, end).await?;
    let Some(tls) = &spec.secure else { return ask(spec, stream, "http").await };
    let name = match &tls.server_name {
        Some(name) => name.clone(),
        None => server_name(&spec.host).map_err(|_| Verdict::down(Reason::Certificate))?,
    };
    let handshake = handshake(on_hand, &[b"h2"], Own::Shown)?;
    let stream = secure(stream, name, &handshake, seen).await?;
    ask(spec, stream, "https").await?;
    lasts(seen.certificate_not_after, tls)
}

async fn ask(
    spec: &GrpcSpec,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    scheme: &str,
) -> Result<(), Finding> {
    let handshake =
        http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).handshake(TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(|error| failed(&error))?;
    let origin = Uri::builder().scheme(scheme).authority(dial::endpoint(&spec.host, spec.port));
    let origin = origin.path_and_query("/").build().map_err(|_| Verdict::down(Reason::Protocol))?;
    let mut grpc = Grpc::with_origin(Connection(sender), origin).max_decoding_message_size(ANSWER_BYTES_MAX);
    let asking = async move {
        grpc.ready().await.map_err(|error| failed(&error))?;
        let request = tonic::Request::new(HealthCheckRequest { service: spec.service.as_ref().into() });
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let answer = grpc.unary(request, path, codec).await.map_err(|status| refused(&status))?;
        match answer.into_inner().status {
            SERVING => Ok(()),
            other => Err(Verdict::down(Reason::NotServing).because(format!("its status is {}", word(other)))),
        }
    };
    answer_over(connection, asking).await
}

/// What a status other than OK says.
fn refused(status: &Status) -> Finding {
    // A status that this end made up of a broken connection has a cause.
    if let Some(cause) = status.source() {
        return cause_of(cause);
    }
    // Without its message, in which a server may repeat what it holds.
    match status.code() {
        Code::NotFound => Verdict::down(Reason::NotServing).because("it does not know the service"),
        code => Verdict::down(Reason::Status).because(format!("it answered {code:?}: {code}")),
    }
}

fn failed(error: &hyper::Error) -> Finding {
    cause_of(error)
}

/// The first error of the system, or of TLS, that tells what happened. Whatever else HTTP/2 does not bear is no gRPC.
fn cause_of(error: &(dyn Error + 'static)) -> Finding {
    let told = io_causes(error).find(|cause| is_of_the_connection(cause));
    let verdict = told.map_or(Verdict::down(Reason::Protocol), broken);
    // The reason by which HTTP/2 ends a connection stands alone: beside it, a server may repeat what it holds.
    let ended = causes(error).filter_map(|cause| cause.downcast_ref::<h2::Error>()?.reason()).next();
    verdict.because(match ended {
        Some(reason) => format!("HTTP/2 was ended: {reason}"),
        None => Chain(error).to_string(),
    })
}

/// An HTTP/2 connection, as tonic calls one.
struct Connection(http2::SendRequest<Body>);

impl Service<Request<Body>> for Connection {
    type Response = Response<body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        for (code, reason) in [
            (Code::NotFound, Reason::NotServing),
            (Code::Unimplemented, Reason::Status),
            (Code::Unauthenticated, Reason::Status),
            (Code::Unavailable, Reason::Status),
        ] {
            let finding = refused(&Status::new(code, "canary"));
            assert_eq!(finding.verdict, Verdict::down(reason), "{code:?}");
            assert!(finding.detail.is_some_and(|detail| !detail.contains("canary")), "{code:?}");
        }
        let cut = io::Error::from(rustix::io::Errno::CONNRESET);
        assert_eq!(refused(&Status::from_error(cut.into())).verdict, Verdict::down(Reason::Reset));
    }

    #[tokio::test]
    async fn what_a_server_says_as_it_ends_the_connection_is_not_repeated() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // SETTINGS, and GOAWAY: ENHANCE_YOUR_CALM, with six bytes of its own.
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            let go_away = [0, 0, 14, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
            let said = [&settings[..], &go_away, b"canary"].concat();
            stream.write_all(&said).await.unwrap();
            // Until it is closed from there.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let spec = GrpcSpec { host: "127.0.0.1".into(), port, service: "".into(), secure: None };
        let on_hand = OnHand { means: Err(Verdict::unknown(Reason::Local).into()), secrets: Vec::new() };
        let end = Instant::now() + std::time::Duration::from_secs(20);
        let finding = check(&spec, &on_hand, end, &mut Seen::default()).await.unwrap_err();
        assert_eq!(finding.verdict, Verdict::down(Reason::Protocol));
        let detail = finding.detail.unwrap();
        assert!(detail.starts_with("HTTP/2 was ended: ") && !detail.contains("canary"), "{detail}");
    }

    #[test]
    fn a_target_names_the_service() {
        let spec = |service: &str| GrpcSpec {
            host: "::1".into(),
            port: 50051,
            service: service.into(),
            secure: None,
        };
        assert_eq!(spec("").target(), "[::1]:50051");
        assert_eq!(spec("a.B").target(), "[::1]:50051/a.B");
    }
}
