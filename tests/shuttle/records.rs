//! Records: expected versions under contention, and reads and listings beside writers.

use annals::testing::SimStorage;
use annals::{Error, ExpectedRecord, ExpectedVersion, FailedCheck, Record, Store};
use shuttle::thread::{self, JoinHandle};

use super::support::*;

/// Almost a quarter of a segment, the size of the largest commit.
const LARGE: usize = 15_000;

/// The version and the number in a record that counts; 0 and 0 if there is none.
fn counted(record: Option<Record>) -> (u64, u64) {
    record.map_or((0, 0), |record| {
        let text = std::str::from_utf8(&record.value).unwrap();
        (record.version, text.parse().unwrap())
    })
}

fn count(store: &Store, key: &str) -> (u64, u64) {
    counted(store.records().get(key).unwrap())
}

fn exactly(version: u64) -> ExpectedRecord {
    if version == 0 { ExpectedRecord::NoRecord } else { ExpectedRecord::Exact(version) }
}

/// Counts in the record `r/sum`, each time from the value that a read returned, in commits with an event of
/// this size or without one. Returns the versions that it has put.
fn counter(
    store: &Store,
    name: &'static str,
    rounds: u64,
    size: Option<usize>,
) -> JoinHandle<Vec<u64>> {
    let store = store.clone();
    thread::spawn(move || {
        let mut won = Vec::new();
        for round in 1..=rounds {
            let (version, number) = count(&store, "r/sum");
            let mut transaction = store
                .transaction()
                .put("r/sum", (number + 1).to_string(), exactly(version))
                .put(format!("r/{name}"), round.to_string(), ExpectedRecord::Any);
            if let Some(size) = size {
                transaction = transaction.append(name, ExpectedVersion::Any, [event(size)]);
            }
            match transaction.commit() {
                Ok(done) => {
                    assert_eq!(done.record_versions[0], version + 1);
                    assert_eq!(done.record_versions[1], won.len() as u64 + 1);
                    assert!(count(&store, "r/sum").0 > version, "an own change is visible");
                    won.push(version + 1);
                }
                Err(Error::Conflict { failed, .. }) => {
                    let [FailedCheck::WrongRecordVersion { actual, .. }] = &failed[..] else {
                        panic!("{failed:?}")
                    };
                    assert!(*actual > version, "refused at {version}, which is {actual}");
                    // A conflict is returned once reads show what caused it.
                    assert!(count(&store, "r/sum").0 >= *actual);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        won
    })
}

/// Reads and listings never return an older value after a newer one, and nothing that a power loss takes.
fn watcher(store: &Store, sim: &SimStorage) -> JoinHandle<()> {
    let (store, sim) = (store.clone(), sim.clone());
    thread::spawn(move || {
        let mut seen = 0;
        for round in 0..4 {
            let listed: Vec<Record> =
                store.records().list().prefix("r/").map(Result::unwrap).collect();
            assert!(listed.is_sorted_by(|one, next| one.key < next.key), "{listed:?}");
            let sum = listed.into_iter().find(|record| record.key == "r/sum");
            for (version, number) in [counted(sum), count(&store, "r/sum")] {
                assert_eq!(version, number, "the version counts the changes");
                assert!(version >= seen, "{version} after {seen}");
                seen = version;
            }
            if round % 2 == 0 {
                let lasting = count(&after_power_loss(&sim), "r/sum");
                assert!(lasting.0 >= seen, "a reader saw {seen}, and the disk has {lasting:?}");
            }
        }
    })
}

fn count_in_turn(size: Option<usize>, rounds: u64) {
    let sim = SimStorage::new(1);
    let store = open(&sim);
    let watcher = watcher(&store, &sim);
    let counters = [counter(&store, "a", rounds, size), counter(&store, "b", rounds, size)];
    let won = counters.map(|it| it.join().unwrap());
    watcher.join().unwrap();
    let mut versions = won.concat();
    versions.sort_unstable();
    let last = versions.len() as u64;
    assert_eq!(versions, (1..=last).collect::<Vec<_>>(), "each version has one winner");
    let segments = store.stats().segments;
    store.close().unwrap();
    for store in [after_power_loss(&sim), open(&sim)] {
        assert_eq!(count(&store, "r/sum"), (last, last));
        for (name, won) in ["a", "b"].into_iter().zip(&won) {
            assert_eq!(count(&store, &format!("r/{name}")).0, won.len() as u64);
        }
    }
    assert_eq!(segments > 1, size == Some(LARGE));
    let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
    assert_eq!(report.faults, []);
}

#[test]
fn one_of_racing_puts_of_a_record_wins() {
    explore(|| count_in_turn(None, 3));
}

/// Records move from memory to index files while they are checked and listed.
#[test]
fn racing_puts_of_a_record_survive_rollovers() {
    explore(|| count_in_turn(Some(LARGE), 6));
}

/// The reader takes records from the segments that it follows and from index files that appear beside it.
#[test]
fn follower_lists_no_older_record_after_a_newer_one() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        append(&store, "s0", 10).unwrap();
        let reader = options(sim.process()).read_only(true).open(ROOT).unwrap();
        let watcher = watcher(&reader, &sim);
        let writer = counter(&store, "a", 5, Some(LARGE));
        assert_eq!(writer.join().unwrap(), [1, 2, 3, 4, 5]);
        watcher.join().unwrap();
        assert_eq!(count(&reader, "r/sum"), (5, 5));
        reader.close().unwrap();
        store.close().unwrap();
    });
}
