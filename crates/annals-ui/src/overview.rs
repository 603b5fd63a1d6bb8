//! Lists for which the library looks at all streams or all names: computed at most once at a time, and kept.
//!
//! Owns their age. Must never make a page wait for them longer than it asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::{Position, Store, StreamInfo, TermCount};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::app::App;
use crate::fault::Fault;

/// Number of names in each list.
const LISTED: usize = 12;
/// Number of event types or categories that are looked at; a store has few, unless they are misused.
const LOOKED_AT: u64 = 100_000;
/// Lists are kept for this many times as long as they took to compute, and for at least `MIN_AGE`.
const AGE_FACTOR: u32 = 20;
const MIN_AGE: Duration = Duration::from_secs(2);

/// Lists, or why they could not be computed.
type Computed = Result<Arc<Lists>, Arc<Fault>>;

/// The newest lists, and whether others are being computed.
#[derive(Debug)]
pub(crate) struct Overview {
    newest: watch::Sender<Option<Computed>>,
    is_running: Mutex<bool>,
}

impl Default for Overview {
    fn default() -> Self {
        Self { newest: watch::Sender::new(None), is_running: Mutex::new(false) }
    }
}

/// The lists of the start page.
#[derive(Debug)]
pub(crate) struct Lists {
    /// The head when they were computed.
    pub(crate) head: Position,
    pub(crate) largest: Vec<StreamInfo>,
    pub(crate) changed: Vec<StreamInfo>,
    pub(crate) types: Vec<TermCount>,
    pub(crate) categories: Vec<TermCount>,
    /// How often the store had been opened again.
    openings: u64,
    computed: Instant,
    took: Duration,
}

impl Lists {
    fn compute(store: &Store, openings: u64) -> Result<Self, Fault> {
        let started = Instant::now();
        let head = store.head();
        let (largest, changed) = streams(store)?;
        let types = store.event_types().limit(LOOKED_AT).most_frequent(LISTED)?;
        let categories = store.categories().limit(LOOKED_AT).most_frequent(LISTED)?;
        let (computed, took) = (Instant::now(), started.elapsed());
        Ok(Self { head, largest, changed, types, categories, openings, computed, took })
    }

    fn is_fresh(&self) -> bool {
        self.computed.elapsed() < MIN_AGE.max(self.took * AGE_FACTOR)
    }
}

/// The largest streams and those that changed last, in one pass over all: the library's calls need one each.
fn streams(store: &Store) -> Result<(Vec<StreamInfo>, Vec<StreamInfo>), Fault> {
    let (mut largest, mut changed) = (Top::default(), Top::default());
    for stream in store.streams() {
        let stream = stream?;
        largest.offer(stream.version, &stream);
        changed.offer(stream.last_position.get(), &stream);
    }
    Ok((largest.into_streams(), changed.into_streams()))
}

/// The streams with the largest ranks, the largest first, and of equal ones those that came first.
#[derive(Debug, Default)]
struct Top(Vec<(u64, StreamInfo)>);

impl Top {
    fn offer(&mut self, rank: u64, stream: &StreamInfo) {
        let is_full = self.0.len() >= LISTED;
        if is_full && self.0.last().is_some_and(|(least, _)| *least >= rank) {
            return;
        }
        let at = self.0.partition_point(|(other, _)| *other >= rank);
        self.0.insert(at, (rank, stream.clone()));
        self.0.truncate(LISTED);
    }

    fn into_streams(self) -> Vec<StreamInfo> {
        self.0.into_iter().map(|(_, stream)| stream).collect()
    }
}

impl App {
    /// The newest lists, of any age; none are computed for this call.
    pub(crate) fn kept_lists(&self) -> Option<Arc<Lists>> {
        let found = self.overview.newest.borrow().clone().and_then(Result::ok);
        // Those of a store that was replaced are of no use.
        found.filter(|lists| lists.openings == self.source.openings())
    }

    /// The lists, if there are any after this time. Older ones are returned at once, and replaced for later requests.
    pub(crate) async fn lists(self: &Arc<Self>, patience: Duration) -> Option<Computed> {
        let mut newest = self.overview.newest.subscribe();
        newest.mark_unchanged();
        let found = self.kept_lists();
        if found.as_ref().is_some_and(|lists| lists.is_fresh()) {
            return found.map(Ok);
        }
        if !std::mem::replace(&mut *self.overview.is_running.lock(), true) {
            let app = Arc::clone(self);
            tokio::spawn(async move {
                let computing = Arc::clone(&app);
                let lists = app.read(move |store| {
                    Lists::compute(store, computing.source.openings()).map(Arc::new)
                });
                let lists = lists.await;
                app.overview.newest.send_replace(Some(lists.map_err(Arc::new)));
                *app.overview.is_running.lock() = false;
            });
        }
        if found.is_some() {
            return found.map(Ok);
        }
        tokio::time::timeout(patience, newest.changed()).await.ok()?.ok()?;
        newest.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use annals::{ExpectedVersion, NewEvent};

    use super::*;

    #[test]
    fn one_pass_finds_what_the_library_finds() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        for number in 0..300_u64 {
            let stream = format!("s-{}", number * number % 61);
            store.append(stream, ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
        }
        let (largest, changed) = streams(&store).unwrap();
        assert_eq!(largest, store.streams().largest(LISTED).unwrap());
        assert_eq!(changed, store.streams().last_changed(LISTED).unwrap());
    }
}
