//! `read`, `export` and `tail`: printing events.
//!
//! Owns the order and the range of the output. Must never print an event that the store's readers
//! do not see yet.

use std::ops::ControlFlow;
use std::time::Duration;

use annals::{EventRef, Position, ReadAll, Store};

use crate::args::{
    EventFormat, ExportArgs, Filter, Format, Period, Printing, QueryArgs, ReadArgs, TailArgs,
};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::progress::{Progress, Unit, note};
use crate::{entry, interrupt, open, range, terminal};

/// Positions that a filtered scan covers between two looks at the bar.
const WINDOW: u64 = 1 << 16;
/// How often `tail --follow` checks for a signal and for a closed pipe.
const PATIENCE: Duration = Duration::from_millis(250);
/// The number of events between two updates of a bar.
const STRIDE: u64 = 1024;

/// `annals export`
pub(crate) fn export(args: ExportArgs, quiet: bool) -> Result<(), Failure> {
    let args = ReadArgs {
        store: args.store,
        filter: Filter { include_hidden: true, ..Filter::default() },
        all: true,
        after: 0,
        from_version: None,
        period: Period::default(),
        count: false,
        limit: None,
        backwards: false,
        as_of: None,
        printing: Printing::ndjson(),
    };
    read(&args, quiet)
}

/// `annals query`
pub(crate) fn query(args: QueryArgs, quiet: bool) -> Result<(), Failure> {
    let filter = Filter {
        query: Some(args.query),
        include_hidden: args.include_hidden,
        ..Filter::default()
    };
    let args = ReadArgs {
        store: args.store,
        filter,
        all: true,
        after: args.after,
        from_version: None,
        period: args.period,
        count: args.count,
        limit: args.limit,
        backwards: args.backwards,
        as_of: args.as_of,
        printing: args.printing,
    };
    read(&args, quiet)
}

/// `annals read`
pub(crate) fn read(args: &ReadArgs, quiet: bool) -> Result<(), Failure> {
    args.printing.check()?;
    let store = open::for_reading(&args.store)?;
    if args.count {
        return count(&store, args);
    }
    let mut out = Printer::new(&args.printing)?;
    let mut bar = Bar::new(args, &store, quiet);
    let done = match &args.filter.stream {
        Some(stream) if args.period.is_open() => read_stream(&store, stream, args, |event| {
            bar.step(event.position());
            emit(&mut out, event)
        }),
        None if args.period.is_open() && bar.shows_scan(args) => {
            read_in_windows(&store, args, &mut bar, &mut out)
        }
        _ => read_all(&store, args, |event| {
            bar.step(event.position());
            emit(&mut out, event)
        }),
    };
    bar.progress.finish();
    finish(done, &mut out.out)?;
    open::must_be_whole(&store)?;
    match &args.filter.stream {
        Some(stream) if bar.events == 0 => explain_nothing(&store, stream, args, quiet),
        _ => Ok(()),
    }
}

/// Explains why a read of one stream has printed nothing, if the state of the stream is the reason.
fn explain_nothing(
    store: &Store,
    stream: &str,
    args: &ReadArgs,
    quiet: bool,
) -> Result<(), Failure> {
    let Some(info) = store.stream_info(stream)? else {
        return Err(no_such_stream(stream));
    };
    let hidden = info.archived || info.first_version > info.version;
    if hidden && !args.filter.include_hidden && !quiet {
        note(format_args!(
            "the {} events of stream {stream:?} are hidden; --include-hidden shows them",
            info.version
        ));
    }
    Ok(())
}

fn no_such_stream(stream: &str) -> Failure {
    Failure::missing(format_args!("stream {stream:?}"), "streams")
}

