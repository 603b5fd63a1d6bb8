//! Copying the events of another store: positions, tracking positions, interruptions, and what cannot be kept.

#![allow(clippy::unwrap_used)]

mod support;

use adapter_tests::in_every_way;
use annals_umadb::umadb_dcb::{
    DcbAppendCondition, DcbError, DcbEvent, DcbEventStoreSync, DcbQuery, DcbReadResponseSync,
    DcbResult, DcbSequencedEvent, TrackingInfo,
};
use annals_umadb::{COPY_SOURCE, UmaStore, copy};
use support::{event, tracking};
use uuid::Uuid;

fn open(dir: &tempfile::TempDir, name: &str) -> UmaStore {
    UmaStore::open(dir.path().join(name)).unwrap()
}

fn append(store: &UmaStore, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        let new = event("Copied", &n.to_string(), &["t"]).uuid(Uuid::from_u128(n.into()));
        let new = new.metadata_entry("n", n.to_string());
        DcbEventStoreSync::append(store, vec![new], None, tracking("up", n)).unwrap();
    }
}

fn all(store: &UmaStore) -> Vec<DcbSequencedEvent> {
    store.read_with_head(None, None, false, None).unwrap().0
}

/// Another store that lacks one position, or fails after some reads.
struct Broken<'a> {
    store: &'a UmaStore,
    missing: Option<u64>,
    reads: std::cell::Cell<usize>,
}

impl DcbEventStoreSync for Broken<'_> {
    fn read(
        &self,
        _: Option<DcbQuery>,
        _: Option<u64>,
        _: bool,
        _: Option<u32>,
    ) -> DcbResult<Box<dyn DcbReadResponseSync + Send + 'static>> {
        panic!("a copy reads batches")
    }

    fn read_with_head(
        &self,
        query: Option<DcbQuery>,
        start: Option<u64>,
        backwards: bool,
        limit: Option<u32>,
    ) -> DcbResult<(Vec<DcbSequencedEvent>, Option<u64>)> {
        if self.reads.get() == 0 {
            return Err(DcbError::TransportError("the server is gone".into()));
        }
        self.reads.set(self.reads.get() - 1);
        let (mut events, head) =
            DcbEventStoreSync::read_with_head(self.store, query, start, backwards, limit)?;
        events.retain(|it| Some(it.position) != self.missing);
        Ok((events, head))
    }

    fn head(&self) -> DcbResult<Option<u64>> {
        DcbEventStoreSync::head(self.store)
    }

    fn get_tracking_info(&self, source: &str) -> DcbResult<Option<u64>> {
        DcbEventStoreSync::get_tracking_info(self.store, source)
    }

    fn append(
        &self,
        _: Vec<DcbEvent>,
        _: Option<DcbAppendCondition>,
        _: Option<TrackingInfo>,
    ) -> DcbResult<u64> {
        panic!("a copy writes nothing to its source")
    }
}

#[test]
fn copy_keeps_every_field_and_the_tracking_positions() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(&dir, "source");
    append(&source, 1..=1500);
    // The last position came without an event.
    DcbEventStoreSync::append(&source, vec![], None, tracking("up", 1700)).unwrap();
    in_every_way(|life| {
        let copied = life.step(|store| copy(&source, &UmaStore::new(store.clone())).unwrap());
        assert_eq!(copied, 1500);
        let again = life.step(|store| copy(&source, &UmaStore::new(store.clone())).unwrap());
        assert_eq!(again, 0);
        life.step(|store| {
            let target = UmaStore::new(store.clone());
            assert_eq!(format!("{:?}", all(&target)), format!("{:?}", all(&source)));
            assert_eq!(DcbEventStoreSync::get_tracking_info(&target, "up").unwrap(), Some(1700));
            assert!(
                DcbEventStoreSync::append(&target, vec![], None, tracking("up", 1700)).is_err()
            );
        });
    });
}

#[test]
fn interrupted_copy_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(&dir, "source");
    append(&source, 1..=2500);
    in_every_way(|life| {
        for reads in 1.. {
            let broken =
                Broken { store: &source, missing: None, reads: std::cell::Cell::new(reads) };
            match life.step(|store| copy(&broken, &UmaStore::new(store.clone()))) {
                Err(DcbError::TransportError(_)) => assert!(life.store().head().get() <= 2500),
                done => {
                    assert!(reads > 1, "it was interrupted");
                    done.unwrap();
                    break;
                }
            }
        }
        life.step(|store| {
            let target = all(&UmaStore::new(store.clone()));
            assert_eq!(format!("{target:?}"), format!("{:?}", all(&source)));
        });
    });
}

#[test]
fn position_that_the_source_lacks_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let [source, target] = ["source", "target"].map(|it| open(&dir, it));
    append(&source, 1..=5);
    let broken = Broken { store: &source, missing: Some(3), reads: std::cell::Cell::new(9) };
    let refused = copy(&broken, &target).unwrap_err();
    assert!(matches!(refused, DcbError::Corruption(_)), "{refused:?}");
    assert!(refused.to_string().contains("no event at position 3"), "{refused}");
    assert_eq!(target.store().head().get(), 0);
}

#[test]
fn target_with_events_of_its_own_is_refused_unless_nothing_is_left_to_copy() {
    let dir = tempfile::tempdir().unwrap();
    let [source, target] = ["source", "target"].map(|it| open(&dir, it));
    append(&source, 1..=2);
    assert_eq!(copy(&source, &target).unwrap(), 2);
    // The program runs on the target now.
    append(&target, 3..=3);
    assert_eq!(copy(&source, &target).unwrap(), 0);
    append(&source, 3..=3);
    let refused = copy(&source, &target).unwrap_err();
    assert!(matches!(refused, DcbError::InvalidArgument(_)), "{refused:?}");
    assert_eq!(target.store().head().get(), 3);
}

#[test]
fn copy_of_a_copy_has_its_own_position() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, third] = ["first", "second", "third"].map(|it| open(&dir, it));
    append(&first, 1..=3);
    copy(&first, &second).unwrap();
    append(&second, 4..=6);
    assert_eq!(copy(&second, &third).unwrap(), 6);
    assert_eq!(DcbEventStoreSync::get_tracking_info(&third, COPY_SOURCE).unwrap(), Some(6));
}
