//! Subscriptions to one stream, and those that begin at a version.

use annals::{Error, ExpectedVersion, Query, QueryItem, Store, subscription::Subscribe};

use super::support::{Filter, Place, append, expected};

fn positions(store: &Store, subscribe: Subscribe) -> Vec<u64> {
    let mut subscription = subscribe.start().unwrap();
    let mut positions = Vec::new();
    while let Some(message) = subscription.try_next().unwrap() {
        positions.extend(message.events().iter().map(|event| event.position().get()));
    }
    assert_eq!(subscription.scanned_through(), store.head());
    positions
}

#[test]
fn stream_is_followed_from_each_of_its_versions() {
    let place = Place::new();
    let store = place.open();
    append(&store, 400);
    assert!(store.stats().segments > 1);
    let all = expected(&store, 0, &Filter { stream: Some(3), ..Filter::default() });
    let last = all.len() as u64;
    // Also where events of the stream are hidden.
    for hidden in [0, 4] {
        if hidden > 0 {
            store.truncate_before("account-3", hidden + 1).unwrap();
        }
        for version in 0..=last {
            let shown = &all[usize::try_from(version.max(hidden)).unwrap()..];
            let subscribe = || store.subscribe_stream("account-3");
            assert_eq!(positions(&store, subscribe().after_version(version)), shown, "{version}");
            assert_eq!(
                positions(&store, subscribe().from_version(version + 1)),
                shown,
                "{version}"
            );
        }
        let all_shown = &all[usize::try_from(hidden).unwrap()..];
        assert_eq!(positions(&store, store.subscribe_stream("account-3")), all_shown);
        assert_eq!(
            positions(&store, store.subscribe_stream("account-3").from_version(0)),
            all_shown
        );
    }
    // What precedes the version is not scanned.
    let subscription = store.subscribe_stream("account-3").from_version(9).start().unwrap();
    assert_eq!(subscription.scanned_through().get(), all[8] - 1);
}

#[test]
fn version_after_the_last_begins_with_the_next_event_and_a_later_one_is_an_error() {
    let place = Place::new();
    let store = place.open();
    append(&store, 40);
    let last = store.stream_head("account-1").unwrap().unwrap().version;
    let subscribe = || store.subscribe_stream("account-1");
    let mut subscription = subscribe().after_version(last).start().unwrap();
    assert_eq!(subscription.scanned_through(), store.head());
    append(&store, 20);
    let event = subscription.next().unwrap().unwrap().into_events().remove(0);
    assert_eq!((event.stream(), event.version()), ("account-1", last + 1));
    let last = store.stream_head("account-1").unwrap().unwrap().version;
    for version in [last + 1, u64::MAX] {
        let Err(Error::VersionAhead { stream, version: asked, last: actual }) =
            subscribe().after_version(version).start()
        else {
            panic!("version {version} is accepted");
        };
        assert_eq!((stream.as_str(), asked, actual), ("account-1", version, last));
    }
    let unknown = store.subscribe_stream("unknown");
    assert!(matches!(
        unknown.clone().after_version(1).start(),
        Err(Error::VersionAhead { version: 1, last: 0, .. })
    ));
    drop(unknown.from_version(1).start().unwrap());
}

#[test]
fn version_without_a_stream_is_an_invalid_argument() {
    let place = Place::new();
    let store = place.open();
    let refused = store.subscribe().matching(Query::stream("a")).from_version(1).start();
    assert!(matches!(refused, Err(Error::InvalidArgument { what: "from_version", .. })));
}

#[test]
fn query_of_a_subscription_to_a_stream_selects_among_its_events() {
    let place = Place::new();
    let store = place.open();
    append(&store, 200);
    let typed = Filter { types: vec![1], stream: Some(3), ..Filter::default() };
    let due = expected(&store, 0, &typed);
    assert!(!due.is_empty());
    let matching = |query: Query| store.subscribe_stream("account-3").matching(query);
    assert_eq!(positions(&store, matching(Query::types(["Changed"]))), due);
    let item = || QueryItem::new().types(["Changed"]);
    let of_category = Query::from(item().category("account")).or(item().category("order"));
    assert_eq!(positions(&store, matching(of_category)), due);
    let of_streams = Query::from(item().stream("account-3")).or(item().stream("account-1"));
    assert_eq!(positions(&store, matching(of_streams)), due);
    assert_eq!(positions(&store, matching(Query::stream("account-1"))), [0_u64; 0]);
    let after = due[due.len() / 2];
    let late = due.iter().copied().filter(|position| *position > after).collect::<Vec<_>>();
    assert_eq!(positions(&store, matching(item().after(after).into())), late);
}

#[test]
fn commits_of_a_followed_stream_are_whole() {
    let place = Place::new();
    let store = place.open();
    for _ in 0..3 {
        let event = || annals::NewEvent::new("T", "");
        let commit = store.transaction().append("a", ExpectedVersion::Any, [event(), event()]);
        commit.append("b", ExpectedVersion::Any, [event()]).commit().unwrap();
    }
    // Version 4 is the second event of its commit.
    let subscribe = store.subscribe_stream("a").from_version(4).whole_commits();
    let message = subscribe.start().unwrap().next().unwrap().unwrap();
    let commits: Vec<_> = message.commits().map(|it| it.events().len()).collect();
    assert_eq!(commits, [1, 2]);
}
