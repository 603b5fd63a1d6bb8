//! Queries: conditions that select events.
//!
//! Owns the query's structure and the plain matcher. Must never use an index: every faster
//! implementation is tested against the matcher.

mod text;

use crate::event::{Position, category_of};

pub use text::ParseQueryError;

/// A set of items of which at least one must match; without items it matches nothing.
///
/// An item matches events of any of its types, with all of its tags, of its stream or category if
/// given, and only after its own position if given.
///
/// ```
/// use annals::{Query, QueryItem};
///
/// let query = Query::types(["MoneyDeposited", "MoneyWithdrawn"])
///     .or(QueryItem::new().category("account").tag("owner:42"));
/// # let _ = query;
/// ```
///
/// The same as text:
///
/// ```
/// # use annals::{Query, QueryItem};
/// let query: Query = "type:MoneyDeposited,MoneyWithdrawn or category:account tag:owner:42".parse()?;
/// assert_eq!(query.items().len(), 2);
/// # Ok::<(), annals::ParseQueryError>(())
/// ```
///
/// A type, tag and stream may contain any characters; with white space, commas or quotes, and where they are
/// empty, the text form needs `"…"` around them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Query {
    items: Vec<QueryItem>,
}

/// One alternative of a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct QueryItem {
    types: Vec<String>,
    tags: Vec<String>,
    stream: Option<String>,
    category: Option<String>,
    after: Option<Position>,
}

/// The fields of an event that a query is compared with.
pub(crate) trait Queryable {
    fn position(&self) -> Position;
    fn stream(&self) -> &str;
    fn event_type(&self) -> &str;
    fn has_tag(&self, tag: &str) -> bool;
}

impl Query {
    /// Every event.
    pub fn all() -> Self {
        Self { items: vec![QueryItem::new()] }
    }

    /// No event; add alternatives with [`Query::or`].
    pub fn none() -> Self {
        Self::default()
    }

    /// Events of any of these types.
    pub fn types<T: Into<String>>(types: impl IntoIterator<Item = T>) -> Self {
        QueryItem::new().types(types).into()
    }

    /// Events that carry all of these tags.
    pub fn tagged<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Self {
        QueryItem::new().tags(tags).into()
    }

    /// Events of one stream.
    pub fn stream(stream: impl Into<String>) -> Self {
        QueryItem::new().stream(stream).into()
    }

    /// Events of all streams of a category.
    pub fn category(category: impl Into<String>) -> Self {
        QueryItem::new().category(category).into()
    }

    /// Adds an alternative.
    pub fn or(mut self, item: impl Into<QueryItem>) -> Self {
        self.items.push(item.into());
        self
    }

    /// Events that this query or the other matches.
    ///
    /// ```
    /// use annals::Query;
    ///
    /// let ann = Query::tagged(["owner:ann"]).union(Query::stream("account-7"));
    /// assert_eq!(ann.to_string(), "tag:owner:ann or stream:account-7");
    /// ```
    pub fn union(mut self, other: Self) -> Self {
        for item in other.items {
            if !self.items.contains(&item) {
                self.items.push(item);
            }
        }
        self
    }

    /// Restricts every item to events after `position`, in addition to the item's own conditions.
    pub fn after(mut self, position: impl Into<Position>) -> Self {
        let position = position.into();
        for item in &mut self.items {
            item.after = Some(item.after.map_or(position, |own| own.max(position)));
        }
        self
    }

    /// The alternatives.
    pub fn items(&self) -> &[QueryItem] {
        &self.items
    }

    /// The position after which all matches are: the smallest `after` of the items.
    pub(crate) fn floor(&self) -> u64 {
        let after = |item: &QueryItem| item.after.unwrap_or(Position::START).get();
        self.items.iter().map(after).min().unwrap_or(u64::MAX)
    }

    /// The same query without positions.
    pub(crate) fn anywhere(mut self) -> Self {
        self.items.iter_mut().for_each(|item| item.after = None);
        self
    }

    /// The same query for the events of one stream.
    pub(crate) fn within(mut self, stream: &str) -> Self {
        self.items.retain(|item| item.may_match_in(stream));
        for item in &mut self.items {
            item.stream = Some(stream.into());
            item.category = None;
        }
        self
    }

    /// Whether events of a stream of this name can match.
    pub(crate) fn may_match_in(&self, stream: &str) -> bool {
        self.items.iter().any(|item| item.may_match_in(stream))
    }

    pub(crate) fn matches(&self, event: &impl Queryable) -> bool {
        self.items.iter().any(|item| item.matches(event))
    }
}

impl QueryItem {
    /// Matches every event until it is restricted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Any of these types; without types, every type.
    pub fn types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.types.extend(types.into_iter().map(Into::into));
        self
    }

    /// All of these tags.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Also this tag.
    pub fn tag(self, tag: impl Into<String>) -> Self {
        self.tags([tag])
    }

    /// Only this stream.
    pub fn stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Only streams of this category.
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.category = Some(category.into());
        self
    }

    /// Only events after this position.
    pub fn after(mut self, position: impl Into<Position>) -> Self {
        self.after = Some(position.into());
        self
    }

    pub(crate) fn accepted_types(&self) -> &[String] {
        &self.types
    }

    pub(crate) fn required_tags(&self) -> &[String] {
        &self.tags
    }

    pub(crate) fn required_stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    pub(crate) fn required_category(&self) -> Option<&str> {
        self.category.as_deref()
    }

    pub(crate) fn required_after(&self) -> Option<Position> {
        self.after
    }

    fn may_match_in(&self, stream: &str) -> bool {
        self.required_stream().is_none_or(|name| name == stream)
            && self.required_category().is_none_or(|name| name == category_of(stream))
    }

    fn matches(&self, event: &impl Queryable) -> bool {
        self.after.is_none_or(|after| event.position() > after)
            && (self.types.is_empty() || self.types.iter().any(|t| t == event.event_type()))
            && self.stream.as_deref().is_none_or(|stream| stream == event.stream())
            && self.category.as_deref().is_none_or(|c| c == category_of(event.stream()))
            && self.tags.iter().all(|tag| event.has_tag(tag))
    }
}

impl From<QueryItem> for Query {
    fn from(item: QueryItem) -> Self {
        Self { items: vec![item] }
    }
}
