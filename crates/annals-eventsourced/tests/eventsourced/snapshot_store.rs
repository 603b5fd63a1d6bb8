//! The snapshot store: what is loaded, and what is refused.

use std::num::NonZeroU64;

use adapter_tests::{Life, Way};
use annals::{ExpectedVersion, NewEvent};
use annals_eventsourced::{AnnalsSnapshotStore, Error};
use eventsourced::binarize::serde_json::{from_bytes, to_bytes};
use eventsourced::snapshot_store::SnapshotStore;

fn snapshots(life: &Life) -> AnnalsSnapshotStore<u64> {
    AnnalsSnapshotStore::new("counter", life.store().clone())
}

async fn load(store: &AnnalsSnapshotStore<u64>, id: u64) -> Option<(u64, i32)> {
    let found = store.load::<i32, _, _>(&id, from_bytes).await.unwrap();
    found.map(|found| (found.seq_no.get(), found.state))
}

fn fill(life: &Life, events: usize) {
    let events = vec![NewEvent::new("counter", "1"); events];
    life.store().append("counter-0", ExpectedVersion::Any, events).unwrap();
}

#[tokio::test]
async fn newest_snapshot_is_loaded() {
    let at = |seq_no| NonZeroU64::new(seq_no).unwrap();
    for mut life in Life::each() {
        assert_eq!(load(&snapshots(&life), 0).await, None);
        fill(&life, 42);
        snapshots(&life).save(&0, at(42), &666, &to_bytes).await.unwrap();
        life.end_step();
        assert_eq!(load(&snapshots(&life), 0).await, Some((42, 666)));
        assert_eq!(load(&snapshots(&life), 1).await, None);
        let other = AnnalsSnapshotStore::new("timer", life.store().clone());
        assert_eq!(load(&other, 0).await, None);
        fill(&life, 1);
        snapshots(&life).save(&0, at(43), &667, &to_bytes).await.unwrap();
        life.end_step();
        assert_eq!(load(&snapshots(&life), 0).await, Some((43, 667)));
        let newer = snapshots(&life).with_schema_version(1);
        assert_eq!(load(&newer, 0).await, None);
    }
}

#[tokio::test]
async fn snapshot_ahead_of_the_store_or_of_another_type_is_an_error() {
    let life = Life::new(Way::Straight);
    let early = snapshots(&life).save(&0, NonZeroU64::MIN, &1, &to_bytes).await;
    assert!(matches!(early, Err(Error::Store(annals::Error::SnapshotAhead { .. }))), "{early:?}");
    fill(&life, 1);
    snapshots(&life).save(&0, NonZeroU64::MIN, &1, &to_bytes).await.unwrap();
    let failed = snapshots(&life).load::<String, _, _>(&0, from_bytes).await.map(drop);
    assert!(matches!(failed, Err(Error::FromBytes { .. })), "{failed:?}");
}
