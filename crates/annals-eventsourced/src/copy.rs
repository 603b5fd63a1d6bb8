//! Copies the events of an entity from another event log.
//!
//! Owns the comparison of sequence numbers. Must never append an event twice, or after one that is missing.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::num::NonZeroU64;
use std::pin::pin;

use annals::{Bytes, Error, ExpectedVersion, NewEvent, StreamName};
use eventsourced::event_log::EventLog;
use futures_core::Stream;

use crate::AnnalsEventLog;

/// The largest number of events that one commit copies.
const BATCH: usize = 1000;

/// Why [`copy`] ended; `S` is the error of the source. What was copied before stays copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError<S> {
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[source] S),
    /// The next event of the entity has another sequence number than the one after the event before.
    #[error("the event with sequence number {found} follows where {expected} is expected")]
    Gap {
        /// The number that was expected.
        expected: u64,
        /// The number of the event.
        found: NonZeroU64,
    },
    /// The source ended before the entity's last event.
    #[error("the source ended before the event with sequence number {expected}")]
    Ended {
        /// The number that was expected.
        expected: u64,
    },
    /// The store refused an event, or failed. [`annals::Error::Conflict`]: the entity got an event during the copy.
    #[error(transparent)]
    Store(#[from] annals::Error),
}

/// Appends the events of an entity that the target does not have, and returns their number. The bytes are kept.
/// Interrupted, it is called again: it goes on after as many events as the entity has in the target.
///
/// The sequence numbers of an entity must be 1, 2, 3 and so on in the source, as those of PostgreSQL are; in the target
/// they are positions in the store.
///
/// # Errors
///
/// Those of [`CopyError`].
pub async fn copy<L>(
    source: &L,
    target: &AnnalsEventLog<L::Id>,
    type_name: &'static str,
    id: &L::Id,
) -> Result<u64, CopyError<L::Error>>
where
    L: EventLog,
    L::Id: Debug + Display + Send + Sync + 'static,
    L::Error: StdError,
{
    let stream = StreamName::new(type_name, id);
    let head = target.store().stream_head(stream.as_str())?;
    let before = head.map_or(0, |it| it.version);
    let last = source.last_seq_no(type_name, id).await.map_err(CopyError::Source)?;
    let last = last.map_or(0, NonZeroU64::get);
    let mut version = before;
    if version >= last {
        return Ok(0);
    }
    let bytes = |bytes: Bytes| Ok::<Bytes, Infallible>(bytes);
    let from = NonZeroU64::MIN.saturating_add(version);
    let events = source.events_by_id(type_name, id, from, bytes).await;
    let mut events = pin!(events.map_err(CopyError::Source)?);
    let mut batch = Vec::new();
    // The stream of the source does not end: it waits for new events.
    while version < last {
        let expected = version + batch.len() as u64 + 1;
        let next = std::future::poll_fn(|context| events.as_mut().poll_next(context)).await;
        let (found, data) =
            next.ok_or(CopyError::Ended { expected })?.map_err(CopyError::Source)?;
        if found.get() != expected {
            return Err(CopyError::Gap { expected, found });
        }
        batch.push(NewEvent::new(type_name, data).content_type(target.content_type()));
        if batch.len() == BATCH || expected == last {
            version = append(target, &stream, version, std::mem::take(&mut batch)).await?;
        }
    }
    Ok(version - before)
}

/// Appends events to a stream of this version, in one commit, or in several if one would be too large, and returns the
/// new version.
async fn append<I>(
    target: &AnnalsEventLog<I>,
    stream: &StreamName,
    from: u64,
    events: Vec<NewEvent>,
) -> Result<u64, Error> {
    let mut version = from;
    let mut pending = vec![events];
    while let Some(mut batch) = pending.pop() {
        let count = batch.len() as u64;
        let expected = ExpectedVersion::Exact(version);
        let transaction = target.store().transaction();
        match transaction.append(stream, expected, batch.clone()).commit_async().await {
            Ok(_) => version += count,
            Err(Error::LimitExceeded { .. }) if count > 1 => {
                let rest = batch.split_off(batch.len() / 2);
                pending.extend([rest, batch]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(version)
}
