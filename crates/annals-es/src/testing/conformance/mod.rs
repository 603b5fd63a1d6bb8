//! Tests that every implementation of [`EventStore`] has to pass.
//!
//! The macro [`store_conformance!`](crate::store_conformance) makes a `#[test]` of each. Implementations name the
//! traits that they have:
//!
//! ```
//! # // The tests themselves exist only in test builds.
//! annals_es::store_conformance! {
//!     memory: (annals_es::MemoryStore::new(), ()),
//!     traits: [EventStore, OrderedStore, SeveralStreams, Boundaries, AtomicCheckpoints]
//! }
//! ```
//!
//! The expression gives an empty store, and a value that is dropped after the test, for example its directory.

#[doc(hidden)]
pub mod commits;
#[doc(hidden)]
pub mod ordered;
#[doc(hidden)]
pub mod streams;

use std::fmt::Debug;

use bytes::Bytes;
use futures_core::Stream;

use crate::blocking;
use crate::store::{
    Commit, Committed, EventStore, Expected, FailedCheck, NewEvent, ReadStream, RecordedEvent,
    StoreError,
};

/// Makes a module of tests for an implementation of [`EventStore`](crate::EventStore); see
/// [`testing::conformance`](crate::testing::conformance).
#[macro_export]
macro_rules! store_conformance {
    ($name:ident: $make:expr, traits: [$($trait:ident),* $(,)?]) => {
        #[cfg(test)]
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            $($crate::store_conformance! { @tests $trait, $make })*
        }
    };
    (@tests EventStore, $make:expr) => {
        $crate::store_conformance! { @list streams, $make,
            append_returns_places, visited_events_are_those_of_a_read, expectation_is_checked, event_keeps_its_parts,
            stream_is_read_in_parts, read_is_pinned, version_and_event_are_found,
            repeated_commit_returns_first_result, reused_id_is_refused, large_event_is_refused,
            snapshot_is_found_by_mark, snapshot_is_saved_with_commit, snapshot_ahead_is_refused,
            contenders_all_succeed,
        }
    };
    (@tests OrderedStore, $make:expr) => {
        $crate::store_conformance! { @list ordered, $make,
            all_streams_are_read_in_order, query_selects_events, time_gives_a_position,
            checkpoint_moves_forward, checkpoint_token_is_verified, wait_ends_when_visible,
            subscription_catches_up_and_follows, filtered_subscription_reports_progress,
            prompt_progress_is_reported_without_a_match,
            subscription_ahead_of_head_is_refused, subscription_delivers_whole_commits,
        }
    };
    (@tests SeveralStreams, $make:expr) => {
        $crate::store_conformance! { @list commits, $make,
            several_streams_are_all_or_nothing, stream_may_occur_twice_in_a_commit,
            check_without_events_writes_nothing, repeated_commit_of_several_streams,
        }
    };
    (@tests Boundaries, $make:expr) => {
        $crate::store_conformance! { @list commits, $make,
            boundary_fails_on_a_later_match, boundary_ignores_its_own_events,
            boundary_admits_one_of_many,
        }
    };
    (@tests AtomicCheckpoints, $make:expr) => {
        $crate::store_conformance! { @list commits, $make,
            checkpoint_moves_with_a_commit, checkpoint_admits_one_of_two_consumers,
            repeated_commit_keeps_a_checkpoint,
        }
    };
    (@list $module:ident, $make:expr, $($test:ident),* $(,)?) => {
        $(#[test]
        fn $test() {
            $crate::testing::conformance::$module::$test($make);
        })*
    };
}

/// An event of a type, with its type as data.
fn event(event_type: &'static str) -> NewEvent {
    NewEvent::new(event_type, Bytes::from_static(event_type.as_bytes()))
}

/// Appends events to a stream in one commit.
fn append<S: EventStore>(
    store: &S,
    stream: &str,
    events: impl IntoIterator<Item = NewEvent>,
) -> Committed {
    let done = blocking::block_on(store.append(Commit::to(stream, Expected::Any, events)));
    done.expect("an append without an expectation succeeds")
}

/// The items of a read.
fn collect(
    read: impl Stream<Item = Result<RecordedEvent, StoreError>> + Unpin,
) -> Vec<RecordedEvent> {
    blocking::iter(read).map(|event| event.expect("the read succeeds")).collect()
}

/// The types of the events of a read.
fn types(read: impl Stream<Item = Result<RecordedEvent, StoreError>> + Unpin) -> Vec<String> {
    collect(read).iter().map(|event| event.event_type().to_owned()).collect()
}

/// The number of events of a stream.
fn count<S: EventStore>(store: &S, stream: &str) -> usize {
    collect(store.read_stream(ReadStream::of(stream))).len()
}

/// The failed checks of a commit that lost.
fn failed_checks<T: Debug>(done: Result<T, crate::AppendError>) -> Vec<FailedCheck> {
    match done {
        Err(crate::AppendError::Conflict(conflict)) => conflict.failed,
        other => panic!("expected a conflict, found {other:?}"),
    }
}
