//! What goes to the store in one round trip, and what is kept of it until the answer.

use std::collections::HashMap;
use std::sync::Arc;

use super::dead_letter::Refused;
use super::pending::Due;
use crate::heartbeat::Timestamp;
use crate::state::Record;
use crate::store::{Batch, Write, contract};

/// What is to be stored in one round trip.
pub(super) struct Load {
    pub(super) due: Vec<Due>,
    pub(super) refused: Vec<Refused>,
    pub(super) contract_keys: bool,
    /// When it was made, in the store's clock.
    pub(super) sent_at: Timestamp,
}

/// A batch whose answer is awaited.
pub(super) struct OnItsWay {
    pub(super) records: Vec<Arc<Record>>,
    pub(super) refused: Vec<Refused>,
    pub(super) sent_at: Timestamp,
}

impl Load {
    /// Encodes it; the slow part, fit to be done elsewhere.
    pub(super) fn into_batch(self) -> (Batch, OnItsWay) {
        let components = self.due.iter().map(|due| due.record.components.len()).sum();
        let mut keys = HashMap::with_capacity(if self.contract_keys { components } else { 0 });
        let mut records = Vec::with_capacity(self.due.len());
        let mut writes = Vec::with_capacity(self.due.len());
        for Due { record, expected, messages } in self.due {
            if self.contract_keys {
                for message in &messages {
                    contract::add_keys(message, &mut keys);
                }
                if messages.is_empty() {
                    contract::add_record_keys(&record, &mut keys);
                }
            }
            records.push(Arc::clone(&record));
            writes.push(Write::new(record, expected));
        }
        let rejected = self.refused.iter().filter_map(Refused::to_text).collect();
        let batch = Batch { writes, contract: keys, rejected };
        (batch, OnItsWay { records, refused: self.refused, sent_at: self.sent_at })
    }
}
