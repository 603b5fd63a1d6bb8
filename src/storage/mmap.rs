//! Memory that files are read from and written through: the only module with `unsafe` code.
//!
//! It owns the mapping of a file, or a heap copy in its place. It lends ranges of a [`Mapping`], and copies bytes into a
//! [`WritableMapping`]. It must never create a reference to bytes that were not requested, never create one to a
//! writable mapping, and never interpret the bytes.
//!
//! # Why this is sound
//!
//! A `&[u8]` promises that its bytes do not change while it lives. The kernel cannot keep that
//! promise for a mapped file, so it rests on these rules, each kept by the named part:
//!
//! 1. **In bounds.** [`Mapping::get`] checks every range against the mapped length. The storage
//!    maps no more than the length the file has when it is mapped.
//! 2. **No bytes that may still change.** The engine asks a live mapping only for ranges below
//!    the mark up to which the file has been written. The log is append-only: bytes below the
//!    mark are not written again while the process runs. Bytes above it change, therefore no
//!    reference ever covers the whole of a mapping, only the range asked for.
//! 3. **Written before read.** The mark is raised, with release ordering or under a lock, after
//!    the write that filled the range has returned. A shared mapping and positional writes see
//!    one page cache where live mappings are offered.
//! 4. **No shrinking.** The engine never cuts a file below its data. A segment is cut when it is
//!    sealed, which leaves mappings of it that are longer than the file; the excess is above the
//!    mark, so no reference covers it (rule 2) and no code touches it.
//! 5. **The memory outlives the reference.** `get` borrows from the `Mapping`, which shares the
//!    memory with its clones; the last one unmaps it. A store with too many mappings drops its own
//!    clones of some; events and reads that use one keep it, and later reads map the file again.
//!
//! 6. **One writer, above the mark.** The engine stores only bytes above the mark, by one thread at a time: the leader of
//!    a group of commits, and leaders follow each other under the writer's lock. A store is a copy through a raw
//!    pointer, in bounds of the mapping, so that it races with no reference. The mark is raised after it, with release
//!    ordering; a reader that loads the mark sees the bytes, in this process and in others, since all mappings of a
//!    file share its pages.
//! 7. **No signal by a store.** A store into a hole of a full disk, into space that the file system has to allocate, or
//!    into a page that cannot be read, raises `SIGBUS`. So the space is reserved first, also that of a copied store
//!    that has holes; only file systems are used that write to the space that was reserved, unless the application asks
//!    for others; and pages are prepared by a call that returns an error. What is left is a prepared page that was
//!    evicted and cannot be read again. Nothing is stored after the file is cut: a segment is sealed when all its frames
//!    are durable and the next one is in use.
//!
//! A stray write of the program itself can change a writable mapping, as it can change a buffer before it is written; in
//! the mapping also what was written before. The checksums of frames and records show both when the segment is sealed or,
//! after an opening, when the bytes are read.
//!
//! A power loss may keep any page that was stored to and not synced, in any state that it had, since pages are written
//! out in any order and also in the middle of a copy. Recovery expects that of all bytes after the last sync.
//!
//! Another program that changes or cuts the files breaks rules 2 and 4. Changed bytes are caught
//! by checksums as far as they are seen when they are verified; touching a page beyond the new
//! end of a file raises `SIGBUS` and ends the process. Both are outside the contract: the
//! advisory lock keeps a second writer out, and nothing can keep other programs out.
#![allow(
    unsafe_code,
    reason = "borrowing ranges of a mapped file; the argument is in the module's head"
)]

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::{MmapOptions, MmapRaw};

#[cfg(target_os = "linux")]
use super::WriteMapping;

/// Read-only bytes of a file that stay readable for as long as any clone of this handle lives.
#[derive(Clone)]
pub struct Mapping {
    memory: Memory,
}

#[derive(Clone)]
enum Memory {
    Mapped(Arc<Mapped>),
    Heap(Arc<[u8]>),
}

