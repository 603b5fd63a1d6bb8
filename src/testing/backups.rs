//! Backups of a store under test, and copies of its log as bytes, beside it on the same disk.
//!
//! Owns the checks of a copy: it opens, holds a whole number of commits, at least those of the last backup that was
//! reported, and shows the same as the model.

use std::sync::Arc;

use super::compare::{self, Checked, Mismatch, ensure};
use super::harness::Harness;
use super::metadata;
use super::model::Point;
use super::operations::ReadChoice;
use crate::dir::StoreDir;
use crate::error::Error;
use crate::recovery::Opened;
use crate::shipping::{LogCopy, LogEnd};
use crate::storage::Storage;
use crate::store::Store;

const COPY: &str = "/backup";
/// A copy that was made of the log's bytes.
const SHIPPED: &str = "/shipped";

impl Harness {
    pub(super) fn back_up(&mut self, store: &Store, by_follower: bool) -> Checked {
        // A real directory has no other one beside it.
        if !self.is_simulated() {
            return Ok(());
        }
        // The reader of a buffered store shows what may still be lost.
        let follower = self.beside.follower.clone();
        let follower = follower.filter(|_| by_follower && self.settings.durability.is_sync());
        let is_writer = follower.is_none();
        let source = follower.unwrap_or_else(|| store.clone());
        if self.model.end().events % 2 == 1 {
            self.ship(&source, is_writer)?;
        }
        let done = source.backup_to(COPY, |_| {});
        let full = matches!(done, Err(Error::DiskFull { .. }));
        let Some(done) = self.allow(done)? else {
            // The commits in flight may have been taken back for want of space.
            return if full && is_writer { self.taken_back(store) } else { Ok(()) };
        };
        // A follower has taken in what the writer had made visible.
        let end = if is_writer { self.model.end() } else { metadata::visible(&source) };
        let position = done.position.get();
        ensure!(position == end.events, "a backup of {end:?} ends at {position}");
        if is_writer {
            self.acknowledge(end, true);
        }
        self.beside.backup = Some(end);
        if self.settings.faults { Ok(()) } else { self.check_copy(COPY, Some(end), true) }
    }

    /// Brings a copy of the log up to now, as a restore does at first, and a standby later.
    fn ship(&mut self, source: &Store, is_writer: bool) -> Checked {
        let before = self.model.end();
        let shipped = ship_to(&self.storage, source);
        let Some(end) = self.allow(shipped)? else { return Ok(()) };
        let Some(end) = end else { return Err(Mismatch::new("what was shipped is gone")) };
        let end = if is_writer { before } else { self.model.end_of(end.position) };
        if is_writer {
            self.acknowledge(end, true);
        }
        self.beside.shipped = Some(end);
        if self.settings.faults { Ok(()) } else { self.check_copy(SHIPPED, Some(end), true) }
    }

    /// Checks both copies after a crash.
    pub(super) fn check_backup(&mut self) -> Checked {
        self.check_copy(COPY, self.beside.backup, false)?;
        self.check_copy(SHIPPED, self.beside.shipped, false)
    }

    /// Opens a copy and compares what it shows. `is_whole`: nothing was copied after the last one that is known to be
    /// whole.
    fn check_copy(&mut self, path: &str, least: Option<Point>, is_whole: bool) -> Checked {
        let Some(least) = least else { return Ok(()) };
        let opened = self.options().read_only(true).open(path);
        let Some(copy) = self.allow(opened)? else { return Ok(()) };
        let damaged = matches!(copy.opened(), Opened::Damaged { .. });
        ensure!(!damaged, "a backup is damaged: {:?}", copy.opened());
        let found = metadata::visible(&copy);
        ensure!(found.covers(least), "a backup ends at {found:?}, {least:?} was copied");
        ensure!(self.model.end().covers(found), "a backup ends at {found:?}, which never was");
        ensure!(self.model.is_end(found), "a backup ends within a commit, at {found:?}");
        let all = ReadChoice {
            stream: None,
            from: 0,
            limit: None,
            backwards: false,
            query: None,
            past: super::operations::PastChoice::Now,
            borrowed: true,
            unsynced: false,
            hidden: true,
        };
        let read = compare::read(&copy, &mut self.model, &all)?;
        if self.allow(read)?.is_none() || self.settings.faults {
            return Ok(());
        }
        let dir = StoreDir::new(Arc::clone(&self.storage), path.as_ref());
        let report = compare::must("verify", crate::verify::verify_in(&dir, |_| {}))?;
        ensure!(report.faults.is_empty(), "verify of a backup: {:?}", report.faults);
        let named = report.backup.map(crate::event::Position::get);
        ensure!(
            named
                .is_some_and(|named| named >= least.events && (!is_whole || named == least.events)),
            "the manifest names {named:?}, {least:?} was copied"
        );
        Ok(())
    }
}

/// Copies what a log has gained; `None` if it does not hold the end of the copy any more.
fn ship_to(storage: &Arc<dyn Storage>, source: &Store) -> Result<Option<LogEnd>, Error> {
    const EMPTY: u64 = crate::format::segment_header::DATA_START;
    let log = source.durable_log()?;
    let mut copy = LogCopy::open_in(Arc::clone(storage), SHIPPED.as_ref(), log.store_id())?;
    let before = copy.end();
    if let Some(before) = &before
        && !log.contains(before)?
    {
        return Ok(None);
    }
    let bytes = |number: u64, from: u64, to: u64| -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(0)];
        if let Some(segment) = log.segment(number) {
            segment.read_at(&mut bytes, from)?;
        }
        Ok(bytes)
    };
    let first = before.map_or(1, |before| before.segment);
    for segment in log.segments().filter(|segment| segment.number() >= first) {
        let (number, len) = (segment.number(), segment.len());
        let Some(before) = &before else {
            let mut file = copy.create_segment(number)?;
            file.write(&bytes(number, 0, len)?)?;
            file.finish()?;
            continue;
        };
        if number < log.end().segment {
            // A seal proves that there is a next segment.
            let mut file = copy.create_segment(number + 1)?;
            file.write(&bytes(number + 1, 0, EMPTY)?)?;
            file.finish()?;
        }
        let from = if number == before.segment { before.offset } else { EMPTY };
        let mut file = copy.extend_segment(number, from)?;
        file.write(&bytes(number, from, len)?)?;
        file.finish()?;
    }
    copy.finish(&log.end())?;
    Ok(Some(log.end()))
}
