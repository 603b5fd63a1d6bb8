//! The event store: persist, read, publish, delete.

use std::pin::pin;

use adapter_tests::{Life, Way};
use annals::{ExpectedVersion, NewEvent};
use annals_esrs::{AnnalsStore, Error};
use esrs::bus::EventBus;
use esrs::store::{EventStore, StoreEvent};
use esrs::{Aggregate, AggregateState};
use futures_core::Stream;
use uuid::Uuid;

use crate::book::{Book, BookEvent, Handler, Seen, store};

fn bought(copies: i32) -> BookEvent {
    BookEvent::Bought { copies }
}

fn brief(events: &[StoreEvent<BookEvent>]) -> Vec<(i32, BookEvent)> {
    events.iter().map(|event| (event.sequence_number, event.payload.clone())).collect()
}

#[tokio::test]
async fn persisted_events_are_read_with_their_ids_times_and_numbers() {
    for mut life in Life::each() {
        let mut state = AggregateState::<i32>::new();
        let id = *state.id();
        assert!(store(&life).by_aggregate_id(id).await.unwrap().is_empty());
        let one = store(&life).persist(&mut state, vec![bought(1)]).await.unwrap();
        life.end_step();
        assert!(store(&life).persist(&mut state, Vec::new()).await.unwrap().is_empty());
        let more = store(&life).persist(&mut state, vec![bought(2), bought(3)]).await.unwrap();
        life.end_step();
        assert_eq!(*state.sequence_number(), 3);
        let found = store(&life).by_aggregate_id(id).await.unwrap();
        assert_eq!(brief(&found), [(1, bought(1)), (2, bought(2)), (3, bought(3))]);
        let places = |events: &[StoreEvent<BookEvent>]| -> Vec<_> {
            events.iter().map(|it| (it.id, it.aggregate_id, it.occurred_on, it.version)).collect()
        };
        assert_eq!(places(&found), [places(&one), places(&more)].concat());
        assert!(store(&life).by_aggregate_id(Uuid::nil()).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn state_that_is_behind_is_refused_and_keeps_its_number() {
    for mut life in Life::each() {
        let mut state = AggregateState::<i32>::new();
        let mut behind = AggregateState::<i32>::with_id(*state.id());
        store(&life).persist(&mut state, vec![bought(1)]).await.unwrap();
        life.end_step();
        for events in [vec![bought(7)], vec![bought(7), bought(8)]] {
            let refused = store(&life).persist(&mut behind, events).await.map(drop);
            let Err(Error::Store(error)) = refused else { panic!("{refused:?}") };
            assert!(error.is_conflict(), "{error}");
            assert_eq!(*behind.sequence_number(), 0);
        }
        let found = store(&life).by_aggregate_id(*state.id()).await.unwrap();
        assert_eq!(brief(&found), [(1, bought(1))]);
    }
}

#[derive(Debug)]
struct Bus(Seen);

#[async_trait::async_trait]
impl EventBus<Book> for Bus {
    async fn publish(&self, event: &StoreEvent<BookEvent>) {
        self.0.add(format!("published {}", event.sequence_number));
    }
}

/// Persists an event of its own for the first event that it gets, under the lock of the aggregate.
#[derive(Debug)]
struct Saga(AnnalsStore<Book>);

#[async_trait::async_trait]
impl esrs::handler::EventHandler<Book> for Saga {
    async fn handle(&self, event: &StoreEvent<BookEvent>) {
        if event.sequence_number > 1 {
            return;
        }
        let mut state = AggregateState::<i32>::with_id(event.aggregate_id);
        state.set_lock(self.0.lock(event.aggregate_id).await.unwrap());
        let events = self.0.by_aggregate_id(event.aggregate_id).await.unwrap();
        let mut state = state.apply_store_events(events, Book::apply_event);
        self.0.persist(&mut state, vec![bought(100)]).await.unwrap();
    }
}

#[tokio::test]
async fn handlers_come_before_buses_and_learn_of_deletions() {
    for mut life in Life::each() {
        let (seen, store) = (Seen::default(), store(&life));
        store.add_event_handler(Handler(seen.clone())).await;
        store.add_event_bus(Bus(seen.clone())).await;
        let mut state = AggregateState::<i32>::new();
        let id = *state.id();
        store.clone().persist(&mut state, vec![bought(1), bought(2)]).await.unwrap();
        let handled = ["1 Bought { copies: 1 }", "2 Bought { copies: 2 }"];
        assert_eq!(seen.take(), [&handled[..], &["published 1", "published 2"]].concat());
        store.delete(id).await.unwrap();
        store.delete(Uuid::nil()).await.unwrap();
        assert_eq!(seen.take(), [format!("deleted {id}"), format!("deleted {}", Uuid::nil())]);
        drop(store);
        life.end_step();
        let store = crate::book::store(&life);
        assert!(store.by_aggregate_id(id).await.unwrap().is_empty());
        let mut again = AggregateState::<i32>::with_id(id);
        assert!(store.persist(&mut again, vec![bought(1)]).await.is_err(), "the id was used");
    }
}

#[tokio::test]
async fn handler_may_change_the_aggregate_that_it_learns_of() {
    let life = Life::new(Way::Straight);
    let store = store(&life);
    store.add_event_handler(Saga(store.clone())).await;
    let mut state = AggregateState::<i32>::new();
    state.set_lock(store.lock(*state.id()).await.unwrap());
    let persisted = store.persist(&mut state, vec![bought(1)]);
    tokio::time::timeout(std::time::Duration::from_secs(60), persisted).await.unwrap().unwrap();
    let found = store.by_aggregate_id(*state.id()).await.unwrap();
    assert_eq!(brief(&found), [(1, bought(1)), (2, bought(100))]);
}

#[tokio::test]
async fn all_events_of_a_type_are_streamed_in_order() {
    for mut life in Life::each() {
        let mut states = [AggregateState::<i32>::new(), AggregateState::new()];
        for number in 0..4 {
            let state = &mut states[number % 2];
            let copies = i32::try_from(number).unwrap();
            store(&life).persist(state, vec![bought(copies)]).await.unwrap();
            life.end_step();
        }
        life.store().append("other-1", ExpectedVersion::Any, [NewEvent::new("x", "")]).unwrap();
        let store = store(&life).with_event_type(|event| match event {
            BookEvent::Bought { .. } => "Bought",
            BookEvent::Sold { .. } => "Sold",
        });
        store.persist(&mut states[0], vec![BookEvent::Sold { copies: 1 }]).await.unwrap();
        let last = store.store().read_all().backwards().into_iter().next().unwrap().unwrap();
        assert_eq!(last.event_type(), "Sold");
        let (mut found, mut events) = (Vec::new(), pin!(store.stream_events()));
        while let Some(event) =
            std::future::poll_fn(|context| events.as_mut().poll_next(context)).await
        {
            found.push(event.unwrap());
        }
        let numbers: Vec<i32> = found.iter().map(|event| event.sequence_number).collect();
        assert_eq!(numbers, [1, 1, 2, 2, 3]);
        assert_eq!(found[4].payload, BookEvent::Sold { copies: 1 });
    }
}

#[tokio::test]
async fn stored_event_of_another_type_is_an_error() {
    let life = Life::new(Way::Straight);
    let stream = format!("book-{}", Uuid::nil());
    life.store().append(&stream, ExpectedVersion::Any, [NewEvent::new("book", "?")]).unwrap();
    let failed = store(&life).by_aggregate_id(Uuid::nil()).await.map(drop);
    assert!(matches!(failed, Err(Error::Store(annals::Error::ReadJson { .. }))), "{failed:?}");
}
