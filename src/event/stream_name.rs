//! Stream names built from a category and an id.
//!
//! Owns the escaping of `-` in categories. Must never reject a name: the store checks names when they
//! are used.

use std::borrow::Cow;
use std::fmt;

use super::category_of;

/// A stream's name as a category and an id, where the category may contain `-`.
///
/// The [category](category_of) of a stream is the part of its name before the first `-`. This type
/// writes a `-` in a category as `%2D` and a `%` as `%25`, so that every pair of a category and an id has
/// a name of its own, and both are read back from it. The id is not changed.
///
/// Queries and listings by category use the escaped form, [`StreamName::escape`]. Length limits are those
/// of stream names, and are checked when the name is used.
///
/// ```
/// use annals::{Query, StreamName, category_of};
///
/// let name = StreamName::new("order-item", "42-eu");
/// assert_eq!(name.as_str(), "order%2Ditem-42-eu");
/// assert_eq!((name.category().as_ref(), name.id()), ("order-item", Some("42-eu")));
///
/// // The name of a stream that a read returned.
/// let read = StreamName::parse("order%2Ditem-42-eu");
/// assert_eq!(read, name);
///
/// let query = Query::category(StreamName::escape("order-item"));
/// assert_eq!(StreamName::escape("order-item"), category_of(name.as_str()));
/// # let _ = query;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct StreamName(String);

impl StreamName {
    /// The name of the stream `id` of a category: the escaped category, `-`, and the id.
    pub fn new(category: impl AsRef<str>, id: impl fmt::Display) -> Self {
        Self(format!("{}-{id}", Self::escape(category.as_ref())))
    }

    /// Takes a stream's name as it is. Names that were not built with [`StreamName::new`] are accepted:
    /// a `%` that begins neither `%2D` nor `%25` stands for itself.
    pub fn parse(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// A category as it is written in names, and as queries and listings by category expect it.
    pub fn escape(category: &str) -> Cow<'_, str> {
        if !category.contains(['-', '%']) {
            return Cow::Borrowed(category);
        }
        Cow::Owned(category.replace('%', "%25").replace('-', "%2D"))
    }

    /// The name, as appends, reads and queries take it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The category, without escapes.
    pub fn category(&self) -> Cow<'_, str> {
        unescape(category_of(&self.0))
    }

    /// The part after the first `-`; `None` for a name without one.
    pub fn id(&self) -> Option<&str> {
        self.0.split_once('-').map(|(_, id)| id)
    }
}

/// Replaces `%2D` and `%25` by what they stand for, from left to right.
fn unescape(escaped: &str) -> Cow<'_, str> {
    if !escaped.contains('%') {
        return Cow::Borrowed(escaped);
    }
    let mut plain = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let (char, after) = match (after.strip_prefix("2D"), after.strip_prefix("25")) {
            (Some(after), _) => ('-', after),
            (_, Some(after)) => ('%', after),
            _ => ('%', after),
        };
        plain.push(char);
        rest = after;
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for StreamName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0
    }
}

impl From<&StreamName> for String {
    fn from(name: &StreamName) -> Self {
        name.0.clone()
    }
}
