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
use crate::index::record_table::{Match, RecordKey};
use crate::index::records::{PageStart, RecordPage, add_newest, keep_first};
use crate::log::segment::Segment;

/// The newest change of a record in segments after `after` and below `below`, if index files have it. After
/// `most` index files it stops, and returns the segment below which to continue.
fn record_in(
    parts: &[Part],
    key: &RecordKey<'_>,
    (after, below): (u64, u64),
    most: usize,
    by: Match,
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
        if let Some(entry) = index.record(key, by).map_err(|_| damaged(index))? {
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
        Ok(self.find_record(key, false)?.0)
    }

    /// The value and version of a record, unless there is none or it is deleted.
    pub(crate) fn record_with_value(&self, key: &str) -> Result<Option<(Bytes, u64)>> {
        match self.find_record(key, true)? {
            (Some(entry), value) if !entry.deleted => {
                let value = value.map_or_else(|| self.record_value(key, &entry), Ok)?;
                Ok(Some((value, entry.version)))
            }
            _ => Ok(None),
        }
    }

    /// The newest visible change of a record. If it is in a sealed segment and `with_value`, its value too:
    /// looked up with the place of the change, which is faster by two locks and lets the processor read both
    /// at once.
    fn find_record(
        &self,
        key: &str,
        with_value: bool,
    ) -> Result<(Option<RecordEntry>, Option<Bytes>)> {
        // Asked first: a segment's index file is in use before its records are dropped here.
        let recent = self.with_metadata(|metadata| metadata.records().get(key));
        let (hashed, most) = (RecordKey::new(key), self.most_asked_at_once());
        let checksums = self.shared.options().checksums;
        let value_of = |parts: &[Part], found: Option<RecordEntry>| {
            let entry = found.filter(|entry| with_value && !entry.deleted)?;
            let part = part_of(parts, entry.segment)?;
            Some(part.segment.record_value(key, &entry, checksums))
        };
        let in_files = |parts: &[Part], range| {
            if with_value {
                // A place that half a hash leads to is nearly always that of the key, and the log has the key too:
                // the one in the index need not be read.
                let (found, rest) = record_in(parts, &hashed, range, most, Match::HalfHash)?;
                match (found, value_of(parts, found)) {
                    (None, _) => return Ok((None, None, rest)),
                    (found, Some(Ok(value))) => return Ok((found, Some(value), rest)),
                    _ => {}
                }
            }
            let (found, rest) = record_in(parts, &hashed, range, most, Match::Key)?;
            let value = value_of(parts, found).transpose().map_err(LookupError::Store)?;
            Ok((found, value, rest))
        };
        // A segment whose index file is missing is in memory although newer ones have theirs.
        let after = |entry: Option<RecordEntry>| entry.map_or(0, |entry| entry.segment);
        let (newest, (mut found, mut value, mut rest)) = self.lookup(
            |catalog| Ok((catalog.base().cloned(), Arc::clone(&catalog.parts))),
            |(base, parts): (Option<Arc<HeadTable>>, Arc<Vec<Part>>)| {
                let newest = match base {
                    Some(base) if after(recent) < base.meta.segment => {
                        let found = base.record(&hashed).map_err(LookupError::Heads)?;
                        found.into_iter().chain(recent).max_by_key(|entry| entry.version)
                    }
                    _ => recent,
                };
                Ok((newest, in_files(&parts, (after(newest), u64::MAX))?))
            },
        )?;
        while let Some(below) = rest {
            (found, value, rest) = self.lookup(
                |catalog| Ok(Arc::clone(&catalog.parts)),
                |parts| in_files(&parts, (after(newest), below)),
            )?;
        }
        Ok((found.or(newest), value))
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
    part_of(&catalog.parts, number).map(|part| Arc::clone(&part.segment))
}

/// The part with the segment of this number.
fn part_of(parts: &[Part], number: u64) -> Option<&Part> {
    let at = parts.binary_search_by_key(&number, |part| part.segment.number()).ok()?;
    parts.get(at)
}
