//! The names of streams.
//!
//! Owns the rule by which a category and an id make a name. Must never contact a store.

use std::borrow::{Borrow, Cow};
use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::{SmolStr, SmolStrBuilder};

/// The name of a stream; cheap to clone. One of at most 23 bytes needs no allocation.
///
/// The **category** of a stream is the part of its name before the first `-`. [`StreamName::new`] builds the
/// name of one stream of a category, and writes a `-` in the category as `%2D` and a `%` as `%25`, so that
/// every pair of a category and an id has a name of its own.
///
/// ```
/// use annals_es::StreamName;
///
/// let name = StreamName::new("account", 42);
/// assert_eq!(name.as_str(), "account-42");
/// assert_eq!((name.category().as_ref(), name.id()), ("account", Some("42")));
/// assert_eq!(StreamName::new("order-item", "a-b").as_str(), "order%2Ditem-a-b");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(SmolStr);

impl StreamName {
    /// The name of the stream `id` of a category.
    ///
    /// # Panics
    ///
    /// If the `Display` of the id returns an error.
    pub fn new(category: &str, id: impl fmt::Display) -> Self {
        let mut name = SmolStrBuilder::new();
        write!(name, "{}-{id}", Self::escape(category)).expect("the id is displayed");
        Self(name.finish())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The category, without escapes.
    pub fn category(&self) -> Cow<'_, str> {
        let escaped = self.0.split_once('-').map_or(self.as_str(), |(category, _)| category);
        if !escaped.contains('%') {
            return Cow::Borrowed(escaped);
        }
        // `%25` is replaced last: a `%2D` that the replacement forms is part of the category.
        Cow::Owned(escaped.replace("%2D", "-").replace("%25", "%"))
    }

    /// The part after the first `-`; `None` for a name without one.
    pub fn id(&self) -> Option<&str> {
        self.0.split_once('-').map(|(_, id)| id)
    }

    /// A category as it is written in names, and as [`QueryItem::category`](crate::QueryItem::category)
    /// expects it.
    pub fn escape(category: &str) -> Cow<'_, str> {
        if !category.contains(['-', '%']) {
            return Cow::Borrowed(category);
        }
        Cow::Owned(category.replace('%', "%25").replace('-', "%2D"))
    }
}

impl From<&str> for StreamName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for StreamName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&StreamName> for StreamName {
    fn from(name: &StreamName) -> Self {
        name.clone()
    }
}

impl AsRef<str> for StreamName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for StreamName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for StreamName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for StreamName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn category_and_id_are_read_back_from_a_name() {
        for category in ["account", "order-item", "100%", "a%2Db", "a%252D"] {
            let name = StreamName::new(category, "1-2");
            assert_eq!((name.category().as_ref(), name.id()), (category, Some("1-2")), "{name}");
        }
        assert_eq!(StreamName::from("audit").category(), "audit");
        assert_eq!(StreamName::from("audit").id(), None);
    }
}
