//! `import`: lines in, commits out.
//!
//! Owns the way of a line through decoding, grouping and submitting, and what is done where the
//! store refuses a group. Must never report an event as stored whose commit did not settle.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use annals::{Durability, Error, ExpectedVersion, Options, Store};
use annals_cli::{BadLine, CommitOf, Record, cloudevents, encoding, lines};

use crate::args::{ImportArgs, InputFormat};
use crate::failure::Failure;
use crate::groups::{Bad, Entry, Groups, Step};
use crate::input::{self, Message, RawLine};
use crate::progress::{Progress, Unit};
use crate::report::Report;
use crate::settle::{InFlight, Settler};
use crate::{interrupt, open, output};

/// A pause of the input after which lines do not wait for their batch to fill.
const PAUSE: Duration = Duration::from_millis(20);

/// Why an import ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Every line was read.
    Complete,
    /// A line was bad.
    Bad(Bad),
    /// A signal came.
    Interrupted,
    /// The settler stopped; it knows why.
    Stopped,
    /// The input or the store failed.
    Failed(Failure),
}

/// `annals import`
pub(crate) fn run(args: &ImportArgs, quiet: bool) -> Result<(), Failure> {
    let (source, size) = source(&args.file)?;
    let durability = if args.buffered { Durability::BUFFERED } else { Durability::Sync };
    let mut options = Options::new().durability(durability);
    if let Some(bytes) = args.segment_size {
        options = options.segment_size(bytes);
    }
    let store = open::for_writing(&args.store, options, quiet)?;
    let mut import = Import {
        settler: Settler::start(store.clone(), args.ack, args.buffered),
        store: &store,
        args,
        groups: Groups::new(usize::try_from(args.batch).unwrap_or(usize::MAX)),
        steps: Vec::new(),
        progress: Progress::new(Unit::Bytes, size, quiet),
        bytes: 0,
        report: Report::default(),
    };
    let input = input::read(source, args.max_line);
    let end = match import.lines(&input) {
        Ok(()) => End::Complete,
        Err(end) => end,
    };
    let Import { settler, mut progress, report, .. } = import;
    let tally = settler.finish();
    progress.finish();
    let closed = store.close();
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
    store: &'a Store,
    args: &'a ImportArgs,
    settler: Settler,
    groups: Groups,
    steps: Vec<Step>,
    progress: Progress,
    /// Of the input, so far.
    bytes: u64,
    report: Report,
}

impl Import<'_> {
    /// Takes every line, until something ends the import.
    fn lines(&mut self, input: &Receiver<Message>) -> Result<(), End> {
        loop {
            if interrupt::requested() {
                return Err(End::Interrupted);
            }
            if self.settler.has_stopped() {
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
                    // Everything given is on its way; nobody will learn what becomes of more.
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
                // Files that were concatenated have marks within.
                let text = encoding::without_mark(bytes);
                if text.trim_ascii().is_empty() {
                    return Ok(());
                }
                match encoding::foreign(bytes) {
                    Some(what) => Err(BadLine::unreadable(format!("the input is {what}"))),
                    None => decode(self.args.format, text),
                }
            }
            None => Err(BadLine {
                what: format!("longer than {} bytes", self.args.max_line),
                commit: match self.args.format {
                    InputFormat::Ndjson => CommitOf::Unknown,
                    InputFormat::Cloudevents => CommitOf::Known(None),
                },
            }),
        };
        self.groups.push(line.number, decoded, &mut self.steps);
        self.work()
    }

    fn work(&mut self) -> Result<(), End> {
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Batch(entries) => self.batch(&entries)?,
                Step::Commit(entries) => self.commit(&entries)?,
                Step::Bad(bad) => self.bad(bad)?,
                Step::Skipped(lines) => self.report.skipped_lines += lines,
            }
        }
        Ok(())
    }

    /// Stores lines that need not be one commit: where the store refuses them together, apart.
    fn batch(&mut self, entries: &[Entry]) -> Result<(), End> {
        let refusal = match self.submit(entries) {
            Ok(()) => return Ok(()),
            Err(error) => refusal(error)?,
        };
        let [_, _, ..] = entries else {
            return self.refused(entries, &refusal);
        };
        let parts = match refusal {
            // Some are stored already and some are not: the store knows which, one by one.
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
        match self.submit(entries) {
            Ok(()) => Ok(()),
            Err(error) => {
                let refusal = refusal(error)?;
                self.refused(entries, &refusal)
            }
        }
    }

    fn refused(&mut self, entries: &[Entry], error: &Error) -> Result<(), End> {
        let (first_line, last_line) = span(entries);
        self.report.skipped_lines += (entries.len() as u64).saturating_sub(1);
        self.bad(Bad { first_line, last_line, what: error.to_string() })
    }

    fn bad(&mut self, bad: Bad) -> Result<(), End> {
        if !self.args.skip_bad {
            return Err(End::Bad(bad));
        }
        self.progress.suspend(|| self.report.bad(&bad));
        Ok(())
    }

    /// Submits one commit: an append for each run of lines of one stream.
    fn submit(&self, entries: &[Entry]) -> annals::Result<()> {
        let mut transaction = self.store.transaction();
        for run in entries.chunk_by(|a, b| a.record.stream == b.record.stream) {
            let Some(first) = run.first() else { continue };
            let events = run.iter().map(|entry| entry.record.to_event());
            transaction = transaction.append(&first.record.stream, ExpectedVersion::Any, events);
        }
        let ticket = transaction.submit()?;
        let (events, lines) = (entries.len() as u64, span(entries));
        self.settler.hand_over(InFlight { ticket, events, lines });
        Ok(())
    }
}

fn decode(format: InputFormat, line: &[u8]) -> Result<Record, BadLine> {
    match format {
        InputFormat::Ndjson => lines::decode(line),
        InputFormat::Cloudevents => cloudevents::decode(line),
    }
}

/// The first line and the last.
fn span(entries: &[Entry]) -> (u64, u64) {
    let line = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.line);
    (line(entries.first()), line(entries.last()))
}

/// Tells the errors that lie in the lines from those that end the import.
fn refusal(error: Error) -> Result<Error, End> {
    match error {
        Error::IdReused { .. }
        | Error::DuplicateId { .. }
        | Error::LimitExceeded { .. }
        | Error::InvalidArgument { .. } => Ok(error),
        other => Err(End::Failed(other.into())),
    }
}
