//! `import`: lines in, commits out.
//!
//! Owns the path of a line through decoding, grouping and submitting, and the handling of refused
//! groups. Must never report an event as stored before its commit has settled.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use annals::{Durability, Error, ExpectedVersion, Options, Store, Timestamp};
use annals_lines::events_table::{Form, Table};
use annals_lines::{BadLine, CommitOf, Record, cloudevents, encoding, lines};

use crate::args::{ImportArgs, InputFormat};
use crate::failure::{self, Failure};
use crate::groups::{Bad, Entry, Groups, Step};
use crate::input::{self, Message, RawLine};
use crate::progress::{Progress, Unit};
use crate::report::Report;
use crate::resume::{Earlier, Known};
use crate::settle::{InFlight, Outcome, Settler, Tally};
use crate::{interrupt, open, output};

/// A pause of the input after which lines do not wait for their batch to fill.
const PAUSE: Duration = Duration::from_millis(20);

/// The reasons for which an import ends.
#[derive(Debug)]
pub(crate) enum End {
    /// Every line was read.
    Complete,
    /// A line was bad.
    Bad(Bad),
    /// A signal was received.
    Interrupted,
    /// The thread that settles commits stopped, and holds the reason.
    Stopped,
    /// The input or the store failed.
    Failed(Failure),
}

/// `annals import`
pub(crate) fn run(args: &ImportArgs, quiet: bool) -> Result<(), Failure> {
    let (source, size) = source(&args.file)?;
    let mut import = Import {
        args,
        quiet,
        target: None,
        groups: Groups::new(usize::try_from(args.batch).unwrap_or(usize::MAX)),
        steps: Vec::new(),
        counted: HashMap::new(),
        table: table(args.format),
        latest: Timestamp::from_micros(0),
        progress: Progress::new(Unit::Bytes, size, quiet),
        bytes: 0,
        report: Report::default(),
    };
    if open::exists(&args.store) {
        // An error of the opening is reported before any input is read.
        import.open()?;
    }
    let quoted = args.format == InputFormat::PostgresCsv;
    let input = input::read(source, args.max_line, quoted);
    // The import of an empty input creates an empty store.
    let end = match import.lines(&input).and_then(|()| import.target().map(drop)) {
        Ok(()) => End::Complete,
        Err(end) => end,
    };
    let Import { target, mut progress, report, .. } = import;
    let (tally, closed) = match target {
        Some(Target { store, settler, .. }) => (settler.finish(), open::close(store)),
        None => (Tally::default(), Ok(())),
    };
    progress.finish();
    report.conclude(end, tally, closed, progress.elapsed(), args.ack, quiet)
}

/// The input, and its size if it has one.
fn source(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if file == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let cannot = |e| Failure::Fault(format!("cannot read {}: {e}", file.display()));
    #[expect(clippy::disallowed_methods, reason = "the tool's own input, not the store's files")]
    let opened = std::fs::File::open(file).map_err(cannot)?;
    let found = opened.metadata().map_err(cannot)?;
    if found.is_dir() {
        return Err(Failure::Fault(format!("cannot read {}: it is a directory", file.display())));
    }
    Ok((Box::new(opened), found.is_file().then_some(found.len())))
}

struct Import<'a> {
    args: &'a ImportArgs,
    quiet: bool,
    /// A missing store is created when there is something to store: an import that fails earlier leaves
    /// no directory.
    target: Option<Target>,
    groups: Groups,
    steps: Vec<Step>,
    /// The number of lines of each stream, if events are identified by it or it is checked.
    counted: HashMap<String, u64>,
    /// The table, if the input is one.
    table: Option<Table>,
    /// The time of the row before.
    latest: Timestamp,
    progress: Progress,
    /// Bytes of the input that were read.
    bytes: u64,
    report: Report,
}

