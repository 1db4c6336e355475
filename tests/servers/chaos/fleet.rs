//! Simulated publishers that write down each heartbeat before they send it, and what became of it after; and the
//! mischief beside them: duplicates, replays, late ones and what is no heartbeat at all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};

use super::ledger::{Fate, Key};
use super::world::Truth;
use crate::support::bridge::{EXCHANGE, KEY};
use crate::support::v2::{Chance, Simulated};

/// Publishers, in this many groups that beat one after the other.
const GROUPS: usize = 4;
/// Each publisher beats once in it.
const BEAT: Duration = Duration::from_secs(1);
/// From a message to its confirm; then the connection is given up.
const CONFIRM: Duration = Duration::from_secs(2);
/// From the first byte to a channel.
const CONNECT: Duration = Duration::from_secs(3);
/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(200);
/// Confirmed messages that may be replayed.
const REPLAYED_MAX: usize = 400;

/// How a publisher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Alive.
    Beating,
    /// Stopped, or dead.
    Silent,
}

struct Member {
    simulated: Simulated,
    state: State,
    /// Made, and to be sent after the next one.
    late: Option<Message>,
    /// None of its messages come late from now on.
    behaves: bool,
}

struct Message {
    /// `None` for what was claimed before, or is no heartbeat.
    key: Option<Key>,
    body: Vec<u8>,
}

/// All of them.
pub struct Fleet {
    truth: Truth,
    members: Arc<Mutex<Vec<Member>>>,
    beating: JoinHandle<()>,
    mischief: JoinHandle<()>,
    lines: Vec<JoinHandle<()>>,
}

/// The newest confirmed messages, for replays.
type Confirmed = Arc<Mutex<VecDeque<(Key, Vec<u8>)>>>;

impl Fleet {
    /// Starts so many, which send to one of `uris`, the next one each time that it breaks; the mischief goes to `direct`, so
    /// that it comes when nothing else does.
    pub fn start(truth: &Truth, number: usize, uris: &[String], direct: &[String], seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let members = (0..number).map(|number| Member {
            simulated: member(number, &mut chance),
            state: State::Beating,
            late: None,
            behaves: false,
        });
        let members = Arc::new(Mutex::new(members.collect::<Vec<_>>()));
        let confirmed = Confirmed::default();
        let line = |uris: &[String]| {
            let (out, messages) = mpsc::channel(1000);
            let line = Line {
                truth: truth.clone(),
                uris: uris.to_vec(),
                next: 0,
                messages,
                confirmed: Arc::clone(&confirmed),
            };
            (out, tokio::spawn(line.run()))
        };
        let ((through, first), (beside, second)) = (line(uris), line(direct));
        let beating = tokio::spawn(beat(truth.clone(), Arc::clone(&members), through, Chance::new(seed ^ 1)));
        let mischief =
            tokio::spawn(mischief(truth.clone(), Arc::clone(&confirmed), beside, Chance::new(seed ^ 2)));
        Self { truth: truth.clone(), members, beating, mischief, lines: vec![first, second] }
    }

    /// Stops some publishers, chosen by a number; says which.
    pub fn silence(&self, chance: u64) -> Vec<usize> {
        let mut members = self.members.lock().unwrap();
        let length = members.len() as u64;
        let mut chosen = vec![chance % length, (chance >> 8) % length];
        chosen.dedup();
        let chosen: Vec<usize> = chosen.into_iter().map(|number| usize::try_from(number).unwrap()).collect();
        for number in &chosen {
            let member = &mut members[*number];
            member.state = State::Silent;
            self.truth.oracle().ledger.beats(&member.simulated.id, false);
            if let Some(Message { key: Some(key), .. }) = member.late.take() {
                self.truth.oracle().ledger.settle(&key, Fate::Refused);
            }
        }
        chosen
    }

