//! Rows as values of the toolkit, and numbers as PostgreSQL has them.
//!
//! Owns the conversions. Must never send a statement.

use annals_es::{
    ContentType, EventParts, NewEvent, Position, RecordedEvent, StreamName, Timestamp, Version,
};
use bytes::Bytes;
use tokio_postgres::Row;

use crate::Error;

/// Number of columns of an event.
pub(crate) const WIDTH: usize = 13;

/// The nearest number that PostgreSQL has.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number that the store has written.
pub(crate) fn unsigned(value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| altered(format!("the number {value} is negative")))
}

pub(crate) fn altered(what: impl Into<String>) -> Error {
    Error::Altered { what: what.into() }
}

/// The event of a row whose first columns are those of an event.
pub(crate) fn event(row: &Row) -> Result<RecordedEvent, Error> {
    let number = |column: usize| unsigned(row.try_get(column)?);
    let bytes =
        |column: usize| Ok::<_, Error>(Bytes::copy_from_slice(row.try_get::<_, &[u8]>(column)?));
    let event_type: String = row.try_get(6)?;
    let mut new = NewEvent::new(event_type, bytes(11)?).metadata(bytes(12)?);
    let schema_version: i32 = row.try_get(7)?;
    new.schema_version = u16::try_from(schema_version)
        .map_err(|_| altered(format!("the schema version {schema_version} is out of range")))?;
    new.content_type = match row.try_get::<_, i16>(8)? {
        0 => ContentType::Binary,
        1 => ContentType::Json,
        other => return Err(altered(format!("the content type {other} is unknown"))),
    };
    new.tags = row.try_get(10)?;
    let stream = StreamName::from(row.try_get::<_, &str>(4)?);
    let (version, position) = (Version::new(number(5)?), Position::new(number(0)?));
    let at = Timestamp::from_micros(number(9)?);
    let mut parts = EventParts::of(new, row.try_get(3)?, stream, version, position, at);
    parts.commit = Position::new(number(1)?);
    parts.is_last_in_commit = row.try_get(2)?;
    Ok(parts.into())
}

/// The last visible and the last recorded position.
pub(crate) fn heads(row: Option<&Row>) -> Result<(Position, Position), Error> {
    let row = row.ok_or_else(|| altered("the row of the head is missing"))?;
    let at = |column| Ok::<_, Error>(Position::new(unsigned(row.try_get(column)?)?));
    Ok((at(0)?, at(1)?))
}

/// The number that stands for the format of data.
pub(crate) fn content_type(content_type: ContentType) -> i16 {
    match content_type {
        ContentType::Json => 1,
        _ => 0,
    }
}
