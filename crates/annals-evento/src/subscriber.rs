//! Subscribers as records.
//!
//! Owns the record of a subscriber. Must never let a worker that was superseded move the cursor of its successor.

use annals::{ExpectedRecord, Store};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::Error;

/// The state of a subscriber, stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subscriber {
    pub(crate) worker: String,
    pub(crate) cursor: Option<String>,
    pub(crate) lag: u64,
    /// A subscriber that is not enabled is not running, also if it has a worker.
    pub(crate) enabled: bool,
}

impl Subscriber {
    pub(crate) fn new(worker: Ulid) -> Self {
        Self { worker: worker.to_string(), cursor: None, lag: 0, enabled: true }
    }

    pub(crate) fn is_run_by(&self, worker: Ulid) -> bool {
        self.enabled && self.worker == worker.to_string()
    }
}

fn record_key(key: &str) -> String {
    format!("evento/subscriber/{key}")
}

/// The subscriber with a key, and the version of its record.
async fn load_with_version(
    store: &Store,
    record_key: &str,
) -> Result<Option<(Subscriber, u64)>, Error> {
    let Some(record) = store.records().get_async(record_key).await? else { return Ok(None) };
    let subscriber = serde_json::from_slice(&record.value)
        .map_err(|source| Error::Subscriber { key: record.key, source })?;
    Ok(Some((subscriber, record.version)))
}

pub(crate) async fn load(store: &Store, key: &str) -> Result<Option<Subscriber>, Error> {
    Ok(load_with_version(store, &record_key(key)).await?.map(|(subscriber, _)| subscriber))
}

/// Changes a subscriber, unless `change` returns `None`; returns whether it is as `change` has it. If the record changes
/// meanwhile, `change` is called with the new state.
pub(crate) async fn update(
    store: &Store,
    key: &str,
    change: impl Fn(Option<Subscriber>) -> Option<Subscriber>,
) -> Result<bool, Error> {
    let key = record_key(key);
    loop {
        let stored = load_with_version(store, &key).await?;
        let expected =
            stored.as_ref().map_or(ExpectedRecord::NoRecord, |(_, it)| ExpectedRecord::Exact(*it));
        let stored = stored.map(|(subscriber, _)| subscriber);
        let Some(changed) = change(stored.clone()) else { return Ok(false) };
        if stored.as_ref() == Some(&changed) {
            return Ok(true);
        }
        let value = serde_json::to_vec(&changed)
            .map_err(|source| Error::Subscriber { key: key.clone(), source })?;
        match store.records().put_async(&key, value, expected).await {
            Ok(_) => return Ok(true),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
}
