//! The line format of annals itself: one event, one JSON object, one line.
//!
//! Owns the shape in both directions, so that what [`encode`] writes, [`decode`] reads back to
//! the same bytes. Must never re-format JSON: data and metadata pass through as source text.
//!
//! | key | in | out |
//! |---|---|---|
//! | `stream` `type` | required | always |
//! | `data` | any JSON, kept byte for byte | data flagged as JSON |
//! | `data_base64` | instead of `data` | any other data |
//! | `content_type` | `"json"` or `"binary"`, beside `data_base64` | `"json"`, for JSON that one line cannot show verbatim (line breaks, spaces around it) or that is not valid |
//! | `metadata` | any JSON, kept byte for byte | metadata that is JSON |
//! | `metadata_base64` | instead of `metadata` | any other metadata |
//! | `id` | a UUID | always |
//! | `tags` | array of strings | where set |
//! | `schema_version` | 0 to 65535 | where set |
//! | `commit` | a JSON scalar: consecutive lines with the same one are one commit | the position of the commit's first event |
//! | `version` `recorded_at` | kept as text for options that use them; otherwise the store assigns them | always |
//! | `position` | ignored: the store assigns it | always |
//! | `salvaged_from` | ignored | the broken commit, in the lines of `repair --salvage`; there, `commit` and `recorded_at` are left out if they are unknown |
//!
//! Any other key is an error, so that a misspelt one never loses data in silence. `null` means
//! absent, except in `data` and `metadata`, where it is JSON like any other.

use std::io;

use annals::repair::SalvagedEvent;
use annals::{Bytes, ContentType, EventRef, Position, Timestamp, Uuid};
use base64::Engine as _;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::object::{BASE64, Object};
use crate::record::{BadLine, CommitKey, CommitOf, Record};
use crate::time;

/// Reads one line, without its line break.
///
/// # Errors
///
/// The fault of the line, and its commit if that can be read.
pub fn decode(line: &[u8]) -> Result<Record, BadLine> {
    let mut object = Object::parse(line).map_err(BadLine::unreadable)?;
    let commit = match object.take("commit").map(|raw| CommitKey::parse(raw.get())) {
        Some(key) => key.map_err(BadLine::unreadable)?,
        None => None,
    };
    fields(object, commit.clone())
        .and_then(Record::checked)
        .map_err(|what| BadLine { what, commit: CommitOf::Known(commit) })
}

fn fields(mut object: Object<'_>, commit: Option<CommitKey>) -> Result<Record, String> {
    object.take("position");
    object.take("salvaged_from");
    let recorded_at = object.take_set("recorded_at").map(|raw| text_of(raw.get()));
    let version = object.take_set("version").map(|raw| raw.get().to_owned());
    let (data, content_type) = data(&mut object)?;
    let record = Record {
        stream: object.required("stream")?,
        event_type: object.required("type")?,
        id: id(&mut object)?,
        data,
        content_type,
        metadata: metadata(&mut object)?,
        tags: object.value("tags", "an array of strings")?.unwrap_or_default(),
        schema_version: object
            .value("schema_version", "a number from 0 to 65535")?
            .unwrap_or_default(),
        commit,
        recorded_at,
        version,
    };
    match object.rest().next() {
        Some((key, _)) => Err(format!("unknown key {key:?}")),
        None => Ok(record),
    }
}

/// The text of a JSON string; the source text of any other value.
fn text_of(raw: &str) -> String {
    serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned())
}

fn id(object: &mut Object<'_>) -> Result<Option<Uuid>, String> {
    let Some(text) = object.value::<String>("id", "a UUID")? else {
        return Ok(None);
    };
    match Uuid::parse_str(&text) {
        Ok(id) if id.is_nil() => {
            Err("\"id\" must not be the nil UUID; without \"id\" one is generated".to_owned())
        }
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(format!("\"id\" must be a UUID, found {text:?}")),
    }
}

