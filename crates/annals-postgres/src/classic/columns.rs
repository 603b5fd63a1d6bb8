//! The columns of a classic table, and how each is read.
//!
//! Owns the check of a table. Must never read a row.

use deadpool_postgres::Object;

use crate::sql::quoted;
use crate::{Error, rows};

/// A column, and the types that it may have.
struct Column {
    names: &'static [&'static str],
    types: &'static [&'static str],
    is_optional: bool,
}

const TEXT: &[&str] = &["text", "character varying", "character"];
const NUMBER: &[&str] = &["bigint", "integer", "smallint"];
const KEY: &[&str] = &["bigint", "integer", "smallint", "uuid", "text", "character varying"];
const BYTES: &[&str] = &["jsonb", "json", "bytea", "text", "character varying"];
const TIME: &[&str] = &["timestamp with time zone", "timestamp without time zone"];
const ANY_TEXT: &[&str] = &["text", "character varying", "character", "integer", "smallint"];

const fn column(
    names: &'static [&'static str],
    types: &'static [&'static str],
    is_optional: bool,
) -> Column {
    Column { names, types, is_optional }
}

const COLUMNS: [Column; 9] = [
    column(&["id"], KEY, false),
    column(&["aggregate_id"], KEY, false),
    column(&["aggregate_type"], TEXT, false),
    column(&["event_type"], TEXT, false),
    column(&["event_version"], ANY_TEXT, true),
    column(&["data", "payload"], BYTES, false),
    column(&["metadata"], BYTES, false),
    column(&["version", "sequence"], NUMBER, false),
    column(&["created_at"], TIME, false),
];

/// What is known of a table.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// The table's identifier.
    pub(super) table: String,
    /// Whether the ids are integers, which are the positions.
    pub(super) has_numbers: bool,
    /// The type of `aggregate_id`.
    pub(super) aggregate_id: String,
    /// The rows, with a position: the columns that `rows` reads.
    pub(super) select: String,
}

/// Checks that a table is one that can be read whole, and names the column that prevents it.
pub(super) async fn check(client: &Object, table: &str) -> Result<Columns, Error> {
    let quoted_table = table.split('.').map(quoted).collect::<Vec<_>>().join(".");
    let select = "SELECT attname::text, split_part(format_type(atttypid, NULL), '(', 1)
                  FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
    let found = client.query(select, &[&quoted_table]).await?;
    if found.is_empty() {
        return Err(Error::NoTable { table: table.to_owned() });
    }
    let mut present: Vec<(String, String)> = Vec::with_capacity(found.len());
    for row in &found {
        present.push((row.try_get(0)?, row.try_get(1)?));
    }
    let fault = |column: &str, what: String| Error::Column {
        table: table.to_owned(),
        column: column.to_owned(),
        what,
    };
    let mut known = Vec::with_capacity(COLUMNS.len());
    for Column { names, types, is_optional } in &COLUMNS {
        let column = present.iter().find(|(name, _)| names.contains(&name.as_str()));
        let Some((name, of)) = column else {
            if *is_optional {
                known.push(None);
                continue;
            }
            return Err(fault(names[0], "it is missing".into()));
        };
        if !types.contains(&of.as_str()) {
            let types = types.join(", ");
            return Err(fault(name, format!("it has the type {of}; known are {types}")));
        }
        known.push(Some((name.as_str(), of.as_str())));
    }
    let is_known = |name: &str| known.iter().flatten().any(|(known, _)| *known == name);
    if let Some((name, _)) = present.iter().find(|(name, _)| !is_known(name)) {
        let what = "it has no meaning here, and would be lost; read a view without it".to_owned();
        return Err(fault(name, what));
    }
    columns(quoted_table, &known)
}

/// A column's name and type; `None`: the table does not have it.
type Known<'a> = Option<(&'a str, &'a str)>;

fn name(column: &Known<'_>) -> String {
    column.map_or_else(|| "NULL".into(), |it| quoted(it.0))
}

fn text(column: &Known<'_>) -> String {
    format!("{}::text", name(column))
}

fn bytes(column: &Known<'_>) -> String {
    match column {
        Some((name, "bytea")) => quoted(name),
        column => format!("convert_to({}, 'UTF8')", text(column)),
    }
}

fn columns(table: String, known: &[Known<'_>]) -> Result<Columns, Error> {
    let [id, aggregate_id, aggregate_type, event_type, event_version, data, metadata, version, at] =
        known
    else {
        return Err(rows::altered("a column is unknown"));
    };
    let is_json = match data {
        Some((name, "jsonb" | "json")) => format!("{} IS NOT NULL", quoted(name)),
        _ => "false".to_owned(),
    };
    let of_id = id.map_or("", |(_, of)| of);
    let has_numbers = NUMBER.contains(&of_id);
    let (versions, kind, aggregate) = (name(version), text(aggregate_type), text(aggregate_id));
    let at = name(at);
    let position = if has_numbers {
        format!("{}::bigint", name(id))
    } else {
        // Rows of one transaction have one time.
        format!(
            "row_number() OVER (ORDER BY {at}, {versions}, {kind} COLLATE \"C\", {aggregate} COLLATE \"C\")"
        )
    };
    let select = format!(
        "SELECT {position} AS position, {} AS id, {kind} AS kind, {aggregate} AS aggregate,
                {} AS event_type, {} AS event_version, {} AS data, {} AS metadata,
                {versions}::bigint AS version,
                greatest(0, floor(extract(epoch FROM {at}) * 1000000))::bigint AS recorded_at,
                {is_json} AS is_json
         FROM {table}",
        text(id),
        text(event_type),
        text(event_version),
        bytes(data),
        bytes(metadata),
    );
    let aggregate_id = aggregate_id.map_or("text", |(_, of)| of).to_owned();
    Ok(Columns { table, has_numbers, aggregate_id, select })
}
