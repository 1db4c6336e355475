//! Sends heartbeats: persistent, mandatory, confirmed, one at a time.
//!
//! A task owns the connection. What could not be handed over, or was handed over and not
//! confirmed, is a failure, and nothing is kept: the next snapshot supersedes it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection, Event};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::connection::{self, Config, Cutter, Frames, Opened, call};
use super::inspect::inspect_all;
use super::send::{Reply, Sender};
use super::{AmqpError, topology};
use crate::backoff::Backoff;
use crate::clock;
use crate::telemetry::Chain;

pub use super::inspect::QueueState;
pub use super::send::{Outgoing, PublishFailure};

/// Requests that wait for the task: one publisher sends one heartbeat at a time, and asks for
/// queues once a round.
const REQUESTS_MAX: usize = 4;

/// How the link is.
#[derive(Clone, Debug, Default)]
pub struct LinkState {
    /// There is a connection.
    pub connected: bool,
    /// Why there is none: what the latest attempt came to, or the latest connection.
    pub failure: Option<Arc<AmqpError>>,
    /// The broker has blocked it.
    pub blocked: bool,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Time for which it was blocked, blocks that have ended.
    pub blocked_for: Duration,
}

impl LinkState {
    /// Whether a message would be handed over now.
    pub fn is_writable(&self) -> bool {
        self.connected && !self.blocked
    }
}

/// A message to send.
type Publish = (Outgoing, Reply);

/// Queues to look at.
type Inspect = (Vec<Arc<str>>, oneshot::Sender<HashMap<Arc<str>, QueueState>>);

/// Speaks to the task.
#[derive(Clone, Debug)]
pub struct Publisher {
    publishes: mpsc::Sender<Publish>,
    inspects: mpsc::Sender<Inspect>,
    state: watch::Receiver<LinkState>,
}

impl Publisher {
    /// Makes the handle and the task to be spawned by the owner.
    pub fn new(config: Config, confirm_timeout: Duration) -> (Self, PublisherTask) {
        let (publishes, publishes_in) = mpsc::channel(REQUESTS_MAX);
        let (inspects, inspects_in) = mpsc::channel(REQUESTS_MAX);
        let (state_out, state) = watch::channel(LinkState::default());
        let backoff = Backoff::new(config.reconnect_max);
        let requests = Requests { publishes: publishes_in, inspects: inspects_in };
        let task = PublisherTask { config, confirm_timeout, requests, state: state_out, backoff };
        (Self { publishes, inspects, state }, task)
    }

    /// Sends one message and waits for its confirm.
    ///
    /// # Errors
    /// Says what became of it.
    pub async fn publish(&self, message: Outgoing) -> Result<(), PublishFailure> {
        let (reply, answer) = oneshot::channel();
        if self.publishes.send((message, reply)).await.is_err() {
            return Err(PublishFailure::Disconnected);
        }
        // The task answers within its own deadline; if it ended, nobody knows what became of it.
        answer.await.unwrap_or(Err(PublishFailure::Unconfirmed))
    }

    /// Looks at queues, as far as that is possible within `limit`. A connection that is being made
    /// gets half of that.
    pub async fn inspect(&self, queues: Vec<Arc<str>>, limit: Duration) -> HashMap<Arc<str>, QueueState> {
        let asked = async {
            let mut state = self.state.clone();
            let _ = timeout(limit / 2, state.wait_for(|state| state.connected)).await;
            let (reply, answer) = oneshot::channel();
            self.inspects.send((queues, reply)).await.ok()?;
            answer.await.ok()
        };
        timeout(limit, asked).await.ok().flatten().unwrap_or_default()
    }

    /// How the link is, and a way to wait for a change.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }
}

/// Owns the connection: reconnects for ever, until told to stop.
pub struct PublisherTask {
    config: Config,
    confirm_timeout: Duration,
    requests: Requests,
    state: watch::Sender<LinkState>,
    backoff: Backoff,
}

struct Requests {
    publishes: mpsc::Receiver<Publish>,
    inspects: mpsc::Receiver<Inspect>,
}

struct Session {
    connection: Connection,
    cutter: Cutter,
    channel: Channel,
    target: String,
}

impl Session {
    fn is_open(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }
}

