//! The conformance test that `UmaDB` has for the synchronous trait, retold: each of its reads is one of the
//! combinations that are compared with a naive model here. Every scenario runs in four ways, through both traits.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod support;

use adapter_tests::in_every_way;
use annals_umadb::UmaStore;
use annals_umadb::umadb_dcb::{DcbError, DcbEvent, DcbEventStoreSync, DcbQuery, DcbResult};
use support::{Awaited, Model, condition, event, item, query};
use uuid::Uuid;

/// One step of a scenario.
type Step<'a> = &'a mut dyn FnMut(&dyn DcbEventStoreSync);

/// Runs a scenario through both traits, in four ways. The closure runs one step.
fn through_both(scenario: impl Fn(&mut dyn FnMut(Step<'_>))) {
    in_every_way(|life| {
        scenario(&mut |step| life.step(|store| step(&UmaStore::new(store.clone()))));
    });
    in_every_way(|life| {
        scenario(&mut |step| life.step(|store| step(&Awaited(UmaStore::new(store.clone())))));
    });
}

fn queries() -> Vec<DcbQuery> {
    vec![
        query([]),
        query([item(&[], &[])]),
        query([item(&["type1"], &[])]),
        query([item(&["type2"], &[])]),
        query([item(&["type1", "type3"], &[])]),
        query([item(&[], &["tagX"])]),
        query([item(&[], &["tagY"])]),
        query([item(&["type1"], &["tagX"])]),
        query([item(&["type1"], &["tagY"])]),
        query([item(&["type2"], &["tagX"])]),
        query([item(&[], &["tagA"])]),
        query([item(&[], &["tagA", "tagB"])]),
        query([item(&[], &["tagB"]), item(&[], &["tagC"])]),
        query([item(&[], &["tagX"]), item(&[], &["tagY"])]),
        query([item(&["type2"], &["tagA"])]),
        query([item(&["type2"], &["tagB"]), item(&["type3"], &["tagC"])]),
        query([item(&["type3"], &["tagC"]), item(&["type2"], &["tagB"])]),
        query([item(&["type4"], &[]), item(&[], &["tagA"])]),
    ]
}

fn append_steps() -> Vec<Vec<DcbEvent>> {
    let metadata = [("source", "integration-test"), ("correlation_id", "abc-123")];
    vec![
        vec![event("type1", "data1", &["tagX"]).metadata(metadata)],
        vec![
            event("type2", "data2", &["tagA", "tagB"]),
            event("type3", "data3", &["tagA", "tagC"]),
        ],
        vec![event("type4", "data4", &[])],
        vec![event("", "", &["tagA", ""]).uuid(Uuid::from_u128(9)).metadata_entry("", "")],
    ]
}

/// Each combination of query, start, direction and limit.
fn compare_reads(store: &dyn DcbEventStoreSync, model: &Model) {
    assert_eq!(store.head().unwrap(), model.head());
    let end = model.0.len() as u64;
    let starts = (0..=end + 1).chain([11, u64::MAX]).map(Some).chain([None]);
    let combinations = starts.flat_map(|start| {
        [None, Some(0), Some(1), Some(2), Some(10), Some(u32::MAX)].map(|limit| (start, limit))
    });
    let queries: Vec<_> = queries().into_iter().map(Some).chain([None]).collect();
    for (start, limit) in combinations {
        for (query, backwards) in queries.iter().flat_map(|it| [(it, false), (it, true)]) {
            let (events, head) =
                store.read_with_head(query.clone(), start, backwards, limit).unwrap();
            let case = format!("{query:?} {start:?} {backwards} {limit:?}");
            let positions: Vec<u64> = events.iter().map(|it| it.position).collect();
            assert_eq!(
                (positions, head),
                model.read(query.as_ref(), start, backwards, limit),
                "{case}"
            );
            for found in events {
                let original = &model.0[found.position as usize - 1];
                assert_eq!(format!("{:?}", found.event), format!("{original:?}"), "{case}");
                assert_eq!(found.tracking_info, None);
            }
        }
    }
}

#[test]
fn read_of_each_combination_is_that_of_the_model() {
    through_both(|run| {
        let mut model = Model::default();
        run(&mut |store| compare_reads(store, &Model::default()));
        for events in append_steps() {
            model.0.extend(events.iter().cloned());
            let end = model.0.len() as u64;
            run(&mut |store| assert_eq!(store.append(events.clone(), None, None).unwrap(), end));
            run(&mut |store| compare_reads(store, &model));
        }
    });
}

#[test]
fn condition_that_matches_fails_and_writes_nothing() {
    let refused = |result: DcbResult<u64>| matches!(result, Err(DcbError::IntegrityError(_)));
    through_both(|run| {
        let mut model = Model::default();
        for events in append_steps().into_iter().take(2) {
            model.0.extend(events.iter().cloned());
            run(&mut |store| {
                let _: u64 = store.append(events.clone(), None, None).unwrap();
            });
        }
        let new = || vec![event("new", "", &["new"])];
        for after in (0..=4).chain([10, u64::MAX]).map(Some).chain([None]) {
            run(&mut |store| {
                for query in queries() {
                    let start = after.map_or(Some(1), |after| after.checked_add(1));
                    let matched = start.is_some_and(|start| {
                        !model.read(Some(&query), Some(start), false, None).0.is_empty()
                    });
                    // The condition alone, without events, must give the same answer.
                    let result = store.append(vec![], condition(query.clone(), after), None);
                    assert_eq!(refused(result), matched, "{query:?} {after:?}");
                    if matched {
                        assert!(refused(store.append(new(), condition(query, after), None)));
                    }
                }
                assert_eq!(store.head().unwrap(), Some(3));
            });
        }
        run(&mut |store| {
            let fits = condition(query([item(&[], &["tagX"])]), Some(1));
            assert_eq!(store.append(new(), fits, None).unwrap(), 4);
            assert_eq!(store.append(vec![], None, None).unwrap(), 0);
        });
    });
}

#[test]
fn repeated_append_is_recognised_by_its_condition_and_ids() {
    let [first, second] = [1, 2]
        .map(|id| event("registered", "", &[&format!("student:{id}")]).uuid(Uuid::from_u128(id)));
    let any = || condition(query([]), None);
    let refused = |result: DcbResult<u64>| matches!(result, Err(DcbError::IntegrityError(_)));
    through_both(|run| {
        let [first, second] = [&first, &second];
        run(&mut |store| assert_eq!(store.append(vec![first.clone()], any(), None).unwrap(), 1));
        run(&mut |store| assert_eq!(store.append(vec![first.clone()], any(), None).unwrap(), 1));
        run(&mut |store| assert_eq!(store.append(vec![second.clone()], None, None).unwrap(), 2));
        run(&mut |store| {
            assert_eq!(store.append(vec![first.clone()], any(), None).unwrap(), 1);
            assert_eq!(store.append(vec![first.clone(), second.clone()], any(), None).unwrap(), 2);
            assert!(refused(store.append(vec![second.clone()], any(), None)));
            assert!(refused(store.append(vec![second.clone(), first.clone()], any(), None)));
            // An event without an id is never a repetition.
            let unnamed = event("registered", "", &["student:1"]);
            assert!(refused(store.append(vec![unnamed], any(), None)));
            let after_first = condition(query([item(&[], &["student:2"])]), Some(1));
            assert_eq!(store.append(vec![second.clone()], after_first, None).unwrap(), 2);
            assert_eq!(store.head().unwrap(), Some(2));
        });
        // Without a condition UmaDB stores an id again.
        run(&mut |store| assert_eq!(store.append(vec![first.clone()], None, None).unwrap(), 3));
    });
}

#[test]
fn courses_and_students_share_one_boundary() {
    through_both(|run| {
        let boundary = || {
            query([
                item(&["StudentRegistered", "StudentJoinedCourse"], &["student:1"]),
                item(&["CourseRegistered", "StudentJoinedCourse"], &["course:1"]),
            ])
        };
        let unique = |tag: &str| condition(query([item(&[], &[tag])]), None);
        let student = || vec![event("StudentRegistered", "Ann", &["student:1"])];
        let course = || vec![event("CourseRegistered", "Logic", &["course:1"])];
        run(&mut |store| {
            assert_eq!(store.append(student(), unique("student:1"), None).unwrap(), 1);
        });
        run(&mut |store| assert_eq!(store.append(course(), unique("course:1"), None).unwrap(), 2));
        run(&mut |store| assert!(store.append(student(), unique("student:1"), None).is_err()));
        let joined = || vec![event("StudentJoinedCourse", "", &["student:1", "course:1"])];
        run(&mut |store| {
            assert_eq!(store.append(joined(), condition(boundary(), Some(2)), None).unwrap(), 3);
        });
        run(&mut |store| {
            assert!(store.append(joined(), condition(boundary(), Some(2)), None).is_err());
            let (events, head) = store.read_with_head(Some(boundary()), None, true, None).unwrap();
            assert_eq!(events.iter().map(|it| it.position).collect::<Vec<_>>(), [3, 2, 1]);
            assert_eq!(head, Some(3));
        });
    });
}

#[test]
fn tags_with_equal_hashes_in_umadb_are_distinct() {
    let tags = [
        "student-1a5c7f43-c0cb-465f-a9ad-8e452cce2b38",
        "course-2b99b9c4-9031-43fd-a7e5-dceda7cab3ea",
    ];
    through_both(|run| {
        for tag in tags {
            run(&mut |store| {
                let _: u64 = store.append(vec![event("e", tag, &[tag])], None, None).unwrap();
            });
        }
        run(&mut |store| {
            for (tag, position) in tags.into_iter().zip([1, 2]) {
                let (events, _) = store
                    .read_with_head(Some(query([item(&[], &[tag])])), None, false, None)
                    .unwrap();
                assert_eq!(events.iter().map(|it| it.position).collect::<Vec<_>>(), [position]);
            }
            let either = query([item(&[], &[tags[0]]), item(&[], &[tags[1]])]);
            assert_eq!(store.read_with_head(Some(either), None, false, None).unwrap().0.len(), 2);
        });
    });
}

#[test]
fn concurrent_appends_of_one_boundary_succeed_once() {
    in_every_way(|life| {
        let winners: usize = life.step(|store| {
            std::thread::scope(|scope| {
                let append = |id: u128| {
                    let seat = event("SeatTaken", "", &["seat:1"]).uuid(Uuid::from_u128(id));
                    let free = condition(query([item(&[], &["seat:1"])]), None);
                    DcbEventStoreSync::append(&UmaStore::new(store.clone()), vec![seat], free, None)
                };
                let threads: Vec<_> = (1..=8).map(|id| scope.spawn(move || append(id))).collect();
                threads.into_iter().map(|it| usize::from(it.join().unwrap().is_ok())).sum()
            })
        });
        assert_eq!(winners, 1);
        assert_eq!(life.step(|store| store.head().get()), 1);
    });
}
