//! Tracking positions: one record per source, changed in the commit of the events.

#![allow(clippy::unwrap_used)]

mod support;

use adapter_tests::in_every_way;
use annals_umadb::umadb_dcb::{DcbError, DcbEventStoreSync, DcbResult};
use annals_umadb::{MAX_SOURCE_LENGTH, TRACKING_PREFIX, UmaStore};
use support::{Awaited, condition, event, item, query, tracking};
use uuid::Uuid;

fn refusal(result: DcbResult<u64>) -> String {
    match result {
        Err(DcbError::IntegrityError(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// One step of a scenario.
type Step<'a> = &'a mut dyn FnMut(&dyn DcbEventStoreSync);

fn scenario(step: &mut dyn FnMut(Step<'_>)) {
    let new = || vec![event("Copied", "d", &["t"])];
    step(&mut |store| {
        assert_eq!(store.get_tracking_info("a").unwrap(), None);
        assert_eq!(store.append(new(), None, tracking("a", 5)).unwrap(), 1);
    });
    step(&mut |store| {
        assert_eq!(store.get_tracking_info("a").unwrap(), Some(5));
        assert_eq!(store.get_tracking_info("b").unwrap(), None);
        for stale in [5, 4, 0] {
            let text = refusal(store.append(new(), None, tracking("a", stale)));
            assert!(text.contains("non-increasing tracking position"), "{text}");
        }
        assert_eq!(store.head().unwrap(), Some(1));
    });
    step(&mut |store| {
        assert_eq!(store.append(new(), None, tracking("a", u64::MAX)).unwrap(), 2);
        assert_eq!(store.append(new(), None, tracking("", 0)).unwrap(), 3);
    });
    // Without events the position alone is recorded.
    step(&mut |store| assert_eq!(store.append(vec![], None, tracking("b", 1)).unwrap(), 0));
    step(&mut |store| {
        assert!(!refusal(store.append(vec![], None, tracking("b", 1))).is_empty());
        assert_eq!(store.get_tracking_info("b").unwrap(), Some(1));
        assert_eq!(store.get_tracking_info("").unwrap(), Some(0));
        let (events, _) = store.read_with_head(None, None, false, None).unwrap();
        let infos: Vec<_> = events.into_iter().map(|it| it.tracking_info).collect();
        assert_eq!(infos, [tracking("a", 5), tracking("a", u64::MAX), tracking("", 0)]);
    });
    // A condition is checked before the position, and a repetition is recognised before both.
    let seat = || vec![event("SeatTaken", "", &["seat"]).uuid(Uuid::from_u128(7))];
    let free = || condition(query([item(&[], &["seat"])]), None);
    step(&mut |store| assert_eq!(store.append(seat(), free(), tracking("c", 1)).unwrap(), 4));
    step(&mut |store| {
        assert_eq!(store.append(seat(), free(), tracking("c", 1)).unwrap(), 4);
        let text = refusal(store.append(new(), free(), tracking("c", 1)));
        assert!(text.contains("matches it"), "{text}");
        let text = refusal(store.append(new(), condition(query([]), Some(4)), tracking("c", 1)));
        assert!(text.contains("1 <= 1"), "{text}");
        assert_eq!(store.head().unwrap(), Some(4));
    });
    let longest = "s".repeat(MAX_SOURCE_LENGTH);
    step(&mut |store| {
        assert_eq!(store.append(new(), None, tracking(&longest, 1)).unwrap(), 5);
        let too_long = store.append(new(), None, tracking(&format!("{longest}s"), 1));
        assert!(matches!(too_long, Err(DcbError::InvalidArgument(_))));
        assert_eq!(store.head().unwrap(), Some(5));
    });
}

#[test]
fn tracking_position_only_increases() {
    in_every_way(|life| {
        scenario(&mut |step| life.step(|store| step(&UmaStore::new(store.clone()))));
    });
    in_every_way(|life| {
        scenario(&mut |step| life.step(|store| step(&Awaited(UmaStore::new(store.clone())))));
    });
}

#[test]
fn concurrent_positions_of_one_source_are_recorded_in_order() {
    in_every_way(|life| {
        life.step(|store| {
            std::thread::scope(|scope| {
                for worker in 0..4_u64 {
                    let store = UmaStore::new(store.clone());
                    scope.spawn(move || {
                        for n in 0..25 {
                            let position = n * 4 + worker + 1;
                            let new = vec![event("Copied", "", &[])];
                            match DcbEventStoreSync::append(
                                &store,
                                new,
                                None,
                                tracking("a", position),
                            ) {
                                Ok(_) | Err(DcbError::IntegrityError(_)) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    });
                }
            });
        });
        life.step(|store| {
            let store = UmaStore::new(store.clone());
            let (events, _) = store.read_with_head(None, None, false, None).unwrap();
            let positions: Vec<u64> =
                events.into_iter().map(|it| it.tracking_info.unwrap().position).collect();
            assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
            assert_eq!(DcbEventStoreSync::get_tracking_info(&store, "a").unwrap(), Some(100));
            assert_eq!(positions.last(), Some(&100));
        });
    });
}

#[test]
fn record_that_is_no_position_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = UmaStore::open(dir.path().join("ledger")).unwrap();
    let key = format!("{TRACKING_PREFIX}a");
    store.store().records().put(&key, "five", annals::ExpectedRecord::Any).unwrap();
    let looked_up = DcbEventStoreSync::get_tracking_info(&store, "a");
    assert!(matches!(looked_up, Err(DcbError::DeserializationError(_))));
    let appended =
        DcbEventStoreSync::append(&store, vec![event("e", "", &[])], None, tracking("a", 6));
    assert!(matches!(appended, Err(DcbError::DeserializationError(_))));
    assert_eq!(store.store().head().get(), 0);
}
