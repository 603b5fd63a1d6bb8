//! The figures of `stats`, and the cost of asking for them.

use annals::testing::SimStorage;
use annals::{ExpectedVersion, NewEvent, Store};

use super::shared::{ROOT, simulated};

fn open(sim: &SimStorage, read_only: bool) -> Store {
    simulated(sim).compaction(false).read_only(read_only).open(ROOT).unwrap()
}

/// Appends until this number of segments is sealed.
fn fill(store: &Store, segments: u64) {
    while store.stats().sealed_segments < segments {
        let event = NewEvent::new("Happened", vec![7; 900]);
        store.append("stream-1", ExpectedVersion::Any, [event]).unwrap();
    }
}

/// The size of all files in a directory of the store.
fn bytes_in(sim: &SimStorage, directory: &str) -> u64 {
    let files = sim.files().into_iter().filter(|path| path.starts_with(directory));
    files.map(|path| sim.read_file(path).unwrap().len() as u64).sum()
}

#[test]
fn stats_open_no_file() {
    let sim = SimStorage::new(1);
    let store = open(&sim, false);
    fill(&store, 9);
    store.close().unwrap();
    for merged in [false, true] {
        if merged {
            let store = open(&sim, false);
            assert!(store.compact().unwrap().merges > 0);
            store.close().unwrap();
        }
        for read_only in [false, true] {
            let store = open(&sim, read_only);
            let before = sim.stats();
            let stats = store.stats();
            assert_eq!(store.stats(), stats);
            let after = sim.stats();
            assert_eq!((after.opens, after.reads), (before.opens, before.reads));
            assert_eq!(stats.index_bytes, bytes_in(&sim, "/store/index"));
            assert_eq!(stats.level_files > 0, merged);
            // A look-up opens the files that it needs, and the figures stay the same.
            assert_eq!(store.read_stream("stream-1").into_iter().count() as u64, stats.events);
            assert!(sim.stats().opens > after.opens);
            assert_eq!(store.stats().index_bytes, stats.index_bytes);
        }
    }
}
