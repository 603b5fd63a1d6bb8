//! One look at a store: its figures, its cursors and its newest events.
//!
//! Owns the bounds of a sample. Must never keep more of an event than a line of the screen can show, so that large events
//! cost nothing.

use std::time::Instant;

use annals::{ContentType, EventRef, Store, Timestamp};

use crate::failure::Failure;
use crate::{text, values};

/// Number of newest events of a sample.
pub(super) const NEWEST: u64 = 200;
/// Number of cursors of a sample: those that lag most.
const CURSORS: usize = 1000;
/// Number of bytes of an event's data that are looked at.
const PREVIEW: usize = 512;
/// Number of characters of a name or of data that are kept.
const KEPT: usize = 400;

/// What a store held at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// When it was taken, on a clock that only runs forward.
    pub(super) taken: Instant,
    /// When it was taken, for people.
    pub(super) at: Timestamp,
    pub(super) figures: Figures,
    /// The cursors that lag most, in that order.
    pub(super) cursors: Vec<Cursor>,
    /// Number of cursors that are left out.
    pub(super) more_cursors: usize,
    /// The newest events, the newest first.
    pub(super) newest: Vec<Newest>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) head: u64,
    pub(super) streams: u64,
    pub(super) commits: u64,
    pub(super) log_bytes: u64,
    pub(super) allocated_bytes: u64,
    pub(super) index_bytes: u64,
    pub(super) index_files: u64,
    pub(super) segments: u64,
    pub(super) sealed_segments: u64,
    pub(super) last_recorded_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(super) struct Cursor {
    /// Printable.
    pub(super) name: String,
    pub(super) position: u64,
    pub(super) lag: u64,
    pub(super) moved_at: Option<Timestamp>,
}

/// An event as a line of the screen; every text is printable.
#[derive(Debug, Clone)]
pub(super) struct Newest {
    pub(super) position: u64,
    pub(super) recorded_at: Timestamp,
    pub(super) stream: String,
    pub(super) version: u64,
    pub(super) event_type: String,
    pub(super) data: String,
}

/// Takes a sample of a store.
pub(super) fn take(store: &Store) -> Result<Sample, Failure> {
    let mut cursors = store.cursors().list()?;
    cursors.sort_by(|a, b| b.lag.cmp(&a.lag).then_with(|| a.name.cmp(&b.name)));
    let more_cursors = cursors.len().saturating_sub(CURSORS);
    cursors.truncate(CURSORS);
    let mut newest = Vec::new();
    for event in store.read_all().backwards().limit(NEWEST).include_hidden() {
        newest.push(Newest::from(event?.as_ref()));
    }
    let stats = store.stats();
    Ok(Sample {
        taken: Instant::now(),
        at: values::now(),
        figures: Figures {
            head: stats.head.get(),
            streams: stats.streams,
            commits: stats.commits,
            log_bytes: stats.log_bytes,
            allocated_bytes: stats.allocated_bytes,
            index_bytes: stats.index_bytes,
            index_files: stats.index_files,
            segments: stats.segments,
            sealed_segments: stats.sealed_segments,
            last_recorded_at: stats.last_recorded_at,
        },
        cursors: cursors
            .into_iter()
            .map(|cursor| Cursor {
                name: kept(&cursor.name),
                position: cursor.position.get(),
                lag: cursor.lag,
                moved_at: cursor.moved_at,
            })
            .collect(),
        more_cursors,
        newest,
    })
}

impl From<EventRef<'_>> for Newest {
    fn from(event: EventRef<'_>) -> Self {
        Self {
            position: event.position().get(),
            recorded_at: event.recorded_at(),
            stream: kept(event.stream()),
            version: event.version(),
            event_type: kept(event.event_type()),
            data: preview(event.data(), event.content_type()),
        }
    }
}

/// The first part of a text, printable on a terminal.
fn kept(text: &str) -> String {
    let end = text.char_indices().nth(KEPT).map_or(text.len(), |(at, _)| at);
    text::printed(&text[..end])
}

fn preview(data: &[u8], content_type: ContentType) -> String {
    let start = &data[..data.len().min(PREVIEW)];
    if content_type == ContentType::Json {
        let text = String::from_utf8_lossy(start);
        return kept(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let more = if start.len() < data.len() { "…" } else { "" };
    format!("<{} bytes> {}{more}", data.len(), start[..start.len().min(32)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_one_bounded_printable_line() {
        let json = "{\n  \"a\":\t\"\u{1b}[2J\u{202e}\"}";
        assert_eq!(preview(json.as_bytes(), ContentType::Json), r#"{ "a": "\u{1b}[2J\u{202e}"}"#);
        let long = "é".repeat(1 << 20);
        assert!(preview(long.as_bytes(), ContentType::Json).chars().count() <= KEPT);
        assert_eq!(preview(b"\x00\n", ContentType::Binary), "<2 bytes> \\x00\\n");
        assert_eq!(kept(&"x".repeat(1024)).len(), KEPT);
    }
}
