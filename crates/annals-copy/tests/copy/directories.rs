//! From a directory to a directory.

use std::ops::ControlFlow;

use annals::{ExpectedRecord, ExpectedVersion, NewEvent, Store};
use annals_copy::{Directory, Error, PositionMap, Settings, Step, Target as _, copy};
use annals_es::Position;

use crate::histories::{Places, commit, contents, fill, furnish, long_ago, small, target};

const COMMITS: u64 = 1500;

#[test]
fn copy_is_equal_in_everything_that_reads_show() {
    let places = Places::new();
    fill(&places.old(), 0..COMMITS);
    furnish(&places.old());
    let map = places.file("map");
    let report = places.copy(&Settings::default().map(&map)).unwrap();
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
    assert!(report.events_copied > COMMITS && report.events_copied == report.events_compared);
    assert_eq!((report.checkpoints, report.times_raised), (2, 0));
    assert!(!report.positions_moved && !report.is_complete);
    let map = PositionMap::load(map).unwrap();
    assert_eq!(map.new_position(Position::new(77)).get(), 77);
    annals::verify(places.new_place(), |_| ()).unwrap();

    // The same copy again compares, and changes nothing.
    let again = places.copy(&Settings::default()).unwrap();
    assert_eq!((again.events_copied, again.events_compared), (0, report.events_copied));
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
}

#[test]
fn copy_of_a_source_that_has_grown_and_changed_is_equal() {
    let places = Places::new();
    fill(&places.old(), 0..200);
    furnish(&places.old());
    places.copy(&Settings::default()).unwrap();
    // The last event, at which the copy goes on, is hidden in both.
    let store = long_ago().open(places.old()).unwrap();
    let last = store.event_at(store.head()).unwrap().unwrap();
    store.archive(last.stream()).unwrap();
    store.close().unwrap();
    places.copy(&Settings::default()).unwrap();
    assert_eq!(contents(&places.old()), contents(&places.new_place()));

    fill(&places.old(), 200..400);
    let store = long_ago().open(places.old()).unwrap();
    store.cursors().reset("mailer", 3).unwrap();
    store.unarchive("category0-3").unwrap();
    store.truncate_before("category0-1", 1).unwrap();
    store.records().delete("b", ExpectedRecord::Any).unwrap();
    store.records().put("c", "another", ExpectedRecord::Any).unwrap();
    store.records().put("d", "new", ExpectedRecord::Any).unwrap();
    store.close().unwrap();
    places.copy(&Settings::default()).unwrap();
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
}

#[test]
fn copy_that_is_stopped_anywhere_goes_on_and_doubles_nothing() {
    let places = Places::new();
    fill(&places.old(), 0..COMMITS);
    let mut stops = 0;
    loop {
        let mut copied = 0;
        let done = places.copy_telling(&Settings::default(), &mut |step| {
            copied += u64::from(matches!(step, Step::Copied { .. }));
            if copied > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match done {
            Err(Error::Stopped) => stops += 1,
            done => {
                done.unwrap();
                break;
            }
        }
    }
    assert!(stops > 1, "{stops}");
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
}

#[test]
fn target_with_other_events_is_refused_and_not_changed() {
    let places = Places::new();
    fill(&places.old(), 0..50);
    places.copy(&Settings::default()).unwrap();
    let store = Store::open(places.new_place()).unwrap();
    store.append("own-1", ExpectedVersion::Any, [NewEvent::new("Own", "")]).unwrap();
    store.close().unwrap();
    fill(&places.old(), 50..60);
    let before = contents(&places.new_place());
    let refused = places.copy(&Settings::default());
    assert!(matches!(refused, Err(Error::NotACopy { .. })), "{refused:?}");
    assert_eq!(contents(&places.new_place()), before);
}

/// A target whose last event is right and whose beginning is not.
#[test]
fn copy_that_differs_inside_is_found_when_it_is_compared() {
    let places = Places::new();
    fill(&places.old(), 0..50);
    let source = small().read_only(true).open(places.old()).unwrap();
    let events: Vec<annals::Event> =
        source.read_all().start().unwrap().map(Result::unwrap).collect();
    let forged = small().open(places.new_place()).unwrap();
    for commit in events.chunk_by(|one, next| one.commit() == next.commit()) {
        let mut transaction = forged.transaction();
        for event in commit {
            let data = if event.position().get() == 20 {
                b"forged".to_vec()
            } else {
                event.data().to_vec()
            };
            let new = NewEvent::new(event.event_type(), data)
                .id(event.id())
                .content_type(event.content_type())
                .metadata(event.metadata().to_vec())
                .tags(event.tags())
                .schema_version(event.schema_version());
            transaction = transaction.append(event.stream(), ExpectedVersion::Any, [new]);
        }
        transaction.recorded_at(commit[0].recorded_at()).commit().unwrap();
    }
    forged.close().unwrap();
    match places.copy(&Settings::default()) {
        Err(Error::Differs { position, what }) => {
            assert_eq!((position.get(), &*what), (20, "the data is another"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn empty_source_gives_an_empty_target() {
    let places = Places::new();
    Store::open(places.old()).unwrap().close().unwrap();
    let report = places.copy(&Settings::default()).unwrap();
    assert_eq!((report.events_copied, report.events_compared), (0, 0));
    assert_eq!(Store::open(places.new_place()).unwrap().head().get(), 0);
}

#[test]
fn source_that_is_missing_or_the_target_itself_is_refused() {
    let places = Places::new();
    assert!(matches!(Directory::source(places.old()), Err(Error::Failed { .. })));
    assert!(!places.old().exists());
    fill(&places.old(), 0..5);
    let mut same = target(&places.old()).unwrap();
    let mut source = Directory::source(places.old()).unwrap();
    let refused =
        copy(&mut source, &mut same, &Settings::default(), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(Error::SamePlace { .. })), "{refused:?}");
    same.close().unwrap();
}

#[test]
fn copy_works_beside_the_program_that_writes_the_source() {
    let places = Places::new();
    let store = small().open(places.old()).unwrap();
    for number in 0..100 {
        commit(&store, number);
    }
    places.copy(&Settings::default()).unwrap();
    for number in 100..150 {
        commit(&store, number);
    }
    places.copy(&Settings::default()).unwrap();
    assert_eq!(contents(&places.old()), contents(&places.new_place()));
    drop(store);
}
