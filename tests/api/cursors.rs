//! Cursors: alone, in transactions, and across close, rollover and reopening.

use annals::testing::{Crash, Keep, SimStorage};
use annals::{
    Durability, Error, ExpectedRecord, ExpectedVersion, FailedCheck, NewEvent, Options, Position,
    Store, Timestamp,
};

use super::shared::{ROOT, simulated};
use super::support::copy_tree;

fn event() -> NewEvent {
    NewEvent::new("T", "x")
}

fn refusal(result: Result<(), Error>) -> FailedCheck {
    match result {
        Err(Error::Conflict { mut failed, .. }) if failed.len() == 1 => failed.remove(0),
        other => panic!("{other:?}"),
    }
}

fn filled(dir: &std::path::Path, events: usize) -> Store {
    let store = Store::open(dir).unwrap();
    store.append("s", ExpectedVersion::Any, vec![event(); events]).unwrap();
    store
}

#[test]
fn cursor_moves_forward_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 5);
    let cursors = store.cursors();
    let (name, at) = ("c".to_owned(), Position::new);
    assert_eq!(cursors.get("c").unwrap(), None);
    cursors.advance("c", 3).unwrap();
    for to in [0, 2, 3] {
        assert_eq!(
            refusal(cursors.advance("c", to)),
            FailedCheck::CursorNotForward { name: name.clone(), at: at(3), to: at(to) }
        );
    }
    assert_eq!(
        refusal(cursors.advance("c", 6)),
        FailedCheck::CursorAhead { name: name.clone(), to: at(6), head: at(5) }
    );
    assert_eq!(
        refusal(cursors.compare_and_set("c", Some(at(2)), 4)),
        FailedCheck::WrongCursor { name, expected: Some(at(2)), actual: Some(at(3)) }
    );
    cursors.compare_and_set("c", Some(at(3)), 4).unwrap();
    cursors.compare_and_set("d", None, 1).unwrap();
    assert_eq!(cursors.get("c").unwrap(), Some(at(4)));
    cursors.reset("c", 0).unwrap();
    assert_eq!(cursors.get("c").unwrap(), Some(at(0)));
    cursors.delete("d").unwrap();
    assert_eq!(refusal(cursors.delete("d")), FailedCheck::UnknownCursor { name: "d".into() });
    assert_eq!(cursors.list().unwrap().len(), 1);
    // Cursors take no positions.
    assert_eq!(
        store.append("s", ExpectedVersion::Exact(5), [event()]).unwrap().last_position,
        at(6)
    );
    for name in [String::new(), "n".repeat(256)] {
        assert!(cursors.advance(&name, 1).is_err());
    }
    cursors.advance(&"n".repeat(255), 1).unwrap();
}

#[test]
fn cursor_moves_with_its_commit_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 3);
    let handle = |to: u64| {
        store
            .transaction()
            .append("sent", ExpectedVersion::Any, [NewEvent::new("Sent", "")])
            .cursor("emailer", to)
            .commit()
    };
    let done = handle(2).unwrap();
    assert_eq!((done.first_position, done.last_position), (Position::new(4), Position::new(4)));
    assert!(matches!(handle(2), Err(Error::Conflict { .. })));
    assert_eq!(store.stream_head("sent").unwrap().unwrap().version, 1);
    // Within a commit, the second move applies after the first.
    let twice = |a: u64, b: u64| store.transaction().cursor("t", a).cursor("t", b).commit();
    assert!(twice(2, 2).is_err());
    twice(1, 2).unwrap();
    assert_eq!(store.cursors().get("t").unwrap(), Some(Position::new(2)));
    let alone = store.transaction().cursor("t", 3).commit().unwrap();
    assert_eq!(alone.last_position, store.head());
    assert_eq!(alone.first_position, store.head());
}