impl PublisherTask {
    /// Runs until `stop`, then closes the connection.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut connected_before = false;
        while !stop.is_cancelled() {
            let failure = match self.open_session(!connected_before, &stop).await {
                Some(Ok(session)) => {
                    info!(target_address = session.target, "Connected to RabbitMQ");
                    self.state.send_modify(|state| {
                        state.connected = true;
                        state.failure = None;
                        state.reconnects += u64::from(connected_before);
                    });
                    connected_before = true;
                    let mut blocked_since = None;
                    let ended = self.serve(&session, &stop, &mut blocked_since).await;
                    leave_blocked(&self.state, &mut blocked_since);
                    self.state.send_modify(|state| state.connected = false);
                    match ended {
                        Ok(()) => {
                            connection::close(session.connection).await;
                            None
                        }
                        Err(error) => {
                            warn!(error = %Chain(&error), "Connection to RabbitMQ lost; reconnecting");
                            session.cutter.cut();
                            Some(error)
                        }
                    }
                }
                Some(Err(error)) => {
                    warn!(error = %Chain(&error), "No connection to RabbitMQ; trying again");
                    Some(error)
                }
                None => return,
            };
            let refused = failure.as_ref().is_some_and(AmqpError::is_refusal);
            self.state.send_modify(|state| state.failure = failure.map(Arc::new));
            self.wait(refused, &stop).await;
        }
    }

    /// Opens a session, refusing requests meanwhile. `None` when told to stop.
    async fn open_session(
        &mut self,
        is_first: bool,
        stop: &CancellationToken,
    ) -> Option<Result<Session, AmqpError>> {
        let config = self.config.clone();
        let mut opening = Box::pin(async move {
            let Opened { connection, cutter, target } = connection::open(&config, Frames::Short).await?;
            topology::ensure(&connection, &config).await?;
            if is_first {
                topology::compare(&connection, &config).await;
            }
            let channel = topology::channel(&connection).await?;
            let confirm = channel.confirm_select(ConfirmSelectOptions::default());
            call(|| "asking for confirms".into(), confirm).await?;
            Ok(Session { connection, cutter, channel, target })
        });
        loop {
            tokio::select! {
                opened = &mut opening => return Some(opened),
                () = self.requests.refuse() => {}
                () = stop.cancelled() => return None,
            }
        }
    }

    /// Waits before the next attempt, refusing requests meanwhile.
    async fn wait(&mut self, refused: bool, stop: &CancellationToken) {
        let pause = sleep(self.backoff.next_wait_after(refused));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                () = self.requests.refuse() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Serves requests until something goes wrong, or until told to stop.
    ///
    /// Events are heard all the while: a broker that blocks says so when it has been sent a message,
    /// and confirms it only when it goes on.
    async fn serve(
        &mut self,
        session: &Session,
        stop: &CancellationToken,
        blocked_since: &mut Option<Duration>,
    ) -> Result<(), AmqpError> {
        let mut events = std::pin::pin!(session.connection.events_listener());
        if !session.is_open() {
            return Err(AmqpError::Ended { target: session.target.clone() });
        }
        let sender = Sender { config: &self.config, confirm_timeout: self.confirm_timeout };
        let (mut sending, mut looking) = (None, None);
        loop {
            tokio::select! {
                biased;
                event = events.next() => note(&self.state, event, session, blocked_since)?,
                sent = under_way(&mut sending) => {
                    sending = None;
                    if !matches!(sent, (Err((PublishFailure::Nacked, _)), _)) {
                        self.backoff.reset();
                    }
                    sender.settle(sent, blocked_since.is_some())?;
                }
                () = under_way(&mut looking) => looking = None,
                request = self.requests.publishes.recv(), if sending.is_none() => match request {
                    Some((_, reply)) if blocked_since.is_some() => {
                        let _ = reply.send(Err(PublishFailure::Blocked));
                    }
                    Some((message, reply)) => {
                        let publishing = sender.publish(&session.channel, message);
                        sending = Some(Box::pin(async move { (publishing.await, reply) }));
                    }
                    // Nobody is left to ask for anything.
                    None => return Ok(()),
                },
                Some((queues, mut reply)) = self.requests.inspects.recv(), if looking.is_none() => {
                    // A blocked broker reads nothing, and so answers nothing.
                    if blocked_since.is_none() {
                        looking = Some(Box::pin(async move {
                            let states = tokio::select! {
                                states = inspect_all(&session.connection, queues) => states,
                                () = reply.closed() => return,
                            };
                            let _ = reply.send(states);
                        }));
                    }
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}

impl Requests {
    /// Refuses the next request: there is no connection.
    async fn refuse(&mut self) {
        tokio::select! {
            Some((_, reply)) = self.publishes.recv() => {
                let _ = reply.send(Err(PublishFailure::Disconnected));
            }
            // Whoever asked hears that nothing was found out.
            Some(_) = self.inspects.recv() => {}
            else => std::future::pending().await,
        }
    }
}

/// Takes in what the connection tells of itself.
fn note(
    state: &watch::Sender<LinkState>,
    event: Option<Event>,
    session: &Session,
    blocked_since: &mut Option<Duration>,
) -> Result<(), AmqpError> {
    match event {
        Some(Event::ConnectionBlocked(reason)) => {
            warn!(reason, "RabbitMQ blocks publishers; heartbeats wait");
            blocked_since.get_or_insert_with(clock::boot);
            state.send_modify(|state| state.blocked = true);
        }
        Some(Event::ConnectionUnblocked) => {
            info!("RabbitMQ lets publishers go on");
            leave_blocked(state, blocked_since);
        }
        // A channel's end is told here too. Looking at a queue that is missing ends the channel of
        // that look, and nothing else.
        Some(Event::Error(_)) if session.is_open() => {}
        Some(Event::Error(source)) => {
            return Err(AmqpError::Call { operation: "staying connected".into(), source: source.into() });
        }
        Some(_) => {}
        None => return Err(AmqpError::Ended { target: session.target.clone() }),
    }
    Ok(())
}

/// The block is over, or the connection is that was blocked.
fn leave_blocked(state: &watch::Sender<LinkState>, blocked_since: &mut Option<Duration>) {
    let Some(since) = blocked_since.take() else { return };
    let blocked_for = clock::boot().saturating_sub(since);
    state.send_modify(|state| {
        state.blocked = false;
        state.blocked_for += blocked_for;
    });
}

/// Waits for what is under way; for ever, where nothing is.
async fn under_way<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
