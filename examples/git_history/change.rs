//! A change of one path, and the event that records it.
//!
//! ```json
//! {"new":{"mode":"100644","oid":"e69de29b…"}}                                    Added
//! {"old":{"mode":"100644","oid":"e69de29b…"},"new":{"mode":"100755","oid":"…"}}  Modified, TypeChanged
//! {"old":{"mode":"100755","oid":"…"}}                                            Deleted
//! ```
//!
//! with `"path"` beside them where the stream's name cannot hold it. The metadata is the same
//! for all events of a commit:
//!
//! ```json
//! {"commit":"1c5fd26b…","author":{"name":"Ann","email":"ann@example.org","time":"1700000000 +0530"}}
//! ```
//!
//! The time is git's own, seconds since the epoch and the author's offset from UTC, as written in
//! the commit: a wrong clock or an offset that does not exist is kept too.
//!
//! Owns the contents of an event, in both directions. Must never access git or the store.

use annals::{Bytes, NewEvent};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::paths;

/// The entry at a path at one time: a file, a symbolic link or a submodule's commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Six octal digits, as git prints them.
    pub(crate) mode: String,
    /// The hash of the blob, or of the submodule's commit.
    pub(crate) oid: String,
}

/// What became of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Added { new: Entry },
    Modified { old: Entry, new: Entry },
    Deleted { old: Entry },
    TypeChanged { old: Entry, new: Entry },
}

/// The change of one path by one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: Vec<u8>,
    pub(crate) act: Act,
}

/// The header of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) commit: String,
    pub(crate) author: Author,
}

/// The author of a commit, and the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Author {
    pub(crate) name: Text,
    pub(crate) email: Text,
    pub(crate) time: Text,
}

/// Bytes in JSON: a string if they are UTF-8, else `{"escaped":"J%F6rg"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    Plain(String),
    Escaped { escaped: String },
}

#[derive(Serialize, Deserialize)]
struct Data {
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Text>,
}

impl Text {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Plain(text.to_owned()),
            Err(_) => Self::Escaped { escaped: paths::escape(bytes) },
        }
    }

    fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(text) => Some(text.into_bytes()),
            Self::Escaped { escaped } => paths::unescape(&escaped),
        }
    }
}

impl Metadata {
    pub(crate) fn to_json(&self) -> Result<Bytes> {
        Ok(serde_json::to_vec(self)?.into())
    }

    pub(crate) fn from_json(json: &[u8]) -> Result<Self> {
        Ok(serde_json::from_slice(json)?)
    }
}

impl Act {
    fn event_type(&self) -> &'static str {
        match self {
            Self::Added { .. } => "Added",
            Self::Modified { .. } => "Modified",
            Self::Deleted { .. } => "Deleted",
            Self::TypeChanged { .. } => "TypeChanged",
        }
    }

    fn new(event_type: &str, old: Option<Entry>, new: Option<Entry>) -> Result<Self> {
        match (event_type, old, new) {
            ("Added", None, Some(new)) => Ok(Self::Added { new }),
            ("Modified", Some(old), Some(new)) => Ok(Self::Modified { old, new }),
            ("Deleted", Some(old), None) => Ok(Self::Deleted { old }),
            ("TypeChanged", Some(old), Some(new)) => Ok(Self::TypeChanged { old, new }),
            (_, old, new) => Err(format!(
                "an event of type {event_type:?} {} an old entry and {} a new one",
                if old.is_some() { "with" } else { "without" },
                if new.is_some() { "with" } else { "without" },
            )
            .into()),
        }
    }

    /// The path's entry before.
    pub(crate) fn old(&self) -> Option<&Entry> {
        match self {
            Self::Added { .. } => None,
            Self::Modified { old, .. } | Self::Deleted { old } | Self::TypeChanged { old, .. } => {
                Some(old)
            }
        }
    }

    /// The path's entry from now on.
    pub(crate) fn into_new(self) -> Option<Entry> {
        match self {
            Self::Added { new } | Self::Modified { new, .. } | Self::TypeChanged { new, .. } => {
                Some(new)
            }
            Self::Deleted { .. } => None,
        }
    }
}

impl Change {
    /// The stream this belongs to, and the event.
    pub(crate) fn into_event(self, metadata: Bytes) -> Result<(String, NewEvent)> {
        let stream = paths::stream_of(&self.path);
        let path = paths::is_carried_in_data(&stream).then(|| Text::new(&self.path));
        let event_type = self.act.event_type();
        let data = Data { old: self.act.old().cloned(), new: self.act.into_new(), path };
        Ok((stream, NewEvent::json(event_type, &data)?.metadata(metadata)))
    }

    /// What [`Change::into_event`] was given.
    pub(crate) fn from_event(stream: &str, event_type: &str, data: &[u8]) -> Result<Self> {
        let Data { old, new, path } = serde_json::from_slice(data)?;
        let path = paths::path_of(stream, path.and_then(Text::into_bytes))
            .ok_or_else(|| format!("stream {stream:?} is not named after a path"))?;
        Ok(Self { path, act: Act::new(event_type, old, new)? })
    }
}
