//! Data and metadata of events as a page shows them: JSON as a tree that can be folded, text, or a dump of bytes.
//!
//! Owns how much of an event is shown. Must never parse or show more than the limit.

use std::borrow::Cow;
use std::fmt;

use maud::{Markup, html};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text;

/// Bytes beyond which data is shown as its beginning.
pub(crate) const MAX_SHOWN: usize = 64 << 10;
/// Bytes that are shown of larger data.
const SHOWN: usize = 8 << 10;
/// Bytes of a dump.
const DUMPED: usize = 512;
/// Levels of a tree that are unfolded, and levels that are a tree at all.
const OPEN_LEVELS: usize = 3;
const MAX_LEVELS: usize = 24;

/// The keys of an object in their order, with the source text of their values.
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<Key<'de>, _>()? {
                    members.push((key.0, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect).map(Members)
    }
}

/// A value of JSON by its kind, one level deep.
pub(crate) enum Value<'a> {
    Object(Members<'a>),
    Array(Vec<&'a RawValue>),
    /// A text.
    Text(Cow<'a, str>),
    /// A number, a truth value or null, as it is written.
    Literal(&'a str),
}

/// Reads one level of a value.
pub(crate) fn read(raw: &RawValue) -> Value<'_> {
    let source = raw.get();
    let read = match source.as_bytes().first() {
        Some(b'{') => serde_json::from_str(source).ok().map(Value::Object),
        Some(b'[') => serde_json::from_str(source).ok().map(Value::Array),
        Some(b'"') => serde_json::from_str::<Key<'_>>(source).ok().map(|key| Value::Text(key.0)),
        _ => None,
    };
    // A text with half of a surrogate pair is valid as source text alone.
    read.unwrap_or(Value::Literal(source))
}

/// The bytes as JSON, if they are JSON and small enough to be shown as a tree.
pub(crate) fn parse(bytes: &[u8]) -> Option<&RawValue> {
    if bytes.len() > MAX_SHOWN {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

/// The bytes of an event. `download` is the address of the whole.
pub(crate) fn show(bytes: &[u8], download: &str) -> Markup {
    if bytes.is_empty() {
        return html! { p.faint { "empty" } };
    }
    html! {
        @if let Some(raw) = parse(bytes) {
            div.json { (tree(raw, 0)) }
        } @else if bytes.len() > MAX_SHOWN {
            p.notice {
                "Shown are the first bytes of " (text::size(bytes.len() as u64)) ". "
                a href=(download) { "Download the whole" }
            }
            (beginning(bytes, SHOWN))
        } @else {
            (beginning(bytes, MAX_SHOWN))
        }
        p.faint { (text::size(bytes.len() as u64)) " · " a href=(download) { "download" } }
    }
}

/// The first `most` bytes as text, without a character that ends after them. `None` if they are not text.
fn as_text(bytes: &[u8], most: usize) -> Option<&str> {
    let start = &bytes[..bytes.len().min(most)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() && start.len() < bytes.len() => {
            std::str::from_utf8(&start[..e.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    (!text.contains('\0')).then_some(text)
}

/// The first `most` bytes: text as it is, and a dump of anything else.
fn beginning(bytes: &[u8], most: usize) -> Markup {
    html! {
        @if let Some(text) = as_text(bytes, most) {
            pre.data { (text::visible_lines(text)) }
        } @else {
            pre.data { (text::hex_dump(&bytes[..bytes.len().min(DUMPED)])) }
            @if bytes.len() > DUMPED {
                p.faint { "Shown are the first " (DUMPED) " bytes." }
            }
        }
    }
}

fn tree(raw: &RawValue, level: usize) -> Markup {
    if level >= MAX_LEVELS {
        return html! { code { (text::visible(raw.get())) } };
    }
    match read(raw) {
        Value::Object(Members(members)) if members.is_empty() => html! { span.literal { "{}" } },
        Value::Array(values) if values.is_empty() => html! { span.literal { "[]" } },
        Value::Object(Members(members)) => html! {
            details open[level < OPEN_LEVELS] {
                summary { "{" (text::counted(members.len() as u64, "key")) "}" }
                ul {
                    @for (key, value) in members {
                        li { span.key { (text::visible(&key)) } ": " (tree(value, level + 1)) }
                    }
                }
            }
        },
        Value::Array(values) => html! {
            details open[level < OPEN_LEVELS] {
                summary { "[" (text::counted(values.len() as u64, "value")) "]" }
                ol start="0" {
                    @for value in values {
                        li { (tree(value, level + 1)) }
                    }
                }
            }
        },
        Value::Text(value) => html! { span.string { "\"" (text::visible_lines(&value)) "\"" } },
        Value::Literal(value) => html! { span.literal { (text::visible(value)) } },
    }
}

/// The beginning of an event's bytes on one line.
pub(crate) fn preview(bytes: &[u8], most: usize) -> Markup {
    // A character has at most four bytes.
    html! {
        @match as_text(bytes, most.saturating_mul(4)) {
            Some(text) => {
                (text::visible(text::beginning(text, most)))
                @if text::beginning(text, most).len() < bytes.len() { "…" }
            },
            None => { (text::size(bytes.len() as u64)) " binary" },
        }
    }
}

/// The first of these keys that metadata has as a text at its top level.
pub(crate) fn text_field(metadata: &[u8], keys: &[&str]) -> Option<String> {
    let Value::Object(Members(members)) = read(parse(metadata)?) else { return None };
    keys.iter().find_map(|key| {
        let (_, raw) = members.iter().find(|(name, _)| name == key)?;
        match read(raw) {
            Value::Text(text) => Some(text.into_owned()),
            Value::Literal(number) if number != "null" => Some(number.to_owned()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_keeps_order_numbers_and_repeated_keys() {
        let shown = show(br#"{"b":1.50,"a":[2e400],"b":"<i>\u202e"}"#, "d").into_string();
        for part in ["3 keys", "1.50", "2e400", "&lt;i&gt;", "\\u{202e}"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("<i>\u{202e}") && !shown.contains('\u{202e}'));
    }

    #[test]
    fn deep_values_end_as_text() {
        let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
        let shown = show(deep.as_bytes(), "d").into_string();
        assert_eq!(shown.matches("<details").count(), MAX_LEVELS);
        let bottomless = "[".repeat(60_000);
        assert!(!show(bottomless.as_bytes(), "d").into_string().contains("<details"));
    }

    #[test]
    fn large_and_binary_data_are_shown_in_part() {
        let large = vec![b'x'; 10 << 20];
        let shown = show(&large, "whole").into_string();
        assert!(shown.len() < 2 * SHOWN && shown.contains("10.0 MiB") && shown.contains("whole"));
        assert!(show(b"\xff\x00", "d").into_string().contains("00000000  ff 00"));
        assert!(preview(b"\xff\x00", 9).into_string().contains("binary"));
        assert_eq!(preview("ééééé".as_bytes(), 2).into_string(), "éé…");
        assert_eq!(preview("ab…".as_bytes(), 3).into_string(), "ab…");
        // A character that is not whole is left out where the page cuts, and is binary where the data ends.
        assert_eq!(preview("a€€€€".as_bytes(), 2).into_string(), "a€…");
        assert!(preview(b"a\xe2\x82", 9).into_string().contains("3 B binary"));
        assert!(show(b"a\xe2\x82", "d").into_string().contains("61 e2 82"));
        let cut = format!("{}€{large}", "x".repeat(SHOWN - 1), large = "x".repeat(MAX_SHOWN));
        assert!(show(cut.as_bytes(), "d").into_string().contains(&"x".repeat(SHOWN - 1)));
    }

    #[test]
    fn fields_of_metadata_are_found_by_any_of_their_names() {
        let metadata = br#"{"correlationId":"c","causation_id":7}"#;
        let names = ["correlation_id", "correlationId"];
        assert_eq!(text_field(metadata, &names).as_deref(), Some("c"));
        assert_eq!(text_field(metadata, &["causation_id"]).as_deref(), Some("7"));
        assert_eq!(text_field(b"\xff", &names), None);
    }
}
