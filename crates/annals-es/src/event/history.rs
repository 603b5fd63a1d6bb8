//! The check of a whole history against the program's schemas.
//!
//! Owns the report. Must never change anything.

use std::collections::BTreeMap;
use std::fmt;

use super::decode::EventCause;
use super::{Event, EventError, SchemaError, Schemas};
use crate::store::{OrderedStore, ReadAll, RecordedEvent, StoreError, next};

/// The number of errors that a report lists.
const LISTED: usize = 100;

/// The event types of a program, and the check that every recorded event can be read by them.
///
/// Run it before a new version of a program is deployed, against a copy of the store.
///
/// ```
/// use annals_es::blocking::block_on;
/// use annals_es::{Commit, Event, EventStore, Expected, History, MemoryStore, NewEvent};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Event)]
/// enum AccountEvent {
///     #[event(name = "MoneyDeposited")]
///     Deposited { amount: u64 },
/// }
///
/// let store = MemoryStore::new();
/// let events = [r#"{"amount":5}"#, r#"{"amount":"five"}"#].map(|it| NewEvent::new("MoneyDeposited", it));
/// block_on(store.append(Commit::to("account-1", Expected::Any, events)))?;
///
/// let history = History::new().with::<AccountEvent>()?;
/// let report = block_on(history.check_history(&store))?;
/// assert_eq!((report.events, report.failed), (2, 1));
/// assert_eq!(report.errors[0].version.get(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct History {
    types: Vec<Box<dyn Reads>>,
}

/// Whether events can be read.
trait Reads: Send + Sync {
    fn knows(&self, event_type: &str) -> bool;
    fn read(&self, event: &RecordedEvent) -> Result<(), EventError>;
}

impl<E: Event> Reads for Schemas<E> {
    fn knows(&self, event_type: &str) -> bool {
        Self::knows(self, event_type)
    }

    fn read(&self, event: &RecordedEvent) -> Result<(), EventError> {
        self.decode(event, drop)
    }
}

/// The result of a check of a history.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct HistoryReport {
    /// The number of events that were read.
    pub events: u64,
    /// The number of events of each type and version of the schema.
    pub schemas: BTreeMap<(String, u16), u64>,
    /// The number of events that cannot be read.
    pub failed: u64,
    /// The first hundred errors.
    pub errors: Vec<EventError>,
}

impl History {
    /// No types.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type of events.
    ///
    /// # Errors
    ///
    /// Those of [`Schemas::new`].
    pub fn with<E: Event>(mut self) -> Result<Self, SchemaError> {
        self.types.push(Box::new(Schemas::<E>::new()?));
        Ok(self)
    }

    /// Reads every event of a store. An event has to be readable by every type of the program that knows its name,
    /// and at least one has to know it.
    ///
    /// # Errors
    ///
    /// Those of the read. Events that cannot be read are part of the report.
    pub async fn check_history<S: OrderedStore>(
        &self,
        store: &S,
    ) -> Result<HistoryReport, StoreError> {
        let mut report = HistoryReport::default();
        let mut events = store.read_all(ReadAll::new());
        while let Some(event) = next(&mut events).await {
            self.check(&event?, &mut report);
        }
        Ok(report)
    }

    fn check(&self, event: &RecordedEvent, report: &mut HistoryReport) {
        report.events += 1;
        let schema = (event.event_type().to_owned(), event.schema_version());
        *report.schemas.entry(schema).or_default() += 1;
        let mut known = self.types.iter().filter(|it| it.knows(event.event_type())).peekable();
        let failed = if known.peek().is_none() {
            Some(EventError {
                stream: event.stream().into(),
                version: event.version(),
                position: event.position(),
                event_type: event.event_type().to_owned(),
                schema_version: event.schema_version(),
                cause: Box::new(EventCause::UnknownType),
            })
        } else {
            known.find_map(|it| it.read(event).err())
        };
        if let Some(error) = failed {
            report.failed += 1;
            if report.errors.len() < LISTED {
                report.errors.push(error);
            }
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("types", &self.types.len()).finish()
    }
}
