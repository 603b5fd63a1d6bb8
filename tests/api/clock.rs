//! Wrong clocks: one commit in the far future would date all later ones there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::testing::{SimStorage, verify_on};
use annals::{
    Appended, Error, ExpectedVersion, NewEvent, Result, Store, StreamMetadata, Timestamp,
};

use super::shared::simulated as options;

const SECOND: u64 = 1_000_000;
const DAY: u64 = 24 * 3600 * SECOND;
const YEAR: u64 = 366 * DAY;
/// 2027-01-15.
const NOW: u64 = 1_800_000_000 * SECOND;
/// 2099-01-01.
const IN_2099: u64 = 4_070_908_800 * SECOND;

fn open(sim: &SimStorage) -> Store {
    options(sim).open("/store").unwrap()
}

fn append(store: &Store) -> Result<Appended> {
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "x")])
}

fn refused(result: Result<Appended>) {
    let Err(Error::ClockJumped { now, last, limit }) = &result else { panic!("{result:?}") };
    assert!(now > limit && limit > last, "{result:?}");
    let message = result.unwrap_err().to_string();
    assert!(message.contains('T') && message.contains("max_clock_jump"), "{message}");
}

#[test]
fn commit_under_a_clock_that_jumped_is_refused_and_later_ones_are_accepted() {
    let sim = SimStorage::new(1);
    sim.set_clock(NOW);
    let store = open(&sim);
    append(&store).unwrap();
    for ahead in [IN_2099, NOW + YEAR + DAY] {
        sim.set_clock(ahead);
        refused(append(&store));
        refused(
            store
                .transaction()
                .reset_cursor("c", 0)
                .commit()
                .map(|_| unreachable!("it was accepted")),
        );
        // A transaction that writes nothing is answered.
        store.transaction().check("s", ExpectedVersion::Exact(1)).commit().unwrap();
        sim.set_clock(NOW + SECOND);
    }
    let done = append(&store).unwrap();
    assert_eq!(done.last_position.get(), 2);
    assert!(done.recorded_at.as_micros() < NOW + 2 * SECOND);
    assert_eq!(store.stats().clock_behind_by, None);
    store.close().unwrap();
    // The same for the first commit after an opening.
    sim.set_clock(IN_2099);
    let store = open(&sim);
    refused(append(&store));
    sim.set_clock(NOW + DAY);
    append(&store).unwrap();
}

#[test]
fn clock_step_that_can_be_explained_is_recorded() {
    let sim = SimStorage::new(1);
    // A machine whose clock starts in 1970 and is set later.
    sim.set_clock(5 * SECOND);
    let store = open(&sim);
    append(&store).unwrap();
    sim.set_clock(NOW);
    append(&store).unwrap();
    // Time that passed without an append.
    for _ in 0..3 {
        sim.advance_clock(i64::try_from(4 * YEAR).unwrap());
        append(&store).unwrap();
    }
    // A machine that was suspended for less than a year.
    sim.set_clock(sim.clock() + YEAR - DAY);
    append(&store).unwrap();
    store.close().unwrap();
    // A store that was closed for nine years.
    sim.set_clock(sim.clock() + 9 * YEAR);
    let store = open(&sim);
    append(&store).unwrap();
}

#[test]
fn clock_step_that_cannot_be_explained_is_recorded_if_permitted() {
    let sim = SimStorage::new(1);
    sim.set_clock(NOW);
    let store = open(&sim);
    append(&store).unwrap();
    store.close().unwrap();
    sim.set_clock(NOW + 20 * YEAR);
    let store = open(&sim);
    refused(append(&store));
    store.close().unwrap();
    let store = options(&sim).max_clock_jump(Duration::MAX).open("/store").unwrap();
    append(&store).unwrap();
    store.close().unwrap();
    append(&open(&sim)).unwrap();
    // A bound set by the caller.
    let sim = SimStorage::new(2);
    sim.set_clock(NOW);
    let store = options(&sim).max_clock_jump(Duration::from_secs(60)).open("/store").unwrap();
    append(&store).unwrap();
    sim.set_clock(NOW + 3600 * SECOND);
    refused(append(&store));
    // A new store created under a clock in 2099.
    let sim = SimStorage::new(3);
    sim.set_clock(IN_2099);
    refused(append(&open(&sim)));
}

