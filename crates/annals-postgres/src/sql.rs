//! The statements of the store.
//!
//! Owns their texts, with the names of the tables. Must never send one.

use crate::Positions;

/// The columns of an event, in the order in which `rows` reads them.
pub(crate) const COLUMNS: &str = "position, commit_position, is_last, id, stream, version, event_type, \
     schema_version, content_type, recorded_at, tags, data, metadata";

/// Number of bits of a fast position that count the events of a transaction.
pub(crate) const INDEX_BITS: u32 = 16;

#[derive(Debug)]
pub(crate) struct Sql {
    /// The schema, quoted.
    pub(crate) schema: String,
    /// The greatest position that is visible, as an expression. In a fast store no event has the position itself.
    pub(crate) limit: String,
    pub(crate) head: String,
    pub(crate) lock_head: String,
    pub(crate) lock_streams: String,
    pub(crate) transaction: String,
    pub(crate) versions: String,
    pub(crate) events_by_id: String,
    pub(crate) checkpoints: String,
    pub(crate) insert: String,
    pub(crate) move_head: String,
    pub(crate) save_checkpoints: String,
    pub(crate) reset_checkpoint: String,
    pub(crate) newest_time: String,
    pub(crate) save_snapshot: String,
    pub(crate) drop_snapshots: String,
    pub(crate) load_snapshot: String,
    pub(crate) stream_forwards: String,
    pub(crate) stream_backwards: String,
    pub(crate) at_or_after: String,
}

/// The identifier of a name.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The current time of the server, in microseconds: clocks of clients may differ.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

impl Sql {
    pub(crate) fn new(schema: &str, positions: Positions) -> Self {
        let s = quoted(schema);
        let events = format!("{s}.events");
        let limit = match positions {
            Positions::Dense => format!("(SELECT position FROM {s}.head)"),
            // Each transaction with a lower id has ended, and no later one gets one.
            Positions::Fast => format!(
                "(SELECT ((pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xid_base) << {INDEX_BITS}) - 1
                  FROM {s}.store)"
            ),
        };
        let head = match positions {
            Positions::Dense => format!("SELECT position, position FROM {s}.head"),
            Positions::Fast => format!(
                "SELECT coalesce((SELECT position FROM {events} WHERE position <= {limit}
                                  ORDER BY position DESC LIMIT 1), 0),
                        coalesce((SELECT position FROM {events} ORDER BY position DESC LIMIT 1), 0)"
            ),
        };
        Self {
            head,
            lock_head: format!(
                "SELECT position, recorded_at, pg_current_xact_id()::text::bigint, {NOW}, fence
                 FROM {s}.head FOR UPDATE"
            ),
            lock_streams: "SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) key".into(),
            transaction: format!(
                "SELECT xid_base, 0::bigint, pg_current_xact_id()::text::bigint, {NOW},
                        (SELECT fence FROM {s}.head)
                 FROM {s}.store"
            ),
            versions: format!(
                "SELECT name, newest.version FROM unnest($1::text[]) name
                 CROSS JOIN LATERAL (SELECT version FROM {events} WHERE stream = name
                                     ORDER BY version DESC LIMIT 1) newest"
            ),
            events_by_id: format!("SELECT {COLUMNS} FROM {events} WHERE id = ANY ($1)"),
            checkpoints: format!("SELECT name, position FROM {s}.checkpoints WHERE name = ANY ($1)"),
            insert: insert(&events),
            move_head: format!("UPDATE {s}.head SET position = $1, recorded_at = $2"),
            save_checkpoints: format!(
                "INSERT INTO {s}.checkpoints (name, position)
                 SELECT * FROM unnest($1::text[], $2::bigint[])
                 ON CONFLICT (name) DO UPDATE SET position = excluded.position, saved_at = now()"
            ),
            // A row unless the store is fenced. The lock waits for a fence that is being raised.
            reset_checkpoint: format!(
                "WITH open AS (SELECT FROM {s}.head WHERE fence IS NULL FOR SHARE)
                 INSERT INTO {s}.checkpoints (name, position) SELECT $1::text, $2::bigint FROM open
                 ON CONFLICT (name) DO UPDATE SET position = excluded.position, saved_at = now()"
            ),
            newest_time: format!("SELECT recorded_at FROM {events} ORDER BY position DESC LIMIT 1"),
            save_snapshot: format!(
                "INSERT INTO {s}.snapshots AS saved (key, kind, mark, schema_version, saved_at, state)
                 VALUES ($1, $2, $3, $4, {NOW}, $5)
                 ON CONFLICT (key, kind, mark) DO UPDATE
                 SET schema_version = excluded.schema_version, saved_at = excluded.saved_at,
                     state = excluded.state
                 WHERE saved.schema_version < excluded.schema_version"
            ),
            drop_snapshots: format!(
                "DELETE FROM {s}.snapshots WHERE key = $1 AND kind = $2 AND mark <
                     (SELECT mark FROM {s}.snapshots WHERE key = $1 AND kind = $2
                      ORDER BY mark DESC OFFSET 3 LIMIT 1)"
            ),
            load_snapshot: format!(
                "SELECT mark, schema_version, saved_at, state FROM {s}.snapshots
                 WHERE key = $1 AND kind = $2 AND mark <= $3 ORDER BY mark DESC LIMIT 1"
            ),
            stream_forwards: stream_page(&events, false),
            stream_backwards: stream_page(&events, true),
            at_or_after: format!(
                "SELECT position, recorded_at FROM {events} WHERE position >= $1 AND position <= {limit}
                 ORDER BY position LIMIT 1"
            ),
            limit,
            schema: s,
        }
    }

    /// A page of the events that a condition selects: at most `$3` events of `$4` bytes or little more, after `$1` and up
    /// to `$2`, or before `$2` and after `$1`. The last columns are the number of events before the limit of bytes, and
    /// the greatest visible position.
    pub(crate) fn page(&self, condition: &str, backwards: bool) -> String {
        let (events, limit) = (format!("{}.events", self.schema), &self.limit);
        let order = if backwards { "DESC" } else { "ASC" };
        format!(
            "SELECT {COLUMNS}, taken, visible FROM (
                 SELECT {COLUMNS}, count(*) OVER () AS taken, {limit} AS visible,
                        sum(size) OVER (ORDER BY position {order} ROWS UNBOUNDED PRECEDING) - size AS bytes
                 FROM (SELECT {COLUMNS}, size FROM {events}
                       WHERE position > $1 AND position <= least($2, {limit}) AND ({condition})
                       ORDER BY position {order} LIMIT $3) candidates
             ) page WHERE bytes < $4 ORDER BY position {order}"
        )
    }

    /// The newest position after `$1` that a condition selects.
    pub(crate) fn boundary(&self, condition: &str) -> String {
        let schema = &self.schema;
        format!("SELECT max(position) FROM {schema}.events WHERE position > $1 AND ({condition})")
    }
}