/// A mapping, and the number of those of its store, which it is one of.
struct Mapped {
    map: MmapRaw,
    counted: Option<Arc<AtomicUsize>>,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Some(count) = &self.counted {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Mapping {
    /// Maps the first `len` bytes of `file`, shared and read-only. The caller has checked that
    /// the file is at least that long and that `len` is not zero.
    pub(super) fn of_file(file: &File, len: usize) -> io::Result<Self> {
        debug_assert!(len > 0, "an empty mapping does not exist");
        let map = MmapOptions::new().len(len).map_raw_read_only(file)?;
        assert_eq!(map.len(), len, "the mapping has the length asked for");
        Ok(Self { memory: Memory::Mapped(Arc::new(Mapped { map, counted: None })) })
    }

    /// Counts this mapping for as long as any clone of it lives. It has none yet.
    #[cfg_attr(not(unix), allow(dead_code, reason = "elsewhere, mappings are not limited"))]
    pub(super) fn counted_by(mut self, count: &Arc<AtomicUsize>) -> Self {
        if let Memory::Mapped(mapped) = &mut self.memory
            && let Some(mapped) = Arc::get_mut(mapped)
            && mapped.counted.is_none()
        {
            count.fetch_add(1, Ordering::Relaxed);
            mapped.counted = Some(Arc::clone(count));
        }
        self
    }

    /// A mapping of bytes on the heap, for storages that have no files.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self { memory: Memory::Heap(bytes.into()) }
    }

    /// A mapping of shared bytes on the heap, which live as long as the mapping.
    #[cfg(feature = "testing")]
    pub(super) fn from_shared(bytes: Arc<[u8]>) -> Self {
        Self { memory: Memory::Heap(bytes) }
    }

    /// The number of bytes mapped.
    #[allow(clippy::len_without_is_empty, reason = "storages do not make empty mappings")]
    pub fn len(&self) -> usize {
        match &self.memory {
            Memory::Mapped(mapped) => mapped.map.len(),
            Memory::Heap(bytes) => bytes.len(),
        }
    }

    /// The `len` bytes at `offset`, or `None` if they are not all inside the mapping.
    ///
    /// From a mapping that shows later writes, request only bytes that are not written again.
    pub fn get(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(len)?;
        match &self.memory {
            Memory::Heap(bytes) => bytes.get(start..end),
            Memory::Mapped(mapped) => {
                let map = &mapped.map;
                // SAFETY: the mapping is readable and lives as long as `self`, which the result
                // borrows. The range is not written while the reference lives: rules 2 to 4 in the
                // module's head.
                unsafe { range(map.as_ptr(), map.len(), start, end) }
            }
        }
    }
}

/// Memory of a file that bytes are written through.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct WritableMapping {
    map: MmapRaw,
}

#[cfg(target_os = "linux")]
impl WritableMapping {
    /// Maps the first `len` bytes of `file`, shared, for writing. The caller has checked that the file has
    /// them, on space that is reserved.
    pub(super) fn of_file(file: &File, len: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(len).map_raw(file)?;
        assert_eq!(map.len(), len, "the mapping has the length asked for");
        Ok(Self { map })
    }
}

#[cfg(target_os = "linux")]
impl WriteMapping for WritableMapping {
    fn prepare(&self, from: u64, to: u64) -> io::Result<()> {
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        let range = range.filter(|(from, to)| from <= to && *to <= self.map.len());
        let (from, to) = range.ok_or(io::ErrorKind::InvalidInput)?;
        self.map.advise_range(Advice::PopulateWrite, from, to - from)
    }

    fn store(&self, bytes: &[u8], offset: u64) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let fits = start.checked_add(bytes.len()).is_some_and(|end| end <= self.map.len());
        assert!(fits, "a store beyond the mapping");
        // SAFETY: the range is inside the mapping, which is writable and lives as long as `self`. `bytes` do not
        // overlap it: no reference to bytes that are still to be written exists (rule 2). No other thread
        // writes there, and readers load the mark before they read (rules 3 and 6).
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.map.as_mut_ptr().add(start),
                bytes.len(),
            );
        }
    }
}

/// The size of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

