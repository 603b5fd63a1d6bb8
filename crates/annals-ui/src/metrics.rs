//! Metrics in the text form of `OpenMetrics`, and the state for load balancers.
//!
//! Owns names, units and the number of series, which does not grow with streams or events.

use std::fmt::Write as _;
use std::sync::Arc;

use annals::{Histogram, Opened, Store, Timestamp};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::{App, respond};
use crate::fault::Fault;

/// Cursors that have series of their own, the first ones by name. Their number is a metric.
const CURSORS: usize = 100;
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper edges of the buckets for times, in nanoseconds, from about 1 µs to 17 s. They are edges of the library's finer
/// buckets too, so that no bucket is divided.
const NANOS: [u64; 13] = below_powers_of_four(5);
/// Upper edges of the buckets for numbers of events.
const EVENTS: [u64; 8] = below_powers_of_four(1);

/// 4^n - 1, from n = `first` on.
const fn below_powers_of_four<const N: usize>(first: u32) -> [u64; N] {
    let mut edges = [0; N];
    let (mut i, mut power) = (0, first);
    while i < N {
        edges[i] = 4_u64.pow(power) - 1;
        i += 1;
        power += 1;
    }
    edges
}

/// `/health`: status 200 if the store can be read and is whole, and 503 if not.
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    let state = app.read(|store| {
        let head = store.head();
        // Looks at the files of the writer, and so notices that they are gone.
        store.event_at(head)?;
        Ok((store.head().get(), matches!(store.opened(), Opened::Damaged { .. })))
    });
    let (status, body) = match state.await {
        Ok((head, false)) => (StatusCode::OK, serde_json::json!({ "status": "ok", "head": head })),
        Ok((head, true)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            serde_json::json!({ "status": "damaged", "head": head }),
        ),
        Err(fault) => (
            StatusCode::SERVICE_UNAVAILABLE,
            serde_json::json!({ "status": "unreadable", "error": fault.message() }),
        ),
    };
    respond(status, "application/json", format!("{body}\n"))
}

/// `/metrics`
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let open = app.tails.available_permits();
    let tails = app.options.max_tails.saturating_sub(open) as u64;
    match app.read(move |store| collect(store, tails)).await {
        Ok(text) => respond(StatusCode::OK, CONTENT_TYPE, text),
        Err(fault) => {
            let text = format!("{}\n", fault.message());
            respond(fault.status(), "text/plain; charset=utf-8", text)
        }
    }
}

/// A text of metrics in the making.
struct Exposition(String);

