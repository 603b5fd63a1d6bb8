//! The interface of evento that this crate was written for.
//!
//! Owns no behaviour: this file does not compile if the trait or a type of evento changes. A method that evento adds with
//! a default is not seen: the versions of the dependencies are exact for that reason.
#![allow(dead_code, reason = "it is compiled and not called")]

use std::future::Future;
use std::sync::Arc;

use evento::cursor::{Args, Edge, PageInfo, ReadResult, Value};
use evento::metadata::Metadata;
use evento::{
    Event, EventCursor, EventFilter, Executor, RoutingKey, SubscriberStatus, TenantFilter,
    WriteError,
};
use tokio::sync::watch::Receiver;
use ulid::Ulid;

fn returns<T>(_: impl Future<Output = anyhow::Result<T>> + Send) {}
fn writes(_: impl Future<Output = Result<(), WriteError>> + Send) {}
fn s() -> String {
    String::new()
}

fn executor(executor: &dyn Executor, filters: Option<Arc<[EventFilter]>>, id: Ulid) {
    let _: Option<&str> = executor.default_routing_key();
    writes(executor.write(Vec::<Event>::new()));
    writes(executor.replicate(Vec::<Event>::new()));
    let _: Option<Receiver<u64>> = executor.write_watch();
    returns::<Option<u64>>(executor.stable_timestamp());
    returns::<Option<Value>>(executor.get_subscriber_cursor(s()));
    returns::<bool>(executor.is_subscriber_running(s(), id));
    returns::<SubscriberStatus>(executor.subscriber_status(s(), id));
    returns::<u16>(executor.latest_version(s(), s(), s()));
    returns::<Option<Option<String>>>(executor.stream_routing_key(s(), s(), s()));
    returns::<()>(executor.upsert_subscriber(s(), id));
    returns::<bool>(executor.acknowledge(s(), id, Value(s()), 0_u64));
    let (all, args) = (TenantFilter::All, Args::forward(1, None));
    returns::<ReadResult<Event>>(executor.read(filters.clone(), None, all, args, Some(0_u64)));
    returns::<u64>(executor.latest_timestamp(filters, None, TenantFilter::Only(s())));
    returns::<Option<(Vec<u8>, Value)>>(executor.get_snapshot(s(), s(), s(), s(), s()));
    let data: Vec<u8> = Vec::new();
    returns::<()>(executor.save_snapshot(s(), s(), s(), s(), s(), data, Value(s())));
    returns::<()>(executor.delete_snapshot(s(), s(), s(), s()));
    returns::<()>(executor.delete_stream(s(), s(), s()));
}

/// No field is left out, and no variant.
fn types(event: Event, cursor: EventCursor, filter: EventFilter, status: SubscriberStatus) {
    let Event {
        id,
        aggregate_id,
        aggregate_type,
        version,
        name,
        routing_key,
        tenant,
        data,
        metadata,
        timestamp,
        timestamp_subsec,
    } = event;
    let _: (Ulid, [String; 4], u16) = (id, [aggregate_id, aggregate_type, name, tenant], version);
    let _: (Option<String>, Vec<u8>, Metadata) = (routing_key, data, metadata);
    let _: (u64, u32) = (timestamp, timestamp_subsec);
    let EventCursor { i, v, t, s } = cursor;
    let _: (String, u16, u64, u32) = (i, v, t, s);
    let EventFilter { aggregate_type, aggregate_id, name } = filter;
    let _: (String, [Option<String>; 2]) = (aggregate_type, [aggregate_id, name]);
    let SubscriberStatus { running, cursor } = status;
    let _: (bool, Option<Value>) = (running, cursor);
}

fn pages(page: ReadResult<Event>, args: Args, key: &RoutingKey, tenant: &TenantFilter) {
    let ReadResult { edges, page_info } = page;
    for Edge { cursor, node } in edges {
        let _: (Value, Event) = (cursor, node);
    }
    let PageInfo { has_previous_page, has_next_page, start_cursor, end_cursor } = page_info;
    let _: ([bool; 2], [Option<Value>; 2]) =
        ([has_previous_page, has_next_page], [start_cursor, end_cursor]);
    let Args { first, after, last, before } = args;
    let _: ([Option<u16>; 2], [Option<Value>; 2]) = ([first, last], [after, before]);
    match key {
        RoutingKey::All | RoutingKey::Value(Some(_) | None) => {}
    }
    match tenant {
        TenantFilter::All | TenantFilter::Only(_) => {}
    }
}

fn errors(error: &WriteError) {
    match error {
        WriteError::InvalidOriginalVersion
        | WriteError::MissingData
        | WriteError::MixedAggregateTypes { .. }
        | WriteError::VersionOverflow
        | WriteError::InvalidTenant(_)
        | WriteError::Unavailable(_)
        | WriteError::Unknown(_)
        | WriteError::SystemTime(_) => {}
    }
}
