//! Helpers of these tests.

use std::collections::HashMap;
use std::path::PathBuf;

use annals::{Options, Result, Store};

/// A store in a directory that is removed when this is dropped.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Small segments make rollovers, seals and checkpoints happen during the test.
    pub(crate) fn open(&self) -> Store {
        Self::options().open(self.path()).unwrap()
    }

    pub(crate) fn options() -> Options {
        Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
    }
}

/// Reads up to the pinned head, and asserts that positions and versions have no gaps and that the
/// last commit is whole. Returns the head.
pub(crate) fn check_prefix(store: &Store) -> Result<u64> {
    let events = store.read_all().start()?;
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
    }
    assert_eq!(position, head, "an end without an error is the end");
    assert!(whole, "half a commit is visible, up to {head}");
    Ok(head)
}
