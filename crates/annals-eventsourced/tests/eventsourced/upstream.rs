//! The interface of eventsourced that this crate was written for.
//!
//! Owns no behaviour: this file does not compile if a trait or type of eventsourced changes.
#![allow(dead_code, reason = "most of it is compiled and not called")]

use std::future::Future;
use std::num::NonZeroU64;

use annals_eventsourced::{AnnalsEventLog, AnnalsSnapshotStore};
use eventsourced::binarize::serde_json::{from_bytes, to_bytes};
use eventsourced::event_log::EventLog;
use eventsourced::snapshot_store::{Snapshot, SnapshotStore};
use futures::Stream;

fn returns<T, E>(_: impl Future<Output = Result<T, E>> + Send) {}
fn returns_stream<S, T, E>(_: impl Future<Output = Result<S, E>> + Send)
where
    S: Stream<Item = Result<(NonZeroU64, T), E>> + Send,
{
}

fn event_log<L: EventLog>(log: &mut L, id: &L::Id) {
    const { assert!(AnnalsEventLog::<u64>::MAX_SEQ_NO.get() == u64::MAX) };
    returns::<NonZeroU64, L::Error>(log.persist("", id, None, &0_u8, &to_bytes));
    returns::<Option<NonZeroU64>, L::Error>(log.last_seq_no("", id));
    returns_stream::<_, u8, L::Error>(log.events_by_id::<u8, _, _>(
        "",
        id,
        NonZeroU64::MIN,
        from_bytes,
    ));
    returns_stream::<_, u8, L::Error>(log.events_by_type::<u8, _, _>(
        "",
        NonZeroU64::MIN,
        from_bytes,
    ));
}

fn snapshot_store<S: SnapshotStore>(store: &mut S, id: &S::Id, snapshot: &Snapshot<u8>) {
    returns::<(), S::Error>(store.save(id, NonZeroU64::MIN, &0_u8, &to_bytes));
    returns::<Option<Snapshot<u8>>, S::Error>(store.load::<u8, _, _>(id, from_bytes));
    let Snapshot { seq_no: _, state: _ } = snapshot;
}

#[test]
fn adapter_implements_traits_of_pinned_version() {
    fn all<L: EventLog, S: SnapshotStore>() {}
    all::<AnnalsEventLog<u64>, AnnalsSnapshotStore<String>>();
    let manifest = include_str!("../../Cargo.toml");
    let is_pinned = manifest.contains("eventsourced = \"=0.27.1\"");
    assert!(is_pinned, "read the changes of eventsourced, then adapt this file");
}
