//! Helpers of several test binaries, each of which declares this file as its module `shared`.
//!
//! It holds only what at least two binaries use, and no assertion about one feature.

#![allow(dead_code, reason = "each binary uses some of the helpers")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use annals::testing::SimStorage;
use annals::{Event, Options, Result, Store};

/// The path of the store on a simulated disk.
pub(crate) const ROOT: &str = "/store";

/// A bound that catches hangs; every wait ends far earlier.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A place for one store, in a directory that is removed when this is dropped.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The directory around the store.
    pub(crate) fn around(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of the store, which does not exist at first.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }
}

/// A waker that counts its calls.
#[derive(Default)]
pub(crate) struct WakeCount(pub(crate) AtomicUsize);

impl Wake for WakeCount {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl WakeCount {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Options with the smallest segments, so that rollovers, seals and checkpoints happen in a test.
pub(crate) fn small_segments() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
}

/// Options with the smallest segments and without threads, for a new process on a simulated disk.
pub(crate) fn simulated(sim: &SimStorage) -> Options {
    small_segments().background(false).storage(Arc::new(sim.process()))
}

/// Reads up to the pinned head, and asserts that positions and versions have no gaps, that recorded
/// times do not decrease, and that every commit is whole. Calls `each` for each event. Returns the
/// head.
pub(crate) fn check_prefix(
    store: &Store,
    include_unsynced: bool,
    mut each: impl FnMut(&Event),
) -> Result<u64> {
    let read = store.read_all();
    let events = if include_unsynced { read.include_unsynced() } else { read }.start()?;
    let head = events.head().get();
    let mut versions: HashMap<String, u64> = HashMap::new();
    let (mut position, mut whole, mut commit, mut time) = (0, true, 1, 0);
    for event in events {
        let event = event?;
        position += 1;
        assert_eq!(event.position().get(), position);
        let version = versions.entry(event.stream().into()).or_default();
        *version += 1;
        assert_eq!(event.version(), *version, "{}", event.stream());
        if whole {
            commit = position;
        }
        assert_eq!(event.commit().get(), commit);
        whole = event.is_last_in_commit();
        assert!(event.recorded_at().as_micros() >= time);
        time = event.recorded_at().as_micros();
        each(&event);
    }
    assert_eq!(position, head, "an end without an error is the end");
    assert!(whole, "half a commit is visible, up to {head}");
    Ok(head)
}
