//! The names under which the events of a type are recorded.

use std::collections::BTreeSet;

use super::Event;
use crate::store::Query;

/// The names of all events that a type has now, or had in earlier versions, sorted: for the queries of
/// projections.
///
/// ```
/// use annals_es::{Event, Query, QueryItem, event_types};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Event)]
/// enum AccountEvent {
///     Opened,
///     Closed,
/// }
///
/// assert_eq!(event_types::<AccountEvent>(), ["Closed", "Opened"]);
/// let of_accounts = QueryItem::new().types(event_types::<AccountEvent>()).category("account");
/// # let _ = Query::from(of_accounts);
/// ```
pub fn event_types<E: Event>() -> Vec<String> {
    let present = E::schemas().into_iter().map(|schema| schema.event_type);
    let steps = E::upcasters().steps.into_iter().map(|step| step.from.event_type);
    let names: BTreeSet<_> = present.chain(steps).collect();
    names.into_iter().map(String::from).collect()
}

/// The events that are read as events of a type, if nothing else is asked for: those of its types, or every event if
/// it keeps unknown ones.
pub(crate) fn default_query<E: Event>() -> Query {
    if E::KEEPS_UNKNOWN { Query::all() } else { Query::types(event_types::<E>()) }
}
