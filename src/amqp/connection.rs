//! One connection to the broker, each step of its making under a deadline.

use std::time::Duration;

use lapin::tcp::{AsyncTcpStream, RustlsConnector};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{Connection, ConnectionProperties};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::AmqpError;
use super::nodes::{Node, Nodes, NotConnected};
use super::topology::QueueType;
use crate::secret::SecretSource;
use crate::tls::PeerTls;

/// How to reach the broker, and what to find there.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it is.
    pub nodes: Nodes,
    /// How the broker is told who this is.
    pub mechanism: Mechanism,
    /// User name.
    pub user: String,
    /// Password, read anew for each connection.
    pub password: SecretSource,
    /// Virtual host, as it is called, not encoded.
    pub vhost: String,
    /// Topic exchange.
    pub exchange: String,
    /// Queues; none for a link that only sends, to whatever is bound.
    pub queues: Vec<String>,
    /// Consistent-hash exchange that shares heartbeats out to the queues by publisher; without, the queue is bound
    /// to `exchange` itself.
    pub spread: Option<String>,
    /// What a queue is to be where it is made here; `None` leaves that to the broker.
    pub queue_type: Option<QueueType>,
    /// Key that leads from the exchange to what is bound to it.
    pub routing_key: String,
    /// TLS, where it is on.
    pub tls: Option<PeerTls>,
    /// AMQP heartbeat: a peer that is silent for twice as long is dead. 5 to 20 s are sane.
    pub heartbeat: Duration,
    /// Longest wait between two attempts to connect.
    pub reconnect_max: Duration,
    /// Whether each message says which user sent it, for the broker to check.
    pub send_user_id: bool,
    /// Name of the connection in RabbitMQ's own pages.
    pub name: String,
}

/// How a broker is told who connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mechanism {
    /// User name and password.
    #[default]
    Plain,
    /// The client's certificate; the broker's plugin `rabbitmq_auth_mechanism_ssl` takes the user from it.
    External,
}

/// Longest wait for a connection: TCP, TLS and the AMQP handshake each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the answer to any one call.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the frames of a connection may be. The library makes room for 64 of them, zeroed as it is used where their
/// length is known from the beginning, and at once where the broker tells it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Frames {
    /// 16 KiB, for whoever sends only: his own headers are short, and a body goes in several frames.
    Short,
    /// RabbitMQ's default, 128 KiB. The headers of a message come in one frame, and anybody may have sent some.
    Usual,
    /// What the broker proposes, for those that are set to more and have used it: they end a connection that takes less.
    AsProposed,
}

impl Frames {
    fn bytes_max(self) -> Option<u32> {
        match self {
            Self::Short => Some(16 * 1024),
            Self::Usual => Some(128 * 1024),
            Self::AsProposed => None,
        }
    }
}

/// Sent data that stays unacknowledged for so long ends the connection, where heartbeats cannot.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

impl Mechanism {
    /// What to look at where the broker lets nobody in.
    fn to_check(self) -> &'static str {
        match self {
            Self::Plain => "user, password and vhost",
            Self::External => {
                "that the broker offers EXTERNAL (plugin rabbitmq_auth_mechanism_ssl, auth_mechanisms), that it has a \
                 user of the client certificate's name, and the vhost"
            }
        }
    }
}

impl Config {
    /// Hosts and ports, for people.
    pub fn target(&self) -> String {
        self.nodes.to_string()
    }

    /// Built by hand: lapin reads an IPv6 address in a URI as `localhost`.
    async fn uri(&self, node: &Node, frames: Frames) -> AMQPUri {
        let (mechanism, userinfo) = match self.mechanism {
            Mechanism::Plain => {
                let (username, password) =
                    (self.user.clone(), self.password.read_aside().await.expose().to_owned());
                (SASLMechanism::Plain, AMQPUserInfo { username, password })
            }
            // Neither name nor password leaves this machine.
            Mechanism::External => {
                (SASLMechanism::External, AMQPUserInfo { username: String::new(), password: String::new() })
            }
        };
        AMQPUri {
            scheme: if self.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority { userinfo, host: node.host.clone(), port: node.port },
            vhost: self.vhost.clone(),
            query: AMQPQueryString {
                auth_mechanism: Some(mechanism),
                heartbeat: Some(u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1)),
                frame_max: frames.bytes_max(),
                ..AMQPQueryString::default()
            },
        }
    }
}

/// Cuts a connection off that is no good any more.
///
/// What of it is still on its way is thrown away: the broker gives back at once what it had delivered
/// there, and not after what has come since; and no heartbeat reaches it that is old by then.
#[derive(Debug)]
pub(super) struct Cutter(socket2::Socket);

