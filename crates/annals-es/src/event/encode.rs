//! From events of the application to events to append.

use super::codec::DataOf;
use super::{Codec, CodecError, Event};
use crate::store::NewEvent;

/// The event to append, with its name, version, tags and data.
///
/// ```
/// use annals_es::{Event, encode};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "MoneyDeposited")]
/// struct Deposited {
///     #[tag]
///     account: u32,
///     amount: u64,
/// }
///
/// let event = encode(&Deposited { account: 1, amount: 5 })?;
/// assert_eq!((&*event.event_type, &event.data[..]), ("MoneyDeposited", &br#"{"account":1,"amount":5}"#[..]));
/// assert_eq!(event.tags, ["account:1"]);
/// # Ok::<(), annals_es::CodecError>(())
/// ```
///
/// # Errors
///
/// [`CodecError`] if the data cannot be written by the codec of the type.
pub fn encode<E: Event>(event: &E) -> Result<NewEvent, CodecError> {
    let data = E::Codec::encode(&DataOf(event))?;
    let schema = event.schema();
    let mut new = NewEvent::new(schema.event_type, data)
        .schema_version(schema.version)
        .content_type(E::Codec::CONTENT_TYPE);
    event.tags(&mut new.tags);
    Ok(new)
}
