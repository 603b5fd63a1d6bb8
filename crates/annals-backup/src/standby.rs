//! A standby: a copy that follows a backup, serves reads, and takes the place of the store.
//!
//! Owns the order in which a copy grows, and that of a promotion: the old side is fenced before the new one may be
//! written to. Must never write to the backup before it is promoted.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use annals::shipping::{LogCopy, LogEnd, SegmentCopy};
use annals::verify::Progress;
use annals::{Options, Position, fence};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::catalog::{self, Loaded};
use crate::destination::Destination;
use crate::error::{Error, Result};
use crate::fetch::{fetch_beginning, fetch_segment};
use crate::manifest::{Manifest, SegmentEntry};
use crate::parallel::in_parallel;
use crate::restore::load;
use crate::ship::{Put, ShipOptions, Shipper, now_micros, put};

/// The length of a segment without frames.
const EMPTY_SEGMENT: u64 = 8192;
/// Looks at the next manifest between two listings, which cost more.
const LOOKS: u32 = 60;
/// Segments that are fetched at the same time at first.
const PARALLEL: usize = 4;

/// A directory that follows a backup. Open it for reading, in this process or others: reads see what was caught up.
#[derive(Debug)]
pub struct Standby {
    from: Destination,
    dir: PathBuf,
    copy: LogCopy,
    state: Loaded,
    looks: u32,
}

/// The result of [`Standby::promote`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Promotion {
    /// The last position in the store. Without the old store's directory, events after it that were acknowledged there
    /// are not in this store.
    pub position: Position,
    /// Everything that was acknowledged is there: the old store's directory was read to its end.
    pub is_complete: bool,
}

