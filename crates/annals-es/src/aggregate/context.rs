//! What surrounds a command, and what comes of it.

use uuid::Uuid;

use crate::event::Events;
use crate::metadata::Metadata;
use crate::store::{Position, Version};

/// What surrounds a command: its id, the version that its sender saw, and the metadata of its events.
///
/// ```
/// use annals_es::{Context, Metadata, Version};
/// use uuid::Uuid;
///
/// let context = Context::new()
///     .command_id(Uuid::from_u128(7))
///     .if_match(Version::new(3))
///     .metadata(Metadata::new().user("ann"));
/// assert_eq!(context.metadata.user.as_deref(), Some("ann"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Context {
    /// Identifies the command: a command that is repeated with the same id returns its first outcome.
    pub command_id: Option<Uuid>,
    /// The version that the sender of the command saw. The command is refused if it is not the present one.
    pub if_match: Option<Version>,
    /// The metadata of the events. Without a cause, the command is their cause; without a correlation, the command
    /// begins one, if it has an id.
    pub metadata: Metadata,
}

impl Context {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the id of the command.
    #[must_use]
    pub fn command_id(mut self, id: Uuid) -> Self {
        self.command_id = Some(id);
        self
    }

    /// Sets the version that the sender of the command saw.
    #[must_use]
    pub fn if_match(mut self, version: Version) -> Self {
        self.if_match = Some(version);
        self
    }

    /// Sets the metadata of the events.
    #[must_use]
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// The metadata of the events, with cause and correlation.
    pub(crate) fn event_metadata(&self) -> Metadata {
        let mut metadata = self.metadata.clone();
        metadata.causation_id = metadata.causation_id.or(self.command_id);
        metadata.correlation_id = metadata.correlation_id.or(self.command_id);
        metadata
    }
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Executed<E> {
    /// The events that were recorded.
    pub events: Events<E>,
    /// The version of the aggregate after the command.
    pub version: Version,
    /// The position of the last of the events, for which a reader of a projection waits; `None` if there is none.
    pub position: Option<Position>,
    /// The command was executed earlier, and this is its first outcome.
    pub already_recorded: bool,
}
