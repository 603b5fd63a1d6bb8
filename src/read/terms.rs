//! The event types, categories and tags of a store, with counts.
//!
//! Owns the lists. Must never read the records of a sealed segment: its index has the counts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::FusedIterator;
use std::sync::Arc;

use super::by_name::{ByName, Collected};
use crate::catalog::Unsealed;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::index::Terms;
use crate::index::names::NameRange;

/// The event types, categories or tags of a store, by name, each with the number of its events:
/// [`Store::event_types`](crate::Store::event_types), [`Store::categories`](crate::Store::categories) and
/// [`Store::tags`](crate::Store::tags).
///
/// Every visible event counts once for its type, once for its category and once for each of its tags, however often
/// it carries a tag. Events count for ever: also those that truncation, archiving or a stream's metadata hides from
/// reads. [`ReadAll::count`](crate::ReadAll::count) counts what reads show.
///
/// The indexes of sealed segments have the counts. Of the segments that are not sealed, all records are read when the
/// list begins; they are bounded by [`Options::segment_size`](crate::Options::segment_size), of which at most nine are
/// not sealed and usually one. Sealed segments cost a page of names at a time, whatever their number.
///
/// ```
/// use annals::{ExpectedVersion, NewEvent, Store};
///
/// # let dir = tempfile::tempdir()?;
/// let store = Store::open(dir.path().join("ledger"))?;
/// let opened = NewEvent::new("Opened", "").tag("owner:ann");
/// store.append("account-1", ExpectedVersion::NoStream, [opened, NewEvent::new("Deposited", "")])?;
/// store.append("account-2", ExpectedVersion::NoStream, [NewEvent::new("Opened", "")])?;
///
/// let types = store.event_types().into_iter().collect::<annals::Result<Vec<_>>>()?;
/// assert_eq!((types[0].name.as_str(), types[0].events), ("Deposited", 1));
/// assert_eq!((types[1].name.as_str(), types[1].events), ("Opened", 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TermCounts {
    engine: Arc<Engine>,
    kind: Terms,
    prefix: String,
    after: Option<String>,
    limit: u64,
}

/// An event type, category or tag, and the number of its events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TermCount {
    /// The type, the category or the tag.
    pub name: String,
    /// The number of events, hidden ones included.
    pub events: u64,
}

/// An iterator over the event types, categories or tags of a store.
#[derive(Debug)]
pub struct TermCountsIter {
    engine: Arc<Engine>,
    kind: Terms,
    /// Events count up to this position.
    upto: u64,
    left: u64,
    names: ByName<u64>,
    failed: Option<Error>,
}

impl TermCounts {
    pub(crate) fn new(engine: Arc<Engine>, kind: Terms) -> Self {
        Self { engine, kind, prefix: String::new(), after: None, limit: u64::MAX }
    }

    /// Lists only names that begin with `prefix`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Lists only names after `name`, in the order of their bytes: the next page, if it is the last name of the one
    /// before.
    pub fn after(mut self, name: impl Into<String>) -> Self {
        self.after = Some(name.into());
        self
    }

    /// Lists at most this number of names.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// The `most` names with the most events, those with more events first, and by name among equals. Memory is bounded by
    /// `most`, but all names in the range are looked at; [`TermCounts::limit`] bounds those.
    pub fn most_frequent(self, most: usize) -> Result<Vec<TermCount>> {
        let mut found = BinaryHeap::new();
        for term in self {
            let TermCount { name, events } = term?;
            found.push((Reverse(events), name));
            if found.len() > most {
                found.pop();
            }
        }
        let in_order = found.into_sorted_vec().into_iter();
        Ok(in_order.map(|(Reverse(events), name)| TermCount { name, events }).collect())
    }

    fn start(&self, range: &NameRange<'_>) -> Result<(u64, ByName<u64>)> {
        let engine = &self.engine;
        engine.check_open()?;
        engine.refresh()?;
        let head = engine.visible(false);
        Ok((head, ByName::new(range, collect(engine, self.kind, range, head)?)))
    }
}

/// Counts the events in segments that are not sealed. They count once, also if these are sealed later.
fn collect(
    engine: &Engine,
    kind: Terms,
    range: &NameRange<'_>,
    head: u64,
) -> Result<Collected<u64>> {
    let known = engine.contents().unsealed();
    let counts = engine.contents().unsealed_terms(&known, kind, range, head)?;
    Ok(Collected { known, names: counts.into_iter().collect(), has_more: false })
}

impl IntoIterator for TermCounts {
    type Item = Result<TermCount>;
    type IntoIter = TermCountsIter;

    fn into_iter(self) -> TermCountsIter {
        let range = NameRange { prefix: &self.prefix, after: self.after.as_deref() };
        let (upto, names, failed) = match self.start(&range) {
            Ok((upto, names)) => (upto, names, None),
            Err(error) => (0, ByName::new(&range, Collected::default()), Some(error)),
        };
        TermCountsIter {
            engine: self.engine,
            kind: self.kind,
            upto,
            left: self.limit,
            names,
            failed,
        }
    }
}

impl Iterator for TermCountsIter {
    type Item = Result<TermCount>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.left = 0;
            return Some(Err(error));
        }
        if self.left == 0 {
            return None;
        }
        let (contents, kind, upto) = (self.engine.contents(), self.kind, self.upto);
        let fetch = |known: &Unsealed, range: &NameRange<'_>, most| {
            contents.sealed_terms(known, kind, range, upto, most)
        };
        let again = |range: &NameRange<'_>, _| collect(&self.engine, kind, range, upto);
        match self.names.next(fetch, again, |older, newer| older + newer) {
            Ok(Some((name, events))) => {
                self.left -= 1;
                Some(Ok(TermCount { name: name.into(), events }))
            }
            Ok(None) => None,
            Err(error) => {
                self.left = 0;
                Some(Err(error))
            }
        }
    }
}

impl FusedIterator for TermCountsIter {}
