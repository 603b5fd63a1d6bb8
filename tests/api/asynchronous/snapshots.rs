//! Snapshots and single events of tasks.

use annals::snapshot::Snapshot;
use annals::testing::SimStorage;
use annals::{Error, ExpectedVersion, NewEvent, Uuid};

use super::super::shared::ROOT;
use super::{disk, fill, options, run};

#[test]
fn snapshots_and_events_of_a_task_are_read_by_a_thread_of_the_store() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    let ids = [1, 2, 3].map(Uuid::from_u128);
    let events = ids.map(|id| NewEvent::new("Happened", "").id(id));
    store.append("s", ExpectedVersion::NoStream, events).unwrap();
    fill(&store, 1_000);
    let (saved, taken) = run(store.snapshots().save_async(Snapshot::new("s", 2, "two")), || {});
    saved.unwrap();
    assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
    store.close().unwrap();

    // The first use of a store that was just opened: no file of snapshots or indexes is open.
    let store = options(&disk).open(ROOT).unwrap();
    let (loaded, taken) = run(store.snapshots().load_at_most_async("s", 3), || {});
    assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
    assert_eq!(loaded.unwrap(), store.snapshots().load("s").unwrap());
    store.close().unwrap();
    let store = options(&disk).open(ROOT).unwrap();
    for (id, version) in [(ids[1], Some(2)), (Uuid::from_u128(9), None)] {
        let (found, taken) = run(store.event_async(id), || {});
        assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
        assert_eq!(found.unwrap().map(|event| event.version()), version);
    }
    store.close().unwrap();
    let store = options(&disk).open(ROOT).unwrap();
    for stream in ["s", "none"] {
        let (head, taken) = run(store.stream_head_async(stream), || {});
        assert_eq!((taken.reads, taken.slow), (0, 0), "{taken:?}");
        assert_eq!(head.unwrap(), store.stream_head(stream).unwrap());
    }
}

#[test]
fn snapshots_of_a_task_are_refused_as_in_their_blocking_forms() {
    let disk = disk(&SimStorage::new(1));
    let store = options(&disk).open(ROOT).unwrap();
    store.append("s", ExpectedVersion::NoStream, [NewEvent::new("Happened", "")]).unwrap();
    super::block_on(async {
        let snapshots = store.snapshots();
        drop(snapshots.save_async(Snapshot::new("s", 1, "dropped")));
        assert_eq!(snapshots.load_at_most_async("s", 1).await.unwrap(), None);
        let ahead = snapshots.save_async(Snapshot::new("s", 2, "")).await;
        assert!(matches!(ahead, Err(Error::SnapshotAhead { .. })), "{ahead:?}");
        store.clone().close_async().await.unwrap();
        let saved = snapshots.save_async(Snapshot::new("s", 1, "")).await;
        assert!(matches!(saved, Err(Error::Closed)), "{saved:?}");
        assert!(matches!(snapshots.load_at_most_async("s", 1).await, Err(Error::Closed)));
        assert!(matches!(store.event_async(Uuid::from_u128(1)).await, Err(Error::Closed)));
        assert!(matches!(store.stream_head_async("s").await, Err(Error::Closed)));
    });
}
