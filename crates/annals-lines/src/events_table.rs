//! Rows of the classic `events` table of event-sourced programs on `PostgreSQL`: its CSV with a header
//! (`\copy events TO 'events.csv' CSV HEADER`), or the text form of `COPY events TO STDOUT`. The columns of the
//! text form are the classic ones, or those of a first line `COPY events (…) FROM stdin;`, as `pg_dump` writes it.
//!
//! Owns the mapping onto a record. Must never drop a column: one without a meaning here is refused.
//!
//! - The stream is `aggregate_type`, a hyphen and `aggregate_id` (a hyphen in the type is written `%2D`).
//! - `version` counts the events of a stream from 1, without gaps.
//! - An `id` that is a UUID is the event's id. Any other becomes the tag `row:ID`, and the event's id is a
//!   UUID v5 in [`NAMESPACE`] over type, aggregate and version: importing a table twice changes nothing.
//! - `event_type` is the type; `event_version`, if there is one, the version of the schema: the number with which
//!   it begins. Of `1.0.1` and other texts than `N` and `N.0`, the tag `event_version:TEXT` keeps the whole.
//! - `data` and `metadata` are kept byte for byte; `bytea` (`\x…`) as its bytes. Data that is JSON is flagged so.
//! - `created_at` is the time of recording, with the option to keep it; without an offset it is UTC.

use annals::{ContentType, StreamName, Uuid};
use serde::de::IgnoredAny;

use crate::record::{BadLine, CommitOf, Record};
use crate::time;

/// The namespace of the ids that are made from type, aggregate and version.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x2f5c_9a61_7d1e_4b83_9f0a_c4d6_83e1_5b27);

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Comma-separated values. The first row has the names of the columns.
    Csv,
    /// Tab-separated, with backslash escapes, in the order of [`Column::CLASSIC`] or of the line
    /// `COPY … (…) FROM stdin;` before the first row.
    Copy,
}

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The row's number or UUID.
    Id,
    /// The aggregate's id.
    AggregateId,
    /// The aggregate's type.
    AggregateType,
    /// The event's type.
    EventType,
    /// The version of the event's schema.
    EventVersion,
    /// The event's data.
    Data,
    /// The event's metadata.
    Metadata,
    /// The event's place in its stream.
    Version,
    /// When it was recorded.
    CreatedAt,
}

impl Column {
    /// The columns of the classic table, in their order.
    pub const CLASSIC: [Self; 8] = [
        Self::Id,
        Self::AggregateId,
        Self::AggregateType,
        Self::EventType,
        Self::Data,
        Self::Metadata,
        Self::Version,
        Self::CreatedAt,
    ];

    fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "aggregate_id" => Self::AggregateId,
            "aggregate_type" => Self::AggregateType,
            "event_type" => Self::EventType,
            "event_version" => Self::EventVersion,
            "data" | "payload" => Self::Data,
            "metadata" => Self::Metadata,
            "version" | "sequence" => Self::Version,
            "created_at" => Self::CreatedAt,
            _ => return None,
        })
    }
}

/// Reads the rows of one table, in order.
#[derive(Debug)]
pub struct Table {
    form: Form,
    /// Empty until the header was read.
    columns: Vec<Column>,
}

impl Table {
    /// A table in this form.
    pub fn new(form: Form) -> Self {
        let columns = match form {
            Form::Csv => Vec::new(),
            Form::Copy => Column::CLASSIC.to_vec(),
        };
        Self { form, columns }
    }

