//! The listing of streams.

use std::collections::{BTreeMap, btree_map};
use std::iter::FusedIterator;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{Position, StreamMetadata, category_of};
use crate::index::Head;

/// A listing of the streams that have visible events, by name.
#[derive(Debug, Clone)]
pub struct Streams {
    engine: Arc<Engine>,
    prefix: String,
    category: Option<String>,
    include_hidden: bool,
}

/// Information about a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamInfo {
    /// The name of the stream.
    pub name: String,
    /// The number of its events, hidden ones included.
    pub version: u64,
    /// The position of its last event.
    pub last_position: Position,
    /// The first version that truncation and the limit on the count leave visible; greater than
    /// `version`: none.
    pub first_version: u64,
    /// Whether the stream is archived, so that reads skip all of it.
    pub archived: bool,
    /// The limits on the events that reads show.
    pub metadata: StreamMetadata,
}

/// An iterator over the streams of a listing.
#[derive(Debug)]
pub struct StreamNames {
    engine: Arc<Engine>,
    visible: u64,
    prefix: String,
    category: Option<String>,
    include_hidden: bool,
    heads: btree_map::IntoIter<Box<str>, Head>,
    failed: Option<Error>,
}

impl Streams {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, prefix: String::new(), category: None, include_hidden: false }
    }

    /// Lists only streams whose names begin with `prefix`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Lists only streams of this category.
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.category = Some(category.into());
        self
    }

    /// Includes streams that are archived, or truncated to their end.
    pub fn include_hidden(mut self) -> Self {
        self.include_hidden = true;
        self
    }
}

impl IntoIterator for Streams {
    type Item = Result<StreamInfo>;
    type IntoIter = StreamNames;

    fn into_iter(self) -> StreamNames {
        let engine = self.engine;
        // The names of a category's streams begin with the category.
        let prefix = match &self.category {
            Some(category) if category.len() > self.prefix.len() => category,
            _ => &self.prefix,
        };
        let listed = engine.check_open().and_then(|()| engine.refresh());
        let listed = listed.and_then(|()| engine.contents().list_streams(prefix));
        let visible = engine.visible(false);
        let (heads, failed) = match listed {
            Ok(heads) => (heads, None),
            Err(error) => (BTreeMap::new(), Some(error)),
        };
        let (category, include_hidden) = (self.category, self.include_hidden);
        let prefix = self.prefix;
        StreamNames {
            engine,
            visible,
            prefix,
            category,
            include_hidden,
            heads: heads.into_iter(),
            failed,
        }
    }
}

impl Iterator for StreamNames {
    type Item = Result<StreamInfo>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        loop {
            let (name, head) = self.heads.next()?;
            let wanted = self.category.as_deref().is_none_or(|c| c == category_of(&name));
            if !wanted || !name.starts_with(&self.prefix) {
                continue;
            }
            let limited = self.engine.contents().limit_head(head, &name, self.visible);
            match limited {
                // Events of this stream exist, but none is visible yet.
                Ok(head) if head.version == 0 => {}
                Ok(head) => {
                    let info = stream_info(&self.engine, name.into(), head);
                    let hidden = info.archived || info.first_version > info.version;
                    if self.include_hidden || !hidden {
                        return Some(Ok(info));
                    }
                }
                Err(error) => {
                    self.heads = BTreeMap::new().into_iter();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl FusedIterator for StreamNames {}

/// The information about a stream that ends at this head.
pub(crate) fn stream_info(engine: &Engine, name: String, head: Head) -> StreamInfo {
    let rules = engine.contents().with_metadata(|metadata| metadata.rules(&name));
    StreamInfo {
        name,
        version: head.version,
        last_position: Position::new(head.last_position),
        first_version: rules.first_version(head.version),
        archived: rules.archived,
        metadata: rules.limits().to_metadata(),
    }
}