#[test]
fn submitted_cursors_are_checked_against_each_other_and_shown_once_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 200);
    let submit = |to: u64| store.transaction().cursor("c", to).submit();
    let tickets: Vec<_> = (1..=200).map(|to| submit(to).unwrap()).collect();
    assert!(submit(150).is_err());
    for (ticket, to) in tickets.into_iter().zip(1..) {
        ticket.wait().unwrap();
        assert!(store.cursors().get("c").unwrap() >= Some(Position::new(to)));
    }
}

#[test]
fn cursors_survive_a_close_a_crash_and_lost_derived_files() {
    for (durability, background) in
        [(Durability::Sync, true), (Durability::Sync, false), (Durability::BUFFERED, true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let options =
            Options::new().segment_size(64 << 10).durability(durability).background(background);
        let mut expected = Vec::new();
        let mut head = 0;
        for round in 0..6_u64 {
            let store = options.clone().open(dir.path()).unwrap();
            let list = |store: &Store| -> Vec<_> {
                let list = store.cursors().list().unwrap();
                list.into_iter().map(|c| (c.name, c.position.get())).collect()
            };
            assert_eq!(list(&store), expected, "round {round}");
            // Enough events for a few segments, with cursor moves in between.
            for i in 0..60 {
                let data = vec![0; 2500];
                let done = store
                    .transaction()
                    .append("s", ExpectedVersion::Any, [NewEvent::new("T", data)])
                    .reset_cursor(format!("c{}", i % 3), head)
                    .commit()
                    .unwrap();
                head = done.last_position.get();
                store.cursors().reset("last", head).unwrap();
            }
            expected = list(&store);
            assert_eq!(expected.last(), Some(&("last".to_owned(), head)));
            if round % 2 == 0 {
                store.close().unwrap();
            } else {
                store.sync().unwrap();
                // A copy of a store that was not closed.
                let copy = tempfile::tempdir().unwrap();
                copy_tree(dir.path(), copy.path(), &may_change);
                let crashed = options.clone().open(copy.path()).unwrap();
                assert_eq!(list(&crashed), expected, "crashed in round {round}");
                // A copy without its derived files.
                drop(crashed);
                remove(&copy.path().join("index"));
                remove(&copy.path().join("checkpoints"));
                let bare = options.clone().open(copy.path()).unwrap();
                assert_eq!(list(&bare), expected, "without derived files in round {round}");
            }
        }
    }
}

fn remove(path: &std::path::Path) {
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn follower_sees_cursors_as_of_the_events_it_sees() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 3);
    let follower = Options::new().read_only(true).open(dir.path()).unwrap();
    store.cursors().advance("c", 2).unwrap();
    store.append("s", ExpectedVersion::Any, [event()]).unwrap();
    assert_eq!(follower.cursors().get("c").unwrap(), Some(Position::new(2)));
    assert!(matches!(follower.cursors().advance("c", 3), Err(Error::ReadOnly)));
    store.close().unwrap();
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    assert_eq!(reader.cursors().get("c").unwrap(), Some(Position::new(2)));
}

#[test]
fn reader_beside_a_writer_sees_changes_that_no_event_follows() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 3);
    let follower = Options::new().read_only(true).open(dir.path()).unwrap();
    let mut changes = follower.subscribe().after(3).include_metadata().start().unwrap();
    for position in 1..=3 {
        store.cursors().advance("c", position).unwrap();
        assert_eq!(follower.cursors().get("c").unwrap(), Some(Position::new(position)));
        let late = Options::new().read_only(true).open(dir.path()).unwrap();
        assert_eq!(late.cursors().get("c").unwrap(), Some(Position::new(position)));
        assert_eq!(late.head(), Position::new(3));
    }
    store.archive("s").unwrap();
    assert_eq!(follower.read_all().into_iter().count(), 0);
    let message = changes.next_timeout(std::time::Duration::from_secs(120)).unwrap().unwrap();
    assert!(format!("{message:?}").contains("StreamChanged"), "{message:?}");
    // What is written and not durable may be lost, and is not shown.
    let interval = std::time::Duration::from_secs(3_600);
    store.cursors().advance("c", 2).unwrap_err();
    store.cursors().advance("durable", 2).unwrap();
    let buffered = store.transaction().durability(annals::Durability::Buffered { interval });
    buffered.cursor("written", 2).commit().unwrap();
    let late = Options::new().read_only(true).open(dir.path()).unwrap();
    let shown = |name: &str| late.cursors().get(name).unwrap();
    assert_eq!((shown("durable"), shown("written")), (Some(Position::new(2)), None));
    store.sync().unwrap();
    assert_eq!(shown("written"), Some(Position::new(2)));
    assert!(follower.stats().events == 3);
}