    /// Reads one row, without its line break. `None`: the row is the header, or the end mark of `COPY`.
    ///
    /// # Errors
    ///
    /// The fault of the row.
    pub fn decode(&mut self, row: &[u8]) -> Result<Option<Record>, BadLine> {
        let bad = |what| BadLine { what, commit: CommitOf::Known(None) };
        let values = match self.form {
            Form::Csv => csv(row),
            Form::Copy if row == b"\\." => return Ok(None),
            Form::Copy if row.starts_with(b"COPY ") && row.ends_with(b"FROM stdin;") => {
                self.columns = header(&copy_columns(row)).map_err(BadLine::unreadable)?;
                return Ok(None);
            }
            Form::Copy => row.split(|&byte| byte == b'\t').map(unescape).collect(),
        };
        let values = values.map_err(bad)?;
        if self.columns.is_empty() {
            self.columns = header(&values).map_err(BadLine::unreadable)?;
            return Ok(None);
        }
        self.record(&values).and_then(Record::checked).map(Some).map_err(bad)
    }

    fn record(&self, values: &[Option<Vec<u8>>]) -> Result<Record, String> {
        if values.len() != self.columns.len() {
            let (found, expected) = (values.len(), self.columns.len());
            return Err(format!("{found} values, expected {expected}"));
        }
        let bytes = |column| {
            let at = self.columns.iter().position(|it| *it == column)?;
            values[at].as_deref()
        };
        let text = |column, name: &str| {
            let text = bytes(column).map(std::str::from_utf8).transpose();
            text.map_err(|_| format!("{name:?} is not UTF-8"))
        };
        let required = |column, name: &str| {
            let found = text(column, name)?.filter(|text| !text.is_empty());
            found.ok_or_else(|| format!("{name:?} is missing"))
        };
        let aggregate_type = required(Column::AggregateType, "aggregate_type")?;
        let aggregate_id = required(Column::AggregateId, "aggregate_id")?;
        let version = required(Column::Version, "version")?;
        let row = text(Column::Id, "id")?.unwrap_or_default();
        let given = Uuid::parse_str(row).ok().filter(|id| !id.is_nil());
        let id = given.unwrap_or_else(|| {
            let name = [aggregate_type, "\0", aggregate_id, "\0", version].concat();
            Uuid::new_v5(&NAMESPACE, name.as_bytes())
        });
        let row = (given.is_none() && !row.is_empty()).then(|| format!("row:{row}"));
        let data = raw(bytes(Column::Data).unwrap_or_default())?;
        let is_json = serde_json::from_slice::<IgnoredAny>(&data).is_ok();
        let version_text = text(Column::EventVersion, "event_version")?.unwrap_or_default();
        let (schema_version, version_tag) = schema_version(version_text);
        Ok(Record {
            id: Some(id),
            stream: StreamName::new(aggregate_type, aggregate_id).as_str().to_owned(),
            event_type: required(Column::EventType, "event_type")?.to_owned(),
            data: data.into(),
            content_type: if is_json { ContentType::Json } else { ContentType::Binary },
            metadata: raw(bytes(Column::Metadata).unwrap_or_default())?.into(),
            tags: row.into_iter().chain(version_tag).collect(),
            schema_version,
            commit: None,
            recorded_at: text(Column::CreatedAt, "created_at")?.map(created_at).transpose()?,
            version: Some(version.to_owned()),
        })
    }
}

/// The version of a schema, the number with which the text begins (0 without one), and a tag with the text if it is
/// neither `N` nor `N.0`.
fn schema_version(text: &str) -> (u16, Option<String>) {
    let major = text.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    let is_whole = text.is_empty() || text == major.to_string() || text == format!("{major}.0");
    (major, (!is_whole).then(|| format!("event_version:{text}")))
}

/// The time in RFC 3339; `PostgreSQL` writes a space in place of the `T`, and a short offset or none.
fn created_at(text: &str) -> Result<String, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(format!("{time:.6}"));
    }
    let utc = text.parse::<jiff::civil::DateTime>().ok();
    let utc = utc.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok());
    match utc {
        Some(time) => Ok(format!("{:.6}", time.timestamp())),
        None => time::parse(text)
            .map(time::to_rfc3339)
            .map_err(|what| format!("\"created_at\" is {text:?}: {what}")),
    }
}

