//! Queries as text, for command lines and logs.
//!
//! ```text
//! query      = "all" | "none" | item { "or" item }
//! item       = condition { condition }                      separated by white space
//! condition  = "type:" value { "," value }                  any of these types
//!            | "tag:" value                                 this tag; repeated: all of them
//!            | "stream:" value | "category:" value          at most one of each
//!            | "after:" number                              only events after this position
//! value      = '"' [ characters ] '"'                       \" and \\ stand for " and \
//!            | characters without white space, comma and "
//! ```

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::{Query, QueryItem};

/// The reason why a text is not a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {why}")]
#[non_exhaustive]
pub struct ParseQueryError {
    /// The offset of the error in the text, in bytes.
    pub at: usize,
    /// What is wrong at that offset.
    pub why: String,
}

impl FromStr for Query {
    type Err = ParseQueryError;

    fn from_str(text: &str) -> Result<Self, ParseQueryError> {
        let mut parser = Parser { text, at: 0 };
        match text.trim() {
            "all" => return Ok(Self::all()),
            "none" => return Ok(Self::none()),
            _ => {}
        }
        let mut query = Self::none().or(parser.item()?);
        while parser.take_or() {
            query = query.or(parser.item()?);
        }
        Ok(query)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_white_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn error<T>(&self, why: impl Into<String>) -> Result<T, ParseQueryError> {
        Err(ParseQueryError { at: self.at, why: why.into() })
    }

    /// Skips the word "or" if it comes next; returns whether it did.
    fn take_or(&mut self) -> bool {
        let found = self.is_at_or();
        if found {
            self.at += 2;
        }
        found
    }

    fn is_at_or(&self) -> bool {
        let rest = self.rest();
        rest.strip_prefix("or").is_some_and(|r| r.is_empty() || r.starts_with(char::is_whitespace))
    }

    fn item(&mut self) -> Result<QueryItem, ParseQueryError> {
        self.skip_white_space();
        let mut item = QueryItem::new();
        let mut empty = true;
        while !self.rest().is_empty() && !self.is_at_or() {
            item = self.condition(item)?;
            empty = false;
            self.skip_white_space();
        }
        if empty { self.error("expected an item with at least one condition") } else { Ok(item) }
    }

    fn condition(&mut self, item: QueryItem) -> Result<QueryItem, ParseQueryError> {
        let start = self.at;
        let Some((key, _)) = self.rest().split_once(':') else {
            return self.error("expected a condition: a key, a colon and a value");
        };
        self.at += key.len() + 1;
        let item = match key {
            "type" => {
                let mut types = vec![self.value()?];
                while self.rest().starts_with(',') {
                    self.at += 1;
                    types.push(self.value()?);
                }
                item.types(types)
            }
            "tag" => item.tag(self.value()?),
            "stream" if item.required_stream().is_none() => item.stream(self.value()?),
            "category" if item.required_category().is_none() => item.category(self.value()?),
            "after" if item.required_after().is_none() => {
                let digits = self.value_at();
                let value = self.value()?;
                match value.parse::<u64>() {
                    Ok(position) => item.after(position),
                    Err(_) => {
                        self.at = digits;
                        return self.error(format!("{value:?} is not a position"));
                    }
                }
            }
            "stream" | "category" | "after" => {
                self.at = start;
                return self.error(format!("an item has at most one {key:?}"));
            }
            _ => {
                self.at = start;
                let known = "type, tag, stream, category or after";
                return self.error(format!("{key:?} is not {known}"));
            }
        };
        if !self.rest().is_empty() && !self.rest().starts_with(char::is_whitespace) {
            return self.error("expected white space");
        }
        Ok(item)
    }

    fn value_at(&self) -> usize {
        self.at
    }

    fn value(&mut self) -> Result<String, ParseQueryError> {
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        let value = self.bare();
        if value.is_empty() { self.error("a value is expected") } else { Ok(value) }
    }

    fn bare(&mut self) -> String {
        let ends = |c: char| c.is_whitespace() || c == ',' || c == '"';
        let end = self.rest().find(ends).unwrap_or(self.rest().len());
        let value = self.rest()[..end].to_owned();
        self.at += end;
        value
    }

    fn quoted(&mut self) -> Result<String, ParseQueryError> {
        let mut value = String::new();
        let mut escaped = false;
        for (i, c) in self.rest().char_indices().skip(1) {
            match c {
                '"' | '\\' if escaped => value.push(c),
                _ if escaped => {
                    self.at += i;
                    return self.error("a backslash stands before a quote or a backslash");
                }
                '\\' => {
                    escaped = true;
                    continue;
                }
                '"' => {
                    self.at += i + 1;
                    return Ok(value);
                }
                _ => value.push(c),
            }
            escaped = false;
        }
        self.error("the quote is not closed")
    }
}

/// The text form; [`FromStr`] reads it back.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.items().is_empty() {
            return f.write_str("none");
        }
        if *self == Self::all() {
            return f.write_str("all");
        }
        for (i, item) in self.items().iter().enumerate() {
            if i > 0 {
                f.write_str(" or ")?;
            }
            fmt::Display::fmt(item, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for QueryItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        if !self.accepted_types().is_empty() {
            let types: Vec<_> = self.accepted_types().iter().map(|t| quoted(t)).collect();
            write!(text, " type:{}", types.join(","))?;
        }
        for tag in self.required_tags() {
            write!(text, " tag:{}", quoted(tag))?;
        }
        if let Some(stream) = self.required_stream() {
            write!(text, " stream:{}", quoted(stream))?;
        }
        if let Some(category) = self.required_category() {
            write!(text, " category:{}", quoted(category))?;
        }
        if let Some(after) = self.required_after() {
            write!(text, " after:{after}")?;
        }
        // An item without conditions matches every event; among other items it needs a condition in
        // its text form.
        f.write_str(if text.is_empty() { "after:0" } else { text.trim_start() })
    }
}

