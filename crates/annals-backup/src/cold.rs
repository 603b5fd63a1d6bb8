//! Cold segments of a store, read back from its backup.
//!
//! Owns the search for the segment in the manifests. Must never answer that a segment is there unless its objects are.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use annals::Store;
use annals::cold::{ColdSegment, SegmentSource};
use parking_lot::Mutex;

use crate::catalog;
use crate::destination::Destination;
use crate::error::{Error, Result};
use crate::fetch::fetch_segment;
use crate::manifest::SegmentEntry;

/// A backup as the source of cold segments, for [`Options::cold_segments`](annals::Options::cold_segments).
///
/// The store then needs its backup: do not [prune](crate::prune) a branch that holds what is cold, and do not remove the
/// backup before the segments are [back](Store::make_local).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let backups = dir.path().join("backups");
/// use annals::{ExpectedVersion, NewEvent, Options};
/// use annals_backup::{ColdBackup, Destination, ShipOptions, Shipper};
///
/// let to = Destination::open(backups.to_str().unwrap())?;
/// let store = Options::new()
///     .segment_size(Options::MIN_SEGMENT_SIZE)
///     .cold_segments(ColdBackup::new(to.clone()).shared())
///     .open(dir.path().join("ledger"))?;
/// // Full segments beyond 1 MiB are only in the backup.
/// let options = ShipOptions::new().keep_local(1 << 20);
/// let shipper = Shipper::new(store.clone(), to, options)?.start()?;
/// store.append("account-1", ExpectedVersion::Any, [NewEvent::new("Paid", "5")])?;
/// shipper.stop()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ColdBackup {
    from: Destination,
    /// What the manifests were found to list, by number and salt.
    known: Mutex<HashMap<(u64, String), SegmentEntry>>,
}

impl ColdBackup {
    /// Reads from a backup. No request is made before a segment is needed.
    pub fn new(from: Destination) -> Self {
        Self { from, known: Mutex::new(HashMap::new()) }
    }

    /// The form that the options take.
    pub fn shared(self) -> Arc<dyn SegmentSource> {
        Arc::new(self)
    }

    /// The entry of a segment in the newest manifest that lists it. `anew`: what was found before may be outdated.
    fn find(&self, segment: &ColdSegment, anew: bool) -> Result<Option<SegmentEntry>> {
        let key = (segment.number(), format!("{:016x}", segment.salt()));
        let known = self.known.lock().get(&key).cloned();
        if let Some(known) = known.filter(|known| !anew && is_of(segment, known)) {
            return Ok(Some(known));
        }
        let branches = catalog::branches(&self.from)?;
        for &branch in branches.keys().rev() {
            let Some(loaded) = catalog::newest(&self.from, Some(branch))? else { continue };
            let listed = loaded.segments.into_iter().chain(loaded.manifest.ahead);
            let full = listed.filter(|entry| entry.full.is_some());
            let mut known = self.known.lock();
            known.extend(full.map(|entry| ((entry.number, entry.salt.clone()), entry)));
            if let Some(found) = known.get(&key).filter(|found| is_of(segment, found)) {
                return Ok(Some(found.clone()));
            }
        }
        Ok(None)
    }

    fn is_held(&self, segment: &ColdSegment) -> Result<bool> {
        if catalog::store_id(&self.from)? != segment.store_id() {
            return Ok(false);
        }
        let Some(entry) = self.find(segment, true)? else { return Ok(false) };
        for part in &entry.parts {
            if self.from.len(&part.object)? != Some(part.stored) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Passes the bytes of a segment on. Returns whether any were.
    fn read(&self, segment: &ColdSegment, anew: bool, to: &mut dyn Write) -> (bool, Result<()>) {
        let mut passed = false;
        let read = (|| {
            let entry = self.find(segment, anew)?.ok_or_else(|| Error::Damaged {
                object: format!("segment {}", segment.number()),
                position: segment.first_position(),
                why: format!("no manifest of {} lists it", self.from.url()),
            })?;
            fetch_segment(&self.from, &entry, 0, &mut |bytes| {
                passed = true;
                to.write_all(bytes).map_err(|source| {
                    Error::Store(annals::Error::Io {
                        operation: "take a segment from",
                        path: self.from.url().into(),
                        source,
                    })
                })
            })
        })();
        (passed, read)
    }
}

/// Whether an entry lists these bytes: the last checksum covers everything before it.
fn is_of(segment: &ColdSegment, entry: &SegmentEntry) -> bool {
    entry.len() == segment.len()
        && entry.first_position == segment.first_position().get()
        && entry
            .full
            .as_ref()
            .is_some_and(|full| full.link == segment.link() && full.events == segment.events())
}

impl SegmentSource for ColdBackup {
    fn holds(&self, segment: &ColdSegment) -> io::Result<bool> {
        self.is_held(segment).map_err(io::Error::other)
    }

    fn fetch(&self, segment: &ColdSegment, to: &mut dyn Write) -> io::Result<()> {
        let (passed, read) = self.read(segment, false, to);
        let read = match read {
            // What was known may be outdated.
            Err(Error::Damaged { .. }) if !passed => self.read(segment, true, to).1,
            read => read,
        };
        read.map_err(io::Error::other)
    }
}

/// Moves full segments into cold storage, oldest first, until those that stay have at most `keep` bytes. The store must be open for writing, with a [`ColdBackup`] of the place that it is shipped to:
/// segments that are not there yet stay, and so do all while the place is out of reach. Returns the number of bytes that are free now. Blocks while the segments are
/// read for their checksums.
///
/// # Errors
///
/// Those of [`Store::make_cold`] but [`annals::Error::ColdSegment`].
pub fn keep_local(store: &Store, keep: u64) -> Result<u64> {
    let mut freed = 0;
    for number in oldest_beyond(store, keep)? {
        match store.make_cold(number) {
            Ok(bytes) => freed += bytes,
            // The backup does not have it yet, or cannot be asked; or its index is on its way.
            Err(
                annals::Error::ColdSegment { .. }
                | annals::Error::InvalidArgument { what: "the segment to move", .. },
            ) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(freed)
}

/// The full segments in the directory that have more than `keep` bytes together with those after them, oldest first.
fn oldest_beyond(store: &Store, keep: u64) -> Result<Vec<u64>> {
    let cold = store.cold_segments()?;
    let log = store.durable_log()?;
    let full = log.segments().rev().filter(|segment| segment.full().is_some());
    let local = full.filter(|segment| cold.binary_search(&segment.number()).is_err());
    let mut bytes = 0;
    let mut beyond: Vec<_> = local
        .filter(|segment| {
            bytes += segment.len();
            bytes > keep
        })
        .map(|segment| segment.number())
        .collect();
    beyond.reverse();
    Ok(beyond)
}
