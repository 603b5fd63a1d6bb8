//! A subscriber that keeps every event and span of annals.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Far more than any event needs.
const PATIENCE: Duration = Duration::from_secs(60);

static REPORTS: Mutex<Vec<Report>> = Mutex::new(Vec::new());

/// An event, or the start of a span.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) level: Level,
    /// The message of an event, the name of a span.
    pub(crate) what: String,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

impl Report {
    pub(crate) fn number(&self, field: &str) -> u64 {
        self.fields[field].parse().unwrap_or_else(|_| panic!("{field} of {self:?}"))
    }
}

impl Visit for Report {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.what = value,
            name => drop(self.fields.insert(name, value)),
        }
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        let causes = std::iter::successors(Some(error), |cause| cause.source());
        let text: Vec<String> = causes.map(ToString::to_string).collect();
        self.fields.insert(field.name(), text.join(": "));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

struct Collector(AtomicU64);

fn keep(metadata: &Metadata<'_>, record: impl FnOnce(&mut Report)) {
    let (level, what) = (*metadata.level(), metadata.name().to_owned());
    let mut report = Report { level, what, fields: BTreeMap::new() };
    record(&mut report);
    REPORTS.lock().expect("no test panics inside").push(report);
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "annals"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        keep(span.metadata(), |report| span.record(report));
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        keep(event.metadata(), |report| event.record(report));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Collects from now on, in all threads.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        tracing::subscriber::set_global_default(Collector(AtomicU64::new(0)))
            .expect("the only one");
    });
}

/// What was reported about a store under this name so far.
pub(crate) fn of(what: &str, store: &Path) -> Vec<Report> {
    let store = store.display().to_string();
    let reports = REPORTS.lock().expect("no test panics inside");
    let about = |report: &&Report| {
        report.what == what && report.fields.get("store").is_some_and(|it| *it == store)
    };
    reports.iter().filter(about).cloned().collect()
}

/// The first report of this name about a store; waits until a thread of the store makes it.
#[track_caller]
pub(crate) fn wait_for(what: &str, store: &Path) -> Report {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = of(what, store).into_iter().next() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what:?} was not reported of {}", store.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}
