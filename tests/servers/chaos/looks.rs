//! The one who looks into the store: of two, one could be overtaken, and would take the newer for going back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::world::Truth;

/// Has the oracle judge the store, until it is dropped.
pub struct Looks(AbortOnDropHandle<()>);

impl Looks {
    /// Looks as often as the store answers; `records` asks it.
    pub fn start<F>(truth: &Truth, records: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<BTreeMap<String, Value>, String>> + Send,
    {
        let truth = truth.clone();
        Self(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                sleep(Duration::from_secs(1)).await;
                if let Ok(records) = records().await {
                    truth.oracle().judge_records(truth.now(), &records);
                }
            }
        })))
    }

    /// Returns when it looks no more.
    pub async fn end(&mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}
