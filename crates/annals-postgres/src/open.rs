//! Creation and opening of a store: what the server has to be, and what its tables have to look like.
//!
//! Owns the migrations. Must never change a table that has events, except by a migration.

use deadpool_postgres::Object;
use uuid::Uuid;

use crate::sql::{INDEX_BITS, quoted};
use crate::{Error, Positions};

/// The version of the tables, which the last migration makes.
const SCHEMA_VERSION: i32 = 2;
const MIGRATIONS: [&str; 2] =
    [include_str!("../migrations/0001_store.sql"), include_str!("../migrations/0002_fence.sql")];

/// Held while a store is created. Any number that other programs do not use.
const CREATING: i64 = 6_013_282_418_370_041;

/// The columns that have to exist, with their types.
const COLUMNS: [&str; 32] = [
    "checkpoints.name text",
    "checkpoints.position bigint",
    "checkpoints.saved_at timestamp with time zone",
    "events.category text",
    "events.commit_position bigint",
    "events.content_type smallint",
    "events.data bytea",
    "events.event_type text",
    "events.id uuid",
    "events.is_last boolean",
    "events.metadata bytea",
    "events.position bigint",
    "events.recorded_at bigint",
    "events.schema_version integer",
    "events.size integer",
    "events.stream text",
    "events.tags text[]",
    "events.version bigint",
    "head.fence text",
    "head.one boolean",
    "head.position bigint",
    "head.recorded_at bigint",
    "snapshots.key text",
    "snapshots.kind smallint",
    "snapshots.mark bigint",
    "snapshots.saved_at bigint",
    "snapshots.schema_version bigint",
    "snapshots.state bytea",
    "store.id uuid",
    "store.positions text",
    "store.schema_version integer",
    "store.xid_base bigint",
];

/// The unique indexes without which two writers could record the same version or id.
const UNIQUE: [&str; 7] = [
    "checkpoints (name)",
    "events (id)",
    "events (position)",
    "events (stream, version)",
    "head (one)",
    "snapshots (key, kind, mark)",
    "store (one)",
];

/// What is known of an open store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) id: Uuid,
    pub(crate) positions: Positions,
    schema_version: i32,
}

/// Opens the store of a schema, and creates it if `creates` has the positions it is to have.
pub(crate) async fn open(
    client: &Object,
    schema: &str,
    wanted: Option<Positions>,
    creates: bool,
    accepts_loss: bool,
) -> Result<Opened, Error> {
    check_server(client, accepts_loss).await?;
    let exists = "SELECT to_regclass($1) IS NOT NULL";
    let store = format!("{}.store", quoted(schema));
    if !client.query_one(exists, &[&store]).await?.try_get::<_, bool>(0)? {
        if !creates {
            return Err(Error::NoStore { schema: schema.to_owned() });
        }
        create(client, schema, wanted.unwrap_or_default()).await?;
    }
    let mut opened = read(client, schema).await?;
    if opened.schema_version < SCHEMA_VERSION {
        upgrade(client, schema).await?;
        opened = read(client, schema).await?;
    }
    if opened.schema_version != SCHEMA_VERSION {
        let (found, supported) = (opened.schema_version, SCHEMA_VERSION);
        return Err(Error::SchemaVersion { found, supported });
    }
    if let Some(wanted) = wanted.filter(|wanted| *wanted != opened.positions) {
        return Err(Error::OtherPositions { found: opened.positions, wanted });
    }
    check_columns(client, schema).await?;
    check_indexes(client, schema).await?;
    if opened.positions == Positions::Fast {
        go_on(client, schema).await?;
    }
    Ok(opened)
}

async fn check_server(client: &Object, accepts_loss: bool) -> Result<(), Error> {
    let select = "SELECT current_setting('server_version_num')::integer, current_setting('fsync'),
                         current_setting('full_page_writes')";
    let row = client.query_one(select, &[]).await?;
    let version: i32 = row.try_get(0)?;
    if version < 150_000 {
        return Err(Error::ServerTooOld { version: version.unsigned_abs() });
    }
    for (column, setting) in [(1, "fsync"), (2, "full_page_writes")] {
        if !accepts_loss && row.try_get::<_, &str>(column)? == "off" {
            return Err(Error::NotDurable { setting: setting.into() });
        }
    }
    Ok(())
}

