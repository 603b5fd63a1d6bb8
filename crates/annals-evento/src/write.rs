//! Writes: the stamps of events, and the commit.
//!
//! Owns the commit clock. The order of cursors is stamp, version, id; it must never differ from the order of positions.
//! Therefore each commit is stamped after the one before it is accepted, and fails if another event was appended
//! meanwhile.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{SystemTime, UNIX_EPOCH};

use annals::{
    Error as StoreError, ExpectedVersion, FailedCheck, Position, Query, ReadAll, Store, Ticket,
};
use evento_core::{Event, WriteError};

use crate::error::{Error, of_commit, unknown, uuid};
use crate::event::{Key, Unstamped, decode, key, stream};

/// The place of the last accepted event.
#[derive(Debug)]
struct Last {
    position: Position,
    key: Key,
    /// Whether a commit has failed after it was accepted: the last event must be looked up.
    is_stale: bool,
}

/// The clock that stamps commits.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<Last>);

/// How events get their stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamps {
    /// From the clock.
    New,
    /// They have them.
    Kept,
}

impl Clock {
    /// The clock after the last event of a store.
    pub(crate) fn new(store: &Store) -> Result<Self, Error> {
        let mut clock = Last { position: Position::START, key: Key::default(), is_stale: false };
        if let Some(event) = last_event(store).into_iter().next() {
            clock.set(&event?)?;
        }
        Ok(Self(Mutex::new(clock)))
    }

    /// The stamp of the last accepted event.
    pub(crate) fn last_millis(&self) -> u64 {
        self.last().key.millis
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn write(
        &self,
        store: &Store,
        events: Vec<Event>,
        stamps: Stamps,
    ) -> Result<(), WriteError> {
        check_versions(&events)?;
        let events = in_order(events, stamps)?;
        loop {
            if self.last().is_stale {
                self.look_up(store).await.map_err(unknown)?;
            }
            let Some(submitted) = self.submit(store, &events, stamps) else {
                return refuse_unless_stored(store, &events).await;
            };
            let result = match submitted {
                (_, Submitted::Done(result)) => result,
                (millis, Submitted::Later(submit)) => {
                    let result = submit.await;
                    if let Ok(ticket) = &result {
                        self.last().advance(ticket, &events, millis);
                    }
                    result
                }
            };
            let error = match result {
                Ok(ticket) => {
                    let committed = ticket.await;
                    if committed.is_err() {
                        self.last().is_stale = true;
                    }
                    return committed.map(drop).map_err(of_commit);
                }
                Err(error) => error,
            };
            let StoreError::Conflict { failed, visible_at } = &error else {
                return Err(of_refusal(store, &events, error).await);
            };
            store.wait_for_async(*visible_at).await.map_err(of_commit)?;
            if !failed.iter().any(is_moved) {
                return Err(WriteError::InvalidOriginalVersion);
            }
            self.last().is_stale = true;
        }
    }

    /// Submits a commit with the next stamp, if it gets one. Most commits are accepted at once, under the lock of the
    /// clock, so that writers do not refuse each other.
    fn submit(
        &self,
        store: &Store,
        events: &[Unstamped],
        stamps: Stamps,
    ) -> Option<(Option<u64>, Submitted)> {
        let mut last = self.last();
        let millis = last.stamp(events, stamps)?;
        let mut transaction = store.transaction().fail_if(Query::all().after(last.position));
        for event in events {
            let expected = ExpectedVersion::Exact(u64::from(event.key.version) - 1);
            let millis = millis.unwrap_or(event.key.millis);
            transaction = transaction.append(&event.stream, expected, [event.stamped(millis)]);
        }
        let mut submit: Submit = Box::pin(transaction.submit_async());
        // What is not accepted at once is polled again by the task.
        let submitted = match submit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => {
                if let Ok(ticket) = &result {
                    last.advance(ticket, events, millis);
                }
                Submitted::Done(result)
            }
            Poll::Pending => Submitted::Later(submit),
        };
        Some((millis, submitted))
    }

    /// Looks up the last event.
    async fn look_up(&self, store: &Store) -> Result<(), Error> {
        let found = last_event(store).into_stream().next().await;
        let mut last = self.last();
        match found {
            Some(event) => last.set(&event?),
            None => {
                (last.position, last.is_stale) = (Position::START, false);
                Ok(())
            }
        }
    }
}

fn last_event(store: &Store) -> ReadAll {
    store.read_all().backwards().include_hidden().include_unsynced().limit(1)
}

type Submit = Pin<Box<dyn Future<Output = annals::Result<Ticket>> + Send>>;

/// A commit that was submitted.
enum Submitted {
    Done(annals::Result<Ticket>),
    /// A thread of the store submits it.
    Later(Submit),
}

impl Last {
    fn set(&mut self, event: &annals::Event) -> Result<(), Error> {
        let key = key(event)?;
        *self = Self { position: event.position(), key: key.max(self.key), is_stale: false };
        Ok(())
    }

