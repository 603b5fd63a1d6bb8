//! Records that change between their look-up in index files and the check under the writer's lock.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use annals::testing::{Call, Hook, HookedStorage, SimStorage};
use annals::{
    Durability, Error, ExpectedRecord, ExpectedVersion, FailedCheck, NewEvent, Options, Store,
};

thread_local! {
    /// Whether the first operation of this thread on an index file waits.
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// How long a thread waits for another before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hook of a disk: a thread that has asked for it reports its first operation on an index file, and waits.
struct AtIndexFile {
    reached: SyncSender<()>,
    goes_on: Mutex<Receiver<()>>,
}

impl Hook for AtIndexFile {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if call.path.parent().is_some_and(|it| it.ends_with(Path::new("index"))) && WAITS.take() {
            self.reached.send(()).unwrap();
            self.goes_on.lock().unwrap().recv_timeout(PATIENCE).expect("the other thread ends");
        }
        Ok(())
    }
}

fn append(store: &Store) {
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", vec![7; 7_000])]).unwrap();
}

/// Appends until this number of segments more are sealed: with the last, those before it are only in index files.
fn fill_segments(store: &Store, more: u64) {
    let sealed = || store.stats().sealed_segments;
    let wanted = sealed() + more;
    for _ in 0..10_000 {
        append(store);
        if sealed() >= wanted {
            return;
        }
    }
    panic!("no segment is sealed");
}

/// A commit looks up `hot`, which is in no index file, and then `old`, which is in one. Before it has read the file,
/// `hot` is changed; with `rolls_over` the change moves to an index file too.
fn change_during_a_look_up(rolls_over: bool) {
    let sim = SimStorage::new(1);
    let (reached, is_there) = sync_channel(1);
    let (go_on, goes_on) = sync_channel(1);
    let hook = AtIndexFile { reached, goes_on: Mutex::new(goes_on) };
    let disk = Arc::new(HookedStorage::new(sim.process(), hook));
    let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE).storage(disk);
    let options = options.durability(Durability::BUFFERED);
    // Without threads exactly two segments are sealed. Eight would be merged after the reopening, and the result is open
    // from then on.
    let store = options.clone().background(false).open("/store").unwrap();
    store.records().put("old", "1", ExpectedRecord::NoRecord).unwrap();
    fill_segments(&store, 2);
    // In the active segment, so that no index file is opened for it.
    store.records().put("hot", "1", ExpectedRecord::NoRecord).unwrap();
    store.close().unwrap();

    let store = options.open("/store").unwrap();
    let contender = {
        let store = store.clone();
        thread::spawn(move || {
            WAITS.set(true);
            let transaction = store.transaction().put("hot", "mine", ExpectedRecord::Exact(1));
            transaction.put("old", "2", ExpectedRecord::Exact(1)).commit()
        })
    };
    is_there.recv_timeout(PATIENCE).expect("the commit looks up the record");
    assert_eq!(store.records().put("hot", "2", ExpectedRecord::Exact(1)).unwrap(), 2);
    if rolls_over {
        fill_segments(&store, 3);
    }
    go_on.send(()).unwrap();
    match contender.join().unwrap() {
        Err(Error::Conflict { failed, .. }) => assert!(
            matches!(&failed[..], [FailedCheck::WrongRecordVersion { actual: 2, .. }]),
            "{failed:?}"
        ),
        other => panic!("{other:?}"),
    }
    let values = ["hot", "old"].map(|key| store.records().get(key).unwrap().unwrap().value);
    assert_eq!(values, ["2", "1"]);
    store.close().unwrap();
}

#[test]
fn record_changed_during_a_look_up_is_checked_at_its_newest_version() {
    change_during_a_look_up(false);
}

#[test]
fn record_changed_and_sealed_during_a_look_up_is_looked_up_again() {
    change_during_a_look_up(true);
}
