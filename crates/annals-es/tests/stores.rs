//! The conformance tests against each store of the crate.

#![allow(missing_docs)]

use annals::Store;
use annals_es::{AnnalsStore, MemoryStore, store_conformance};
use tempfile::TempDir;

fn open(of: fn(Store) -> AnnalsStore) -> (AnnalsStore, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = annals::Options::new()
        .segment_size(64 << 20)
        .open(dir.path().join("store"))
        .expect("a new store");
    (of(store), dir)
}

store_conformance! {
    memory: (MemoryStore::new(), ()),
    traits: [EventStore, OrderedStore, SeveralStreams, Boundaries, AtomicCheckpoints]
}

store_conformance! {
    annals_for_tasks: open(AnnalsStore::new),
    traits: [EventStore, OrderedStore, SeveralStreams, Boundaries, AtomicCheckpoints]
}

store_conformance! {
    annals_blocking: open(AnnalsStore::blocking),
    traits: [EventStore, OrderedStore, SeveralStreams, Boundaries, AtomicCheckpoints]
}
