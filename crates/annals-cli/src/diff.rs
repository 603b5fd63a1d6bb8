//! `diff`: what changed between two events of a stream.
//!
//! Owns the choice of the events and the printed form. Must never print a control character from a store to a terminal.

use annals::{AsOf, Event, Query, QueryItem, ReadStream, Store};
use serde::Serialize;

use crate::args::{DiffArgs, Format};
use crate::failure::Failure;
use crate::json_diff::{self, Operation};
use crate::output::Output;
use crate::progress::note;
use crate::{interrupt, open, text};

/// One difference as a line of NDJSON.
#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    from: Option<Side<'a>>,
    to: Side<'a>,
    /// `None`: the data of one of the events is not JSON.
    patch: Option<&'a [Operation]>,
    /// Whether the bytes are the same.
    same: bool,
}

#[derive(Serialize)]
struct Side<'a> {
    version: u64,
    position: u64,
    #[serde(rename = "type")]
    event_type: &'a str,
}

impl<'a> From<&'a Event> for Side<'a> {
    fn from(event: &'a Event) -> Self {
        let (version, position) = (event.version(), event.position().get());
        Self { version, position, event_type: event.event_type() }
    }
}

/// `annals diff`
pub(crate) fn run(args: &DiffArgs, quiet: bool) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    if store.stream_head(&args.stream)?.is_none() {
        open::must_be_whole(&store)?;
        return Err(Failure::missing(format_args!("stream {:?}", args.stream), "streams"));
    }
    let mut out = Output::new(args.format).local(args.local);
    let printed =
        if args.steps { steps(&store, args, &mut out)? } else { pair(&store, args, &mut out)? };
    out.flush()?;
    open::must_be_whole(&store)?;
    if !printed && !quiet {
        note("no event of the stream is between the two moments");
    }
    Ok(())
}

/// The events of the stream and the types, hidden ones included.
fn events(store: &Store, args: &DiffArgs) -> ReadStream {
    let read = store.read_stream(&args.stream).include_hidden();
    if args.types.is_empty() {
        return read;
    }
    read.matching(Query::from(QueryItem::new().types(args.types.clone())))
}

/// The last event at or before a moment.
fn last(store: &Store, args: &DiffArgs, at: AsOf) -> annals::Result<Option<Event>> {
    events(store, args).as_of(at).backwards().limit(1).into_iter().next().transpose()
}

/// The difference of two moments. False if there is no event at or before the second one.
fn pair(store: &Store, args: &DiffArgs, out: &mut Output) -> Result<bool, Failure> {
    let Some(to) = last(store, args, args.to.unwrap_or(AsOf::Version(u64::MAX)))? else {
        return Ok(false);
    };
    let from = args.from.unwrap_or(AsOf::Version(to.version().saturating_sub(1)));
    let from = last(store, args, from)?;
    print(from.as_ref(), &to, args.format, out)?;
    Ok(true)
}

/// The differences of consecutive events. False if there is none.
fn steps(store: &Store, args: &DiffArgs, out: &mut Output) -> Result<bool, Failure> {
    let mut before = args.from.map_or(Ok(None), |from| last(store, args, from))?;
    let mut read = events(store, args).as_of(args.to.unwrap_or(AsOf::Version(u64::MAX)));
    if let Some(before) = &before {
        read = read.from_version(before.version() + 1);
    }
    let mut is_first = true;
    for event in read {
        if interrupt::requested() {
            out.flush()?;
            return Err(Failure::Interrupted);
        }
        let event = event?;
        if !std::mem::take(&mut is_first) && args.format == Format::Text {
            out.line("")?;
        }
        print(before.as_ref(), &event, args.format, out)?;
        before = Some(event);
    }
    Ok(!is_first)
}

fn print(
    from: Option<&Event>,
    to: &Event,
    format: Format,
    out: &mut Output,
) -> Result<(), Failure> {
    let operations = match from {
        Some(from) => json_diff::diff(from.data(), to.data()),
        None => json_diff::added(to.data()).map(|all| vec![all]),
    };
    let same = from.is_some_and(|from| from.data() == to.data());
    if format == Format::Ndjson {
        return out.json(&Line {
            stream: to.stream(),
            from: from.map(Side::from),
            to: to.into(),
            patch: operations.as_deref(),
            same,
        });
    }
    head(from, '-', out)?;
    head(Some(to), '+', out)?;
    match operations {
        None if same => out.line("  the same bytes"),
        None => {
            if let Some(from) = from {
                out.changed('-', &Output::data(from.data()))?;
            }
            out.changed('+', &Output::data(to.data()))
        }
        Some(operations) if operations.is_empty() => out.line("  no difference"),
        Some(operations) => operations.iter().try_for_each(|operation| {
            for (mark, value) in [('-', &operation.old), ('+', &operation.value)] {
                if let Some(value) = value {
                    let path = if operation.path.is_empty() { "/" } else { &operation.path };
                    out.changed(mark, &text::printed(&format!("{path}: {}", value.get())))?;
                }
            }
            Ok(())
        }),
    }
}

/// The line that names one of the two events.
fn head(event: Option<&Event>, mark: char, out: &mut Output) -> Result<(), Failure> {
    let marks = String::from(mark).repeat(3);
    let Some(event) = event else { return out.line(format_args!("{marks} nothing")) };
    let (stream, kind) = (out.name(event.stream()), out.name(event.event_type()));
    let at = out.time(event.recorded_at());
    let (version, position) = (event.version(), event.position());
    out.line(format_args!("{marks} {stream}@{version}  {kind}  position {position}  {at}"))
}
