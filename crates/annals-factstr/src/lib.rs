#![doc = include_str!("../README.md")]
#![allow(clippy::doc_markdown, reason = "SQLite is a name, and no item")]

mod copy;
mod event;
mod query;
mod streams;

use std::path::Path;
use std::sync::Arc;

use annals::{Error, ExpectedVersion, FailedCheck, Position, Store};
use factstr::{
    AppendResult, DurableStream, EventQuery, EventStore, EventStoreError, EventStream,
    HandleStream, NewEvent, QueryResult, StreamHandlerError, StreamHandlerFuture,
};

pub use annals;
pub use copy::{COPY_STREAM, copy};
pub use factstr;
pub use streams::{FailureCause, MAX_STREAM_NAME, STREAM_PREFIX, StreamFailure};

use crate::query::Filter;
use crate::streams::{Delivery, Streams};

/// The stream that all facts are appended to.
pub const STREAM: &str = "factstr";

type Result<T> = std::result::Result<T, EventStoreError>;

/// Runs the future of a handler to its end.
type Run = dyn Fn(StreamHandlerFuture) -> std::result::Result<(), StreamHandlerError> + Send + Sync;

/// Is told of each failed delivery.
type OnFailure = dyn Fn(&StreamFailure) + Send + Sync;

/// An [`EventStore`] on an annals store. Sequence numbers are positions.
///
/// Dropping it ends its streams, and waits for the handler that runs. The store itself is closed when its last
/// handle is dropped.
pub struct FactStore {
    store: Store,
    run: Arc<Run>,
    on_failure: Arc<OnFailure>,
    streams: Arc<Streams>,
}

impl FactStore {
    /// Opens or creates a store in this directory.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`], as text.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        Store::open(directory).map(Self::new).map_err(failure)
    }

    /// The adapter of a store that is open, with any options.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            run: Arc::new(futures_executor::block_on),
            on_failure: Arc::new(|_| {}),
            streams: Arc::default(),
        }
    }

    /// How the futures of handlers are run, for streams that begin later. The call blocks the stream's own
    /// thread until the handler has ended. The default polls the future in that thread, without a runtime; a
    /// program with a runtime passes the call that blocks on its handle.
    #[must_use]
    pub fn run_handlers_with(
        mut self,
        run: impl Fn(StreamHandlerFuture) -> std::result::Result<(), StreamHandlerError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.run = Arc::new(run);
        self
    }

    /// What is called for each delivery that fails, in the stream's thread: the trait has no other way to
    /// report it.
    #[must_use]
    pub fn on_stream_failure(
        mut self,
        report: impl Fn(&StreamFailure) + Send + Sync + 'static,
    ) -> Self {
        self.on_failure = Arc::new(report);
        self
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn stream(
        &self,
        query: &EventQuery,
        durable: Option<&DurableStream>,
        handle: HandleStream,
    ) -> Result<EventStream> {
        let delivery = Delivery {
            store: self.store.clone(),
            filter: Filter::new(query),
            handle,
            run: Arc::clone(&self.run),
            on_failure: Arc::clone(&self.on_failure),
            durable: durable.map(|it| it.name().to_owned()),
        };
        match durable {
            None => self.streams.live(delivery),
            Some(_) => self.streams.durable(delivery, query),
        }
    }

    /// The newest event that matches, and the head that the read saw.
    fn newest(&self, filter: &Filter, up_to: Option<u64>) -> Result<(Option<u64>, Position)> {
        let mut read = self.store.read_all().matching(filter.candidates.clone()).backwards();
        if let Some(position) = up_to {
            read = read.up_to(position);
        }
        let events = read.start().map_err(failure)?;
        let head = events.head();
        for event in events {
            let event = event.map_err(failure)?;
            if filter.accepts(&event)? {
                return Ok((Some(event.position().get()), head));
            }
        }
        Ok((None, head))
    }

    /// Appends if no candidate is after `head`; `None` if there is one.
    fn append_after(
        &self,
        events: &[annals::NewEvent],
        filter: &Filter,
        head: Position,
    ) -> Result<Option<AppendResult>> {
        let transaction = self.store.transaction();
        let transaction = transaction.append(STREAM, ExpectedVersion::Any, events.to_vec());
        match transaction.fail_if(filter.candidates.clone().after(head)).commit() {
            Ok(done) => Ok(Some(event::result(done.first_position, done.last_position))),
            Err(Error::Conflict { .. }) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }
}

impl std::fmt::Debug for FactStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FactStore").field("store", &self.store).finish_non_exhaustive()
    }
}