impl Mapping {
    /// Prefetches the `len` bytes at `offset` into the processor's cache. A hint: it reads nothing,
    /// does not fault, and does nothing on processors without such an instruction.
    #[inline]
    pub fn prefetch(&self, offset: u64, len: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Memory::Mapped(mapped) = &self.memory {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let map = &mapped.map;
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = start.saturating_add(len).min(map.len());
            for at in (start..end).step_by(LINE) {
                let line = map.as_ptr().wrapping_add(at);
                // SAFETY: a prefetch has no effect that a program can see, whatever the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (offset, len);
    }
}

/// The bytes `start..end` of `memory`, or `None` if they are not all inside.
///
/// # Safety
///
/// `memory` is one allocation, readable for `len` bytes for as long as the result lives, and the
/// range is not written meanwhile. Bytes outside it may be written.
unsafe fn range<'m>(memory: *const u8, len: usize, start: usize, end: usize) -> Option<&'m [u8]> {
    if start > end || end > len {
        return None;
    }
    // SAFETY: `start <= end <= len`, so the range lies inside the allocation. That is never longer
    // than `isize::MAX`; `u8` has no alignment and no invalid values. The caller guarantees the
    // rest.
    Some(unsafe { std::slice::from_raw_parts(memory.add(start), end - start) })
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.memory {
            Memory::Mapped(_) => "file",
            Memory::Heap(_) => "heap",
        };
        f.debug_struct("Mapping").field("kind", &kind).field("len", &self.len()).finish()
    }
}

const _: () = {
    const fn shareable<T: Send + Sync + Clone + 'static>() {}
    shareable::<Mapping>();
};

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bounds(mapping: &Mapping) {
        assert_eq!(mapping.len(), 10);
        assert_eq!(mapping.get(0, 10), Some(&b"0123456789"[..]));
        assert_eq!(mapping.get(3, 4), Some(&b"3456"[..]));
        assert_eq!(mapping.get(10, 0), Some(&b""[..]));
        assert_eq!(mapping.get(0, 11), None);
        assert_eq!(mapping.get(9, 2), None);
        assert_eq!(mapping.get(11, 0), None);
        assert_eq!(mapping.get(u64::MAX, 0), None);
        assert_eq!(mapping.get(u64::MAX, 1), None);
        assert_eq!(mapping.get(1, usize::MAX), None);
    }

    #[test]
    fn range_beyond_shared_memory_is_refused() {
        check_bounds(&Mapping::from_vec(b"0123456789".to_vec()));
    }

    #[test]
    fn clone_of_a_mapping_keeps_its_memory() {
        let first = Mapping::from_vec(vec![7; 100]);
        let second = first.clone();
        drop(first);
        assert_eq!(second.get(99, 1), Some(&[7][..]));
    }

    #[test]
    fn mapped_ranges_are_read_from_many_threads() {
        let mapping = Mapping::from_vec((0..64).collect());
        std::thread::scope(|scope| {
            for start in 0..4_u8 {
                let mapping = &mapping;
                scope.spawn(move || {
                    let range = mapping.get(u64::from(start) * 16, 16).unwrap();
                    assert_eq!(range[0], start * 16);
                });
            }
        });
    }

    /// Rules 2 and 3, as a test for miri: a lent range stays valid while bytes after the mark are
    /// written, and the mark makes it safe to lend them.
    #[test]
    fn mapped_range_may_be_borrowed_while_bytes_after_it_are_written() {
        use crate::sync::AtomicMark;
        use std::cell::UnsafeCell;

        /// A live mapping on the heap: the owner writes, the reader has a pointer to all of it.
        struct Live(Box<[UnsafeCell<u8>]>);
        // SAFETY: each byte is written once, before the mark is raised over it.
        unsafe impl Sync for Live {}

        const LEN: usize = 64;
        let live = Live((0..LEN).map(|_| UnsafeCell::new(0)).collect());
        let mark = AtomicMark::new(0);
        std::thread::scope(|scope| {
            let (live, mark) = (&live, &mark);
            scope.spawn(move || {
                for (at, value) in (0..LEN).zip(1_u8..) {
                    // SAFETY: the byte is after the mark, where nothing is lent.
                    unsafe { *live.0[at].get() = value };
                    mark.raise(at as u64 + 1);
                }
            });
            let (mut seen, mut kept) = (0, Vec::new());
            while seen < LEN {
                let end = usize::try_from(mark.get()).unwrap();
                if end > seen {
                    // SAFETY: below the mark.
                    let lent = unsafe { range(live.0.as_ptr().cast(), LEN, seen, end) };
                    kept.push((seen, lent.unwrap()));
                    seen = end;
                }
                std::thread::yield_now();
            }
            for (from, lent) in kept {
                assert!(lent.iter().enumerate().all(|(i, &b)| usize::from(b) == from + i + 1));
            }
            // SAFETY: nothing is lent.
            assert!(unsafe { range(live.0.as_ptr().cast(), LEN, 1, LEN + 1) }.is_none());
            assert!(unsafe { range(live.0.as_ptr().cast(), LEN, 2, 1) }.is_none());
        });
    }

    #[test]
    fn debug_output_of_a_mapping_has_no_contents() {
        let text = format!("{:?}", Mapping::from_vec(vec![1; 3]));
        assert_eq!(text, "Mapping { kind: \"heap\", len: 3 }");
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps a file")]
    fn range_beyond_a_mapped_file_is_refused() {
        use std::io::Write as _;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789abcdef").unwrap();
        let mapping = Mapping::of_file(&file, 10).unwrap();
        drop(file);
        check_bounds(&mapping);
    }
}
