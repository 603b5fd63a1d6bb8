//! The listing of streams.

use std::collections::btree_map;
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::index::Head;

/// A listing of the streams that have visible events, by name.
#[derive(Debug, Clone)]
pub struct Streams {
    engine: Arc<Engine>,
    prefix: String,
}

/// A stream of a listing.
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
}

/// The streams of a listing, one by one.
#[derive(Debug)]
pub struct StreamNames {
    engine: Arc<Engine>,
    visible: u64,
    heads: btree_map::IntoIter<Box<str>, Head>,
    failed: Option<Error>,
}

impl Streams {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, prefix: String::new() }
    }

    /// Only streams whose name begins with this.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }
}

impl IntoIterator for Streams {
    type Item = Result<StreamInfo>;
    type IntoIter = StreamNames;

    fn into_iter(self) -> StreamNames {
        let engine = self.engine;
        let listed = engine.check_open().and_then(|()| engine.refresh()).and_then(|()| {
            let list = |catalog: &crate::catalog::Catalog| {
                catalog.heads.list(&self.prefix).map_err(crate::catalog::LookupError::Heads)
            };
            engine.lookup(list)
        });
        let visible = engine.visible(false);
        let (heads, failed) = match listed {
            Ok(heads) => (heads, None),
            Err(error) => (std::collections::BTreeMap::new(), Some(error)),
        };
        StreamNames { engine, visible, heads: heads.into_iter(), failed }
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
            let limited =
                self.engine.lookup(|catalog| catalog.limit_head(head, &name, self.visible));
            match limited {
                // Its first events are not visible yet.
                Ok(head) if head.version == 0 => {}
                Ok(head) => {
                    return Some(Ok(StreamInfo {
                        name: name.into(),
                        version: head.version,
                        last_position: Position::new(head.last_position),
                    }));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
