//! `show` and `log`: single events, whole.
//!
//! Owns their form for people. Must never print a control character from a store to a terminal.

use std::ops::ControlFlow;

use annals::{Event, EventRef, Position, Store, Uuid};
use annals_cli::time;

use crate::args::{EventName, Format, LogArgs, ShowArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::{interrupt, open, range};

/// Number of events of a commit that are listed.
const LISTED: u64 = 20;

/// `annals show`
pub(crate) fn show(args: &ShowArgs) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let Some(event) = find(&store, &args.event)? else {
        // In a damaged store, the event may be in the part that cannot be read.
        open::must_be_whole(&store)?;
        return Err(Failure::Fault(format!("there is no event {}", args.event)));
    };
    let mut out = Output::new(args.format);
    match args.format {
        Format::Ndjson => out.event(event.as_ref())?,
        Format::Text => print(&store, &event, &mut out)?,
    }
    out.flush()
}

fn find(store: &Store, name: &EventName) -> annals::Result<Option<Event>> {
    match name {
        EventName::Position(position) => store.event_at(Position::new(*position)),
        EventName::Id(id) => store.event(*id),
        EventName::Version(stream, version) => at_version(store, stream, *version),
    }
}

fn at_version(store: &Store, stream: &str, version: u64) -> annals::Result<Option<Event>> {
    let read = store.read_stream(stream).from_version(version).limit(1).include_hidden();
    let found = read.into_iter().next().transpose()?;
    Ok(found.filter(|event| event.version() == version))
}

fn print(store: &Store, event: &Event, out: &mut Output) -> Result<(), Failure> {
    let (stream, version) = (event.stream(), event.version());
    let place = |found: Option<Event>| match found {
        Some(event) => format!("version {} at position {}", event.version(), event.position()),
        None => "none".to_owned(),
    };
    let before = version.checked_sub(1).filter(|&version| version > 0);
    let before = before.map_or(Ok(None), |version| at_version(store, stream, version))?;
    let after = at_version(store, stream, version + 1)?;
    row(out, "position", event.position())?;
    let name = out.name(stream);
    row(out, "stream", format_args!("{name}@{version}"))?;
    facts(event.as_ref(), out)?;
    row(out, "previous", place(before))?;
    row(out, "next", place(after))?;
    mates(store, event, out)?;
    body(event.as_ref(), out)
}

fn row(out: &mut Output, name: &str, value: impl std::fmt::Display) -> Result<(), Failure> {
    out.line(format_args!("{name:<12} {value}"))
}

/// What an event has beside its place and its contents.
fn facts(event: EventRef<'_>, out: &mut Output) -> Result<(), Failure> {
    let event_type = out.name(event.event_type());
    row(out, "type", event_type)?;
    row(out, "id", event.id())?;
    row(out, "recorded at", time::to_rfc3339(event.recorded_at()))?;
    let tags: Vec<String> = event.tags().map(|tag| out.name(tag)).collect();
    if !tags.is_empty() {
        row(out, "tags", tags.join(" "))?;
    }
    if event.schema_version() > 0 {
        row(out, "schema", event.schema_version())?;
    }
    Ok(())
}

/// The other events of the commit.
fn mates(store: &Store, event: &Event, out: &mut Output) -> Result<(), Failure> {
    let (first, last) = (event.commit().get(), event.commit_end().get());
    if first == last {
        return row(out, "commit", "this event");
    }
    row(out, "commit", format_args!("positions {first} to {last}"))?;
    let read = store.read_all().after(first - 1).up_to(last).limit(LISTED).include_hidden();
    for mate in read {
        let mate = mate?;
        let (name, kind) = (out.name(mate.stream()), out.name(mate.event_type()));
        let mark = if mate.position() == event.position() { "*" } else { " " };
        let (position, version) = (mate.position(), mate.version());
        out.line(format_args!("           {mark} {position}  {name}@{version}  {kind}"))?;
    }
    let more = (last - first + 1).saturating_sub(LISTED);
    if more > 0 {
        out.line(format_args!("             and {more} more"))?;
    }
    Ok(())
}

/// The data and the metadata, indented.
fn body(event: EventRef<'_>, out: &mut Output) -> Result<(), Failure> {
    for (name, bytes) in [("metadata", event.metadata()), ("data", event.data())] {
        if bytes.is_empty() {
            continue;
        }
        out.line(format_args!("{name}"))?;
        for line in Output::pretty(bytes).lines() {
            out.line(format_args!("    {line}"))?;
        }
    }
    Ok(())
}

/// `annals log`
pub(crate) fn log(args: &LogArgs) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let (after, up_to) = range::of(&store, &args.period)?;
    let mut out = Output::new(args.format);
    let mut read = store.read_all().after(after).up_to(up_to).backwards();
    if !args.filter.is_empty() {
        read = read.matching(args.filter.query(0));
    }
    if args.limit > 0 {
        read = read.limit(args.limit);
    }
    if args.filter.include_hidden {
        read = read.include_hidden();
    }
    let mut is_first = true;
    let done = read.try_for_each(|event| {
        if interrupt::requested() {
            return ControlFlow::Break(Failure::Interrupted);
        }
        let printed = match args.format {
            Format::Ndjson => out.event(event),
            Format::Text => entry(event, &mut is_first, &mut out),
        };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(failure),
        }
    });
    crate::read::finish(done, &mut out)?;
    open::must_be_whole(&store)
}

fn entry(event: EventRef<'_>, is_first: &mut bool, out: &mut Output) -> Result<(), Failure> {
    if !std::mem::take(is_first) {
        out.line("")?;
    }
    let name = out.name(event.stream());
    out.line(format_args!("event {}  {name}@{}", event.position(), event.version()))?;
    facts(event, out)?;
    body(event, out)
}

/// Reads the name of an event: a position, an id, or a stream and a version.
pub(crate) fn event_name(text: &str) -> Result<EventName, String> {
    if let Ok(position) = text.parse() {
        return Ok(EventName::Position(position));
    }
    if let Ok(id) = text.parse::<Uuid>() {
        return Ok(EventName::Id(id));
    }
    let parts = text.rsplit_once('@').filter(|(stream, _)| !stream.is_empty());
    let named = parts.and_then(|(stream, version)| Some((stream, version.parse().ok()?)));
    match named {
        Some((stream, version)) => Ok(EventName::Version(stream.to_owned(), version)),
        None => Err("expected a position, an id, or STREAM@VERSION".to_owned()),
    }
}
