//! Copying the events of another event store: ids with and without gaps, interruptions, and what is refused.

#![allow(clippy::unwrap_used)]

use std::error::Error as StdError;

use adapter_tests::in_every_way;
use annals_disintegrate::annals::{ExpectedVersion, NewEvent, Store};
use annals_disintegrate::disintegrate::serde::json::Json;
use annals_disintegrate::disintegrate::{
    Event, EventStore, PersistedEvent, StreamItem, StreamQuery, query,
};
use annals_disintegrate::{AnnalsEventStore, Copied, CopyError, EventId, copied_position, copy};
use async_trait::async_trait;
use futures::StreamExt;
use futures::executor::block_on;
use futures::stream::{self, BoxStream};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Event, Serialize, Deserialize)]
enum Deposited {
    Deposited {
        #[id]
        account: i64,
        memo: String,
    },
}

type Bank = AnnalsEventStore<Deposited, Json<Deposited>>;

fn bank(store: &Store) -> Bank {
    AnnalsEventStore::new(store.clone(), Json::default())
}

fn deposited(number: i64) -> Deposited {
    Deposited::Deposited { account: number % 7, memo: format!("deposit {number:0100}") }
}

/// Another store, with these ids. It fails after a number of items.
struct Source {
    ids: Vec<EventId>,
    fails_after: usize,
}

impl Source {
    fn new(ids: impl IntoIterator<Item = EventId>) -> Self {
        Self { ids: ids.into_iter().collect(), fails_after: usize::MAX }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the server is gone")
    }
}

impl StdError for Gone {}

#[async_trait]
impl EventStore<EventId, Deposited> for Source {
    type Error = Gone;

    fn stream<'a, QE>(
        &'a self,
        query: &'a StreamQuery<EventId, QE>,
    ) -> BoxStream<'a, Result<StreamItem<EventId, QE>, Gone>>
    where
        QE: TryFrom<Deposited> + Event + 'static + Clone + Send + Sync,
        <QE as TryFrom<Deposited>>::Error: StdError + 'static + Send + Sync,
    {
        let origin = query.filters()[0].origin();
        let event = |id| {
            let event = QE::try_from(deposited(id)).unwrap();
            Ok(StreamItem::Event(PersistedEvent::new(id, event)))
        };
        let rest: Vec<_> = match self.ids.iter().position(|it| *it == origin) {
            Some(index) => self.ids[index + 1..].to_vec(),
            None => self.ids.clone(),
        };
        let end = Ok(StreamItem::End(self.ids.last().copied().unwrap_or(0)));
        let items = rest.into_iter().map(event).chain([end]).collect::<Vec<_>>();
        let fails = (items.len() > self.fails_after).then_some(Err(Gone));
        stream::iter(items.into_iter().take(self.fails_after).chain(fails)).boxed()
    }

    async fn append<QE>(
        &self,
        _: Vec<Deposited>,
        _: StreamQuery<EventId, QE>,
        _: EventId,
    ) -> Result<Vec<PersistedEvent<EventId, Deposited>>, Gone>
    where
        QE: Event + 'static + Clone + Send + Sync,
    {
        panic!("a copy writes nothing to its source")
    }

    async fn append_without_validation(
        &self,
        _: Vec<Deposited>,
    ) -> Result<Vec<PersistedEvent<EventId, Deposited>>, Gone> {
        panic!("a copy writes nothing to its source")
    }
}

fn copied(store: &Store, source: &Source) -> Result<Copied, CopyError<Gone>> {
    block_on(copy(source, &bank(store)))
}

/// All events, and those of account 3.
fn events(store: &Store) -> (Vec<(EventId, Deposited)>, usize) {
    let all = query!(Deposited);
    let one = query!(Deposited; account == 3);
    let read = |query| block_on(bank(store).stream(query).collect::<Vec<_>>());
    let event = |item: Result<StreamItem<EventId, Deposited>, _>| match item.unwrap() {
        StreamItem::Event(event) => Some((event.id(), event.into_inner())),
        StreamItem::End(_) => None,
    };
    let all = read(&all).into_iter().filter_map(event).collect();
    (all, read(&one).into_iter().filter_map(event).count())
}

