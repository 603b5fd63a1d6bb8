//! `cursor`: the positions of consumers.
//!
//! Owns the printed form of a cursor. Must never move one back without the option to do so.

use annals::FailedCheck;
use serde::Serialize;

use crate::args::{CursorCommand, Format, SetCursor};
use crate::failure::Failure;
use crate::open;
use crate::output::Output;

#[derive(Serialize)]
struct Line<'a> {
    cursor: &'a str,
    position: u64,
}

/// `annals cursor`
pub(crate) fn run(command: &CursorCommand, quiet: bool) -> Result<(), Failure> {
    match command {
        CursorCommand::List(args) => {
            let store = open::for_reading(&args.store)?;
            let mut out = Output::new(args.format);
            for cursor in store.cursors().list()? {
                print(&mut out, args.format, &cursor.name, cursor.position.get())?;
            }
            out.flush()?;
            open::must_be_whole(&store)
        }
        CursorCommand::Get(args) => {
            let store = open::for_reading(&args.store)?;
            let Some(position) = store.cursors().get(&args.name)? else {
                // In a damaged store, the cursor may be in the part that cannot be read.
                open::must_be_whole(&store)?;
                return Err(Failure::Fault(format!("there is no cursor {:?}", args.name)));
            };
            let mut out = Output::new(args.format);
            match args.format {
                Format::Text => out.line(position)?,
                Format::Ndjson => print(&mut out, args.format, &args.name, position.get())?,
            }
            out.flush()?;
            open::must_be_whole(&store)
        }
        CursorCommand::Set(args) => set(args, quiet),
        CursorCommand::Delete(args) => {
            let store = open::for_changing(&args.store, args.wait, quiet)?;
            store.cursors().delete(&args.name)?;
            open::close(store)
        }
    }
}

fn set(args: &SetCursor, quiet: bool) -> Result<(), Failure> {
    let store = open::for_changing(&args.store, args.wait, quiet)?;
    let cursors = store.cursors();
    let moved = if args.reset {
        cursors.reset(&args.name, args.position)
    } else {
        cursors.advance(&args.name, args.position)
    };
    let moved = match moved {
        Err(conflict)
            if matches!(conflict.failed_checks(), [FailedCheck::CursorNotForward { .. }]) =>
        {
            Err(Failure::Fault(format!("{conflict} (use --reset to allow it)")))
        }
        moved => moved.map_err(Failure::from),
    };
    moved?;
    open::close(store)
}

fn print(out: &mut Output, format: Format, cursor: &str, position: u64) -> Result<(), Failure> {
    match format {
        Format::Ndjson => out.json(&Line { cursor, position }),
        Format::Text => {
            let name = out.name(cursor);
            out.line(format_args!("{position:>10}  {name}"))
        }
    }
}
