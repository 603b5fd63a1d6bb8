//! Copies the facts of another store.
//!
//! Owns the check that numbers stay the same. Must never append a fact twice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annals::{Durability, ExpectedVersion, Store, Timestamp};
use factstr::{DurableStream, EventRecord, EventStore, HandleStream, NewEvent, StreamHandlerError};

use crate::{FactStore, Result, STREAM, event, failure};

/// The durable stream that reads the other store, and the name under which that store remembers the position.
pub const COPY_STREAM: &str = "annals-factstr-copy";

/// Appends all facts of `source` that were not copied before, and returns their number. Numbers and commits stay as
/// they are, so the target must hold nothing else. All facts of a commit have the time of its last one, in
/// microseconds. Interrupted, it is called again.
///
/// ```
/// use annals_factstr::FactStore;
/// use annals_factstr::factstr::{EventStore, NewEvent};
/// use serde_json::json;
///
/// let dir = tempfile::tempdir()?;
/// let source = FactStore::open(dir.path().join("source"))?; // or a store of SQLite or PostgreSQL
/// source.append(vec![NewEvent::new("opened", json!({})), NewEvent::new("closed", json!({}))])?;
///
/// let store = FactStore::open(dir.path().join("ledger"))?;
/// assert_eq!(annals_factstr::copy(&source, &store)?, 2);
/// assert_eq!(annals_factstr::copy(&source, &store)?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of the source's stream and of appends, and an error for a gap in the numbers, for times that go back and for a
/// target that has other events. What was copied before an error stays copied.
pub fn copy(source: &impl EventStore, target: &FactStore) -> Result<u64> {
    let store = target.store().clone();
    let before = store.head().get();
    // Commits of the copy are synced at its end, and reads do not show them before.
    let head = Mutex::new(before);
    // The stream's own error has less to say in some stores.
    let failed = Arc::new(Mutex::new(None));
    let report = Arc::clone(&failed);
    let handle = HandleStream::new(move |batch| {
        let mut head = head.lock().unwrap_or_else(PoisonError::into_inner);
        let copied = copy_commit(&store, batch, &mut head).map_err(|error| error.to_string());
        let result = copied.map_err(|text| {
            *report.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
            StreamHandlerError::new(text)
        });
        async { result }
    });
    let stream = source.stream_all_durable(&DurableStream::new(COPY_STREAM), handle);
    // The source has delivered everything.
    let ended = stream.map(|stream| stream.unsubscribe());
    target.store().sync().map_err(failure)?;
    if let Some(text) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(failure(text));
    }
    ended?;
    Ok(target.store().head().get() - before)
}

/// Appends the facts of one commit that are after the head.
fn copy_commit(store: &Store, mut batch: Vec<EventRecord>, head: &mut u64) -> Result<()> {
    batch.retain(|it| it.sequence_number > *head);
    let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
    if first.sequence_number != *head + 1 || last.sequence_number - *head != batch.len() as u64 {
        let first = first.sequence_number;
        return Err(failure(format!(
            "fact {first} does not follow the head of the target, {head}"
        )));
    }
    let micros = last.occurred_at.unix_timestamp_nanos() / 1000;
    let time = u64::try_from(micros).map_err(failure)?;
    let facts = batch.into_iter().map(|it| NewEvent::new(it.event_type, it.payload)).collect();
    let transaction =
        store.transaction().append(STREAM, ExpectedVersion::Any, event::encode(facts)?);
    let buffered = Durability::Buffered { interval: Duration::from_secs(1) };
    let recorded = transaction.recorded_at(Timestamp::from_micros(time)).durability(buffered);
    *head = recorded.commit().map_err(failure)?.last_position.get();
    Ok(())
}
