//! A standby serves reads, and takes the place of the store.

use std::time::Duration;

use annals::{Position, fence};
use annals_backup::{Error, ShipOptions, Shipper, Standby, list};

use crate::support::*;

fn standby(from: &annals_backup::Destination, dir: &std::path::Path) -> Standby {
    Standby::open(from.clone(), dir, |_| {}).unwrap()
}

#[test]
fn standby_follows_serves_reads_and_continues_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (_, place) = memory();
    fill(&store, 0..40);
    let mut shipper = shipper(&store, &place);
    shipper.ship().unwrap();
    let path = dir.path().join("standby");
    let mut standby = standby(&place, &path);
    let reader = reader(&path);
    for round in 0..25 {
        fill(&store, 40 + round * 9..40 + (round + 1) * 9);
        shipper.ship().unwrap();
        if round % 4 == 0 {
            // It comes back later, when parts were replaced by whole segments.
            drop(standby);
            fill(&store, 1000 + round * 9..1000 + (round + 1) * 9);
            shipper.ship().unwrap();
            standby = self::standby(&place, &path);
        } else {
            assert!(standby.catch_up().unwrap());
        }
        assert!(!standby.catch_up().unwrap());
        assert_eq!(standby.position(), store.head());
        assert_eq!(shown(&reader, u64::MAX), shown(&store, u64::MAX));
    }
    assert!(store.stats().segments > 4);
    drop((standby, reader));
    let report = annals::verify(&path, |_| {}).unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert_eq!(state(&open(&path)), state(&store));
}

#[test]
fn promoted_standby_has_everything_if_the_old_store_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("store");
    let store = open(&old);
    let (_, place) = memory();
    fill(&store, 0..60);
    let mut shipper = shipper(&store, &place);
    shipper.ship().unwrap();
    let path = dir.path().join("standby");
    // Not shipped.
    fill(&store, 60..95);
    let standby = self::standby(&place, &path);
    assert!(standby.position() < store.head());
    let refused = standby.promote("db2", Some(&old), Duration::ZERO);
    assert!(matches!(refused, Err(Error::Store(annals::Error::Locked { .. }))), "{refused:?}");
    let (head, all) = (store.head(), shown(&store, u64::MAX));
    drop(shipper);
    store.close().unwrap();
    let promoted = self::standby(&place, &path);
    let promoted = promoted.promote("db2", Some(&old), Duration::ZERO).unwrap();
    assert_eq!((promoted.position, promoted.is_complete), (head, true));
    let new = open(&path);
    assert_eq!(shown(&new, u64::MAX), all);
    for number in 200..230 {
        commit(&new, number);
        assert_eq!(shown(&new, u64::MAX).len() as u64, new.head().get());
    }
    let reopened = options().open(&old);
    assert!(matches!(reopened, Err(annals::Error::Fenced { to, .. }) if to == "db2"));
    assert!(fence::find(&old).unwrap().unwrap().is_complete);
    // It ships into a branch of its own.
    let refused = Shipper::new(new.clone(), place.clone(), ShipOptions::new());
    assert!(matches!(refused, Err(Error::Fenced { to, .. }) if to == "db2"));
    let options = ShipOptions::new().new_branch(true);
    Shipper::new(new.clone(), place.clone(), options).unwrap().ship().unwrap();
    let branches = list(&place).unwrap().branches;
    assert_eq!(branches.len(), 2);
    assert_eq!(branches[0].fenced.as_deref(), Some("db2"));
    assert_eq!(branches[1].position, new.head());
}

#[test]
fn without_the_old_store_the_last_position_is_told_and_its_shipper_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (_, place) = memory();
    fill(&store, 0..60);
    let mut shipper = shipper(&store, &place);
    shipper.ship().unwrap();
    let last_shipped = store.head();
    fill(&store, 60..80);
    let path = dir.path().join("standby");
    let others = self::standby(&place, &dir.path().join("other"));
    let promoted = self::standby(&place, &path).promote("db2", None, Duration::ZERO).unwrap();
    assert_eq!((promoted.position, promoted.is_complete), (last_shipped, false));
    match shipper.ship() {
        Err(Error::Fenced { to, position }) => assert_eq!((&*to, position), ("db2", last_shipped)),
        other => panic!("{other:?}"),
    }
    let late = others.promote("db3", None, Duration::ZERO);
    assert!(matches!(late, Err(Error::Fenced { to, .. }) if to == "db2"), "one is promoted");
    let new = open(&path);
    assert_eq!(shown(&new, u64::MAX), shown(&store, last_shipped.get()));
    // What the old store acknowledged after that is found by its tokens.
    let token = store.checkpoint_token(store.head()).unwrap();
    assert!(matches!(new.verify_token(&token), Err(annals::Error::PositionAhead { .. })));
    assert!(new.head() == last_shipped && last_shipped > Position::START);
}

#[test]
fn standby_of_another_history_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (_, place) = memory();
    fill(&store, 0..60);
    ship(&store, &place);
    let past = dir.path().join("past");
    store.backup_to(&past, |_| {}).unwrap();
    let path = dir.path().join("standby");
    drop(self::standby(&place, &path));
    fill(&store, 60..90);
    ship(&store, &place);
    let mut standby = self::standby(&place, &path);
    let other = open(&past);
    fill(&other, 100..102);
    let options = ShipOptions::new().new_branch(true);
    Shipper::new(other, place.clone(), options).unwrap().ship().unwrap();
    let mut ended = None;
    for _ in 0..200 {
        if let Err(error) = standby.catch_up() {
            ended = Some(error);
            break;
        }
    }
    assert!(matches!(ended, Some(Error::OtherHistory { .. })), "{ended:?}");
    drop(standby);
    let again = Standby::open(place.clone(), &path, |_| {});
    assert!(matches!(again, Err(Error::OtherHistory { .. })), "{again:?}");
}
