//! The past of a state: at a point, between two points, or computed by another function.
//!
//! Owns the fold over recorded events. Must never change the store.

mod change;
mod point;

use std::fmt;

use crate::event::{Event, EventError, SchemaError, Schemas};
use crate::projection::FailureCause;
use crate::store::{
    OrderedStore, Position, Query, ReadAll, RecordedEvent, StoreError, StreamName, Version, next,
};

pub use change::{Change, Difference, difference};
pub(crate) use point::AnyPoint;
use point::NoPosition;
pub use point::Point;

/// A state that is computed from the events of a query, at any point of the past.
///
/// With another function, the same events answer "what if": what the state would be under other rules. For the past
/// of an aggregate with its snapshots, see [`Repository::load_at`](crate::Repository::load_at); for that of a read model,
/// [`Memory::load_at`](crate::projection::Memory::load_at). A timeline reads the events from the first one on.
///
/// ```
/// use annals_es::blocking::{block_on, iter};
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
/// assert_eq!((change.before.state, change.after.state), (5, 21));
/// assert_eq!(change.difference()?[0].to_string(), ": 5 -> 21");
/// assert_eq!(iter(change.events).count(), 2);
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
    /// The number of recorded events that it was computed from, without those before a snapshot.
    pub events: u64,
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
    /// The schemas of a projection's events are faulty.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A projection could not handle an event.
    #[error("the event at position {position} cannot be handled: {cause}")]
    Projection {
        /// The position of the event; [`Position::START`] while the read model was prepared.
        position: Position,
        /// Why.
        #[source]
        cause: FailureCause,
    },
    /// The point is a version, and the query does not select exactly one stream.
    #[error("a version is a point of one stream; use a position or a time, or query one stream")]
    NoSingleStream,
    /// The event of a version is hidden: the stream was truncated or archived.
    #[error("stream {stream:?} shows no event at version {version}: it was truncated or archived")]
    Hidden {
        /// The stream.
        stream: StreamName,
        /// The version.
        version: Version,
    },
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

    /// The state at a point: a version of the stream that the query selects, a position, or a time.
    ///
    /// # Errors
    ///
    /// [`TimelineError`]: an event that cannot be read is one.
    pub async fn at(&self, point: impl Point<S>) -> Result<Past<T>, TimelineError> {
        let position = position_of(&self.store, &self.query, point).await?;
        let mut past = self.start();
        self.go_on(&mut past, Position::START, position).await?;
        Ok(past)
    }

    /// The states at two points, and the events between them. A later point that is before the earlier one counts as
    /// equal to it.
    ///
    /// # Errors
    ///
    /// Those of [`Timeline::at`].
    pub async fn between(
        &self,
        earlier: impl Point<S>,
        later: impl Point<S>,
    ) -> Result<Change<Past<T>, S::Events>, TimelineError> {
        let earlier = position_of(&self.store, &self.query, earlier).await?;
        let later = position_of(&self.store, &self.query, later).await?;
        let mut before = self.start();
        self.go_on(&mut before, Position::START, earlier).await?;
        let mut after = before.clone();
        self.go_on(&mut after, earlier, later).await?;
        // Up to the last event of the state: others may have been appended since.
        let last = if after.events > before.events { after.position } else { earlier };
        let between = ReadAll::matching(self.query.clone()).after(earlier).up_to(last);
        Ok(Change::new(before, after, self.store.read_all(between)))
    }

    fn start(&self) -> Past<T> {
        Past { state: self.initial.clone(), position: Position::START, events: 0 }
    }

    async fn go_on(
        &self,
        past: &mut Past<T>,
        after: Position,
        up_to: Position,
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
        }
        Ok(())
    }
}

/// The position of a point; a version is that of the only stream that the query selects.
pub(crate) async fn position_of<S: OrderedStore>(
    store: &S,
    query: &Query,
    point: impl Point<S>,
) -> Result<Position, TimelineError> {
    let stream = match query.items() {
        [item] => item.stream.as_ref(),
        _ => None,
    };
    let found = AnyPoint::position(point, store, stream).await;
    found.map_err(|error| match (error, stream) {
        (NoPosition::Store(error), _) => error.into(),
        (NoPosition::Hidden(version), Some(stream)) => {
            TimelineError::Hidden { stream: stream.clone(), version }
        }
        (NoPosition::NoStream | NoPosition::Hidden(_), _) => TimelineError::NoSingleStream,
    })
}

impl<S: fmt::Debug, T, E, F> fmt::Debug for Timeline<S, T, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline")
            .field("store", &self.store)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}
