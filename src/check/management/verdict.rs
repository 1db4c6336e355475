//! What follows from what the broker told. Pure: no request is made here.
//!
//! The rule behind all rules: a listener is down only if *every* consumer of its queue was seen and none of
//! them is it. The management API shows some users no more than their own consumers and says so nowhere, so
//! what was seen is held against the number of consumers that another source gives.

use std::sync::Arc;

use super::{ManagementFailure, QueueAnswer, SeenConsumer};
use crate::check::Verdict;
use crate::check::pattern::TagPattern;
use crate::heartbeat::{FigureSource, Outcome, QueueFigures, Reason};

/// A queue and who is expected to consume it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSpec {
    /// The queue's name.
    pub queue: Arc<str>,
    /// The expected listeners, each name once; none, where only the queue is to exist.
    pub listeners: Vec<ListenerSpec>,
}

/// A listener that is expected on a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Patterns of its consumers' tags, at least one; each has to find a consumer.
    pub patterns: Vec<TagPattern>,
}

/// What a passive declaration of a queue over AMQP found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passive {
    /// Nobody declared, or the declaration failed otherwise.
    NotAsked,
    /// There is no such queue.
    Missing,
    /// The queue exists.
    Present {
        /// Messages ready for delivery.
        messages: u32,
        /// Consumers, all users' alike.
        consumers: u32,
    },
    /// The user may not declare it.
    Denied,
}

/// The answer to the request for a single queue.
#[derive(Debug)]
pub enum Single {
    /// The request was not made.
    NotAsked,
    /// The queue exists.
    Answered(QueueAnswer),
    /// There was no answer, or none that shows the queue.
    Failed(ManagementFailure),
}

impl Single {
    /// Whether a management API said this, and not whatever else may listen on its port. That the queue is
    /// not found proves nothing by itself.
    pub fn is_from_api(&self) -> bool {
        match self {
            Self::NotAsked => false,
            Self::Answered(_) => true,
            Self::Failed(failure) => failure.is_from_api(),
        }
    }
}

/// All that was learned of one queue.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its part of the list of consumers, or why there is no list; `None` where no list was asked for.
    pub seen: Option<Result<&'a [SeenConsumer], &'a ManagementFailure>>,
    /// The request for this queue.
    pub single: &'a Single,
    /// The passive declaration.
    pub passive: Passive,
    /// Whether it is certain that the answers came from a management API.
    pub genuine: bool,
}

/// What was found of a queue and its listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueChecked {
    /// The queue's name.
    pub name: Arc<str>,
    /// Up when all its listeners are; without any, when it exists.
    pub outcome: Outcome,
    /// Why it is not up; `None` exactly when it is.
    pub reason: Option<Reason>,
    /// Every listener, in the order of the specification.
    pub listeners: Vec<ListenerChecked>,
    /// How full the queue is, where some source told. The passive declaration goes first: it is asked in
    /// every round, and figures that alternate between sources would jump.
    pub figures: Option<QueueFigures>,
    /// Who told of the listeners, or at least of the queue: `consumers` (the list), `queue` (the request
    /// for it alone), `amqp` (the passive declaration) or `none`.
    pub source: &'static str,
}

/// What was found of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerChecked {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it consumes the queue.
    pub outcome: Outcome,
    /// Why it is not up; `None` exactly when it is.
    pub reason: Option<Reason>,
}

/// Whether a queue's check needs the list of consumers at all.
pub fn needs_list(spec: &QueueSpec, passive: Passive) -> bool {
    match passive {
        Passive::Missing => false,
        Passive::Present { .. } => !spec.listeners.is_empty(),
        Passive::NotAsked | Passive::Denied => true,
    }
}

/// Whether the list leaves open what the request for this queue alone may tell.
pub fn needs_single(
    spec: &QueueSpec,
    seen: Result<&[SeenConsumer], &ManagementFailure>,
    passive: Passive,
) -> bool {
    if !needs_list(spec, passive) {
        return false;
    }
    match seen {
        Err(failure) => failure.leaves_queues_to_ask(),
        Ok(seen) if spec.listeners.is_empty() => seen.is_empty(),
        Ok(seen) => {
            !is_complete(seen, passive.consumers())
                && spec.listeners.iter().any(|listener| listener_verdict(listener, seen, None) != Verdict::UP)
        }
    }
}

