//! A storage that shows cold segments under the names of their files.
//!
//! Everything else goes to the storage below it. Must never change what a name leads to unless it is that of a
//! segment.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::SegmentSource;
use super::file::{Place, SegmentOrStub};
use super::segments::ColdSegments;
use crate::storage::{
    Binding, Bound, DirEntry, EntryKind, File, LockGuard, Mappings, OpenMode, Storage,
};

#[derive(Debug)]
struct WithColdSegments {
    below: Arc<dyn Storage>,
    segments: Arc<ColdSegments>,
}

/// Shows the cold segments of the store in `root`. `cache_bytes`: the memory for those that were read back.
pub(crate) fn over(
    below: &Arc<dyn Storage>,
    root: &Path,
    source: Option<Arc<dyn SegmentSource>>,
    cache_bytes: u64,
) -> (Arc<dyn Storage>, Arc<ColdSegments>) {
    let segments = Arc::new(ColdSegments::new(Arc::clone(below), root, source, cache_bytes));
    let storage = WithColdSegments { below: Arc::clone(below), segments: Arc::clone(&segments) };
    (Arc::new(storage), segments)
}

impl WithColdSegments {
    /// The number of the segment whose final name this is.
    fn segment_of(&self, path: &Path) -> Option<u64> {
        self.segments.number_of(path).filter(|_| path.extension().is_some_and(|it| it == "seg"))
    }
}

impl Storage for WithColdSegments {
    fn at(&self, root: &Path, binding: Binding) -> io::Result<Option<Bound>> {
        self.below.at(root, binding)
    }

    fn unbound(&self) -> Option<Arc<dyn Storage>> {
        self.below.unbound()
    }

    fn check_place(&self) -> io::Result<()> {
        self.below.check_place()
    }

    fn mappings(&self) -> Mappings {
        self.below.mappings()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let Some(number) = self.segments.number_of(path) else {
            return self.below.open(path, mode);
        };
        let opened = match self.below.open(path, mode) {
            Ok(file) => Place::File(file),
            Err(error) if error.kind() == ErrorKind::NotFound && mode != OpenMode::CreateNew => {
                let stub = self.segment_of(path).map(|number| self.segments.stub(number));
                Place::Stub(Arc::new(stub.transpose()?.flatten().ok_or(error)?))
            }
            Err(error) => return Err(error),
        };
        Ok(Arc::new(SegmentOrStub::new(&self.segments, number, mode, opened)))
    }

    fn entry_kind(&self, path: &Path) -> io::Result<Option<EntryKind>> {
        match (self.below.entry_kind(path)?, self.segment_of(path)) {
            (None, Some(number)) => self.below.entry_kind(&self.segments.stub_path(number)),
            (kind, _) => Ok(kind),
        }
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        match (self.below.file_len(path), self.segment_of(path)) {
            (Err(error), Some(number)) if error.kind() == ErrorKind::NotFound => {
                self.segments.stub(number)?.map(|stub| stub.segment_len()).ok_or(error)
            }
            (len, _) => len,
        }
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.below.read_dir(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.below.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.hard_link(from, to)
    }

    /// The stub goes first: without its segment, it would bring the segment back.
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let Some(number) = self.segment_of(path) else { return self.below.remove_file(path) };
        match self.below.remove_file(&self.segments.stub_path(number)) {
            Ok(()) => {
                self.below.sync_dir(path.parent().unwrap_or(path))?;
                match self.below.remove_file(path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    removed => removed,
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.below.remove_file(path),
            Err(error) => Err(error),
        }
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.below.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.below.sync_dir(path)
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Arc<dyn LockGuard>>> {
        self.below.try_lock(path)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.below.is_locked(path)
    }

    fn lock_holder(&self, path: &Path) -> Option<u32> {
        self.below.lock_holder(path)
    }

    fn now_micros(&self) -> u64 {
        self.below.now_micros()
    }

    fn monotonic_micros(&self) -> u64 {
        self.below.monotonic_micros()
    }

    fn random_u64(&self) -> u64 {
        self.below.random_u64()
    }
}
