//! The listing of streams.

use std::collections::{BTreeMap, btree_map};
use std::iter::FusedIterator;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{Position, StreamMetadata, category_of};
use crate::index::Head;

/// A listing of the streams that show events, by name.
#[derive(Debug, Clone)]
pub struct Streams {
    engine: Arc<Engine>,
    prefix: String,
    category: Option<String>,
    include_hidden: bool,
}

/// What is known of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// The number of its events.
    pub version: u64,
    /// The position of its last event.
    pub last_position: Position,
    /// The first version that truncation and its metadata's count leave; above `version`: none.
    pub first_version: u64,
    /// Whether reads skip all of it.
    pub archived: bool,
    /// How much of it is shown.
    pub metadata: StreamMetadata,
}

/// The streams of a listing, one by one.
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

    /// Only streams whose name begins with this.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only streams of this category.
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.category = Some(category.into());
        self
    }

    /// Also streams that are archived, or truncated to their end.
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
        // Names of a category begin with it.
        let prefix = match &self.category {
            Some(category) if category.len() > self.prefix.len() => category,
            _ => &self.prefix,
        };
        let listed = engine.check_open().and_then(|()| engine.refresh()).and_then(|()| {
            let list = |catalog: &crate::catalog::Catalog| {
                catalog.heads.list(prefix).map_err(crate::catalog::LookupError::Heads)
            };
            engine.contents().lookup(list)
        });
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
            let limited = self
                .engine
                .contents()
                .lookup(|catalog| catalog.limit_head(head, &name, self.visible));
            match limited {
                // Its first events are not visible yet.
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

/// Puts together what is known of a stream with this head.
pub(crate) fn stream_info(engine: &Engine, name: String, head: Head) -> StreamInfo {
    let rules = engine.contents().with_metadata(|metadata| metadata.rules(&name));
    StreamInfo {
        name,
        version: head.version,
        last_position: Position::new(head.last_position),
        first_version: rules.first_version(head.version),
        archived: rules.archived,
        metadata: StreamMetadata::from_limits(rules.max_age, rules.max_count),
    }
}
