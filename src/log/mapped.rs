//! Frames written through a mapping of the active segment: a copy to memory in the place of a system call.
//!
//! Owns the mapping and how far its pages are prepared. Must never store a byte into a page that was not
//! prepared: an error there would be a signal, which ends the process.
//!
//! The copy is in the page cache, like bytes that were written positionally: the end of the process loses
//! nothing, a sync makes it durable, and reads see it. See the rules of [`crate::storage`]'s mappings for what
//! makes this safe.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::storage::{File, WriteMapping};

/// The bytes of one preparation: few, because a thread that appends may have to make it itself.
const STEP: u64 = 64 << 10;

/// The bytes that a thread prepares ahead of the frames. A sync writes what is prepared, and the next store into each
/// page of it costs a fault: so it is not much more than what is stored between two syncs of a busy store.
const AHEAD: u64 = 4 << 20;

/// The longest write that is stored: beyond, a system call costs little for each byte.
const LONGEST: usize = 64 << 10;

/// The mapping of the segment that takes frames.
#[derive(Debug)]
pub(crate) struct MappedTail {
    mapping: Box<dyn WriteMapping>,
    /// The part that may be stored to: from a multiple of [`STEP`] on, to the end of the reserved space.
    from: u64,
    to: u64,
    /// Exclusive end of the prepared pages, which begin at `from`.
    prepared_to: AtomicU64,
    /// A preparation has failed; none is tried again in this segment. Linux before 5.14 lacks the call.
    failed: AtomicBool,
}

impl MappedTail {
    /// Maps the file of a segment with this capacity, whose frames end at `end`, where the storage says that it is safe, or
    /// `always`. A failure only means that the segment is written positionally.
    pub(crate) fn of(file: &dyn File, capacity: u64, end: u64, always: bool) -> Option<Self> {
        let to = capacity;
        let mapping = file.map_for_writes(to, always).ok().flatten()?;
        let from = end / STEP * STEP;
        Some(Self {
            mapping,
            from,
            to,
            prepared_to: AtomicU64::new(from),
            failed: AtomicBool::new(false),
        })
    }

    /// Whether these bytes can be stored without a preparation, which takes long for a task.
    pub(crate) fn is_prepared_for(&self, len: usize, offset: u64) -> bool {
        let end = offset + len as u64;
        len <= LONGEST && offset >= self.from && end <= self.prepared_to.load(Ordering::Relaxed)
    }

    /// Stores bytes at an offset; `false`: nothing is stored, and they are to be written positionally. Only the
    /// writer of frames may call it, and only for bytes that no reader was told of.
    pub(crate) fn store(&self, bytes: &[u8], offset: u64) -> bool {
        let end = offset + bytes.len() as u64;
        if bytes.len() > LONGEST || offset < self.from || end > self.to {
            return false;
        }
        // One thread at a time writes frames; the writer's lock orders them.
        if end > self.prepared_to.load(Ordering::Relaxed) && !self.prepare(offset, end) {
            return false;
        }
        self.mapping.store(bytes, offset);
        true
    }

    /// Prepares the pages of a range, and those up to the next step.
    fn prepare(&self, offset: u64, end: u64) -> bool {
        if self.failed.load(Ordering::Relaxed) {
            return false;
        }
        // Frames that were written positionally may lie between.
        let from = self.prepared_to.load(Ordering::Relaxed).max(offset / STEP * STEP);
        self.prepare_range(from, end.next_multiple_of(STEP).min(self.to))
    }

    fn prepare_range(&self, from: u64, to: u64) -> bool {
        let prepared = self.mapping.prepare(from, to).is_ok();
        if prepared {
            self.prepared_to.fetch_max(to, Ordering::Relaxed);
        } else {
            self.failed.store(true, Ordering::Relaxed);
        }
        prepared
    }

    /// Whether it is time to prepare pages ahead of writes like one of `len` bytes that ended at `end`: those that are not
    /// stored need no pages.
    pub(crate) fn lacks_pages(&self, len: usize, end: u64) -> bool {
        let prepared_to = self.prepared_to.load(Ordering::Relaxed);
        len <= LONGEST
            && prepared_to < self.to.min(end + AHEAD / 2)
            && !self.failed.load(Ordering::Relaxed)
    }

    /// Prepares pages ahead of frames that end at `end`, in a thread beside the one that stores.
    pub(crate) fn prepare_ahead(&self, end: u64) {
        let to = self.to.min((end + AHEAD).next_multiple_of(STEP));
        loop {
            let from = self.prepared_to.load(Ordering::Relaxed).max(end / STEP * STEP);
            if from >= to || !self.prepare_range(from, to.min(from + STEP)) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct AnyPages;

    impl WriteMapping for AnyPages {
        fn prepare(&self, _from: u64, _to: u64) -> io::Result<()> {
            Ok(())
        }

        fn store(&self, _bytes: &[u8], _offset: u64) {}
    }

    #[test]
    fn pages_are_prepared_ahead_of_writes_that_are_stored() {
        let tail = MappedTail {
            mapping: Box::new(AnyPages),
            from: 0,
            to: 128 << 20,
            prepared_to: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        };
        let end = 1 << 20;
        assert!(tail.lacks_pages(LONGEST, end));
        assert!(!tail.lacks_pages(LONGEST + 1, end), "the next one is written positionally too");
        tail.prepare_ahead(end);
        assert!(!tail.lacks_pages(LONGEST, end));
        assert!(tail.lacks_pages(LONGEST, end + AHEAD));
        assert!(!tail.lacks_pages(LONGEST + 1, end + AHEAD));
    }
}
