//! The cold segments of one store: their stubs, and the segments read back.
//!
//! The order of changes keeps a whole copy at every moment: the stub is durable before the segment's file is removed,
//! and the file is durable before the stub is. Where both exist, the file counts.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::cache::Cache;
use super::{ColdSegment, SegmentSource};
use crate::error::NotLocal;
use crate::format::checksum::crc32;
use crate::format::cold::{self, Stub};
use crate::format::seal::Trailer;
use crate::format::segment_header::{DATA_START, SegmentHeader};
use crate::format::{frame, names};
use crate::storage::{File, OpenMode, Storage, read_exact_at, write_all_at};

/// The cold segments of a store, shared by its files.
#[derive(Debug)]
pub(crate) struct ColdSegments {
    /// The storage without cold segments.
    storage: Arc<dyn Storage>,
    root: PathBuf,
    source: Option<Arc<dyn SegmentSource>>,
    cache: Cache,
}

impl ColdSegments {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        root: &Path,
        source: Option<Arc<dyn SegmentSource>>,
        cache_bytes: u64,
    ) -> Self {
        Self { storage, root: root.into(), source, cache: Cache::new(cache_bytes) }
    }

    /// The storage without cold segments.
    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Whether cold segments can be read.
    pub(crate) fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// The number of the segment that a path names, also while it is written under a temporary name.
    pub(super) fn number_of(&self, path: &Path) -> Option<u64> {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(names::TEMPORARY_SUFFIX).unwrap_or(name);
        let number = names::parse_numbered(name, names::SEGMENT_SUFFIX)?;
        (path.parent()? == self.root.join(names::LOG_DIR)).then_some(number)
    }

    fn segment_path(&self, number: u64) -> PathBuf {
        names::segment_path(&self.root, number)
    }

    pub(super) fn stub_path(&self, number: u64) -> PathBuf {
        names::stub_path(&self.root, number)
    }

    /// The stub of a segment; `None` if it is not cold. A damaged one is an error of the kind `InvalidData`.
    pub(super) fn stub(&self, number: u64) -> io::Result<Option<Stub>> {
        let path = self.stub_path(number);
        let file = match self.storage.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = [0; cold::LEN];
        let invalid = |what: &dyn std::fmt::Display| {
            let what = format!(
                "the stub of the cold segment ({}) is damaged: {what}; take the segment from a backup",
                path.display()
            );
            io::Error::new(ErrorKind::InvalidData, what)
        };
        match read_exact_at(&*file, &mut bytes, 0) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Err(invalid(&"it is short")),
            Err(e) => return Err(e),
        }
        let stub = Stub::decode(&bytes).map_err(|defect| invalid(&defect))?;
        if stub.header.number != number {
            return Err(invalid(&format_args!("it is that of segment {}", stub.header.number)));
        }
        Ok(Some(stub))
    }

    /// The segment's own file, if it is back in the directory.
    pub(super) fn local(&self, number: u64, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.storage.open(&self.segment_path(number), mode)
    }

    /// All bytes of a cold segment, if they were read back and are still kept.
    pub(super) fn kept(&self, stub: &Stub) -> Option<Bytes> {
        self.cache.kept(stub.header.number)
    }

    /// All bytes of a cold segment, verified. Every error is a [`NotLocal`].
    pub(super) fn bytes(&self, stub: &Stub) -> io::Result<Bytes> {
        let number = stub.header.number;
        self.cache.get(number, stub.segment_len(), || self.fetch(stub)).map_err(|error| {
            if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<NotLocal>) {
                return error;
            }
            let why = "it could not be fetched".into();
            io::Error::other(NotLocal { segment: number, why, source: Some(error) })
        })
    }

    fn fetch(&self, stub: &Stub) -> io::Result<Bytes> {
        let number = stub.header.number;
        let not_local = |why: &str| {
            io::Error::other(NotLocal { segment: number, why: why.into(), source: None })
        };
        let Some(source) = &self.source else {
            return Err(not_local("the store was opened without Options::cold_segments"));
        };
        let len = stub.segment_len();
        let len = usize::try_from(len).map_err(|_| not_local("it is larger than the memory"))?;
        let mut taken = Taken { bytes: Vec::with_capacity(len), len };
        source.fetch(&ColdSegment::new(stub.clone()), &mut taken)?;
        if taken.bytes.len() != len {
            return Err(not_local("its copy is shorter than the segment was"));
        }
        if crc32(0, &taken.bytes) != stub.checksum {
            return Err(not_local("its copy has another checksum than the segment had"));
        }
        Ok(taken.bytes.into())
    }

    /// Whether the source has a copy of a segment; false without a source.
    pub(crate) fn is_held(&self, segment: &ColdSegment) -> io::Result<bool> {
        self.source.as_ref().map_or(Ok(false), |source| source.holds(segment))
    }

    /// Writes the stub of a segment; it is durable when this returns.
    pub(crate) fn write_stub(&self, segment: &ColdSegment) -> io::Result<()> {
        self.write_file(&self.stub_path(segment.number()), &segment.stub.encode())
    }

    /// Removes a segment's own file, whose stub is durable.
    pub(crate) fn remove_local(&self, number: u64) -> io::Result<()> {
        self.storage.remove_file(&self.segment_path(number))?;
        self.storage.sync_dir(&self.root.join(names::LOG_DIR))
    }

    /// Brings a cold segment back into the directory.
    pub(crate) fn make_local(&self, number: u64) -> io::Result<()> {
        let path = self.segment_path(number);
        let Some(stub) = self.stub(number)? else { return Ok(()) };
        if self.storage.entry_kind(&path)?.is_none() {
            self.write_file(&path, &self.bytes(&stub)?)?;
        } else {
            // An earlier call may have ended before its name was durable.
            self.storage.sync_dir(&self.root.join(names::LOG_DIR))?;
        }
        self.storage.remove_file(&self.stub_path(number))?;
        self.cache.forget(number);
        Ok(())
    }

    /// Writes a file of the log under a temporary name, and gives it its own; both are durable when this returns.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(names::TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        match self.storage.remove_file(&temporary) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = self.storage.open(&temporary, OpenMode::CreateNew)?;
        write_all_at(&*file, bytes, 0)?;
        file.sync_data()?;
        drop(file);
        self.storage.rename(&temporary, path)?;
        self.storage.sync_dir(&self.root.join(names::LOG_DIR))
    }
}

/// What the stub of a sealed segment in the directory holds. Reads all of it.
pub(crate) fn describe(
    file: &dyn File,
    header: &SegmentHeader,
    trailer: &Trailer,
) -> io::Result<ColdSegment> {
    const PIECE: usize = 1 << 20;
    let mut piece = vec![0; PIECE];
    let (mut checksum, mut at, len) = (0, 0, trailer.file_len());
    while at < len {
        let piece_len = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE);
        read_exact_at(file, &mut piece[..piece_len], at)?;
        checksum = crc32(checksum, &piece[..piece_len]);
        at += piece_len as u64;
    }
    let mut first_frame = [0; frame::HEADER_LEN];
    read_exact_at(file, &mut first_frame, DATA_START)?;
    Ok(ColdSegment::new(Stub::new(header.clone(), first_frame, trailer.clone(), checksum)))
}

/// What a source writes, up to the length of the segment.
struct Taken {
    bytes: Vec<u8>,
    len: usize,
}

impl Write for Taken {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.len - self.bytes.len() {
            return Err(io::Error::other("the copy is longer than the segment was"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
