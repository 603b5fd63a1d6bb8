//! The commands for a backup in object storage.
//!
//! Owns their words. Must never do work.

use std::path::PathBuf;
use std::time::Duration;

use annals::shipping::Until;
use clap::{Args, Subcommand};

use super::Wait;
use crate::values;

const PLACES: &str = "\
URLs:
  s3://BUCKET/PREFIX      Amazon S3 and what speaks its protocol; AWS_ENDPOINT names another server
  gs://BUCKET/PREFIX      Google Cloud Storage
  az://CONTAINER/PREFIX   Azure Blob Storage
  DIRECTORY               a directory

Credentials come from the environment: AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS,
AZURE_STORAGE_ACCOUNT_NAME and so on.";

/// Keys of an encrypted backup
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct KeyFile {
    /// The file with the keys of an encrypted backup, one a line: the first one encrypts, all of them decrypt
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
}

/// Keep a backup in object storage up to date with a store, while it is in use
#[derive(Debug, Args)]
#[command(
    long_about = "\
Upload what a store gains, about once a second, until the command is interrupted. It works beside a running
writer. Full segments are uploaded once.

Of two shippers to one URL, the one that started last goes on, and the other one stops.",
    after_help = PLACES,
    after_long_help = format!("\
Examples:
  annals ship ledger s3://backups/ledger
  annals ship ledger s3://backups/ledger --once
  annals backup new-key > backup.keys && annals ship ledger s3://backups/ledger --keys backup.keys

{PLACES}")
)]
pub(crate) struct ShipArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Where the backup is
    pub(crate) url: String,
    /// The time between two uploads, which is about what can be lost with the machine
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = values::wait)]
    pub(crate) interval: Duration,
    /// Upload earlier if the log has gained this much, such as 1M
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) bytes: Option<u64>,
    /// Upload what is new now, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// Begin a new branch: for a store that was restored to the past, or promoted
    #[arg(long)]
    pub(crate) new_branch: bool,
    /// The compression level of Zstandard
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub(crate) level: i32,
    #[command(flatten)]
    pub(crate) keys: KeyFile,
}

/// Make a store from a backup in object storage, as of any commit
#[derive(Debug, Args)]
#[command(
    long_about = "\
Fetch a backup into a directory, and verify every checksum of the result. An interrupted restore is continued
by the same command.

With --to, the store is as it was then. Appending to it begins another history: consumers that were ahead are
refused, and shipping it needs --new-branch.",
    after_help = PLACES,
    after_long_help = format!("\
Examples:
  annals restore s3://backups/ledger ledger
  annals restore s3://backups/ledger yesterday --to 2026-11-25T10:05:00Z
  annals restore s3://backups/ledger before --to 1041

{PLACES}")
)]
pub(crate) struct RestoreArgs {
    /// Where the backup is
    pub(crate) url: String,
    /// The directory for the store: missing, empty, or an unfinished restore
    pub(crate) dir: PathBuf,
    /// The last position, or the time, that the store is to show
    #[arg(long, value_name = "POSITION|TIME", value_parser = values::until)]
    pub(crate) to: Option<Until>,
    /// The number of the branch; the newest by default
    #[arg(long)]
    pub(crate) branch: Option<u32>,
    /// If an object is missing or damaged, restore what comes before it
    #[arg(long)]
    pub(crate) up_to_damage: bool,
    /// Do not read the restored store back
    #[arg(long)]
    pub(crate) no_verify: bool,
    #[command(flatten)]
    pub(crate) keys: KeyFile,
}

/// Keep a copy of a store up to date with its backup, for reading
#[derive(Debug, Args)]
#[command(
    long_about = "\
Follow a backup into a directory until the command is interrupted. Read the directory meanwhile as any other
store. It is continued by the same command, and takes the place of the store with `annals promote`.",
    after_long_help = format!("\
Examples:
  annals follow s3://backups/ledger standby
  annals tail standby --follow

{PLACES}")
)]
pub(crate) struct FollowArgs {
    /// Where the backup is
    pub(crate) url: String,
    /// The directory of the copy: missing, empty, or one that followed the backup before
    pub(crate) dir: PathBuf,
    /// The time between two looks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = values::wait)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) keys: KeyFile,
}

