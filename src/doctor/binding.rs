//! The bindings by which heartbeats come from the exchange to their queues.

use super::report::{Fault, Report};
use super::routing::leads_on;
use super::topology::Topology;
use super::{end_of_step, word};
use crate::amqp::probe::Right;
use crate::check::management::probe::Destination;
use crate::telemetry::Chain;

impl Topology<'_> {
    /// Tells of the bindings from the exchange to each queue.
    pub(super) async fn examine_bindings(&self, report: &mut Report<'_>) {
        let amqp = &self.broker.amqp;
        match &amqp.spread {
            None => {
                for queue in &amqp.queues {
                    self.examine_binding(
                        &amqp.exchange,
                        Destination::Queue(queue),
                        &amqp.routing_key,
                        report,
                    )
                    .await;
                }
            }
            Some(spread) => {
                let to = Destination::Exchange(spread);
                self.examine_binding(&amqp.exchange, to, &amqp.routing_key, report).await;
                for queue in &amqp.queues {
                    self.examine_binding(spread, Destination::Queue(queue), "", report).await;
                }
            }
        }
    }

    async fn examine_binding(&self, from: &str, to: Destination<'_>, key: &str, report: &mut Report<'_>) {
        let (what, name) = match to {
            Destination::Queue(queue) => ("queue", queue),
            Destination::Exchange(exchange) => ("exchange", exchange),
        };
        let Some(client) = self.api.client() else {
            let why = format!(
                "whether {what} {name:?} is bound to {from:?}, the management API alone tells; a publisher sees it by what \
                 comes back as unroutable"
            );
            report.unknown("binding", &why);
            return;
        };
        let bindings = match client.bindings(from, to, end_of_step()).await {
            Ok(bindings) => bindings,
            Err(failure) => {
                let asked =
                    format!("asked for the bindings of {what} {name:?}, the management API did not tell");
                report.unknown("binding", &format!("{asked}: {}", Chain(&failure)));
                return;
            }
        };
        // Without statistics some brokers do not show it; then it is what it should be.
        let wanted =
            if Some(from) == self.broker.amqp.spread.as_deref() { "x-consistent-hash" } else { "topic" };
        let told = client.exchange(from, end_of_step()).await;
        let kind = told.map_or_else(|_| wanted.to_owned(), |exchange| exchange.kind);
        // Behind a consistent-hash exchange any binding is a share.
        let leads = if kind == "x-consistent-hash" {
            Some(!bindings.is_empty())
        } else {
            leads_on(&kind, &bindings, key)
        };
        match leads {
            Some(true) => report.ok("binding", &format!("{from:?} leads to {what} {name:?}")),
            None => report.unknown("binding", &format!("an exchange of type {kind} has rules of its own")),
            Some(false) => {
                let found = if bindings.is_empty() {
                    format!("no binding leads from {from:?} to {what} {name:?}")
                } else {
                    format!(
                        "the bindings from {from:?} to {what} {name:?} are by {bindings:?}, and not by {key:?}"
                    )
                };
                self.tell_unbound(&found, from, to, key, report).await;
            }
        }
    }

    /// Each role binds at its start, where it may.
    async fn tell_unbound(
        &self,
        found: &str,
        from: &str,
        to: Destination<'_>,
        key: &str,
        report: &mut Report<'_>,
    ) {
        let right = match to {
            Destination::Queue(queue) => self.probe.may_bind(queue, from).await,
            Destination::Exchange(_) => Right::Untold,
        };
        let (source, key) = (word(from), word(key));
        let by_hand = match to {
            Destination::Queue(queue) => {
                format!(
                    "rabbitmqadmin declare binding source={source} destination={} routing_key={key}",
                    word(queue)
                )
            }
            Destination::Exchange(exchange) => format!(
                "rabbitmqadmin declare binding source={source} destination_type=exchange destination={} routing_key={key}",
                word(exchange)
            ),
        };
        let user = self.broker.who();
        match right {
            Right::Given => report.warn(
                "binding",
                found,
                &format!("Nothing, or bind it: it is bound at the next start, as {user} may."),
            ),
            Right::Untold => report.warn(
                "binding",
                found,
                &format!("It is bound at the next start, if {user} may. Else: {by_hand}"),
            ),
            Right::Refused(said) => report.fail(
                "binding",
                &Fault {
                    attempted: "looking for the binding by which heartbeats come",
                    why: &format!("{found}, and {user} may not make one: {said}"),
                    to_do: &by_hand,
                },
            ),
        }
    }
}
