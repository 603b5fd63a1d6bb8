//! The commands that print events, streams and names: read, query, show, log, export, tail, streams, types.
//!
//! Owns their words, and the query of a filter. Must never do work.

use std::fmt;
use std::path::PathBuf;

use annals::{AsOf, Position, Query, QueryItem, ReadAll, Timestamp, Uuid};
use clap::{Args, ValueEnum};

use super::{Format, Printing};
use crate::values;

/// Which events
#[derive(Debug, Args, Default)]
pub(crate) struct Filter {
    /// Only events of this stream
    #[arg(long, value_name = "NAME", conflicts_with = "category")]
    pub(crate) stream: Option<String>,
    /// Only streams of this category: the part of a stream's name before its first -
    #[arg(long, value_name = "NAME")]
    pub(crate) category: Option<String>,
    /// Only events of this type; if repeated, of any of the types
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Only events with this tag; if repeated, with all of the tags
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

impl Filter {
    /// Whether the filter selects every event.
    pub(crate) fn is_empty(&self) -> bool {
        self.stream.is_none()
            && self.category.is_none()
            && self.types.is_empty()
            && self.tags.is_empty()
            && self.query.is_none()
    }

    /// The read, of the events that the filter selects.
    pub(crate) fn of(&self, read: ReadAll) -> ReadAll {
        let read = if self.is_empty() { read } else { read.matching(self.query(0)) };
        if self.include_hidden { read.include_hidden() } else { read }
    }

    /// The filter as a query for events after `position`.
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

/// When events were recorded
#[derive(Debug, Args, Default)]
pub(crate) struct Period {
    /// Only events recorded at or after this time: '1h ago', 'yesterday', 2026-11-25, '2026-11-25 10:05' (UTC), or
    /// RFC 3339
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) since: Option<Timestamp>,
    /// Only events recorded at or before this time
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    pub(crate) until: Option<Timestamp>,
}

impl Period {
    /// Whether it has no bound.
    pub(crate) fn is_open(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }
}

/// Print events
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals read ledger --stream account-1
  annals read ledger --stream account-1 --backwards --limit 1
  annals read ledger --category account --type Deposited --type Withdrawn --after 1000
  annals read ledger --as-of 2026-01-31 --format ndjson
  annals read ledger --since '1h ago' --type Deposited --count
  annals read ledger --format csv --fields position,recorded_at,stream,data

A line of text is: position, time, stream@version, type, data, tags; on a terminal, data is cut at its
width, and --long prints all of it. For programs, use --format ndjson; its lines can be imported again. Exit code 1 if --stream names a stream that does
not exist.")]
pub(crate) struct ReadArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    #[command(flatten)]
    pub(crate) filter: Filter,
    /// All streams (the default)
    #[arg(long, conflicts_with_all = ["stream", "category"])]
    pub(crate) all: bool,
    /// Only events after this position
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub(crate) after: u64,
    /// Only events from this version of the stream on
    #[arg(long, value_name = "N", requires = "stream", conflicts_with_all = ["since", "until", "count"])]
    pub(crate) from_version: Option<u64>,
    #[command(flatten)]
    pub(crate) period: Period,
    /// Print the number of events instead, from the indexes where they have it
    #[arg(long)]
    pub(crate) count: bool,
    /// At most this many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// The newest first
    #[arg(long)]
    pub(crate) backwards: bool,
    /// The store as it was at a time (2026-01-31T12:00:00Z, or 2026-01-31 for its first moment in
    /// UTC), or at a position (a number)
    #[arg(long, value_name = "TIME|POSITION", value_parser = values::as_of)]
    pub(crate) as_of: Option<AsOf>,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

/// Print the events that a query matches
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals query ledger 'type:Deposited,Withdrawn tag:owner:42'
  annals query ledger 'stream:account-1 or category:audit after:1000' --backwards --limit 10
  annals query ledger 'tag:\"owner:Ann Smith\"' --format ndjson

A query is a list of items separated by `or`, and matches the events that any item matches. An item
is a list of conditions separated by spaces, and matches the events that meet all of them:
  type:A,B      the type is one of these
  tag:T         it has this tag; if repeated, all of the tags
  stream:S      it belongs to this stream
  category:C    its stream has this category
  after:N       its position is greater than this
A value with spaces, commas or quotes is written in quotes, where \\\" and \\\\ stand for \" and \\.
`all` matches every event, and `none` no event. A malformed query is reported with the offset of the
error in bytes, and exit code 2.")]
pub(crate) struct QueryArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The query
    pub(crate) query: Query,
    /// Only events after this position
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    pub(crate) after: u64,
    #[command(flatten)]
    pub(crate) period: Period,
    /// Print the number of events instead, from the indexes where they have it
    #[arg(long)]
    pub(crate) count: bool,
    /// At most this many events
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// The newest first
    #[arg(long)]
    pub(crate) backwards: bool,
    /// The store as it was at a time or a position, as for `annals read`
    #[arg(long, value_name = "TIME|POSITION", value_parser = values::as_of)]
    pub(crate) as_of: Option<AsOf>,
    /// Also events that truncation, archiving or a stream's metadata hides
    #[arg(long)]
    pub(crate) include_hidden: bool,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

/// Print every event as NDJSON that can be imported again (read --all --format ndjson)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals export ledger > ledger.ndjson
  annals export ledger | annals import copy --keep-times

The import reproduces stream, version, position, id, type, data, metadata, tags and commit of every
event, and with --keep-times the time of recording. Hidden events are exported. Cursors, snapshots and the
rules that hide events are not.")]
pub(crate) struct ExportArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
}

