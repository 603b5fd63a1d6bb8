//! Finds a stream's head: in the active segment, else in the newest index before it that has the stream.
//!
//! The segments before the active one do not change, so what was found in them without a lock holds until
//! another segment becomes active ([`OlderHeads`]).

use std::collections::HashMap;
use std::sync::Arc;

use super::{Begun, Catalog, Lookup, LookupError, Part, PartIndex, damaged, units};
use crate::format::Defect;
use crate::format::index_file::{Probe, STREAMS, hash_term};
use crate::format::metadata::RecordEntry;
use crate::index::Head;
use crate::index::block_file::Reads;
use crate::index::heads::{HeadTable, HeadsCopy, Slot};
use crate::index::names::NameRange;

/// Heads that were found in the segments before the active one.
#[derive(Debug, Default)]
pub(crate) struct OlderHeads {
    /// The number of the segment that was active.
    active: u64,
    /// Not there for most commits.
    heads: Option<HashMap<Box<str>, Head, foldhash::fast::RandomState>>,
}

impl OlderHeads {
    pub(crate) fn new(active: u64) -> Self {
        Self { active, heads: None }
    }

    pub(crate) fn add(&mut self, stream: &str, head: Head) {
        self.heads.get_or_insert_default().insert(stream.into(), head);
    }

    pub(crate) fn get(&self, stream: &str) -> Option<Head> {
        self.heads.as_ref()?.get(stream).copied()
    }
}

/// Which segments have their changes of records in files, and not in memory alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordFiles {
    /// The newest segment with an index file.
    sealed: Option<u64>,
    /// The segment that the checkpoint of [`Catalog::base`] ends in.
    base: Option<u64>,
}

impl RecordFiles {
    /// Whether no file has a newer change of a record than the one in memory.
    pub(crate) fn are_older(self, recent: Option<&RecordEntry>) -> bool {
        let segment = recent.map_or(0, |recent| recent.segment);
        self.sealed.is_none_or(|sealed| sealed < segment)
            // What follows a checkpoint in its segment is in memory.
            && self.base.is_none_or(|base| base <= segment)
    }
}

impl Catalog {
    /// The stream's head, commits on their way to disk included; goes on with [`head_in`].
    pub(crate) fn head(&self, stream: &str) -> Lookup<Begun<Head>> {
        let found = self.active.heads.get(stream).map_err(LookupError::Heads)?;
        Ok(match found {
            Some(head) => Begun::Done(head),
            None if self.parts.is_empty() => Begun::Done(Head::default()),
            None => self.in_parts(()),
        })
    }

    /// Finds the stream's head, for an append. `None`: it has to be looked up in the segments before the
    /// active one, as `older` does not have it.
    #[inline]
    pub(crate) fn slot(&self, stream: &str, older: &OlderHeads) -> Result<Option<Slot>, Defect> {
        let heads = &self.active.heads;
        if let Some(slot) = heads.find(stream)? {
            return Ok(Some(slot));
        }
        let head = if self.parts.is_empty() {
            Some(Head::default())
        } else if older.active == self.active.segment.number() {
            older.get(stream)
        } else {
            None
        };
        Ok(head.map(|head| heads.older(stream, head)))
    }

    /// The checkpoint that an opening found and whose segment is not sealed: its records are in no index file.
    /// Segments are sealed in order, so that segment is after all sealed ones.
    pub(crate) fn base(&self) -> Option<&Arc<HeadTable>> {
        let frozen = self.parts.iter().rev().map_while(|part| match &part.index {
            PartIndex::Frozen { heads, .. } => Some(heads.base()),
            PartIndex::Sealed(_) => None,
        });
        self.active.heads.base().or_else(|| frozen.flatten().next())
    }

    /// The files that may have records.
    pub(crate) fn record_files(&self) -> RecordFiles {
        let newest = |part: &&Part| matches!(part.index, PartIndex::Sealed(_));
        let sealed = self.parts.iter().rev().find(newest).map(|part| part.segment.number());
        RecordFiles { sealed, base: self.base().map(|base| base.meta.segment) }
    }

    /// The first `most` streams of a range; goes on with [`unsealed_heads_in`].
    pub(crate) fn list_heads(&self, range: &NameRange<'_>, most: usize) -> ListedHeads {
        let active = self.active.heads.first(range, most);
        ListedHeads { parts: Arc::clone(&self.parts), active }
    }
}

/// The stream's head after these parts; version 0 if they have no event of it. With [`Reads::None`], a file
/// that would have to be read is [`Defect::Unread`].
pub(crate) fn head_in(parts: &[Part], stream: &str, reads: Reads) -> Lookup<Head> {
    let hashed = Probe::new(hash_term(STREAMS, stream));
    for part in units(parts) {
        let found = match &part.index {
            PartIndex::Sealed(index) => match index.head(reads, stream, &hashed) {
                Err(unread @ Defect::Unread { .. }) => return Err(LookupError::Heads(unread)),
                found => found.map_err(|_| damaged(index))?,
            },
            PartIndex::Frozen { heads, .. } => heads.get(stream).map_err(LookupError::Heads)?,
        };
        if let Some(head) = found {
            return Ok(head);
        }
    }
    Ok(Head::default())
}

/// A list of streams, of which those in files are still to be read.
#[derive(Debug)]
pub(crate) struct ListedHeads {
    parts: Arc<Vec<Part>>,
    active: HeadsCopy,
}

/// Heads by name, from the beginning of a range.
#[derive(Debug)]
pub(crate) struct FirstHeads {
    pub(crate) heads: Vec<(Box<str>, Head)>,
    /// There may be more after the last of them.
    pub(crate) has_more: bool,
}

/// Reads the first streams of a range with events in segments that are not sealed; the list was made for that range and
/// `most`. They are at least `most`, or all.
pub(crate) fn unsealed_heads_in(
    listed: ListedHeads,
    range: &NameRange<'_>,
    most: usize,
) -> Lookup<FirstHeads> {
    let ListedHeads { parts, active } = listed;
    let mut heads = Vec::new();
    let frozen = parts.iter().filter_map(|part| match &part.index {
        PartIndex::Frozen { heads, .. } => Some(heads),
        PartIndex::Sealed(_) => None,
    });
    // What lies after the first end may be incomplete.
    let mut end: Option<Box<str>> = None;
    for copy in frozen.map(|it| it.first(range, most)).chain([active]) {
        let ends = copy.add_to(&mut heads, range, most).map_err(LookupError::Heads)?;
        end = [end, ends].into_iter().flatten().min();
    }
    if let Some(end) = &end {
        heads.retain(|(name, _)| name <= end);
    }
    // Stable: the newest one of each name stays the last.
    heads.sort_by(|a, b| a.0.cmp(&b.0));
    heads.dedup_by(|newer, kept| {
        newer.0 == kept.0 && {
            kept.1 = newer.1;
            true
        }
    });
    Ok(FirstHeads { heads, has_more: end.is_some() })
}