fn data(object: &mut Object<'_>) -> Result<(Bytes, ContentType), String> {
    let content_type = match object.value::<String>("content_type", "a string")?.as_deref() {
        None => None,
        Some("json") => Some(ContentType::Json),
        Some("binary") => Some(ContentType::Binary),
        Some(other) => {
            return Err(format!(
                "\"content_type\" must be \"json\" or \"binary\", found {other:?}"
            ));
        }
    };
    match (object.take("data"), object.base64("data_base64")?) {
        (Some(_), Some(_)) => Err("both \"data\" and \"data_base64\" are given".to_owned()),
        (None, None) => Err("\"data\" or \"data_base64\" is missing".to_owned()),
        (None, Some(bytes)) => Ok((bytes.into(), content_type.unwrap_or_default())),
        (Some(_), None) if content_type == Some(ContentType::Binary) => {
            Err("\"content_type\" \"binary\" goes with \"data_base64\"".to_owned())
        }
        (Some(raw), None) => Ok((verbatim_bytes(raw), ContentType::Json)),
    }
}

fn metadata(object: &mut Object<'_>) -> Result<Bytes, String> {
    match (object.take("metadata"), object.base64("metadata_base64")?) {
        (Some(_), Some(_)) => Err("both \"metadata\" and \"metadata_base64\" are given".to_owned()),
        (Some(raw), None) => Ok(verbatim_bytes(raw)),
        (None, bytes) => Ok(bytes.unwrap_or_default().into()),
    }
}

fn verbatim_bytes(raw: &RawValue) -> Bytes {
    raw.get().to_owned().into()
}

/// An event as a line states it.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The event's place in the store.
    pub position: u64,
    /// The event's stream.
    pub stream: &'a str,
    /// The event's place in the stream.
    pub version: u64,
    /// The event's type.
    pub event_type: &'a str,
    /// The event's id.
    pub id: Uuid,
    /// When the event was recorded; `None` if that is unknown.
    pub recorded_at: Option<Timestamp>,
    /// The position of the first event in the event's commit; `None` if that is unknown.
    pub commit: Option<u64>,
    /// The event's data.
    pub data: &'a [u8],
    /// Whether the data is JSON or binary.
    pub content_type: ContentType,
    /// The event's metadata; empty = none.
    pub metadata: &'a [u8],
    /// The event's tags.
    pub tags: Vec<&'a str>,
    /// The version of the data's schema; 0 = not set.
    pub schema_version: u16,
    /// The broken commit that a repair salvaged the event from.
    pub salvaged_from: Option<SalvagedFrom<'a>>,
}

/// A broken commit, as the lines of its intact events state it.
#[derive(Debug, Clone, Serialize)]
pub struct SalvagedFrom<'a> {
    /// The segment's file, relative to the damaged store.
    pub file: String,
    /// The offset of the commit's frame in the file.
    pub offset: u64,
    /// The position of its first event, if it is known.
    pub commit: Option<u64>,
    /// The number of its events, if it is known.
    pub events: Option<u32>,
    /// Why the commit could not be copied.
    pub reason: &'a str,
}

impl<'a> From<&SalvagedEvent<'a>> for Row<'a> {
    fn from(event: &SalvagedEvent<'a>) -> Self {
        let commit = event.commit();
        let first = commit.first_position.map(Position::get);
        Self {
            position: event.position().get(),
            stream: event.stream(),
            version: event.version(),
            event_type: event.event_type(),
            id: event.id(),
            recorded_at: event.recorded_at(),
            commit: first,
            data: event.data(),
            content_type: event.content_type(),
            metadata: event.metadata(),
            tags: event.tags().collect(),
            schema_version: event.schema_version(),
            salvaged_from: Some(SalvagedFrom {
                file: commit.file.display().to_string(),
                offset: commit.offset,
                commit: first,
                events: commit.events,
                reason: commit.reason,
            }),
        }
    }
}

impl<'a> From<&'a EventRef<'_>> for Row<'a> {
    fn from(event: &'a EventRef<'_>) -> Self {
        Self {
            position: event.position().get(),
            stream: event.stream(),
            version: event.version(),
            event_type: event.event_type(),
            id: event.id(),
            recorded_at: Some(event.recorded_at()),
            commit: Some(event.commit().get()),
            data: event.data(),
            content_type: event.content_type(),
            metadata: event.metadata(),
            tags: event.tags().collect(),
            schema_version: event.schema_version(),
            salvaged_from: None,
        }
    }
}

