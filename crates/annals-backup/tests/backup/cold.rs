//! Segments that are in the backup alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::cold::SegmentSource;
use annals::verify::verify_with_cold_segments;
use annals::{Error, Store};
use annals_backup::object_store::ObjectStore;
use annals_backup::{
    ColdBackup, Destination, Keys, PruneOptions, RestoreOptions, ShipOptions, Shipper, keep_local,
    prune, restore,
};

use crate::faulty::FaultyStore;
use crate::support::*;

fn source(from: &Destination) -> Arc<dyn SegmentSource> {
    ColdBackup::new(from.clone()).shared()
}

/// A store of several segments that is shipped to a place.
fn shipped(path: &std::path::Path, to: &Destination) -> Store {
    let store = options().cold_segments(source(to)).open(path).unwrap();
    fill(&store, 0..200);
    store.close().unwrap();
    let store = options().cold_segments(source(to)).open(path).unwrap();
    ship(&store, to);
    store
}

#[test]
fn segments_that_are_in_the_backup_alone_show_what_they_held() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let (_, to) = memory();
    let to = to.with_keys(Keys::parse(&Keys::generate()).unwrap());
    let store = shipped(&path, &to);
    let before = shown(&store, u64::MAX);
    let state_before = state(&store);
    let freed = keep_local(&store, 100_000).unwrap();
    let cold = store.cold_segments().unwrap();
    assert!(freed > 200_000 && cold.len() > 3, "{freed} bytes, {cold:?}");
    assert_eq!(keep_local(&store, 100_000).unwrap(), 0);
    assert_eq!(shown(&store, u64::MAX), before);
    store.close().unwrap();

    let reader = annals::Options::new().read_only(true).cold_segments(source(&to));
    let reader = reader.open(&path).unwrap();
    assert_eq!(shown(&reader, u64::MAX), before);
    assert_eq!(state(&reader), state_before);
    let report = verify_with_cold_segments(&path, source(&to), |_| {}).unwrap();
    assert_eq!((report.faults.len(), report.cold_segments), (0, 0), "{:?}", report.faults);

    // The store goes on, and so does its backup.
    let store = options().cold_segments(source(&to)).open(&path).unwrap();
    fill(&store, 200..300);
    ship(&store, &to);
    restore(&to, dir.path().join("copy"), &RestoreOptions::new(), |_| {}).unwrap();
    let copy = open(&dir.path().join("copy"));
    assert_eq!(shown(&copy, u64::MAX), shown(&store, u64::MAX));
}

#[test]
fn shipper_keeps_what_it_was_asked_to_keep() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let (_, to) = memory();
    let store = options().cold_segments(source(&to)).open(&path).unwrap();
    let ship_options = ShipOptions::new().keep_local(200_000);
    let mut shipper = Shipper::new(store.clone(), to.clone(), ship_options.clone()).unwrap();
    for round in 0..12 {
        fill(&store, round * 50..(round + 1) * 50);
        shipper.ship().unwrap();
    }
    let local = |store: &Store| {
        let cold = store.cold_segments().unwrap();
        let log = store.durable_log().unwrap();
        let full = log.segments().filter(|segment| segment.full().is_some());
        full.filter(|segment| !cold.contains(&segment.number())).map(|it| it.len()).sum::<u64>()
    };
    // One that was sealed after the last upload is full in the backup with the next.
    let until = Instant::now() + Duration::from_secs(60);
    let mut next = 600;
    while local(&store) > 400_000 {
        assert!(Instant::now() < until, "{} bytes", local(&store));
        commit(&store, next);
        next += 1;
        shipper.ship().unwrap();
    }
    assert!(!store.cold_segments().unwrap().is_empty());
    let before = shown(&store, u64::MAX);
    drop((shipper, store));
    assert_eq!(shown(&options().cold_segments(source(&to)).open(&path).unwrap(), u64::MAX), before);

    // Without a source nothing can be moved, and that is said.
    let store = open(&path);
    fill(&store, next..next + 100);
    let mut shipper = Shipper::new(store.clone(), to, ship_options).unwrap();
    let refused = loop {
        assert!(Instant::now() < until, "it is not refused");
        match shipper.ship() {
            // A segment that is not full in the backup is not moved.
            Ok(_) => commit(&store, next),
            Err(refused) => break refused,
        }
    };
    assert!(refused.to_string().contains("Options::cold_segments"), "{refused}");
}

#[test]
fn segment_that_is_not_shipped_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (_, to) = memory();
    let (_, other) = memory();
    let store = shipped(&dir.path().join("ledger"), &to);
    fill(&store, 200..300);
    store.close().unwrap();
    let store = options().cold_segments(source(&to)).open(dir.path().join("ledger")).unwrap();
    keep_local(&store, 0).unwrap();
    let cold = store.cold_segments().unwrap();
    let log = store.durable_log().unwrap();
    let full = log.segments().filter(|segment| segment.full().is_some()).count();
    assert!(!cold.is_empty() && cold.len() < full, "{cold:?} of {full}");
    drop(store);
    // A backup of another store with the same numbers.
    let stranger = shipped(&dir.path().join("other"), &other);
    drop(stranger);
    let store = options().cold_segments(source(&other)).open(dir.path().join("ledger")).unwrap();
    let next = cold.len() as u64 + 1;
    assert!(matches!(store.make_cold(next), Err(Error::ColdSegment { .. })));
    assert_eq!(store.cold_segments().unwrap(), cold);
    let error = store.make_local(1).unwrap_err();
    assert!(matches!(error, Error::ColdSegment { segment: 1, .. }), "{error:?}");
}

#[test]
fn storage_that_is_out_of_reach_fails_the_reads_that_need_it_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let faulty = Arc::new(FaultyStore::new(7));
    let to = Destination::in_store(Arc::clone(&faulty) as Arc<dyn ObjectStore>, "b").unwrap();
    let store = shipped(&path, &to);
    let before = shown(&store, u64::MAX);
    keep_local(&store, 0).unwrap();
    store.close().unwrap();

    faulty.fail_after(0);
    let store = options().cold_segments(source(&to)).open(&path).unwrap();
    fill(&store, 200..201);
    let failed = store.read_all().include_hidden().for_each(|_| {}).unwrap_err();
    assert!(matches!(failed, Error::ColdSegment { source: Some(_), .. }), "{failed:?}");
    assert_eq!(keep_local(&store, 0).unwrap(), 0);
    faulty.fail_after(u64::MAX);
    assert_eq!(shown(&store, before.len() as u64), before);
    for number in store.cold_segments().unwrap() {
        store.make_local(number).unwrap();
    }
    drop(store);
    assert_eq!(shown(&open(&path), before.len() as u64), before);
}

#[test]
fn what_is_cold_survives_a_prune_and_is_fetched_from_async_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let (_, to) = memory();
    let store = shipped(&path, &to);
    let before = shown(&store, u64::MAX);
    keep_local(&store, 0).unwrap();
    fill(&store, 200..260);
    ship(&store, &to);
    let now = PruneOptions::new().grace(std::time::Duration::ZERO);
    prune(&to, &now).unwrap();
    drop(store);
    let store = options().cold_segments(source(&to)).open(&path).unwrap();
    // A thread of a runtime must not wait for another one.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(async { shown(&store, before.len() as u64) });
    assert_eq!(found, before);
}
