//! The commands on a store as a whole: its figures, its indexes, and damage to it.
//!
//! Owns their words. Must never do work.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Wait;

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
    #[command(flatten)]
    pub(crate) wait: Wait,
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
    #[command(flatten)]
    pub(crate) wait: Wait,
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
