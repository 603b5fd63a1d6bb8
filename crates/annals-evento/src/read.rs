//! Reads: pages of events by filter and cursor.
//!
//! Owns the query that a filter becomes, and the position that a cursor stands for. Must never return an event that the
//! filter does not match: a query may find more.

use std::sync::Arc;

use annals::{EventStream, Query, QueryItem, Store, StreamName};
use evento_core::cursor::{Args, Cursor, Edge, PageInfo, ReadResult, Value};
use evento_core::{Event, EventFilter, RoutingKey, TenantFilter};

use crate::Error;
use crate::error::uuid;
use crate::event::{ID, Key, ROUTING, TENANT, decode, key, may_be_cut, stream, tag};

/// Which events a read returns.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) aggregators: Option<Arc<[EventFilter]>>,
    pub(crate) routing_key: Option<RoutingKey>,
    pub(crate) tenant: TenantFilter,
}

/// How the store finds them.
#[derive(Debug)]
struct Plan {
    query: Query,
    /// Every event that the query finds is one.
    is_exact: bool,
}

/// Where a cursor is.
#[derive(Debug)]
struct Place {
    /// Number of events before it.
    before: u64,
    /// Number of events up to it.
    upto: u64,
    /// The stream and version of its event; `None` if the event is not in the store.
    at: Option<(String, u64)>,
}

/// One page.
pub(crate) async fn read(
    store: &Store,
    filter: &Filter,
    args: &Args,
    to_micros: Option<u64>,
) -> anyhow::Result<ReadResult<Event>> {
    let (limit, cursor) = args.get_info();
    let (limit, is_backward) = (usize::from(limit), args.is_backward());
    let place = match &cursor {
        Some(cursor) => Some(find(store, cursor).await?),
        None => None,
    };
    let mut found = filter.start(store, place.as_ref(), is_backward, limit, to_micros);
    let mut edges: Vec<Edge<Event>> = Vec::new();
    // One more than the page has, to see if there is another page.
    while edges.len() <= limit {
        let Some(event) = found.next().await else { break };
        let node = decode(&event.map_err(Error::Store)?)?;
        if !filter.matches(&node) {
            continue;
        }
        // Stamps rise with positions.
        if to_micros.is_some_and(|bound| node.timestamp_micros() >= bound) {
            if is_backward {
                continue;
            }
            break;
        }
        edges.push(Edge { cursor: node.serialize_cursor()?, node });
    }
    let has_more = edges.len() > limit;
    edges.truncate(limit);
    if is_backward {
        edges.reverse();
    }
    let page_info = PageInfo {
        has_previous_page: has_more && is_backward,
        has_next_page: has_more && !is_backward,
        start_cursor: edges.first().map(|edge| edge.cursor.clone()),
        end_cursor: edges.last().map(|edge| edge.cursor.clone()),
    };
    Ok(ReadResult { edges, page_info })
}

/// Finds the place of a cursor by its event. A cursor of another store is found by its place in the order.
async fn find(store: &Store, cursor: &Value) -> anyhow::Result<Place> {
    let place = Key::of_cursor(&Event::deserialize_cursor(cursor)?)?;
    let stored = store.event_async(uuid(ulid::Ulid(place.id))).await.map_err(Error::Store)?;
    if let Some(event) = stored
        && key(&event).is_ok_and(|key| key == place)
    {
        let (upto, at) = (event.position().get(), (event.stream().to_owned(), event.version()));
        return Ok(Place { before: upto - 1, upto, at: Some(at) });
    }
    let store = store.clone();
    let search = tokio::task::spawn_blocking(move || search(&store, place));
    let before = search.await??;
    Ok(Place { before, upto: before, at: None })
}

/// The number of events before a place in the order.
fn search(store: &Store, place: Key) -> Result<u64, Error> {
    let (mut before, mut head) = (0, store.head().get());
    while before < head {
        let middle = before + (head - before).div_ceil(2);
        let read = store.read_all().after(middle - 1).include_hidden().limit(1);
        let is_before = match read.into_iter().next() {
            Some(event) => key(&event?)? < place,
            None => false,
        };
        if is_before {
            before = middle;
        } else {
            head = middle - 1;
        }
    }
    Ok(before)
}

