//! A directory that takes the bytes of a log.
//!
//! Owns the order in which a copy becomes durable: segments, then the manifest, then the status that readers beside it
//! look at. Must never open a directory that holds anything but a backup of the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::{LogEnd, Until, cut};
use crate::backup::target::Target;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::format::backup::Manifest;
use crate::format::names;
use crate::format::status::Status;
use crate::log::rotation::{remove_leftover, temporary_path};
use crate::log::segment::SegmentFile;
use crate::storage::{DiskStorage, File, OpenMode, Storage, read_exact_at, write_all_at};

/// A directory that takes segments of a log, and is a backup once it was [finished](LogCopy::finish). Other openings for
/// writing are refused while it exists; readers see what was finished.
#[derive(Debug)]
pub struct LogCopy {
    target: Target,
    status: Option<Arc<dyn File>>,
    epoch: u64,
}

/// A segment of a [`LogCopy`] that is being written, from its beginning to its end.
#[derive(Debug)]
pub struct SegmentCopy {
    storage: Arc<dyn Storage>,
    file: Arc<dyn File>,
    path: PathBuf,
    /// The name of a new file until it is complete.
    temporary: Option<PathBuf>,
    at: u64,
}

impl LogCopy {
    /// Takes a directory that is empty, or missing, or that holds a backup of this store or the beginning of one.
    ///
    /// # Errors
    ///
    /// [`Error::BackupRefused`] if it holds something else, [`Error::Locked`] if a writer or another copy uses it,
    /// [`Error::Io`].
    pub fn open(dir: impl AsRef<Path>, store_id: Uuid) -> Result<Self> {
        let dir = dir.as_ref();
        let dir = std::path::absolute(dir).map_err(|e| Error::io("find", dir, e))?;
        Self::open_in(Arc::new(DiskStorage), &dir, store_id)
    }

    /// [`open`](Self::open) on a simulated disk.
    #[cfg(feature = "testing")]
    pub fn open_on(disk: &crate::storage::SimStorage, dir: &Path, store_id: Uuid) -> Result<Self> {
        Self::open_in(Arc::new(disk.clone()), dir, store_id)
    }

    pub(crate) fn open_in(storage: Arc<dyn Storage>, dir: &Path, store_id: Uuid) -> Result<Self> {
        let epoch = storage.random_u64();
        let target = Target::open(storage, dir, store_id.into_bytes())?;
        Ok(Self { target, status: None, epoch })
    }

    /// The end of the backup that the directory holds; `None`: it was never finished.
    pub fn end(&self) -> Option<LogEnd> {
        self.target.manifest().end
    }

    /// Fills a buffer with bytes of a segment of the copy, from an offset on.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the segment is damaged, [`Error::Io`] if it is missing or ends before.
    pub fn read_at(&self, number: u64, buffer: &mut [u8], offset: u64) -> Result<()> {
        let file = SegmentFile::open(self.target.dir(), number, OpenMode::Read, 0)?;
        read_exact_at(&*file.file, buffer, offset).map_err(|e| Error::io("read", &file.path, e))
    }

    /// A segment that takes the place of one with the same number when it is finished. Different segments may be
    /// written at the same time while nothing was finished before; later only in ascending order, and the one that a
    /// finished copy ends in only by [`extend_segment`](Self::extend_segment).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::DiskFull`].
    pub fn create_segment(&self, number: u64) -> Result<SegmentCopy> {
        let dir = self.target.dir();
        let path = dir.segment_path(number);
        let temporary = temporary_path(&path);
        remove_leftover(dir.storage(), &temporary)?;
        let file = dir.storage().open(&temporary, OpenMode::CreateNew);
        let file = file.map_err(|e| Error::io("create", &temporary, e))?;
        let storage = Arc::clone(dir.shared_storage());
        Ok(SegmentCopy { storage, file, path, temporary: Some(temporary), at: 0 })
    }

    /// The segment that the copy ends in, from an offset on: what was written after it is replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the segment is missing, damaged or ends before that offset, [`Error::Io`].
    pub fn extend_segment(&self, number: u64, from: u64) -> Result<SegmentCopy> {
        let dir = self.target.dir();
        let expected = self.end().map_or(0, |end| end.position);
        let SegmentFile { path, file, .. } =
            SegmentFile::open(dir, number, OpenMode::ReadWrite, expected)?;
        let len = file.len().map_err(|e| Error::io("read", &path, e))?;
        if len < from {
            return Err(Error::Corrupt {
                file: path,
                offset: len,
                expected_position: Position::new(expected),
                what: format!("the file ends here, and the copy goes on at {from}"),
                evidence: None,
            });
        }
        let storage = Arc::clone(dir.shared_storage());
        Ok(SegmentCopy { storage, file, path, temporary: None, at: from })
    }

