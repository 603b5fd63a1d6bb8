//! `cursor`: the positions of consumers.
//!
//! Owns the printed form of a cursor. Must never move one back without the option to do so.

use annals::{CursorInfo, CursorMove, Position};
use annals_control::Request;
use serde::Serialize;

use crate::args::{CursorCommand, CursorHistory, Format, SetCursor};
use crate::failure::Failure;
use crate::output::Output;
use crate::{control, open};

#[derive(Serialize)]
struct Line<'a> {
    cursor: &'a str,
    position: u64,
}

/// A cursor of a list.
#[derive(Serialize)]
struct ListLine<'a> {
    cursor: &'a str,
    position: u64,
    /// The number of events after it.
    lag: u64,
    /// Left out if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_at: Option<String>,
}

/// A move of a cursor, or its deletion.
#[derive(Serialize)]
struct HistoryLine<'a> {
    cursor: &'a str,
    /// `null`: it was deleted.
    position: Option<u64>,
    /// The number of events after it, at that time.
    lag: Option<u64>,
    /// The last event at that time.
    head: u64,
    moved_at: String,
}

/// `annals cursor`
pub(crate) fn run(command: &CursorCommand, quiet: bool) -> Result<(), Failure> {
    match command {
        CursorCommand::List(args) => {
            let store = open::for_reading(&args.store)?;
            let mut out = Output::new(args.format);
            for cursor in store.cursors().list()? {
                print_listed(&mut out, args.format, &cursor)?;
            }
            out.flush()?;
            open::must_be_whole(&store)
        }
        CursorCommand::History(args) => history(args),
        CursorCommand::Get(args) => {
            let store = open::for_reading(&args.store)?;
            let Some(position) = store.cursors().get(&args.name)? else {
                // In a damaged store, the cursor may be in the part that cannot be read.
                open::must_be_whole(&store)?;
                return Err(missing(&args.name));
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
            let request = Request::DeleteCursor { name: args.name.clone() };
            control::change(&args.store, args.wait, quiet, &request).map(drop)
        }
    }
}

fn missing(cursor: &str) -> Failure {
    Failure::missing(format_args!("cursor {cursor:?}"), "cursor list")
}

fn history(args: &CursorHistory) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut moves = store.cursors().history(&args.name).peekable();
    if moves.peek().is_none() {
        open::must_be_whole(&store)?;
        return Err(missing(&args.name));
    }
    let mut out = Output::new(args.format);
    for moved in moves.take(limit) {
        print_move(&mut out, args.format, &args.name, &moved?)?;
    }
    out.flush()?;
    open::must_be_whole(&store)
}

fn print_move(
    out: &mut Output,
    format: Format,
    cursor: &str,
    moved: &CursorMove,
) -> Result<(), Failure> {
    let (position, lag) = (moved.position.map(Position::get), moved.lag());
    let (head, moved_at) = (moved.head.get(), out.time(moved.recorded_at));
    match (format, position, lag) {
        (Format::Ndjson, ..) => out.json(&HistoryLine { cursor, position, lag, head, moved_at }),
        (Format::Text, Some(position), Some(lag)) => {
            out.line(format_args!("{position:>10}  {lag:>10}  {moved_at}"))
        }
        (Format::Text, ..) => out.line(format_args!("{:>10}  {:>10}  {moved_at}", "deleted", "-")),
    }
}

fn set(args: &SetCursor, quiet: bool) -> Result<(), Failure> {
    let (name, position, reset) = (args.name.clone(), args.position, args.reset);
    let request = Request::SetCursor { name, position, reset };
    control::change(&args.store, args.wait, quiet, &request).map(drop)
}

fn print_listed(out: &mut Output, format: Format, cursor: &CursorInfo) -> Result<(), Failure> {
    let (position, lag) = (cursor.position.get(), cursor.lag);
    let moved_at = cursor.moved_at.map(|at| out.time(at));
    match format {
        Format::Ndjson => out.json(&ListLine { cursor: &cursor.name, position, lag, moved_at }),
        Format::Text => {
            let (name, moved) = (out.name(&cursor.name), moved_at.as_deref().unwrap_or("-"));
            out.line(format_args!("{position:>10}  {lag:>10}  {moved:<27}  {name}"))
        }
    }
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