/// The bytes of a value: those of `bytea` in its hexadecimal form, of any other type its text.
fn raw(value: &[u8]) -> Result<Vec<u8>, String> {
    let Some(digits) = value.strip_prefix(b"\\x") else { return Ok(value.to_vec()) };
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| {
        let [high, low] = pair else { return None };
        u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok()
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| "a value begins with \\x and is not hexadecimal".to_owned())
}

/// The names of the columns in the line `COPY events (id, …) FROM stdin;`.
fn copy_columns(line: &[u8]) -> Vec<Option<Vec<u8>>> {
    let line = String::from_utf8_lossy(line);
    let names = line.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let names = names.map_or("", |(names, _)| names).split(',');
    names.map(|name| Some(name.trim().trim_matches('"').as_bytes().to_vec())).collect()
}

fn header(names: &[Option<Vec<u8>>]) -> Result<Vec<Column>, String> {
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let name = String::from_utf8_lossy(name.as_deref().unwrap_or_default()).into_owned();
        let column = Column::of_name(name.trim()).ok_or_else(|| {
            format!("column {name:?} has no meaning here: select the columns, as in \\copy (SELECT id, …) TO …")
        })?;
        if columns.contains(&column) {
            return Err(format!("column {name:?} occurs twice"));
        }
        columns.push(column);
    }
    let required = [
        (Column::AggregateId, "aggregate_id"),
        (Column::AggregateType, "aggregate_type"),
        (Column::EventType, "event_type"),
        (Column::Data, "data"),
        (Column::Version, "version"),
    ];
    match required.iter().find(|(column, _)| !columns.contains(column)) {
        Some((_, name)) => Err(format!("the header has no column {name:?}")),
        None => Ok(columns),
    }
}

