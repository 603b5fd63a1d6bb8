//! The interface of esrs that this crate was written for.
//!
//! Owns no behaviour: this file does not compile if a trait or type of esrs changes.
#![allow(dead_code, reason = "it is compiled and not called")]

use std::future::Future;

use chrono::{DateTime, Utc};
use esrs::bus::EventBus;
use esrs::handler::EventHandler;
use esrs::store::{EventStore, EventStoreLockGuard, StoreEvent};
use esrs::{Aggregate, AggregateState};
use uuid::Uuid;

fn returns<T, E>(_: impl Future<Output = Result<T, E>> + Send) {}
fn ends(_: impl Future<Output = ()> + Send) {}

fn event_store<A, S>(store: &S, state: &mut AggregateState<A::State>, event: A::Event)
where
    A: Aggregate,
    A::State: Default,
    S: EventStore<Aggregate = A>,
{
    let id: Uuid = *state.id();
    let _: i32 = state.next_sequence_number();
    let _: Option<EventStoreLockGuard> = state.take_lock();
    returns::<EventStoreLockGuard, S::Error>(store.lock(id));
    returns::<Vec<StoreEvent<A::Event>>, S::Error>(store.by_aggregate_id(id));
    returns::<Vec<StoreEvent<A::Event>>, S::Error>(store.persist(state, vec![event]));
    ends(store.publish(&[]));
    returns::<(), S::Error>(store.delete(id));
}

/// No field is left out.
fn types<A: Aggregate>(
    handler: &dyn EventHandler<A>,
    bus: &dyn EventBus<A>,
    event: StoreEvent<A::Event>,
) {
    ends(handler.handle(&event));
    ends(handler.delete(event.aggregate_id));
    ends(bus.publish(&event));
    let StoreEvent { id, aggregate_id, payload, occurred_on, sequence_number, version } = event;
    let _: ([Uuid; 2], A::Event, DateTime<Utc>) = ([id, aggregate_id], payload, occurred_on);
    let _: (i32, Option<i32>) = (sequence_number, version);
}
