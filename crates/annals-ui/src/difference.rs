//! Differences between two values of JSON.
//!
//! Owns their order and number. Must never descend without a bound.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::value::RawValue;

use crate::json::{self, Members, Value};
use crate::text;

/// Differences that are listed, levels that are compared, and characters that are shown of a value.
const LISTED: usize = 200;
const MAX_LEVELS: usize = 24;
const SHOWN: usize = 300;

/// A place where two values differ, with the source text on both sides.
#[derive(Debug, PartialEq, Eq)]
struct Difference<'a> {
    /// A JSON pointer (RFC 6901).
    place: String,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

/// The differences between the bytes of two events.
pub(crate) fn show(before: &[u8], after: &[u8]) -> Markup {
    if before == after {
        return html! { p.faint { "No difference." } };
    }
    let (Some(from), Some(to)) = (json::parse(before), json::parse(after)) else {
        return html! {
            p { "The bytes differ: " (text::size(before.len() as u64)) " and " (text::size(after.len() as u64))
                ". Only JSON of at most " (text::size(json::MAX_SHOWN as u64)) " is compared by its values." }
        };
    };
    let mut found = Vec::new();
    compare("", from, to, 0, &mut found);
    html! {
        @if found.is_empty() { p.faint { "The values are the same; they are written in another way." } }
        @else { table.difference {
            thead { tr { th scope="col" { "Place" } th scope="col" { "Before" } th scope="col" { "After" } } }
            tbody { @for difference in found.iter().take(LISTED) {
                tr {
                    td { @if difference.place.is_empty() { code { "(all)" } } @else { (shown(&difference.place)) } }
                    td { @if let Some(value) = difference.before { del { (shown(value)) } } }
                    td { @if let Some(value) = difference.after { ins { (shown(value)) } } }
                }
            } }
        } }
        @if found.len() > LISTED { p.faint { "More differences are not listed." } }
    }
}

fn shown(value: &str) -> Markup {
    html! { code { (text::visible(&text::shortened(value, SHOWN))) } }
}

/// Appends the differences, at most one more than are listed.
fn compare<'a>(
    place: &str,
    before: &'a RawValue,
    after: &'a RawValue,
    level: usize,
    found: &mut Vec<Difference<'a>>,
) {
    if found.len() > LISTED || before.get() == after.get() {
        return;
    }
    let is_deep = level >= MAX_LEVELS;
    match (json::read(before), json::read(after)) {
        (Value::Object(before), Value::Object(after)) if !is_deep => {
            members(place, &before, &after, level, found);
        }
        (Value::Array(before), Value::Array(after)) if !is_deep => {
            for i in 0..before.len().max(after.len()) {
                let place = || format!("{place}/{i}");
                one(place, before.get(i).copied(), after.get(i).copied(), level, found);
            }
        }
        (Value::Text(before), Value::Text(after)) if before == after => {}
        _ => found.push(Difference {
            place: place.to_owned(),
            before: Some(before.get()),
            after: Some(after.get()),
        }),
    }
}

/// Compares two objects by their keys, in the order of the later one, then what only the earlier one has.
fn members<'a>(
    place: &str,
    before: &Members<'a>,
    after: &Members<'a>,
    level: usize,
    found: &mut Vec<Difference<'a>>,
) {
    let mut left: BTreeMap<_, _> = before.0.iter().map(|(key, value)| (&**key, *value)).collect();
    // The last one of repeated keys counts.
    let right: BTreeMap<_, _> = after.0.iter().map(|(key, value)| (&**key, *value)).collect();
    for (key, value) in right {
        one(|| pointer(place, key), left.remove(key), Some(value), level, found);
    }
    for (key, value) in left {
        one(|| pointer(place, key), Some(value), None, level, found);
    }
}

/// Compares the values at a place, which is built only where they differ: keys can be as long as the data.
fn one<'a>(
    place: impl FnOnce() -> String,
    before: Option<&'a RawValue>,
    after: Option<&'a RawValue>,
    level: usize,
    found: &mut Vec<Difference<'a>>,
) {
    if found.len() > LISTED || before.map(RawValue::get) == after.map(RawValue::get) {
        return;
    }
    match (before, after) {
        (Some(before), Some(after)) => compare(&place(), before, after, level + 1, found),
        (before, after) => found.push(Difference {
            place: place(),
            before: before.map(RawValue::get),
            after: after.map(RawValue::get),
        }),
    }
}

fn pointer(place: &str, key: &str) -> String {
    format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(before: &str, after: &str) -> Vec<String> {
        let (from, to) = (json::parse(before.as_bytes()), json::parse(after.as_bytes()));
        let mut found = Vec::new();
        compare("", from.unwrap(), to.unwrap(), 0, &mut found);
        let text = |side: Option<&str>| side.unwrap_or("-").to_owned();
        found
            .iter()
            .map(|it| format!("{} {} {}", it.place, text(it.before), text(it.after)))
            .collect()
    }

    #[test]
    fn differences_have_their_places() {
        for (before, after, expected) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2, "a":1}"#, &[][..]),
            (r#"{"a":1}"#, r#"{"a":1.0}"#, &["/a 1 1.0"]),
            (
                r#"{"a":{"b/c":[1,2]}}"#,
                r#"{"a":{"b/c":[1,3,4]}}"#,
                &["/a/b~1c/1 2 3", "/a/b~1c/2 - 4"],
            ),
            (r#"{"a":1,"b":"x"}"#, r#"{"c":null}"#, &["/c - null", "/a 1 -", "/b \"x\" -"]),
            ("[1]", r#"{"0":1}"#, &[" [1] {\"0\":1}"]),
            (r#""\u0041""#, r#""A""#, &[]),
        ] {
            assert_eq!(found(before, after), expected, "{before} {after}");
        }
    }

    #[test]
    fn number_and_depth_are_bounded() {
        let many = |value: u8| format!("[{}]", vec![value.to_string(); 10_000].join(","));
        assert_eq!(found(&many(1), &many(2)).len(), LISTED + 1);
        let deep = |value: u8| format!("{}{value}{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(found(&deep(1), &deep(2)).len(), 1);
        assert!(show(b"\xff", b"1").into_string().contains("1 B and 1 B"));
        let key = "\\u202e".repeat(5_000);
        let long = |value: u8| {
            format!("{{\"{key}\":{}}}", many(value).split_at(4_000).0.to_owned() + "0]")
        };
        let shown = show(long(1).as_bytes(), long(2).as_bytes()).into_string();
        assert!(shown.contains("\\u{202e}") && shown.len() < 4 << 20, "{} bytes", shown.len());
    }
}
