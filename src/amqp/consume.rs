//! Takes deliveries: a task owns the connection and the consumer, reconnects for ever, and notices
//! a consumer that was cancelled, forgotten, or fell silent.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery as LapinDelivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::acks::Acks;
use super::connection::{self, CALL_TIMEOUT, Config, Cutter, Opened, call};
pub use super::delivery::Delivery;
use super::delivery::stamp;
use super::{AmqpError, topology};
use crate::backoff::Backoff;
use crate::clock::{self, StoreClock};
use crate::heartbeat::Timestamp;
use crate::state::live::{LOOK, LiveGate};
use crate::telemetry::Chain;

/// Deliveries between the consumer and the ingest. Small: what waits here counts as waiting.
const EVENTS_MAX: usize = 1024;

/// Between the broker's answer about the queue and the next question: less than [`LOOK`] by the time that an answer may
/// take, so that what it confirms is not older than that.
const PAUSE: Duration = LOOK.saturating_sub(Duration::from_millis(200));

/// How often the task looks at the time, to notice that it slept.
const TICK: Duration = Duration::from_millis(100);

/// A gap between two looks at the time beyond this is a sleep: a stopped process, a suspended
/// machine, a starved one.
const SLEPT: Duration = Duration::from_millis(600);

/// A delivery that the ingest has not taken for so long: this consumer does not listen.
const BLOCKED: Duration = Duration::from_millis(500);

/// Looks in a row that find messages waiting, and no delivery between, before the consumer is
/// taken to be dead.
const SILENT_LOOKS: u32 = 10;

/// Looks in a row that do not find our consumer before it is taken to be lost.
const LOST_LOOKS: u32 = 3;

/// How long deliveries are held for want of the store. RabbitMQ takes them back by itself after
/// 30 minutes by default, with an error that closes the channel.
pub const HOLD_MAX: Duration = Duration::from_secs(600);

/// AMQP's largest prefetch.
const PREFETCH_MAX: u16 = u16::MAX;

/// What the ingest hears.
#[derive(Debug)]
pub enum Event {
    /// A new channel: deliveries of every earlier one will come again.
    Began {
        /// Its number.
        generation: u64,
        /// Its acks.
        acks: Acks,
    },
    /// A message.
    Delivered(Delivery),
    /// The channel is gone, or was not made; with what it failed by, one of
    /// [`REASONS`](super::REASONS), unless it was told to stop.
    Ended(Option<&'static str>),
}

/// How the consumer is, for readiness, metrics and judgement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConsumerState {
    /// There is a connection.
    pub connected: bool,
    /// The consumer stands, what the queue held at its start is taken in, and its window is not full.
    pub listening: bool,
    /// Consumers of the queue, ours included, at the last look.
    pub consumers: u32,
    /// Whether our consumer stands, so that it is one of those.
    pub consuming: bool,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Of which moment it is sure that whatever had been sent until then has come.
    pub confirmed: Confirmed,
}

/// Until when the broker is known to have been there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirmed {
    /// It is not.
    #[default]
    Never,
    /// It answered a question asked then, in the store's clock.
    At(Timestamp),
    /// There is no broker between: the publisher is in this process.
    Always,
}

/// What a look at the queue showed.
struct Look {
    asked: Timestamp,
    ready: u64,
    consumers: u32,
}

/// What the ingest tells the consumer.
#[derive(Debug, Default)]
pub struct Window {
    /// Deliveries that the ingest holds unsettled.
    pub open: AtomicUsize,
    /// Deliveries are held for want of the store: the window should grow, and nothing worn be taken again.
    pub store_is_away: std::sync::atomic::AtomicBool,
    /// Give everything back and begin anew: it was held for too long.
    pub give_back: std::sync::atomic::AtomicBool,
}

/// The task that consumes.
pub struct ConsumerTask {
    config: Config,
    prefetch: u16,
    tag: String,
    clock: Arc<StoreClock>,
    window: Arc<Window>,
    events: mpsc::Sender<Event>,
    state: watch::Sender<ConsumerState>,
    backoff: Backoff,
    generation: u64,
    /// Something worn was given back.
    worn: bool,
}

/// One consumer on one channel.
struct Session {
    target: String,
    cutter: Cutter,
    channel: Channel,
    looker: Channel,
    consumer: Consumer,
    gate: LiveGate,
    prefetch: u16,
    grown: u32,
    silent_looks: u32,
    lost_looks: u32,
    deliveries_since_look: u64,
    deliveries: u64,
    began: Timestamp,
    drained: bool,
    last_tick: Duration,
}