#[test]
fn ids_without_gaps_are_kept() {
    in_every_way(|life| {
        let source = Source::new(1..=2100);
        let first = life.step(|store| copied(store, &source).unwrap());
        assert_eq!((first.events, first.ids_kept), (2100, true));
        let again = life.step(|store| copied(store, &source).unwrap());
        assert_eq!((again.events, again.ids_kept), (0, true));
        life.step(|store| {
            let expected: Vec<_> = (1..=2100).map(|id| (id, deposited(id))).collect();
            assert_eq!(events(store), (expected, 300));
            assert_eq!(copied_position(store, 17).unwrap().get(), 17);
            // The program goes on after the copy.
            block_on(bank(store).append_without_validation(vec![deposited(2101)])).unwrap();
            assert_eq!(copied_position(store, 9999).unwrap().get(), 2100);
            assert_eq!(copied(store, &source).unwrap().events, 0);
        });
    });
}

#[test]
fn events_after_a_gap_move_and_their_ids_are_translated() {
    in_every_way(|life| {
        // The ids 4, 5 and 9 are missing.
        let ids = [1, 2, 3, 6, 7, 8, 10];
        let done = life.step(|store| copied(store, &Source::new(ids)).unwrap());
        assert_eq!((done.events, done.ids_kept), (7, false));
        // One more event does not make the earlier ones keep theirs.
        let more = ids.into_iter().chain([11]);
        let done = life.step(|store| copied(store, &Source::new(more)).unwrap());
        assert_eq!((done.events, done.ids_kept), (1, false));
        life.step(|store| {
            let expected: Vec<_> = (1..).zip(ids.into_iter().chain([11]).map(deposited)).collect();
            assert_eq!(events(store).0, expected);
            let translated: Vec<_> =
                (-1..=12).map(|id| copied_position(store, id).unwrap().get()).collect();
            assert_eq!(translated, [0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 6, 7, 8, 8]);
        });
    });
}

#[test]
fn interrupted_copy_goes_on_where_it_stopped() {
    in_every_way(|life| {
        let (mut interruptions, total) = (0, 3000);
        let mut source = Source { fails_after: 1400, ..Source::new((1..=total).map(|it| it * 2)) };
        loop {
            match life.step(|store| copied(store, &source)) {
                Err(CopyError::Source(Gone)) => interruptions += 1,
                done => break assert!(!done.unwrap().ids_kept),
            }
            // What is not committed is read again.
            source.fails_after += 10;
        }
        assert_eq!(interruptions, 2);
        life.step(|store| {
            let expected: Vec<_> = (1..=total).map(|n| (n, deposited(n * 2))).collect();
            assert_eq!(events(store).0, expected);
        });
    });
}

#[test]
fn source_that_goes_back_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    for ids in [[1, 3, 2], [1, 2, 2]] {
        let refused = copied(&store, &Source::new(ids)).unwrap_err();
        assert!(matches!(refused, CopyError::Order { id: 2, .. }), "{refused:?}");
    }
    assert_eq!(store.head().get(), 0);
}

#[test]
fn target_with_events_of_its_own_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    assert_eq!(copied(&store, &Source::new([1])).unwrap().events, 1);
    store.append("other", ExpectedVersion::Any, [NewEvent::new("Own", "")]).unwrap();
    let refused = copied(&store, &Source::new([1, 2])).unwrap_err();
    assert!(
        matches!(&refused, CopyError::TargetHasOtherEvents { reached, .. } if reached.get() == 1)
    );
    assert!(refused.source().is_some());
    assert_eq!(store.head().get(), 2);
}

#[test]
fn unreadable_record_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("ledger")).unwrap();
    let any = annals_disintegrate::annals::ExpectedRecord::Any;
    store.records().put("disintegrate/copy", "far", any).unwrap();
    let refused = copied(&store, &Source::new([1])).unwrap_err();
    assert!(matches!(refused, CopyError::Reached(_)));
    assert!(matches!(copied_position(&store, 1), Err(CopyError::Reached(_))));
    assert_eq!(store.head().get(), 0);
}
