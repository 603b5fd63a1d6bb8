//! The command that compares events.
//!
//! Owns its words. Must never do work.

use std::path::PathBuf;

use annals::AsOf;
use clap::Args;

use super::Format;
use crate::values;

/// Print what changed in the data of a stream's events: between two moments, or step by step
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals diff ledger account-1
  annals diff ledger account-1 --from @3 --to @7
  annals diff ledger account-1 --from yesterday --type AddressChanged
  annals diff ledger account-1 --steps --format ndjson

A moment is a version of the stream (@3), a position (1041), or a time, as for --since of `annals read`; it stands for
the last event at or before it. Without --from, the event is compared with the one before it. Values that were
removed are printed after -, added ones after +, each with its path. The order of keys makes no difference;
numbers are compared as they are written. Hidden events count.

A line of NDJSON has the keys stream, from, to, same, and patch: a JSON Patch (RFC 6902) that makes the data of the
second event out of that of the first; null if either is not JSON.")]
pub(crate) struct DiffArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The stream
    pub(crate) stream: String,
    /// The first moment; with --steps, the start (default: the first event)
    #[arg(long, value_name = "@VERSION|POSITION|TIME", value_parser = values::moment_of_stream)]
    pub(crate) from: Option<AsOf>,
    /// The second moment; the newest event by default
    #[arg(long, value_name = "@VERSION|POSITION|TIME", value_parser = values::moment_of_stream)]
    pub(crate) to: Option<AsOf>,
    /// Compare each event with the one before it
    #[arg(long)]
    pub(crate) steps: bool,
    /// Only events of this type; if repeated, of any of the types
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// How to print a difference
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Print times in the local time zone
    #[arg(long)]
    pub(crate) local: bool,
}
