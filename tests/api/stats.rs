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

#[test]
fn histograms_have_the_groups_and_syncs_and_some_of_the_appends() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("s")).unwrap();
    for number in 0..130 {
        let events = (0..=number % 3).map(|_| NewEvent::new("Happened", ""));
        store.append("s", ExpectedVersion::Any, events).unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.group_events.count(), stats.groups);
    let sizes: Vec<u64> = stats.group_events.buckets.iter().map(|bucket| bucket.upto).collect();
    // The first group has the frame that begins the session, and is as large as its commit.
    assert_eq!(sizes, [1, 2, 3]);
    let events: u64 = stats.group_events.buckets.iter().map(|b| b.upto * b.count).sum();
    assert_eq!(events, stats.events);
    assert_eq!(stats.sync_nanos.count(), stats.syncs);
    assert!(stats.sync_nanos.at_share(0.5).unwrap() > 0);
    // One of 64 is timed.
    assert_eq!(stats.append_nanos.count(), 3);
    assert!(stats.append_nanos.at_share(0.0) >= stats.sync_nanos.at_share(0.0));
    let reader = annals::Options::new().read_only(true).open(dir.path().join("s")).unwrap();
    assert_eq!(reader.stats().group_events, annals::Histogram::default());
}
