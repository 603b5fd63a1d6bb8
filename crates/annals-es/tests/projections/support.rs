//! A projection that records what it handles, and fails where a test wants it to.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annals_es::blocking::block_on_timeout;
use annals_es::projection::{AsyncProjection, ErrorPolicy, Handle, Options, Projection};
use annals_es::{
    AnnalsStore, Commit, Committed, Event, Expected, NewEvent, OrderedStore, Position, Query,
    RecordedEvent, encode,
};
use serde::{Deserialize, Serialize};

/// Far more than any wait takes: a test that reaches it hangs.
const HANGS: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
pub(crate) enum Happened {
    #[event(name = "Added")]
    Added {
        #[tag]
        kind: String,
        amount: u64,
    },
    #[event(name = "Noted")]
    Noted,
}

/// The positions and amounts that were handled, in order.
pub(crate) type Handled = Vec<(u64, u64)>;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Error,
    Panic,
    Hang,
}

/// The faults of the next calls for an event.
pub(crate) type Faults = Arc<Mutex<HashMap<u64, VecDeque<Fault>>>>;

#[derive(Debug)]
pub(crate) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the handler refuses")
    }
}

impl std::error::Error for Refused {}

/// Pushes what it handles, **before** it fails: a failure that is not undone is seen.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) query: Option<Query>,
    pub(crate) faults: Faults,
    pub(crate) calls: Arc<AtomicU64>,
    pub(crate) factor: u64,
}

impl Log {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            version: 1,
            query: None,
            faults: Faults::default(),
            calls: Arc::default(),
            factor: 1,
        }
    }

    pub(crate) fn fail(self, position: u64, faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = faults.into_iter().collect();
        self.faults.lock().expect("no panic holds it").insert(position, faults);
        self
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn push(&self, handled: &mut Handled, event: &Happened, at: Position) -> Option<Fault> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let amount = match event {
            Happened::Added { amount, .. } => amount * self.factor,
            Happened::Noted => 0,
        };
        handled.push((at.get(), amount));
        self.faults.lock().expect("no panic holds it").get_mut(&at.get())?.pop_front()
    }
}

impl Projection for Log {
    type Event = Happened;
    type Model = Handled;
    type Error = Refused;

    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn query(&self) -> Query {
        self.query.clone().unwrap_or_else(|| Query::types(annals_es::event_types::<Happened>()))
    }

    fn handle(
        &self,
        handled: &mut Handled,
        event: Happened,
        recorded: &RecordedEvent,
    ) -> Result<(), Refused> {
        match self.push(handled, &event, recorded.position()) {
            None => Ok(()),
            Some(Fault::Error | Fault::Hang) => Err(Refused),
            Some(Fault::Panic) => panic!("the handler panics"),
        }
    }
}

/// The same with handlers that wait.
pub(crate) struct AsyncLog(pub(crate) Log);

impl AsyncProjection for AsyncLog {
    type Event = Happened;
    type Model = Handled;
    type Error = Refused;

    fn name(&self) -> &str {
        self.0.name
    }

    async fn handle(
        &self,
        handled: &mut Handled,
        event: Happened,
        recorded: &RecordedEvent,
    ) -> Result<(), Refused> {
        // Other tasks run in the middle of a transaction.
        let mut polled = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut polled, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
        match self.0.push(handled, &event, recorded.position()) {
            None => Ok(()),
            Some(Fault::Error) => Err(Refused),
            Some(Fault::Panic) => panic!("the handler panics"),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}

pub(crate) fn annals_store() -> (AnnalsStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = annals::Options::new().segment_size(1 << 20);
    let store = options.open(dir.path().join("store")).expect("a new store");
    (AnnalsStore::new(store), dir)
}

pub(crate) fn added(amount: u64) -> NewEvent {
    of_kind("plain", amount)
}

pub(crate) fn of_kind(kind: &str, amount: u64) -> NewEvent {
    encode(&Happened::Added { kind: kind.into(), amount }).expect("it is written")
}

pub(crate) fn append<S: OrderedStore>(
    store: &S,
    stream: &str,
    events: impl IntoIterator<Item = NewEvent>,
) -> Committed {
    wait(store.append(Commit::to(stream, Expected::Any, events))).expect("it is appended")
}

/// Appends events with the amounts 1, 2, 3 … in commits of one event.
pub(crate) fn append_each<S: OrderedStore>(
    store: &S,
    amounts: impl IntoIterator<Item = u64>,
) -> Position {
    let mut last = Position::START;
    for amount in amounts {
        last = append(store, "log-1", [added(amount)]).last_position;
    }
    last
}

/// What a projection that handles each event once has after `append_each(1..=last)`.
pub(crate) fn each_once(last: u64) -> Handled {
    (1..=last).map(|it| (it, it)).collect()
}

pub(crate) fn wait<F: IntoFuture>(future: F) -> F::Output {
    block_on_timeout(future, HANGS).expect("the wait ends")
}

pub(crate) fn policy(policy: ErrorPolicy, retries: u32) -> Options {
    let (first, longest) = (Duration::from_micros(10), Duration::from_millis(1));
    Options::new().on_error(policy.retries(retries).backoff(first, longest))
}

/// The parked positions.
pub(crate) fn parked(handle: &Handle) -> Vec<u64> {
    handle.parked().iter().map(|it| it.position.get()).collect()
}
