//! Events of an application: their names, versions, tags and data.
//!
//! Owns the trait that `#[derive(Event)]` implements. Must never contact a store.

mod codec;
mod decode;
mod encode;
mod history;
mod raw;
mod types;
mod upcast;
mod variant;

use serde::{Deserializer, Serializer};

#[cfg(feature = "cbor")]
pub use codec::Cbor;
#[cfg(feature = "postcard")]
pub use codec::Postcard;
pub use codec::{Codec, CodecError, Json};
pub use decode::{EventCause, EventError, SchemaError, SchemaProblem, Schemas};
pub use encode::encode;
pub use history::{History, HistoryReport};
pub use raw::{Events, RawEvent, Schema};
pub(crate) use types::default_query;
pub use types::event_types;
pub use upcast::{Unknown, Upcast, Upcasters};
pub use variant::{deserialize_variant, serialize_variant, unknown_is_not_written, unknown_type};

/// The events of an application, or one of them: what `#[derive(Event)]` implements.
///
/// ```
/// use annals_es::{Event, Schema};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
/// enum AccountEvent {
///     #[event(name = "AccountOpened")]
///     Opened {
///         #[tag]
///         owner: String,
///     },
///     #[event(name = "MoneyDeposited", version = 2)]
///     Deposited { amount: u64, currency: String },
///     #[event(name = "AccountClosed")]
///     Closed,
/// }
///
/// let opened = AccountEvent::Opened { owner: "ann".into() };
/// let mut tags = Vec::new();
/// opened.tags(&mut tags);
/// assert_eq!((opened.schema(), tags), (Schema::new("AccountOpened", 1), vec!["owner:ann".to_owned()]));
/// ```
pub trait Event: Sized + Send + Sync + 'static {
    /// The codec of new events. Recorded JSON is read whatever the codec is.
    type Codec: Codec;

    /// Whether the type has a place for events whose type it does not know.
    const KEEPS_UNKNOWN: bool = false;

    /// The present schemas of all events of the type.
    fn schemas() -> Vec<Schema>;

    /// The schema of this event.
    fn schema(&self) -> Schema;

    /// The present version of the schema with this name; `None` if there is none.
    fn version_of(event_type: &str) -> Option<u16>;

    /// Pushes the tags of this event.
    fn tags(&self, tags: &mut Vec<String>);

    /// Serializes the data of this event, without its name.
    fn serialize_event<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Deserializes the data of an event with this name, of its present version.
    fn deserialize_event<'de, D: Deserializer<'de>>(
        event_type: &str,
        deserializer: D,
    ) -> Result<Self, D::Error>;

    /// The event that keeps one whose type is not known.
    fn from_unknown(_event: RawEvent) -> Option<Self> {
        None
    }

    /// How events of earlier versions become present ones.
    fn upcasters() -> Upcasters<Self> {
        Upcasters::new()
    }
}