impl ConsumerTask {
    /// Makes the task and the ends by which it is heard. `tag` names the consumer in RabbitMQ.
    pub fn new(
        config: Config,
        prefetch: u16,
        tag: String,
        clock: Arc<StoreClock>,
        window: Arc<Window>,
    ) -> (Self, mpsc::Receiver<Event>, watch::Receiver<ConsumerState>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (state, state_out) = watch::channel(ConsumerState::default());
        let backoff = Backoff::new(config.reconnect_max);
        let task =
            Self { config, prefetch, tag, clock, window, events, state, backoff, generation: 0, worn: false };
        (task, receiver, state_out)
    }

    /// Runs until `stop`: then cancels the consumer, and keeps the connection until `acked`, so
    /// that what is being stored can still be acknowledged.
    pub async fn run(mut self, stop: CancellationToken, acked: CancellationToken) {
        while !stop.is_cancelled() {
            self.spare_the_worn(&stop).await;
            let ended = self.session(&stop, &acked).await;
            self.state.send_modify(|state| {
                let reconnects = state.reconnects;
                *state = ConsumerState { reconnects, ..ConsumerState::default() };
            });
            let failed = ended.as_ref().err().map(AmqpError::reason);
            if self.events.send(Event::Ended(failed)).await.is_err() {
                return;
            }
            let Err(error) = ended else { return };
            warn!(error = %Chain(&error), "Not consuming; trying again");
            tokio::select! {
                () = sleep(self.backoff.next_wait_after(error.is_refusal())) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Each delivery that is not acknowledged brings a message nearer to its queue's delivery limit, where it is dropped.
    /// One that is near waits in the queue until it can be stored.
    async fn spare_the_worn(&mut self, stop: &CancellationToken) {
        if !std::mem::take(&mut self.worn) || !self.window.store_is_away.load(Ordering::Relaxed) {
            return;
        }
        let queue = &self.config.queue;
        warn!(
            queue,
            "Heartbeats were delivered so often that RabbitMQ may drop them: not consuming until the store is back. \
             Raise the queue's delivery-limit by a policy"
        );
        while self.window.store_is_away.load(Ordering::Relaxed) && !stop.is_cancelled() {
            sleep(TICK).await;
        }
    }

    /// Connects, consumes until something goes wrong, or ends orderly when told to stop.
    async fn session(
        &mut self,
        stop: &CancellationToken,
        acked: &CancellationToken,
    ) -> Result<(), AmqpError> {
        let opened = tokio::select! {
            opened = self.open() => opened?,
            () = stop.cancelled() => return Ok(()),
        };
        let (connection, mut session) = opened;
        self.backoff.reset();
        let queue = self.config.queue.clone();
        info!(queue, target_address = session.target, prefetch = session.prefetch, "Consuming");
        let result = self.consume(&mut session, stop).await;
        if result.is_ok() {
            // Whatever was delivered and not taken in goes back to the queue with the connection.
            let tag = self.consumer_tag(session.grown);
            let cancelled = session.channel.basic_cancel(tag.into(), BasicCancelOptions::default());
            let _ = timeout(CALL_TIMEOUT, cancelled).await;
            let _ = self.events.send(Event::Ended(None)).await;
            acked.cancelled().await;
            connection::close(connection).await;
        } else {
            session.cutter.cut();
        }
        result
    }

    /// Deliveries that are not settled: with the ingest, or on their way to it.
    fn open_deliveries(&self) -> usize {
        self.window.open.load(Ordering::Relaxed) + self.events.max_capacity() - self.events.capacity()
    }

    fn consumer_tag(&self, grown: u32) -> String {
        format!("{}.{}.{grown}", self.tag, self.generation)
    }

    async fn open(&mut self) -> Result<(lapin::Connection, Session), AmqpError> {
        let Opened { connection, cutter, target } = connection::open(&self.config).await?;
        topology::ensure(&connection, &self.config).await?;
        if self.generation == 0 {
            topology::compare(&connection, &self.config).await;
        }
        let channel = topology::channel(&connection).await?;
        let looker = topology::channel(&connection).await?;
        let Look { ready, consumers, .. } = look(&looker, &self.config.queue, &self.clock).await?;
        self.generation += 1;
        let consumer = self.start_consumer(&channel, self.prefetch, 0).await?;
        let acks = Acks::new(Some(channel.clone()));
        // What was held is given back by now.
        self.window.give_back.store(false, Ordering::Relaxed);
        let began = Event::Began { generation: self.generation, acks };
        if self.events.send(began).await.is_err() {
            return Err(AmqpError::Ended { target });
        }
        let reconnected = self.generation > 1;
        self.state.send_modify(|state| {
            state.connected = true;
            state.consuming = true;
            state.reconnects += u64::from(reconnected);
            state.consumers = consumers;
        });
        let session = Session {
            target,
            cutter,
            channel,
            looker,
            consumer,
            gate: LiveGate::begin(self.clock.now(), ready),
            prefetch: self.prefetch,
            grown: 0,
            silent_looks: 0,
            lost_looks: 0,
            deliveries_since_look: 0,
            deliveries: 0,
            began: self.clock.now(),
            drained: false,
            last_tick: clock::boot(),
        };
        Ok((connection, session))
    }

    async fn start_consumer(
        &self,
        channel: &Channel,
        prefetch: u16,
        grown: u32,
    ) -> Result<Consumer, AmqpError> {
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        call(|| format!("setting the prefetch to {prefetch}"), qos).await?;
        let consume = channel.basic_consume(
            self.config.queue.as_str().into(),
            self.consumer_tag(grown).into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        call(|| format!("consuming queue {:?}", self.config.queue), consume).await
    }

    async fn consume(&mut self, session: &mut Session, stop: &CancellationToken) -> Result<(), AmqpError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (looker, queue, clock) =
            (session.looker.clone(), self.config.queue.clone(), Arc::clone(&self.clock));
        // Beside the deliveries, so that a broker that takes its time over this holds none up.
        let look_after = async |pause: Duration| {
            sleep(pause).await;
            look(&looker, &queue, &clock).await
        };
        let mut looking = pin!(look_after(PAUSE));
        loop {
            tokio::select! {
                delivery = session.consumer.next() => self.next(session, delivery, stop).await?,
                looked = &mut looking => {
                    self.looked(session, &looked?)?;
                    looking.set(look_after(PAUSE));
                    self.take_what_has_come(session, stop).await?;
                }
                _ = tick.tick() => {
                    note_sleep(session, &self.clock);
                    self.take_what_has_come(session, stop).await?;
                    self.tick(session);
                    if self.window.give_back.swap(false, Ordering::Relaxed) {
                        return Err(AmqpError::HeldTooLong { held: HOLD_MAX });
                    }
                    if self.should_grow(session) {
                        self.grow(session, stop).await?;
                    }
                }
                () = stop.cancelled() => return Ok(()),
            }
            if stop.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Takes one delivery that has come; where there is none, all of them are taken in.
    async fn take_what_has_come(
        &mut self,
        session: &mut Session,
        stop: &CancellationToken,
    ) -> Result<(), AmqpError> {
        match session.consumer.next().now_or_never() {
            Some(delivery) => self.next(session, delivery, stop).await,
            None => {
                self.caught_up(session);
                Ok(())
            }
        }
    }

    /// Takes in what the consumer said next.
    async fn next(
        &mut self,
        session: &mut Session,
        next: Option<lapin::Result<LapinDelivery>>,
        stop: &CancellationToken,
    ) -> Result<(), AmqpError> {
        match next {
            Some(Ok(delivery)) => self.deliver(session, delivery, stop).await,
            Some(Err(source)) => {
                let operation = format!("consuming queue {:?}", self.config.queue);
                Err(AmqpError::Call { operation, source })
            }
            None => Err(AmqpError::Cancelled { queue: self.config.queue.clone() }),
        }
    }

    /// Hands a delivery on, stamped with when and how it came.
    async fn deliver(
        &mut self,
        session: &mut Session,
        delivery: LapinDelivery,
        stop: &CancellationToken,
    ) -> Result<(), AmqpError> {
        note_sleep(session, &self.clock);
        let at = self.clock.now();
        let live = session.gate.delivered(at, delivery.redelivered);
        session.deliveries_since_look += 1;
        session.deliveries += 1;
        let delivery = stamp(delivery, self.generation, at, live, session.gate.live_since());
        self.worn |= delivery.worn;
        match self.events.try_send(Event::Delivered(delivery)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(event)) => {
                // The ingest is behind, so what comes next will have waited in the library's buffer.
                let sent = tokio::select! {
                    sent = self.send_blocked(event) => sent,
                    () = stop.cancelled() => return Ok(()),
                };
                session.gate.something_waits(self.clock.now());
                sent
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(AmqpError::Ended { target: session.target.clone() })
            }
        }
    }

    /// The library has nothing more for us. What the ingest has not taken yet counts as taken while it
    /// is little: it is applied within moments.
    fn caught_up(&self, session: &mut Session) {
        if self.events.capacity() < self.events.max_capacity() / 2 {
            return;
        }
        if let Some(confirmed_at) = session.gate.caught_up(self.clock.now()) {
            self.state.send_modify(|state| state.confirmed = Confirmed::At(confirmed_at));
        }
    }

    fn tick(&mut self, session: &mut Session) {
        let now = self.clock.now();
        let full = self.open_deliveries() >= usize::from(session.prefetch);
        if full {
            session.gate.something_waits(now);
        }
        let drained = session.gate.is_drained();
        if drained && !std::mem::replace(&mut session.drained, true) {
            let (messages, seconds) = (session.deliveries, now.ms_since(session.began) as f64 / 1e3);
            info!(queue = self.config.queue, messages, seconds, "Starting backlog taken in");
        }
        self.set_listening(drained && !full);
    }

    /// Waits for room, and says meanwhile that nothing is heard.
    async fn send_blocked(&self, event: Event) -> Result<(), AmqpError> {
        let mut sending = pin!(self.events.send(event));
        let sent = match timeout(BLOCKED, &mut sending).await {
            Ok(sent) => sent,
            Err(_) => {
                self.set_listening(false);
                sending.await
            }
        };
        sent.map_err(|_| AmqpError::Ended { target: self.config.target() })
    }

    fn set_listening(&self, listening: bool) {
        self.state.send_if_modified(|state| {
            let changed = state.listening != listening;
            state.listening = listening;
            changed
        });
    }

    /// What the queue showed: is it empty, who consumes it, are we one of them.
    fn looked(&mut self, session: &mut Session, look: &Look) -> Result<(), AmqpError> {
        let Look { asked, ready, consumers } = *look;
        let full = self.open_deliveries() >= usize::from(session.prefetch);
        // In a stream without a pause something is always on its way. By the rate since the last
        // look, so much of it waits for less than a fifth of a second, which is no backlog.
        let on_its_way = session.deliveries_since_look / 5;
        // One that counts no consumer has forgotten this one, or answers for a queue whose leader it does not reach:
        // it calls empty what is not.
        let waits = (consumers > 0).then(|| ready.saturating_sub(on_its_way));
        session.gate.looked(asked, self.clock.now(), waits);

        let silent = ready > 0 && session.deliveries_since_look == 0 && !full;
        session.silent_looks = if silent { session.silent_looks + 1 } else { 0 };
        session.deliveries_since_look = 0;
        if session.silent_looks >= SILENT_LOOKS {
            return Err(AmqpError::Silent { queue: self.config.queue.clone(), ready });
        }
        session.lost_looks = if consumers == 0 { session.lost_looks + 1 } else { 0 };
        if session.lost_looks >= LOST_LOOKS {
            return Err(AmqpError::Lost { queue: self.config.queue.clone() });
        }
        self.state.send_modify(|state| state.consumers = consumers);
        Ok(())
    }

    fn should_grow(&self, session: &Session) -> bool {
        let open = self.open_deliveries();
        self.window.store_is_away.load(Ordering::Relaxed)
            && session.prefetch < PREFETCH_MAX
            && open >= usize::from(session.prefetch) / 5 * 4
    }

    /// Makes the consumer anew with a wider window, on the same channel, so that nothing held is
    /// given back. What the old one still had in its buffer is taken in first.
    async fn grow(&mut self, session: &mut Session, stop: &CancellationToken) -> Result<(), AmqpError> {
        let prefetch = session.prefetch.saturating_mul(2);
        let old = self.consumer_tag(session.grown);
        let cancelled = session.channel.basic_cancel(old.into(), BasicCancelOptions::default());
        call(|| "making the consumer anew with a wider window".into(), cancelled).await?;
        while let Ok(Some(delivery)) = timeout(CALL_TIMEOUT, session.consumer.next()).await {
            let delivery = delivery.map_err(|source| AmqpError::Call {
                operation: "making the consumer anew with a wider window".into(),
                source,
            })?;
            self.deliver(session, delivery, stop).await?;
        }
        session.grown += 1;
        session.consumer = self.start_consumer(&session.channel, prefetch, session.grown).await?;
        session.prefetch = prefetch;
        info!(prefetch, "Window grown while the store is away");
        Ok(())
    }
}

/// Asks the broker about the queue.
async fn look(channel: &Channel, queue: &str, clock: &StoreClock) -> Result<Look, AmqpError> {
    let asked = clock.now();
    let found = topology::inspect(channel, queue).await?;
    Ok(Look { asked, ready: u64::from(found.message_count()), consumers: found.consumer_count() })
}

/// A process that slept finds what came meanwhile all at once: none of it is live.
fn note_sleep(session: &mut Session, clock: &StoreClock) {
    let now = clock::boot();
    if now.saturating_sub(session.last_tick) > SLEPT {
        session.gate.something_waits(clock.now());
    }
    session.last_tick = now;
}
