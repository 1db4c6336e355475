//! What stands at the broker: exchange, queues and bindings, and what the user may do with them.

use super::management::Api;
use super::report::{Fault, Report};
use super::{Broker, Use, end_of_step, word};
use crate::amqp::probe::{Probe, Right, Sight};
use crate::amqp::{AmqpError, Mechanism, QueueType};
use crate::check::management::probe::Permissions;
use crate::telemetry::Chain;
use crate::terminal::counted;

/// What heartbeats pass through, and what the user may do there.
pub(super) struct Topology<'a> {
    pub(super) broker: &'a Broker,
    pub(super) api: &'a Api<'a>,
    pub(super) probe: &'a Probe,
}

impl Topology<'_> {
    /// Tells of all of it.
    pub(super) async fn examine(&self, report: &mut Report<'_>) {
        let amqp = &self.broker.amqp;
        let exchange = self.examine_exchange("exchange", &amqp.exchange, "topic", report).await;
        self.examine_rights(exchange, report).await;
        let mut queues = true;
        for queue in &amqp.queues {
            queues &= self.examine_queue(queue, report).await;
        }
        let spread = match &amqp.spread {
            Some(spread) => {
                self.examine_exchange("spread exchange", spread, "x-consistent-hash", report).await
            }
            None => true,
        };
        if exchange && queues && spread {
            self.examine_bindings(report).await;
        } else {
            report.unknown("binding", "what is to be bound is not all there");
        }
        if let Some(refused) = &self.broker.dead_letter_exchange {
            self.examine_dead_letters(refused, report).await;
        }
    }

    /// Whether something may be made that is missing: told to administrators alone.
    fn may_make(&self, name: &str) -> Option<bool> {
        Some(is_allowed(&self.permissions()?.configure, name))
    }

    /// What the user may do, where that is told. Of whom a certificate names, the API cannot be asked.
    fn permissions(&self) -> Option<&Permissions> {
        self.api.permissions().filter(|_| self.broker.amqp.mechanism == Mechanism::Plain)
    }

    /// Says whether it is there, as far as can be seen.
    async fn examine_exchange(
        &self,
        step: &str,
        exchange: &str,
        wanted: &str,
        report: &mut Report<'_>,
    ) -> bool {
        match self.probe.exchange(exchange).await {
            Sight::There(()) => {
                self.tell_kind(step, exchange, wanted, report).await;
                true
            }
            Sight::Missing => {
                let by_hand = format!(
                    "rabbitmqadmin declare exchange name={} type={wanted} durable=true",
                    word(exchange)
                );
                self.tell_missing(step, &format!("exchange {exchange:?}"), exchange, &by_hand, report);
                false
            }
            Sight::Denied => {
                report.unknown(
                    step,
                    &format!("this user may not look at exchange {exchange:?}; taken to be there"),
                );
                true
            }
            Sight::Failed(error) => {
                self.fail_look(step, &error, report);
                false
            }
        }
    }

    fn fail_look(&self, step: &str, error: &AmqpError, report: &mut Report<'_>) {
        report.fail(
            step,
            &Fault {
                attempted: "a passive declaration",
                why: &Chain(error).to_string(),
                to_do: "See in the log of RabbitMQ what it has against this.",
            },
        );
    }

    /// Each role makes at its start what is missing, where it may.
    fn tell_missing(&self, step: &str, what: &str, name: &str, by_hand: &str, report: &mut Report<'_>) {
        let user = self.broker.who();
        match self.may_make(name) {
            Some(true) => report.warn(
                step,
                &format!("{what} is not there"),
                &format!("Nothing, or make it: it is made at the next start, as {user} may."),
            ),
            Some(false) => report.fail(
                step,
                &Fault {
                    attempted: &format!("looking for {what}"),
                    why: &format!("it is not there, and {user} may not make it"),
                    to_do: &format!("{by_hand}; or let the user make it, by a configure permission that matches {name:?}."),
                },
            ),
            None => report.warn(
                step,
                &format!("{what} is not there"),
                &format!(
                    "It is made at the next start, if {user} may: only an administrator is told whether it has the \
                     configure permission. Else: {by_hand}"
                ),
            ),
        }
    }

    async fn tell_kind(&self, step: &str, exchange: &str, wanted: &str, report: &mut Report<'_>) {
        let kind = match self.api.client() {
            Some(client) => client.exchange(exchange, end_of_step()).await.ok().map(|answer| answer.kind),
            None => None,
        };
        match kind.as_deref() {
            None => report.ok(step, &format!("{exchange:?} is there; of which type, the management API alone tells")),
            Some(kind) if kind == wanted => report.ok(step, &format!("{exchange:?} is there, of type {kind}")),
            Some(kind @ ("direct" | "fanout")) if wanted == "topic" => report.warn(
                step,
                &format!("{exchange:?} is there, of type {kind} and not {wanted}: it is used as it is"),
                "Nothing, where that is meant. A fanout exchange leads every message to every queue, a direct one by the whole \
                 key. A type cannot be changed: name another exchange in RABBITMQ_EXCHANGE, or delete this one.",
            ),
            Some(kind) => report.fail(
                step,
                &Fault {
                    attempted: &format!("looking at exchange {exchange:?}"),
                    why: &format!("it is of type {kind} and not {wanted}, and does not lead heartbeats to their queue"),
                    to_do: "A type cannot be changed: name another exchange, or delete this one, so that it is made as it \
                            should be.",
                },
            ),
        }
    }

    /// Writing for a publisher, reading for a subscriber.
    async fn examine_rights(&self, exchange_is_there: bool, report: &mut Report<'_>) {
        let Broker { amqp, use_of, .. } = self.broker;
        let user = self.broker.who();
        if *use_of == Use::Sends {
            if !exchange_is_there {
                report.unknown("permissions", "whether it may write is seen once the exchange is there");
                return;
            }
            let exchange = &amqp.exchange;
            match self.probe.may_write(exchange).await {
                Right::Given => report.ok("permissions", &format!("{user} may write to {exchange:?}")),
                Right::Refused(said) => report.fail(
                    "permissions",
                    &Fault {
                        attempted: &format!("asking whether {user} may write to exchange {exchange:?}"),
                        why: &said,
                        to_do: &format!(
                            "rabbitmqctl set_permissions -p {} {} CONFIGURE WRITE READ, with a WRITE that matches \
                             {exchange:?}; docs/least-privilege.md has the whole command.",
                            word(&amqp.vhost),
                            self.broker.user_word()
                        ),
                    },
                ),
                Right::Untold => report.unknown("permissions", "whether it may write, the broker did not say"),
            }
            return;
        }
        let Some(permissions) = self.permissions() else {
            let why = format!(
                "whether {user} may read is seen only by reading, or by an administrator: rabbitmqctl \
                 list_user_permissions {}",
                self.broker.user_word()
            );
            report.unknown("permissions", &why);
            return;
        };
        for queue in &amqp.queues {
            if is_allowed(&permissions.read, queue) {
                report.ok("permissions", &format!("{user} may read {queue:?}"));
                continue;
            }
            report.fail(
                "permissions",
                &Fault {
                    attempted: &format!("looking whether {user} may read queue {queue:?}"),
                    why: &format!("its pattern for reading is {:?}, which does not match", permissions.read),
                    to_do: &format!(
                        "rabbitmqctl set_permissions -p {} {} CONFIGURE WRITE READ, with a READ that matches {queue:?}; \
                         docs/least-privilege.md has the whole command.",
                        word(&amqp.vhost),
                        self.broker.user_word()
                    ),
                },
            );
        }
    }

    /// Says whether it is there, as far as can be seen.
    async fn examine_queue(&self, queue: &str, report: &mut Report<'_>) -> bool {
        match self.probe.queue(queue).await {
            Sight::There(counts) => {
                let counts = format!(
                    "{} waiting, {}",
                    counted(counts.messages.into(), "message"),
                    counted(counts.consumers.into(), "consumer")
                );
                match self.other_arguments(queue).await {
                    None => report.ok("queue", &format!("{queue:?} is there: {counts}")),
                    Some(other) => report.warn(
                        "queue",
                        &format!("{queue:?} is there with other arguments, and used as it is: {other}; {counts}"),
                        "Arguments cannot be changed: delete the queue once it is empty, so that it is made as \
                         RABBITMQ_QUEUE_TYPE and RABBITMQ_QUEUES say; or take back what they ask for.",
                    ),
                }
                true
            }
            Sight::Missing => {
                let by_hand = format!("rabbitmqadmin declare queue name={} durable=true", word(queue));
                self.tell_missing("queue", &format!("queue {queue:?}"), queue, &by_hand, report);
                false
            }
            Sight::Denied => {
                report.unknown(
                    "queue",
                    &format!("this user may not look at queue {queue:?}; taken to be there"),
                );
                true
            }
            Sight::Failed(error) => {
                self.fail_look("queue", &error, report);
                false
            }
        }
    }

    /// How a queue is other than it would be made here, where that is told.
    async fn other_arguments(&self, queue: &str) -> Option<String> {
        let amqp = &self.broker.amqp;
        let shape = self.api.client()?.queue_shape(queue, end_of_step()).await.ok()?;
        let mut others = Vec::new();
        let wanted = amqp.queue_type.map(QueueType::as_str);
        let kind = shape.kind.as_deref().unwrap_or("classic");
        if let Some(wanted) = wanted.filter(|wanted| *wanted != kind) {
            others.push(format!("it is a {kind} queue and not a {wanted} one"));
        }
        let single = shape.arguments.get("x-single-active-consumer").and_then(serde_json::Value::as_bool);
        if amqp.spread.is_some() && single != Some(true) {
            others.push("it has no single active consumer (x-single-active-consumer)".to_owned());
        }
        (!others.is_empty()).then(|| others.join(", and "))
    }

    async fn examine_dead_letters(&self, exchange: &str, report: &mut Report<'_>) {
        const STEP: &str = "dead letters";
        match self.probe.exchange(exchange).await {
            Sight::There(()) => match self.probe.may_write(exchange).await {
                Right::Refused(said) => report.warn(
                    STEP,
                    &format!("exchange {exchange:?} is there, and this user may not write to it: {said}"),
                    "Give it the right, or unset RABBITMQ_DEAD_LETTER_EXCHANGE: until then refused messages go to the list in \
                     Redis.",
                ),
                Right::Given | Right::Untold => report.ok(STEP, &format!("exchange {exchange:?} is there")),
            },
            Sight::Missing => report.warn(
                STEP,
                &format!("exchange {exchange:?} is not there, and nobody makes it"),
                "Make it and bind a queue to it: until then refused messages go to the list in Redis.",
            ),
            Sight::Denied => {
                report.unknown(STEP, &format!("this user may not look at exchange {exchange:?}"));
            }
            Sight::Failed(error) => report.unknown(STEP, &Chain(&error).to_string()),
        }
    }
}

/// Whether a pattern of permissions allows a name, as RabbitMQ has it: anywhere in it, and an empty one allows nothing.
fn is_allowed(pattern: &str, name: &str) -> bool {
    let pattern = if pattern.is_empty() { "^$" } else { pattern };
    fancy_regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_allow_as_the_broker_has_it() {
        for (pattern, name, allowed) in [
            ("^sda$", "sda", true),
            ("^sda$", "sda2", false),
            ("sda", "a-sda-b", true),
            ("", "sda", false),
            (".*", "sda", true),
            ("(", "sda", false),
        ] {
            assert_eq!(is_allowed(pattern, name), allowed, "{pattern} {name}");
        }
    }
}