    /// Ends the copy at an earlier moment: removes everything that came later. Returns the place, for
    /// [`finish`](Self::finish); `None` if everything in segment `number` is later. That is the last segment with
    /// something from before that moment, and all segments before it have to be there.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the copy was finished before: it never gets shorter. [`Error::Corrupt`] if the
    /// segment is damaged before that moment, [`Error::Io`].
    pub fn cut(&self, number: u64, until: Until) -> Result<Option<LogEnd>> {
        if self.end().is_some() {
            let why = "it is a whole backup, which never gets shorter".into();
            return Err(Error::InvalidArgument { what: "the directory of the copy", why });
        }
        let dir = self.target.dir();
        let mut change = 0;
        for number in 1..number {
            let trailer = SegmentFile::open(dir, number, OpenMode::Read, 0)?.trailer()?;
            change += trailer.map_or(0, |trailer| u64::from(trailer.change_count));
        }
        let Some(end) = cut::last_by(dir, number, change, until)? else { return Ok(None) };
        let (numbers, _) = dir.segment_numbers()?;
        for later in numbers.into_iter().rev().take_while(|&later| later > number) {
            remove_leftover(dir.storage(), &dir.segment_path(later))?;
        }
        let log = dir.join(names::LOG_DIR);
        dir.storage().sync_dir(&log).map_err(|e| Error::io("sync", &log, e))?;
        self.extend_segment(number, end.offset)?.finish()?;
        Ok(Some(end))
    }

    /// Declares the copy to be whole up to a place: every segment up to there is finished, the last one with the offset
    /// of the place as its length. Readers beside this see it from now on.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an impossible place or one before the end of the copy, [`Error::Corrupt`] if the
    /// last segment does not end there, [`Error::Io`].
    pub fn finish(&mut self, end: &LogEnd) -> Result<()> {
        let before = self.end().map_or((0, 0), |end| (end.segment, end.offset));
        if !end.is_possible() || (end.segment, end.offset) < before {
            let why = "it is impossible, or before the end of the copy".into();
            return Err(Error::InvalidArgument { what: "the end of the copy", why });
        }
        let file = SegmentFile::open(self.target.dir(), end.segment, OpenMode::Read, end.position)?;
        if file.len()? != end.offset {
            return Err(Error::Corrupt {
                file: file.path,
                offset: end.offset,
                expected_position: Position::new(end.position),
                what: "the file of the last segment does not end where the copy does".into(),
                evidence: None,
            });
        }
        let dir = self.target.dir();
        let (store_id, taken_at) = (self.target.manifest().store_id, dir.storage().now_micros());
        self.target.finish(Manifest { store_id, end: Some(*end), taken_at })?;
        self.publish(end)
    }

    /// Shows readers in other processes the copy up to its end.
    fn publish(&mut self, end: &LogEnd) -> Result<()> {
        let dir = self.target.dir();
        let path = dir.join(names::STATUS);
        let io = |operation: &'static str| {
            let path = path.clone();
            move |e| Error::io(operation, path, e)
        };
        let file = match &self.status {
            Some(file) => file,
            None => {
                remove_leftover(dir.storage(), &path)?;
                let file = dir.storage().open(&path, OpenMode::CreateNew).map_err(io("create"))?;
                self.status.insert(file)
            }
        };
        let (visible, link) = (end.position, end.link);
        let status = Status { visible, clean: false, link, epoch: self.epoch };
        write_all_at(&**file, &status.encode(), 0).map_err(io("write"))
    }
}

impl SegmentCopy {
    /// Adds bytes to the end.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::DiskFull`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let path = self.temporary.as_ref().unwrap_or(&self.path);
        write_all_at(&*self.file, bytes, self.at)
            .map_err(|e| Error::io("write", path, e).wanting(bytes.len() as u64))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Makes the segment durable, with its name and with the length that was written.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        let written = self.temporary.as_ref().unwrap_or(&self.path);
        self.file.set_len(self.at).map_err(|e| Error::io("set the length of", written, e))?;
        self.file.sync_data().map_err(|e| Error::io("sync", written, e))?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        self.storage
            .rename(temporary, &self.path)
            .map_err(|e| Error::io("rename", temporary, e))?;
        let Some(parent) = self.path.parent() else { return Ok(()) };
        self.storage.sync_dir(parent).map_err(|e| Error::io("sync", parent, e))
    }
}
