//! The commands that print events and streams: read, query, export, tail, streams.
//!
//! Owns their words, and the query of a filter. Must never do work.

use std::path::PathBuf;

use annals::{AsOf, Position, Query, QueryItem};
use clap::Args;

use super::Format;
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

/// Print events
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals read ledger --stream account-1
  annals read ledger --stream account-1 --backwards --limit 1
  annals read ledger --category account --type Deposited --type Withdrawn --after 1000
  annals read ledger --as-of 2026-01-31 --format ndjson

A line of text is: position, time, stream@version, type, data, tags. For programs, use
--format ndjson; its lines can be imported again. Exit code 1 if --stream names a stream that does
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
    #[arg(long, value_name = "N", requires = "stream")]
    pub(crate) from_version: Option<u64>,
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
    /// How to print an event
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    pub(crate) format: Format,
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

A line of text is: version (the number of events), position of the last event, name, and the part that is
hidden.")]
pub(crate) struct StreamsArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Only names that begin with this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,
    /// Also streams that are archived, or truncated to their end
    #[arg(long)]
    pub(crate) include_hidden: bool,
    /// How to print a stream
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}
