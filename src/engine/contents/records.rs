//! Looks up records: first among the changes that are in no index file, then in index files, newest first.
//!
//! Must never read a file with a lock held.

use std::sync::Arc;

use bytes::Bytes;
use smol_str::SmolStr;

use super::Contents;
use crate::catalog::{Catalog, Lookup, LookupError, Part, PartIndex, damaged, units};
use crate::error::{Error, Result};
use crate::format::metadata::RecordEntry;
use crate::index::heads::HeadTable;
use crate::index::record_table::RecordKey;
use crate::index::records::{PageStart, RecordPage, add_newest, keep_first};
use crate::log::segment::Segment;

/// The newest change of a record in segments after `after` and below `below`, if index files have it. After
/// `most` index files it stops, and returns the segment below which to continue.
fn record_in(
    parts: &[Part],
    key: &RecordKey<'_>,
    (after, below): (u64, u64),
    most: usize,
) -> Lookup<(Option<RecordEntry>, Option<u64>)> {
    let (mut asked, mut first) = (0, below);
    for part in units(parts) {
        // Changes in segments that are not sealed were asked before.
        let PartIndex::Sealed(index) = &part.index else { continue };
        if *index.segments().start() >= below {
            continue;
        }
        if *index.segments().end() <= after {
            break;
        }
        if asked == most {
            return Ok((None, Some(first)));
        }
        if let Some(entry) = index.record(key).map_err(|_| damaged(index))? {
            return Ok((Some(entry), None));
        }
        (asked, first) = (asked + 1, *index.segments().start());
    }
    Ok((None, None))
}

/// Adds up to `most` records of each index file.
fn page_in(
    parts: &[Part],
    start: PageStart<'_>,
    most: usize,
    mut page: RecordPage,
) -> Lookup<RecordPage> {
    for part in units(parts) {
        let PartIndex::Sealed(index) = &part.index else { continue };
        let add = |key: &str, entry| add_newest(&mut page, &SmolStr::new(key), entry);
        index.record_page(start, most, add).map_err(|_| damaged(index))?;
        keep_first(&mut page, most);
    }
    Ok(page)
}

impl Contents {
    /// The newest visible change of a record, also of one that is deleted.
    pub(crate) fn record(&self, key: &str) -> Result<Option<RecordEntry>> {
        // Asked first: a segment's index file is in use before its records are dropped here.
        let recent = self.with_metadata(|metadata| metadata.records().get(key));
        let (key, most) = (RecordKey::new(key), self.most_asked_at_once());
        // A segment whose index file is missing is in memory although newer ones have theirs.
        let after = |entry: Option<RecordEntry>| entry.map_or(0, |entry| entry.segment);
        let (newest, (mut found, mut rest)) = self.lookup(
            |catalog| Ok((catalog.base().cloned(), Arc::clone(&catalog.parts))),
            |(base, parts): (Option<Arc<HeadTable>>, _)| {
                let newest = match base {
                    Some(base) if after(recent) < base.meta.segment => {
                        let found = base.record(&key).map_err(LookupError::Heads)?;
                        found.into_iter().chain(recent).max_by_key(|entry| entry.version)
                    }
                    _ => recent,
                };
                Ok((newest, record_in(&parts, &key, (after(newest), u64::MAX), most)?))
            },
        )?;
        while let Some(below) = rest {
            (found, rest) = self.lookup(
                |catalog| Ok(Arc::clone(&catalog.parts)),
                |parts| record_in(&parts, &key, (after(newest), below), most),
            )?;
        }
        Ok(found.or(newest))
    }

    /// Up to `most` records by key, deleted ones included, from `start` on.
    pub(crate) fn record_page(&self, start: PageStart<'_>, most: usize) -> Result<RecordPage> {
        let recent = self.with_metadata(|metadata| metadata.records().page(start, most));
        self.lookup(
            |catalog| Ok((catalog.base().cloned(), Arc::clone(&catalog.parts))),
            |(base, parts): (Option<Arc<HeadTable>>, _)| {
                let mut page = recent.clone();
                if let Some(base) = base {
                    let add = |key: &str, entry| add_newest(&mut page, &SmolStr::new(key), entry);
                    base.record_page(start, most, add).map_err(LookupError::Heads)?;
                    keep_first(&mut page, most);
                }
                page_in(&parts, start, most, page)
            },
        )
    }

    /// The value of a record, from the log.
    pub(crate) fn record_value(&self, key: &str, entry: &RecordEntry) -> Result<Bytes> {
        let segment = self.with_catalog(|catalog| {
            segment_of(catalog, entry.segment).ok_or_else(|| first_after(catalog, entry.segment))
        });
        match segment {
            Ok(segment) => segment.record_value(key, entry, self.shared.options().checksums),
            Err(next_position) => Err(Error::Corrupt {
                file: self.shared.dir().segment_path(entry.segment),
                offset: entry.offset.into(),
                expected_position: next_position.into(),
                what: format!("there is no such segment, in which an index has record {key:?}"),
                evidence: None,
            }),
        }
    }
}

/// The position of the first event that follows the segment `number`, if there were one.
fn first_after(catalog: &Catalog, number: u64) -> u64 {
    let at = catalog.parts.partition_point(|part| part.segment.number() < number);
    let next = catalog.parts.get(at).map_or(&catalog.active.segment, |part| &part.segment);
    next.base_position
}

fn segment_of(catalog: &Catalog, number: u64) -> Option<Arc<Segment>> {
    if catalog.active.segment.number() == number {
        return Some(Arc::clone(&catalog.active.segment));
    }
    let at = catalog.parts.binary_search_by_key(&number, |part| part.segment.number()).ok()?;
    Some(Arc::clone(&catalog.parts[at].segment))
}