#[test]
fn store_dated_ahead_is_reported_by_stats_and_verify() {
    let sim = SimStorage::new(1);
    sim.set_clock(IN_2099);
    let store = options(&sim).max_clock_jump(Duration::MAX).open("/store").unwrap();
    append(&store).unwrap();
    assert_eq!(store.stats().clock_behind_by, None);
    sim.set_clock(NOW);
    let behind = Duration::from_micros(IN_2099 - NOW);
    let shown = |found: Option<Duration>| {
        found.is_some_and(|it| it.abs_diff(behind) < Duration::from_secs(1))
    };
    assert!(shown(store.stats().clock_behind_by), "{:?}", store.stats().clock_behind_by);
    // Later events are recorded in 2099, and are not refused.
    let done = append(&store).unwrap();
    assert!(done.recorded_at.as_micros() >= IN_2099);
    store.close().unwrap();
    let store = open(&sim);
    append(&store).unwrap();
    assert!(shown(store.stats().clock_behind_by));
    let reader = options(&sim).read_only(true).open("/store").unwrap();
    assert!(shown(reader.stats().clock_behind_by));
    store.close().unwrap();
    let report = verify_on(&sim.process(), "/store", |_| {}).unwrap();
    assert!(report.faults.is_empty() && shown(report.clock_behind_by), "{report:?}");
    assert!(report.notes.iter().any(|note| note.contains("2099-01-01")), "{report:?}");
}

/// A clock that a test sets, and a handle to set it.
fn set_clock() -> (Arc<AtomicU64>, impl Fn() -> Timestamp + Send + Sync + 'static) {
    let micros = Arc::new(AtomicU64::new(NOW));
    let clock = Arc::clone(&micros);
    (micros, move || Timestamp::from_micros(clock.load(Ordering::Relaxed)))
}

#[test]
fn clock_of_the_options_dates_commits_and_ids_and_may_jump() {
    let sim = SimStorage::new(1);
    sim.set_clock(5 * SECOND);
    let (micros, clock) = set_clock();
    let store = options(&sim).clock(clock).open("/store").unwrap();
    let first = append(&store).unwrap();
    assert_eq!(first.recorded_at.as_micros(), NOW);
    let id = store.event_at(first.first_position).unwrap().unwrap().id();
    assert_eq!(id.as_u128() >> 80, u128::from(NOW / 1000), "{id}");
    // No clock of a machine explains this one.
    micros.store(IN_2099, Ordering::Relaxed);
    assert_eq!(append(&store).unwrap().recorded_at.as_micros(), IN_2099);
    // Recorded times never decrease.
    micros.store(NOW, Ordering::Relaxed);
    assert_eq!(append(&store).unwrap().recorded_at.as_micros(), IN_2099);
    assert_eq!(store.stats().clock_behind_by, Some(Duration::from_micros(IN_2099 - NOW)));
}

#[test]
fn clock_of_the_options_measures_ages_and_limits_given_times() {
    let sim = SimStorage::new(2);
    let (micros, clock) = set_clock();
    let store = options(&sim).clock(clock).open("/store").unwrap();
    append(&store).unwrap();
    let mut metadata = StreamMetadata::default();
    metadata.max_age = Some(Duration::from_secs(60));
    store.set_stream_metadata("s", metadata).unwrap();
    let shown = || store.read_stream("s").into_iter().map(Result::unwrap).count();
    assert_eq!(shown(), 1);
    micros.store(NOW + 61 * SECOND, Ordering::Relaxed);
    assert_eq!(shown(), 0);
    let at = |time: u64| {
        let events = [NewEvent::new("T", "x")];
        let transaction = store.transaction().append("t", ExpectedVersion::Any, events);
        transaction.recorded_at(Timestamp::from_micros(time)).commit()
    };
    assert_eq!(at(NOW + 30 * SECOND).unwrap().recorded_at.as_micros(), NOW + 30 * SECOND);
    assert!(matches!(at(NOW + 62 * SECOND), Err(Error::RecordedTime { .. })));
}
