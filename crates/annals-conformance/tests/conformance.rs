//! The stores in memory and in a directory.

#![allow(missing_docs, reason = "a test")]

use std::process::ExitCode;

use annals::Store;
use annals_conformance::{Backend, Suite, run};
use annals_es::{AnnalsStore, Cause, MemoryStore};
use tempfile::TempDir;

/// A store in a directory of its own.
struct Directory {
    directory: TempDir,
    of: fn(Store) -> AnnalsStore,
}

impl Directory {
    fn of(of: fn(Store) -> AnnalsStore) -> impl Fn() -> Self {
        move || Self { directory: tempfile::tempdir().expect("a directory"), of }
    }
}

impl Backend for Directory {
    type Store = AnnalsStore;

    async fn open(&self) -> Result<AnnalsStore, Cause> {
        let options = annals::Options::new().segment_size(64 << 20);
        Ok((self.of)(options.open(self.directory.path().join("store"))?))
    }

    async fn close(&self, store: AnnalsStore) -> Result<(), Cause> {
        let engine = store.engine().clone();
        drop(store);
        Ok(engine.close()?)
    }
}

/// All of a store with every capability.
fn all<
    B: Backend<
        Store: annals_es::SeveralStreams + annals_es::Boundaries + annals_es::AtomicCheckpoints,
    >,
>(
    suite: Suite<B>,
) -> Suite<B> {
    suite.ordered().dense_positions().several_streams().boundaries().atomic_checkpoints()
}

fn main() -> ExitCode {
    run([
        all(Suite::new("memory", MemoryStore::new)).into(),
        all(Suite::new("tasks", Directory::of(AnnalsStore::new))).into(),
        all(Suite::new("blocking", Directory::of(AnnalsStore::blocking))).into(),
        all(Suite::new(
            "read_on_thread",
            Directory::of(|store| AnnalsStore::new(store).read_on_thread()),
        ))
        .into(),
    ])
}
