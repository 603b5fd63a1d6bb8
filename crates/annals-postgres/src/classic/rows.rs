//! A row of a classic table as an event.
//!
//! Owns the rules, which are those of `annals import` for such tables. Must never drop a column.

use annals_es::{
    ContentType, EventParts, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version,
};
use bytes::Bytes;
use serde::de::IgnoredAny;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::Error;
use crate::rows::unsigned;

/// The namespace of the ids that are made from type, aggregate and version.
const NAMESPACE: Uuid = Uuid::from_u128(0x2f5c_9a61_7d1e_4b83_9f0a_c4d6_83e1_5b27);

pub(super) fn event(row: &Row, table: &str) -> Result<RecordedEvent, Error> {
    let fault = |column: &str, what: &str| Error::Column {
        table: table.to_owned(),
        column: column.to_owned(),
        what: what.to_owned(),
    };
    let required = |at: usize, column: &str| {
        let text: Option<&str> = row.try_get(at)?;
        text.filter(|text| !text.is_empty()).ok_or_else(|| fault(column, "a row has no value"))
    };
    let position = row.try_get::<_, Option<i64>>(0)?.filter(|position| *position > 0);
    let position = position.ok_or_else(|| fault("id", "a row has no id, or one below 1"))?;
    let (kind, aggregate) = (required(2, "aggregate_type")?, required(3, "aggregate_id")?);
    let version = row.try_get::<_, Option<i64>>(8)?.filter(|version| *version > 0);
    let version =
        version.ok_or_else(|| fault("version", "a row has no version, or one below 1"))?;
    let row_id = row.try_get::<_, Option<&str>>(1)?.unwrap_or_default();
    let given = Uuid::parse_str(row_id).ok().filter(|id| !id.is_nil());
    let id = given.unwrap_or_else(|| {
        let name = [kind, "\0", aggregate, "\0", &version.to_string()].concat();
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    });
    let bytes =
        |at: usize| Ok::<_, Error>(row.try_get::<_, Option<&[u8]>>(at)?.unwrap_or_default());
    let (data, metadata) = (bytes(6)?, bytes(7)?);
    let is_json = row.try_get(10)? || serde_json::from_slice::<IgnoredAny>(data).is_ok();
    let (schema_version, version_tag) =
        schema_version(row.try_get::<_, Option<&str>>(5)?.unwrap_or_default());
    let event_type = required(4, "event_type")?.to_owned();
    let mut new = NewEvent::new(event_type, Bytes::copy_from_slice(data))
        .metadata(Bytes::copy_from_slice(metadata))
        .schema_version(schema_version)
        .content_type(if is_json { ContentType::Json } else { ContentType::Binary });
    let row_tag = (given.is_none() && !row_id.is_empty()).then(|| format!("row:{row_id}"));
    new.tags = row_tag.into_iter().chain(version_tag).collect();
    let at = row.try_get::<_, Option<i64>>(9)?;
    let at = at.ok_or_else(|| fault("created_at", "a row has no value"))?;
    Ok(EventParts::of(
        new,
        id,
        StreamName::new(kind, aggregate),
        Version::new(unsigned(version)?),
        Position::new(unsigned(position)?),
        Timestamp::from_micros(unsigned(at)?),
    )
    .into())
}

/// The version of a schema, the number with which the text begins (0 without one), and a tag with the text if it is
/// neither `N` nor `N.0`.
fn schema_version(text: &str) -> (u16, Option<String>) {
    let major = text.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    let is_whole = text.is_empty() || text == major.to_string() || text == format!("{major}.0");
    (major, (!is_whole).then(|| format!("event_version:{text}")))
}
