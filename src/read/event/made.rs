//! Events that no store holds, for tests of code that handles events.
//!
//! Owns the checks that such an event could have been recorded. Must never write to a store.

use bytes::Bytes;

use super::{Event, EventPlace};
use crate::error::{Error, Result};
use crate::event::{EventParts, NewEvent};
use crate::format::checksum::Seed;
use crate::format::record::{self, Assigned, IdOrigin, MAX_STREAM_LEN, MAX_TYPE_LEN, RecordRef};
use crate::format::tags::{self, MAX_TAGS_LEN};
use crate::log::segment::RecordBytes;
use crate::options::Options;

impl Event {
    /// An event with these parts that no store holds, for tests of code that handles events. It has a copy of the
    /// data.
    ///
    /// ```
    /// use annals::{Event, EventParts, NewEvent};
    ///
    /// fn handle(balance: &mut i64, event: &Event) {
    ///     *balance += event.data().len() as i64;
    /// }
    ///
    /// let mut parts = EventParts::new("account-1", 3, NewEvent::new("Deposited", "five!"));
    /// parts.position = 17.into();
    /// let event = Event::from_parts(parts)?;
    /// assert_eq!((event.stream(), event.version(), event.position()), ("account-1", 3, 17.into()));
    ///
    /// let mut balance = 0;
    /// handle(&mut balance, &event);
    /// assert_eq!(balance, 5);
    /// # Ok::<(), annals::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for parts that no recorded event has: a stream without a name, a version or
    /// position of 0, a part that is longer than a store accepts, or a commit that begins after the event.
    pub fn from_parts(parts: EventParts) -> Result<Self> {
        let given = parts.id_given;
        let (position, commit) = (parts.position.get(), parts.commit.get());
        let tags: Vec<String> = parts.tags.iter().map(ToString::to_string).collect();
        let size = parts.data.len().saturating_add(parts.metadata.len()) as u64;
        let before = position.checked_sub(commit).and_then(|before| u32::try_from(before).ok());
        let fault = if parts.stream.is_empty() || parts.stream.len() > MAX_STREAM_LEN {
            Some("the stream's name is empty or too long")
        } else if parts.event_type.len() > MAX_TYPE_LEN {
            Some("the event type is too long")
        } else if tags::measure(&tags).len > MAX_TAGS_LEN {
            Some("the tags are too long")
        } else if size > Options::MAX_EVENT_SIZE {
            Some("data and metadata are too long")
        } else if commit == 0 || before.is_none() {
            Some("the commit begins after the event, or at position 0")
        } else {
            None
        };
        let refused = |why: &str| Error::InvalidArgument { what: "event parts", why: why.into() };
        if let Some(why) = fault {
            return Err(refused(why));
        }
        let event = NewEvent {
            id: Some(parts.id),
            event_type: parts.event_type.as_str().into(),
            schema_version: parts.schema_version,
            data: parts.data,
            content_type: parts.content_type,
            metadata: parts.metadata,
            tags,
        };
        let place = Assigned {
            stream: &parts.stream,
            version: parts.version,
            position,
            id: parts.id.as_u128(),
            id_origin: match given {
                Some(true) => IdOrigin::Given,
                Some(false) => IdOrigin::Generated,
                None => IdOrigin::Unrecorded,
            },
            frame_distance: 0,
        };
        let (mut bytes, seed) = (Vec::new(), Seed::of_salt(0));
        record::encode(&mut bytes, seed, &place, &event);
        let record = RecordRef::parse(&bytes).and_then(|record| {
            record.verify(seed, position)?;
            Ok(record.layout())
        });
        let layout = record.map_err(|defect| refused(&defect.to_string()))?;
        let place = EventPlace {
            position,
            recorded_at: parts.recorded_at.as_micros(),
            before: before.unwrap_or(0),
            after: u32::from(!parts.is_last_in_commit),
        };
        Ok(Self::new(RecordBytes::Owned(Bytes::from(bytes)), layout, place))
    }
}
