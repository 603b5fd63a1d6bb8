//! Queries over payloads.
//!
//! Owns the tags that make payloads searchable. Must never leave out an event that matches: a tag may only select
//! too many.
//!
//! A payload predicate matches if it is a part of the payload: objects by key, arrays by any element. Each scalar
//! in a payload is a tag, the hash of its path and value, in which all elements of an array have one path. The
//! scalars of a predicate are then among those of each payload that it matches. The reverse does not hold (two
//! scalars of one array element may be of two elements in the payload, and hashes may be equal), so candidates
//! are compared with the predicate.

use annals::{Event, Query, QueryItem};
use factstr::{EventFilter, EventQuery, EventRecord};
use serde_json::Value;

use crate::{Result, event, failure};

/// The greatest number of tags of one event. A payload with more scalars has the tag [`LARGE`] alone.
const MAX_TAGS: usize = 64;

/// The tag of payloads that are candidates of every predicate.
const LARGE: &str = "large";

/// Readers of JSON refuse deeper values.
const MAX_DEPTH: usize = 127;

/// What a query selects.
pub(crate) struct Filter {
    /// Selects every event that matches, and maybe others.
    pub(crate) candidates: Query,
    /// All candidates match.
    pub(crate) is_exact: bool,
    filters: Option<Vec<EventFilter>>,
}

impl Filter {
    /// The cursor of a query, its minimal sequence number, is not part of the filter.
    pub(crate) fn new(query: &EventQuery) -> Self {
        let filters = query.filters.clone().filter(|it| !it.is_empty());
        let Some(filters) = filters else {
            return Self { candidates: Query::all(), is_exact: true, filters: None };
        };
        let candidates = filters.iter().fold(Query::none(), candidates_of);
        let is_exact = filters.iter().all(|it| it.payload_predicates.is_none());
        Self { candidates, is_exact, filters: Some(filters) }
    }

    pub(crate) fn accepts(&self, event: &Event) -> Result<bool> {
        Ok(self.is_exact || self.matches(&event::decode(event)?))
    }

    /// Whether a candidate matches.
    pub(crate) fn matches(&self, record: &EventRecord) -> bool {
        let of_filter = |filter: &EventFilter| {
            let types = filter.event_types.as_ref();
            let predicates = filter.payload_predicates.as_ref();
            types.is_none_or(|types| types.contains(&record.event_type))
                && predicates.is_none_or(|all| all.iter().any(|it| is_part(it, &record.payload)))
        };
        self.is_exact || self.filters.as_ref().is_none_or(|filters| filters.iter().any(of_filter))
    }
}

/// Adds the candidates of one filter. A list of types or predicates that is empty matches nothing.
fn candidates_of(query: Query, filter: &EventFilter) -> Query {
    let item = match &filter.event_types {
        None => QueryItem::new(),
        Some(types) if types.is_empty() => return query,
        Some(types) => QueryItem::new().types(types),
    };
    let Some(predicates) = &filter.payload_predicates else { return query.or(item) };
    predicates.iter().fold(query, |query, predicate| {
        let mut tags = Vec::new();
        match collect_tags(predicate, Path::ROOT, 0, &mut tags) {
            // No payload is so deep.
            Err(TooDeep) => query,
            Ok(()) if tags.is_empty() => query.or(item.clone()),
            // A payload that contains the predicate has at least as many scalars.
            Ok(()) if tags.len() > MAX_TAGS => query.or(item.clone().tag(LARGE)),
            Ok(()) => query.or(item.clone().tags(tags)).or(item.clone().tag(LARGE)),
        }
    })
}

/// The tags of an event with this payload.
pub(crate) fn tags_of_payload(payload: &Value) -> Result<Vec<String>> {
    let mut tags = Vec::new();
    collect_tags(payload, Path::ROOT, 0, &mut tags)
        .map_err(|TooDeep| failure(format!("the payload has more than {MAX_DEPTH} levels")))?;
    if tags.len() > MAX_TAGS {
        return Ok(vec![LARGE.to_owned()]);
    }
    Ok(tags)
}

/// A value has more than [`MAX_DEPTH`] levels.
struct TooDeep;

/// The hash of a path, and then of a value: FNV-1a with 64 bits. It is part of the stored data.
#[derive(Clone, Copy)]
struct Path(u64);

impl Path {
    const ROOT: Self = Self(0xcbf2_9ce4_8422_2325);

    fn then(self, kind: u8, bytes: &[u8]) -> Self {
        let all = std::iter::once(&kind).chain(bytes).chain(&[0xff]);
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(all.fold(self.0, step))
    }
}

/// Adds the tag of each different scalar, while there are not too many.
fn collect_tags(
    value: &Value,
    path: Path,
    depth: usize,
    tags: &mut Vec<String>,
) -> std::result::Result<(), TooDeep> {
    let text;
    let (kind, bytes): (u8, &[u8]) = match value {
        Value::Object(_) | Value::Array(_) if depth == MAX_DEPTH => return Err(TooDeep),
        Value::Object(fields) => {
            let mut fields = fields.iter();
            return fields.try_for_each(|(key, value)| {
                collect_tags(value, path.then(b'k', key.as_bytes()), depth + 1, tags)
            });
        }
        Value::Array(elements) => {
            let mut elements = elements.iter();
            return elements
                .try_for_each(|it| collect_tags(it, path.then(b'a', b""), depth + 1, tags));
        }
        Value::Null => (b'z', b""),
        Value::Bool(false) => (b'f', b""),
        Value::Bool(true) => (b't', b""),
        Value::String(value) => (b's', value.as_bytes()),
        // The two floating-point zeros are equal.
        Value::Number(number) if number.is_f64() && number.as_f64() == Some(0.0) => (b'n', b"0.0"),
        Value::Number(number) => {
            text = number.to_string();
            (b'n', text.as_bytes())
        }
    };
    let tag = format!("{:016x}", path.then(kind, bytes).0);
    if tags.len() <= MAX_TAGS && !tags.contains(&tag) {
        tags.push(tag);
    }
    Ok(())
}

/// Whether a predicate is a part of a payload.
fn is_part(predicate: &Value, payload: &Value) -> bool {
    match (predicate, payload) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|it| is_part(value, it)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.iter().all(|value| whole.iter().any(|it| is_part(value, it)))
        }
        (part, whole) => part == whole,
    }
}
