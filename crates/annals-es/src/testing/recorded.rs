//! Recorded events without a store.

use uuid::Uuid;

use crate::event::{Event, EventError, Schemas, encode};
use crate::metadata::Metadata;
use crate::store::{EventParts, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version};

/// A recorded event for tests: what a handler receives.
///
/// ```
/// use annals_es::testing::Recorded;
/// use annals_es::{Event, Metadata};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Event)]
/// struct Opened;
///
/// let event = Recorded::of(&Opened).stream("account-1").version(3).metadata(&Metadata::new().user("ann")).build();
/// assert_eq!((event.event_type(), event.version().get()), ("Opened", 3));
/// ```
#[derive(Debug, Clone)]
#[must_use = "`build` makes the event"]
pub struct Recorded {
    event: NewEvent,
    stream: StreamName,
    version: Version,
    position: Position,
    time: Timestamp,
}

impl Recorded {
    /// The event, in stream `test-1` at version 1 and position 1.
    ///
    /// # Panics
    ///
    /// If the event cannot be written by its codec.
    #[track_caller]
    pub fn of<E: Event>(event: &E) -> Self {
        match encode(event) {
            Ok(event) => Self::new(event),
            Err(error) => panic!("the event cannot be written: {error}"),
        }
    }

    /// An event with any name, version and data: as earlier programs recorded it.
    pub fn new(event: NewEvent) -> Self {
        let (stream, version, position) = ("test-1".into(), Version::new(1), Position::new(1));
        Self { event, stream, version, position, time: Timestamp::default() }
    }

    /// Sets the id. Default: an id that follows from the position.
    pub fn id(mut self, id: Uuid) -> Self {
        self.event.id = Some(id);
        self
    }

    /// Sets the stream.
    pub fn stream(mut self, stream: impl Into<StreamName>) -> Self {
        self.stream = stream.into();
        self
    }

    pub(super) fn stream_name(&self) -> &str {
        self.stream.as_str()
    }

    /// Sets the version.
    pub fn version(mut self, version: impl Into<Version>) -> Self {
        self.version = version.into();
        self
    }

    /// Sets the position.
    pub fn position(mut self, position: impl Into<Position>) -> Self {
        self.position = position.into();
        self
    }

    /// Sets the time.
    pub fn at(mut self, time: Timestamp) -> Self {
        self.time = time;
        self
    }

    /// Sets the metadata, and the tag of its correlation.
    ///
    /// # Panics
    ///
    /// If the metadata cannot be written as JSON.
    #[track_caller]
    pub fn metadata(mut self, metadata: &Metadata) -> Self {
        match metadata.encode() {
            Ok(bytes) => self.event.metadata = bytes,
            Err(error) => panic!("the metadata cannot be written: {error}"),
        }
        self.event.tags.extend(metadata.correlation_tag());
        self
    }

    /// The event, alone in its commit.
    pub fn build(self) -> RecordedEvent {
        let id = Uuid::from_u128(u128::from(self.position.get()));
        EventParts::of(self.event, id, self.stream, self.version, self.position, self.time).into()
    }
}

impl From<NewEvent> for Recorded {
    fn from(event: NewEvent) -> Self {
        Self::new(event)
    }
}

/// What a program makes of an event that an earlier version of it recorded: for tests of upcasters.
///
/// ```
/// use annals_es::testing::read;
/// use annals_es::{Event, NewEvent, Upcasters};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
/// #[event(version = 2, upcasters = upcasters)]
/// struct Deposited {
///     cents: u64,
/// }
///
/// fn upcasters() -> Upcasters<Deposited> {
///     Upcasters::new().typed("Deposited", 1, |euros: u64| Ok(Deposited { cents: 100 * euros }.into()))
/// }
///
/// let old = NewEvent::new("Deposited", "2").schema_version(1);
/// assert_eq!(read::<Deposited>(old)?, [Deposited { cents: 200 }]);
/// # Ok::<(), annals_es::EventError>(())
/// ```
///
/// # Errors
///
/// [`EventError`], as the program would report it.
///
/// # Panics
///
/// If the schemas of the type are faulty.
#[track_caller]
pub fn read<E: Event>(event: NewEvent) -> Result<Vec<E>, EventError> {
    let schemas = match Schemas::<E>::new() {
        Ok(schemas) => schemas,
        Err(error) => panic!("the schemas are faulty: {error}"),
    };
    let mut found = Vec::new();
    schemas.decode(&Recorded::new(event).build(), |event| found.push(event))?;
    Ok(found)
}
