//! The command that watches a store.
//!
//! Owns its words. Must never do work.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::values;

/// Watch a store on the terminal: rates, sizes, the lag of each cursor, the newest events
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals top ledger
  annals top ledger --once > report.txt

Keys: q quits, p pauses, the arrow keys scroll, Tab selects the other list, ? shows all keys. Rates are those
of the last interval. Hidden events are shown.")]
pub(crate) struct TopArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The time between two looks at the store
    #[arg(short = 'n', long, value_name = "DURATION", default_value = "1s", value_parser = values::interval)]
    pub(crate) interval: Duration,
    /// Print one frame as text, after one interval, and end
    #[arg(long)]
    pub(crate) once: bool,
}