/// Judges one queue.
pub fn decide(spec: &QueueSpec, evidence: &Evidence<'_>) -> QueueChecked {
    let source = evidence.source();
    if evidence.is_missing() {
        return missing(spec, source);
    }
    let (seen, gap) = (evidence.seen(), evidence.gap());
    let listeners: Vec<(Arc<str>, Verdict)> = spec
        .listeners
        .iter()
        .map(|listener| (Arc::clone(&listener.name), listener_verdict(listener, seen, gap)))
        .collect();
    let verdict = if !listeners.is_empty() {
        queue_verdict(listeners.iter().map(|(_, verdict)| *verdict))
    } else if evidence.exists() {
        Verdict::UP
    } else {
        Verdict::unknown(gap.unwrap_or(Reason::Other))
    };
    checked(spec, verdict, listeners, evidence.figures(), source)
}

impl Passive {
    /// Consumers of the queue, where it is known.
    fn consumers(self) -> Option<u64> {
        match self {
            Self::Present { consumers, .. } => Some(consumers.into()),
            Self::NotAsked | Self::Missing | Self::Denied => None,
        }
    }
}

impl<'a> Evidence<'a> {
    /// The broker says that there is no such queue. Where AMQP and the API disagree, AMQP is right: the
    /// API asked may be another broker's, or the queue too new for it.
    fn is_missing(&self) -> bool {
        match self.passive {
            Passive::Missing => true,
            Passive::Present { .. } => false,
            Passive::NotAsked | Passive::Denied => {
                self.genuine && matches!(self.single, Single::Failed(ManagementFailure::NotFound))
            }
        }
    }

    /// Whether any source shows that the queue exists.
    fn exists(&self) -> bool {
        matches!(self.passive, Passive::Present { .. })
            || matches!(self.single, Single::Answered(_))
            || !self.seen().is_empty()
    }

    fn details(&self) -> Option<&'a [SeenConsumer]> {
        match self.single {
            Single::Answered(answer) => answer.details.as_deref(),
            Single::NotAsked | Single::Failed(_) => None,
        }
    }

    /// The consumers that were seen; the later and fuller view goes first.
    fn seen(&self) -> &'a [SeenConsumer] {
        let listed = self.seen.and_then(Result::ok);
        self.details().or(listed).unwrap_or_default()
    }

    /// Consumers that the queue is known to have. The passive declaration is live; the API's number lags
    /// by up to 5 s.
    fn consumers(&self) -> Option<u64> {
        let told = match self.single {
            Single::Answered(answer) => answer.consumers,
            Single::NotAsked | Single::Failed(_) => None,
        };
        self.passive.consumers().or(told)
    }

    /// Why there may be consumers that were not seen; `None` where all were. The first failure counts.
    fn gap(&self) -> Option<Reason> {
        let listed = self.seen.and_then(Result::ok);
        let some_view = self.details().or(listed);
        if some_view.is_some_and(|seen| is_complete(seen, self.consumers())) {
            return None;
        }
        let list_failure = match self.seen {
            Some(Err(failure)) => Some(failure.reason()),
            Some(Ok(_)) | None => None,
        };
        Some(match self.single {
            Single::Answered(answer) if answer.details.is_some() && self.consumers().is_some() => {
                Reason::ConsumersHidden
            }
            Single::Answered(_) => list_failure.unwrap_or(Reason::StatsDisabled),
            Single::Failed(failure) => list_failure.unwrap_or(failure.reason()),
            Single::NotAsked => list_failure.unwrap_or(Reason::ConsumersHidden),
        })
    }

    fn figures(&self) -> Option<QueueFigures> {
        match (self.passive, self.single) {
            (Passive::Present { messages, consumers }, _) => Some(QueueFigures {
                messages: Some(messages.into()),
                consumers: Some(consumers.into()),
                source: FigureSource::Amqp,
            }),
            (_, Single::Answered(answer)) if answer.messages.or(answer.consumers).is_some() => {
                Some(QueueFigures {
                    messages: answer.messages,
                    consumers: answer.consumers,
                    source: FigureSource::Management,
                })
            }
            _ => None,
        }
    }

    fn source(&self) -> &'static str {
        let not_found = matches!(self.single, Single::Failed(ManagementFailure::NotFound));
        if self.passive == Passive::Missing {
            "amqp"
        } else if self.details().is_some() || (not_found && self.is_missing()) {
            "queue"
        } else if matches!(self.seen, Some(Ok(_))) {
            "consumers"
        } else if matches!(self.single, Single::Answered(_)) {
            "queue"
        } else if matches!(self.passive, Passive::Present { .. }) {
            "amqp"
        } else {
            "none"
        }
    }
}

