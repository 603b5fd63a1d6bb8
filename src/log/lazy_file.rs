//! The file of a sealed segment that a checkpoint lists, opened when it is first needed.
//!
//! The cost of an opening therefore does not depend on the number of segments, and an unread
//! segment uses no file descriptor. Must never return a byte of a file that is not the listed
//! segment.

use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};

use super::segment::SegmentFile;
use crate::dir::StoreDir;
use crate::error::Error;
use crate::format::checkpoint::SegmentEntry;
use crate::storage::{DISPLACED, File, Mapping, OpenMode};

/// A file that the listing of the log contains; it was not opened yet.
#[derive(Debug)]
struct LaterFile {
    dir: StoreDir,
    mode: OpenMode,
    /// The expected header and length.
    expected: SegmentEntry,
    file: OnceLock<Arc<dyn File>>,
}

/// A sealed segment that is not opened yet. Each operation on its file fails with `InvalidData` if
/// it is not that segment, and with `NotFound` if it is missing.
pub(crate) fn segment_for_later(
    dir: &StoreDir,
    mode: OpenMode,
    expected: SegmentEntry,
) -> SegmentFile {
    let header = expected.header.clone();
    let path = dir.segment_path(header.number);
    let later = LaterFile { dir: dir.clone(), mode, expected, file: OnceLock::new() };
    SegmentFile { path, file: Arc::new(later), header }
}

impl LaterFile {
    fn file(&self) -> io::Result<&dyn File> {
        if let Some(file) = self.file.get() {
            return Ok(&**file);
        }
        let opened = self.open()?;
        Ok(&**self.file.get_or_init(|| opened))
    }

    fn open(&self) -> io::Result<Arc<dyn File>> {
        let SegmentEntry { header, trailer } = &self.expected;
        let segment = SegmentFile::open(&self.dir, header.number, self.mode, 0);
        let segment = segment.map_err(as_io)?;
        if segment.header.store_id != header.store_id {
            let what = "another store is in the place of the one that was opened";
            return Err(io::Error::new(DISPLACED, what));
        }
        // The contents of the trailer are known from the checkpoint, so damage to the trailer, or
        // bytes after it, do no harm here.
        if segment.header != *header || segment.len().map_err(as_io)? < trailer.file_len() {
            return Err(invalid("not the segment that the checkpoint records"));
        }
        Ok(segment.file)
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

fn as_io(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => source,
        Error::StoreGone { why, .. } => io::Error::new(DISPLACED, why),
        Error::Corrupt { what, .. } | Error::Unsupported { what, .. } => invalid(what),
        other => invalid(other.to_string()),
    }
}

impl File for LaterFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file()?.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file()?.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file()?.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file()?.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file()?.allocate(len)
    }

    fn map(&self, len: u64, live: bool) -> io::Result<Option<Mapping>> {
        self.file()?.map(len, live)
    }

    fn is_in_place(&self) -> io::Result<bool> {
        self.file()?.is_in_place()
    }

    fn reopen(&self) -> io::Result<Option<Arc<dyn File>>> {
        self.file()?.reopen()
    }

    fn keep_open(&self, keep: bool) {
        if let Some(file) = self.file.get() {
            file.keep_open(keep);
        }
    }

    fn is_readable(&self) -> bool {
        self.file().is_ok_and(File::is_readable)
    }
}
