//! What the store reports to the crate `tracing`, with the feature of that name.
//!
//! Owns every event and span, with its name, level and fields, so that one page lists them. Without the feature, all of
//! this is empty and costs nothing. Must never be called for each append: only slow ones are reported. Must never be
//! called with a lock held that an append or a read takes: the code of a subscriber runs inside.

#![cfg_attr(
    not(feature = "tracing"),
    allow(
        unused_variables,
        clippy::unused_self,
        reason = "without the feature, nothing is reported"
    )
)]

use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

#[cfg(feature = "tracing")]
use crate::sync::Instant;

/// Whether anything is reported.
pub(crate) const ENABLED: bool = cfg!(feature = "tracing");

/// Number of rollovers that wait to be reported: more are dropped.
pub(crate) const ROLLOVERS: usize = 64;

/// An error, whose sources a subscriber can read.
type Source<'a> = &'a (dyn Error + 'static);

/// A span that ends with this value.
#[derive(Debug)]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::EnteredSpan,
}

/// An event; only builds with debug assertions check the locks.
macro_rules! report {
    ($level:ident, $($event:tt)*) => {
        #[cfg(feature = "tracing")]
        {
            crate::sync::check_report();
            tracing::$level!(target: "annals", $($event)*);
        }
    };
}

macro_rules! span {
    ($($span:tt)*) => {
        Span {
            #[cfg(feature = "tracing")]
            _entered: {
                crate::sync::check_report();
                tracing::debug_span!(target: "annals", $($span)*).entered()
            },
        }
    };
}

/// The opening of a store.
#[inline]
pub(crate) fn opening(store: &Path, read_only: bool) -> Span {
    span!("open", store = %store.display(), read_only = read_only)
}

/// The part of an opening that finds the end of the log and what is derived from it.
#[inline]
pub(crate) fn recovering() -> Span {
    span!("recover")
}

/// The seal and the index of a full segment.
#[inline]
pub(crate) fn sealing(store: &Path, segment: u64) -> Span {
    span!("seal", store = %store.display(), segment = segment)
}

/// The merge of index files of neighbouring segments.
#[inline]
pub(crate) fn merging(store: &Path, first_segment: u64, last_segment: u64) -> Span {
    span!("merge", store = %store.display(), first_segment = first_segment, last_segment = last_segment)
}

/// A number of microseconds.
#[cfg(feature = "tracing")]
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A store is open.
#[inline]
pub(crate) fn opened(store: &Path, outcome: &'static str, head: u64, took: Duration) {
    report!(info, store = %store.display(), outcome, head, micros = micros(took), "store opened");
}

/// A store cannot be opened.
#[inline]
pub(crate) fn open_failed(store: &Path, error: Source<'_>) {
    report!(warn, store = %store.display(), error, "store not opened");
}

/// A store was closed, and its end recorded.
#[inline]
pub(crate) fn closed(store: &Path) {
    report!(info, store = %store.display(), "store closed");
}

/// An opening repaired what the last writer left; bytes of unacknowledged commits may have been cut off.
#[inline]
pub(crate) fn recovered(
    store: &Path,
    dropped_bytes: u64,
    rewritten_bytes: u64,
    rebuilt: u64,
    quarantined: Option<&Path>,
) {
    #[cfg(feature = "tracing")]
    {
        let quarantined = quarantined.map(|path| path.display().to_string());
        let quarantined = quarantined.as_deref().unwrap_or_default();
        if dropped_bytes > 0 {
            report!(warn, store = %store.display(), dropped_bytes, rewritten_bytes, rebuilt, quarantined, "store recovered");
        } else {
            report!(info, store = %store.display(), dropped_bytes, rewritten_bytes, rebuilt, quarantined, "store recovered");
        }
    }
}

/// Acknowledged data is damaged; the store is open for reading what is before the damage.
#[inline]
pub(crate) fn damaged(
    store: &Path,
    file: &Path,
    offset: u64,
    expected_position: u64,
    evidence: &str,
) {
    report!(error, store = %store.display(), file = %file.display(), offset, expected_position, evidence, "store damaged");
}

/// A segment was taken into use, because the one before it is full.
#[inline]
pub(crate) fn rolled_over(store: &Path, segment: u64, first_position: u64) {
    report!(debug, store = %store.display(), segment, first_position, "segment rolled over");
}

/// A full segment is sealed and has an index file.
#[inline]
pub(crate) fn sealed(store: &Path, segment: u64, events: u64, bytes: u64, took: Duration) {
    report!(debug, store = %store.display(), segment, events, bytes, micros = micros(took), "segment sealed");
}

/// Index files were merged into one.
#[inline]
pub(crate) fn merged(
    store: &Path,
    (first_segment, last_segment): (u64, u64),
    files: u64,
    bytes: u64,
    took: Duration,
) {
    report!(debug, store = %store.display(), first_segment, last_segment, files, bytes, micros = micros(took), "indexes merged");
}

/// A checkpoint was written that covers everything before a segment.
#[inline]
pub(crate) fn checkpointed(store: &Path, number: u64, position: u64, took: Duration) {
    report!(debug, store = %store.display(), number, position, micros = micros(took), "checkpoint written");
}

/// A group of commits could not be written.
#[inline]
pub(crate) fn write_failed(store: &Path, error: Source<'_>) {
    report!(error, store = %store.display(), error, "write failed");
}

/// A sync of segments failed: the writer accepts nothing more.
#[inline]
pub(crate) fn sync_failed(store: &Path, error: Source<'_>) {
    report!(error, store = %store.display(), error, "sync failed");
}

/// The writer accepts nothing more, because the store's directory is gone or damage was found.
#[inline]
pub(crate) fn writer_stopped(store: &Path, error: Source<'_>) {
    report!(error, store = %store.display(), error, "writer stopped");
}

/// Background work failed, and is tried again later.
#[inline]
pub(crate) fn maintenance_failed(store: &Path, task: &dyn Display, error: Source<'_>) {
    report!(warn, store = %store.display(), %task, error, "maintenance failed");
}

/// Times one append, if a subscriber takes warnings.
#[derive(Debug)]
pub(crate) struct AppendTimer {
    #[cfg(feature = "tracing")]
    began: Option<Instant>,
}

impl AppendTimer {
    /// Begins to measure.
    #[inline]
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            began: tracing::enabled!(target: "annals", tracing::Level::WARN).then(Instant::now),
        }
    }

    /// Reports the append if it took `threshold` or longer.
    #[inline]
    pub(crate) fn stop(self, store: &Path, threshold: Duration, events: u64, last_position: u64) {
        #[cfg(feature = "tracing")]
        if let Some(took) =
            self.began.map(|began| began.elapsed()).filter(|took| *took >= threshold)
        {
            report!(warn, store = %store.display(), events, last_position, micros = micros(took), "append slow");
        }
    }
}

/// The time since the start of something that is not on the path of an append.
#[derive(Debug)]
pub(crate) struct Watch {
    #[cfg(feature = "tracing")]
    began: Instant,
}

impl Watch {
    /// Begins to measure.
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            began: Instant::now(),
        }
    }

    /// The time since the start; zero without the feature.
    pub(crate) fn took(&self) -> Duration {
        #[cfg(feature = "tracing")]
        return self.began.elapsed();
        #[cfg(not(feature = "tracing"))]
        Duration::ZERO
    }
}
