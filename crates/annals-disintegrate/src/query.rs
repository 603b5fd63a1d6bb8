//! Stream queries as queries of the engine.
//!
//! Owns the tags of domain identifiers. Must never add an identifier to an event type whose schema lacks it: such a
//! filter matches all events of the type, as in the SQL backends.

use annals::{Query, QueryItem};
use disintegrate::{Event, Identifier, IdentifierValue, StreamFilter, StreamQuery};

use crate::EventId;

pub(crate) fn tag(identifier: Identifier, value: &IdentifierValue) -> String {
    format!("{identifier}:{value}")
}

/// A negative id is before the first event.
pub(crate) fn position(id: EventId) -> u64 {
    u64::try_from(id).unwrap_or(0)
}

/// The query, in which each filter begins after its origin, or after `origin` if one is given.
pub(crate) fn convert<E>(query: &StreamQuery<EventId, E>, origin: Option<EventId>) -> Query
where
    E: Event + Clone,
{
    query.filters().iter().fold(Query::none(), |converted, filter| {
        let after = position(origin.unwrap_or_else(|| filter.origin()));
        items(filter).into_iter().fold(converted, |it, item| it.or(item.after(after)))
    })
}

/// One item for the event types that have the same identifiers of the filter.
fn items<E>(filter: &StreamFilter<EventId, E>) -> Vec<QueryItem>
where
    E: Event + Clone,
{
    let mut groups: Vec<(Vec<String>, Vec<&str>)> = Vec::new();
    let excluded = filter.excluded_events();
    for name in filter.events() {
        if excluded.is_some_and(|it| it.contains(name)) {
            continue;
        }
        let info = E::SCHEMA.events_info.iter().find(|it| it.name == *name);
        let has = |it: &Identifier| info.is_some_and(|info| info.has_domain_id(it));
        let identifiers = filter.identifiers().iter().filter(|(it, _)| has(it));
        let tags: Vec<String> = identifiers.map(|(key, value)| tag(*key, value)).collect();
        match groups.iter_mut().find(|it| it.0 == tags) {
            Some(group) => group.1.push(name),
            None => groups.push((tags, vec![name])),
        }
    }
    let item = |(tags, types): (Vec<String>, Vec<&str>)| QueryItem::new().types(types).tags(tags);
    groups.into_iter().map(item).collect()
}
