//! The interface of eventually-core that this crate was written for.
//!
//! Owns no behaviour: this file does not compile if a trait or type of eventually-core changes.
#![allow(dead_code, reason = "it is compiled and not called")]

use std::convert::Infallible;

use eventually_core::store::{AppendError, EventStore, EventStream, Expected, Persisted, Select};
use eventually_core::subscription::{self, EventSubscriber};
use futures::future::{self, BoxFuture, FutureExt};

/// A trait with one method more, or with another signature, is not implemented by it.
struct Nothing;

impl EventStore for Nothing {
    type SourceId = u8;
    type Event = ();
    type Error = Infallible;

    fn append(
        &mut self,
        _: u8,
        version: Expected,
        _: Vec<()>,
    ) -> BoxFuture<'_, Result<u32, Infallible>> {
        let (Expected::Any | Expected::Exact(_)) = version;
        future::ok(0_u32).boxed()
    }

    fn stream(
        &self,
        _: u8,
        select: Select,
    ) -> BoxFuture<'_, Result<EventStream<'_, Self>, Infallible>> {
        self.stream_all(select)
    }

    fn stream_all(
        &self,
        select: Select,
    ) -> BoxFuture<'_, Result<EventStream<'_, Self>, Infallible>> {
        let (Select::All | Select::From(_)) = select;
        let event: Persisted<u8, ()> = Persisted::from(1, ()).version(1).sequence_number(0);
        let events: EventStream<'_, Self> = Box::pin(futures::stream::iter([Ok(event)]));
        future::ok(events).boxed()
    }

    fn remove(&mut self, _: u8) -> BoxFuture<'_, Result<(), Infallible>> {
        future::ok(()).boxed()
    }
}

impl EventSubscriber for Nothing {
    type SourceId = u8;
    type Event = ();
    type Error = Infallible;

    fn subscribe_all(
        &self,
    ) -> BoxFuture<'_, Result<subscription::EventStream<'_, Self>, Infallible>> {
        let events: subscription::EventStream<'_, Self> = Box::pin(futures::stream::empty());
        future::ok(events).boxed()
    }
}

#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lost")
    }
}

impl std::error::Error for Lost {}

impl AppendError for Lost {
    fn is_conflict_error(&self) -> bool {
        true
    }
}
