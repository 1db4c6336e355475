//! One question to one name server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{DnsSpec, Transport};

/// A datagram may be lost: so long is its answer waited for before it is sent once more.
const SEND_AGAIN: Duration = Duration::from_secs(1);

/// A message's greatest length: that of its length field over TCP.
const MESSAGE_BYTES_MAX: usize = 65_535;

/// Asks until there is an answer; who calls sets the deadline.
pub(super) async fn ask(spec: &DnsSpec, server: SocketAddr) -> io::Result<Message> {
    let mut question = Message::query();
    question.metadata.recursion_desired = spec.recursion_desired;
    question.add_query(Query::query(spec.name.clone(), spec.record_type));
    let bytes = question.to_vec().map_err(io::Error::other)?;
    if spec.transport == Transport::Udp {
        let answer = by_datagrams(&question, &bytes, server).await?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
    }
    by_stream(&question, &bytes, server).await
}

async fn by_datagrams(question: &Message, bytes: &[u8], server: SocketAddr) -> io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // The kernel then takes datagrams of this server alone, and tells when nobody listens there.
    socket.connect(server).await?;
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        socket.send(bytes).await?;
        let answered = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                // What is no answer to this question is somebody's who guesses, or late.
                if let Some(answer) = read(question, &buffer[..length]) {
                    return Ok(answer);
                }
            }
        };
        if let Ok(answer) = timeout(SEND_AGAIN, answered).await {
            return answer;
        }
    }
}

async fn by_stream(question: &Message, bytes: &[u8], server: SocketAddr) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await.map_err(cut)?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await.map_err(cut)?;
    read(question, &buffer)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no answer to the question"))
}

/// A connection that ends before the answer.
fn cut(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { rustix::io::Errno::CONNRESET.into() } else { error }
}

/// The answer to a question; `None`: it is none to this one.
fn read(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let is_answer =
        answer.metadata.id == question.metadata.id && answer.metadata.message_type == MessageType::Response;
    // A server that could not read the question does not repeat it.
    let is_to_this = answer.queries == question.queries
        || (answer.queries.is_empty() && answer.metadata.response_code != ResponseCode::NoError);
    (is_answer && is_to_this).then_some(answer)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::OpCode;
    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    use super::*;

    fn question() -> Message {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_str("a.example.org.").unwrap(), RecordType::A));
        question
    }

    fn answer(id: u16, name: &str) -> Message {
        let mut answer = Message::new(id, MessageType::Response, OpCode::Query);
        answer.add_query(Query::query(Name::from_str(name).unwrap(), RecordType::A));
        answer
    }

    #[test]
    fn only_the_answer_to_the_question_is_taken() {
        let is_taken = |answer: &Message| read(&question(), &answer.to_vec().unwrap()).is_some();
        assert!(is_taken(&answer(7, "A.example.org.")), "names have no case");
        assert!(!is_taken(&answer(8, "a.example.org.")), "another id");
        assert!(!is_taken(&answer(7, "b.example.org.")), "another name");
        assert!(!is_taken(&question()), "a question is no answer");
        let mut empty = Message::new(7, MessageType::Response, OpCode::Query);
        assert!(!is_taken(&empty));
        empty.metadata.response_code = ResponseCode::FormErr;
        assert!(is_taken(&empty));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in 0..60usize) {
            let _ = read(&question(), &bytes);
            let mut nearly = answer(7, "a.example.org.").to_vec().unwrap();
            let at = flip % nearly.len();
            nearly[at] ^= bytes.first().copied().unwrap_or(1);
            let _ = read(&question(), &nearly);
        }
    }
}
