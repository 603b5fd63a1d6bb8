//! The file of a sealed segment of which a checkpoint tells, opened when it is first needed.
//!
//! So an opening costs the same however many segments there are, and what nobody reads holds no
//! descriptor. Must never serve a byte of a file that is not the segment that was told of.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::segment::SegmentFile;
use crate::error::Error;
use crate::format::checkpoint::SegmentEntry;
use crate::format::names;
use crate::storage::{DISPLACED, File, Mapping, OpenMode, Storage};

/// A file that is there, as far as is known.
#[derive(Debug)]
struct LaterFile {
    storage: Arc<dyn Storage>,
    root: PathBuf,
    mode: OpenMode,
    /// What its header has to say, and how long it has to be.
    expected: SegmentEntry,
    file: OnceLock<Arc<dyn File>>,
}

/// A sealed segment, not opened yet. Whatever is asked of its file fails with `InvalidData` if it
/// turns out not to be that segment, and with `NotFound` if it is missing.
pub(crate) fn segment_for_later(
    storage: &Arc<dyn Storage>,
    root: &Path,
    mode: OpenMode,
    expected: SegmentEntry,
) -> SegmentFile {
    let header = expected.header.clone();
    let path = names::segment_path(root, header.number);
    let storage = Arc::clone(storage);
    let later = LaterFile { storage, root: root.into(), mode, expected, file: OnceLock::new() };
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
        let segment = SegmentFile::open(&*self.storage, &self.root, header.number, self.mode, 0);
        let segment = segment.map_err(as_io)?;
        if segment.header.store_id != header.store_id {
            let what = "another store is in the place of the one that was opened";
            return Err(io::Error::new(DISPLACED, what));
        }
        // What the trailer says is known, so that damage to it does no harm here, and neither do bytes
        // behind it.
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
}
