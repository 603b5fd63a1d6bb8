//! Queries: which events a read, a subscription or a boundary selects.
//!
//! Owns the definition of a match. Must never hold what a table with indexes on type, tag and stream cannot
//! look up.

use std::fmt;

use super::{RecordedEvent, StreamName};

/// A set of events: those that **any** of its items matches.
///
/// ```
/// use annals_es::{Query, QueryItem};
///
/// // What happened to course 7, or to student 3.
/// let query = Query::from(QueryItem::new().types(["CourseDefined", "Enrolled"]).tag("course:7"))
///     .or(QueryItem::new().tag("student:3"));
/// assert_eq!(query.items().len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Query {
    items: Vec<QueryItem>,
}

/// A part of a [`Query`]: the events that meet **all** of its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct QueryItem {
    /// The event has any of these types; empty: any type.
    pub types: Vec<String>,
    /// The event has all of these tags.
    pub tags: Vec<String>,
    /// The event belongs to this stream.
    pub stream: Option<StreamName>,
    /// The event belongs to a stream of this category, as [`StreamName::escape`] writes it.
    pub category: Option<String>,
}

impl Query {
    /// Every event.
    pub fn all() -> Self {
        QueryItem::new().into()
    }

    /// No event.
    pub fn none() -> Self {
        Self::default()
    }

    /// The events of any of these types.
    pub fn types<T: Into<String>>(types: impl IntoIterator<Item = T>) -> Self {
        QueryItem::new().types(types).into()
    }

    /// The events that have all of these tags.
    pub fn tagged<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Self {
        QueryItem::new().tags(tags).into()
    }

    /// The events of a stream.
    pub fn stream(stream: impl Into<StreamName>) -> Self {
        QueryItem::new().stream(stream).into()
    }

    /// The events of the streams of a category.
    pub fn category(category: &str) -> Self {
        QueryItem::new().category(category).into()
    }

    /// Adds an item.
    #[must_use]
    pub fn or(mut self, item: impl Into<QueryItem>) -> Self {
        self.items.push(item.into());
        self
    }

    /// The events of either query.
    #[must_use]
    pub fn union(mut self, other: Self) -> Self {
        for item in other.items {
            if !self.items.contains(&item) {
                self.items.push(item);
            }
        }
        self
    }

    /// Only those of the events that also have this tag.
    #[must_use]
    pub fn and_tag(mut self, tag: impl Into<String>) -> Self {
        let tag = tag.into();
        for item in &mut self.items {
            item.tags.push(tag.clone());
        }
        self
    }

    /// The items.
    pub fn items(&self) -> &[QueryItem] {
        &self.items
    }

    /// Whether the query selects every event by an item without conditions.
    pub fn is_all(&self) -> bool {
        self.items.iter().any(|item| *item == QueryItem::default())
    }

    /// Whether the query selects an event.
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        self.items.iter().any(|item| item.matches(event))
    }
}

impl From<QueryItem> for Query {
    fn from(item: QueryItem) -> Self {
        Self { items: vec![item] }
    }
}

impl QueryItem {
    /// Every event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only events of any of these types.
    #[must_use]
    pub fn types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.types.extend(types.into_iter().map(Into::into));
        self
    }

    /// Only events that have this tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Only events that have all of these tags.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Only events of this stream.
    #[must_use]
    pub fn stream(mut self, stream: impl Into<StreamName>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Only events of streams of this category.
    #[must_use]
    pub fn category(mut self, category: &str) -> Self {
        self.category = Some(StreamName::escape(category).into_owned());
        self
    }

    /// Whether the item selects an event.
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        let stream = event.stream();
        let category = stream.split_once('-').map_or(stream, |(category, _)| category);
        (self.types.is_empty() || self.types.iter().any(|it| it == event.event_type()))
            && self.tags.iter().all(|tag| event.tags().any(|it| it == tag))
            && self.stream.as_ref().is_none_or(|it| it.as_str() == stream)
            && self.category.as_ref().is_none_or(|it| it == category)
    }
}

/// A tag of a name and a value, as `#[tag]` of a field makes it.
///
/// ```
/// use annals_es::{Query, Tag};
///
/// assert_eq!(Tag::new("course", 7).to_string(), "course:7");
/// let query = Query::tagged([Tag::new("course", 7), Tag::new("student", "ann")]);
/// assert_eq!(query.items()[0].tags, ["course:7", "student:ann"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag(String);

impl Tag {
    /// The tag of a name and a value.
    pub fn new(name: &str, value: impl fmt::Display) -> Self {
        Self(format!("{name}:{value}"))
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

impl AsRef<str> for Tag {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
