//! What speaks on a port, where it is not what was expected.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::tls;

/// Bytes that tell protocols apart.
const ANSWER: usize = 5;

/// What answers on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Amqp,
    Http,
    Redis,
    Tls,
    /// Nothing that is known here.
    Other,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amqp => "AMQP",
            Self::Http => "HTTP",
            Self::Redis => "the protocol of Redis",
            Self::Tls => "TLS",
            Self::Other => "nothing that is known here",
        })
    }
}

/// What answers to a line that each protocol answers in its own way, or else to the beginning of TLS.
pub(super) async fn what_speaks(address: SocketAddr) -> Protocol {
    let spoken = protocol_of(&answer_to(b"PING\r\n\r\n", address).await);
    if spoken != Protocol::Other {
        return spoken;
    }
    // Some end a connection without a word that does not begin with TLS.
    let Ok(hello) = tls::client_hello() else { return Protocol::Other };
    match answer_to(&hello, address).await[..] {
        [0x15 | 0x16, 3, ..] => Protocol::Tls,
        _ => Protocol::Other,
    }
}

/// The first bytes that come back; fewer, or none, where that is all.
async fn answer_to(asked: &[u8], address: SocketAddr) -> Vec<u8> {
    let mut answer = Vec::with_capacity(ANSWER);
    let exchanged = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(asked).await?;
        while answer.len() < ANSWER && stream.read_buf(&mut answer).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    let _ = timeout(Duration::from_secs(2), exchanged).await;
    answer
}

fn protocol_of(answer: &[u8]) -> Protocol {
    match answer {
        // An alert, of TLS 1.x.
        [0x15, 3, ..] => Protocol::Tls,
        [b'A', b'M', b'Q', b'P', ..] => Protocol::Amqp,
        [b'H', b'T', b'T', b'P', ..] => Protocol::Http,
        [b'+' | b'-', ..] => Protocol::Redis,
        _ => Protocol::Other,
    }
}
