//! The commands that move a history to another place.
//!
//! Owns their words. Must never do work.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::values;

/// Copy a history to another place, or move there
#[derive(Debug, Args)]
#[command(
    long_about = "\
Copy the events and checkpoints of a store to another place, and compare every event of both.

Order, versions, event ids, times, content types, metadata, tags and the boundaries of commits are kept,
and positions as well between places that count them without gaps. An interrupted copy is continued by the
same command. Between directories, records and hidden streams are copied too. Snapshots are not.

With --follow or --switch the command ends when the source is fenced: nothing can be appended to it any more,
and the target has everything.",
    after_help = "\
Places:
  DIRECTORY
  postgres://USER@HOST/DATABASE?schema=annals    a store; &positions=fast creates one with such positions
  postgres://USER@HOST/DATABASE?table=events     a classic table of events, to copy from
  nats://USER:PASSWORD@HOST?name=annals          a store; as a target with &durability=synced or replicated

Examples:
  annals copy ledger /mnt/ledger
  annals copy ledger postgres://app@db/app --follow     and later: annals fence raise ledger
  annals copy ledger postgres://app@db/app --switch --wait
  annals copy postgres://app@db/app ledger --map positions.map

The password of a server can be in the environment, as PGPASSWORD."
)]
pub(crate) struct CopyArgs {
    /// The place to copy from
    pub(crate) from: String,
    /// The place to copy to: empty, or a beginning of the same copy
    pub(crate) to: String,
    /// Go on copying until the source is fenced
    #[arg(long, conflicts_with = "switch")]
    pub(crate) follow: bool,
    /// Fence the source once little is left to copy
    #[arg(long)]
    pub(crate) switch: bool,
    /// Let the fence wait until the program that writes the directory has closed it: at most this long,
    /// such as --wait=30s, or without a value until it is closed
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
          default_missing_value = "forever", value_parser = values::wait)]
    pub(crate) wait: Option<Duration>,
    /// Write a table of old and new positions to this file, for `annals position`
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    /// Leave out records and what streams hide, where the target cannot keep them
    #[arg(long)]
    pub(crate) leave_out: bool,
    /// The size of a new directory's segments, such as 16M
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) segment_size: Option<u64>,
}

/// Fence a store, so that nothing is appended to it any more
#[derive(Debug, Subcommand)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  annals fence raise ledger --to postgres://app@db/app --wait
  annals fence show ledger
  annals fence lift ledger"
)]
pub(crate) enum FenceCommand {
    Raise(RaiseFence),
    Lift(Place),
    Show(Place),
}

/// Fence a store: from now on it cannot be opened for writing
#[derive(Debug, Args)]
pub(crate) struct RaiseFence {
    /// The store
    pub(crate) place: String,
    /// Where its history goes on, for the errors of programs that open it
    #[arg(long, value_name = "PLACE", default_value = "another place")]
    pub(crate) to: String,
    /// Wait until the program that writes the directory has closed it: at most this long, such as
    /// --wait=30s, or without a value until it is closed
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
          default_missing_value = "forever", value_parser = values::wait)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The store
    pub(crate) place: String,
}

/// Print the new positions for old ones, from the table of a copy
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals position positions.map 1234567

The new position is that of the last event at or before the old one; 0 if there is none.")]
pub(crate) struct PositionArgs {
    /// The file that `annals copy --map` has written
    pub(crate) map: PathBuf,
    /// The old positions
    #[arg(required = true)]
    pub(crate) positions: Vec<u64>,
}