    /// Lets them go on; in a new life, where they died.
    pub fn revive(&self, chosen: &[usize], died: bool) {
        let mut members = self.members.lock().unwrap();
        for number in chosen {
            let member = &mut members[*number];
            if died {
                member.simulated = member.simulated.restarted();
            }
            member.state = State::Beating;
            self.truth.oracle().ledger.beats(&member.simulated.id, true);
        }
    }

    /// Ends the mischief; with their next beat all have sent all.
    pub fn behave(&self) {
        self.mischief.abort();
        self.members.lock().unwrap().iter_mut().for_each(|member| member.behaves = true);
    }

    /// Ends all, and hands the publishers back as they are after their last heartbeat.
    pub async fn end(&mut self) -> Vec<Simulated> {
        self.beating.abort();
        let _ = (&mut self.beating).await;
        // What is on its way is settled within the deadline of a confirm.
        sleep(CONFIRM).await;
        self.lines.iter().for_each(JoinHandle::abort);
        let members = std::mem::take(&mut *self.members.lock().unwrap());
        members.into_iter().map(|member| member.simulated).collect()
    }
}

fn member(number: usize, chance: &mut Chance) -> Simulated {
    let mut simulated = Simulated::new(&format!("p{number:02}"));
    let wrong = i64::try_from(chance.below(7200)).unwrap() - 3600;
    simulated.clock_error = jiff::SignedDuration::from_secs(wrong);
    simulated
}

async fn beat(
    truth: Truth,
    members: Arc<Mutex<Vec<Member>>>,
    line: mpsc::Sender<Message>,
    mut chance: Chance,
) {
    let mut ticks = interval(BEAT / u32::try_from(GROUPS).unwrap());
    for group in (0..GROUPS).cycle() {
        ticks.tick().await;
        let mut messages = Vec::new();
        for member in members.lock().unwrap().iter_mut().skip(group).step_by(GROUPS) {
            if member.state == State::Beating {
                messages.extend(member.beat(&truth, &mut chance));
            }
        }
        for message in messages {
            if let Err(mpsc::error::TrySendError::Full(message)) = line.try_send(message) {
                refuse(&truth, &message);
            }
        }
    }
}

impl Member {
    /// Claims the next heartbeat, and says what is to be sent now, in order.
    fn beat(&mut self, truth: &Truth, chance: &mut Chance) -> Vec<Message> {
        for component in &mut self.simulated.components {
            if chance.below(20) == 0 {
                component.outcome =
                    ["up", "up", "down", "unknown"][usize::try_from(chance.below(4)).unwrap()];
            }
        }
        // Making it and claiming it are one step to the oracle.
        let mut oracle = truth.oracle();
        let body = self.simulated.beat();
        let Simulated { id, epoch, sequence, .. } = &self.simulated;
        let key = Key { publisher: id.clone(), epoch: epoch.clone(), sequence: *sequence };
        let told = self.simulated.components.iter().map(|component| component.told());
        oracle.ledger.claim(truth.now(), &key, told.collect());
        let message = Message { key: Some(key), body };
        match self.late.take() {
            Some(late) => vec![message, late],
            None if !self.behaves && chance.below(25) == 0 => {
                self.late = Some(message);
                Vec::new()
            }
            None => vec![message],
        }
    }
}

fn refuse(truth: &Truth, message: &Message) {
    if let Some(key) = &message.key {
        truth.oracle().ledger.settle(key, Fate::Refused);
    }
}

/// Sends what a broker should not be sent, a few times a second.
///
/// It repeats only what every replica has shown. To one that is cut off and was not told of it, a repeated message is
/// news: without a signature nothing tells it from one that comes for the first time.
async fn mischief(truth: Truth, confirmed: Confirmed, line: mpsc::Sender<Message>, mut chance: Chance) {
    let mut ticks = interval(Duration::from_millis(300));
    loop {
        ticks.tick().await;
        let body = match chance.below(3) {
            0 => poison(&mut chance),
            kind => {
                let confirmed = confirmed.lock().unwrap();
                let length = confirmed.len() as u64;
                // One of the newest, or any.
                let back = chance.below(if kind == 1 { length.min(20) } else { length }.max(1));
                let chosen = confirmed.iter().rev().nth(usize::try_from(back).unwrap());
                let Some((key, body)) = chosen else { continue };
                if !truth.oracle().is_known_to_all(key) {
                    continue;
                }
                body.clone()
            }
        };
        for _ in 0..2 {
            let _ = line.try_send(Message { key: None, body: body.clone() });
        }
    }
}

