//! The commands for records.
//!
//! Owns their words. Must never do work.

use std::path::{Path, PathBuf};

use annals::ExpectedRecord;
use clap::{Args, Subcommand};

use super::{Format, Wait};
use crate::values;

/// Show, put and delete records: small durable values under a key
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  annals record list ledger --prefix balance/ --limit 100
  annals record list ledger --prefix balance/ --limit 100 --after balance/account-99
  annals record get ledger balance/account-1
  annals record get ledger balance/account-1 --raw | jq .amount
  annals record put ledger balance/account-1 '{\"amount\":5}' --expect none
  annals record put ledger logo - --expect 3 < logo.png
  annals record delete ledger logo

list and get work beside a writer, and show the records as of its last event. put and delete need
exclusive access: they fail while another process has the store open for writing, or wait with --wait.")]
pub(crate) enum RecordCommand {
    /// List records by key, with their values
    List(ListRecords),
    /// Print a record
    Get(GetRecord),
    /// Give a record a value, and print its new version
    Put(PutRecord),
    /// Delete a record
    Delete(DeleteRecord),
}

impl RecordCommand {
    /// The directory of the store that it is about.
    pub(crate) fn store(&self) -> &Path {
        match self {
            Self::List(args) => &args.store,
            Self::Get(args) => &args.store,
            Self::Put(args) => &args.store,
            Self::Delete(args) => &args.store,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
A line of text is: version, key, value. A value that is not JSON is shown by its size and its first
bytes; --format ndjson has it in full, as JSON, or in base64.")]
pub(crate) struct ListRecords {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Only keys that begin with this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,
    /// Only keys greater than this one, which need not exist: continues a listing that --limit ended
    #[arg(long, value_name = "KEY", default_value = "")]
    pub(crate) after: String,
    /// At most this many records
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// How to print a record
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct GetRecord {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The key
    pub(crate) key: String,
    /// Print the value alone, byte for byte
    #[arg(long, conflicts_with = "format")]
    pub(crate) raw: bool,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct PutRecord {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The key
    pub(crate) key: String,
    /// The value, stored byte for byte: the argument, @FILE, or - for standard input
    #[arg(value_name = "VALUE|@FILE|-", allow_negative_numbers = true)]
    pub(crate) value: String,
    /// The expected state of the record: any, none (no record), exists, or its version
    #[arg(long, alias = "expected", value_name = "any|none|exists|N", default_value = "any",
          value_parser = values::expected_record)]
    pub(crate) expect: ExpectedRecord,
    #[command(flatten)]
    pub(crate) wait: Wait,
    /// How to print the result
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteRecord {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// The key
    pub(crate) key: String,
    /// The expected state of the record: any, exists, or its version
    #[arg(long, alias = "expected", value_name = "any|exists|N", default_value = "any",
          value_parser = values::expected_record)]
    pub(crate) expect: ExpectedRecord,
    #[command(flatten)]
    pub(crate) wait: Wait,
}
