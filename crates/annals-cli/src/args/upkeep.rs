//! The commands for a whole store: its counters, its indexes, and damage.
//!
//! Owns their words. Must never do work.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Wait;

/// Print a store's counters and sizes
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

Each fault is printed as: FILE offset N: description. The exit code is 1 if there is any fault. It works
beside a running writer, and on a store that does not open because it is damaged.")]
pub(crate) struct VerifyArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
}

/// Copy a store, also while it is in use, or bring such a copy up to now
#[derive(Debug, Args)]
#[command(
    long_about = "\
Copy a store, as it is at one moment, into a directory. It works beside a running writer, which goes on.

The directory has to be empty, or missing, or hold an earlier backup of the same store: then only what is
new is copied. On the file system of the store, files that never change are linked instead of copied. If
the command is interrupted, the earlier backup is whole, and the next run continues.",
    after_help = "\
Examples:
  annals backup ledger /mnt/backup/ledger
  annals backup ledger nightly && annals verify nightly

The copy is a store: read it as it is, or copy it back. Once it is opened for writing, it is a store of
its own and takes no more backups."
)]
#[cfg_attr(
    feature = "backup",
    command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)
)]
pub(crate) struct BackupArgs {
    /// The store's directory
    #[arg(required = true)]
    pub(crate) store: Option<PathBuf>,
    /// The directory of the backup
    #[arg(value_name = "DIR", required = true)]
    pub(crate) to: Option<PathBuf>,
    #[cfg(feature = "backup")]
    #[command(subcommand)]
    pub(crate) remote: Option<super::BackupCommand>,
}

/// Merge the index files of sealed segments, so that look-ups read fewer files
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals compact ledger

An open store does this in the background. No event is rewritten. The command needs exclusive access;
if it is interrupted, the finished merges remain.")]
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
Copy every intact commit of a damaged store into a new store. The damaged store is not changed.

Events keep their ids, contents and recorded times. Up to the first missing event they keep positions
and versions; after it they are numbered without gaps, and the report maps the old numbers to the new
ones. A commit with a damaged event is lost as a whole; --salvage keeps its intact events in a file.",
    after_help = "\
Examples:
  annals repair ledger --to repaired
  annals repair ledger --to repaired --from nightly
  annals repair ledger --to repaired --salvage intact.ndjson
  annals repair ledger --to repaired --stop-at-damage --report report.json

The report is printed, and written as JSON to --report. The exit code is 0 if the new store was written,
also if events are missing from it: see the key \"missing_events\" of the report."
)]
pub(crate) struct RepairArgs {
    /// The damaged store's directory
    pub(crate) store: PathBuf,
    /// The directory for the new store; missing or empty
    #[arg(long, value_name = "NEWDIR")]
    pub(crate) to: PathBuf,
    /// Keep only what precedes the first missing event, so that no position and no version changes
    #[arg(long)]
    pub(crate) stop_at_damage: bool,
    /// Take damaged and missing commits from this directory: a backup of the same store, of any age, or its
    /// log/ with some of the segments. Nothing in it is changed
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Like --from, with a backup in object storage, which is restored into NEWDIR.backup for a while
    #[cfg(feature = "backup")]
    #[arg(long, value_name = "URL", conflicts_with = "from")]
    pub(crate) from_url: Option<String>,
    #[cfg(feature = "backup")]
    #[command(flatten)]
    pub(crate) keys: super::KeyFile,
    /// Write the intact events of broken commits to this file, as `annals export` prints events; with the
    /// broken commit in the key "salvaged_from". The file must not exist; if there is no such event, it is
    /// empty
    #[arg(long, value_name = "FILE")]
    pub(crate) salvage: Option<PathBuf>,
    /// The file for the report; NEWDIR/repair-report.json by default
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

/// Make a store that has lost events open for writing again, by cutting it off at the damage
#[derive(Debug, Args)]
#[command(
    long_about = "\
A store that has lost acknowledged events does not open for writing. This command cuts it off at the
damage: everything up to --cut-after is kept, and everything after it, intact parts included, is copied to
quarantine/ in the store's directory.

Without --cut-after nothing is changed: the loss is printed, and the position to pass. To keep the intact
events after the damage, use annals repair instead, or before.",
    after_help = "\
Examples:
  annals recover ledger --accept-loss
  annals recover ledger --accept-loss --cut-after 1041

The exit code is 1 if nothing was cut: no --cut-after, another position than the printed one, or no loss."
)]
pub(crate) struct RecoverArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Give up acknowledged events
    #[arg(long, required = true)]
    pub(crate) accept_loss: bool,
    /// The last position to keep, as printed without this option
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