impl Filter {
    fn start(
        &self,
        store: &Store,
        place: Option<&Place>,
        is_backward: bool,
        limit: usize,
        to_micros: Option<u64>,
    ) -> EventStream {
        let most = limit as u64 + 1;
        let is_ungated = to_micros.is_none() || !is_backward;
        if let Some(stream) = self.one_stream() {
            let version = match place {
                None => Some(None),
                Some(Place { at: Some((of, version)), .. }) if *of == stream => {
                    Some(Some(*version))
                }
                Some(_) => None,
            };
            if let Some(version) = version {
                let mut read = store.read_stream(stream);
                if is_backward {
                    read = read.backwards();
                }
                read = match version {
                    Some(version) if is_backward => read.up_to_version(version - 1),
                    Some(version) => read.from_version(version + 1),
                    None => read,
                };
                let is_exact =
                    is_ungated && !matches!(self.routing_key, Some(RoutingKey::Value(_)));
                return if is_exact { read.limit(most) } else { read }.into_stream();
            }
        }
        let Plan { query, is_exact } = self.plan();
        let mut read = store.read_all().matching(query);
        if is_backward {
            read = read.backwards().up_to(place.map_or(u64::MAX, |place| place.before));
        } else {
            read = read.after(place.map_or(0, |place| place.upto));
        }
        if is_exact && is_ungated { read.limit(most) } else { read }.into_stream()
    }

    /// The stream, if the events are those of one aggregate.
    fn one_stream(&self) -> Option<String> {
        let TenantFilter::Only(tenant) = &self.tenant else { return None };
        match self.aggregators.as_deref()? {
            [EventFilter { aggregate_type, aggregate_id: Some(id), name: None }] => {
                Some(stream(tenant, aggregate_type, id))
            }
            _ => None,
        }
    }

    fn plan(&self) -> Plan {
        let mut is_exact = !matches!(self.routing_key, Some(RoutingKey::Value(None)));
        let mut common = Vec::new();
        if let Some(RoutingKey::Value(Some(routing_key))) = &self.routing_key {
            common.push(tag(ROUTING, routing_key));
        }
        match &self.tenant {
            TenantFilter::All => {}
            TenantFilter::Only(tenant) if tenant.is_empty() => is_exact = false,
            TenantFilter::Only(tenant) => common.push(tag(TENANT, tenant)),
        }
        is_exact &= !common.iter().any(|tag| may_be_cut(tag));
        let Some(filters) = &self.aggregators else {
            let query = if common.is_empty() { Query::all() } else { Query::tagged(common) };
            return Plan { query, is_exact };
        };
        let mut query = Query::none();
        for (number, filter) in filters.iter().enumerate() {
            if filters[..number].contains(filter) {
                continue;
            }
            for item in self.items(filter, &common) {
                query = query.or(item);
            }
            // Other values may have the same beginning.
            is_exact &= !filter.aggregate_id.as_ref().is_some_and(|id| may_be_cut(&tag(ID, id)));
        }
        Plan { query, is_exact }
    }

    /// The items of a query that find what a filter matches.
    fn items(&self, filter: &EventFilter, common: &[String]) -> Vec<QueryItem> {
        let of_type = &filter.aggregate_type;
        let of_name = || {
            let item = QueryItem::new().tags(common.iter().cloned());
            filter.name.iter().fold(item, |item, name| item.types([name]))
        };
        match (&filter.aggregate_id, &self.tenant) {
            (None, _) => vec![of_name().category(StreamName::escape(of_type))],
            (Some(id), TenantFilter::Only(tenant)) => {
                vec![of_name().stream(stream(tenant, of_type, id))]
            }
            (Some(id), TenantFilter::All) => vec![
                of_name().stream(stream("", of_type, id)),
                of_name().category(StreamName::escape(of_type)).tag(tag(ID, id)),
            ],
        }
    }

    fn matches(&self, event: &Event) -> bool {
        let is_wanted = |filter: &EventFilter| {
            filter.aggregate_type == event.aggregate_type
                && filter.aggregate_id.as_ref().is_none_or(|id| *id == event.aggregate_id)
                && filter.name.as_ref().is_none_or(|name| *name == event.name)
        };
        self.tenant.matches(&event.tenant)
            && self.aggregators.as_deref().is_none_or(|filters| filters.iter().any(is_wanted))
            && match &self.routing_key {
                Some(RoutingKey::Value(routing_key)) => *routing_key == event.routing_key,
                Some(RoutingKey::All) | None => true,
            }
    }
}
