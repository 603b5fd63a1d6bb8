//! What one line in means, whichever format it came in.
//!
//! Owns the decoded event and the limits that can be told from the line alone. Must never know
//! where the line came from.

use std::fmt;

use annals::{Bytes, ContentType, NewEvent, Uuid};

/// The most bytes a stream's name takes.
const MAX_STREAM: usize = 1024;
/// The most bytes a type takes, and a tag.
const MAX_NAME: usize = 255;
/// The most tags of an event.
const MAX_TAGS: usize = 64;

/// An event that is to be appended, as its line gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The stream it goes to.
    pub stream: String,
    /// Its type.
    pub event_type: String,
    /// Its id, if the line gives one.
    pub id: Option<Uuid>,
    /// Its data, byte for byte.
    pub data: Bytes,
    /// What its data is.
    pub content_type: ContentType,
    /// Its metadata, byte for byte; empty = none.
    pub metadata: Bytes,
    /// Its tags, in their order.
    pub tags: Vec<String>,
    /// The version of its data's schema.
    pub schema_version: u16,
    /// The commit that the line says it belongs to.
    pub commit: Option<CommitKey>,
}

/// The value of a line's `commit` key. Strings are equal by their characters, numbers by the
/// way they are written, so that no rounding joins two commits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommitKey(String);

impl CommitKey {
    /// The key that a JSON scalar's source text stands for; `null` is none.
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

/// Why a line is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// What is wrong with it.
    pub what: String,
    /// The commit it belongs to, as far as that can be told.
    pub commit: CommitOf,
}

/// The commit of a line that is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOf {
    /// The line is too broken to tell.
    Unknown,
    /// The line says so; `None` = it names no commit.
    Known(Option<CommitKey>),
}

impl BadLine {
    /// A line that is too broken to tell its commit.
    pub fn unreadable(what: impl Into<String>) -> Self {
        Self { what: what.into(), commit: CommitOf::Unknown }
    }
}

impl Record {
    /// The event in the library's shape.
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

    /// About how many bytes the event takes, in memory and in the log.
    pub fn size(&self) -> usize {
        const OVERHEAD: usize = 128;
        let tags: usize = self.tags.iter().map(String::len).sum();
        let names = self.stream.len() + self.event_type.len();
        OVERHEAD + names + tags + self.data.len() + self.metadata.len()
    }

    /// Checks the limits that no store setting changes.
    pub(crate) fn checked(self) -> Result<Self, String> {
        check_name("stream", &self.stream, MAX_STREAM)?;
        check_name("type", &self.event_type, MAX_NAME)?;
        if self.tags.len() > MAX_TAGS {
            return Err(format!("\"tags\" has {} tags, at most {MAX_TAGS} fit", self.tags.len()));
        }
        for tag in &self.tags {
            check_name("tags", tag, MAX_NAME)?;
        }
        Ok(self)
    }
}

fn check_name(key: &str, name: &str, max: usize) -> Result<(), String> {
    match name.len() {
        0 => Err(format!("\"{key}\" is empty")),
        size if size > max => Err(format!("\"{key}\" takes {size} bytes, the limit is {max}")),
        _ => Ok(()),
    }
}
