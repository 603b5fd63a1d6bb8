//! The event store: append, stream, remove.

use adapter_tests::{Life, Way, in_every_way};
use annals::{ExpectedVersion, NewEvent};
use annals_eventually::Error;
use eventually_core::store::Expected::{Any, Exact};
use eventually_core::store::{AppendError, EventStore, Expected, Select};
use futures::executor::block_on;

use crate::support::Door::{self, Closed, Locked, Opened};
use crate::support::{doors, events, read, read_all};

fn append(life: &mut Life, id: &str, expected: Expected, new: &[Door]) -> Result<u32, Error> {
    let (id, new) = (id.to_owned(), new.to_vec());
    life.step(|store| block_on(doors(store).append(id, expected, new)))
}

fn remove(life: &mut Life, id: &str) {
    life.step(|store| block_on(doors(store).remove(id.to_owned()))).unwrap();
}

fn assert_conflict(done: Result<u32, Error>) {
    let error = done.unwrap_err();
    assert!(error.is_conflict_error(), "{error:?}");
}

#[test]
fn append_returns_the_version_of_the_source() {
    in_every_way(|life| {
        assert_eq!(append(life, "a", Any, &[Opened, Closed]).unwrap(), 2);
        assert_eq!(append(life, "a", Any, &[Opened]).unwrap(), 3);
        assert_eq!(append(life, "b", Exact(0), &[Opened]).unwrap(), 1);
        assert_eq!(append(life, "a", Exact(3), &[Closed, Locked]).unwrap(), 5);
        assert_eq!(append(life, "a", Any, &[]).unwrap(), 5);
        assert_eq!(append(life, "a", Exact(5), &[]).unwrap(), 5);
        assert_eq!(append(life, "none", Any, &[]).unwrap(), 0);
        assert!(read(life, "none", Select::All).unwrap().is_empty());
    });
}

#[test]
fn append_with_another_version_is_a_conflict_and_appends_nothing() {
    in_every_way(|life| {
        assert_conflict(append(life, "a", Exact(1), &[Opened]));
        append(life, "a", Exact(0), &[Opened, Closed]).unwrap();
        for other in [0, 1, 3, u32::MAX - 1] {
            assert_conflict(append(life, "a", Exact(other), &[Locked]));
        }
        assert_conflict(append(life, "a", Exact(1), &[]));
        let refused = append(life, "a", Exact(u32::MAX), &[Locked]).unwrap_err();
        assert!(matches!(refused, Error::VersionRange { version: 0x1_0000_0000, .. }));
        assert!(!refused.is_conflict_error());
        let stored = events("a", &[(1, 0, Opened), (2, 1, Closed)]);
        assert_eq!(read_all(life, Select::All).unwrap(), stored);
    });
}

#[test]
fn streams_begin_at_the_selected_number() {
    in_every_way(|life| {
        append(life, "a-1", Any, &[Opened]).unwrap();
        append(life, "b", Any, &[Closed, Locked]).unwrap();
        append(life, "a-1", Any, &[Closed]).unwrap();
        let a = events("a-1", &[(1, 0, Opened), (2, 3, Closed)]);
        let b = events("b", &[(1, 1, Closed), (2, 2, Locked)]);
        for all in [Select::All, Select::From(0), Select::From(1)] {
            assert_eq!(read(life, "a-1", all).unwrap(), a);
        }
        assert_eq!(read(life, "a-1", Select::From(2)).unwrap(), a[1..]);
        assert!(read(life, "a-1", Select::From(3)).unwrap().is_empty());
        assert!(read(life, "a", Select::All).unwrap().is_empty());
        let in_order = [&a[..1], &b, &a[1..]].concat();
        assert_eq!(read_all(life, Select::All).unwrap(), in_order);
        for from in 0..5 {
            assert_eq!(read_all(life, Select::From(from)).unwrap(), in_order[from as usize..]);
        }
        assert!(read_all(life, Select::From(u32::MAX)).unwrap().is_empty());
    });
}

