//! The `annals` command.
//!
//! Owns the wiring of commands and the one place where an exit code is chosen and an error is
//! printed. Must never hold logic of a command.

mod append;
mod args;
mod backup;
#[cfg(feature = "backup")]
mod cold;
mod compact;
mod complete;
mod control;
mod cursors;
mod diff;
mod entry;
mod failure;
mod groups;
mod import;
mod input;
mod inspect;
mod interrupt;
mod json_diff;
#[cfg(feature = "man")]
mod man;
mod moving;
mod open;
mod output;
mod pager;
mod progress;
mod range;
mod read;
mod records;
mod report;
mod rescue;
mod resume;
mod salvage;
#[cfg(feature = "serve")]
mod serve;
mod settle;
#[cfg(feature = "backup")]
mod shipping;
mod show;
mod sizes;
mod snapshots;
mod streams;
mod terminal;
mod terms;
mod text;
#[cfg(feature = "top")]
mod top;
mod values;

use std::path::Path;
use std::process::ExitCode;

use annals::Store;
use clap::Parser as _;

use crate::args::{Cli, Command, RecordCommand, StreamCommand};
use crate::failure::Failure;
use crate::pager::Pager;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let store = cli.command.store().map(Path::to_path_buf);
    let pager =
        if cli.command.is_paged() && !cli.no_pager { Pager::start() } else { Pager::default() };
    let done = run(cli);
    // Errors are printed below what the pager leaves on the screen.
    let Err(failure) = pager.finish().and(done) else {
        return ExitCode::SUCCESS;
    };
    if let Some(message) = failure.message() {
        progress::report(format_args!("annals: {message}"));
        for advice in store.iter().flat_map(|store| failure.advice(store)) {
            progress::report(format_args!("annals: next: {advice}"));
        }
    }
    ExitCode::from(failure.exit_code())
}

fn run(cli: Cli) -> Result<(), Failure> {
    let quiet = cli.quiet;
    if listens(&cli.command) || cli.command.is_paged() {
        interrupt::listen()?;
    }
    #[cfg(feature = "backup")]
    cold::use_source(&cli.cold)?;
    match cli.command {
        Command::Import(args) => import::run(&args, quiet),
        Command::Append(args) => append::run(&args, quiet),
        Command::Read(args) => read::read(&args, quiet),
        Command::Query(args) => read::query(args, quiet),
        Command::Export(args) => read::export(args, quiet),
        Command::Tail(args) => read::tail(&args, quiet),
        Command::Show(args) => show::show(&args),
        Command::Log(args) => show::log(&args),
        Command::Diff(args) => diff::run(&args, quiet),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        #[cfg(feature = "top")]
        Command::Top(args) => top::run(&args),
        Command::Streams(args) => inspect::streams(&args, quiet),
        Command::Types(args) => terms::run(&args, Store::event_types, quiet),
        Command::Categories(args) => terms::run(&args, Store::categories, quiet),
        Command::Tags(args) => terms::run(&args, Store::tags, quiet),
        Command::Stream(command) => streams::run(&command, quiet),
        Command::Cursor(command) => cursors::run(&command, quiet),
        Command::Snapshot(command) => snapshots::run(&command, quiet),
        Command::Record(command) => records::run(&command, quiet),
        Command::Stats(args) => inspect::stats(&args),
        Command::Verify(args) => inspect::verify(&args, quiet),
        Command::Backup(args) => backup::run(&args, quiet),
        #[cfg(feature = "backup")]
        Command::Ship(args) => shipping::ship(&args, quiet),
        #[cfg(feature = "backup")]
        Command::Restore(args) => shipping::restore(&args, quiet),
        #[cfg(feature = "backup")]
        Command::Follow(args) => shipping::follow(&args, quiet),
        #[cfg(feature = "backup")]
        Command::Promote(args) => shipping::promote(&args, quiet),
        #[cfg(feature = "backup")]
        Command::MakeCold(args) => cold::make_cold(&args, quiet),
        #[cfg(feature = "backup")]
        Command::MakeLocal(args) => cold::make_local(&args, quiet),
        Command::Compact(args) => compact::run(&args, quiet),
        Command::Repair(args) => rescue::repair(&args, quiet),
        Command::Recover(args) => rescue::recover(&args, quiet),
        Command::Copy(args) => moving::copy(&args, quiet),
        Command::Fence(command) => moving::fence(&command),
        Command::Position(args) => moving::position(&args),
        Command::Completions(args) => complete::script(&args),
        Command::CompleteNames(args) => complete::names(&args),
        #[cfg(feature = "man")]
        Command::Man(args) => man::run(&args),
    }
}

/// Whether a command may run for long, and polls for signals.
fn listens(command: &Command) -> bool {
    match command {
        // Most of these wait only for one read or one write, and a signal may end them. An interrupted
        // repair leaves no store, and a cut is either complete or not made.
        Command::Append(_)
        | Command::Show(_)
        | Command::Stats(_)
        | Command::Compact(_)
        | Command::Completions(_)
        | Command::CompleteNames(_)
        | Command::Fence(_)
        | Command::Position(_)
        | Command::Cursor(_)
        | Command::Snapshot(_)
        | Command::Repair(_)
        | Command::Recover(_) => false,
        Command::Stream(command) => matches!(command, StreamCommand::List(_)),
        Command::Record(command) => matches!(command, RecordCommand::List(_)),
        _ => true,
    }
}