/// The store that the events go to.
struct Target {
    store: Store,
    settler: Settler,
    /// The events that an interrupted import has stored, if this import continues it.
    earlier: Option<Earlier>,
}

impl Import<'_> {
    /// Imports every line, until the input ends or the import has to stop.
    fn lines(&mut self, input: &Receiver<Message>) -> Result<(), End> {
        loop {
            if interrupt::requested() {
                return Err(End::Interrupted);
            }
            if self.target.as_ref().is_some_and(|target| target.settler.has_stopped()) {
                return Err(End::Stopped);
            }
            match input.recv_timeout(PAUSE) {
                Ok(Message::Lines(lines)) => {
                    for line in &lines {
                        self.line(line)?;
                    }
                }
                Ok(Message::Failed(e)) => {
                    let file = self.args.file.display();
                    return Err(End::Failed(Failure::Fault(format!("cannot read {file}: {e}"))));
                }
                Ok(Message::End) => {
                    self.groups.close(&mut self.steps);
                    return self.work();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.groups.pause(&mut self.steps);
                    self.work()?;
                    // All events that were read are submitted. The outcome of further ones could not be
                    // reported.
                    if self.args.ack && self.bytes > 0 && output::must_be_read().is_err() {
                        return Err(End::Failed(Failure::Unacknowledged));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let what = "the thread that reads the input ended".to_owned();
                    return Err(End::Failed(Failure::Fault(what)));
                }
            }
            self.progress.set(self.bytes, None);
        }
    }

    fn line(&mut self, line: &RawLine) -> Result<(), End> {
        self.bytes += line.size;
        let decoded = match &line.bytes {
            Some(bytes) => {
                // Concatenated files have marks inside the input.
                let text = encoding::without_mark(bytes);
                if text.trim_ascii().is_empty() {
                    return Ok(());
                }
                match encoding::foreign(bytes) {
                    Some(what) => Err(BadLine::unreadable(format!("the input is {what}"))),
                    None => match &mut self.table {
                        Some(table) => match table.decode(text).transpose() {
                            Some(decoded) => decoded,
                            None => return Ok(()),
                        },
                        None => decode(self.args.format, text),
                    },
                }
            }
            None => Err(BadLine {
                what: format!("longer than {} bytes", self.args.max_line),
                commit: match self.args.format {
                    InputFormat::Ndjson => CommitOf::Unknown,
                    _ => CommitOf::Known(None),
                },
            }),
        };
        let entry = decoded.and_then(|record| self.entry(line.number, record));
        self.groups.push(line.number, entry, &mut self.steps);
        self.work()
    }

    /// Adds to a record the properties that the options request.
    fn entry(&mut self, line: u64, mut record: Record) -> Result<Entry, BadLine> {
        let args = self.args;
        let commit = record.commit.clone();
        let bad = |what| BadLine { what, commit: CommitOf::Known(commit) };
        let number = if self.table.is_some() {
            let counted = self.count(&record.stream);
            match record.number() {
                Ok(Some(number)) if number == counted => number,
                Ok(number) => {
                    let number = number.unwrap_or(0);
                    let what = format!(
                        "version {number} of stream {:?} follows {}; versions count from 1, in the order of \
                        the rows",
                        record.stream,
                        counted - 1
                    );
                    return Err(bad(what));
                }
                Err(what) => return Err(bad(what)),
            }
        } else if args.derive_ids.is_some() || args.resume {
            let counted = self.count(&record.stream);
            match record.number() {
                Ok(number) => number.unwrap_or(counted),
                Err(what) => return Err(bad(what)),
            }
        } else {
            0
        };
        if let Some(source) = &args.derive_ids {
            record.derive_id(source, number);
        }
        let mut time = if args.keep_times { Some(record.time().map_err(bad)?) } else { None };
        if self.table.is_some() {
            // Rows have the times at which their transactions began.
            time = time.map(|time| time.max(self.latest));
            self.latest = time.unwrap_or(self.latest);
        }
        Ok(Entry { line, record, time, number })
    }

    /// The number of lines of a stream, including this one.
    fn count(&mut self, stream: &str) -> u64 {
        if let Some(counted) = self.counted.get_mut(stream) {
            *counted += 1;
            return *counted;
        }
        self.counted.insert(stream.to_owned(), 1);
        1
    }

    fn open(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let durability = if args.buffered { Durability::BUFFERED } else { Durability::Sync };
        let mut options = open::with_cold_segments(Options::new()).durability(durability);
        if let Some(bytes) = args.segment_size {
            options = options.segment_size(bytes);
        }
        let store = open::for_writing(&args.store, options, args.wait, self.quiet)?;
        let settler = Settler::start(store.clone(), args.ack, args.buffered);
        let earlier = args.resume.then(|| Earlier::new(&store));
        self.target = Some(Target { store, settler, earlier });
        Ok(())
    }

    fn target(&mut self) -> Result<&Target, End> {
        if self.target.is_none() {
            self.open().map_err(End::Failed)?;
        }
        self.target.as_ref().ok_or(End::Stopped)
    }

    fn work(&mut self) -> Result<(), End> {
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Batch(entries) => self.batch_or_known(&entries)?,
                Step::Commit(entries) => self.commit_or_known(&entries)?,
                Step::Bad(bad) => self.bad(bad)?,
                Step::Skipped(lines) => self.report.skipped_lines += lines,
            }
        }
        Ok(())
    }

    /// The stored state of these lines from an earlier import; `None` unless this one continues it.
    fn known(&mut self, entries: &[Entry]) -> Result<Option<Vec<Known>>, End> {
        let target = self.target()?;
        let Some(earlier) = &target.earlier else { return Ok(None) };
        let known = entries.iter().map(|entry| earlier.look(&target.store, entry));
        known.collect::<annals::Result<_>>().map(Some).map_err(|e| End::Failed(e.into()))
    }

    /// Stores the lines whose events are not stored yet.
    fn batch_or_known(&mut self, entries: &[Entry]) -> Result<(), End> {
        let Some(known) = self.known(entries)? else { return self.batch(entries) };
        let mut from = 0;
        for run in known.chunk_by(Known::is_like) {
            let lines = &entries[from..from + run.len()];
            from += run.len();
            match run {
                [Known::Not, ..] => self.batch(lines)?,
                [Known::Recorded(_), ..] => self.recorded(lines, run)?,
                _ => self.differ(lines, run)?,
            }
        }
        Ok(())
    }

    /// Stores lines as one commit, unless they are stored already.
    fn commit_or_known(&mut self, entries: &[Entry]) -> Result<(), End> {
        let Some(known) = self.known(entries)? else { return self.commit(entries) };
        if known.iter().all(|it| matches!(it, Known::Not)) {
            return self.commit(entries);
        }
        if known.iter().all(|it| matches!(it, Known::Recorded(_))) {
            return self.recorded(entries, &known);
        }
        if known.iter().any(|it| matches!(it, Known::Differs(_))) {
            return self.differ(entries, &known);
        }
        let (first_line, last_line) = span(entries);
        let what = "only a part of the commit is stored".to_owned();
        self.bad(Bad { first_line, last_line, what })
    }

    fn recorded(&mut self, entries: &[Entry], known: &[Known]) -> Result<(), End> {
        let position = |known: Option<&Known>| known.and_then(Known::position).unwrap_or_default();
        let outcome = Outcome::Recorded {
            first_position: position(known.first()),
            last_position: position(known.last()),
        };
        let (events, lines) = (entries.len() as u64, span(entries));
        self.target()?.settler.hand_over(InFlight { outcome, events, lines });
        Ok(())
    }

    fn differ(&mut self, entries: &[Entry], known: &[Known]) -> Result<(), End> {
        for (entry, known) in entries.iter().zip(known) {
            if let Known::Differs(what) = known {
                let line = entry.line;
                self.bad(Bad { first_line: line, last_line: line, what: what.clone() })?;
            }
        }
        Ok(())
    }

    /// Stores lines that need not be one commit: if the store refuses them together, they are split.
    fn batch(&mut self, entries: &[Entry]) -> Result<(), End> {
        let Some(refusal) = self.submit(entries)? else { return Ok(()) };
        let [_, _, ..] = entries else {
            return self.refused(entries, &refusal);
        };
        let parts = match refusal {
            // All lines have the same recorded time.
            Error::RecordedTime { .. } => return self.refused(entries, &refusal),
            // Some events are stored already and some are not: each one is submitted alone.
            Error::IdReused { .. } | Error::DuplicateId { .. } => entries.chunks(1),
            _ => entries.chunks(entries.len().div_ceil(2)),
        };
        for part in parts {
            self.batch(part)?;
        }
        Ok(())
    }

    /// Stores lines that are one commit.
    fn commit(&mut self, entries: &[Entry]) -> Result<(), End> {
        match self.submit(entries)? {
            None => Ok(()),
            Some(refusal) => self.refused(entries, &refusal),
        }
    }

    fn refused(&mut self, entries: &[Entry], error: &Error) -> Result<(), End> {
        let (first_line, last_line) = span(entries);
        self.report.skipped_lines += (entries.len() as u64).saturating_sub(1);
        self.bad(Bad { first_line, last_line, what: failure::described(error) })
    }

    fn bad(&mut self, bad: Bad) -> Result<(), End> {
        if !self.args.skip_bad {
            return Err(End::Bad(bad));
        }
        self.progress.suspend(|| self.report.bad(&bad));
        Ok(())
    }

    /// Submits one commit, with an append for each run of lines of one stream. Returns the store's error
    /// if it is caused by the lines.
    fn submit(&mut self, entries: &[Entry]) -> Result<Option<Error>, End> {
        let target = self.target()?;
        let mut transaction = target.store.transaction();
        for run in entries.chunk_by(|a, b| a.record.stream == b.record.stream) {
            let Some(first) = run.first() else { continue };
            let events = run.iter().map(|entry| entry.record.to_event());
            transaction = transaction.append(&first.record.stream, ExpectedVersion::Any, events);
        }
        if let Some(time) = entries.first().and_then(|entry| entry.time) {
            transaction = transaction.recorded_at(time);
        }
        let ticket = match transaction.submit() {
            Ok(ticket) => ticket,
            Err(error) => return refusal(error).map(Some),
        };
        let (events, lines) = (entries.len() as u64, span(entries));
        target.settler.hand_over(InFlight { outcome: Outcome::Later(ticket), events, lines });
        Ok(None)
    }
}

fn decode(format: InputFormat, line: &[u8]) -> Result<Record, BadLine> {
    match format {
        InputFormat::Cloudevents => cloudevents::decode(line),
        _ => lines::decode(line),
    }
}

/// The table that the input is, if it is one.
fn table(format: InputFormat) -> Option<Table> {
    match format {
        InputFormat::PostgresCsv => Some(Table::new(Form::Csv)),
        InputFormat::PostgresCopy => Some(Table::new(Form::Copy)),
        InputFormat::Ndjson | InputFormat::Cloudevents => None,
    }
}

/// The first line and the last.
fn span(entries: &[Entry]) -> (u64, u64) {
    let line = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.line);
    (line(entries.first()), line(entries.last()))
}

/// Separates errors that the lines cause from errors that end the import.
fn refusal(error: Error) -> Result<Error, End> {
    match error {
        Error::IdReused { .. }
        | Error::DuplicateId { .. }
        | Error::LimitExceeded { .. }
        | Error::RecordedTime { .. }
        | Error::InvalidArgument { .. } => Ok(error),
        other => Err(End::Failed(other.into())),
    }
}
