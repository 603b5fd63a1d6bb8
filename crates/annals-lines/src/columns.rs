//! Events as comma-separated values (RFC 4180).
//!
//! Owns the columns and their notation. Must never change a byte of data: what is not UTF-8 is in a column of its own, in
//! base64.

use annals::ContentType;
use base64::Engine as _;

use crate::lines::Row;
use crate::object::BASE64;

/// A column of a table of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The place in the store.
    Position,
    /// The time of recording.
    RecordedAt,
    /// The stream.
    Stream,
    /// The place in the stream.
    Version,
    /// The event's type.
    Type,
    /// The event's id.
    Id,
    /// The position of the first event of the commit.
    Commit,
    /// The version of the data's schema; 0: not set.
    SchemaVersion,
    /// The tags, as a JSON array of strings.
    Tags,
    /// `json` or `binary`, as the event states it.
    ContentType,
    /// The data, if it is UTF-8.
    Data,
    /// The data in base64, if it is not UTF-8.
    DataBase64,
    /// The metadata, if it is UTF-8.
    Metadata,
    /// The metadata in base64, if it is not UTF-8.
    MetadataBase64,
}

/// All columns with their names, in the order in which they are printed.
pub const ALL: [(&str, Column); 14] = [
    ("position", Column::Position),
    ("recorded_at", Column::RecordedAt),
    ("stream", Column::Stream),
    ("version", Column::Version),
    ("type", Column::Type),
    ("id", Column::Id),
    ("commit", Column::Commit),
    ("schema_version", Column::SchemaVersion),
    ("tags", Column::Tags),
    ("content_type", Column::ContentType),
    ("data", Column::Data),
    ("data_base64", Column::DataBase64),
    ("metadata", Column::Metadata),
    ("metadata_base64", Column::MetadataBase64),
];

/// All columns, in the order in which they are printed.
pub fn every() -> [Column; ALL.len()] {
    ALL.map(|(_, column)| column)
}

/// The column of this name.
///
/// # Errors
///
/// An error that names all columns if there is none.
pub fn parse(name: &str) -> Result<Column, String> {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.map(|&(_, column)| column).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|&(name, _)| name).collect();
        format!("expected names of {}, with commas between them", names.join(", "))
    })
}

/// Adds the row with the names of the columns.
pub fn head(columns: &[Column], out: &mut Vec<u8>) {
    let name =
        |wanted: &Column| ALL.iter().find(|(_, it)| it == wanted).map_or("", |(name, _)| name);
    write(columns.iter().map(|column| name(column).into()), out);
}

/// Adds the row of an event, whose time of recording is printed as `time`.
pub fn encode(row: &Row<'_>, time: &str, columns: &[Column], out: &mut Vec<u8>) {
    write(columns.iter().map(|&column| value(row, time, column)), out);
}

fn value(row: &Row<'_>, time: &str, column: Column) -> Vec<u8> {
    let text =
        |bytes: &[u8]| if std::str::from_utf8(bytes).is_ok() { bytes.to_vec() } else { Vec::new() };
    let base64 = |bytes: &[u8]| {
        if std::str::from_utf8(bytes).is_ok() { Vec::new() } else { BASE64.encode(bytes).into() }
    };
    match column {
        Column::Position => row.position.to_string().into(),
        Column::RecordedAt => time.into(),
        Column::Stream => row.stream.into(),
        Column::Version => row.version.to_string().into(),
        Column::Type => row.event_type.into(),
        Column::Id => row.id.to_string().into(),
        Column::Commit => row.commit.map_or_else(Vec::new, |commit| commit.to_string().into()),
        Column::SchemaVersion => row.schema_version.to_string().into(),
        Column::Tags => serde_json::to_vec(&row.tags).unwrap_or_default(),
        Column::ContentType => match row.content_type {
            ContentType::Json => "json".into(),
            _ => "binary".into(),
        },
        Column::Data => text(row.data),
        Column::DataBase64 => base64(row.data),
        Column::Metadata => text(row.metadata),
        Column::MetadataBase64 => base64(row.metadata),
    }
}

fn write(values: impl Iterator<Item = Vec<u8>>, out: &mut Vec<u8>) {
    let mut writer = csv::WriterBuilder::new().from_writer(&mut *out);
    // A vector takes all bytes.
    let _infallible = writer.write_record(values);
    let _infallible = writer.flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals::Uuid;

    #[test]
    fn any_value_comes_back_from_its_cell() {
        let row = Row {
            position: 7,
            stream: "a,\"b\"\r\nc",
            version: 2,
            event_type: "=1+1",
            id: Uuid::nil(),
            recorded_at: None,
            commit: None,
            data: b"\xff\x00",
            content_type: ContentType::Binary,
            metadata: b"{\"x\": \"y\"}",
            tags: vec!["a b", "\u{1b},"],
            schema_version: 3,
            salvaged_from: None,
        };
        let columns = every();
        let mut out = Vec::new();
        head(&columns, &mut out);
        encode(&row, "now", &columns, &mut out);
        let mut table = csv::Reader::from_reader(out.as_slice());
        let names: Vec<&str> = ALL.iter().map(|&(name, _)| name).collect();
        assert_eq!(table.headers().expect("names"), names);
        let records: Vec<csv::StringRecord> = table.records().map(|r| r.expect("a row")).collect();
        let expected = [
            "7",
            "now",
            row.stream,
            "2",
            "=1+1",
            "00000000-0000-0000-0000-000000000000",
            "",
            "3",
            "[\"a b\",\"\\u001b,\"]",
            "binary",
            "",
            "/wA=",
            "{\"x\": \"y\"}",
            "",
        ];
        assert_eq!(records, [csv::StringRecord::from(expected.to_vec())]);
        assert!(parse("types").unwrap_err().contains("position, recorded_at"));
    }
}
