//! The meaning of one input line, in either format.
//!
//! Owns the decoded event and the limits that can be checked on the line alone. Must never depend
//! on the format of the line.

use std::fmt;

use annals::{Bytes, ContentType, NewEvent, Timestamp, Uuid};

use crate::time;

/// Maximum length of a stream's name, in bytes.
const MAX_STREAM: usize = 1024;
/// Maximum length of a type, in bytes.
const MAX_TYPE: usize = 255;
/// Maximum length of an event's tags with the bytes for their lengths.
const MAX_TAGS: usize = 65_535;

/// An event to be appended, as its line states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The stream that the event is appended to.
    pub stream: String,
    /// The event's type.
    pub event_type: String,
    /// The event's id, if the line gives one.
    pub id: Option<Uuid>,
    /// The event's data, byte for byte.
    pub data: Bytes,
    /// Whether the data is JSON or binary.
    pub content_type: ContentType,
    /// The event's metadata, byte for byte; empty = none.
    pub metadata: Bytes,
    /// The event's tags, in their order.
    pub tags: Vec<String>,
    /// The version of the data's schema.
    pub schema_version: u16,
    /// The commit that the line names.
    pub commit: Option<CommitKey>,
    /// The time of recording as written in the line: parsed by [`Record::time`] if it is needed.
    pub recorded_at: Option<String>,
    /// The version as written in the line: parsed by [`Record::number`] if it is needed.
    pub version: Option<String>,
}

/// The namespace of the ids that [`Record::derive_id`] computes.
pub const DERIVED: Uuid = Uuid::from_u128(0x0c1e_6a57_3b0f_4f5d_9a2e_7d84_51c6_e3b9);

/// The value of a line's `commit` key. Strings are equal by their characters, numbers by the
/// way they are written, so that no rounding joins two commits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommitKey(String);

impl CommitKey {
    /// The key of a JSON scalar's source text; `null` is none.
    pub(crate) fn parse(raw: &str) -> Result<Option<Self>, String> {
        match raw.as_bytes().first() {
            Some(b'n') => Ok(None),
            Some(b'{' | b'[') => {
                Err("\"commit\" must be a string, a number, true or false".to_owned())
            }
            Some(b'"') => serde_json::from_str::<String>(raw)
                .map(|text| Some(Self(format!("{text:?}"))))
                .map_err(|e| format!("\"commit\": {}", crate::object::describe(&e))),
            _ => Ok(Some(Self(raw.to_owned()))),
        }
    }
}

impl fmt::Display for CommitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reason why a line is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// A description of the fault.
    pub what: String,
    /// The commit of the line, if that can be read.
    pub commit: CommitOf,
}

/// The commit of a line that is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOf {
    /// The line cannot be read.
    Unknown,
    /// The commit that the line names; `None` if it names none.
    Known(Option<CommitKey>),
}

impl BadLine {
    /// A line whose commit cannot be read.
    pub fn unreadable(what: impl Into<String>) -> Self {
        Self { what: what.into(), commit: CommitOf::Unknown }
    }
}

impl Record {
    /// The event as a `NewEvent` of the library.
    pub fn to_event(&self) -> NewEvent {
        let event = NewEvent::new(self.event_type.as_str(), self.data.clone())
            .content_type(self.content_type)
            .metadata(self.metadata.clone())
            .tags(self.tags.iter().map(String::as_str))
            .schema_version(self.schema_version);
        match self.id {
            Some(id) => event.id(id),
            None => event,
        }
    }

    /// When it was recorded.
    ///
    /// # Errors
    ///
    /// If the line has no time, or a malformed one.
    pub fn time(&self) -> Result<Timestamp, String> {
        match &self.recorded_at {
            None => Err("the time of recording is missing".to_owned()),
            Some(text) => {
                time::parse(text).map_err(|what| format!("the time of recording, {text:?}: {what}"))
            }
        }
    }

    /// The event's version, if the line has one.
    ///
    /// # Errors
    ///
    /// If the version is malformed.
    pub fn number(&self) -> Result<Option<u64>, String> {
        match self.version.as_deref().map(|text| (text, text.parse())) {
            None => Ok(None),
            Some((_, Ok(version @ 1..))) => Ok(Some(version)),
            Some((text, _)) => Err(format!("\"version\" must be a number from 1, found {text}")),
        }
    }

