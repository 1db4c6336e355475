//! Version 1, the original program's message.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DecodeError, LEGACY_SERVICE, Limits, Rejection, Text};
use crate::heartbeat::{
    Component, ComponentKey, Heartbeat, Kind, LegacyComponent, LegacyHeartbeat, Outcome, PublisherId,
    Timestamp, check_name,
};

/// What we write. The original's subscriber dies of any further key in an entry.
#[derive(Serialize)]
pub(super) struct Outgoing<'a> {
    status: &'static str,
    service: &'static str,
    timestamp: String,
    hosts: Vec<OutgoingEntry<'a>>,
    rmq_consumers: OutgoingConsumers<'a>,
}

#[derive(Serialize)]
struct OutgoingConsumers<'a> {
    queues_status: Vec<OutgoingEntry<'a>>,
    services_status: Vec<OutgoingEntry<'a>>,
}

#[derive(Serialize)]
struct OutgoingEntry<'a> {
    name: &'a str,
    status: &'static str,
    timestamp: String,
}

impl<'a> From<&'a Heartbeat> for Outgoing<'a> {
    fn from(heartbeat: &'a Heartbeat) -> Self {
        let entries = |kind: &Kind| {
            let of_kind = heartbeat.components.iter().filter(|component| component.key.kind == *kind);
            of_kind.map(OutgoingEntry::from).collect::<Vec<_>>()
        };
        Self {
            status: "heartbeat",
            service: LEGACY_SERVICE,
            timestamp: heartbeat.sent_at.to_legacy(),
            hosts: entries(&Kind::Host),
            rmq_consumers: OutgoingConsumers {
                queues_status: entries(&Kind::Queue),
                services_status: entries(&Kind::Consumer),
            },
        }
    }
}

impl<'a> From<&'a Component> for OutgoingEntry<'a> {
    /// What could not be checked is `not_ok` here, as the original writes it: it has no third word.
    fn from(component: &'a Component) -> Self {
        let status = if component.outcome == Outcome::Up { "ok" } else { "not_ok" };
        Self { name: &component.key.name, status, timestamp: component.checked_at.to_legacy() }
    }
}

/// What we read.
#[derive(Deserialize)]
pub(super) struct Incoming<'a> {
    #[serde(borrow, default)]
    service: Option<Text<'a>>,
    #[serde(borrow, default)]
    timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    hosts: Vec<IncomingEntry<'a>>,
    #[serde(borrow)]
    rmq_consumers: IncomingConsumers<'a>,
}

#[derive(Deserialize)]
struct IncomingConsumers<'a> {
    #[serde(borrow)]
    queues_status: Vec<IncomingEntry<'a>>,
    #[serde(borrow)]
    services_status: Vec<IncomingEntry<'a>>,
}

#[derive(Deserialize)]
struct IncomingEntry<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
}

impl Incoming<'_> {
    pub(super) fn into_heartbeat(self, limits: &Limits) -> Result<LegacyHeartbeat, DecodeError> {
        let service = self.service.as_ref().map_or(LEGACY_SERVICE, |text| &text.0);
        let service = PublisherId::new(service)
            .map_err(|error| DecodeError::new(Rejection::Name, format!("service: {error}")))?;
        // Only a name for the process, so any short text serves.
        let life: String = self.timestamp.iter().flat_map(|text| text.0.chars()).take(32).collect();

        let consumers = self.rmq_consumers;
        let lists = [
            (Kind::Host, "hosts", self.hosts),
            (Kind::Queue, "queues_status", consumers.queues_status),
            (Kind::Consumer, "services_status", consumers.services_status),
        ];
        let entries: usize = lists.iter().map(|(_, _, list)| list.len()).sum();
        if entries > limits.components {
            let detail = format!("{entries} entries, the limit is {}", limits.components);
            return Err(DecodeError::new(Rejection::TooManyComponents, detail));
        }

        let mut components: BTreeMap<ComponentKey, LegacyComponent> = BTreeMap::new();
        for (kind, list_name, list) in lists {
            for (index, entry) in list.into_iter().enumerate() {
                let entry = entry.read().map_err(|(reason, detail)| {
                    DecodeError::new(reason, format!("{list_name}[{index}]: {detail}"))
                })?;
                let key = ComponentKey { kind: kind.clone(), name: entry.name.into(), queue: "".into() };
                let merged = components.entry(key.clone()).or_insert(LegacyComponent {
                    key,
                    ok_at: None,
                    not_ok_at: None,
                });
                let side = if entry.ok { &mut merged.ok_at } else { &mut merged.not_ok_at };
                *side = (*side).max(Some(entry.at));
            }
        }
        Ok(LegacyHeartbeat { service, life: life.into(), components: components.into_values().collect() })
    }
}

struct Entry {
    name: String,
    ok: bool,
    at: Timestamp,
}

impl IncomingEntry<'_> {
    fn read(self) -> Result<Entry, (Rejection, String)> {
        check_name(&self.name.0).map_err(|error| (Rejection::Name, format!("name: {error}")))?;
        let ok = match &*self.status.0 {
            "ok" => true,
            "not_ok" => false,
            _ => return Err((Rejection::Value, "status is neither ok nor not_ok".into())),
        };
        let at = Timestamp::parse_legacy(&self.timestamp.0)
            .map_err(|error| (Rejection::Time, format!("timestamp: {error}")))?;
        Ok(Entry { name: self.name.0.into_owned(), ok, at })
    }
}