/// Print the newest events, and with --follow new ones
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals tail ledger
  annals tail ledger -n 0 --follow --type Deposited --format ndjson
  annals tail ledger --follow --query 'tag:owner:42 or category:audit'")]
pub(crate) struct TailArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Continue with new events as they are stored, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// The number of newest events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    pub(crate) lines: u64,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) printing: Printing,
}

/// Print one event whole, with its commit and its neighbours in the stream
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals show ledger 1041
  annals show ledger account-1@3
  annals show ledger 01938c1e-6f2a-7c3e-9d51-0a6b8e4f2c11

Events are shown whether they are hidden or not.")]
pub(crate) struct ShowArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The event: its position, its id, or its stream and version
    #[arg(value_name = "POSITION|ID|STREAM@VERSION", value_parser = crate::show::event_name)]
    pub(crate) event: EventName,
    /// How to print it; ndjson: the line of `annals export`
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Print times in the local time zone; NDJSON is in UTC in any case
    #[arg(long)]
    pub(crate) local: bool,
}

/// The name of one event.
#[derive(Debug, Clone)]
pub(crate) enum EventName {
    Position(u64),
    Id(Uuid),
    Version(String, u64),
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => write!(f, "at position {position}"),
            Self::Id(id) => write!(f, "with the id {id}"),
            Self::Version(stream, version) => write!(f, "{stream:?}@{version}"),
        }
    }
}

/// Print events whole, the newest first
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals log ledger
  annals log ledger --stream account-1 -n 0
  annals log ledger --since yesterday --type Withdrawn")]
pub(crate) struct LogArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// At most this many events; 0: all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u64,
    #[command(flatten)]
    pub(crate) filter: Filter,
    #[command(flatten)]
    pub(crate) period: Period,
    /// How to print an event
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Print times in the local time zone; NDJSON is in UTC in any case
    #[arg(long)]
    pub(crate) local: bool,
}

/// What `types`, `categories` and `tags` list
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals types ledger
  annals tags ledger --prefix owner: --sort count --limit 10

A line of text is: number of events, name. Every event counts, hidden ones included.")]
pub(crate) struct TermsArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Only names that begin with this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,
    /// Only names after this one
    #[arg(long, value_name = "NAME")]
    pub(crate) after: Option<String>,
    /// At most this many names
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// The order
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sort: TermOrder,
    /// How to print a name
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum TermOrder {
    /// By name
    #[default]
    Name,
    /// Those with the most events first
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum StreamOrder {
    /// By name
    #[default]
    Name,
    /// Those with the most events first
    Size,
    /// Those that were appended to last first
    Changed,
}

/// List streams, with their versions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals streams ledger
  annals streams ledger --category account --sort size --limit 10
  annals streams ledger --prefix account- --format ndjson

A line of text is: version (the number of events), position of the last event, name, and the part that is
hidden.")]
pub(crate) struct StreamsArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Only names that begin with this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,
    /// Only streams of this category: the part of a stream's name before its first -
    #[arg(long, value_name = "NAME")]
    pub(crate) category: Option<String>,
    /// Only names after this one
    #[arg(long, value_name = "NAME")]
    pub(crate) after: Option<String>,
    /// At most this many streams
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// The order
    #[arg(long, value_enum, default_value_t)]
    pub(crate) sort: StreamOrder,
    /// Also streams that are archived, or truncated to their end
    #[arg(long)]
    pub(crate) include_hidden: bool,
    /// How to print a stream
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