    /// Goes to the last event of an accepted commit, unless a later one is known.
    fn advance(&mut self, ticket: &Ticket, events: &[Unstamped], millis: Option<u64>) {
        let position = ticket.committed().last_position;
        if let Some(newest) = events.last()
            && position > self.position
        {
            self.key = Key { millis: millis.unwrap_or(newest.key.millis), ..newest.key };
            self.position = position;
        }
    }

    /// The common stamp of new events, or `Some(None)` if events keep theirs; `None` if those come before the last
    /// event.
    ///
    /// Commits of one millisecond share it if they are in order by their versions and ids. Otherwise the next
    /// millisecond is used, and the stamps run ahead of the clock while there are more such commits than milliseconds.
    #[expect(clippy::option_option, reason = "refused, and no common stamp")]
    fn stamp(&self, events: &[Unstamped], stamps: Stamps) -> Option<Option<u64>> {
        let first = events.first().map(|event| event.key)?;
        if stamps == Stamps::Kept {
            return (first > self.key).then_some(None);
        }
        let millis = now_millis().max(self.key.millis);
        let is_after = Key { millis, ..first } > self.key;
        Some(Some(if is_after { millis } else { millis.saturating_add(1) }))
    }
}

#[allow(clippy::disallowed_methods, reason = "stamps are of the adapter, not of the store")]
fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}

fn is_moved(check: &FailedCheck) -> bool {
    matches!(check, FailedCheck::AppendConditionFailed { .. })
}

/// The versions of an aggregate follow one another.
fn check_versions(events: &[Event]) -> Result<(), WriteError> {
    let mut last = HashMap::new();
    for event in events {
        let aggregate = (&event.tenant, &event.aggregate_type, &event.aggregate_id);
        let follows = match last.insert(aggregate, event.version) {
            None => event.version > 0,
            Some(before) => before.checked_add(1) == Some(event.version),
        };
        if !follows {
            return Err(WriteError::InvalidOriginalVersion);
        }
    }
    Ok(())
}

/// The events in the order of their cursors.
fn in_order(events: Vec<Event>, stamps: Stamps) -> Result<Vec<Unstamped>, WriteError> {
    let mut unstamped = Vec::with_capacity(events.len());
    for event in events {
        let millis = match (stamps, Key::of(&event)) {
            (Stamps::New, _) => 0,
            (Stamps::Kept, Some(key)) => key.millis,
            (Stamps::Kept, None) => {
                let Event { id, timestamp, timestamp_subsec, .. } = event;
                return Err(unknown(Error::Stamp { id, timestamp, timestamp_subsec }));
            }
        };
        unstamped.push(Unstamped::new(event, millis));
    }
    unstamped.sort_by_key(|event| event.key);
    let mut last = HashMap::new();
    for event in &unstamped {
        if last.insert(&event.stream, event.key.version).is_some_and(|it| it > event.key.version) {
            return Err(unknown(Error::OutOfOrder { id: ulid::Ulid(event.key.id) }));
        }
    }
    Ok(unstamped)
}

/// Events that come before the last one may be written again, if they are stored already.
async fn refuse_unless_stored(store: &Store, events: &[Unstamped]) -> Result<(), WriteError> {
    for new in events {
        let id = ulid::Ulid(new.key.id);
        let stored = store.event_async(uuid(id)).await.map_err(of_commit)?;
        let is_same = stored.is_some_and(|stored| new.is_stored_as(&stored));
        if !is_same {
            return Err(unknown(Error::OutOfOrder { id }));
        }
    }
    Ok(())
}

/// A version that is taken is reported before an id that is.
async fn of_refusal(store: &Store, events: &[Unstamped], error: StoreError) -> WriteError {
    if let (StoreError::IdReused { .. }, Some(first)) = (&error, events.first()) {
        let head = store.stream_head_async(&first.stream).await;
        let version = head.ok().flatten().map_or(0, |head| head.version);
        if version >= u64::from(first.key.version) {
            return WriteError::InvalidOriginalVersion;
        }
    }
    of_commit(error)
}

/// The version of an aggregate; 0: it has no events.
pub(crate) async fn latest_version(
    store: &Store,
    [tenant, aggregate_type, id]: [&str; 3],
) -> Result<u16, Error> {
    let stream = stream(tenant, aggregate_type, id);
    let version = store.stream_head_async(&stream).await?.map_or(0, |head| head.version);
    u16::try_from(version).map_err(|_| Error::VersionRange { stream, version })
}

/// The routing key of a stream's first event; `None` if there is no such stream.
pub(crate) async fn routing_key(
    store: &Store,
    stream: &str,
) -> Result<Option<Option<String>>, Error> {
    let read = store.read_stream(stream).include_hidden().limit(1);
    match read.into_stream().next().await {
        Some(event) => Ok(Some(decode(&event?)?.routing_key)),
        None => Ok(None),
    }
}