impl From<Store> for FactStore {
    fn from(store: Store) -> Self {
        Self::new(store)
    }
}

impl EventStore for FactStore {
    fn query(&self, event_query: &EventQuery) -> Result<QueryResult> {
        let filter = Filter::new(event_query);
        let after = event_query.min_sequence_number.unwrap_or(0);
        let read = self.store.read_all().matching(filter.candidates.clone()).after(after);
        let events = read.start().map_err(failure)?;
        let head = events.head().get();
        let mut found = QueryResult::default();
        for event in events {
            let record = event::decode(&event.map_err(failure)?)?;
            if filter.matches(&record) {
                found.event_records.push(record);
            }
        }
        let last = found.event_records.last().map(|it| it.sequence_number);
        found.last_returned_sequence_number = last;
        // The version of the context counts the events before the cursor too.
        found.current_context_version = match last {
            None if after > 0 => self.newest(&filter, Some(after.min(head)))?.0,
            last => last,
        };
        Ok(found)
    }

    fn append(&self, new_events: Vec<NewEvent>) -> Result<AppendResult> {
        let events = event::encode(new_events)?;
        let done = self.store.append(STREAM, ExpectedVersion::Any, events).map_err(failure)?;
        Ok(event::result(done.first_position, done.last_position))
    }

    fn append_if(
        &self,
        new_events: Vec<NewEvent>,
        context_query: &EventQuery,
        expected_context_version: Option<u64>,
    ) -> Result<AppendResult> {
        let (events, filter) = (event::encode(new_events)?, Filter::new(context_query));
        let conflict = |actual| {
            let expected = expected_context_version;
            Err(EventStoreError::ConditionalAppendConflict { expected, actual })
        };
        // Without payload predicates the engine compares the version. It has no name for the version 0 of a
        // context, which no context has.
        if filter.is_exact && expected_context_version != Some(0) {
            let newest = expected_context_version.map_or(Position::START, Position::new);
            let transaction = self.store.transaction().append(STREAM, ExpectedVersion::Any, events);
            return match transaction.expect_newest(filter.candidates, newest).commit() {
                Ok(done) => Ok(event::result(done.first_position, done.last_position)),
                Err(error) => match error.failed_checks() {
                    [FailedCheck::NewestMatchMoved { actual, .. }, ..] => {
                        conflict(actual.map(Position::get))
                    }
                    _ => Err(failure(error)),
                },
            };
        }
        loop {
            let (actual, head) = self.newest(&filter, None)?;
            if actual != expected_context_version {
                return conflict(actual);
            }
            if let Some(done) = self.append_after(&events, &filter, head)? {
                return Ok(done);
            }
        }
    }

    fn stream_all(&self, handle: HandleStream) -> Result<EventStream> {
        self.stream(&EventQuery::all(), None, handle)
    }

    fn stream_to(&self, event_query: &EventQuery, handle: HandleStream) -> Result<EventStream> {
        self.stream(event_query, None, handle)
    }

    fn stream_all_durable(
        &self,
        durable_stream: &DurableStream,
        handle: HandleStream,
    ) -> Result<EventStream> {
        self.stream(&EventQuery::all(), Some(durable_stream), handle)
    }

    fn stream_to_durable(
        &self,
        durable_stream: &DurableStream,
        event_query: &EventQuery,
        handle: HandleStream,
    ) -> Result<EventStream> {
        self.stream(event_query, Some(durable_stream), handle)
    }
}

impl Drop for FactStore {
    fn drop(&mut self) {
        self.streams.end_all();
    }
}

/// The error type of factstr can be compared and cloned, so it carries the engine's error as text.
fn failure(error: impl std::fmt::Display) -> EventStoreError {
    EventStoreError::BackendFailure { message: error.to_string() }
}