impl Standby {
    /// Follows the newest branch of a backup, in a directory that is empty or missing, or that followed it before.
    /// Fetches what the backup holds now; blocks until then.
    ///
    /// # Errors
    ///
    /// [`Error::OtherHistory`] if the directory holds another history, [`annals::Error::BackupRefused`] if it holds
    /// something else, [`Error::Fenced`] if another standby was promoted and has not begun its branch, and those of
    /// [`restore`](crate::restore()).
    pub fn open(
        from: Destination,
        dir: impl AsRef<Path>,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Self> {
        let store_id = catalog::store_id(&from)?;
        let state = load(&from, None)?;
        if let Some(place) = state.manifest.fenced {
            let position = Position::new(state.manifest.end.position);
            return Err(Error::Fenced { to: place, position });
        }
        let copy = LogCopy::open(dir.as_ref(), store_id)?;
        let dir = dir.as_ref().to_owned();
        let mut this = Self { from, dir, copy, state, looks: 0 };
        this.apply(&mut progress)?;
        Ok(this)
    }

    /// The last position in the directory.
    pub fn position(&self) -> Position {
        Position::new(self.copy.end().map_or(0, |end| end.position))
    }

    /// Fetches what was shipped since the last call; returns whether there was something. Blocks until it is durable
    /// and readers see it. A new branch is followed if it has all that the directory has.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] if another standby was promoted and has not begun its branch, [`Error::OtherHistory`] if a
    /// branch has begun with another history, damaged objects, and those of the storage. The copy is as it was before;
    /// the next call tries again.
    pub fn catch_up(&mut self) -> Result<bool> {
        if self.copy.end() != Some(self.state.manifest.end) {
            // The last call ended early. What it needed may have been replaced since.
            self.state = load(&self.from, None)?;
        }
        let Manifest { branch, number, .. } = self.state.manifest;
        let mut next = number + 1;
        while let Some(found) = catalog::read(&self.from, branch, next)? {
            next += 1;
            if let Some(found) = catalog::expand(&self.from, found)? {
                self.state = found;
            }
        }
        self.looks += 1;
        let is_fenced = self.state.manifest.fenced.is_some();
        if is_fenced || (self.state.manifest.number == number && self.looks.is_multiple_of(LOOKS)) {
            // The next ones may have been removed already, or another branch has begun.
            self.state = load(&self.from, None)?;
        }
        if let Some(place) = &self.state.manifest.fenced {
            let position = Position::new(self.state.manifest.end.position);
            return Err(Error::Fenced { to: place.clone(), position });
        }
        self.apply(&mut |_| {})
    }

    /// Brings the directory up to the manifest.
    fn apply(&mut self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<bool> {
        let end = self.state.manifest.end;
        let before = self.copy.end();
        if before == Some(end) {
            return Ok(false);
        }
        let total = self.state.segments.iter().map(SegmentEntry::len).sum();
        match before {
            None => {
                let done = Mutex::new((0, progress));
                in_parallel(&self.state.segments, PARALLEL, |segment| {
                    self.create(segment, segment.len())?;
                    let (done, progress) = &mut *done.lock();
                    *done += segment.len();
                    progress(Progress::new(*done, total));
                    Ok(())
                })?;
            }
            Some(before) => self.extend(&before)?,
        }
        self.copy.finish(&end)?;
        Ok(true)
    }

    fn extend(&self, before: &LogEnd) -> Result<()> {
        let end = &self.state.manifest.end;
        if (end.segment, end.offset) < (before.segment, before.offset) {
            let (url, end) = (self.from.url().into(), Position::new(end.position));
            return Err(Error::OtherHistory { url, end });
        }
        let segments = &self.state.segments;
        let first = usize::try_from(before.segment - 1).unwrap_or(usize::MAX);
        let open = segments.get(first..).unwrap_or_default();
        for (at, segment) in open.iter().enumerate() {
            if at == 0 {
                self.check_history(segment, before)?;
            }
            // A seal proves that there is a next segment.
            if let Some(next) = open.get(at + 1) {
                self.create(next, EMPTY_SEGMENT)?;
            }
            let from = if at == 0 { before.offset } else { EMPTY_SEGMENT };
            if segment.len() == from {
                continue;
            }
            let mut file = self.copy.extend_segment(segment.number, from)?;
            fetch_segment(&self.from, segment, from, &mut |bytes| Ok(file.write(bytes)?))?;
            file.finish()?;
        }
        Ok(())
    }

    /// Compares the end of the copy with the backup: the last frame, which covers everything before it, or without one
    /// the segment's header.
    fn check_history(&self, segment: &SegmentEntry, before: &LogEnd) -> Result<()> {
        let mut own = vec![0; usize::try_from(before.offset - before.last_frame).unwrap_or(0)];
        self.copy.read_at(segment.number, &mut own, before.last_frame)?;
        let (mut at, mut is_same) = (0, true);
        let parts = segment.parts.iter().filter(|part| part.from < before.offset).cloned();
        let needed = SegmentEntry { parts: parts.collect(), ..segment.clone() };
        fetch_segment(&self.from, &needed, before.last_frame, &mut |bytes| {
            let len = bytes.len().min(own.len() - at);
            is_same &= bytes[..len] == own[at..at + len];
            at += len;
            Ok(())
        })?;
        if is_same && at == own.len() {
            return Ok(());
        }
        let end = Position::new(self.state.manifest.end.position);
        Err(Error::OtherHistory { url: self.from.url().into(), end })
    }

    /// Writes the beginning of a segment.
    fn create(&self, segment: &SegmentEntry, len: u64) -> Result<()> {
        let file = RefCell::new(None);
        let mut begin = || {
            file.replace(Some(self.copy.create_segment(segment.number)?));
            Ok(())
        };
        let branch = self.state.manifest.branch;
        fetch_beginning(&self.from, branch, segment, len, &mut begin, &mut |bytes| {
            file.borrow_mut().as_mut().map_or(Ok(()), |file| Ok(file.write(bytes)?))
        })?;
        Ok(file.into_inner().map_or(Ok(()), SegmentCopy::finish)?)
    }

    /// Ends the following, and makes the directory a store of its own. First nothing more may be appended to the old
    /// store: if its directory can be read, it is fenced, and what was not shipped yet is taken from it, so that nothing
    /// is lost; its writer has to be closed within `wait`. Then the branch in the backup is fenced: a shipper of the old
    /// store is refused and told where the history goes on. `place` names this store, for people and for error texts.
    ///
    /// The store ships into a [new branch](ShipOptions::new_branch) of the same backup.
    ///
    /// Without the old directory, the old store may go on acknowledging appends until its shipper is refused: stop it, or
    /// cut it off, before this.
    ///
    /// # Errors
    ///
    /// [`annals::Error::Locked`] if the old store is still written to, [`Error::Fenced`] if another standby was
    /// promoted, and those of [`catch_up`](Self::catch_up). Nothing was promoted then.
    pub fn promote(
        mut self,
        place: &str,
        old_store: Option<&Path>,
        wait: Duration,
    ) -> Result<Promotion> {
        if let Some(old) = old_store {
            fence::raise(old, place, wait)?;
            let store = Options::new().read_only(true).open(old)?;
            Shipper::new(store, self.from.clone(), ShipOptions::new())?.ship()?;
        }
        loop {
            self.catch_up()?;
            if self.fence_branch(place)? {
                break;
            }
        }
        let position = self.position();
        let Self { copy, dir, .. } = self;
        drop(copy);
        // Proves that it opens, before anybody relies on it.
        Options::new().open(&dir)?.close()?;
        Ok(Promotion { position, is_complete: old_store.is_some() })
    }

    /// Writes the last manifest of the branch; false if another one was written meanwhile.
    fn fence_branch(&mut self, place: &str) -> Result<bool> {
        let own = Uuid::new_v4();
        let before = &self.state.manifest;
        let manifest = Manifest {
            number: before.number + 1,
            previous: Some(self.state.digest.clone()),
            shipper: own,
            written_at: now_micros(),
            fenced: Some(place.into()),
            ..before.clone()
        };
        match put(&self.from, &manifest, own) {
            Ok(Put::Written(_) | Put::Before(_)) => Ok(true),
            Err(Error::OtherShipper { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
