//! Events that are to be appended.
//!
//! Owns the values that a caller builds. Must never check limits: they are checked by the append.

use bytes::Bytes;
use smol_str::SmolStr;
use uuid::Uuid;

/// The format of an event's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ContentType {
    /// Bytes whose format is known to the caller only.
    #[default]
    Binary,
    /// UTF-8 JSON. The store keeps the flag and does not parse the data.
    Json,
}

/// An event that is to be appended.
///
/// ```
/// use annals::{ContentType, NewEvent};
///
/// let event = NewEvent::new("AccountOpened", br#"{"initialDeposit":1000}"#)
///     .content_type(ContentType::Json)
///     .tag("owner:42")
///     .schema_version(1);
/// # let _ = event;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an event is stored by an append"]
pub struct NewEvent {
    pub(crate) id: Option<Uuid>,
    /// Stored inline up to 23 bytes, so that most events need no allocation for it.
    pub(crate) event_type: SmolStr,
    pub(crate) data: Bytes,
    pub(crate) metadata: Bytes,
    pub(crate) tags: Vec<String>,
    pub(crate) schema_version: u16,
    pub(crate) content_type: ContentType,
}

impl NewEvent {
    /// An event of a type (up to 255 bytes) with its data. Both may be empty.
    pub fn new(event_type: impl AsRef<str>, data: impl EventData) -> Self {
        Self {
            id: None,
            event_type: SmolStr::new(event_type),
            data: data.into_bytes(),
            metadata: Bytes::new(),
            tags: Vec::new(),
            schema_version: 0,
            content_type: ContentType::Binary,
        }
    }

    /// An event whose data is `value` as JSON (feature `serde`).
    ///
    /// # Errors
    ///
    /// [`Error::WriteJson`](crate::Error::WriteJson), with the event's type, if `value` cannot be
    /// written as JSON: a map with keys that are not strings, or an error of its `Serialize`.
    #[cfg(feature = "serde")]
    pub fn json<T: serde::Serialize + ?Sized>(
        event_type: impl AsRef<str>,
        value: &T,
    ) -> crate::Result<Self> {
        let data = serde_json::to_vec(value).map_err(|source| crate::Error::WriteJson {
            part: "data",
            event_type: event_type.as_ref().to_owned(),
            source,
        })?;
        Ok(Self::new(event_type, data).content_type(ContentType::Json))
    }

    /// Sets the metadata to `value` as JSON (feature `serde`). [`Event::metadata_json`] reads it.
    ///
    /// # Errors
    ///
    /// Those of [`NewEvent::json`].
    ///
    /// [`Event::metadata_json`]: crate::Event::metadata_json
    #[cfg(feature = "serde")]
    pub fn metadata_json<T: serde::Serialize + ?Sized>(mut self, value: &T) -> crate::Result<Self> {
        let metadata = serde_json::to_vec(value).map_err(|source| crate::Error::WriteJson {
            part: "metadata",
            event_type: self.event_type.to_string(),
            source,
        })?;
        self.metadata = metadata.into();
        Ok(self)
    }

    /// Bytes stored with the data, such as user, reason and correlation id. Default: none.
    pub fn metadata(mut self, metadata: impl EventData) -> Self {
        self.metadata = metadata.into_bytes();
        self
    }

    /// Adds a tag, which may be empty. The tags of an event take at most 65,535 bytes: each its own bytes
    /// and one more, or two more if any of them has more than 255 bytes.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds tags.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// The version of the schema the data follows. Default: 0.
    pub fn schema_version(mut self, version: u16) -> Self {
        self.schema_version = version;
        self
    }

    /// The event's id, unique in the store without a time limit: a repeated append with the same ids
    /// and contents returns the first one's result. Appending an event with the nil UUID is refused
    /// with [`Error::InvalidArgument`](crate::Error::InvalidArgument). Default: a generated UUID v7.
    pub fn id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Derives the event's id from another event's id and a name (UUID v5, RFC 9562), so that a handler that
    /// appends in reaction to an event appends the same ids when it handles that event again, and the
    /// repetition is recognized. Give the events of one reaction different names.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// use annals::{ExpectedVersion, NewEvent};
    ///
    /// store.append("order-1", ExpectedVersion::Any, [NewEvent::new("OrderPlaced", "")])?;
    /// let placed = store.read_stream("order-1").into_iter().next().expect("an event")?;
    /// for repeated in [false, true] {
    ///     let reserved = NewEvent::new("StockReserved", "").id_derived_from(placed.id(), "reserve");
    ///     let appended = store.append("stock-7", ExpectedVersion::Any, [reserved])?;
    ///     assert_eq!(appended.already_recorded, repeated);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id_derived_from(self, cause: Uuid, name: &str) -> Self {
        self.id(Uuid::new_v5(&cause, name.as_bytes()))
    }

    /// Flags the data as JSON or binary. Default: [`ContentType::Binary`].
    pub fn content_type(mut self, content_type: ContentType) -> Self {
        self.content_type = content_type;
        self
    }
}

/// Bytes that an event can take without a copy if they are owned.
///
/// Implemented for owned and borrowed bytes and strings. It cannot be implemented outside this
/// crate, so that methods can be added to it.
pub trait EventData: sealed::Sealed {
    /// The bytes.
    fn into_bytes(self) -> Bytes;
}

mod sealed {
    /// Prevents other crates from implementing [`EventData`](super::EventData).
    pub trait Sealed {}
}

impl sealed::Sealed for Bytes {}
impl sealed::Sealed for Vec<u8> {}
impl sealed::Sealed for String {}
impl sealed::Sealed for &[u8] {}
impl<const N: usize> sealed::Sealed for &[u8; N] {}
impl sealed::Sealed for &Vec<u8> {}
impl sealed::Sealed for &str {}

impl EventData for Bytes {
    fn into_bytes(self) -> Bytes {
        self
    }
}

impl EventData for Vec<u8> {
    fn into_bytes(self) -> Bytes {
        self.into()
    }
}

impl EventData for String {
    fn into_bytes(self) -> Bytes {
        self.into()
    }
}

impl EventData for &[u8] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl<const N: usize> EventData for &[u8; N] {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl EventData for &Vec<u8> {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl EventData for &str {
    fn into_bytes(self) -> Bytes {
        Bytes::copy_from_slice(self.as_bytes())
    }
}
