//! The command line's shape: commands, options, their checks and their help.
//!
//! Owns every word a user types. Must never do work: a value that parses here is well formed,
//! and nothing more is known of it.

#![expect(clippy::doc_markdown, reason = "these comments are the help, which shows no markdown")]

use std::path::PathBuf;

use annals::{AsOf, ExpectedVersion, Position, Query, QueryItem, Uuid};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::values;

mod state;

pub(crate) use state::*;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Work with an annals store: a durable, ordered, queryable history of events in a directory.
#[derive(Debug, Parser)]
#[command(
    name = "annals",
    version,
    styles = STYLES,
    arg_required_else_help = true,
    after_help = "\
Examples:
  annals append ledger account-1 Opened --data '{\"owner\":42}'
  annals read ledger --stream account-1
  annals export ledger > ledger.ndjson
  annals import copy ledger.ndjson
  annals tail ledger --follow
  annals query ledger 'type:Deposited tag:owner:42 or category:audit'

Reading commands work beside a running writer and never change a store; repair and recover need
a store that nobody writes to.

Exit codes:
  0    all is well; a reader that closes the pipe early counts as that
  1    the store or the data is at fault
  2    the command line is at fault
  130  interrupted (Ctrl-C, SIGTERM); what was reported as stored is stored
  141  the reader of `import --ack` went away, so the import stopped"
)]
pub(crate) struct Cli {
    /// No progress bar and no summary; errors are still reported
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Import(ImportArgs),
    Append(AppendArgs),
    Read(ReadArgs),
    Query(QueryArgs),
    Export(ExportArgs),
    Tail(TailArgs),
    Streams(StreamsArgs),
    #[command(subcommand)]
    Stream(StreamCommand),
    #[command(subcommand)]
    Cursor(CursorCommand),
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    Stats(StatsArgs),
    Verify(VerifyArgs),
    Compact(CompactArgs),
    Repair(RepairArgs),
    Recover(RecoverArgs),
    Completions(CompletionsArgs),
}