/// The values of a row of CSV; `None`: an empty value, which is NULL.
fn csv(row: &[u8]) -> Result<Vec<Option<Vec<u8>>>, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(row);
    let mut found = csv::ByteRecord::new();
    match reader.read_byte_record(&mut found) {
        Ok(true) => Ok(found.iter().map(|it| (!it.is_empty()).then(|| it.to_vec())).collect()),
        Ok(false) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// A value of the text form of `COPY`, without its escapes; `None`: NULL.
fn unescape(value: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if value == b"\\N" {
        return Ok(None);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some((&escaped, after)) = rest.split_first() else {
            return Err("a value ends with a backslash".to_owned());
        };
        rest = after;
        bytes.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => other,
        });
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] =
        b"id,aggregate_id,aggregate_type,event_type,data,metadata,version,created_at";

    fn of_csv(row: &str) -> Result<Record, String> {
        let mut table = Table::new(Form::Csv);
        assert_eq!(table.decode(HEADER), Ok(None));
        table.decode(row.as_bytes()).map(Option::unwrap).map_err(|bad| bad.what)
    }

    #[test]
    fn row_of_csv_is_an_event() {
        let row = concat!(
            r#"17,a-1,order-item,ItemAdded,"{""n"": ""x\ny""}","{""by"": ""ann""}",3,"#,
            "2026-01-01 13:00:00.5+01"
        );
        let record = of_csv(row).unwrap();
        assert_eq!((&*record.stream, &*record.event_type), ("order%2Ditem-a-1", "ItemAdded"));
        assert_eq!(&record.data[..], br#"{"n": "x\ny"}"#);
        assert_eq!(
            (record.content_type, &record.metadata[..]),
            (ContentType::Json, &br#"{"by": "ann"}"#[..])
        );
        assert_eq!((&*record.tags[0], record.number()), ("row:17", Ok(Some(3))));
        assert_eq!(record.recorded_at.as_deref(), Some("2026-01-01T12:00:00.500000Z"));
        assert_eq!(of_csv(row).unwrap().id, record.id);
        assert_ne!(of_csv(&row.replace(",3,", ",4,")).unwrap().id, record.id);
    }

    #[test]
    fn id_that_is_a_uuid_is_kept() {
        let id = "7b1f6f5e-8a24-4c0e-9a53-0d4c6f0f2a11";
        let record = of_csv(&format!("{id},1,order,Placed,{{}},,1,2026-01-01 00:00:00")).unwrap();
        assert_eq!((record.id.unwrap().to_string().as_str(), record.tags.len()), (id, 0));
        assert_eq!(record.recorded_at.as_deref(), Some("2026-01-01T00:00:00.000000Z"));
        assert!(record.metadata.is_empty());
    }

    #[test]
    fn row_of_copy_is_an_event() {
        let mut table = Table::new(Form::Copy);
        let row = b"1\t9\tblob\tStored\t\\\\x00ff\t\\N\t1\t2026-01-01 00:00:00+00";
        let record = table.decode(row).unwrap().unwrap();
        assert_eq!((&*record.stream, &record.data[..]), ("blob-9", &[0, 255][..]));
        assert_eq!(record.content_type, ContentType::Binary);
        let row = b"1\t9\tnote\tWritten\t{\"a\\tb\": \"\\\\\\\\\"}\t\\N\t1\t\\N";
        let record = table.decode(row).unwrap().unwrap();
        assert_eq!((&record.data[..], record.recorded_at), (&b"{\"a\tb\": \"\\\\\"}"[..], None));
        assert_eq!(table.decode(b"\\."), Ok(None));
    }

    #[test]
    fn version_of_schema_keeps_text_that_is_no_whole_number() {
        let cases = [
            ("", 0, None),
            ("1", 1, None),
            ("2.0", 2, None),
            ("1.0.1", 1, Some("event_version:1.0.1")),
            ("70000", 0, Some("event_version:70000")),
            ("draft", 0, Some("event_version:draft")),
        ];
        for (text, number, tag) in cases {
            assert_eq!(schema_version(text), (number, tag.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn columns_of_copy_are_those_of_its_first_line() {
        let mut table = Table::new(Form::Copy);
        let head = b"COPY public.events (aggregate_type, aggregate_id, \"sequence\", event_type, \
            event_version, payload, metadata) FROM stdin;";
        assert_eq!(table.decode(head), Ok(None));
        let record = table.decode(b"sum\ts\t2\tAdded\t1.1\t{}\t{}").unwrap().unwrap();
        assert_eq!((&*record.stream, record.number()), ("sum-s", Ok(Some(2))));
        assert_eq!((record.schema_version, &*record.tags[0]), (1, "event_version:1.1"));
        let what = table.decode(b"COPY events (id, price) FROM stdin;").expect_err("price").what;
        assert!(what.contains("\"price\" has no meaning here"), "{what}");
    }

    #[test]
    fn bad_row_or_header_says_what_is_wrong() {
        let good = "1,9,order,Placed,{},,1,2026-01-01 00:00:00";
        let cases = [
            (good.replace(",order,", ",,"), "\"aggregate_type\" is missing"),
            (good.replace(",1,2026", ",,2026"), "\"version\" is missing"),
            (good.replace("2026-01-01 00:00:00", "noon"), "\"created_at\" is \"noon\""),
            (good.replace("{}", "\\xf"), "not hexadecimal"),
            (format!("{good},more"), "9 values, expected 8"),
        ];
        for (row, expected) in cases {
            let what = of_csv(&row).expect_err(&row);
            assert!(what.contains(expected), "{row}: {what}");
        }
        let header =
            |names: &str| Table::new(Form::Csv).decode(names.as_bytes()).expect_err(names).what;
        assert!(header("id,price").contains("\"price\" has no meaning here"));
        assert!(header("id,id").contains("occurs twice"));
        assert!(header("id,aggregate_id").contains("no column \"aggregate_type\""));
        let mut copy = Table::new(Form::Copy);
        let what = copy.decode(b"1\t9\tnote\tWritten\t{}\t\\").expect_err("an escape").what;
        assert!(what.contains("ends with a backslash"), "{what}");
    }
}