fn quoted(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, ',' | '"');
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn documented_query_texts_are_parsed() {
        let text = "type:MoneyDeposited,MoneyWithdrawn tag:owner:42 or category:account";
        let query: Query = text.parse().unwrap();
        let item = QueryItem::new().types(["MoneyDeposited", "MoneyWithdrawn"]).tag("owner:42");
        assert_eq!(query, Query::from(item).or(QueryItem::new().category("account")));
        assert_eq!(query.to_string(), text);
        assert_eq!("all".parse(), Ok(Query::all()));
        assert_eq!(" none ".parse(), Ok(Query::none()));
        for shown in ["all", "none"] {
            assert_eq!(shown.parse::<Query>().unwrap().to_string(), shown);
        }
        let odd = Query::stream("a \"b\"\\,c");
        assert_eq!(odd.to_string(), r#"stream:"a \"b\"\\,c""#);
    }

    #[test]
    fn invalid_query_text_is_refused_with_place_and_reason() {
        for (text, at, why) in [
            ("", 0, "at least one condition"),
            ("type:A or", 9, "at least one condition"),
            ("type:A or or tag:b", 10, "at least one condition"),
            ("type:", 5, "a value"),
            ("type:A,", 7, "a value"),
            ("after:\"\"", 6, "\"\" is not a position"),
            ("tag:\"\",a", 6, "white space"),
            ("colour:red", 0, "\"colour\" is not"),
            ("tag:a red", 6, "a colon"),
            ("after:x", 6, "\"x\" is not a position"),
            ("stream:a stream:b", 9, "at most one"),
            ("tag:\"a", 4, "not closed"),
            ("tag:\"a\\n\"", 7, "a backslash"),
            ("tag:a,b", 5, "white space"),
            ("tag:\"a\"b", 7, "white space"),
        ] {
            let error = text.parse::<Query>().unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.why.contains(why), "{text}: {error}");
        }
    }

    fn items() -> impl Strategy<Value = Query> {
        let name = || proptest::string::string_regex("[a:\\- ,\"\\\\é\n🦀]{0,6}").unwrap();
        let item = (
            proptest::collection::vec(name(), 0..3),
            proptest::collection::vec(name(), 0..3),
            proptest::option::of(name()),
            proptest::option::of(name()),
            proptest::option::of(any::<u64>()),
        )
            .prop_map(|(types, tags, stream, category, after)| {
                let mut item = QueryItem::new().types(types).tags(tags);
                if let Some(stream) = stream {
                    item = item.stream(stream);
                }
                if let Some(category) = category {
                    item = item.category(category);
                }
                item.after(after.unwrap_or(7))
            });
        proptest::collection::vec(item, 0..4)
            .prop_map(|items| items.into_iter().fold(Query::none(), Query::or))
    }

    proptest! {
        #[test]
        fn query_round_trips_through_its_text(query in items()) {
            prop_assert_eq!(query.to_string().parse::<Query>(), Ok(query));
        }

        #[test]
        fn any_query_text_is_parsed_or_refused_without_a_panic(text in "[a-z:\\\\\", or]{0,30}") {
            if let Ok(query) = text.parse::<Query>() {
                prop_assert_eq!(query.to_string().parse::<Query>(), Ok(query));
            }
        }
    }
}
