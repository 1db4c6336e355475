//! How a collector answers, and the error messages that both transports carry.

use std::time::Duration;

use prost::Message;

/// What a collector answers to each request, until it is told otherwise.
#[derive(Clone, Debug, Default)]
pub enum Answer {
    /// All is taken.
    #[default]
    Ok,
    /// Come again: HTTP 429 with `Retry-After`, or UNAVAILABLE with `RetryInfo`.
    Busy {
        /// When to come again; without, it is not said.
        retry_after: Option<Duration>,
    },
    /// HTTP 413, or RESOURCE_EXHAUSTED without `RetryInfo`, as gRPC servers say that a message is too large.
    TooLarge,
    /// For ever: HTTP 400, or INVALID_ARGUMENT.
    Refused,
    /// Taken, but for some.
    Partial {
        /// How many are said to be rejected; 0 makes it a warning.
        rejected: i64,
        /// Why.
        message: String,
    },
    /// The request is read, and no answer comes.
    Hang,
    /// An answer that nobody should read to its end: junk with status 200, or a message of that size over gRPC.
    Oversized {
        /// Its size.
        bytes: usize,
    },
}

/// What is wrong, in the terms of both transports.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The HTTP status.
    pub(super) http: u16,
    /// The gRPC status.
    pub(super) grpc: tonic::Code,
    /// In words.
    pub(super) message: String,
    /// When to come again.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// One that says nothing of coming again.
    pub(super) fn new(http: u16, grpc: tonic::Code, message: impl Into<String>) -> Self {
        Self { http, grpc, message: message.into(), retry_after: None }
    }

    /// A request above the bound.
    pub(super) fn too_large(bytes_max: usize) -> Self {
        let message = format!("grpc: received message larger than max ({bytes_max})");
        Self::new(413, tonic::Code::ResourceExhausted, message)
    }

    /// The message that says the same in an HTTP body and in gRPC's details: `google.rpc.Status`.
    pub(super) fn status_message(&self) -> Vec<u8> {
        let details = self.retry_after.map(|delay| {
            let delay = ProtoDuration {
                seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(delay.subsec_nanos()).unwrap_or(0),
            };
            let value = RetryInfo { retry_delay: Some(delay) }.encode_to_vec();
            Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value }
        });
        let status = RpcStatus {
            code: self.grpc as i32,
            message: self.message.clone(),
            details: details.into_iter().collect(),
        };
        status.encode_to_vec()
    }
}

/// `google.rpc.Status`, which the OTLP messages do not include.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}
