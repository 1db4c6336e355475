//! Takes deliveries: a task owns the connection and the consumer, reconnects for ever, and notices
//! a consumer that was cancelled, forgotten, or fell silent.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery as LapinDelivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::acks::Acks;
use super::connection::{self, CALL_TIMEOUT, Config, Cutter, Frames, Opened, call};
pub use super::consumer::{Confirmed, ConsumerState, Event, Window};
pub use super::delivery::Delivery;
use super::delivery::stamp;
use super::queues::{Look, Queue, Queues, Said, look, names};
use super::{AmqpError, topology};
use crate::backoff::Backoff;
use crate::clock::{self, StoreClock};
use crate::heartbeat::Timestamp;
use crate::state::live::LOOK;
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

/// How long deliveries are held for want of the store. RabbitMQ takes them back by itself after
/// 30 minutes by default, with an error that closes the channel.
pub const HOLD_MAX: Duration = Duration::from_secs(600);

/// AMQP's largest prefetch.
const PREFETCH_MAX: u16 = u16::MAX;

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
    frames: Frames,
    /// Something worn was given back.
    worn: bool,
}

/// One channel and the queues that it consumes.
struct Session {
    target: String,
    cutter: Cutter,
    channel: Channel,
    lookers: Vec<(Channel, String)>,
    queues: Queues,
    prefetch: u16,
    /// Consumers that the channel has had.
    consumers: u32,
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
        let (generation, frames, worn) = (0, Frames::Usual, false);
        let task =
            Self { config, prefetch, tag, clock, window, events, state, backoff, generation, frames, worn };
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
            if error.is_frame_too_long() {
                self.frames = Frames::AsProposed;
            }
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
        let queue = &*names(&self.config.queues);
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
        let queue = &*names(&self.config.queues);
        info!(queue, target_address = session.target, prefetch = session.prefetch, "Consuming");
        let result = self.consume(&mut session, stop).await;
        if result.is_ok() {
            // Whatever was delivered and not taken in goes back to the queue with the connection.
            for queue in session.queues.iter() {
                let tag = self.consumer_tag(queue.number);
                let cancelled = session.channel.basic_cancel(tag.into(), BasicCancelOptions::default());
                let _ = timeout(CALL_TIMEOUT, cancelled).await;
            }
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

    fn consumer_tag(&self, number: u32) -> String {
        format!("{}.{}.{number}", self.tag, self.generation)
    }

    async fn open(&mut self) -> Result<(lapin::Connection, Session), AmqpError> {
        let Opened { connection, cutter, target } = connection::open(&self.config, self.frames).await?;
        topology::ensure(&connection, &self.config).await?;
        if self.generation == 0 {
            topology::compare(&connection, &self.config).await;
        }
        let channel = topology::channel(&connection).await?;
        let mut lookers = Vec::with_capacity(self.config.queues.len());
        for queue in &self.config.queues {
            lookers.push((topology::channel(&connection).await?, queue.clone()));
        }
        let found = look(&lookers, &self.clock).await?;
        self.generation += 1;
        let (mut queues, mut number) = (Vec::with_capacity(found.len()), 0);
        for (queue, found) in self.config.queues.iter().zip(&found) {
            let consumer = self.start_consumer(&channel, queue, self.prefetch, number).await?;
            queues.push(Queue::new(queue.clone(), consumer, number, found, self.clock.now()));
            number += 1;
        }
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
            state.consumers = found.iter().map(|found| found.consumers).collect();
        });
        let session = Session {
            target,
            cutter,
            channel,
            lookers,
            queues: Queues::new(queues),
            prefetch: self.prefetch,
            consumers: number,
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
        queue: &str,
        prefetch: u16,
        number: u32,
    ) -> Result<Consumer, AmqpError> {
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        call(|| format!("setting the prefetch to {prefetch}"), qos).await?;
        let consume = channel.basic_consume(
            queue.into(),
            self.consumer_tag(number).into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        call(|| format!("consuming queue {queue:?}"), consume).await
    }

    async fn consume(&mut self, session: &mut Session, stop: &CancellationToken) -> Result<(), AmqpError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (lookers, clock) = (session.lookers.clone(), Arc::clone(&self.clock));
        // Beside the deliveries, so that a broker that takes its time over this holds none up.
        let look_after = async |pause: Duration| {
            sleep(pause).await;
            look(&lookers, &clock).await
        };
        let mut looking = pin!(look_after(PAUSE));
        loop {
            tokio::select! {
                (at, said) = session.queues.next() => self.next(session, at, said, stop).await?,
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
                    if self.window.give_way.swap(false, Ordering::Relaxed) {
                        self.give_way(session, stop).await?;
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
        match session.queues.next_now() {
            Some((at, said)) => self.next(session, at, said, stop).await,
            None => {
                self.caught_up(session);
                Ok(())
            }
        }
    }

    /// Takes in what the consumer of one queue said next.
    async fn next(
        &mut self,
        session: &mut Session,
        at: usize,
        said: Said,
        stop: &CancellationToken,
    ) -> Result<(), AmqpError> {
        let queue = &session.queues.at(at).name;
        match said {
            Some(Ok(delivery)) => self.deliver(session, at, delivery, stop).await,
            Some(Err(source)) => Err(AmqpError::Call {
                operation: format!("consuming queue {queue:?}"),
                source: source.into(),
            }),
            None => Err(AmqpError::Cancelled { queue: queue.clone() }),
        }
    }

    /// Hands a delivery on, stamped with when and how it came.
    async fn deliver(
        &mut self,
        session: &mut Session,
        queue: usize,
        delivery: LapinDelivery,
        stop: &CancellationToken,
    ) -> Result<(), AmqpError> {
        note_sleep(session, &self.clock);
        let at = self.clock.now();
        let queue = session.queues.at(queue);
        let is_first = queue.served_since.is_none();
        let live = queue.delivered(at, delivery.redelivered, session.deliveries);
        session.deliveries += 1;
        let delivery = stamp(delivery, self.generation, at, live, queue.gate.live_since());
        self.worn |= delivery.worn;
        if is_first {
            self.note_served(session);
        }
        match self.events.try_send(Event::Delivered(delivery)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(event)) => {
                // The ingest is behind, so what comes next will have waited in the library's buffer.
                let sent = tokio::select! {
                    sent = self.send_blocked(event) => sent,
                    () = stop.cancelled() => return Ok(()),
                };
                session.queues.something_waits(self.clock.now());
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
        let Some(confirmed_at) = session.queues.caught_up(self.clock.now()) else { return };
        self.state.send_if_modified(|state| {
            let confirmed = Confirmed::At(confirmed_at);
            std::mem::replace(&mut state.confirmed, confirmed) != confirmed
        });
    }

    fn tick(&mut self, session: &mut Session) {
        let now = self.clock.now();
        let full = self.open_deliveries() >= usize::from(session.prefetch);
        if full {
            session.queues.something_waits(now);
        }
        let drained = session.queues.are_drained();
        if drained && !std::mem::replace(&mut session.drained, true) {
            let (messages, seconds) = (session.deliveries, now.ms_since(session.began) as f64 / 1e3);
            info!(queue = &*names(&self.config.queues), messages, seconds, "Starting backlog taken in");
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

    /// What each queue showed.
    fn looked(&mut self, session: &mut Session, looks: &[Look]) -> Result<(), AmqpError> {
        let full = self.open_deliveries() >= usize::from(session.prefetch);
        let single = self.config.spread.is_some();
        for (queue, look) in session.queues.iter_mut().zip(looks) {
            queue.looked(look, self.clock.now(), full, single)?;
        }
        let consumers: Vec<u32> = session.queues.iter().map(|queue| queue.consumers).collect();
        self.state.send_modify(|state| state.consumers = consumers);
        Ok(())
    }

    fn note_served(&self, session: &Session) {
        let served = session.queues.served();
        self.state.send_modify(|state| state.served = served);
    }

    fn should_grow(&self, session: &Session) -> bool {
        let open = self.open_deliveries();
        self.window.store_is_away.load(Ordering::Relaxed)
            && session.prefetch < PREFETCH_MAX
            && open >= usize::from(session.prefetch) / 5 * 4
    }

    /// Makes the consumers anew with a wider window.
    async fn grow(&mut self, session: &mut Session, stop: &CancellationToken) -> Result<(), AmqpError> {
        session.prefetch = session.prefetch.saturating_mul(2);
        for at in 0..session.queues.count() {
            self.renew(session, at, stop).await?;
        }
        info!(prefetch = session.prefetch, "Window grown while the store is away");
        Ok(())
    }

    /// Leaves the queue that was taken last to the next in its line, and goes to the end of that.
    async fn give_way(&mut self, session: &mut Session, stop: &CancellationToken) -> Result<(), AmqpError> {
        let Some(at) = session.queues.served_last() else { return Ok(()) };
        self.renew(session, at, stop).await?;
        info!(queue = session.queues.at(at).name, "Left to a subscriber that has less to do");
        Ok(())
    }

    /// Makes the consumer of one queue anew on the same channel, so that nothing held is given back. What the
    /// old one still had in its buffer is taken in first.
    async fn renew(
        &mut self,
        session: &mut Session,
        at: usize,
        stop: &CancellationToken,
    ) -> Result<(), AmqpError> {
        let operation = || "making the consumer anew".to_owned();
        let old = self.consumer_tag(session.queues.at(at).number);
        let cancelled = session.channel.basic_cancel(old.into(), BasicCancelOptions::default());
        call(operation, cancelled).await?;
        while let Ok(Some(delivery)) = timeout(CALL_TIMEOUT, session.queues.at(at).consumer.next()).await {
            let delivery = delivery
                .map_err(|source| AmqpError::Call { operation: operation(), source: source.into() })?;
            self.deliver(session, at, delivery, stop).await?;
        }
        let number = session.consumers;
        session.consumers += 1;
        let queue = session.queues.at(at);
        queue.consumer = self.start_consumer(&session.channel, &queue.name, session.prefetch, number).await?;
        queue.number = number;
        queue.served_since = None;
        self.note_served(session);
        Ok(())
    }
}

/// A process that slept finds what came meanwhile all at once: none of it is live.
fn note_sleep(session: &mut Session, clock: &StoreClock) {
    let now = clock::boot();
    if now.saturating_sub(session.last_tick) > SLEPT {
        session.queues.something_waits(clock.now());
    }
    session.last_tick = now;
}
