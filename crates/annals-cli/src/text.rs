//! Events and JSON as text for people.
//!
//! Owns the text forms, as pure functions. Must never put a control character of a store into them.

use std::fmt::Write as _;

use annals::ContentType;
use annals_lines::lines::Row;
use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar as _;

/// The number of bytes of binary data that a line of text shows.
const PREVIEW: usize = 32;
/// Deeper values of JSON are indented no further.
const MAX_INDENT: usize = 32;
/// The number of columns that data gets even if the line becomes wider than the terminal.
const LEAST: usize = 16;

const FAINT: Style = Style::new().dimmed();
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();
const KIND: Style = AnsiColor::Yellow.on_default();
pub(crate) const REMOVED: Style = AnsiColor::Red.on_default();
pub(crate) const ADDED: Style = AnsiColor::Green.on_default();
const TAG: Style = AnsiColor::Green.on_default();

/// How a line of text is printed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    pub(crate) colour: bool,
    /// The number of columns of the terminal, to which data is cut.
    pub(crate) width: Option<usize>,
}

/// An event as one line: position, time, stream@version, type, data, tags.
pub(crate) fn line(row: &Row<'_>, time: &str, look: Look, out: &mut String) {
    let colour = look.colour;
    let (position, version) = (row.position.to_string(), row.version.to_string());
    let stream = printed(row.stream);
    let kind = if row.event_type.is_empty() { "\"\"".to_owned() } else { printed(row.event_type) };
    let tags: Vec<String> = row.tags.iter().map(|tag| printed(tag)).collect();
    // Two spaces between parts, an @, and a # before each tag.
    let around = || {
        let texts = [position.as_str(), time, &stream, &version, &kind];
        let tags = tags.iter().map(|tag| width(tag) + 3).sum::<usize>();
        texts.into_iter().map(width).sum::<usize>() + 9 + tags
    };
    let room = look.width.map(|all| all.saturating_sub(around()).max(LEAST));
    out.push_str(&position);
    out.push_str("  ");
    styled(FAINT, colour, out, |out| out.push_str(time));
    out.push_str("  ");
    styled(NAME, colour, out, |out| out.push_str(&stream));
    out.push('@');
    out.push_str(&version);
    out.push_str("  ");
    styled(KIND, colour, out, |out| out.push_str(&kind));
    out.push_str("  ");
    match room {
        None => preview(row.data, row.content_type, out),
        Some(room) => {
            // A character has at most four bytes, and an escape sequence is longer than its character.
            let start = row.data.len().min(room.saturating_mul(4).max(PREVIEW + 1));
            let is_cut = start < row.data.len();
            let mut shown = String::new();
            match row.content_type {
                ContentType::Json if is_cut => {
                    let text = String::from_utf8_lossy(&row.data[..start]);
                    preview(text.as_bytes(), row.content_type, &mut shown);
                }
                _ => preview(row.data, row.content_type, &mut shown),
            }
            cut(&shown, room, out);
        }
    }
    for tag in &tags {
        out.push_str("  ");
        styled(TAG, colour, out, |out| {
            out.push('#');
            out.push_str(tag);
        });
    }
}

/// The number of columns of a printable text.
fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Adds what fits into this number of columns; an ellipsis marks that more follows.
fn cut(text: &str, room: usize, out: &mut String) {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > room {
            // The last character that fits makes room for the ellipsis.
            let fits = &text[..at];
            let mut keep = fits.len();
            let mut left = used - c.width().unwrap_or(0);
            for (at, c) in fits.char_indices().rev() {
                if left < room {
                    break;
                }
                left -= c.width().unwrap_or(0);
                keep = at;
            }
            out.push_str(&fits[..keep]);
            out.push('…');
            return;
        }
    }
    out.push_str(text);
}

pub(crate) fn styled(
    style: Style,
    colour: bool,
    out: &mut String,
    inner: impl FnOnce(&mut String),
) {
    if colour {
        let _infallible = write!(out, "{style}");
    }
    inner(out);
    if colour {
        let _infallible = write!(out, "{style:#}");
    }
}

/// JSON in full; the size and the start of anything else.
pub(crate) fn preview(data: &[u8], content_type: ContentType, out: &mut String) {
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
pub(crate) fn indent(json: &str) -> String {
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

/// The text, printable on a terminal.
pub(crate) fn printed(text: &str) -> String {
    let mut shown = String::new();
    printable(text, &mut shown);
    shown
}

/// Adds the text, with every character escaped that moves a cursor or changes the reading direction.
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
    use crate::output::Output;
    use annals::{Timestamp, Uuid};

    fn row() -> Row<'static> {
        Row {
            position: 3,
            stream: "",
            version: 2,
            event_type: "T",
            id: Uuid::nil(),
            recorded_at: Some(Timestamp::from_micros(0)),
            commit: Some(3),
            data: b"",
            content_type: ContentType::Json,
            metadata: b"",
            tags: vec!["x"],
            schema_version: 0,
            salvaged_from: None,
        }
    }

    fn shown(stream: &str, data: &[u8], content_type: ContentType, colour: bool) -> String {
        let row = Row { stream, data, content_type, ..row() };
        let mut out = String::new();
        line(&row, "1970-01-01T00:00:00.000000Z", Look { colour, width: None }, &mut out);
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

    #[test]
    fn data_is_cut_to_the_width_of_the_terminal() {
        let shown = |data: &[u8], content_type, width| {
            let row = Row { stream: "口座", data, content_type, ..row() };
            let mut out = String::new();
            line(&row, "now", Look { colour: false, width: Some(width) }, &mut out);
            out
        };
        let whole = shown(b"{\"a\":1234567890123456}", ContentType::Json, 80);
        assert_eq!(whole, "3  now  口座@2  T  {\"a\":1234567890123456}  #x");
        let line = shown(b"{\"a\":1234567890123456}", ContentType::Json, 40);
        assert_eq!(line, "3  now  口座@2  T  {\"a\":12345678901…  #x");
        assert_eq!(width(&line), 40);
        // Data gets some columns in any case, and wide characters are not cut in half.
        let line = shown("\"漢字漢字漢字漢字漢字漢字\"".as_bytes(), ContentType::Json, 1);
        assert_eq!(line, "3  now  口座@2  T  \"漢字漢字漢字漢…  #x");
        let long = shown(&vec![b'\n'; 1 << 24], ContentType::Binary, 80);
        assert!(long.contains("<16777216 bytes> \\n") && width(&long) <= 80, "{long}");
        let long = format!("\"{}\"", "é\u{1b}".repeat(1 << 20));
        assert!(width(&shown(long.as_bytes(), ContentType::Json, 80)) <= 80);
    }
}
