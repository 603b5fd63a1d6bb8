//! The listing of streams.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::iter::FusedIterator;
use std::sync::Arc;

use super::by_name::{ByName, Collected, FIRST_PART};
use crate::catalog::{FirstHeads, Unsealed};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{Position, StreamMetadata, category_of};
use crate::index::Head;
use crate::index::names::NameRange;

/// A listing of the streams that have visible events, by name.
///
/// Names are looked up in pages. Each page of the streams with events in segments that are not sealed is 32 times as
/// long as the one before, because it costs a look at all of them.
#[derive(Debug, Clone)]
pub struct Streams {
    engine: Arc<Engine>,
    prefix: String,
    category: Option<String>,
    after: Option<String>,
    limit: u64,
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
    left: u64,
    names: ByName<Head>,
    failed: Option<Error>,
}

impl Streams {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            prefix: String::new(),
            category: None,
            after: None,
            limit: u64::MAX,
            include_hidden: false,
        }
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

    /// Lists only streams whose names come after `name`, in the order of their bytes: the next page, if it is the last
    /// name of the one before. A page costs its names and a search in each index.
    pub fn after(mut self, name: impl Into<String>) -> Self {
        self.after = Some(name.into());
        self
    }

    /// Lists at most this number of streams, the first ones by name.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// Includes streams that are archived, or truncated to their end.
    pub fn include_hidden(mut self) -> Self {
        self.include_hidden = true;
        self
    }

    /// The `most` streams with the most events, hidden events included, those with more events first, and by name among
    /// equals.
    ///
    /// All streams of the listing are looked at. Memory holds `most` of them, and the names of those with events in segments
    /// that are not sealed.
    pub fn largest(self, most: usize) -> Result<Vec<StreamInfo>> {
        self.first_by(most, |head| head.version)
    }

    /// The `most` streams that were appended to last, the last one first.
    ///
    /// All streams of the listing are looked at. Memory holds `most` of them, and the names of those with events in segments
    /// that are not sealed.
    pub fn last_changed(self, most: usize) -> Result<Vec<StreamInfo>> {
        self.first_by(most, |head| head.last_position)
    }

    fn first_by(self, most: usize, rank: fn(&Head) -> u64) -> Result<Vec<StreamInfo>> {
        let mut found: BinaryHeap<Ranked> = BinaryHeap::new();
        // A limit counts streams that are shown, whatever their rank.
        let shows_all = self.limit < u64::MAX;
        let mut listed = self.begin(usize::MAX);
        loop {
            let least = found.peek().filter(|_| found.len() >= most).map(|ranked| ranked.rank);
            // Of streams with one rank, those that come first are kept.
            let is_wanted = |head: &Head| shows_all || least.is_none_or(|least| rank(head) > least);
            let Some(info) = listed.following(is_wanted).transpose()? else { break };
            let head = Head { version: info.version, last_position: info.last_position.get() };
            found.push(Ranked { rank: rank(&head), info });
            if found.len() > most {
                found.pop();
            }
        }
        Ok(found.into_sorted_vec().into_iter().map(|ranked| ranked.info).collect())
    }

    /// Begins the listing with the first `part` streams, at least, that have events in segments that are not sealed.
    fn begin(self, part: usize) -> StreamNames {
        let range = NameRange { prefix: self.common_prefix(), after: self.after.as_deref() };
        let engine = &self.engine;
        let ready = engine.check_open().and_then(|()| engine.refresh());
        let visible = engine.visible(false);
        let (collected, failed) = match ready.and_then(|()| collect(engine, &range, part)) {
            Ok(collected) => (collected, None),
            Err(error) => (Collected::default(), Some(error)),
        };
        let names = ByName::new(&range, collected);
        StreamNames {
            engine: self.engine,
            visible,
            prefix: self.prefix,
            category: self.category,
            include_hidden: self.include_hidden,
            left: self.limit,
            names,
            failed,
        }
    }

    /// The prefix that all names have: those of a category's streams begin with the category.
    fn common_prefix(&self) -> &str {
        match &self.category {
            Some(category) if category.len() > self.prefix.len() => category,
            _ => &self.prefix,
        }
    }
}

/// A stream and a number: a larger number comes first, and then the smaller name.
#[derive(PartialEq, Eq)]
struct Ranked {
    rank: u64,
    info: StreamInfo,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank.cmp(&self.rank).then_with(|| self.info.name.cmp(&other.info.name))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl IntoIterator for Streams {
    type Item = Result<StreamInfo>;
    type IntoIter = StreamNames;

    fn into_iter(self) -> StreamNames {
        self.begin(FIRST_PART)
    }
}

/// The first streams of a range in segments that are not sealed, at least `most` or all.
fn collect(engine: &Engine, range: &NameRange<'_>, most: usize) -> Result<Collected<Head>> {
    let known = engine.contents().unsealed();
    let FirstHeads { heads, has_more } = engine.contents().unsealed_streams(range, most)?;
    Ok(Collected { known, names: heads, has_more })
}

impl StreamNames {
    /// The next stream of the listing whose head is wanted.
    fn advance(&mut self, is_wanted: impl Fn(&Head) -> bool) -> Result<Option<StreamInfo>> {
        let contents = self.engine.contents();
        loop {
            let fetch = |known: &Unsealed, range: &NameRange<'_>, most| {
                contents.sealed_streams(known, range, most)
            };
            let again = |range: &NameRange<'_>, most| collect(&self.engine, range, most);
            // A segment can be sealed before an earlier one is, and an index can be built again in memory: either head may
            // be the newer one.
            let newest = |sealed: Head, unsealed: Head| {
                if sealed.version > unsealed.version { sealed } else { unsealed }
            };
            let Some((name, head)) = self.names.next(fetch, again, newest)? else {
                return Ok(None);
            };
            let wanted = self.category.as_deref().is_none_or(|c| c == category_of(&name));
            if !wanted || !name.starts_with(&self.prefix) {
                continue;
            }
            let head = contents.limit_head(head, &name, self.visible)?;
            // Events of this stream exist, but none is visible yet.
            if head.version == 0 || !is_wanted(&head) {
                continue;
            }
            let info = stream_info(&self.engine, name.into(), head);
            let hidden = info.archived || info.first_version > info.version;
            if self.include_hidden || !hidden {
                return Ok(Some(info));
            }
        }
    }

    /// The next one, or the failure that ends the listing.
    fn following(&mut self, is_wanted: impl Fn(&Head) -> bool) -> Option<Result<StreamInfo>> {
        if self.left == 0 {
            return None;
        }
        let found = match self.failed.take() {
            Some(error) => Err(error),
            None => self.advance(is_wanted),
        };
        self.left -= 1;
        if !matches!(found, Ok(Some(_))) {
            self.left = 0;
        }
        found.transpose()
    }
}

impl Iterator for StreamNames {
    type Item = Result<StreamInfo>;

    fn next(&mut self) -> Option<Self::Item> {
        self.following(|_| true)
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
