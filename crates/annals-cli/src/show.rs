//! `show` and `log`: single events, whole.
//!
//! Owns their form for people. Must never print a control character from a store to a terminal.

use std::ops::ControlFlow;

use annals::{Event, Position, Store, Uuid};

use crate::args::{EventName, Format, LogArgs, ShowArgs};
use crate::failure::Failure;
use crate::output::Output;
use crate::{entry, interrupt, open, range};

/// Number of events of a commit that are listed.
const LISTED: u64 = 20;

/// `annals show`
pub(crate) fn show(args: &ShowArgs) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let Some(event) = find(&store, &args.event)? else {
        // In a damaged store, the event may be in the part that cannot be read.
        open::must_be_whole(&store)?;
        return Err(Failure::missing(format_args!("event {}", args.event), "log"));
    };
    let mut out = Output::new(args.format).local(args.local);
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
    entry::row(out, "position", event.position())?;
    let name = out.name(stream);
    entry::row(out, "stream", format_args!("{name}@{version}"))?;
    entry::facts(event.as_ref(), out)?;
    entry::row(out, "previous", place(before))?;
    entry::row(out, "next", place(after))?;
    mates(store, event, out)?;
    entry::body(event.as_ref(), out)
}

/// The other events of the commit.
fn mates(store: &Store, event: &Event, out: &mut Output) -> Result<(), Failure> {
    let (first, last) = (event.commit().get(), event.commit_end().get());
    if first == last {
        return entry::row(out, "commit", "this event");
    }
    entry::row(out, "commit", format_args!("positions {first} to {last}"))?;
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

/// `annals log`
pub(crate) fn log(args: &LogArgs) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let (after, up_to) = range::of(&store, &args.period)?;
    let mut out = Output::new(args.format).local(args.local);
    let mut read = args.filter.of(store.read_all().after(after).up_to(up_to).backwards());
    if args.limit > 0 {
        read = read.limit(args.limit);
    }
    let mut is_first = true;
    let done = read.try_for_each(|event| {
        if interrupt::requested() {
            return ControlFlow::Break(Failure::Interrupted);
        }
        let printed = match args.format {
            Format::Ndjson => out.event(event),
            Format::Text => entry::print(event, &mut is_first, &mut out),
        };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(failure),
        }
    });
    crate::read::finish(done, &mut out)?;
    open::must_be_whole(&store)
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
