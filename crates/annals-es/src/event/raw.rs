//! Schemas, events that are kept as they are, and lists of events.

use std::borrow::Cow;
use std::fmt;
use std::{iter, option, vec};

use bytes::Bytes;

use crate::store::{ContentType, EventRef};

/// The name of an event's type and the version of its schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Schema {
    /// The name under which the event is stored.
    pub event_type: Cow<'static, str>,
    /// The version, from 1.
    pub version: u16,
}

impl Schema {
    /// A schema.
    pub const fn new(event_type: &'static str, version: u16) -> Self {
        Self { event_type: Cow::Borrowed(event_type), version }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} version {}", self.event_type, self.version)
    }
}

/// An event of a type that is not known, as it was recorded. It cannot be appended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RawEvent {
    /// The name of the event's type.
    pub event_type: String,
    /// The version of the schema that the data follows.
    pub version: u16,
    /// The event's data.
    pub data: Bytes,
    /// The format of the data.
    pub content_type: ContentType,
}

impl RawEvent {
    /// Its schema.
    pub fn schema(&self) -> Schema {
        Schema { event_type: Cow::Owned(self.event_type.clone()), version: self.version }
    }
}

impl From<EventRef<'_>> for RawEvent {
    fn from(event: EventRef<'_>) -> Self {
        Self {
            event_type: event.event_type().to_owned(),
            version: event.schema_version(),
            data: event.data_bytes(),
            content_type: event.content_type(),
        }
    }
}

/// Any number of events, in order. It is made from one event, an array, a `Vec` or an `Option`; one event takes
/// no allocation.
///
/// ```
/// use annals_es::Events;
///
/// let none: Events<u8> = Events::none();
/// let one: Events<u8> = 1.into();
/// let two: Events<u8> = [1, 2].into();
/// assert_eq!((none.len(), one.len(), two.len()), (0, 1, 2));
/// assert_eq!(two.into_iter().sum::<u8>(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events<E>(Inner<E>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inner<E> {
    /// At most one event.
    One(Option<E>),
    Many(Vec<E>),
}

impl<E> Events<E> {
    /// No event.
    pub const fn none() -> Self {
        Self(Inner::One(None))
    }

    /// Adds an event at the end.
    pub fn push(&mut self, event: E) {
        match &mut self.0 {
            Inner::One(one) => match one.take() {
                None => *one = Some(event),
                Some(first) => self.0 = Inner::Many(vec![first, event]),
            },
            Inner::Many(events) => events.push(event),
        }
    }

    /// The events.
    pub fn as_slice(&self) -> &[E] {
        match &self.0 {
            Inner::One(one) => one.as_slice(),
            Inner::Many(events) => events,
        }
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The events, borrowed.
    pub fn iter(&self) -> std::slice::Iter<'_, E> {
        self.as_slice().iter()
    }
}

impl<E> Default for Events<E> {
    fn default() -> Self {
        Self::none()
    }
}

impl<E> From<E> for Events<E> {
    fn from(event: E) -> Self {
        Self(Inner::One(Some(event)))
    }
}

impl<E> From<Option<E>> for Events<E> {
    fn from(event: Option<E>) -> Self {
        Self(Inner::One(event))
    }
}

impl<E> From<Vec<E>> for Events<E> {
    fn from(events: Vec<E>) -> Self {
        Self(Inner::Many(events))
    }
}

impl<E, const N: usize> From<[E; N]> for Events<E> {
    fn from(events: [E; N]) -> Self {
        events.into_iter().collect()
    }
}

impl<E> FromIterator<E> for Events<E> {
    fn from_iter<I: IntoIterator<Item = E>>(events: I) -> Self {
        let mut all = Self::none();
        events.into_iter().for_each(|event| all.push(event));
        all
    }
}

impl<E> IntoIterator for Events<E> {
    type Item = E;
    type IntoIter = iter::Chain<option::IntoIter<E>, vec::IntoIter<E>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self.0 {
            Inner::One(one) => (one, Vec::new()),
            Inner::Many(events) => (None, events),
        };
        one.into_iter().chain(many)
    }
}

impl<'a, E> IntoIterator for &'a Events<E> {
    type Item = &'a E;
    type IntoIter = std::slice::Iter<'a, E>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
