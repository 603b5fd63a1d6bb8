//! The past of a state: at a position or time, between two points, or computed by another function.
//!
//! Owns the fold over recorded events. Must never change the store.

use std::fmt;

use crate::event::{Event, EventError, SchemaError, Schemas};
use crate::store::{
    OrderedStore, Position, Query, ReadAll, RecordedEvent, StoreError, Timestamp, next,
};

/// A state that is computed from the events of a query, at any point of the past.
///
/// With another function, the same events answer "what if": what the state would be under other rules. For the past
/// of an aggregate with its snapshots, see [`Repository::load_at_time`](crate::Repository::load_at_time). The events
/// are read from the first one on.
///
/// ```
/// use annals_es::blocking::block_on;
/// use annals_es::{Commit, Event, EventStore, Expected, MemoryStore, Position, Query, Timeline, encode};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
/// enum AccountEvent {
///     Deposited { amount: u64 },
/// }
///
/// let store = MemoryStore::new();
/// for amount in [5, 7, 9] {
///     let deposited = encode(&AccountEvent::Deposited { amount })?;
///     block_on(store.append(Commit::to("account-1", Expected::Any, [deposited])))?;
/// }
/// let of = Query::stream("account-1");
/// let balance = Timeline::new(store.clone(), of.clone(), 0, |balance, event, _| {
///     let AccountEvent::Deposited { amount } = event;
///     *balance += amount;
/// })?;
/// assert_eq!(block_on(balance.at(Position::new(2)))?.state, 12);
///
/// let change = block_on(balance.between(Position::new(1), Position::new(3)))?;
/// assert_eq!((change.before.state, change.after.state, change.events.len()), (5, 21, 2));
///
/// // What if deposits had a fee of 1?
/// let with_fee = Timeline::new(store, of, 0, |balance, event, _| {
///     let AccountEvent::Deposited { amount } = event;
///     *balance += amount - 1;
/// })?;
/// assert_eq!(block_on(with_fee.at(Position::MAX))?.state, 18);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Timeline<S, T, E, F> {
    store: S,
    query: Query,
    initial: T,
    evolve: F,
    schemas: Schemas<E>,
}

/// A state of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Past<T> {
    /// The state.
    pub state: T,
    /// The position of the last event that it was computed from; [`Position::START`] if there was none.
    pub position: Position,
    /// The number of recorded events that it was computed from.
    pub events: u64,
}

/// Two states of the past, and what happened between them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Change<T> {
    /// The earlier state.
    pub before: Past<T>,
    /// The later state.
    pub after: Past<T>,
    /// The events after the earlier point, up to the later one. They are kept in memory.
    pub events: Vec<RecordedEvent>,
}

/// Why a state of the past could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event could not be read.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl<S, T, E, F> Timeline<S, T, E, F>
where
    S: OrderedStore,
    T: Clone + Send + Sync,
    E: Event,
    F: Fn(&mut T, E, &RecordedEvent) + Send + Sync,
{
    /// A state before the first event, and the function that changes it by an event of a query. Earlier names of the
    /// types that the query has are added.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] if an earlier version of an event has no path to the present one.
    pub fn new(store: S, query: Query, initial: T, evolve: F) -> Result<Self, SchemaError> {
        let schemas = Schemas::new()?;
        // A name that the events do not have stays as it is: the choice for unknown events applies to it.
        let query = schemas.with_earlier_names(&query).unwrap_or(query);
        Ok(Self { store, query, initial, evolve, schemas })
    }

    /// The state at a position; [`Position::MAX`]: the present one.
    ///
    /// # Errors
    ///
    /// [`TimelineError`]: an event that cannot be read is one.
    pub async fn at(&self, position: Position) -> Result<Past<T>, TimelineError> {
        let mut past = self.start();
        self.go_on(&mut past, Position::START, position, |_| {}).await?;
        Ok(past)
    }

    /// The state at a time: with all events that were recorded at or before it.
    ///
    /// # Errors
    ///
    /// Those of [`Timeline::at`].
    pub async fn at_time(&self, time: Timestamp) -> Result<Past<T>, TimelineError> {
        let position = self.store.position_at(time).await?;
        self.at(position).await
    }

    /// The states at two positions, and the events between them. A later position that is before the earlier one counts
    /// as equal to it.
    ///
    /// # Errors
    ///
    /// Those of [`Timeline::at`].
    pub async fn between(
        &self,
        earlier: Position,
        later: Position,
    ) -> Result<Change<T>, TimelineError> {
        let before = self.at(earlier).await?;
        let (mut after, mut events) = (before.clone(), Vec::new());
        self.go_on(&mut after, earlier, later, |event| events.push(event.clone())).await?;
        Ok(Change { before, after, events })
    }

    fn start(&self) -> Past<T> {
        Past { state: self.initial.clone(), position: Position::START, events: 0 }
    }

    async fn go_on(
        &self,
        past: &mut Past<T>,
        after: Position,
        up_to: Position,
        mut seen: impl FnMut(&RecordedEvent) + Send,
    ) -> Result<(), TimelineError> {
        if up_to <= after {
            return Ok(());
        }
        let read = ReadAll::matching(self.query.clone()).after(after).up_to(up_to);
        let mut events = self.store.read_all(read);
        while let Some(event) = next(&mut events).await {
            let event = event?;
            self.schemas.decode(&event, |it| (self.evolve)(&mut past.state, it, &event))?;
            past.position = event.position();
            past.events += 1;
            seen(&event);
        }
        Ok(())
    }
}

impl<S: fmt::Debug, T, E, F> fmt::Debug for Timeline<S, T, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline")
            .field("store", &self.store)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}
