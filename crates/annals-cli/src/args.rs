//! The command line's definition: commands, options, their checks and their help.
//!
//! Owns every word a user types, in a module for each group of commands. Must never do work: a
//! parsed value is well formed, and no other property of it is checked.

#![expect(clippy::doc_markdown, reason = "these comments are the help, which shows no markdown")]

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use std::path::Path;
use std::time::Duration;

use annals_lines::columns::{self, Column};

use crate::failure::Failure;
use crate::values;

mod diff;
mod moving;
mod read;
mod records;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "backup")]
mod shipping;
mod state;
#[cfg(feature = "top")]
mod top;
mod upkeep;
mod write;

pub(crate) use diff::*;
pub(crate) use moving::*;
pub(crate) use read::*;
pub(crate) use records::*;
#[cfg(feature = "serve")]
pub(crate) use serve::*;
#[cfg(feature = "backup")]
pub(crate) use shipping::*;
pub(crate) use state::*;
#[cfg(feature = "top")]
pub(crate) use top::*;
pub(crate) use upkeep::*;
pub(crate) use write::*;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Work with an annals store: a durable, ordered, queryable history of events in a directory.
#[derive(Debug, Parser)]
#[command(
    name = "annals",
    version,
    styles = STYLES,
    arg_required_else_help = true,
    after_help = "\
Examples:
  annals append ledger account-1 Opened --data '{\"owner\":42}'
  annals read ledger --stream account-1
  annals export ledger > ledger.ndjson
  annals import copy ledger.ndjson
  annals tail ledger --follow
  annals query ledger 'type:Deposited tag:owner:42 or category:audit'

Commands that read work beside a running writer and never change a store; repair and recover need
a store that no process writes.

On a terminal, listings and events go through a pager: ANNALS_PAGER, PAGER, or less with the options FRX.

Exit codes:
  0    success; also if the reader of the output closes the pipe
  1    the store or the data is at fault
  2    the command line is at fault
  130  interrupted (Ctrl-C, SIGTERM); what was reported as stored is stored
  141  the reader of `import --ack` closed the pipe, so the import stopped"
)]
pub(crate) struct Cli {
    /// No progress bar and no summary; errors are still reported
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Print to the terminal without a pager; see ANNALS_PAGER and PAGER
    #[arg(long, global = true)]
    pub(crate) no_pager: bool,

    #[cfg(feature = "backup")]
    #[command(flatten)]
    pub(crate) cold: ColdSource,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Import(ImportArgs),
    Append(AppendArgs),
    Read(ReadArgs),
    Query(QueryArgs),
    Export(ExportArgs),
    Tail(TailArgs),
    Show(ShowArgs),
    Log(LogArgs),
    Diff(DiffArgs),
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    #[cfg(feature = "top")]
    Top(TopArgs),
    Streams(StreamsArgs),
    /// List event types, with the number of their events
    Types(TermsArgs),
    /// List categories, with the number of their events
    Categories(TermsArgs),
    /// List tags, with the number of their events
    Tags(TermsArgs),
    #[command(subcommand)]
    Stream(StreamCommand),
    #[command(subcommand)]
    Cursor(CursorCommand),
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    #[command(subcommand, visible_alias = "records")]
    Record(RecordCommand),
    Stats(StatsArgs),
    Verify(VerifyArgs),
    Backup(BackupArgs),
    #[cfg(feature = "backup")]
    Ship(ShipArgs),
    #[cfg(feature = "backup")]
    Restore(RestoreArgs),
    #[cfg(feature = "backup")]
    Follow(FollowArgs),
    #[cfg(feature = "backup")]
    Promote(PromoteArgs),
    #[cfg(feature = "backup")]
    MakeCold(MakeColdArgs),
    #[cfg(feature = "backup")]
    MakeLocal(MakeLocalArgs),
    Compact(CompactArgs),
    Repair(RepairArgs),
    Recover(RecoverArgs),
    Copy(CopyArgs),
    #[command(subcommand)]
    Fence(FenceCommand),
    Position(PositionArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    CompleteNames(CompleteNamesArgs),
    #[cfg(feature = "man")]
    Man(ManArgs),
}

impl Command {
    /// Whether the command prints events or a listing, for which a terminal may be too short.
    pub(crate) fn is_paged(&self) -> bool {
        match self {
            Self::Read(args) => !args.count,
            Self::Query(args) => !args.count,
            Self::Show(_)
            | Self::Log(_)
            | Self::Diff(_)
            | Self::Streams(_)
            | Self::Types(_)
            | Self::Categories(_)
            | Self::Tags(_)
            | Self::Stats(_) => true,
            Self::Stream(command) => {
                matches!(command, StreamCommand::List(_) | StreamCommand::Info(_))
            }
            Self::Cursor(command) => {
                matches!(command, CursorCommand::List(_) | CursorCommand::History(_))
            }
            Self::Record(command) => matches!(command, RecordCommand::List(_)),
            Self::Snapshot(command) => matches!(command, SnapshotCommand::List(_)),
            _ => false,
        }
    }

