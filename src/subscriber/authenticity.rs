//! Whether a message is taken for its publisher's own: what it proves, against what is asked of its publisher.
//!
//! Nothing of the state is touched before that is decided. Pure: `now` is given.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::warn;

use super::metrics::Metrics;
use crate::amqp::consume::Delivery;
use crate::heartbeat::{Heartbeat, Message, PublisherId, Timestamp};
use crate::signing::{Doubt, Rules, Stance, Unproven};
use crate::state::{Receipt, Record, is_delayed, may_be_replayed};

/// The log has one line for each doubt in so long: a flood of forgeries must not become one of lines.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Judges messages.
#[derive(Debug)]
pub(super) struct Authenticity {
    rules: Rules,
    told: BTreeMap<(Doubt, bool), Told>,
}

/// What the log had of one doubt.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    at: Option<Timestamp>,
    left_out: u64,
}

/// A message with what must be known of it to judge it.
pub(super) struct Judged<'a> {
    pub(super) message: &'a Message,
    pub(super) delivery: &'a Delivery,
    pub(super) receipt: &'a Receipt,
    /// The record of its publisher.
    pub(super) known: Option<&'a Record>,
}

impl Authenticity {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, told: BTreeMap::new() }
    }

    /// Refuses a message unread, where its signature is wrong and nobody may do without.
    pub(super) fn unread(&self, delivery: &Delivery) -> Result<(), Unproven> {
        match &delivery.proof.signer {
            Some(Err(unproven)) if self.rules.signatures.mildest() == Stance::Refuse => Err(unproven.clone()),
            _ => Ok(()),
        }
    }

    /// Says whether a message is taken, and whether its publisher is guarded: then only its own, and what it says now,
    /// can make it look alive.
    pub(super) fn judge(&mut self, judged: &Judged<'_>, metrics: &Metrics) -> Result<bool, Unproven> {
        if self.rules.are_none() {
            return Ok(false);
        }
        let Judged { message, delivery, receipt, known } = *judged;
        // A drill speaks for nobody but the publisher whose outage it plays.
        let named = publisher_of(message);
        let drilled = named.drilled();
        let id = drilled.as_ref().unwrap_or(named);
        let (signatures, users) = (self.rules.signatures.of(id), self.rules.users.of(id));
        let mut doubts = Vec::new();
        if signatures > Stance::Accept
            && let Err(unproven) =
                signed(message, id, delivery).and_then(|()| not_replayed(message, receipt, known))
        {
            doubts.push((signatures, unproven));
        }
        if users > Stance::Accept
            && let Err(unproven) = sent_by(self.rules.user_names.of(id), delivery)
        {
            doubts.push((users, unproven));
        }
        if let Some(index) = doubts.iter().position(|(stance, _)| *stance == Stance::Refuse) {
            return Err(doubts.swap_remove(index).1);
        }
        for (_, unproven) in doubts {
            metrics.unproven(unproven.doubt);
            self.tell(delivery, id.as_str(), &unproven, true, receipt.at);
        }
        let guarded = signatures == Stance::Refuse;
        if let (true, Message::V2(heartbeat), Some(known)) = (guarded, message, known)
            && is_delayed(known, heartbeat, receipt)
        {
            metrics.unproven(Doubt::Delayed);
            let detail = "it was made long before it came, by both clocks of its publisher; it counts if it came for the first time";
            self.tell(delivery, id.as_str(), &Unproven::new(Doubt::Delayed, detail), true, receipt.at);
        }
        Ok(guarded)
    }

    /// Says in the log that a message was refused, or taken all the same.
    pub(super) fn tell(
        &mut self,
        delivery: &Delivery,
        publisher: &str,
        unproven: &Unproven,
        taken: bool,
        now: Timestamp,
    ) {
        let told = self.told.entry((unproven.doubt, taken)).or_default();
        if told.at.is_some_and(|at| now < at.plus(TOLD_EVERY) && now >= at) {
            told.left_out += 1;
            return;
        }
        told.at = Some(now);
        let left_out = std::mem::take(&mut told.left_out);
        let (reason, detail) = (unproven.doubt.as_str(), unproven.detail.as_str());
        let routing_key = &*delivery.routing_key;
        if taken {
            warn!(
                publisher,
                reason, detail, routing_key, left_out, "Heartbeat let through that is not proven"
            );
        } else {
            warn!(publisher, reason, detail, routing_key, left_out, "Heartbeat refused: it is not proven");
        }
    }
}

/// Who a message says it is from.
pub(super) fn publisher_of(message: &Message) -> &PublisherId {
    match message {
        Message::V1(heartbeat) => &heartbeat.service,
        Message::V2(heartbeat) => &heartbeat.publisher,
    }
}

/// Whether a key of the publisher that it speaks for signed a message.
fn signed(message: &Message, publisher: &PublisherId, delivery: &Delivery) -> Result<(), Unproven> {
    let Message::V2(_) = message else {
        // It has neither a life nor a number, so a signature could be sent again for ever.
        return Err(Unproven::new(Doubt::Unsigned, "a message of version 1 cannot be signed"));
    };
    match &delivery.proof.signer {
        Some(Ok(signer)) if signer == publisher => Ok(()),
        Some(Ok(signer)) => {
            let (named, signer) = (publisher.as_str(), signer.as_str());
            Err(Unproven::new(Doubt::Signer, format!("a key of {signer:?} signed what names {named:?}")))
        }
        Some(Err(unproven)) => Err(unproven.clone()),
        None => Err(Unproven::new(Doubt::Unsigned, "its signature was not looked at")),
    }
}

/// Whether a message that comes as if it were new may be an old one. What waited in the queue may come out of its order,
/// and makes nobody look alive.
fn not_replayed(message: &Message, receipt: &Receipt, known: Option<&Record>) -> Result<(), Unproven> {
    let (Message::V2(heartbeat), Some(known)) = (message, known) else { return Ok(()) };
    if receipt.live && may_be_replayed(known, heartbeat) {
        return Err(Unproven::new(Doubt::Replayed, why_replayed(heartbeat, known)));
    }
    Ok(())
}

fn why_replayed(heartbeat: &Heartbeat, known: &Record) -> String {
    let latest = known.latest_start().map(Timestamp::to_rfc3339).unwrap_or_default();
    format!(
        "its process began at {} by its own clock, and one that is known began at {latest}: sent again, or the clock was \
         set back; then set it right, or run `heartbeat forget --clock-set-back`",
        heartbeat.started_at.to_rfc3339()
    )
}

/// Whether the broker says that this user sent a message.
fn sent_by(user: &str, delivery: &Delivery) -> Result<(), Unproven> {
    match delivery.proof.user_id.as_deref() {
        Some(sender) if sender == user => Ok(()),
        Some(sender) => {
            Err(Unproven::new(Doubt::UserId, format!("the user {sender:?} sent it, and not {user:?}")))
        }
        None => Err(Unproven::new(Doubt::UserId, "it has no user_id")),
    }
}
