//! Syncs that fail or lie, short and interrupted transfers, clocks that go back, and what readers
//! and second writers see.

use annals::testing::{Crash, Fault, Keep, Operation, SimStorage, verify_on};
use annals::{Durability, Error, ExpectedVersion, NewEvent, Opened, Timestamp};

use super::support::*;

const SIZE: usize = 100;

fn append_one(store: &annals::Store, number: u64) -> annals::Result<annals::Appended> {
    store.append(stream_of(number), ExpectedVersion::Any, [event(number, SIZE)])
}

#[test]
fn failed_sync_poisons_the_writer_and_acknowledges_nothing() {
    for fault in
        [Fault::Fail { operation: Operation::Sync, nth: 1 }, Fault::SyncDropsPages { nth: 1 }]
    {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, 3, SIZE);
        let first =
            store.transaction().append(stream_of(4), ExpectedVersion::Any, [event(4, SIZE)]);
        let ticket = first.submit().unwrap();
        sim.inject_at("log", fault);
        let syncs = sim.stats().syncs;
        let failed = append_one(&store, 5);
        assert!(matches!(failed, Err(Error::OutcomeUnknown { .. })), "{failed:?}");
        let failed = ticket.wait();
        assert!(matches!(failed, Err(Error::OutcomeUnknown { .. })), "{failed:?}");
        for _ in 0..3 {
            let refused = append_one(&store, 6);
            assert!(matches!(refused, Err(Error::WriterPoisoned { .. })), "{refused:?}");
            let refused = store.sync();
            assert!(matches!(refused, Err(Error::WriterPoisoned { .. })), "{refused:?}");
        }
        assert_eq!(sim.stats().syncs, syncs, "a sync was tried again");
        assert_eq!(read_back(&store, SIZE).unwrap(), 3, "readers see what is acknowledged");
        assert!(store.close().is_err());

        // The page cache still has the commits: the opening makes them durable before they are
        // visible.
        let store = open(&sim).unwrap();
        let Opened::Recovered(recovery) = store.opened() else { panic!("{:?}", store.opened()) };
        assert!(recovery.rewritten_bytes > 0, "{recovery:?}");
        assert_eq!(read_back(&store, SIZE).unwrap(), 5);
        // The caller whose outcome was unknown retries, and gets the outcome.
        for number in [4, 5] {
            assert!(append_one(&store, number).unwrap().already_recorded);
        }
        let refused = append_one(&store, 6).unwrap();
        assert!(!refused.already_recorded, "what was refused was not stored");
        sim.crash(Crash::new(1).keep(Keep::Nothing));
        drop(store);
        assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), 6);
    }
}

#[test]
fn first_commit_of_a_session_survives_a_failed_sync_and_a_power_loss() {
    // The session frame precedes the commit and holds no event; at some of these sizes it has a
    // sector of its own.
    for size in (100..612).step_by(8) {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, 1, size);
        store.close().unwrap();
        let store = open(&sim).unwrap();
        sim.inject_at("log", Fault::SyncDropsPages { nth: 1 });
        let events = [event(2, size)];
        assert!(store.append(stream_of(2), ExpectedVersion::Any, events).is_err());
        sim.kill();
        drop(store);
        let store = open(&sim).unwrap();
        assert_eq!(read_back(&store, size).unwrap(), 2);
        append(&store, 3, 4, size);
        sim.crash(Crash::new(1).keep(Keep::Nothing));
        drop(store);
        assert_eq!(read_back(&open(&sim).unwrap(), size).unwrap(), 4, "{size} bytes");
    }
}

#[test]
fn seal_whose_sync_failed_is_written_again() {
    const LARGE: usize = 9_000;
    for seed in 0..40 {
        let sim = SimStorage::new(1);
        let store = open(&sim).unwrap();
        append(&store, 1, 6, LARGE);
        // The seventh event fills the segment; the next sync is the one of its seal.
        sim.inject_at("0001.seg", Fault::SyncDropsPages { nth: 1 });
        let event = event(7, LARGE);
        store.append(stream_of(7), ExpectedVersion::Any, [event]).unwrap();
        assert_eq!((sim.stats().faults, store.stats().maintenance_failures), (1, 1));
        sim.kill();
        drop(store);
        let store = open(&sim).unwrap();
        let shown = read_back(&store, LARGE).unwrap();
        assert_eq!(shown, 7);
        sim.crash(Crash::new(seed));
        drop(store);
        let store = open(&sim).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(read_back(&store, LARGE).unwrap(), shown, "seed {seed}");
        store.close().unwrap();
        let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, [], "seed {seed}");
    }
}

