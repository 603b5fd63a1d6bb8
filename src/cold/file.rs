//! The file of a segment, which may become cold, or local again, while it is open.
//!
//! Must never give bytes of one place after the other has taken over: both hold the same bytes, and writes go to the
//! segment's own file alone.

use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};

use super::segments::ColdSegments;
use crate::format::cold::Stub;
use crate::storage::{DISPLACED, File, Mapping, OpenMode, WriteMapping};

/// The file of a segment.
#[derive(Debug)]
pub(super) struct SegmentOrStub {
    segments: Arc<ColdSegments>,
    number: u64,
    mode: OpenMode,
    /// The segment's own file, if it was there when this was opened.
    opened: Option<Arc<dyn File>>,
    /// Set when the segment was found to be cold.
    stub: OnceLock<Stub>,
    /// The segment's own file, if it came back since.
    returned: OnceLock<Arc<dyn File>>,
}

/// Where a segment's bytes are now.
enum Place<'a> {
    File(&'a dyn File),
    Stub(&'a Stub),
}

impl SegmentOrStub {
    pub(super) fn local(
        segments: &Arc<ColdSegments>,
        number: u64,
        mode: OpenMode,
        file: Arc<dyn File>,
    ) -> Self {
        let (segments, opened) = (Arc::clone(segments), Some(file));
        let (stub, returned) = (OnceLock::new(), OnceLock::new());
        Self { segments, number, mode, opened, stub, returned }
    }

    pub(super) fn cold(segments: &Arc<ColdSegments>, stub: Stub, mode: OpenMode) -> Self {
        let number = stub.header.number;
        let (segments, stub, returned) =
            (Arc::clone(segments), OnceLock::from(stub), OnceLock::new());
        Self { segments, number, mode, opened: None, stub, returned }
    }

    fn place(&self) -> Place<'_> {
        match (self.returned.get(), self.stub.get(), &self.opened) {
            (Some(file), ..) | (None, None, Some(file)) => Place::File(&**file),
            (None, Some(stub), _) => Place::Stub(stub),
            (None, None, None) => unreachable!("there is a file or a stub from the beginning"),
        }
    }

    /// Runs an operation on the segment's own file, and if that turns out to be gone and the segment to be cold, on
    /// the stub.
    fn run<T>(
        &self,
        on_file: impl Fn(&dyn File) -> io::Result<T>,
        on_stub: impl Fn(&Stub) -> io::Result<T>,
    ) -> io::Result<T> {
        let file = match self.place() {
            Place::File(file) => file,
            Place::Stub(stub) => return on_stub(stub),
        };
        match on_file(file) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | DISPLACED) => {
                match self.segments.stub(self.number) {
                    Ok(Some(stub)) if self.returned.get().is_none() => {
                        on_stub(self.stub.get_or_init(|| stub))
                    }
                    _ => Err(error),
                }
            }
            done => done,
        }
    }

    /// The segment's own file, brought back if it is cold: for writes.
    fn file_for_writes(&self) -> io::Result<&dyn File> {
        if let Place::File(file) = self.place() {
            return Ok(file);
        }
        self.segments.make_local(self.number)?;
        let missing = || io::Error::from(ErrorKind::NotFound);
        let file = self.segments.local(self.number, self.mode).ok_or_else(missing)?;
        Ok(&**self.returned.get_or_init(|| file))
    }

    fn read_cold(&self, stub: &Stub, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(read) = stub.read(buffer, offset) {
            return Ok(read);
        }
        // It may have come back.
        if let Some(file) = self.segments.local(self.number, self.mode) {
            return self.returned.get_or_init(|| file).read_at(buffer, offset);
        }
        let bytes = self.segments.bytes(stub)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let read = buffer.len().min(bytes.len() - from);
        buffer[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }
}

impl File for SegmentOrStub {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        // The closures cannot share the buffer: the first place that answers fills it.
        let buffer = std::cell::RefCell::new(buffer);
        self.run(
            |file| file.read_at(&mut buffer.borrow_mut(), offset),
            |stub| self.read_cold(stub, &mut buffer.borrow_mut(), offset),
        )
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file_for_writes()?.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        // What is cold is durable.
        self.run(|file| file.sync_data(), |_| Ok(()))
    }

    fn len(&self) -> io::Result<u64> {
        self.run(|file| file.len(), |stub| Ok(stub.segment_len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file_for_writes()?.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file_for_writes()?.allocate(len)
    }

    fn map(&self, len: u64, live: bool) -> io::Result<Option<Mapping>> {
        self.run(|file| file.map(len, live), |_| Ok(None))
    }

    fn map_for_writes(&self, len: u64, always: bool) -> io::Result<Option<Box<dyn WriteMapping>>> {
        self.file_for_writes()?.map_for_writes(len, always)
    }

    fn is_in_place(&self) -> io::Result<bool> {
        match self.place() {
            Place::Stub(_) => Ok(true),
            Place::File(file) => match file.is_in_place() {
                Ok(true) => Ok(true),
                other => match self.segments.stub(self.number) {
                    Ok(Some(_)) => Ok(true),
                    _ => other,
                },
            },
        }
    }

    fn reopen(&self) -> io::Result<Option<Arc<dyn File>>> {
        self.run(|file| file.reopen(), |_| Ok(None))
    }

    fn keep_open(&self, keep: bool) {
        if let Place::File(file) = self.place() {
            file.keep_open(keep);
        }
    }

    fn is_readable(&self) -> bool {
        match self.place() {
            Place::File(file) => file.is_readable(),
            Place::Stub(_) => self.segments.has_source(),
        }
    }
}