fn poison(chance: &mut Chance) -> Vec<u8> {
    let bodies: [&[u8]; 6] = [
        b"",
        b"no JSON",
        b"{\"status\": \"heartbeat\"}",
        b"\xff\xfe",
        b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        b"{\"v2\": {\"publisher\": \"p00\", \"sequence\": -1}}",
    ];
    bodies[usize::try_from(chance.below(bodies.len() as u64)).unwrap()].to_vec()
}

/// One connection to the broker, made anew for ever. What comes while there is none is refused, as the program does.
struct Line {
    truth: Truth,
    uris: Vec<String>,
    next: usize,
    messages: mpsc::Receiver<Message>,
    confirmed: Confirmed,
}

impl Line {
    async fn run(mut self) {
        loop {
            let Some(link) = self.connect().await else { return };
            self.send_on(&link.1).await;
        }
    }

    async fn connect(&mut self) -> Option<(Connection, Channel)> {
        loop {
            let uri = format!("{}?heartbeat=2", self.uris[self.next % self.uris.len()]);
            self.next += 1;
            let connect = timeout(CONNECT, async {
                let connection = Connection::connect(&uri, ConnectionProperties::default()).await.ok()?;
                let channel = connection.create_channel().await.ok()?;
                channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
                Some((connection, channel))
            });
            let connect = async {
                let link = connect.await.ok().flatten();
                if link.is_none() {
                    sleep(AGAIN).await;
                }
                link
            };
            tokio::pin!(connect);
            loop {
                tokio::select! {
                    link = &mut connect => match link {
                        Some(link) => return Some(link),
                        None => break,
                    },
                    message = self.messages.recv() => refuse(&self.truth, &message?),
                }
            }
        }
    }

    /// Sends until the connection is of no use any more.
    async fn send_on(&mut self, channel: &Channel) {
        let broken = Arc::new(Notify::new());
        loop {
            let message = tokio::select! {
                message = self.messages.recv() => message,
                () = broken.notified() => return,
            };
            let Some(message) = message else { return };
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default().with_delivery_mode(2);
            let sent = channel.basic_publish(EXCHANGE.into(), KEY.into(), options, &message.body, properties);
            let Ok(Ok(confirm)) = timeout(CONFIRM, sent).await else {
                settle(&self.truth, message.key.as_ref(), Fate::Unsure(self.truth.now()));
                return;
            };
            let (truth, confirmed) = (self.truth.clone(), Arc::clone(&self.confirmed));
            let broken = Arc::clone(&broken);
            tokio::spawn(async move {
                let fate = match timeout(CONFIRM, confirm).await {
                    Ok(Ok(Confirmation::Ack(None))) => Fate::Confirmed(truth.now()),
                    Ok(Ok(Confirmation::Ack(Some(_)))) => Fate::Refused,
                    // Told no, too: some of the nodes of a cluster may have it.
                    _ => Fate::Unsure(truth.now()),
                };
                if matches!(fate, Fate::Unsure(_)) {
                    broken.notify_one();
                }
                settle(&truth, message.key.as_ref(), fate);
                if let (Fate::Confirmed(_), Some(key)) = (fate, message.key) {
                    let mut confirmed = confirmed.lock().unwrap();
                    confirmed.push_back((key, message.body));
                    if confirmed.len() > REPLAYED_MAX {
                        confirmed.pop_front();
                    }
                }
            });
        }
    }
}

fn settle(truth: &Truth, key: Option<&Key>, fate: Fate) {
    if let Some(key) = key {
        truth.oracle().ledger.settle(key, fate);
    }
}