impl Exposition {
    fn describe(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        let _infallible = writeln!(self.0, "# TYPE {name} {kind}");
        if let Some(unit) = unit {
            let _infallible = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _infallible = writeln!(self.0, "# HELP {name} {help}");
    }

    fn gauge(&mut self, name: &str, unit: Option<&str>, help: &str, value: u64) {
        self.describe(name, "gauge", unit, help);
        let _infallible = writeln!(self.0, "{name} {value}");
    }

    fn counter(&mut self, name: &str, unit: Option<&str>, help: &str, value: u64) {
        self.describe(name, "counter", unit, help);
        let _infallible = writeln!(self.0, "{name}_total {value}");
    }

    fn time(&mut self, name: &str, help: &str, time: Timestamp) {
        self.describe(name, "gauge", Some("seconds"), help);
        let _infallible = writeln!(self.0, "{name} {}", seconds(time));
    }

    /// A histogram with the same edges at every scrape. The sum is that of the upper edges of the library's finer
    /// buckets, so at most an eighth too large.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    fn histogram(
        &mut self,
        name: &str,
        unit: Option<&str>,
        help: &str,
        (values, edges, divisor): (&Histogram, &[u64], f64),
    ) {
        self.describe(name, "histogram", unit, help);
        for &edge in edges {
            let inside = values.buckets.iter().filter(|bucket| bucket.upto <= edge);
            let count: u64 = inside.map(|bucket| bucket.count).sum();
            let edge = edge as f64 / divisor;
            let _infallible = writeln!(self.0, "{name}_bucket{{le=\"{edge:?}\"}} {count}");
        }
        let sum: f64 =
            values.buckets.iter().map(|bucket| bucket.upto as f64 * bucket.count as f64).sum();
        let count = values.count();
        let _infallible = writeln!(self.0, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _infallible = writeln!(self.0, "{name}_count {count}\n{name}_sum {:?}", sum / divisor);
    }

    fn labelled(&mut self, name: &str, label: &str, value: &str, figure: impl std::fmt::Display) {
        let value = escaped(value);
        let _infallible = writeln!(self.0, "{name}{{{label}=\"{value}\"}} {figure}");
    }
}

/// Microseconds since the epoch as seconds, without rounding.
fn seconds(time: Timestamp) -> String {
    let micros = time.as_micros();
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn collect(store: &Store, tails: u64) -> Result<String, Fault> {
    // Reads first: for a reader beside a writer, the figures are those of the last read.
    let cursors = store.cursors().list()?;
    let stats = store.stats();
    let mut out = Exposition(String::with_capacity(8 << 10));
    out.describe("annals_store", "info", None, "The identity of the store.");
    out.labelled("annals_store_info", "store_id", &stats.store_id.to_string(), 1);
    out.gauge("annals_head", None, "Position of the last visible event.", stats.head.get());
    out.gauge("annals_events", None, "Number of events.", stats.events);
    out.gauge("annals_streams", None, "Number of streams.", stats.streams);
    out.gauge("annals_commits", None, "Number of commits.", stats.commits);
    let bytes = Some("bytes");
    out.gauge("annals_log_bytes", bytes, "Bytes of segments in use.", stats.log_bytes);
    let help = "Bytes of segments, those preallocated included.";
    out.gauge("annals_allocated_bytes", bytes, help, stats.allocated_bytes);
    out.gauge("annals_index_bytes", bytes, "Bytes of index files.", stats.index_bytes);
    out.gauge("annals_index_files", None, "Number of index files.", stats.index_files);
    out.gauge("annals_level_files", None, "Number of level files among them.", stats.level_files);
    out.gauge("annals_segments", None, "Number of segments.", stats.segments);
    out.gauge("annals_segments_sealed", None, "Number of sealed segments.", stats.sealed_segments);
    let help = "Number of full segments that wait to be sealed.";
    out.gauge("annals_segments_unsealed", None, help, stats.unsealed_segments);
    if let Some(last) = stats.last_recorded_at {
        out.time(
            "annals_last_recorded_timestamp_seconds",
            "When the newest commit was recorded.",
            last,
        );
    }
    let damaged = matches!(store.opened(), Opened::Damaged { .. });
    out.gauge("annals_damaged", None, "1 if the store is damaged.", u64::from(damaged));
    out.gauge("annals_ui_tails", None, "Number of open live tails of this page.", tails);
    writer(&mut out, &stats);
    out.gauge("annals_cursors", None, "Number of cursors.", cursors.len() as u64);
    out.describe("annals_cursor_position", "gauge", None, "Position of a cursor.");
    for cursor in cursors.iter().take(CURSORS) {
        out.labelled("annals_cursor_position", "cursor", &cursor.name, cursor.position);
    }
    out.describe("annals_cursor_lag", "gauge", None, "Number of events after a cursor.");
    for cursor in cursors.iter().take(CURSORS) {
        out.labelled("annals_cursor_lag", "cursor", &cursor.name, cursor.lag);
    }
    out.0.push_str("# EOF\n");
    Ok(out.0)
}

/// What the process has done that has the store open for writing; zero in a reader.
fn writer(out: &mut Exposition, stats: &annals::Stats) {
    for (name, help, value) in [
        ("annals_appends", "Commits accepted.", stats.appends),
        ("annals_conflicts", "Commits refused because a check failed.", stats.conflicts),
        ("annals_already_recorded", "Commits that were recorded before.", stats.already_recorded),
        ("annals_groups", "Groups of commits written.", stats.groups),
        ("annals_syncs", "Syncs of segments.", stats.syncs),
        ("annals_sealed", "Segments sealed.", stats.sealed),
        ("annals_seal_waits", "Appends that waited for a segment to be sealed.", stats.seal_waits),
        ("annals_maintenance_failures", "Background work that failed.", stats.maintenance_failures),
        ("annals_snapshot_failures", "Snapshots that were not saved.", stats.snapshot_failures),
        ("annals_compactions", "Level files written.", stats.compactions),
    ] {
        out.counter(name, None, help, value);
    }
    let help = "Bytes of level files written.";
    out.counter("annals_compacted_bytes", Some("bytes"), help, stats.compacted_bytes);
    let second = Some("seconds");
    let help = "Time until an append had its durability; one of 64 is timed.";
    out.histogram("annals_append_seconds", second, help, (&stats.append_nanos, &NANOS, 1e9));
    let help = "Time of a sync of a segment.";
    out.histogram("annals_sync_seconds", second, help, (&stats.sync_nanos, &NANOS, 1e9));
    let help = "Events of each group written.";
    out.histogram("annals_group_events", None, help, (&stats.group_events, &EVENTS, 1.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_cannot_end_their_quotes() {
        let mut out = Exposition(String::new());
        out.labelled("m", "cursor", "a\"} 7\n\\", 1);
        assert_eq!(out.0, "m{cursor=\"a\\\"} 7\\n\\\\\"} 1\n");
    }

    #[test]
    fn edges_grow_by_four() {
        assert_eq!(EVENTS, [3, 15, 63, 255, 1023, 4095, 16_383, 65_535]);
        assert_eq!((NANOS[0], NANOS[12]), (1023, 17_179_869_183));
        assert_eq!(seconds(Timestamp::from_micros(1_500_000)), "1.500000");
    }
}