#[test]
fn reader_beside_a_writer_sees_changes_after_the_end_of_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options::new().segment_size(Options::MIN_SEGMENT_SIZE);
    let store = options().open(dir.path()).unwrap();
    store.append("s", ExpectedVersion::Any, [event()]).unwrap();
    let reader = || options().read_only(true).open(dir.path()).unwrap();
    let (follower, rarely) = (reader(), reader());
    let segments = || store.stats().segments;
    let mut number = 0_usize;
    while segments() < 6 {
        number += 1;
        let key = format!("{number}");
        store.records().put(&key, vec![0; 1 << 10], ExpectedRecord::Any).unwrap();
        let shown = |reader: &Store| reader.records().get(&key).unwrap().is_some();
        assert!(shown(&follower), "change {number}");
        if number.is_multiple_of(5) {
            assert!(shown(&reader()), "change {number}");
        }
    }
    assert_eq!(rarely.records().list().count(), number);
}

/// Whether a file of an open store may be renamed or replaced during a copy: a segment that is being
/// prepared, an index file, a checkpoint.
fn may_change(path: &std::path::Path) -> bool {
    let derived =
        ["index", "checkpoints"].map(|directory| path.parent().unwrap().ends_with(directory));
    path.extension().is_some_and(|extension| extension == "tmp") || derived.contains(&true)
}

#[test]
fn cursor_has_a_lag_and_the_time_of_its_last_move() {
    let sim = SimStorage::new(3);
    let store = simulated(&sim).open(ROOT).unwrap();
    for _ in 0..5 {
        store.append("s", ExpectedVersion::Any, [event()]).unwrap();
    }
    let told = |store: &Store| -> Vec<(String, u64, Option<u64>)> {
        let list = store.cursors().list().unwrap().into_iter();
        // Each reading of the simulated clock advances it by a microsecond.
        let seconds = |time: Timestamp| time.as_micros() / 1_000_000;
        list.map(|it| (it.name, it.lag, it.moved_at.map(seconds))).collect()
    };
    let mut times = Vec::new();
    for (name, to) in [("a", 2), ("b", 5), ("a", 3)] {
        sim.advance_clock(1_000_000);
        store.cursors().advance(name, to).unwrap();
        times.push(sim.clock() / 1_000_000);
    }
    let at = |time: usize| Some(times[time]);
    let expected = [("a".to_owned(), 2, at(2)), ("b".to_owned(), 0, at(1))];
    assert_eq!(told(&store), expected);
    store.append("s", ExpectedVersion::Any, [event()]).unwrap();
    assert_eq!(told(&store)[1].1, 1);
    // A close writes a checkpoint, which has the times; what follows it is read.
    store.close().unwrap();
    let store = simulated(&sim).open(ROOT).unwrap();
    assert_eq!(told(&store), [("a".to_owned(), 3, at(2)), ("b".to_owned(), 1, at(1))]);
    sim.advance_clock(1_000_000);
    store.cursors().advance("b", 6).unwrap();
    let moved = sim.clock() / 1_000_000;
    sim.crash(Crash::new(0).keep(Keep::Everything));
    drop(store);
    let store = simulated(&sim).open(ROOT).unwrap();
    assert_eq!(told(&store), [("a".to_owned(), 3, at(2)), ("b".to_owned(), 0, Some(moved))]);
}