/// The line out, in the order its keys are written.
#[derive(Serialize)]
struct Wire<'a> {
    position: u64,
    stream: &'a str,
    version: u64,
    #[serde(rename = "type")]
    event_type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [&'a str],
    #[serde(skip_serializing_if = "is_zero")]
    schema_version: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    salvaged_from: Option<&'a SalvagedFrom<'a>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// Appends an event's line to `out`, without a line break.
///
/// # Errors
///
/// None in practice: only a value that cannot be written as JSON would be one.
pub fn encode(row: &Row<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    let is_json = row.content_type == ContentType::Json;
    let data = if is_json { verbatim(row.data) } else { None };
    let metadata = verbatim(row.metadata);
    let mut id = Uuid::encode_buffer();
    let wire = Wire {
        position: row.position,
        stream: row.stream,
        version: row.version,
        event_type: row.event_type,
        id: row.id.hyphenated().encode_lower(&mut id),
        recorded_at: row.recorded_at.map(time::to_rfc3339),
        commit: row.commit,
        data,
        data_base64: data.is_none().then(|| BASE64.encode(row.data)),
        content_type: (is_json && data.is_none()).then_some("json"),
        metadata,
        metadata_base64: (metadata.is_none() && !row.metadata.is_empty())
            .then(|| BASE64.encode(row.metadata)),
        tags: &row.tags,
        schema_version: row.schema_version,
        salvaged_from: row.salvaged_from.as_ref(),
    };
    serde_json::to_writer(out, &wire).map_err(io::Error::from)
}

/// The bytes as JSON source text, if a line can hold them and decoding returns exactly the same bytes.
pub fn verbatim(bytes: &[u8]) -> Option<&RawValue> {
    let raw: &RawValue = serde_json::from_slice(bytes).ok()?;
    let whole = raw.get().len() == bytes.len();
    (whole && !bytes.iter().any(|b| matches!(b, b'\n' | b'\r'))).then_some(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(data: &'a [u8], content_type: ContentType, metadata: &'a [u8]) -> Row<'a> {
        Row {
            position: 7,
            stream: "a-1",
            version: 2,
            event_type: "T",
            id: Uuid::from_u128(5),
            recorded_at: Some(Timestamp::from_micros(1)),
            commit: Some(6),
            data,
            content_type,
            metadata,
            tags: vec!["x:1", "ü\n"],
            schema_version: 3,
            salvaged_from: None,
        }
    }

    fn wrong(line: &str) -> String {
        decode(line.as_bytes()).expect_err(line).what
    }

    #[test]
    fn every_kind_of_bytes_comes_back_as_it_went() {
        let kinds: [&[u8]; 14] = [
            b"",
            b"null",
            b"{\"b\": 1.50, \"a\":[ ], \"a\":2}",
            b" 1",
            b"1 ",
            b"1\n",
            b"{\n}",
            b"[1,\r2]",
            b"\xff\x00",
            b"{",
            b"1 2",
            b"\"\\ud800\"",
            "\"\u{2028}é\"".as_bytes(),
            b"123456789012345678901234567890.10e400",
        ];
        for data in kinds {
            for metadata in kinds {
                for content_type in [ContentType::Json, ContentType::Binary] {
                    let mut line = Vec::new();
                    encode(&row(data, content_type, metadata), &mut line).unwrap();
                    assert!(!line.contains(&b'\n'));
                    let back = decode(&line).unwrap();
                    assert_eq!((&back.data[..], back.content_type), (data, content_type));
                    assert_eq!(&back.metadata[..], metadata);
                    assert_eq!(back.tags, ["x:1", "ü\n"]);
                    assert_eq!(back.schema_version, 3);
                    assert_eq!(back.id, Some(Uuid::from_u128(5)));
                    assert_eq!(back.commit, CommitKey::parse("6").unwrap());
                }
            }
        }
    }

    #[test]
    fn the_line_out_has_its_keys_in_order() {
        let mut line = Vec::new();
        let mut row = row(b"{\"a\": 1}", ContentType::Json, b"");
        row.tags.clear();
        row.schema_version = 0;
        encode(&row, &mut line).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            concat!(
                r#"{"position":7,"stream":"a-1","version":2,"type":"T","#,
                r#""id":"00000000-0000-0000-0000-000000000005","#,
                r#""recorded_at":"1970-01-01T00:00:00.000001Z","commit":6,"data":{"a": 1}}"#
            )
        );
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        let rest = r#""stream":"s","type":"t","data":1"#;
        let cases = [
            ("", "EOF while parsing a value"),
            ("[]", "expected a JSON object"),
            ("{\"stream\":\"s\"", "EOF while parsing an object"),
            (r#"{"type":"t","data":1}"#, "\"stream\" is missing"),
            (r#"{"stream":"s","data":1}"#, "\"type\" is missing"),
            (r#"{"stream":"s","type":"t"}"#, "\"data\" or \"data_base64\" is missing"),
            (r#"{"stream":5,"type":"t","data":1}"#, "\"stream\" must be a string, found 5"),
            (r#"{"stream":"","type":"t","data":1}"#, "\"stream\" is empty"),
            (&format!("{{{rest},\"data_base64\":\"\"}}"), "both \"data\""),
            (&format!("{{{rest},\"streem\":1}}"), "unknown key \"streem\""),
            (&format!("{{{rest},\"stream\":\"u\"}}"), "the key \"stream\" occurs twice"),
            (&format!("{{{rest},\"str\\u0065am\":\"u\"}}"), "the key \"stream\" occurs twice"),
            (&format!("{{{rest},\"id\":\"5\"}}"), "\"id\" must be a UUID"),
            (&format!("{{{rest},\"tags\":\"a\"}}"), "\"tags\" must be an array of strings"),
            (&format!("{{{rest},\"schema_version\":65536}}"), "\"schema_version\" must be"),
            (&format!("{{{rest},\"commit\":[1]}}"), "\"commit\" must be"),
            (&format!("{{{rest},\"content_type\":\"xml\"}}"), "\"content_type\" must be"),
            (&format!("{{{rest}}} x"), "trailing characters"),
            (r#"{"stream":"s","type":"t","data_base64":"!"}"#, "is not base64"),
        ];
        for (line, expected) in cases {
            let what = wrong(line);
            assert!(what.contains(expected), "{line}: {what}");
        }
        assert!(decode(b"{\"stream\":\"\xff\"").unwrap_err().what.contains("not UTF-8 at byte 12"));
        let long = format!(r#"{{"stream":"{}","type":"t","data":1}}"#, "s".repeat(1025));
        assert!(wrong(&long).contains("1025 bytes, the limit is 1024"));
        let tags = format!(r#"{{{rest},"tags":["{}",""]}}"#, "s".repeat(65_532));
        assert!(wrong(&tags).contains("65536 bytes, the limit is 65535"));
        assert!(decode(tags.replace(",\"\"", "").as_bytes()).is_ok());
        assert!(decode(br#"{"stream":"s","type":"","data":1,"tags":[""]}"#).is_ok());
    }

    #[test]
    fn a_bad_line_tells_its_commit_where_it_can() {
        let key = CommitKey::parse("4").unwrap();
        let bad = decode(br#"{"stream":"s","commit":4}"#).unwrap_err();
        assert_eq!(bad.commit, CommitOf::Known(key));
        let bad = decode(br#"{"stream":"s"}"#).unwrap_err();
        assert_eq!(bad.commit, CommitOf::Known(None));
        assert_eq!(decode(b"{").unwrap_err().commit, CommitOf::Unknown);
    }

    #[test]
    fn commit_keys_differ_as_written() {
        let key = |raw| CommitKey::parse(raw).unwrap();
        assert_eq!(key("\"a\""), key("\"\\u0061\""));
        assert_ne!(key("\"1\""), key("1"));
        assert_ne!(key("18446744073709551616"), key("18446744073709551617"));
        assert_eq!(key("null"), None);
    }
}
