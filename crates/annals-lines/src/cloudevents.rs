//! `CloudEvents` 1.0 in the JSON event format, one a line.
//!
//! Owns the mapping onto a record. Must never drop an attribute: those without a field of their own
//! are stored in the metadata.
//!
//! - The stream is `subject`, or `source` where there is none; the type is `type`.
//! - An `id` that is a UUID (in its form with hyphens) is the event's id. Any other becomes a
//!   UUID v5 in [`NAMESPACE`] over `source`, a zero byte and `id`, since its specification
//!   promises that `source` and `id` together are unique: importing an event twice changes nothing.
//! - `data` is kept as JSON, byte for byte; `data_base64` as its bytes; neither = no data.
//! - `time`, if present, is the time of recording, with the option to keep it.
//! - Every other attribute, and `id`, `source` and `subject` again, is kept as a member of a
//!   JSON object in the metadata, sorted by name, its value as it was written.

use annals::{Bytes, ContentType, Uuid};
use serde_json::value::RawValue;

use crate::object::Object;
use crate::record::{BadLine, CommitOf, Record};
use crate::time;

/// The namespace of the ids that are made from `source` and `id`.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x51f1_2f8d_9f3e_4d0a_8c57_0e6b_6a3d_b1c4);

/// Reads one line, without its line break.
///
/// # Errors
///
/// The fault of the line.
pub fn decode(line: &[u8]) -> Result<Record, BadLine> {
    let bad = |what| BadLine { what, commit: CommitOf::Known(None) };
    Object::parse(line).and_then(fields).and_then(Record::checked).map_err(bad)
}

fn fields(mut object: Object<'_>) -> Result<Record, String> {
    let kept = metadata(&object)?;
    check_version(&mut object)?;
    let source = attribute(&mut object, "source")?.ok_or("\"source\" is missing")?;
    let id = attribute(&mut object, "id")?.ok_or("\"id\" is missing")?;
    let event_type = attribute(&mut object, "type")?.ok_or("\"type\" is missing")?;
    let subject = attribute(&mut object, "subject")?;
    let recorded_at = attribute(&mut object, "time")?;
    if let Some(text) = &recorded_at {
        time::parse(text).map_err(|what| format!("\"time\" is {text:?}: {what}"))?;
    }
    let (data, content_type) = data(&mut object)?;
    Ok(Record {
        id: Some(event_id(&source, &id)?),
        stream: subject.unwrap_or(source),
        event_type,
        data,
        content_type,
        metadata: kept,
        tags: Vec::new(),
        schema_version: 0,
        commit: None,
        recorded_at,
        version: None,
    })
}

fn check_version(object: &mut Object<'_>) -> Result<(), String> {
    match object.required("specversion")?.as_str() {
        "1.0" => Ok(()),
        other => Err(format!("\"specversion\" must be \"1.0\", found {other:?}")),
    }
}

fn attribute(object: &mut Object<'_>, key: &str) -> Result<Option<String>, String> {
    let value: Option<String> = object.value(key, "a string")?;
    match value {
        Some(text) if text.is_empty() => Err(format!("\"{key}\" is empty")),
        value => Ok(value),
    }
}

fn event_id(source: &str, id: &str) -> Result<Uuid, String> {
    const HYPHENATED: usize = 36;
    if id.len() == HYPHENATED
        && let Ok(id) = Uuid::parse_str(id)
        && !id.is_nil()
    {
        return Ok(id);
    }
    if source.contains('\0') {
        return Err("\"source\" contains a zero byte".to_owned());
    }
    let name = [source.as_bytes(), b"\0", id.as_bytes()].concat();
    Ok(Uuid::new_v5(&NAMESPACE, &name))
}

fn data(object: &mut Object<'_>) -> Result<(Bytes, ContentType), String> {
    match (object.take("data"), object.base64("data_base64")?) {
        (Some(_), Some(_)) => Err("both \"data\" and \"data_base64\" are given".to_owned()),
        (Some(raw), None) => Ok((raw.get().to_owned().into(), ContentType::Json)),
        (None, bytes) => Ok((bytes.unwrap_or_default().into(), ContentType::Binary)),
    }
}

/// Everything but the type and the data, as one JSON object.
fn metadata(object: &Object<'_>) -> Result<Bytes, String> {
    let kept = object
        .rest()
        .filter(|(key, _)| !matches!(*key, "type" | "data" | "data_base64"))
        .collect::<std::collections::BTreeMap<&str, &RawValue>>();
    serde_json::to_vec(&kept).map(Bytes::from).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{"specversion":"1.0","source":"/shop","id":"17","type":"Sold"}"#;

    #[test]
    fn attributes_find_their_places() {
        let line = concat!(
            r#"{"specversion":"1.0","type":"Sold","source":"/shop","subject":"order-5","#,
            r#""id":"7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11","time":"2026-01-01T00:00:00Z","#,
            r#""traceparent": "00-ab","datacontenttype":"application/json","data":{"n": 1.0}}"#
        );
        let record = decode(line.as_bytes()).unwrap();
        assert_eq!((record.stream.as_str(), record.event_type.as_str()), ("order-5", "Sold"));
        assert_eq!(record.id.unwrap().to_string(), "7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11");
        assert_eq!(&record.data[..], b"{\"n\": 1.0}");
        assert_eq!(record.content_type, ContentType::Json);
        assert_eq!(
            std::str::from_utf8(&record.metadata).unwrap(),
            concat!(
                r#"{"datacontenttype":"application/json","#,
                r#""id":"7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11","source":"/shop","#,
                r#""specversion":"1.0","subject":"order-5","time":"2026-01-01T00:00:00Z","#,
                r#""traceparent":"00-ab"}"#
            )
        );
    }

    #[test]
    fn without_a_subject_the_source_is_the_stream() {
        let record = decode(MINIMAL.as_bytes()).unwrap();
        assert_eq!(record.stream, "/shop");
        assert_eq!((record.data.len(), record.content_type), (0, ContentType::Binary));
    }

    #[test]
    fn other_ids_are_derived_from_source_and_id() {
        let first = decode(MINIMAL.as_bytes()).unwrap().id;
        assert_eq!(decode(MINIMAL.as_bytes()).unwrap().id, first);
        let elsewhere = decode(MINIMAL.replace("/shop", "/shop2").as_bytes()).unwrap().id;
        let another = decode(MINIMAL.replace("17", "18").as_bytes()).unwrap().id;
        assert!(first != elsewhere && first != another && elsewhere != another);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        let cases = [
            ("[]".to_owned(), "expected a JSON object"),
            (MINIMAL.replace("1.0", "0.3"), "\"specversion\" must be \"1.0\""),
            (MINIMAL.replace("\"id\":\"17\",", ""), "\"id\" is missing"),
            (MINIMAL.replace("\"/shop\"", "\"\""), "\"source\" is empty"),
            (MINIMAL.replace("\"Sold\"", "3"), "\"type\" must be a string"),
            (MINIMAL.replace('}', ",\"time\":\"noon\"}"), "\"time\" is \"noon\""),
            (MINIMAL.replace('}', ",\"data\":1,\"data_base64\":\"\"}"), "both \"data\""),
            (MINIMAL.replace('}', ",\"id\":\"18\"}"), "the key \"id\" occurs twice"),
        ];
        for (line, expected) in cases {
            let what = decode(line.as_bytes()).expect_err(&line).what;
            assert!(what.contains(expected), "{line}: {what}");
        }
    }
}