/// Whether all consumers of the queue were seen. Nothing is complete without a number to hold it against.
fn is_complete(seen: &[SeenConsumer], consumers: Option<u64>) -> bool {
    consumers.is_some_and(|consumers| seen.len() as u64 >= consumers)
}

/// Down if any pattern finds nobody, else unknown if any cannot tell.
fn listener_verdict(listener: &ListenerSpec, seen: &[SeenConsumer], gap: Option<Reason>) -> Verdict {
    let verdicts = listener.patterns.iter().map(|pattern| pattern_verdict(pattern, seen, gap));
    // Without a pattern there is nothing to find, and nothing to call up.
    worst(verdicts).unwrap_or(Verdict::unknown(Reason::Other))
}

fn pattern_verdict(pattern: &TagPattern, seen: &[SeenConsumer], gap: Option<Reason>) -> Verdict {
    let mut matched = false;
    for consumer in seen {
        match pattern.is_match(&consumer.tag) {
            Ok(true) if consumer.active => return Verdict::UP,
            Ok(true) => matched = true,
            Ok(false) => {}
            // One is enough not to know, and every further one may take as long.
            Err(_) => return Verdict::unknown(Reason::Other),
        }
    }
    match gap {
        Some(reason) => Verdict::unknown(reason),
        None if matched => Verdict::down(Reason::Inactive),
        None => Verdict::down(Reason::NoConsumer),
    }
}

fn queue_verdict(listeners: impl Iterator<Item = Verdict>) -> Verdict {
    match worst(listeners) {
        Some(Verdict { outcome: Outcome::Down, .. }) => Verdict::down(Reason::Listener),
        other => other.unwrap_or(Verdict::UP),
    }
}

/// The first that is down, else the first that is unknown, else up.
fn worst(verdicts: impl Iterator<Item = Verdict>) -> Option<Verdict> {
    let rank = |verdict: &Verdict| match verdict.outcome {
        Outcome::Down => 0,
        Outcome::Unknown => 1,
        Outcome::Up => 2,
    };
    // Of equal ones this takes the first.
    verdicts.min_by_key(rank)
}

fn missing(spec: &QueueSpec, source: &'static str) -> QueueChecked {
    let verdict = Verdict::down(Reason::NoQueue);
    let listeners = spec.listeners.iter().map(|listener| (Arc::clone(&listener.name), verdict)).collect();
    checked(spec, verdict, listeners, None, source)
}

fn checked(
    spec: &QueueSpec,
    verdict: Verdict,
    listeners: Vec<(Arc<str>, Verdict)>,
    figures: Option<QueueFigures>,
    source: &'static str,
) -> QueueChecked {
    let listeners = listeners
        .into_iter()
        .map(|(name, verdict)| ListenerChecked { name, outcome: verdict.outcome, reason: verdict.reason })
        .collect();
    let (outcome, reason) = (verdict.outcome, verdict.reason);
    QueueChecked { name: Arc::clone(&spec.queue), outcome, reason, listeners, figures, source }
}

#[cfg(test)]
mod tests;