impl Cutter {
    /// Ends both directions; a connection that has ended already is left as it is.
    pub(super) fn cut(&self) {
        let _ = self.0.set_linger(Some(Duration::ZERO));
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// A connection as it was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) cutter: Cutter,
    /// The node, for people.
    pub(super) target: String,
}

/// Opens a connection, to any node that takes it.
///
/// # Errors
/// Says which step failed. A handshake that is given up is also cut off, so that nothing of it
/// stays behind.
pub(super) async fn open(config: &Config, frames: Frames) -> Result<Opened, AmqpError> {
    let (socket, node) = connect(config).await?;
    let target = node.to_string();
    let cutter = prepare(&socket).map_err(|source| AmqpError::Connect { target: target.clone(), source })?;

    let stream = AsyncTcpStream::Plain(async_compat::Compat::new(socket));
    let stream = match &config.tls {
        None => stream,
        Some(tls) => {
            tls.renew().await;
            let connector = RustlsConnector::from(tls.client_config());
            let name = tls.server_name().map_or(node.host.as_str().into(), |name| name.to_str());
            timeout(CONNECT_TIMEOUT, stream.into_rustls(&connector, &name))
                .await
                .map_err(|_| AmqpError::Deadline {
                    operation: format!("the TLS handshake with {target}"),
                    limit: CONNECT_TIMEOUT,
                })?
                .map_err(|source| AmqpError::Tls { target: target.clone(), source })?
        }
    };

    // The library asks for a stream by calling back, and would call again to recover. It gets
    // this one, once.
    let once = std::sync::Mutex::new(Some(stream));
    let hand_over = async move |_, _| {
        let stream = once.lock().ok().and_then(|mut slot| slot.take());
        stream.ok_or_else(|| lapin::Error::from(std::io::Error::from(std::io::ErrorKind::NotConnected)))
    };
    let properties = ConnectionProperties::default()
        .with_connection_name(config.name.as_str().into())
        .with_client_property("product".into(), "heartbeat".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
    let runtime = lapin::runtime::default_runtime().map_err(|source| not_opened(config, &target, source))?;
    let opening = Connection::connector(config.uri(node, frames).await, runtime, hand_over, properties);
    match timeout(CONNECT_TIMEOUT, opening).await {
        Ok(Ok(connection)) => Ok(Opened { connection, cutter, target }),
        Ok(Err(source)) => Err(not_opened(config, &target, source)),
        Err(_) => {
            // Ends the library's thread, which would wait for this peer for ever.
            cutter.cut();
            Err(AmqpError::Deadline {
                operation: format!("the AMQP handshake with {target}"),
                limit: CONNECT_TIMEOUT,
            })
        }
    }
}

async fn connect(config: &Config) -> Result<(TcpStream, &Node), AmqpError> {
    let connected = config.nodes.connect(Instant::now() + CONNECT_TIMEOUT).await;
    connected.map_err(|told| match told {
        NotConnected::Failed(source) => AmqpError::Connect { target: config.target(), source },
        NotConnected::OutOfTime(what) => {
            let operation = format!("{what} {}", config.target());
            AmqpError::Deadline { operation, limit: CONNECT_TIMEOUT }
        }
    })
}

/// Since TLS 1.3 a client's certificate is refused only after the handshake.
fn not_opened(config: &Config, target: &str, source: lapin::Error) -> AmqpError {
    let target = target.to_owned();
    match source.kind() {
        lapin::ErrorKind::IOError(error)
            if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) =>
        {
            let source = std::io::Error::new(error.kind(), std::sync::Arc::clone(error));
            AmqpError::Tls { target, source }
        }
        _ => AmqpError::Open { target, check: config.mechanism.to_check(), source: source.into() },
    }
}

/// Sets the socket up to notice a dead peer, and returns a handle by which to cut it off.
fn prepare(socket: &TcpStream) -> std::io::Result<Cutter> {
    let options = SockRef::from(socket);
    options.set_tcp_nodelay(true)?;
    options.set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_USER_TIMEOUT))?;
    options.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(Cutter(options.try_clone()?))
}

/// Waits for one call, with a deadline.
pub(super) async fn call<T>(
    operation: impl FnOnce() -> String,
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, AmqpError> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(AmqpError::Call { operation: operation(), source: source.into() }),
        Err(_) => Err(AmqpError::Deadline { operation: operation(), limit: CALL_TIMEOUT }),
    }
}

/// Closes a connection politely, within a bound.
pub(super) async fn close(connection: Connection) {
    let _ = timeout(Duration::from_secs(2), connection.close(200, "goodbye".into())).await;
}
