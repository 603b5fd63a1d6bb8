//! Copies files into the directory of a backup: as links where that is possible, byte by byte elsewhere.
//!
//! Owns the counts. A file appears under its name complete and durable, or not at all; only the segment that takes new
//! frames is extended in place. Must never write to a file of the store.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::dir::StoreDir;
use crate::error::{Error, Result};
use crate::log::rotation::{remove_leftover, temporary_path};
use crate::log::segment::{Segment, SegmentFile};
use crate::progress::Progress;
use crate::storage::{File, OpenMode, read_exact_at, write_all_at};

/// Bytes that are copied at a time.
const PIECE: u64 = 1 << 20;

/// Bytes of files, by what was done with them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) copied: u64,
    pub(super) linked: u64,
    pub(super) kept: u64,
}

pub(super) struct Copier<'a> {
    from: &'a StoreDir,
    to: &'a StoreDir,
    counts: Counts,
    total: u64,
    progress: &'a mut dyn FnMut(Progress),
    /// A link was refused: the directory is on another file system, or this one has no links.
    cannot_link: bool,
    buffer: Vec<u8>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        from: &'a StoreDir,
        to: &'a StoreDir,
        total: u64,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        let counts = Counts::default();
        Self { from, to, counts, total, progress, cannot_link: false, buffer: Vec::new() }
    }

    pub(super) fn into_counts(self) -> Counts {
        self.counts
    }

    /// Counts a file that is there already.
    pub(super) fn keep(&mut self, len: u64) {
        self.counts.kept += len;
        self.advance();
    }

    fn advance(&mut self) {
        let Counts { copied, linked, kept } = self.counts;
        let done_bytes = copied + linked + kept;
        (self.progress)(Progress { done_bytes, total_bytes: self.total.max(done_bytes) });
    }

    /// Links or copies a segment that never changes.
    pub(super) fn take_segment(&mut self, segment: &Arc<Segment>, len: u64) -> Result<()> {
        let to = self.to.segment_path(segment.number());
        if self.link(&self.from.segment_path(segment.number()), &to)? {
            // The name may lead to another file by now.
            let linked = SegmentFile::open(self.to, segment.number(), OpenMode::Read, 0)?;
            if linked.header == segment.header && linked.trailer()? == segment.trailer {
                self.counts.linked += len;
                self.advance();
                return Ok(());
            }
        }
        self.copy_segment(segment, len)
    }

    /// Copies the beginning of a segment.
    pub(super) fn copy_segment(&mut self, segment: &Arc<Segment>, len: u64) -> Result<()> {
        let to = self.to.segment_path(segment.number());
        self.write_new(&to, |copier, file| copier.copy_frames(file, segment, 0, len))
    }

    /// Copies what a segment has gained since its copy ended at `from`.
    pub(super) fn append_to(
        &mut self,
        file: &dyn File,
        segment: &Arc<Segment>,
        from: u64,
        len: u64,
    ) -> Result<()> {
        self.copy_frames(file, segment, from, len)?;
        let path = self.to.segment_path(segment.number());
        // What an unfinished backup copied may since be lost in the store, and replaced.
        file.set_len(len).map_err(|e| Error::io("set the length of", &path, e))?;
        file.sync_data().map_err(|e| Error::io("sync", &path, e))?;
        self.keep(from);
        Ok(())
    }

    fn copy_frames(
        &mut self,
        to: &dyn File,
        segment: &Arc<Segment>,
        from: u64,
        len: u64,
    ) -> Result<()> {
        let path = self.to.segment_path(segment.number());
        self.copy_bytes((&*segment.file, &segment.path), (to, &path), from, len)
    }

    /// Links or copies a file that never changes, unless it is there already; its path is relative to the directory.
    /// Returns whether it was in the store: a writer beside this call may have removed it.
    pub(super) fn take_file(&mut self, path: &Path) -> Result<bool> {
        let (from, to) = (&*self.from.join(path), &*self.to.join(path));
        let opened = self.from.storage().open(from, OpenMode::Read);
        let file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(Error::io("open", from, e)),
        };
        let len = file.len().map_err(|e| Error::io("read", from, e))?;
        if self.to.storage().file_len(to).is_ok_and(|found| found == len) {
            self.keep(len);
        } else if self.link(from, to)? {
            self.counts.linked += len;
            self.advance();
        } else {
            self.write_new(to, |copier, copy| {
                copier.copy_bytes((&*file, from), (copy, to), 0, len)
            })?;
        }
        Ok(true)
    }

    /// Gives a file of the store a second name, in place of a file that has it. Returns whether that was possible.
    fn link(&mut self, from: &Path, to: &Path) -> Result<bool> {
        let Some(storage) = self.from.storage().unbound().filter(|_| !self.cannot_link) else {
            return Ok(false);
        };
        let temporary = temporary_path(to);
        remove_leftover(self.to.storage(), &temporary)?;
        if let Err(error) = storage.hard_link(from, &temporary) {
            // One that a writer has removed meanwhile says nothing of the others.
            self.cannot_link = error.kind() != ErrorKind::NotFound;
            return Ok(false);
        }
        self.name(&temporary, to)?;
        Ok(true)
    }

    fn write_new(
        &mut self,
        to: &Path,
        write: impl FnOnce(&mut Self, &dyn File) -> Result<()>,
    ) -> Result<()> {
        let temporary = temporary_path(to);
        remove_leftover(self.to.storage(), &temporary)?;
        let io = |operation: &'static str| {
            let temporary = temporary.clone();
            move |e| Error::io(operation, temporary, e)
        };
        let file = self.to.storage().open(&temporary, OpenMode::CreateNew).map_err(io("create"))?;
        let written = write(self, &*file).and_then(|()| file.sync_data().map_err(io("sync")));
        drop(file);
        written.and_then(|()| self.name(&temporary, to)).inspect_err(|_| {
            // It would take space that is needed. The first error is returned.
            let _ = remove_leftover(self.to.storage(), &temporary);
        })
    }

    /// Gives a durable file its final name, durably: later files of the log need this one.
    fn name(&self, temporary: &Path, path: &Path) -> Result<()> {
        let storage = self.to.storage();
        storage.rename(temporary, path).map_err(|e| Error::io("rename", temporary, e))?;
        match path.parent() {
            Some(parent) => storage.sync_dir(parent).map_err(|e| Error::io("sync", parent, e)),
            None => Ok(()),
        }
    }

    fn copy_bytes(
        &mut self,
        (from, from_path): (&dyn File, &Path),
        (to, to_path): (&dyn File, &Path),
        start: u64,
        end: u64,
    ) -> Result<()> {
        let mut at = start;
        while at < end {
            let len = usize::try_from((end - at).min(PIECE)).unwrap_or(0);
            self.buffer.resize(len, 0);
            read_exact_at(from, &mut self.buffer, at)
                .map_err(|e| Error::io("read", from_path, e))?;
            write_all_at(to, &self.buffer, at)
                .map_err(|e| Error::io("write", to_path, e).wanting(end - at))?;
            at += len as u64;
            self.counts.copied += len as u64;
            self.advance();
        }
        Ok(())
    }
}
