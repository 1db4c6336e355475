//! Redis' protocol, as little of it as assertions need: a second client finds what the first one hides.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A paused server must not hang a test for ever.
const DEADLINE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and its like.
    Simple(String),
    /// `-ERR …`.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string, or nothing.
    Bulk(Option<Vec<u8>>),
    /// A list; nothing is an empty one.
    Array(Vec<Reply>),
}

impl Reply {
    /// The text, where it is one.
    pub fn string(self) -> Option<String> {
        match self {
            Self::Bulk(Some(bytes)) => Some(String::from_utf8(bytes).unwrap()),
            Self::Simple(text) => Some(text),
            _ => None,
        }
    }

    /// All texts of a list.
    pub fn strings(self) -> Vec<String> {
        match self {
            Self::Array(items) => items.into_iter().filter_map(Self::string).collect(),
            other => panic!("not a list: {other:?}"),
        }
    }

    /// The number, where it is one.
    pub fn integer(self) -> i64 {
        match self {
            Self::Integer(number) => number,
            other => panic!("not a number: {other:?}"),
        }
    }
}

/// A connection.
pub struct Client {
    stream: BufStream<TcpStream>,
}

impl Client {
    /// Connects; the error is text, for a wait to show.
    pub async fn connect(address: SocketAddr) -> Result<Self, String> {
        let stream =
            TcpStream::connect(address).await.map_err(|error| format!("Redis at {address}: {error}"))?;
        Ok(Self { stream: BufStream::new(stream) })
    }

    /// Sends a command and reads its answer.
    pub async fn command(&mut self, words: &[&str]) -> Result<Reply, String> {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let exchange = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await?;
            self.read().await
        };
        let answer = timeout(DEADLINE, exchange).await;
        answer
            .map_err(|_| format!("{words:?}: no answer within {DEADLINE:?}"))?
            .map_err(|error| error.to_string())
    }

    /// What the server says next without being asked, as to a listener; the error is text.
    pub async fn next(&mut self) -> Result<Reply, String> {
        self.read().await.map_err(|error| error.to_string())
    }

    async fn read(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        let Some((kind, rest)) = line.trim_end().split_at_checked(1) else {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        };
        let number = || rest.parse::<i64>().map_err(std::io::Error::other);
        Ok(match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Integer(number()?),
            "$" => match usize::try_from(number()?) {
                Err(_) => Reply::Bulk(None),
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.stream.read_exact(&mut bytes).await?;
                    bytes.truncate(length);
                    Reply::Bulk(Some(bytes))
                }
            },
            "*" => {
                let mut items = Vec::new();
                for _ in 0..number()? {
                    items.push(Box::pin(self.read()).await?);
                }
                Reply::Array(items)
            }
            other => return Err(std::io::Error::other(format!("unknown kind of answer {other:?}"))),
        })
    }
}
