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
Store events from NDJSON: one JSON object, one event, one line. The store is created if missing.

  {\"stream\":\"account-1\",\"type\":\"Opened\",\"data\":{\"owner\":42}}

Keys: stream, type, and data (any JSON, kept byte for byte) or data_base64; and where wanted
id (a UUID), metadata (any JSON) or metadata_base64, tags, schema_version, content_type (\"json\"
or \"binary\", beside data_base64) and commit. version and recorded_at, as `annals export` writes
them, are used by --derive-ids, --resume and --keep-times, and else ignored, as position is. Any other
key is an error.

Consecutive lines with the same \"commit\" value are one commit: all of its events are stored, or
none. Such a commit is complete when a line with another value, or the end of the input, comes.
Other lines are committed in groups of --batch, and at the latest when the input pauses, so that
a producer may wait for an acknowledgement.

A line that is not an event stops the import: its number and what is wrong are reported, nothing
of its commit is stored, everything before that is. With --skip-bad the import goes on without
the line and its commit; a line too broken to tell its commit costs the commits it touches.

Events with ids can be imported again: what is stored already is recognised, counted and left
alone, also where an import was interrupted and also with another --batch. --derive-ids gives ids to
events that have none, and --resume skips what an interrupted import has stored, with ids or without.",
    after_help = "\
Examples:
  annals import ledger events.ndjson
  annals export old | annals import new --keep-times
  annals import ledger events.ndjson --derive-ids --resume
  producer | annals import ledger - --ack | forget-what-is-safe
  annals import ledger events.json --format cloudevents --skip-bad"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct ImportArgs {
    /// The store's directory; created if missing
    pub(crate) store: PathBuf,
    /// The file to read; - is standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// What a line is: the tool's own NDJSON, or CloudEvents 1.0 in JSON
    ///
    /// Of a CloudEvent, the subject or else the source is the stream, an id that is no UUID is
    /// made into one together with the source, and all other attributes become the metadata.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: InputFormat,
    /// How many lines without a "commit" make one commit (fewer if they take over 8 MiB)
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: u32,
    /// Go on after a bad line, without its commit; count and list what was skipped (exit code 0)
    #[arg(long)]
    pub(crate) skip_bad: bool,
    /// Give events without an id one that follows from their place, so that the import can be repeated
    ///
    /// A UUID (version 5) over NAME, the stream, and the line's "version" or else the count of the
    /// stream's lines up to it. The same input gives the same ids; inputs that are stored side by side
    /// need a NAME each. (CloudEvents have ids that follow from source and id anyway.)
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) derive_ids: Option<String>,
    /// Go on after an import of the same input that was interrupted: skip what it has stored
    ///
    /// A line with an id (or --derive-ids) is known by it, any other by its place in its stream, as for
    /// --derive-ids, and by its contents. Streams have to begin with this input then.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Record events at the times that their lines give as "recorded_at" (of CloudEvents: "time")
    ///
    /// The times must not decrease from line to line, nor from what the store holds to them, nor lie
    /// in the future; a line whose time does is a bad line.
    #[arg(long)]
    pub(crate) keep_times: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
    /// Print a line to standard output as each commit becomes durable
    ///
    /// The line is {"first_position":…,"last_position":…,"lines":[first,last]}; a producer can
    /// forget the lines it names. Commits come in the order of the input.
    #[arg(long)]
    pub(crate) ack: bool,
    /// Every commit is on stable storage before it counts (the default)
    #[arg(long, conflicts_with = "buffered")]
    pub(crate) sync: bool,
    /// Leave syncing to intervals, and to the end of the import: faster, and a power loss may
    /// cost the last moments (--ack still speaks only of what is durable)
    #[arg(long)]
    pub(crate) buffered: bool,
    /// The size of new segments, such as 128M, now and later; a commit takes at most a quarter
    #[arg(long, value_name = "SIZE", value_parser = values::segment_size)]
    pub(crate) segment_size: Option<u64>,
    /// The longest line that is read
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

With --id an append can be repeated safely: the second time nothing is written, and the first
result is printed.")]
pub(crate) struct AppendArgs {
    /// The store's directory; created if missing
    pub(crate) store: PathBuf,
    /// The stream, such as account-1
    pub(crate) stream: String,
    /// The event's type, such as Deposited
    #[arg(value_name = "TYPE")]
    pub(crate) event_type: String,
    /// The event's data: JSON, @FILE, or - for standard input; none if left out
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(crate) data: Option<String>,
    /// Take the data as bytes of any kind, not as JSON
    #[arg(long, requires = "data")]
    pub(crate) binary: bool,
    /// Refuse unless the stream is as expected: any, none (no events), exists, or its version
    #[arg(long, value_name = "any|none|exists|N", default_value = "any", value_parser = values::expected)]
    pub(crate) expect: ExpectedVersion,
    /// JSON that is kept beside the data
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub(crate) metadata: Option<String>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// The event's id; generated if left out
    #[arg(long, value_name = "UUID", value_parser = values::event_id)]
    pub(crate) id: Option<Uuid>,
    /// The version of the schema the data follows
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
    /// One event a line, as `annals export` writes them
    #[default]
    Ndjson,
    /// One CloudEvents 1.0 JSON object a line
    Cloudevents,
}
