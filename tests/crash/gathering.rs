//! Leaders that wait for commits before a sync: nothing is lost, and nobody is left waiting.

use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use annals::testing::{Call, Crash, Hook, HookedStorage, Keep, Operation, SimStorage, Storage};
use annals::{Error, ExpectedVersion, NewEvent, Options, Store};

const THREADS: u64 = 4;
const COMMITS: u64 = 200;
/// Far more than is ever needed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hook of a disk whose syncs take so long that leaders wait for commits.
struct SlowSyncs;

impl Hook for SlowSyncs {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if call.operation == Operation::Sync {
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

fn open(storage: impl Storage) -> Store {
    let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE);
    options.storage(Arc::new(storage)).open(Path::new("/store")).unwrap()
}

/// Commits again as soon as a commit is durable, until the store is closed; the last version.
fn append_until_closed(store: &Store, stream: &str, said: &mpsc::Sender<u64>) -> u64 {
    for version in 1.. {
        match store.append(stream, ExpectedVersion::Exact(version - 1), [NewEvent::new("T", "")]) {
            Ok(_) => said.send(version).unwrap(),
            Err(Error::Closed) => return version - 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    unreachable!("versions do not end")
}

#[test]
fn commits_that_leaders_wait_for_are_acknowledged_and_durable() {
    let sim = SimStorage::new(1);
    let store = open(HookedStorage::new(sim.clone(), SlowSyncs));
    let (say, said) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (store, say) = (store.clone(), say.clone());
            thread::spawn(move || append_until_closed(&store, &format!("s-{number}"), &say))
        })
        .collect();
    for _ in 0..THREADS * COMMITS {
        said.recv_timeout(PATIENCE).expect("a commit is acknowledged");
    }
    // In the middle of a wait, or of a sync.
    store.close().unwrap();
    let versions: Vec<u64> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    let store = open(sim.process());
    for (number, version) in (0..).zip(&versions) {
        let head = store.stream_head(&format!("s-{number}")).unwrap();
        assert_eq!(head.map_or(0, |head| head.version), *version);
    }
    assert_eq!(store.head().get(), versions.iter().sum::<u64>());
}