/// Make a copy that followed a backup the store that is written to
#[derive(Debug, Args)]
#[command(
    long_about = "\
Fetch the rest of the backup, fence the old store, and end the following: the directory is then a store of its
own. `annals follow` of the directory has to be ended before.

If the old store's directory can be read, nothing is lost: pass it as --old-store. Without it, what the old
store acknowledged after the printed position is lost; stop its programs first, because they are refused
only at the next upload.",
    after_long_help = format!("\
Examples:
  annals promote s3://backups/ledger standby --as db2:/var/lib/ledger --old-store /mnt/db1/ledger
  annals ship standby s3://backups/ledger --new-branch

{PLACES}")
)]
pub(crate) struct PromoteArgs {
    /// Where the backup is
    pub(crate) url: String,
    /// The directory that followed it
    pub(crate) dir: PathBuf,
    /// Where the history goes on, for people and messages
    #[arg(long = "as", value_name = "PLACE")]
    pub(crate) place: String,
    /// The directory of the old store
    #[arg(long, value_name = "DIR")]
    pub(crate) old_store: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) keys: KeyFile,
}

/// Where the cold segments of a store are
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ColdSource {
    /// Read cold segments from the backup at this URL; the variable ANNALS_COLD does the same
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) cold: Option<String>,
    /// The file with the keys of that backup; the variable ANNALS_COLD_KEYS does the same
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) cold_keys: Option<PathBuf>,
}

/// Free the space of old segments that are in a backup
#[derive(Debug, Args)]
#[command(
    long_about = "\
Remove the files of full segments, oldest first, until those that stay have at most --keep bytes. Only segments
that the backup has are removed. Indexes stay. Events in the others are read back from the backup when they are
needed: pass --cold URL, or set ANNALS_COLD.

The store needs its backup from then on. No writer may be running.",
    after_help = PLACES,
    after_long_help = format!("\
Examples:
  annals make-cold ledger s3://backups/ledger --keep 10G
  annals read ledger --cold s3://backups/ledger
  annals make-local ledger s3://backups/ledger

{PLACES}")
)]
pub(crate) struct MakeColdArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Where the backup is
    pub(crate) url: String,
    /// The bytes of full segments that stay, such as 10G
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) keep: u64,
    #[command(flatten)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) keys: KeyFile,
}

/// Bring all cold segments back from a backup
#[derive(Debug, Args)]
#[command(after_help = PLACES)]
pub(crate) struct MakeLocalArgs {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Where the backup is
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
    #[command(flatten)]
    pub(crate) keys: KeyFile,
}

/// Backups in object storage
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Print what a backup in object storage holds
    List {
        /// Where the backup is
        url: String,
        #[command(flatten)]
        keys: KeyFile,
    },
    /// Read every byte of a backup in object storage, and compare digests and checksums
    Verify {
        /// Where the backup is
        url: String,
        /// The number of the branch; the newest by default
        #[arg(long)]
        branch: Option<u32>,
        /// Compare it, restored into a directory beside the store for a while, with this store, event by event
        #[arg(long, value_name = "STORE")]
        compare: Option<PathBuf>,
        #[command(flatten)]
        keys: KeyFile,
    },
    /// Remove objects that no restore needs
    Prune {
        /// Where the backup is
        url: String,
        /// Remove all branches but this many of the newest
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
        keep_branches: Option<u32>,
        /// Keep objects that no manifest names for so long: an upload may be about to name them
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = values::wait)]
        grace: Duration,
        #[command(flatten)]
        keys: KeyFile,
    },
    /// Print a new random key for an encrypted backup
    NewKey,
}
