//! The commands for cursors, snapshots, and the visible part of streams.
//!
//! Owns their words. Must never do work.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Format, StreamsArgs, Wait};
use crate::values;

/// Show and move cursors: the named positions of consumers
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  annals cursor list ledger
  annals cursor history ledger emailer --limit 20
  annals cursor set ledger emailer 1200
  annals cursor set ledger emailer 0 --reset

A line of list is: position, lag (the number of events after it), time of the last move or -, name. history has it if
it is not known here. A line of history is: position or \"deleted\", lag at that time, time of the move.

list, history and get work beside a writer, and show the cursors as of its last event. set and delete need
exclusive access, or a service that offers a control socket (crate annals-control) and makes the change: else they
fail while another process has the store open for writing, or wait with --wait.")]
pub(crate) enum CursorCommand {
    /// List all cursors by name
    List(ListCursors),
    /// List the moves of a cursor, newest first
    History(CursorHistory),
    /// Print the position of a cursor
    Get(GetCursor),
    /// Move a cursor forward; with --reset to any position up to the head
    Set(SetCursor),
    /// Delete a cursor
    Delete(DeleteCursor),
}

impl CursorCommand {
    /// The directory of the store that it is about.
    pub(crate) fn store(&self) -> &Path {
        match self {
            Self::List(args) => &args.store,
            Self::History(args) => &args.store,
            Self::Get(args) => &args.store,
            Self::Set(args) => &args.store,
            Self::Delete(args) => &args.store,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListCursors {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// How to print a cursor
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CursorHistory {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The cursor
    pub(crate) name: String,
    /// At most this many moves
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// How to print a move
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct GetCursor {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The cursor
    pub(crate) name: String,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct SetCursor {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The cursor
    pub(crate) name: String,
    /// The new position: the consumer continues with the event after it
    pub(crate) position: u64,
    /// Allow moving back: the events in between are consumed again
    #[arg(long)]
    pub(crate) reset: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteCursor {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The cursor
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Show and delete snapshots: saved states of applications
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  annals snapshot list ledger --prefix account-
  annals snapshot show ledger account-1
  annals snapshot show ledger account-1 --raw | jq .balance
  annals snapshot delete ledger account-1

Snapshots are disposable: an application without one replays the events.")]
pub(crate) enum SnapshotCommand {
    /// List all intact snapshots, by key
    List(ListSnapshots),
    /// Print the newest snapshot of a key
    Show(ShowSnapshot),
    /// Delete all snapshots of a key
    Delete(DeleteSnapshots),
}

impl SnapshotCommand {
    /// The directory of the store that it is about.
    pub(crate) fn store(&self) -> &Path {
        match self {
            Self::List(args) => &args.store,
            Self::Show(args) => &args.store,
            Self::Delete(args) => &args.store,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListSnapshots {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Only keys that begin with this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,
    /// How to print a snapshot
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ShowSnapshot {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The key: a stream, or a name
    pub(crate) key: String,
    /// The newest snapshot at this version of its stream or an earlier one
    #[arg(long, value_name = "N", conflicts_with = "up_to_position")]
    pub(crate) up_to_version: Option<u64>,
    /// The newest snapshot at this position or an earlier one
    #[arg(long, value_name = "N")]
    pub(crate) up_to_position: Option<u64>,
    /// Print the state alone, byte for byte
    #[arg(long, conflicts_with = "format")]
    pub(crate) raw: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteSnapshots {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The key: a stream, or a name
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Show streams, and set which of their events reads show
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  annals stream info ledger account-1
  annals stream truncate ledger account-1 --before 100
  annals stream metadata ledger sensor-7 --max-age 30d --max-count 10000
  annals stream archive ledger account-1
  annals stream list ledger --include-hidden

No event is removed: the log keeps the events, versions continue, and `--include-hidden` reads them.
All but info and list need exclusive access, or a service that offers a control socket (crate annals-control) and
makes the change: else they fail while another process has the store open for writing, or wait with --wait.")]
pub(crate) enum StreamCommand {
    /// Print the version, the last position and the rules of a stream
    Info(StreamInfoArgs),
    /// Hide the events of a stream below a version; a smaller version shows them again
    Truncate(TruncateArgs),
    /// Hide a stream, including events that are appended later
    Archive(ArchiveArgs),
    /// Show an archived stream again
    Unarchive(ArchiveArgs),
    /// Set the maximum age and the maximum number of the events that are shown
    Metadata(MetadataArgs),
    /// List streams by name, as `annals streams` does
    List(StreamsArgs),
}

impl StreamCommand {
    /// The directory of the store that it is about.
    pub(crate) fn store(&self) -> &Path {
        match self {
            Self::Info(args) => &args.stream.store,
            Self::Truncate(args) => &args.stream.store,
            Self::Archive(args) | Self::Unarchive(args) => &args.stream.store,
            Self::Metadata(args) => &args.stream.store,
            Self::List(args) => &args.store,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct StreamArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The stream
    pub(crate) stream: String,
}

#[derive(Debug, Args)]
pub(crate) struct ArchiveArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct StreamInfoArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct TruncateArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    /// The first version that is still shown
    #[arg(long, value_name = "VERSION")]
    pub(crate) before: u64,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct MetadataArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    /// Hide events recorded longer ago than this, such as 30d or 12h; none: no limit
    ///
    /// A limit that is not given keeps its value.
    #[arg(long, value_name = "AGE|none", value_parser = values::age, required_unless_present = "max_count")]
    pub(crate) max_age: Option<Limit<Duration>>,
    /// Hide all events but this number of newest ones; none: no limit
    #[arg(long, value_name = "N|none", value_parser = values::count)]
    pub(crate) max_count: Option<Limit<u64>>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// A limit that is set or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit<T>(pub(crate) Option<T>);