#[test]
fn removed_source_begins_again() {
    in_every_way(|life| {
        remove(life, "a");
        append(life, "b", Any, &[Locked]).unwrap();
        append(life, "a", Any, &[Opened, Closed, Locked]).unwrap();
        remove(life, "a");
        remove(life, "a");
        assert!(read(life, "a", Select::All).unwrap().is_empty());
        let b = events("b", &[(1, 0, Locked)]);
        assert_eq!(read_all(life, Select::All).unwrap(), b);
        assert_conflict(append(life, "a", Exact(3), &[Opened]));
        assert_eq!(append(life, "a", Exact(0), &[]).unwrap(), 0);
        // The removal has the sequence number 4.
        assert_eq!(append(life, "a", Exact(0), &[Closed]).unwrap(), 1);
        assert_eq!(append(life, "a", Exact(1), &[Locked]).unwrap(), 2);
        assert_eq!(append(life, "a", Any, &[Opened]).unwrap(), 3);
        let a = events("a", &[(1, 5, Closed), (2, 6, Locked), (3, 7, Opened)]);
        assert_eq!(read(life, "a", Select::All).unwrap(), a);
        assert_eq!(read(life, "a", Select::From(3)).unwrap(), a[2..]);
        remove(life, "a");
        assert_eq!(append(life, "a", Exact(0), &[Opened]).unwrap(), 1);
        let again = events("a", &[(1, 9, Opened)]);
        assert_eq!(read_all(life, Select::All).unwrap(), [b, again].concat());
    });
}

#[test]
fn concurrent_appends_of_any_version_and_removals_all_succeed() {
    let life = Life::new(Way::Straight);
    let appends = || {
        for _ in 0..50 {
            block_on(doors(life.store()).append("a".into(), Any, vec![Opened])).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(appends);
        scope.spawn(appends);
        for _ in 0..20 {
            block_on(doors(life.store()).remove("a".into())).unwrap();
        }
    });
    let left = read(&life, "a", Select::All).unwrap();
    let versions: Vec<_> = left.iter().map(|event| event.1).collect();
    assert_eq!(versions, (1..).take(left.len()).collect::<Vec<_>>());
    let stored = life.store().read_stream("front%2Ddoor-a").include_hidden().start().unwrap();
    let appended = stored.filter(|event| event.as_ref().unwrap().event_type() == "front-door");
    assert_eq!(appended.count(), 100);
}

#[test]
fn events_of_others_are_not_read_and_events_that_do_not_fit_are_errors() {
    let life = Life::new(Way::Straight);
    let add = |stream: &str| {
        let other = [NewEvent::new("other", "{}").metadata("by hand")];
        life.store().append(stream, ExpectedVersion::Any, other).unwrap();
    };
    add("front-a");
    add("front%2Ddoors-a");
    assert!(read_all(&life, Select::All).unwrap().is_empty());
    add("front%2Ddoor-a");
    let refused = read(&life, "a", Select::All);
    assert!(matches!(refused, Err(Error::Store(annals::Error::ReadJson { .. }))), "{refused:?}");
    let numbers =
        annals_eventually::AnnalsStore::<u32, Door>::new(life.store().clone(), "front-door");
    let refused = block_on(async {
        let all = numbers.stream_all(Select::All).await.unwrap();
        futures::TryStreamExt::try_collect::<Vec<_>>(all).await
    });
    assert!(matches!(refused, Err(Error::SourceId { .. })), "{refused:?}");
}

#[test]
fn event_type_is_the_kind_or_the_one_that_is_set() {
    let life = Life::new(Way::Straight);
    let named = doors(life.store()).with_event_type(|door| match door {
        Locked => "locked",
        Opened | Closed => "moved",
    });
    block_on(doors(life.store()).append("a".into(), Any, vec![Locked])).unwrap();
    block_on(named.clone().append("a".into(), Any, vec![Locked, Opened])).unwrap();
    let stored = named.store().read_all().start().unwrap();
    let types: Vec<_> = stored.map(|event| event.unwrap().event_type().to_owned()).collect();
    assert_eq!(types, ["front-door", "locked", "moved"]);
}
