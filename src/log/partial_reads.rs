//! A file on a damaged medium, read as far as possible.
//!
//! For verification and repair, which must read past a bad sector. An opening must never use it:
//! there, a failed read is an error and not zeros.

use std::io;
use std::sync::Arc;

use crate::storage::{File, Mapping};
use crate::sync::{Mutex, Rank};

/// The size of a read where larger reads fail.
const PIECE: usize = 4096;

/// A file whose unreadable parts read as zero, and are recorded.
#[derive(Debug)]
pub(crate) struct Tolerant {
    inner: Arc<dyn File>,
    unreadable: Mutex<Vec<(u64, u64)>>,
}

impl Tolerant {
    pub(crate) fn new(inner: Arc<dyn File>) -> Self {
        Self { inner, unreadable: Mutex::new(Rank::Unreadable, Vec::new()) }
    }

    /// The ranges that could not be read: start, exclusive end.
    pub(crate) fn unreadable(&self) -> Vec<(u64, u64)> {
        self.unreadable.lock().clone()
    }

    /// Whether any byte of the range could not be read.
    pub(crate) fn has_failed_within(&self, from: u64, to: u64) -> bool {
        self.last_failed_within(from, to).is_some()
    }

    /// Exclusive end of the last unreadable bytes within the range.
    pub(crate) fn last_failed_within(&self, from: u64, to: u64) -> Option<u64> {
        let unreadable = self.unreadable.lock();
        let within = unreadable.iter().filter(|&&(start, end)| start < to && from < end);
        within.map(|&(_, end)| end.min(to)).max()
    }
}

impl File for Tolerant {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.inner.read_at(buf, offset) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {}
            read => return read,
        }
        let aligned = PIECE - usize::try_from(offset % PIECE as u64).unwrap_or(0);
        let left = self.inner.len()?.saturating_sub(offset);
        let len = aligned.min(buf.len()).min(usize::try_from(left).unwrap_or(PIECE));
        match self.inner.read_at(&mut buf[..len], offset) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {}
            read => return read,
        }
        buf[..len].fill(0);
        let (from, to) = (offset, offset + len as u64);
        let mut unreadable = self.unreadable.lock();
        match unreadable.last_mut() {
            Some(last) if last.0 <= from && from <= last.1 => last.1 = last.1.max(to),
            _ => unreadable.push((from, to)),
        }
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    /// Positional reads only: an unreadable part must not raise a signal.
    fn map(&self, _: u64, _: bool) -> io::Result<Option<Mapping>> {
        Ok(None)
    }
}