#[test]
fn disk_that_lies_about_syncs_is_noticed() {
    // No store can survive this disk. The test shows that these checks can fail.
    let mut lost = 0;
    for seed in 0..20 {
        let sim = SimStorage::new(seed);
        let store = open(&sim).unwrap();
        append(&store, 1, 3, SIZE);
        sim.inject(Fault::SyncLiesFrom { operation: Operation::Sync, nth: 1 });
        append(&store, 4, 10, SIZE);
        sim.crash(Crash::new(seed));
        drop(store);
        lost += u64::from(!open(&sim).is_ok_and(|store| store.head().get() == 10));
    }
    assert!(lost > 5, "only {lost} of 20 lies were noticed");
    let sim = SimStorage::new(1);
    sim.inject(Fault::SyncLiesFrom { operation: Operation::SyncDir, nth: 1 });
    let store = open(&sim).unwrap();
    append(&store, 1, 10, SIZE);
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    drop(store);
    assert_eq!(open(&sim).unwrap().head().get(), 0, "names without a sync are lost");
}

#[test]
fn short_and_interrupted_transfers_lose_nothing() {
    for nth in 1..60 {
        for (len, operation) in [
            (1, Operation::Write),
            (0, Operation::Read),
            (17, Operation::Read),
            (513, Operation::Write),
        ] {
            let sim = SimStorage::new(nth);
            sim.inject(Fault::Interrupt { operation, nth });
            if len > 0 {
                sim.inject(Fault::Short { operation, nth: nth + 1, len });
                sim.inject(Fault::Short { operation, nth: nth + 2, len });
            }
            let store = open(&sim).unwrap();
            append(&store, 1, 8, SIZE);
            assert_eq!(read_back(&store, SIZE).unwrap(), 8);
            stop(&sim, store);
            sim.inject(Fault::Interrupt { operation, nth });
            if len > 0 {
                sim.inject(Fault::Short { operation, nth: nth + 1, len });
            }
            assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), 8, "{operation:?} {nth}");
        }
    }
}

#[test]
fn readers_see_nothing_that_is_not_durable() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    append(&store, 1, 3, SIZE);
    append_buffered(&store, 4, SIZE);
    let submitted = store.transaction().append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]);
    let ticket = submitted.submit().unwrap();
    assert_eq!(store.head().get(), 3);
    assert_eq!(read_back(&store, SIZE).unwrap(), 3);
    assert_eq!(store.event(id_of(4)).unwrap().map(|event| event.position()), None);
    assert!(store.event_at(4.into()).unwrap().is_none());
    assert_eq!(store.stream_head("s").unwrap(), None);
    assert!(store.streams().prefix("s").into_iter().all(|info| info.unwrap().name != "s"));
    assert_eq!(store.position_at(Timestamp::from_micros(u64::MAX)).unwrap().get(), 3);
    let written = store.read_all().include_unsynced().into_iter().count();
    assert_eq!(written, 4, "what is written can be asked for");
    // What a reader has seen survives a power loss.
    let crashed = sim.fork();
    crashed.crash(Crash::new(1).keep(Keep::Nothing));
    assert_eq!(open(&crashed).unwrap().head().get(), 3);
    drop(ticket);
    store.sync().unwrap();
    assert_eq!(store.head().get(), 5);
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    drop(store);
    assert_eq!(open(&sim).unwrap().head().get(), 5);
}

#[test]
fn buffered_commit_is_durable_with_the_next_synced_one() {
    let sim = SimStorage::new(1);
    let store = options(&sim).durability(Durability::BUFFERED).open(ROOT).unwrap();
    append(&store, 1, 5, SIZE);
    assert_eq!(store.head().get(), 5, "a buffered store shows what is written");
    let synced = store.transaction().durability(Durability::Sync);
    synced.append(stream_of(6), ExpectedVersion::Any, [event(6, SIZE)]).commit().unwrap();
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    drop(store);
    assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), 6);
}