/// The history of a cursor: where it was moved to, and the head at that time.
fn history(store: &Store, name: &str) -> Vec<(Option<u64>, u64)> {
    let moves = store.cursors().history(name).map(Result::unwrap);
    moves.map(|it| (it.position.map(Position::get), it.head.get())).collect()
}

#[test]
fn cursor_has_a_history_over_segments_level_files_and_openings() {
    let dir = tempfile::tempdir().unwrap();
    let options = || {
        let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE).background(false);
        options.durability(Durability::BUFFERED)
    };
    let store = options().open(dir.path()).unwrap();
    store.append("s", ExpectedVersion::Any, [event()]).unwrap();
    let mut expected = Vec::new();
    // More than are held at once, some in a commit with events, and one cursor that moves rarely.
    for number in 1..=4_000_u64 {
        let commit = store.transaction().append("s", ExpectedVersion::Any, [event()]);
        if number % 1_500 == 1 {
            commit.cursor("often", number).cursor("rarely", number).commit().unwrap();
        } else if number % 3 == 0 {
            commit.cursor("often", number).commit().unwrap();
        } else {
            commit.commit().unwrap();
            store.cursors().advance("often", number).unwrap();
        }
        expected.push((Some(number), number + 1));
    }
    store.cursors().delete("often").unwrap();
    store.transaction().cursor("often", 1).cursor("often", 2).commit().unwrap();
    expected.extend([(None, 4_001), (Some(1), 4_001), (Some(2), 4_001)]);
    expected.reverse();
    store.sync().unwrap();
    let rarely = [(Some(3_001), 3_002), (Some(1_501), 1_502), (Some(1), 2)];
    let check = |store: &Store| {
        assert_eq!(history(store, "often"), expected);
        assert_eq!(history(store, "rarely"), rarely);
        assert_eq!(history(store, "never"), []);
        let moves: Vec<_> = store.cursors().history("often").map(Result::unwrap).collect();
        assert!(moves.windows(2).all(|pair| pair[0].recorded_at >= pair[1].recorded_at));
        let listed = store.cursors().list().unwrap();
        assert_eq!(listed[0].moved_at, Some(moves[0].recorded_at));
        let lag = |at: usize| moves[at].lag();
        assert_eq!([lag(0), lag(2), lag(3)], [Some(3_999), None, Some(1)]);
    };
    check(&store);
    assert!(store.stats().segments > 8);
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    check(&reader);
    assert!(store.compact().unwrap().merges > 0);
    check(&store);
    store.close().unwrap();
    let store = options().open(dir.path()).unwrap();
    check(&store);
    // What becomes visible after the first move was taken is not among them.
    let mut moves = store.cursors().history("rarely");
    moves.next().unwrap().unwrap();
    store.cursors().advance("rarely", 3_002).unwrap();
    assert_eq!(moves.count(), 2);
    assert_eq!(history(&store, "rarely").len(), 4);
    drop(store);
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let store = options().open(dir.path()).unwrap();
    assert_eq!(history(&store, "often"), expected);
    let mut closed = store.cursors().history("often");
    store.close().unwrap();
    assert!(matches!(closed.next(), Some(Err(Error::Closed))));
    assert!(closed.next().is_none());
}

#[test]
fn cursor_has_a_history_longer_than_what_is_held_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::BUFFERED).open(dir.path()).unwrap();
    store.append("s", ExpectedVersion::Any, vec![event(); 4_000]).unwrap();
    let mut expected = Vec::new();
    for number in 1..=2_500_u64 {
        store.cursors().advance("c", number).unwrap();
        expected.push((Some(number), 4_000));
    }
    let mut commit = store.transaction();
    for number in 2_501..=4_000_u64 {
        commit = commit.cursor("c", number);
        expected.push((Some(number), 4_000));
    }
    commit.commit().unwrap();
    expected.reverse();
    assert_eq!(store.stats().segments, 1);
    assert_eq!(history(&store, "c"), expected);
}