/// Creates the tables, unless another program does that at the same time.
async fn create(client: &Object, schema: &str, positions: Positions) -> Result<(), Error> {
    let s = quoted(schema);
    let begin = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({CREATING}); CREATE SCHEMA IF NOT EXISTS {s};"
    );
    client.batch_execute(&begin).await?;
    let exists = "SELECT to_regclass($1) IS NOT NULL";
    if client.query_one(exists, &[&format!("{s}.store")]).await?.try_get::<_, bool>(0)? {
        return Ok(client.batch_execute("COMMIT").await?);
    }
    let migrations = MIGRATIONS.concat().replace("{schema}", &s);
    let (id, positions) = (Uuid::now_v7(), positions.name());
    let statements = format!(
        "{migrations}
         INSERT INTO {s}.store (id, schema_version, positions)
             VALUES ('{id}', {SCHEMA_VERSION}, '{positions}');
         INSERT INTO {s}.head (position, recorded_at) VALUES (0, 0);
         COMMIT;"
    );
    Ok(client.batch_execute(&statements).await?)
}

/// Brings the tables of an earlier version up to date, unless another program does that at the same time.
async fn upgrade(client: &Object, schema: &str) -> Result<(), Error> {
    let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({CREATING});");
    client.batch_execute(&begin).await?;
    let found = read(client, schema).await?.schema_version;
    let done = usize::try_from(found).unwrap_or_default();
    let s = quoted(schema);
    let migrations = MIGRATIONS.get(done..).unwrap_or_default().concat().replace("{schema}", &s);
    let version = SCHEMA_VERSION.max(found);
    let statements =
        format!("{migrations} UPDATE {s}.store SET schema_version = {version}; COMMIT;");
    Ok(client.batch_execute(&statements).await?)
}

async fn read(client: &Object, schema: &str) -> Result<Opened, Error> {
    let select = format!("SELECT id, schema_version, positions FROM {}.store", quoted(schema));
    let row = client.query_opt(&select, &[]).await?;
    let row = row.ok_or_else(|| crate::rows::altered("the row of the store is missing"))?;
    let schema_version: i32 = row.try_get(1)?;
    if schema_version < 1 {
        return Err(Error::SchemaVersion { found: schema_version, supported: SCHEMA_VERSION });
    }
    let positions: &str = row.try_get(2)?;
    let positions = Positions::of_name(positions)
        .ok_or_else(|| crate::rows::altered(format!("the kind of positions is {positions:?}")))?;
    Ok(Opened { id: row.try_get(0)?, positions, schema_version })
}

async fn check_columns(client: &Object, schema: &str) -> Result<(), Error> {
    let select =
        "SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
                  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  JOIN pg_attribute a ON a.attrelid = c.oid
                  WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND a.attnum > 0
                    AND NOT a.attisdropped";
    let rows = client.query(select, &[&schema]).await?;
    let found: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    missing(&COLUMNS, &found, "column")
}

async fn check_indexes(client: &Object, schema: &str) -> Result<(), Error> {
    let select =
        "SELECT c.relname || ' ' || substring(replace(pg_get_indexdef(i.indexrelid), '\"', '') FROM 'btree (.*)$')
                  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                  JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL";
    let rows = client.query(select, &[&schema]).await?;
    let found = rows.iter().map(|row| row.try_get::<_, Option<String>>(0));
    let found: Vec<Option<String>> = found.collect::<Result<_, _>>()?;
    let found: Vec<String> = found.into_iter().flatten().collect();
    missing(&UNIQUE, &found, "unique index")
}

fn missing(wanted: &[&str], found: &[String], what: &str) -> Result<(), Error> {
    match wanted.iter().find(|wanted| !found.iter().any(|it| it == **wanted)) {
        Some(name) => Err(crate::rows::altered(format!("there is no {what} {name}"))),
        None => Ok(()),
    }
}

/// Lets positions go on after the newest one, in a cluster whose transaction ids are lower than those of the cluster that
/// the tables come from.
async fn go_on(client: &Object, schema: &str) -> Result<(), Error> {
    let s = quoted(schema);
    let newest = format!(
        "SELECT coalesce(max(position), 0) >> {INDEX_BITS},
                pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (SELECT xid_base FROM {s}.store)
         FROM {s}.events WHERE position > 0"
    );
    let row = client.query_one(&newest, &[]).await?;
    let (newest, next): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if newest < next {
        return Ok(());
    }
    // The newest event of a transaction that has just ended is one that the snapshot may not have as ended.
    let update = format!(
        "UPDATE {s}.store SET xid_base = xid_base + greatest(0, (SELECT max(position) FROM {s}.events) / {}
             - pg_snapshot_xmax(pg_current_snapshot())::text::bigint - xid_base + 1)",
        1_i64 << INDEX_BITS
    );
    client.execute(&update, &[]).await?;
    Ok(())
}
