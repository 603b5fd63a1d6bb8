//! The file of a segment, which may become cold, and local again, while it is open.
//!
//! Owns where its bytes are now. Either place has the same ones; writes go to the segment's own file alone.

use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};

use super::segments::ColdSegments;
use crate::format::cold::Stub;
use crate::storage::{DISPLACED, File, Mapping, OpenMode, WriteMapping};
use crate::sync::{Mutex, Rank};

/// The file of a segment.
#[derive(Debug)]
pub(super) struct SegmentOrStub {
    segments: Arc<ColdSegments>,
    number: u64,
    mode: OpenMode,
    opened: Place,
    /// Where the bytes were found since, if they were not where they had been. Most segments never move, and are read
    /// without a lock.
    moved: OnceLock<Mutex<Place>>,
}

/// Where a segment's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In the segment's own file.
    File(Arc<dyn File>),
    /// Elsewhere.
    Stub(Arc<Stub>),
}

impl SegmentOrStub {
    pub(super) fn new(
        segments: &Arc<ColdSegments>,
        number: u64,
        mode: OpenMode,
        opened: Place,
    ) -> Self {
        Self { segments: Arc::clone(segments), number, mode, opened, moved: OnceLock::new() }
    }

    fn place(&self) -> Place {
        self.moved.get().map_or_else(|| self.opened.clone(), |moved| moved.lock().clone())
    }

    fn move_to(&self, place: Place) {
        let moved = self.moved.get_or_init(|| Mutex::new(Rank::SegmentPlace, place.clone()));
        *moved.lock() = place;
    }

    /// Runs an operation where the bytes are; once more if the segment's file is gone, and it turns out to be cold.
    fn run<T>(&self, mut operation: impl FnMut(&Place) -> io::Result<T>) -> io::Result<T> {
        let done = match self.moved.get() {
            None => operation(&self.opened),
            Some(_) => operation(&self.place()),
        };
        match done {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | DISPLACED) => {
                let Ok(Some(stub)) = self.segments.stub(self.number) else { return Err(error) };
                let place = Place::Stub(Arc::new(stub));
                self.move_to(place.clone());
                operation(&place)
            }
            done => done,
        }
    }

    /// The segment's own file, brought back if it is cold: for writes.
    fn file_for_writes(&self) -> io::Result<Arc<dyn File>> {
        if let Place::File(file) = self.place() {
            return Ok(file);
        }
        self.segments.make_local(self.number)?;
        let file = self.segments.local(self.number, self.mode)?;
        self.move_to(Place::File(Arc::clone(&file)));
        Ok(file)
    }

    /// Reads what the stub has, and else the whole segment, from where it is now.
    fn read_cold(&self, stub: &Stub, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(read) = stub.read(buffer, offset) {
            return Ok(read);
        }
        if self.segments.kept(stub).is_none()
            && let Ok(file) = self.segments.local(self.number, self.mode)
        {
            // It has come back.
            self.move_to(Place::File(Arc::clone(&file)));
            return file.read_at(buffer, offset);
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
        self.run(|place| match place {
            Place::File(file) => file.read_at(buffer, offset),
            Place::Stub(stub) => self.read_cold(stub, buffer, offset),
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match (&self.opened, self.moved.get()) {
            (Place::File(file), None) => file.write_at(bytes, offset),
            _ => self.file_for_writes()?.write_at(bytes, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.run(|place| match place {
            Place::File(file) => file.sync_data(),
            // What is cold is durable.
            Place::Stub(_) => Ok(()),
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.run(|place| match place {
            Place::File(file) => file.len(),
            Place::Stub(stub) => Ok(stub.segment_len()),
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file_for_writes()?.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file_for_writes()?.allocate(len)
    }

    fn map(&self, len: u64, live: bool) -> io::Result<Option<Mapping>> {
        self.run(|place| match place {
            Place::File(file) => file.map(len, live),
            Place::Stub(_) => Ok(None),
        })
    }

    fn map_for_writes(&self, len: u64, always: bool) -> io::Result<Option<Box<dyn WriteMapping>>> {
        self.file_for_writes()?.map_for_writes(len, always)
    }

    fn is_in_place(&self) -> io::Result<bool> {
        let found = match self.place() {
            Place::Stub(_) => return Ok(true),
            Place::File(file) => file.is_in_place(),
        };
        // A segment that became cold is in its place, too.
        let is_cold = || matches!(self.segments.stub(self.number), Ok(Some(_)));
        if matches!(found, Ok(true)) || !is_cold() { found } else { Ok(true) }
    }

    fn reopen(&self) -> io::Result<Option<Arc<dyn File>>> {
        self.run(|place| match place {
            Place::File(file) => file.reopen(),
            Place::Stub(_) => Ok(None),
        })
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
