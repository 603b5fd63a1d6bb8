//! Copies the events of another event store.
//!
//! Owns the id that was reached, as a record of the target. Must never append an event twice, or lose its order.

use std::convert::Infallible;

use annals::{Error, Event as Stored, ExpectedRecord, NewEvent, Position, Query, Store};
use disintegrate::serde::Serde;
use disintegrate::{Event, EventStore, StreamItem};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::store::id;
use crate::{AnnalsEventStore, EventId, PREFIX, STREAM};

/// The largest number of events that one commit copies.
const BATCH: usize = 1000;

/// What [`copy`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The number of events that this call has appended.
    pub events: u64,
    /// Each event that was copied, also by earlier calls, has the id that it had. Otherwise [`copied_position`]
    /// translates ids.
    pub ids_kept: bool,
}

/// Why [`copy`] ended; `S` is the error of the source. What was copied before stays copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError<S> {
    /// The source cannot be read.
    #[error("the source cannot be read")]
    Source(#[source] S),
    /// The source returned an event whose id is not greater than that of the event before.
    #[error("the source returned event {id} after event {previous}")]
    Order {
        /// The id of the event before.
        previous: EventId,
        /// The id.
        id: EventId,
    },
    /// The target has events that were not copied, and the source has more events.
    #[error("the target has events after position {reached} that were not copied")]
    TargetHasOtherEvents {
        /// The position of the last event that was copied.
        reached: Position,
        /// The conflict.
        #[source]
        source: annals::Error,
    },
    /// The record of the position that was reached cannot be read.
    #[error("the record of the position that was reached cannot be read")]
    Reached(#[source] serde_json::Error),
    /// The store refused an event, or failed.
    #[error(transparent)]
    Store(#[from] annals::Error),
}

/// How far the copy is, a record of the target.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Reached {
    /// The id of the last event in the source.
    event_id: EventId,
    /// Its position in the target.
    position: u64,
    ids_kept: bool,
}

/// The metadata of an event whose position is not the id that it had.
#[derive(Serialize, Deserialize)]
struct Moved {
    event_id: EventId,
}

fn key() -> String {
    format!("{PREFIX}copy")
}

/// Appends all events of `source` that were not copied before, in its order. Interrupted, it is called again.
///
/// `E` must be the type that has all events of the source: events of other types are not returned by it. An event keeps
/// its id if the ids of the source have no gaps; otherwise it has the next one, and [`copied_position`] finds it.
///
/// ```
/// use annals_disintegrate::{AnnalsEventStore, copy};
/// use annals_disintegrate::disintegrate::{Event, EventStore, serde::json::Json};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Clone, Event, Serialize, Deserialize)]
/// enum Seat {
///     Taken { #[id] seat: i64 },
/// }
///
/// # futures::executor::block_on(async {
/// let dir = tempfile::tempdir()?;
/// let source = annals::Store::open(dir.path().join("source"))?;
/// let source = AnnalsEventStore::new(source, Json::<Seat>::default()); // or a PgEventStore
/// source.append_without_validation(vec![Seat::Taken { seat: 12 }]).await?;
///
/// let store = annals::Store::open(dir.path().join("target"))?;
/// let event_store = AnnalsEventStore::new(store, Json::<Seat>::default());
/// let copied = copy(&source, &event_store).await?;
/// assert_eq!((copied.events, copied.ids_kept), (1, true));
/// assert_eq!(copy(&source, &event_store).await?.events, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// Those of [`CopyError`].
pub async fn copy<E, S, Source>(
    source: &Source,
    target: &AnnalsEventStore<E, S>,
) -> Result<Copied, CopyError<Source::Error>>
where
    E: Event + Clone + Send + Sync + 'static,
    S: Serde<E> + Send + Sync,
    Source: EventStore<EventId, E>,
{
    let store = target.store();
    let start = Reached { event_id: 0, position: 0, ids_kept: true };
    let record = store.records().get_async(&key()).await?;
    let record = record.map(|it| serde_json::from_slice(&it.value).map_err(CopyError::Reached));
    let mut reached: Reached = record.transpose()?.unwrap_or(start);
    let before = reached.position;

    let all = disintegrate::query::<EventId, E, E>(None).change_origin(reached.event_id);
    let mut events = source.stream(&all);
    let mut read = reached;
    let mut batch = Vec::new();
    loop {
        let item = events.next().await.transpose().map_err(CopyError::Source)?;
        let has_ended = !matches!(item, Some(StreamItem::Event(_)));
        if let Some(StreamItem::Event(event)) = item {
            let (previous, event_id) = (read.event_id, event.id());
            if event_id <= previous {
                return Err(CopyError::Order { previous, id: event_id });
            }
            let position = read.position + 1;
            let is_kept = id(Position::new(position)) == event_id;
            read = Reached { event_id, position, ids_kept: read.ids_kept && is_kept };
            let mut encoded = target.encode(&event.into_inner());
            if !is_kept {
                let moved = serde_json::to_vec(&Moved { event_id }).map_err(CopyError::Reached)?;
                encoded = encoded.metadata(moved);
            }
            batch.push((encoded, read));
        }
        if batch.len() == BATCH || (has_ended && !batch.is_empty()) {
            reached = append(store, reached, std::mem::take(&mut batch)).await?;
        }
        if has_ended {
            return Ok(Copied { events: reached.position - before, ids_kept: reached.ids_kept });
        }
    }
}

/// Appends events after `from`, each with how far the copy is with it: in one commit, or in several if one would be too
/// large.
async fn append<S>(
    store: &Store,
    from: Reached,
    events: Vec<(NewEvent, Reached)>,
) -> Result<Reached, CopyError<S>> {
    let mut reached = from;
    let mut pending = vec![events];
    while let Some(mut batch) = pending.pop() {
        let Some((_, last)) = batch.last() else { continue };
        let last = *last;
        let value = serde_json::to_vec(&last).map_err(CopyError::Reached)?;
        let commit = store
            .transaction()
            .expect_newest(Query::all(), reached.position)
            .append(STREAM, annals::ExpectedVersion::Any, batch.iter().map(|it| it.0.clone()))
            .put(key(), value, ExpectedRecord::Any);
        match commit.commit_async().await {
            Ok(_) => reached = last,
            Err(Error::LimitExceeded { .. }) if batch.len() > 1 => {
                let rest = batch.split_off(batch.len() / 2);
                pending.extend([rest, batch]);
            }
            Err(source @ Error::Conflict { .. }) => {
                let reached = Position::new(reached.position);
                return Err(CopyError::TargetHasOtherEvents { reached, source });
            }
            Err(error) => return Err(CopyError::Store(error)),
        }
    }
    Ok(reached)
}

/// The position of the last event that was copied and had at most this id in the source, for the position of a listener:
///
/// ```text
/// let position = annals_disintegrate::copied_position(&store, last_processed_event_id)?;
/// store.cursors().reset("disintegrate/id-of-the-listener", position)?;
/// ```
///
/// It is [`Position::START`] if there is none.
///
/// # Errors
///
/// Those of [`CopyError`], but no error of a source.
pub fn copied_position(
    store: &Store,
    event_id: EventId,
) -> Result<Position, CopyError<Infallible>> {
    let record = store.records().get(&key())?;
    let record = record.map(|it| serde_json::from_slice(&it.value).map_err(CopyError::Reached));
    let reached: Option<Reached> = record.transpose()?;
    // The ids grow with the positions.
    let (mut low, mut high) = (0, reached.map_or(0, |it| it.position));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let event = store.read_all().after(middle - 1).limit(1).start()?.next().transpose()?;
        if event.is_some_and(|it| id_in_source(&it) <= event_id) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(Position::new(low))
}

fn id_in_source(event: &Stored) -> EventId {
    let moved = serde_json::from_slice::<Moved>(event.metadata());
    moved.map_or_else(|_| id(event.position()), |it| it.event_id)
}
