//! OTLP over gRPC. Requests come encoded, so the codec passes bytes on.

use bytes::{Buf, BufMut, Bytes};
use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::failure::causes;
use super::{ANSWER_BYTES_MAX, Advice, SendError, Taken, USER_AGENT, taken};
use crate::otlp::config::{Compression, Endpoint};
use crate::otlp::signal::Signal;
use crate::secret::Secret;
use crate::tls::PeerTls;
use crate::tls::https::{Connector, Version, with_scheme};

/// Calls one method of one receiver.
pub(super) struct Client {
    grpc: Grpc<Channel>,
    path: PathAndQuery,
    metadata: MetadataMap,
}

impl Client {
    pub(super) fn new(
        endpoint: &Endpoint,
        headers: Vec<(String, Secret)>,
        signal: Signal,
        tls: Option<&PeerTls>,
    ) -> Result<Self, SendError> {
        let request = |error: &str| SendError::Request(error.to_owned().into());
        let origin = endpoint.uri.clone();
        // The connector makes the connection secure, and tonic is not to do so once more.
        let uri =
            with_scheme(origin.clone(), Scheme::HTTP).map_err(|error| SendError::Request(error.into()))?;
        let channel = Channel::builder(uri)
            .origin(without_path(origin).map_err(|error| SendError::Request(error.into()))?)
            .user_agent(USER_AGENT)
            .map_err(|error| SendError::Request(error.into()))?
            .connect_timeout(endpoint.timeout)
            .connect_with_connector_lazy(Connector::new(tls, Version::Http2));
        let grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let grpc = match endpoint.compression {
            Compression::None => grpc,
            Compression::Gzip => grpc.send_compressed(CompressionEncoding::Gzip),
        };
        let mut metadata = MetadataMap::new();
        for (name, value) in &headers {
            let key =
                MetadataKey::from_bytes(name.as_bytes()).map_err(|_| request("a header's name is none"))?;
            let mut value =
                MetadataValue::try_from(value.expose()).map_err(|_| request("a header's value is none"))?;
            value.set_sensitive(true);
            metadata.insert(key, value);
        }
        let path = PathAndQuery::from_static(signal.grpc_path());
        Ok(Self { grpc, path, metadata })
    }

    pub(super) async fn send(&mut self, body: Bytes) -> Result<Taken, SendError> {
        self.grpc.ready().await.map_err(|error| SendError::Connection(error.into()))?;
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        let response = self.grpc.unary(request, self.path.clone(), Raw).await.map_err(refusal)?;
        taken(&response.into_inner()).map_err(|error| SendError::Answer(error.into()))
    }
}

fn without_path(uri: Uri) -> Result<Uri, http::Error> {
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    Ok(Uri::from_parts(parts)?)
}

/// What a status means: as the specification of OTLP has it, and how receivers call a request too large.
fn refusal(status: Status) -> SendError {
    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    // Statuses that this end makes up of a broken connection have a cause.
    if std::error::Error::source(&status).is_some() {
        // Its own text shows them too, and how they are nested.
        return SendError::Connection(causes(&status));
    }
    let message = status.message();
    // tonic's own limit on answers, which the receiver has nothing to do with.
    let is_answer = message.contains(&format!("the limit is: {ANSWER_BYTES_MAX} bytes"));
    if status.code() == Code::OutOfRange && is_answer {
        return SendError::Answer(status.into());
    }
    let advice = match status.code() {
        Code::ResourceExhausted | Code::OutOfRange | Code::Unknown if says_too_large(message) => {
            Advice::Split
        }
        // A proxy cut it short: what tonic says where the stream has no status of its own.
        Code::Unknown if message.contains("missing grpc-status") => Advice::Retry(None),
        Code::ResourceExhausted if after.is_none() => Advice::GiveUp,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Advice::Retry(after),
        _ => Advice::GiveUp,
    };
    SendError::Refused { status: format!("{:?}", status.code()), message: message.to_owned(), advice }
}

/// How Go, tonic, Python, Java, .NET, and a proxy before any of them call a request that is too large.
fn says_too_large(message: &str) -> bool {
    let words =
        ["larger than max", "too large", "exceeds maximum", "exceeds the maximum", "HTTP status code 413"];
    words.iter().any(|words| message.contains(words))
}

/// Passes bytes on, both ways.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn statuses_mean_what_the_specification_says() {
        let advice = |code, message: &str| refusal(Status::new(code, message)).advice();
        for code in [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ] {
            assert_eq!(advice(code, ""), Advice::Retry(None), "{code:?}");
        }
        for code in
            [Code::Unknown, Code::InvalidArgument, Code::Unauthenticated, Code::Unimplemented, Code::Internal]
        {
            assert_eq!(advice(code, ""), Advice::GiveUp, "{code:?}");
        }
        assert_eq!(advice(Code::ResourceExhausted, "quota"), Advice::GiveUp);
        let details = tonic_types::ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
        let status = Status::with_error_details(Code::ResourceExhausted, "slowly", details);
        assert_eq!(refusal(status).advice(), Advice::Retry(Some(Duration::from_secs(7))));
        let go = "grpc: received message larger than max (6553600 vs. 4194304)";
        assert_eq!(advice(Code::ResourceExhausted, go), Advice::Split);
        let tonic =
            "Error, decoded message length too large: found 5242903 bytes, the limit is: 4194304 bytes";
        assert_eq!(advice(Code::OutOfRange, tonic), Advice::Split);
        let java = "gRPC message exceeds maximum size 4194304: 5242903";
        assert_eq!(advice(Code::ResourceExhausted, java), Advice::Split);
        let proxy = "grpc-status header missing, mapped from HTTP status code 413";
        assert_eq!(advice(Code::Unknown, proxy), Advice::Split);
        let cut = "protocol error: missing grpc-status trailer, stream was terminated without a final status";
        assert_eq!(advice(Code::Unknown, cut), Advice::Retry(None));
    }
}