/// A page of a stream `$1` from version `$2` to `$3`, up to position `$4`: at most `$5` events of `$6` bytes or little
/// more. The last columns are the number of events before the limit of bytes, and the version of the stream.
fn stream_page(events: &str, backwards: bool) -> String {
    let order = if backwards { "DESC" } else { "ASC" };
    format!(
        "SELECT {COLUMNS}, taken, newest FROM (
             SELECT {COLUMNS}, count(*) OVER () AS taken,
                    (SELECT max(version) FROM {events} WHERE stream = $1) AS newest,
                    sum(size) OVER (ORDER BY version {order} ROWS UNBOUNDED PRECEDING) - size AS bytes
             FROM (SELECT {COLUMNS}, size FROM {events}
                   WHERE stream = $1 AND version >= $2 AND version <= $3 AND position <= $4
                   ORDER BY version {order} LIMIT $5) candidates
         ) page WHERE bytes < $6 ORDER BY version {order}"
    )
}

/// Tags are passed as one list; an event has those from one index to another.
fn insert(events: &str) -> String {
    format!(
        "INSERT INTO {events} (position, commit_position, is_last, id, stream, version, event_type,
                               schema_version, content_type, recorded_at, size, tags, data, metadata)
         SELECT position, commit_position, is_last, id, stream, version, event_type, schema_version,
                content_type, recorded_at, octet_length(data) + octet_length(metadata),
                coalesce(($12::text[])[tags_from:tags_to], '{{}}'), data, metadata
         FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::uuid[], $5::text[], $6::bigint[],
                     $7::text[], $8::integer[], $9::smallint[], $10::integer[], $13::integer[],
                     $14::bytea[], $15::bytea[], $11::bigint[])
              AS new (position, commit_position, is_last, id, stream, version, event_type,
                      schema_version, content_type, tags_from, tags_to, data, metadata, recorded_at)"
    )
}