    /// The directory of the command's store.
    pub(crate) fn store(&self) -> Option<&Path> {
        Some(match self {
            Self::Import(args) => &args.store,
            Self::Append(args) => &args.store,
            Self::Read(args) => &args.store,
            Self::Query(args) => &args.store,
            Self::Export(args) => &args.store,
            Self::Tail(args) => &args.store,
            Self::Show(args) => &args.store,
            Self::Log(args) => &args.store,
            Self::Diff(args) => &args.store,
            #[cfg(feature = "serve")]
            Self::Serve(args) => &args.store,
            #[cfg(feature = "top")]
            Self::Top(args) => &args.store,
            Self::Streams(args) => &args.store,
            Self::Types(args) | Self::Categories(args) | Self::Tags(args) => &args.store,
            Self::Stream(command) => command.store(),
            Self::Cursor(command) => command.store(),
            Self::Snapshot(command) => command.store(),
            Self::Record(command) => command.store(),
            Self::Stats(args) => &args.store,
            Self::Verify(args) => &args.store,
            Self::Backup(args) => return args.store.as_deref(),
            #[cfg(feature = "backup")]
            Self::Ship(args) => &args.store,
            #[cfg(feature = "backup")]
            Self::MakeCold(args) => &args.store,
            #[cfg(feature = "backup")]
            Self::MakeLocal(args) => &args.store,
            #[cfg(feature = "backup")]
            Self::Promote(args) => return args.old_store.as_deref(),
            #[cfg(feature = "backup")]
            Self::Restore(_) | Self::Follow(_) => return None,
            Self::Compact(args) => &args.store,
            Self::Repair(args) => &args.store,
            Self::Recover(args) => &args.store,
            #[cfg(feature = "man")]
            Self::Man(_) => return None,
            Self::Copy(_)
            | Self::Fence(_)
            | Self::Position(_)
            | Self::Completions(_)
            | Self::CompleteNames(_) => return None,
        })
    }
}

/// Waiting for the store
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Wait {
    /// Wait while another process has the store open for writing, instead of failing: at most this
    /// long, such as --wait=30s, or without a value until it is closed
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
          default_missing_value = "forever", value_parser = values::wait)]
    pub(crate) wait: Option<Duration>,
}

/// Print a script that completes this command in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  annals completions bash > ~/.local/share/bash-completion/completions/annals
  annals completions fish > ~/.config/fish/completions/annals.fish

The scripts for bash, zsh and fish also complete names of streams, types, categories, tags and cursors, once the store
is on the line: at most 100, if the store states them within half a second.")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Print names of a store that complete a command line, for the scripts of `annals completions`
#[derive(Debug, Args)]
pub(crate) struct CompleteNamesArgs {
    /// The words up to the cursor, without the name of the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// Write man pages, one for each command
#[cfg(feature = "man")]
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The directory, which has to exist
    pub(crate) directory: std::path::PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    #[default]
    Text,
    /// One JSON object per line
    Ndjson,
}

/// How an event is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum EventFormat {
    /// Text for people
    #[default]
    Text,
    /// One JSON object per line
    Ndjson,
    /// Comma-separated values, with the names of the columns in the first line
    Csv,
}

/// How to print events
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Printing {
    /// How to print an event
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: EventFormat,
    /// The columns of CSV, such as position,stream,type,data; all by default
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = columns::parse)]
    pub(crate) fields: Vec<Column>,
    /// Print events whole, as `annals log` does: with id, metadata and tags
    #[arg(long)]
    pub(crate) long: bool,
    /// Print times in the local time zone; NDJSON is in UTC in any case
    #[arg(long)]
    pub(crate) local: bool,
}

impl Printing {
    /// Everything as NDJSON.
    pub(crate) fn ndjson() -> Self {
        Self { format: EventFormat::Ndjson, ..Self::default() }
    }

    /// The columns of CSV.
    pub(crate) fn columns(&self) -> Vec<Column> {
        if self.fields.is_empty() {
            return columns::every().to_vec();
        }
        self.fields.clone()
    }

    /// Checks that the options fit together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if !self.fields.is_empty() && self.format != EventFormat::Csv {
            return Err(Failure::Usage("--fields goes with --format csv".to_owned()));
        }
        if self.long && self.format != EventFormat::Text {
            return Err(Failure::Usage("--long goes with --format text".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