    /// Gives the event an id that follows from its place, unless the line gives it one: a UUID v5 in
    /// the namespace [`DERIVED`] over, in this order, the length of `source` and `source`, the length of
    /// the stream's name and the name (lengths as 4 bytes, big-endian), and `number` in decimal.
    pub fn derive_id(&mut self, source: &str, number: u64) {
        let mut name = Vec::with_capacity(source.len() + self.stream.len() + 28);
        for part in [source, &self.stream] {
            name.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            name.extend_from_slice(part.as_bytes());
        }
        name.extend_from_slice(number.to_string().as_bytes());
        self.id.get_or_insert_with(|| Uuid::new_v5(&DERIVED, &name));
    }

    /// An estimate of the event's size in memory and in the log, in bytes.
    pub fn size(&self) -> usize {
        const OVERHEAD: usize = 128;
        let tags: usize = self.tags.iter().map(String::len).sum();
        let names = self.stream.len() + self.event_type.len();
        OVERHEAD + names + tags + self.data.len() + self.metadata.len()
    }

    /// Checks the limits that are the same for every store.
    pub(crate) fn checked(self) -> Result<Self, String> {
        if self.stream.is_empty() {
            return Err("\"stream\" is empty".into());
        }
        check_size("stream", self.stream.len(), MAX_STREAM)?;
        check_size("type", self.event_type.len(), MAX_TYPE)?;
        let lengths = if self.tags.iter().any(|tag| tag.len() > 255) { 2 } else { 1 };
        let tags: usize = self.tags.iter().map(|tag| tag.len() + lengths).sum();
        check_size("tags", tags, MAX_TAGS)?;
        Ok(self)
    }
}

fn check_size(key: &str, size: usize, max: usize) -> Result<(), String> {
    if size > max {
        return Err(format!("\"{key}\" takes {size} bytes, the limit is {max}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines;

    fn record(rest: &str) -> Record {
        let line = format!("{{\"stream\":\"a\",\"type\":\"T\",\"data\":1{rest}}}");
        lines::decode(line.as_bytes()).unwrap()
    }

    #[test]
    fn derived_id_follows_from_source_stream_and_number_alone() {
        let derived = |rest: &str, source: &str, number| {
            let mut record = record(rest);
            record.derive_id(source, number);
            record.id.unwrap()
        };
        let first = derived("", "", 1);
        assert_eq!(first, derived(",\"tags\":[\"x\"],\"version\":7", "", 1));
        assert_eq!(first.get_version_num(), 5);
        let other = [derived("", "", 2), derived("", "x", 1), derived("", "", 11)];
        assert!(!other.contains(&first));
        // The exact bytes that are hashed must never change.
        assert_eq!(first, Uuid::new_v5(&DERIVED, b"\0\0\0\0\0\0\0\x01a1"));
        assert_eq!(other[1], Uuid::new_v5(&DERIVED, b"\0\0\0\x01x\0\0\0\x01a1"));
        let own = "7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11";
        assert_eq!(derived(&format!(",\"id\":\"{own}\""), "", 1).to_string(), own);
    }

    #[test]
    fn time_and_number_are_read_if_asked_for() {
        let time = record(",\"recorded_at\":\"2020-01-01T00:00:00.000001Z\"").time();
        assert_eq!(time, Ok(Timestamp::from_micros(1_577_836_800_000_001)));
        for (rest, what) in [("", "missing"), (",\"recorded_at\":\"noon\"", "\"noon\"")] {
            assert!(record(rest).time().unwrap_err().contains(what));
        }
        assert!(record(",\"recorded_at\":5").time().is_err());
        assert_eq!(record(",\"version\":5").number(), Ok(Some(5)));
        assert_eq!(record("").number(), Ok(None));
        assert_eq!(record(",\"version\":null").number(), Ok(None));
        for bad in ["0", "-1", "\"1\"", "1.5", "[]"] {
            assert!(record(&format!(",\"version\":{bad}")).number().is_err(), "{bad}");
        }
    }
}
