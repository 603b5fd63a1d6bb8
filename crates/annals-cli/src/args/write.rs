//! The commands that store events: import and append.
//!
//! Owns their words. Must never do work.

use std::path::PathBuf;

use annals::{ExpectedVersion, Uuid};
use clap::{Args, ValueEnum};

use super::{Format, Wait};
use crate::values;

/// Store events from lines of JSON
#[derive(Debug, Args)]
#[command(
    long_about = "\
Store events from NDJSON: each line is a JSON object, and an event. The store is created if missing.

  {\"stream\":\"account-1\",\"type\":\"Opened\",\"data\":{\"owner\":42}}

Required keys: stream, type, and data (any JSON, stored byte for byte) or data_base64. Optional: id (a
UUID), metadata (any JSON) or metadata_base64, tags, schema_version, content_type (\"json\" or
\"binary\", with data_base64) and commit. version and recorded_at, as `annals export` writes them, are
used by --derive-ids, --resume and --keep-times, and ignored without these; position and
salvaged_from are ignored. Any other key is an error.

Consecutive lines with the same \"commit\" value are one commit: all of its events are stored, or
none. Such a commit ends before a line with another value, or at the end of the input. Other lines are
committed in groups of --batch, and at the latest when the input pauses, so that a producer can wait
for an acknowledgement.

A line that is not an event stops the import: its number and the error are reported, nothing of its
commit is stored, and all earlier commits are. With --skip-bad the import continues without the line
and its commit; a line whose commit cannot be read also skips the commits next to it.

Events with ids can be imported again: events that are stored already are recognised and counted, also
after an interrupted import and with another --batch. --derive-ids gives ids to events without one,
and --resume skips what an interrupted import has stored, with or without ids.",
    after_help = "\
Examples:
  annals import ledger events.ndjson
  annals export old | annals import new --keep-times
  annals import ledger events.ndjson --derive-ids --resume
  producer | annals import ledger - --ack | forget-what-is-safe
  annals import ledger events.json --format cloudevents --skip-bad
  psql -c '\\copy (SELECT * FROM events ORDER BY id) TO STDOUT CSV HEADER' |
    annals import ledger --format postgres-csv --keep-times"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct ImportArgs {
    /// The store's directory; created if missing
    pub(crate) store: PathBuf,
    /// The file to read; - for standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// The format of the input: the NDJSON of this tool, CloudEvents 1.0 in JSON, or rows of a table
    ///
    /// The stream of a CloudEvent is its subject, or its source if it has none. Its event id is
    /// derived from source and id unless the id is a UUID. All other attributes become the
    /// metadata.
    ///
    /// The stream of a row is aggregate_type-aggregate_id, and the versions of a stream must count from
    /// 1 in the order of the rows: order them by id. With --keep-times, a created_at before that of the
    /// row before becomes the same. An id that is not a UUID becomes the tag row:ID.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: InputFormat,
    /// The number of lines without a "commit" per commit (fewer if they take over 8 MiB)
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Continue after a bad line, without its commit; count and list the skipped lines (exit code
    /// 0)
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Derive an id for events without one from their place, so that the import can be repeated
    ///
    /// The id is a UUID (version 5) over NAME, the stream, and the line's "version" or the number of
    /// lines of the stream up to it. The same input gives the same ids; different inputs need
    /// different NAMEs. (The ids of CloudEvents are always derived from source and id.)
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) derive_ids: Option<String>,
    /// Continue an interrupted import of the same input: skip the events that are stored
    ///
    /// A line with an id (or --derive-ids) is recognised by the id, any other by its place in its
    /// stream, as for --derive-ids, and its contents; the streams must begin with this input.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Record events at the "recorded_at" of their lines (of CloudEvents: "time")
    ///
    /// The times must not decrease, must not be before the last event of the store, and must not be
    /// in the future; a line with another time is a bad line.
    #[arg(long)]
    pub(crate) keep_times: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
    /// Print a line to standard output as each commit becomes durable
    ///
    /// The line is {"first_position":…,"last_position":…,"lines":[first,last]}: these lines of the
    /// input are durable. Commits are in the order of the input.
    #[arg(long)]
    pub(crate) ack: bool,
    /// Sync every commit before it counts as stored (the default)
    #[arg(long, conflicts_with = "buffered")]
    pub(crate) sync: bool,
    /// Sync in intervals and at the end of the import: faster, and a power loss may lose the newest
    /// events (--ack still prints durable commits only)
    #[arg(long)]
    pub(crate) buffered: bool,
    /// The size of new segments, such as 128M, which the store remembers; a commit takes at most a
    /// quarter
    #[arg(long, value_name = "SIZE", value_parser = values::segment_size)]
    pub(crate) segment_size: Option<u64>,
    /// The length of the longest accepted line
    #[arg(long, value_name = "SIZE", default_value = "96M", value_parser = values::size)]
    pub(crate) max_line: u64,
}

/// Store one event
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals append ledger account-1 Opened --data '{\"owner\":42}' --expect none
  annals append ledger account-1 Deposited --data @deposit.json --tag owner:42
  annals append ledger photo-7 Taken --binary --data - < photo.jpg

With --id an append can be repeated: the second time nothing is written, and the first result is
printed.")]
pub(crate) struct AppendArgs {
    /// The store's directory; created if missing
    pub(crate) store: PathBuf,
    /// The stream, such as account-1
    pub(crate) stream: String,
    /// The event's type, such as Deposited
    #[arg(value_name = "TYPE")]
    pub(crate) event_type: String,
    /// The event's data: JSON, @FILE, or - for standard input; empty by default
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// Store the data as binary, without checking that it is JSON
    #[arg(long, requires = "data")]
    pub(crate) binary: bool,
    /// The expected state of the stream: any, none (no events), exists, or its version
    #[arg(long, value_name = "any|none|exists|N", default_value = "any", value_parser = values::expected)]
    pub(crate) expect: ExpectedVersion,
    /// The event's metadata, JSON
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) metadata: Option<String>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// The event's id; generated by default
    #[arg(long, value_name = "UUID", value_parser = values::event_id)]
    pub(crate) id: Option<Uuid>,
    /// The schema version of the data
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) schema_version: u16,
    #[command(flatten)]
    pub(crate) wait: Wait,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum InputFormat {
    /// One event per line, as `annals export` writes them
    #[default]
    Ndjson,
    /// One CloudEvents 1.0 JSON object per line
    Cloudevents,
    /// The classic PostgreSQL table of events as CSV with a header: aggregate_id, aggregate_type,
    /// event_type, data or payload, version or sequence; id, metadata, event_version and created_at,
    /// if there are
    PostgresCsv,
    /// The text form of COPY of the columns id, aggregate_id, aggregate_type, event_type, data,
    /// metadata, version, created_at, or of those that a first line COPY events (...) FROM stdin; names
    PostgresCopy,
}
