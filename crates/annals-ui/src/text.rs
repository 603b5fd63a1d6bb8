//! Text from a store, and numbers, as a page shows them.
//!
//! Owns which characters are shown as escapes. Must never pass a character on that moves text or changes its direction.

use std::fmt::Write as _;
use std::time::Duration;

use annals::Timestamp;
use maud::{Markup, html};

/// Whether a character is invisible, or changes how the text around it is shown.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The text with every hidden character as an escape, such as `\u{202e}`: for titles and attributes.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The text with every hidden character as a marked escape.
pub(crate) fn visible(text: &str) -> Markup {
    marked(text, |_| false)
}

/// Like [`visible`], for text of several lines: line breaks and tabs stay.
pub(crate) fn visible_lines(text: &str) -> Markup {
    marked(text, |c| matches!(c, '\n' | '\t'))
}

fn marked(text: &str, keep: impl Fn(char) -> bool) -> Markup {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((at, c)) = rest.char_indices().find(|&(_, c)| is_hidden(c) && !keep(c)) {
        pieces.push((&rest[..at], c));
        rest = &rest[at + c.len_utf8()..];
    }
    html! {
        @for (before, hidden) in pieces {
            (before) span.escape { (hidden.escape_default().to_string()) }
        }
        (rest)
    }
}

/// A name from a store: its direction does not reach beyond it.
pub(crate) fn name(text: &str) -> Markup {
    html! { bdi { @if text.is_empty() { i { "(empty)" } } @else { (visible(text)) } } }
}

/// The first `most` characters.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

/// The first `most` characters, and a mark if there are more.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let start = beginning(text, most);
    if start.len() < text.len() { format!("{start}…") } else { start.to_owned() }
}

/// A number with thin spaces between groups of three digits.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A number and its noun.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(count), if count == 1 { "" } else { "s" })
}

/// A size in binary units, with three digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let places = usize::from(value < 99.95) + usize::from(value < 9.995);
    format!("{value:.places$} {}", UNITS[unit])
}

/// A duration in one or two units.
pub(crate) fn duration(time: Duration) -> String {
    let micros = time.as_micros();
    let seconds = time.as_secs();
    match seconds {
        0 if micros < 1000 => format!("{micros} µs"),
        0 => format!("{} ms", micros / 1000),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A time. The script of the page shows it as local time on request.
pub(crate) fn time(time: Timestamp) -> Markup {
    let text = time.to_string();
    // "2026-11-21T22:06:05.863688Z" is shown with a space and milliseconds.
    let shown = match text.split_once('T') {
        Some((day, clock)) => format!("{day} {}", &clock[..clock.len().min(12)]),
        None => text.clone(),
    };
    html! { time datetime=(text) title=(text) { (shown) " UTC" } }
}

/// Reads a time: RFC 3339, or a day with or without a time of day, in UTC.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let mut whole = text.trim().replacen(' ', "T", 1);
    if let Ok(time) = whole.parse() {
        return Some(time);
    }
    match whole.len() {
        10 => whole.push_str("T00:00:00Z"),
        16 => whole.push_str(":00Z"),
        _ => whole.push('Z'),
    }
    whole.parse().ok()
}

/// Now, by the clock of the operating system.
#[expect(clippy::disallowed_methods, reason = "rates are up to now; nothing is recorded with it")]
pub(crate) fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

/// Bytes as a dump: offset, hexadecimal, and printable ASCII.
pub(crate) fn hex_dump(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 5);
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let _infallible = write!(out, "{:08x} ", line * 16);
        for byte in chunk {
            let _infallible = write!(out, " {byte:02x}");
        }
        out.extend(std::iter::repeat_n("   ", 16 - chunk.len()));
        out.push_str("  ");
        out.extend(chunk.iter().map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        }));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_escaped_and_markup_is_text() {
        let shown = visible("a\u{202e}<b>\u{0}\n").into_string();
        assert_eq!(
            shown,
            "a<span class=\"escape\">\\u{202e}</span>&lt;b&gt;<span class=\"escape\">\\u{0}</span>\
             <span class=\"escape\">\\n</span>"
        );
        assert_eq!(visible_lines("a\n\tb").into_string(), "a\n\tb");
        assert_eq!(plain("é\u{feff}\u{e0041}"), "é\\u{feff}\\u{e0041}");
    }

    #[test]
    fn figures_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 << 20, "10.0 MiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (300 << 30, "300 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(counted(1, "event"), "1 event");
        assert_eq!(duration(Duration::from_secs(3_700)), "1 h 1 min");
    }

    #[test]
    fn times_are_read_in_several_forms() {
        let expected = "2026-11-25T10:05:00Z".parse().ok();
        for text in ["2026-11-25 10:05", "2026-11-25T10:05:00", "2026-11-25T11:05:00+01:00"] {
            assert_eq!(parse_time(text), expected, "{text}");
        }
        assert!(parse_time("2026-11-25").is_some() && parse_time("soon").is_none());
        assert!(parse_time("").is_none());
    }

    #[test]
    fn dump_has_sixteen_bytes_a_line() {
        let dump = hex_dump(b"<script>\x00\xff0123456789");
        let lines: Vec<_> = dump.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("<script>..012345"), "{dump}");
        assert!(lines[1].starts_with("00000010  36 37 38 39"), "{dump}");
    }
}
