//! Standard output: buffered lines, as NDJSON or as text for people.
//!
//! Owns the text form and the decision to use colour. Must never print a control character from a store
//! to a terminal.

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};

use annals::{ContentType, EventRef};
use annals_cli::lines::{self, Row};
use annals_cli::time;
use anstyle::{AnsiColor, Style};

use crate::args::Format;
use crate::failure::Failure;

const BUFFER: usize = 64 << 10;
/// The number of bytes of binary data that a line of text shows.
const PREVIEW: usize = 32;
/// Deeper values of JSON are indented no further.
const MAX_INDENT: usize = 32;

const FAINT: Style = Style::new().dimmed();
const NAME: Style = AnsiColor::Cyan.on_default();
const KIND: Style = AnsiColor::Yellow.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const ADDED: Style = AnsiColor::Green.on_default();
const TAG: Style = AnsiColor::Green.on_default();

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

/// Whether the environment allows colours: `NO_COLOR` forbids them.
pub(crate) fn colour_is_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
    colour: bool,
    line: Vec<u8>,
    text: String,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        Self {
            colour: colour_is_wanted() && stdout.is_terminal(),
            out: BufWriter::with_capacity(BUFFER, stdout.lock()),
            format,
            line: Vec::new(),
            text: String::new(),
        }
    }

    /// Prints an event.
    pub(crate) fn event(&mut self, event: EventRef<'_>) -> Result<(), Failure> {
        let row = Row::from(&event);
        self.line.clear();
        match self.format {
            Format::Ndjson => lines::encode(&row, &mut self.line).map_err(Failure::Output)?,
            Format::Text => {
                self.text.clear();
                text(&row, self.colour, &mut self.text);
                self.line.extend_from_slice(self.text.as_bytes());
            }
        }
        self.line.push(b'\n');
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
        let mut text = String::new();
        styled(NAME, self.colour, &mut text, |text| printable(name, text));
        text
    }

    /// Bytes from a store, printable on a terminal: JSON in full, the size and the start of anything
    /// else.
    pub(crate) fn data(data: &[u8]) -> String {
        let mut text = String::new();
        let is_json = serde_json::from_slice::<&serde_json::value::RawValue>(data).is_ok();
        let content_type = if is_json { ContentType::Json } else { ContentType::Binary };
        preview(data, content_type, &mut text);
        text
    }

    /// Bytes from a store, printable on a terminal, JSON with one value on a line.
    pub(crate) fn pretty(bytes: &[u8]) -> String {
        let indented = serde_json::from_slice::<&serde_json::value::RawValue>(bytes)
            .ok()
            .map(|raw| indent(raw.get()));
        let Some(indented) = indented else { return Self::data(bytes) };
        let mut text = String::new();
        for line in indented.lines() {
            printable(line, &mut text);
            text.push('\n');
        }
        text
    }

    /// A text from a store, printable on a terminal.
    pub(crate) fn printable(text: &str) -> String {
        let mut shown = String::new();
        printable(text, &mut shown);
        shown
    }

    /// Prints a line that was removed (`-`) or added (`+`).
    pub(crate) fn changed(&mut self, mark: char, line: &str) -> Result<(), Failure> {
        let style = if mark == '-' { REMOVED } else { ADDED };
        let mut text = String::new();
        styled(style, self.colour, &mut text, |text| {
            text.push(mark);
            text.push(' ');
            text.push_str(line);
        });
        self.line(text)
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

fn text(row: &Row<'_>, colour: bool, out: &mut String) {
    let number = |out: &mut String, number: u64| {
        let _infallible = write!(out, "{number}");
    };
    number(out, row.position);
    out.push_str("  ");
    styled(FAINT, colour, out, |out| {
        out.push_str(&row.recorded_at.map_or_else(String::new, time::to_rfc3339));
    });
    out.push_str("  ");
    styled(NAME, colour, out, |out| printable(row.stream, out));
    out.push('@');
    number(out, row.version);
    out.push_str("  ");
    styled(KIND, colour, out, |out| {
        printable(if row.event_type.is_empty() { "\"\"" } else { row.event_type }, out);
    });
    out.push_str("  ");
    preview(row.data, row.content_type, out);
    for tag in &row.tags {
        out.push_str("  ");
        styled(TAG, colour, out, |out| {
            out.push('#');
            printable(tag, out);
        });
    }
}

fn styled(style: Style, colour: bool, out: &mut String, inner: impl FnOnce(&mut String)) {
    if colour {
        let _infallible = write!(out, "{style}");
    }
    inner(out);
    if colour {
        let _infallible = write!(out, "{style:#}");
    }
}

/// JSON in full; the size and the start of anything else.
fn preview(data: &[u8], content_type: ContentType, out: &mut String) {
    if let (ContentType::Json, Ok(json)) = (content_type, std::str::from_utf8(data)) {
        // The line breaks of valid JSON are white space between tokens.
        for part in json.split(['\n', '\r']) {
            printable(part, out);
            out.push(' ');
        }
        out.truncate(out.trim_end_matches(' ').len());
        return;
    }
    let start = &data[..data.len().min(PREVIEW)];
    let _infallible = write!(out, "<{} bytes> {}", data.len(), start.escape_ascii());
    if start.len() < data.len() {
        out.push('…');
    }
}

/// Valid JSON with line breaks and indentation between its tokens, which stay as they are: numbers keep their digits, and
/// keys their order.
fn indent(json: &str) -> String {
    let (mut out, mut depth, mut in_text, mut escaped) = (String::new(), 0_usize, false, false);
    let mut tokens = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(MAX_INDENT)));
    };
    while let Some(c) = tokens.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while tokens.peek().is_some_and(char::is_ascii_whitespace) {
                    tokens.next();
                }
                if let Some(end) = tokens.next_if(|&c| c == '}' || c == ']') {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

/// The text, with every character escaped that moves a cursor or changes the reading direction.
pub(crate) fn printable(text: &str, out: &mut String) {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    for c in text.chars() {
        if hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals::{Timestamp, Uuid};

    fn shown(stream: &str, data: &[u8], content_type: ContentType, colour: bool) -> String {
        let row = Row {
            position: 3,
            stream,
            version: 2,
            event_type: "T",
            id: Uuid::nil(),
            recorded_at: Some(Timestamp::from_micros(0)),
            commit: Some(3),
            data,
            content_type,
            metadata: b"",
            tags: vec!["x"],
            schema_version: 0,
            salvaged_from: None,
        };
        let mut out = String::new();
        text(&row, colour, &mut out);
        out
    }

    #[test]
    fn a_line_of_text_is_one_printable_line() {
        let line = shown("a\n\u{1b}[2J\u{202e}é", b"{\n \"a\": 1\r\n}\n", ContentType::Json, false);
        assert_eq!(
            line,
            "3  1970-01-01T00:00:00.000000Z  a\\n\\u{1b}[2J\\u{202e}é@2  T  {  \"a\": 1  }  #x"
        );
    }

    #[test]
    fn indented_json_keeps_its_tokens() {
        let json = br#" {"b":1.50, "a,{":[ ],"c":["x\\\"}",{"d":null}],"a":2e400}"#;
        let lines = Output::pretty(json);
        let expected = [
            "{",
            "  \"b\": 1.50,",
            "  \"a,{\": [],",
            "  \"c\": [",
            r#"    "x\\\"}","#,
            "    {",
            "      \"d\": null",
            "    }",
            "  ],",
            "  \"a\": 2e400",
            "}",
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
        assert_eq!(Output::pretty("\"\u{202e}\"".as_bytes()), "\"\\u{202e}\"\n");
        assert_eq!(Output::pretty(b"\xff"), "<1 bytes> \\xff");
    }

    #[test]
    fn binary_data_is_shown_in_part() {
        let line = shown("a", b"\x00\xff\n", ContentType::Binary, false);
        assert!(line.ends_with("T  <3 bytes> \\x00\\xff\\n  #x"), "{line}");
        let line = shown("a", &[b'x'; 40], ContentType::Binary, false);
        assert!(line.ends_with(&format!("<40 bytes> {}…  #x", "x".repeat(32))), "{line}");
        let line = shown("a", b"\xff", ContentType::Json, true);
        assert!(line.contains("<1 bytes> \\xff") && line.contains("\u{1b}["), "{line}");
    }
}