/// Store events from lines of JSON
#[derive(Debug, Args)]
#[command(
    long_about = "\
Store events from NDJSON: one JSON object, one event, one line. The store is created if missing.

  {\"stream\":\"account-1\",\"type\":\"Opened\",\"data\":{\"owner\":42}}

Keys: stream, type, and data (any JSON, kept byte for byte) or data_base64; and where wanted
id (a UUID), metadata (any JSON) or metadata_base64, tags, schema_version, content_type (\"json\"
or \"binary\", beside data_base64) and commit. position, version and recorded_at, as `annals
export` writes them, are ignored. Any other key is an error.

Consecutive lines with the same \"commit\" value are one commit: all of its events are stored, or
none. Such a commit is complete when a line with another value, or the end of the input, comes.
Other lines are committed in groups of --batch, and at the latest when the input pauses, so that
a producer may wait for an acknowledgement.

A line that is not an event stops the import: its number and what is wrong are reported, nothing
of its commit is stored, everything before that is. With --skip-bad the import goes on without
the line and its commit; a line too broken to tell its commit costs the commits it touches.

Events with ids can be imported again: what is stored already is recognised, counted and left
alone, also where an import was interrupted and also with another --batch.",
    after_help = "\
Examples:
  annals import ledger events.ndjson
  annals export old | annals import new
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
    /// The size of new segments, such as 128M; a commit takes at most a quarter
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
    #[arg(long, value_name = "UUID")]
    pub(crate) id: Option<Uuid>,
    /// The version of the schema the data follows
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) schema_version: u16,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Which events
#[derive(Debug, Args, Default)]
pub(crate) struct Filter {
    /// Only events of this stream
    #[arg(long, value_name = "NAME", conflicts_with = "category")]
    pub(crate) stream: Option<String>,
    /// Only streams of this category: the part of a stream's name before its first -
    #[arg(long, value_name = "NAME")]
    pub(crate) category: Option<String>,
    /// Only events of this type; repeated: of any of the types
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Only events with this tag; repeated: with all of the tags
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Only events that a query matches, such as 'type:A,B tag:x or category:c'
    ///
    /// See `annals query --help`.
    #[arg(long, value_name = "QUERY", conflicts_with_all = ["stream", "category", "types", "tags"])]
    pub(crate) query: Option<Query>,
    /// Also events that truncation, archiving or a stream's metadata hides
    #[arg(long)]
    pub(crate) include_hidden: bool,
}

/// Print events
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals read ledger --stream account-1
  annals read ledger --stream account-1 --backwards --limit 1
  annals read ledger --category account --type Deposited --type Withdrawn --after 1000
  annals read ledger --as-of 2026-01-31 --format ndjson

A line of text is: position, time, stream@version, type, data, tags. For programs, use
--format ndjson; its lines can be imported again.")]
pub(crate) struct ReadArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// Every stream (the default)
    #[arg(long, conflicts_with_all = ["stream", "category"])]
    pub(crate) all: bool,
    /// Only events after this position
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub(crate) after: u64,
    /// Only events from this version of the stream on
    #[arg(long, value_name = "N", requires = "stream")]
    pub(crate) from_version: Option<u64>,
    /// At most this many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// The newest first
    #[arg(long)]
    pub(crate) backwards: bool,
    /// The past: as it was at a time (2026-01-31T12:00:00Z, or 2026-01-31 for its first moment
    /// in UTC), or at a position (a number)
    #[arg(long, value_name = "TIME|POSITION", value_parser = values::as_of)]
    pub(crate) as_of: Option<AsOf>,
    /// How to print an event
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Print the events that a query matches, as NDJSON
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals query ledger 'type:Deposited,Withdrawn tag:owner:42'
  annals query ledger 'stream:account-1 or category:audit after:1000' --backwards --limit 10
  annals query ledger 'tag:\"owner:Ann Smith\"' --format text

A query is items with `or` between them, and matches what one of them matches. An item is
conditions with spaces between them, and matches what all of them match:
  type:A,B      the type is one of these
  tag:T         it has this tag; repeated: all of the tags
  stream:S      it is of this stream
  category:C    its stream is of this category
  after:N       it lies after this position
Values that hold spaces, commas or quotes go into quotes, where \\\" and \\\\ stand for \" and \\.
`all` matches every event, and `none` none. A query that cannot be read is reported with the byte
where it goes wrong, and exit code 2.")]
pub(crate) struct QueryArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The query
    pub(crate) query: Query,
    /// Only events after this position
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub(crate) after: u64,
    /// At most this many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// The newest first
    #[arg(long)]
    pub(crate) backwards: bool,
    /// The past: as it was at a time or a position, as for `annals read`
    #[arg(long, value_name = "TIME|POSITION", value_parser = values::as_of)]
    pub(crate) as_of: Option<AsOf>,
    /// Also events that truncation, archiving or a stream's metadata hides
    #[arg(long)]
    pub(crate) include_hidden: bool,
    /// How to print an event
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    pub(crate) format: Format,
}

/// Print every event as NDJSON that can be imported again (read --all --format ndjson)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals export ledger > ledger.ndjson
  annals export ledger | annals import copy

The import gives every event its stream, version, position, id, type, data, metadata, tags and
commit again; only the time of recording is new. Events that are hidden are among them: what is
hidden, cursors and snapshots are not.")]
pub(crate) struct ExportArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
}

/// Print the newest events, and follow new ones
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals tail ledger
  annals tail ledger -n 0 --follow --type Deposited --format ndjson
  annals tail ledger --follow --query 'tag:owner:42 or category:audit'")]
pub(crate) struct TailArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Go on with new events as they are stored, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many of the newest events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(crate) lines: u64,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// How to print an event
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// List streams by name, with their versions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals streams ledger
  annals streams ledger --prefix account- --format ndjson

A line of text is: version (the number of events), position of the last event, name, and what is
hidden of it.")]
pub(crate) struct StreamsArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Only names that start so
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,
    /// Also streams that are archived, or truncated to their end
    #[arg(long)]
    pub(crate) include_hidden: bool,
    /// How to print a stream
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// Print a store's figures
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals stats ledger
  annals stats ledger --format json | jq .events")]
pub(crate) struct StatsArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: StatsFormat,
}

/// Read every byte of a store and report damage
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals verify ledger

Each fault is printed as: FILE offset N: what is wrong. Exit code 1 if there is any. It works
beside a running writer, and on a store so damaged that it does not open.")]
pub(crate) struct VerifyArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
}

/// Merge the indexes of sealed segments, so that look-ups touch fewer files
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals compact ledger

A store that is open does this by itself, in the background. No event is rewritten. It needs the
store for itself; interrupted, it leaves what it has finished.")]
pub(crate) struct CompactArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
}

/// Copy every intact commit of a damaged store into a new one, and report what is missing
#[derive(Debug, Args)]
#[command(
    long_about = "\
Copy every intact commit of a damaged store into a new store. The damaged one is not touched.

Events keep their ids, contents and recorded times. Up to the first missing event everything keeps
its position and version too; behind it the numbers close ranks, and the report says which became
which. A commit of which one event is damaged is lost as a whole.",
    after_help = "\
Examples:
  annals repair ledger --to repaired
  annals repair ledger --to repaired --stop-at-damage --report report.json

The report is printed, and written as JSON to --report. Exit code 0 if the new store is there,
also if events are missing from it: the report, and its key \"missing_events\", tell."
)]
pub(crate) struct RepairArgs {
    /// The damaged store's directory
    pub(crate) store: PathBuf,
    /// The directory for the new store; missing or empty
    #[arg(long, value_name = "NEWDIR")]
    pub(crate) to: PathBuf,
    /// Keep only what lies before the first missing event, so that no position and no version changes
    #[arg(long)]
    pub(crate) stop_at_damage: bool,
    /// Where to write the report; NEWDIR/repair-report.json if left out
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Make a store that has lost events open for writing again, by cutting it off at the damage
#[derive(Debug, Args)]
#[command(
    long_about = "\
A store that has lost acknowledged events is refused for writing. This cuts it off at the damage,
if you say so: everything up to --cut-after is kept, everything behind it goes to quarantine/ in the
store's directory, also what is intact.

Without --cut-after nothing is changed: what is lost is printed, and the position to give. To keep
what is intact behind the damage, use annals repair instead, or before.",
    after_help = "\
Examples:
  annals recover ledger --accept-loss
  annals recover ledger --accept-loss --cut-after 1041

Exit code 1 if nothing was cut: no --cut-after, another position than the one named, or no loss."
)]
pub(crate) struct RecoverArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Give up acknowledged events
    #[arg(long, required = true)]
    pub(crate) accept_loss: bool,
    /// The last position that is kept, as named without this option
    #[arg(long, value_name = "POSITION")]
    pub(crate) cut_after: Option<u64>,
}

/// Print a script that completes this command in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals completions bash > ~/.local/share/bash-completion/completions/annals
  annals completions fish > ~/.config/fish/completions/annals.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Ndjson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum StatsFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object
    #[value(alias = "ndjson")]
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum InputFormat {
    /// One event a line, as `annals export` writes them
    #[default]
    Ndjson,
    /// One CloudEvents 1.0 JSON object a line
    Cloudevents,
}

impl Filter {
    /// Whether it lets every event through.
    pub(crate) fn is_empty(&self) -> bool {
        self.stream.is_none()
            && self.category.is_none()
            && self.types.is_empty()
            && self.tags.is_empty()
            && self.query.is_none()
    }

    /// The query that it asks, for events after `position`.
    pub(crate) fn query(&self, position: u64) -> Query {
        if let Some(query) = &self.query {
            return query.clone().after(Position::new(position));
        }
        let item = QueryItem::new().types(self.types.clone()).tags(self.tags.clone());
        let item = match (&self.stream, &self.category) {
            (Some(stream), _) => item.stream(stream.clone()),
            (None, Some(category)) => item.category(category.clone()),
            (None, None) => item,
        };
        item.after(Position::new(position)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
