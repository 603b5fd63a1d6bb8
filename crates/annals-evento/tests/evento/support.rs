//! What the scenarios share.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use adapter_tests::Life;
use annals_evento::AnnalsExecutor;
use evento::cursor::{Args, ReadResult};
use evento::metadata::Metadata;
use evento::{Event, EventFilter, Executor, RoutingKey, TenantFilter};
use ulid::Ulid;

pub(crate) const TYPE: &str = "test/Account";

pub(crate) fn executor(life: &Life) -> AnnalsExecutor {
    AnnalsExecutor::new(life.store().clone()).unwrap()
}

/// Ends a step; the tasks of subscriptions have ended and have dropped their executors.
pub(crate) fn end_step(life: &mut Life, executor: AnnalsExecutor) -> AnnalsExecutor {
    drop(executor);
    life.end_step();
    self::executor(life)
}

/// An event of the account `id`, with the routing key `key`.
pub(crate) fn event(id: &str, version: u16, key: Option<&str>) -> Event {
    let mut metadata = Metadata::default();
    metadata.set_requested_by("ann");
    Event {
        id: Ulid::generate(),
        aggregate_id: id.to_owned(),
        aggregate_type: TYPE.to_owned(),
        version,
        name: format!("Named{}", version % 2),
        routing_key: key.map(str::to_owned),
        data: vec![1, 2, u8::try_from(version % 256).unwrap()],
        metadata,
        ..Event::default()
    }
}

pub(crate) fn stamped(mut event: Event, millis: u64) -> Event {
    event.timestamp = millis / 1000;
    event.timestamp_subsec = u32::try_from(millis % 1000).unwrap();
    event
}

/// Filters as [`Executor::read`] takes them.
pub(crate) type Filters = Option<Arc<[EventFilter]>>;

#[expect(clippy::unnecessary_wraps, reason = "the form in which a read takes them")]
fn by(filter: EventFilter) -> Filters {
    Some(Arc::from([filter]))
}

pub(crate) fn by_id(id: &str) -> Filters {
    by(EventFilter::by_id_raw(TYPE, id))
}

pub(crate) fn by_type() -> Filters {
    by(EventFilter::by_type_raw(TYPE))
}

pub(crate) async fn read(
    executor: &impl Executor,
    filters: Option<Arc<[EventFilter]>>,
    key: Option<RoutingKey>,
    args: Args,
) -> ReadResult<Event> {
    executor.read(filters, key, TenantFilter::All, args, None).await.unwrap()
}

pub(crate) fn nodes(page: ReadResult<Event>) -> Vec<Event> {
    page.edges.into_iter().map(|edge| edge.node).collect()
}

/// All events of all tenants, in the order of their cursors.
pub(crate) async fn all(executor: &impl Executor) -> Vec<Event> {
    nodes(read(executor, None, None, Args::forward(u16::MAX, None)).await)
}

/// Ids and versions.
pub(crate) fn places(events: &[Event]) -> Vec<(&str, u16)> {
    events.iter().map(|event| (&*event.aggregate_id, event.version)).collect()
}

/// Fails a test that would wait for ever.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("an event is missing")
}