fn read_stream(
    store: &Store,
    stream: &str,
    args: &ReadArgs,
    print: impl FnMut(EventRef<'_>) -> ControlFlow<Failure>,
) -> annals::Result<ControlFlow<Failure>> {
    let mut read = store.read_stream(stream).matching(args.filter.query(args.after));
    if let Some(version) = args.from_version {
        read = read.from_version(version);
    }
    if let Some(limit) = args.limit {
        read = read.limit(limit);
    }
    if let Some(as_of) = args.as_of {
        read = read.as_of(as_of);
    }
    if args.backwards {
        read = read.backwards();
    }
    if args.filter.include_hidden {
        read = read.include_hidden();
    }
    read.try_for_each(print)
}

/// Prints the number of events that the read shows.
fn count(store: &Store, args: &ReadArgs) -> Result<(), Failure> {
    if let Some(stream) = &args.filter.stream
        && store.stream_head(stream)?.is_none()
    {
        open::must_be_whole(store)?;
        return Err(no_such_stream(stream));
    }
    let events = selected(store, args)?.count()?;
    let mut out = Output::new(Format::Text);
    match args.printing.format {
        EventFormat::Ndjson => out.json(&Count { events })?,
        EventFormat::Csv => out.line(format_args!("events\n{events}"))?,
        EventFormat::Text => out.line(events)?,
    }
    out.flush()?;
    open::must_be_whole(store)
}

#[derive(serde::Serialize)]
struct Count {
    events: u64,
}

fn read_all(
    store: &Store,
    args: &ReadArgs,
    print: impl FnMut(EventRef<'_>) -> ControlFlow<Failure>,
) -> annals::Result<ControlFlow<Failure>> {
    selected(store, args)?.try_for_each(print)
}

/// The read over all streams of these arguments.
fn selected(store: &Store, args: &ReadArgs) -> annals::Result<ReadAll> {
    let (after, up_to) = range::of(store, &args.period)?;
    let mut read = args.filter.of(store.read_all().after(args.after.max(after)).up_to(up_to));
    if let Some(limit) = args.limit {
        read = read.limit(limit);
    }
    if let Some(as_of) = args.as_of {
        read = read.as_of(as_of);
    }
    if args.backwards {
        read = read.backwards();
    }
    Ok(read)
}

/// Reads one window of positions after another, so that the bar shows the scanned positions even if
/// nothing matches.
fn read_in_windows(
    store: &Store,
    args: &ReadArgs,
    bar: &mut Bar,
    out: &mut Printer,
) -> annals::Result<ControlFlow<Failure>> {
    let mut read = store.read_all();
    if let Some(as_of) = args.as_of {
        read = read.as_of(as_of);
    }
    let head = read.start()?.head().get();
    let mut after = args.after;
    let mut left = args.limit.unwrap_or(u64::MAX);
    while after < head && left > 0 {
        let to = head.min(after.saturating_add(WINDOW));
        let read = store.read_all().after(after).as_of(Position::new(to)).limit(left);
        let done = args.filter.of(read).try_for_each(|event| {
            left -= 1;
            emit(out, event)
        })?;
        if done.is_break() {
            return Ok(done);
        }
        after = to;
        bar.scanned_through(after);
    }
    Ok(ControlFlow::Continue(()))
}

/// Prints events in the form that was asked for.
struct Printer {
    out: Output,
    is_long: bool,
    is_first: bool,
}

impl Printer {
    fn new(printing: &Printing) -> Result<Self, Failure> {
        Ok(Self { out: Output::of_events(printing)?, is_long: printing.long, is_first: true })
    }

    fn print(&mut self, event: EventRef<'_>) -> Result<(), Failure> {
        if self.is_long {
            return entry::print(event, &mut self.is_first, &mut self.out);
        }
        self.out.event(event)
    }
}

/// Prints one event of a scan, and ends the scan on a signal or when the pipe is closed.
fn emit(out: &mut Printer, event: EventRef<'_>) -> ControlFlow<Failure> {
    if interrupt::requested() {
        return ControlFlow::Break(Failure::Interrupted);
    }
    match out.print(event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => ControlFlow::Break(failure),
    }
}

/// Ends a scan: the events that were read are printed, even if the scan failed after them.
pub(crate) fn finish(
    done: annals::Result<ControlFlow<Failure>>,
    out: &mut Output,
) -> Result<(), Failure> {
    match done {
        Ok(ControlFlow::Continue(())) => out.flush(),
        Ok(ControlFlow::Break(failure @ Failure::Output(_))) => Err(failure),
        Ok(ControlFlow::Break(failure)) => out.flush().and(Err(failure)),
        Err(error) => {
            // The damage is reported even if the events before it cannot be written.
            let _reported_less = out.flush();
            Err(error.into())
        }
    }
}

/// The progress of a scan over positions.
struct Bar {
    progress: Progress,
    from: u64,
    to: u64,
    backwards: bool,
    events: u64,
}

impl Bar {
    fn new(args: &ReadArgs, store: &Store, quiet: bool) -> Self {
        let to = store.head().get();
        let from = args.after.min(to);
        // Printed lines on the same terminal already show the progress.
        let quiet = quiet || terminal::is_output();
        // With a filter, the position that the limit reaches is unknown.
        let limit = args.limit.filter(|_| args.filter.is_empty());
        let total = limit.map_or(to - from, |limit| limit.min(to - from));
        let progress = Progress::new(Unit::Events, Some(total), quiet);
        Self { progress, from, to, backwards: args.backwards, events: 0 }
    }

    /// Whether the progress of a scan is shown, because few events may match.
    fn shows_scan(&self, args: &ReadArgs) -> bool {
        self.progress.is_enabled() && !args.filter.is_empty() && !args.backwards
    }

    fn scanned_through(&mut self, position: u64) {
        self.progress.set(position.saturating_sub(self.from), None);
    }

    fn step(&mut self, position: Position) {
        self.events += 1;
        if self.events.is_multiple_of(STRIDE) {
            let position = position.get().clamp(self.from, self.to);
            let scanned = if self.backwards { self.to - position } else { position - self.from };
            self.progress.set(scanned, None);
        }
    }
}

/// `annals tail`
pub(crate) fn tail(args: &TailArgs, quiet: bool) -> Result<(), Failure> {
    args.printing.check()?;
    let store = open::for_reading(&args.store)?;
    let mut out = Printer::new(&args.printing)?;
    let head = store.head();
    let seen = before_the_last(&store, args, head)?;
    print_range(&store, &args.filter, seen, head, &mut out)?;
    open::must_be_whole(&store)?;
    if let Some(stream) = &args.filter.stream
        && store.stream_head(stream)?.is_none()
    {
        match args.follow {
            true if quiet => {}
            true => note(format_args!("there is no stream {stream:?} yet")),
            false => return Err(no_such_stream(stream)),
        }
    }
    if args.follow { follow(&store, &args.filter, head, &mut out) } else { Ok(()) }
}

/// Prints events after `seen`, until a signal or a failure.
fn follow(
    store: &Store,
    filter: &Filter,
    mut seen: Position,
    out: &mut Printer,
) -> Result<(), Failure> {
    loop {
        if interrupt::requested() {
            return Err(Failure::Interrupted);
        }
        output::must_be_read()?;
        store.wait_for(Position::new(seen.get() + 1), PATIENCE)?;
        let head = store.head();
        if head > seen {
            print_range(store, filter, seen, head, out)?;
            seen = head;
        }
    }
}

/// The position before the last `args.lines` matching events.
fn before_the_last(store: &Store, args: &TailArgs, head: Position) -> Result<Position, Failure> {
    let mut after = head;
    if args.lines == 0 {
        return Ok(after);
    }
    let read = store.read_all().as_of(head).backwards().limit(args.lines);
    let done = args.filter.of(read).try_for_each(|event| {
        after = Position::new(event.position().get().saturating_sub(1));
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if done.is_break() { Err(Failure::Interrupted) } else { Ok(after) }
}

fn print_range(
    store: &Store,
    filter: &Filter,
    after: Position,
    head: Position,
    out: &mut Printer,
) -> Result<(), Failure> {
    let read = filter.of(store.read_all().after(after).as_of(head));
    let done = read.try_for_each(|event| emit(out, event));
    finish(done, &mut out.out)
}
