//! Standard output: buffered lines, as NDJSON, as CSV or as text for people.
//!
//! Owns the choice of the form and the decision to use colour. Must never print a control character from a store
//! to a terminal.

use std::io::{self, BufWriter, StdoutLock, Write};

use annals::{ContentType, EventRef, Timestamp};
use annals_lines::columns::{self, Column};
use annals_lines::lines::{self, Row};
use annals_lines::time;

use crate::args::{EventFormat, Format, Printing};
use crate::failure::Failure;
use crate::terminal;
use crate::text::{self, Look, styled};

const BUFFER: usize = 64 << 10;

/// Fails if standard output is a pipe or socket without a reader. Writes nothing, so that commands
/// without output detect this too.
#[cfg(unix)]
pub(crate) fn must_be_read() -> Result<(), Failure> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = io::stdout();
    // A hang-up is reported without being requested.
    let mut asked = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::ERR | PollFlags::HUP;
    match poll(&mut asked, Some(&at_once)) {
        Ok(1..) if asked[0].revents().intersects(gone) => {
            Err(Failure::Output(io::ErrorKind::BrokenPipe.into()))
        }
        // If it cannot be determined, the next write fails.
        _ => Ok(()),
    }
}

/// On other systems the next write detects it. An empty write cannot be used: readers of a Windows pipe
/// take it for the end.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "same shape as where it can fail")]
pub(crate) fn must_be_read() -> Result<(), Failure> {
    Ok(())
}

/// The form of events.
#[derive(Debug)]
enum Form {
    Text,
    Ndjson,
    Csv(Vec<Column>),
}

pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    form: Form,
    look: Look,
    is_local: bool,
    line: Vec<u8>,
    text: String,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let form = match format {
            Format::Text => Form::Text,
            Format::Ndjson => Form::Ndjson,
        };
        Self {
            out: BufWriter::with_capacity(BUFFER, io::stdout().lock()),
            form,
            look: Look { colour: terminal::has_colour(), width: terminal::width() },
            is_local: false,
            line: Vec::new(),
            text: String::new(),
        }
    }

    /// An output of events. Prints the names of the columns of CSV.
    pub(crate) fn of_events(printing: &Printing) -> Result<Self, Failure> {
        let mut output = Self::new(Format::Text).local(printing.local);
        output.form = match printing.format {
            EventFormat::Text => Form::Text,
            EventFormat::Ndjson => Form::Ndjson,
            EventFormat::Csv => Form::Csv(printing.columns()),
        };
        if let Form::Csv(columns) = &output.form {
            columns::head(columns, &mut output.line);
            output.out.write_all(&output.line).map_err(Failure::Output)?;
        }
        Ok(output)
    }

    /// Prints times in the time zone of the system; NDJSON is in UTC in any case.
    pub(crate) fn local(mut self, is_local: bool) -> Self {
        self.is_local = is_local;
        self
    }

    /// A time as text.
    pub(crate) fn time(&self, time: Timestamp) -> String {
        if self.is_local { time::to_local(time) } else { time::to_rfc3339(time) }
    }

    /// Prints an event.
    pub(crate) fn event(&mut self, event: EventRef<'_>) -> Result<(), Failure> {
        let row = Row::from(&event);
        self.line.clear();
        match &self.form {
            Form::Ndjson => {
                lines::encode(&row, &mut self.line).map_err(Failure::Output)?;
                self.line.push(b'\n');
            }
            Form::Csv(wanted) => {
                let time = row.recorded_at.map(|at| self.time(at)).unwrap_or_default();
                columns::encode(&row, &time, wanted, &mut self.line);
                if terminal::is_output() {
                    let line = String::from_utf8_lossy(&self.line);
                    let shown = text::printed(line.trim_end_matches(['\r', '\n']));
                    self.line = shown.into_bytes();
                    self.line.push(b'\n');
                }
            }
            Form::Text => {
                let time = row.recorded_at.map(|at| self.time(at)).unwrap_or_default();
                self.text.clear();
                text::line(&row, &time, self.look, &mut self.text);
                self.line.extend_from_slice(self.text.as_bytes());
                self.line.push(b'\n');
            }
        }
        self.out.write_all(&self.line).map_err(Failure::Output)
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.out, value).map_err(|e| Failure::Output(e.into()))?;
        self.out.write_all(b"\n").map_err(Failure::Output)
    }

    /// Prints a line of text as it is.
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) -> Result<(), Failure> {
        writeln!(self.out, "{text}").map_err(Failure::Output)
    }

    /// A name from a store, with control characters escaped for a terminal.
    pub(crate) fn name(&self, name: &str) -> String {
        let mut shown = String::new();
        styled(text::NAME, self.look.colour, &mut shown, |shown| text::printable(name, shown));
        shown
    }

    /// Bytes from a store, printable on a terminal: JSON in full, the size and the start of anything
    /// else.
    pub(crate) fn data(data: &[u8]) -> String {
        let mut shown = String::new();
        let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(data).is_ok();
        let content_type = if is_json { ContentType::Json } else { ContentType::Binary };
        text::preview(data, content_type, &mut shown);
        shown
    }

    /// Bytes from a store, printable on a terminal, JSON with one value on a line.
    pub(crate) fn pretty(bytes: &[u8]) -> String {
        let indented = serde_json::from_slice::<&serde_json::value::RawValue>(bytes)
            .ok()
            .map(|raw| text::indent(raw.get()));
        let Some(indented) = indented else { return Self::data(bytes) };
        let mut shown = String::new();
        for line in indented.lines() {
            text::printable(line, &mut shown);
            shown.push('\n');
        }
        shown
    }

    /// Prints a line that was removed (`-`) or added (`+`).
    pub(crate) fn changed(&mut self, mark: char, line: &str) -> Result<(), Failure> {
        let style = if mark == '-' { text::REMOVED } else { text::ADDED };
        let mut shown = String::new();
        styled(style, self.look.colour, &mut shown, |shown| {
            shown.push(mark);
            shown.push(' ');
            shown.push_str(line);
        });
        self.line(shown)
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(Failure::Output)
    }

    /// Writes the buffered output.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Output)
    }
}