#[test]
fn second_writer_is_refused_and_a_reader_is_not() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    append(&store, 1, 3, SIZE);
    let second = open(&sim);
    assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
    let reader = options(&sim).read_only(true).open(ROOT).unwrap();
    assert_eq!(read_back(&reader, SIZE).unwrap(), 3);
    append(&store, 4, 9, SIZE);
    append_buffered(&store, 10, SIZE);
    assert_eq!(read_back(&reader, SIZE).unwrap(), 9, "a follower reads on, up to what is durable");
    let clone = store.clone();
    store.close().unwrap();
    assert!(matches!(append_one(&clone, 11), Err(Error::Closed)));
    assert_eq!(read_back(&reader, SIZE).unwrap(), 10);
    assert_eq!(open(&sim).unwrap().head().get(), 10);
    // A killed process holds no lock.
    let store = open(&sim).unwrap();
    sim.kill();
    assert_eq!(open(&sim).unwrap().head().get(), 10);
    drop(store);
}

#[test]
fn recorded_time_never_decreases_when_the_clock_goes_back() {
    let sim = SimStorage::new(1);
    let mut last = Timestamp::default();
    for round in 0..6_u64 {
        sim.set_clock(
            [9_000_000, 1_000_000, 20_000_000, 0, 5, 3_000_000_000_000_000]
                [usize::try_from(round).unwrap()],
        );
        let store = open(&sim).unwrap();
        for number in round * 3 + 1..=round * 3 + 3 {
            let done = append_one(&store, number).unwrap();
            assert!(
                done.recorded_at >= last,
                "round {round}: {:?} after {last:?}",
                done.recorded_at
            );
            last = done.recorded_at;
        }
        if round % 2 == 0 {
            store.close().unwrap();
        } else {
            stop(&sim, store);
        }
    }
    let store = open(&sim).unwrap();
    let times: Vec<_> = store.read_all().into_iter().map(|it| it.unwrap().recorded_at()).collect();
    assert!(times.is_sorted());
    assert_eq!(store.position_at(last).unwrap().get(), 18);
}

/// If nothing follows a seal, only the seal records the time of the last commit, which may have had
/// no events.
#[test]
fn recorded_time_never_decreases_after_a_segment_that_ends_with_a_cursor() {
    const SIX_FILL_A_SEGMENT: usize = 9_000;
    let sim = SimStorage::new(1);
    sim.set_clock(10_000_000);
    let store = open(&sim).unwrap();
    append(&store, 1, 6, SIX_FILL_A_SEGMENT);
    sim.set_clock(50_000_000);
    store.cursors().reset("reader", 3_u64).unwrap();
    append(&store, 7, 8, SIX_FILL_A_SEGMENT);
    assert_eq!(store.stats().sealed_segments, 1);
    stop(&sim, store);
    remove_all(&sim, "checkpoints");
    zero(&sim, &segment(2), DATA_START, 3 * SIX_FILL_A_SEGMENT as u64);
    sim.set_clock(20_000_000);
    let store = open(&sim).unwrap();
    assert_eq!(store.head().get(), 6);
    let event = event(7, SIX_FILL_A_SEGMENT);
    let done = store.append(stream_of(7), ExpectedVersion::Any, [event]).unwrap();
    assert!(done.recorded_at >= Timestamp::from_micros(50_000_000), "{:?}", done.recorded_at);
    store.close().unwrap();
    assert_eq!(verify_on(&sim, ROOT, |_| {}).unwrap().faults, []);
}

/// Rollover seals the segment, which makes all of it durable.
#[test]
fn unsynced_commit_at_the_end_of_a_sealed_segment_is_visible() {
    let sim = SimStorage::new(31);
    let store = open(&sim).unwrap();
    append(&store, 1, 5, 9_000);
    append_buffered(&store, 6, 9_000);
    assert_eq!(store.head().get(), 5);
    // The commit is known, but the segment has no room for it.
    let again = store.append(stream_of(1), ExpectedVersion::Any, [event(1, 9_000)]).unwrap();
    assert!(again.already_recorded);
    assert_eq!(store.stats().sealed, 1, "the segment was full");
    assert_eq!(store.head().get(), 6);
    store.sync().unwrap();
    assert_eq!(store.head().get(), 6);
}
