//! Clients in threads that use a store at random.
//!
//! Owns the mix of operations. Must never judge what it sees.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, block_on_timeout, iter};
use annals_es::{
    AppendError, Commit, Committed, Expected, NewEvent, OrderedStore, Position, ReadAll,
    ReadStream, SeveralStreams, StoreError, Subscribe, next,
};
use uuid::Uuid;

use super::record::{Event, Line, Log, Operation, Outcome};

/// How much is done, by how many.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Load {
    /// Number of threads that append, read streams and ask for the head.
    pub clients: usize,
    /// Number of subscriptions, and of readers that continue after the last position they saw.
    pub consumers: usize,
    /// Number of streams. Fewer make more conflicts.
    pub streams: u64,
    /// Number of operations after which clients stop, if there were enough faults.
    pub operations: u64,
    /// Number of faults that clients wait for, with further operations. How many strike within a number of operations
    /// depends on the speed of the machine.
    pub faults: u64,
    /// Where the random choices begin.
    pub seed: u64,
    /// Stands before the tokens, and before the names of consumers: different for each process.
    pub name: String,
    /// Where consumers begin.
    pub after: Vec<(String, u64)>,
    /// Number of appends, in a hundred operations.
    pub appends: u64,
}

impl Load {
    /// Eight clients and four consumers on twelve streams.
    pub fn new(operations: u64, seed: u64) -> Self {
        Self {
            clients: 8,
            consumers: 4,
            streams: 12,
            operations,
            faults: 0,
            seed,
            name: "run".into(),
            after: Vec::new(),
            appends: 60,
        }
    }
}

/// A generator of random numbers that is the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % limit.max(1)
    }
}

/// Uses a store until the numbers of operations and of faults are reached. `stores` are handles of it, which clients and consumers take in
/// turn: several handles stand for several programs. `fault` is called again and again beside the clients, with the
/// number of faults before it; it makes one, and returns when the store can be used again, and what it was. `None`: no
/// more faults follow, however many are wanted. Without clients, consumers run until then.
///
/// # Panics
///
/// If there is no handle, if `fault` panics, or a client does.
pub fn run<S: OrderedStore + SeveralStreams>(
    stores: &[S],
    load: &Load,
    log: &Log,
    mut fault: impl FnMut(u64) -> Option<String> + Send,
) {
    assert!(!stores.is_empty(), "a store is needed");
    let stop = AtomicBool::new(false);
    let (done, faults_left) = (AtomicU64::new(0), AtomicU64::new(load.faults));
    let handle = |number: usize| &stores[number % stores.len()];
    thread::scope(|scope| {
        let clients: Vec<_> = (0..load.clients)
            .map(|client| {
                let (done, faults_left, store) = (&done, &faults_left, handle(client));
                scope.spawn(move || Client::new(store, load, log, client).work(done, faults_left))
            })
            .collect();
        for consumer in 0..load.consumers {
            let (stop, store) = (&stop, handle(consumer));
            scope.spawn(move || consume(store, load, log, consumer, stop));
        }
        let faults = scope.spawn(|| {
            let _none_left = NoneLeft(&faults_left);
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                match fault(number) {
                    Some(what) => log.add(Line::Fault { what }),
                    None => return,
                }
                faults_left.store(load.faults.saturating_sub(number + 1), Ordering::Relaxed);
            }
        });
        let joined: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
        if load.clients > 0 {
            stop.store(true, Ordering::Relaxed);
        }
        let faults = faults.join();
        stop.store(true, Ordering::Relaxed);
        faults.expect("the faults do not panic");
        assert!(joined.iter().all(Result::is_ok), "a client panics");
    });
}

/// Lets clients stop when no fault follows, also after a panic.
struct NoneLeft<'a>(&'a AtomicU64);

impl Drop for NoneLeft<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Every event of a store.
///
/// # Errors
///
/// Those of the store.
pub fn stored<S: OrderedStore>(store: &S) -> Result<Vec<Event>, StoreError> {
    iter(store.read_all(ReadAll::new()))
        .map(|event| {
            let event = event?;
            Ok(Event {
                position: event.position().get(),
                commit: event.commit().get(),
                stream: event.stream().to_owned(),
                version: event.version().get(),
                token: String::from_utf8_lossy(event.data()).into_owned(),
            })
        })
        .collect()
}

struct Client<'a, S> {
    store: &'a S,
    load: &'a Load,
    log: &'a Log,
    random: Random,
    name: String,
    tokens: u64,
    /// The last version that was seen of each stream.
    versions: Vec<u64>,
}

impl<'a, S: OrderedStore + SeveralStreams> Client<'a, S> {
    fn new(store: &'a S, load: &'a Load, log: &'a Log, client: usize) -> Self {
        let random = Random(load.seed.wrapping_mul(1000).wrapping_add(client as u64));
        let streams = usize::try_from(load.streams).unwrap_or(1);
        let (name, versions) = (format!("{}-{client}", load.name), vec![0; streams]);
        Self { store, load, log, random, name, tokens: 0, versions }
    }

    fn work(mut self, done: &AtomicU64, faults_left: &AtomicU64) {
        let goes_on = || {
            done.fetch_add(1, Ordering::Relaxed) < self.load.operations
                || faults_left.load(Ordering::Relaxed) > 0
        };
        while goes_on() {
            let choice = self.random.below(100);
            if choice < self.load.appends {
                self.append();
            } else if choice < 95 {
                self.read();
            } else {
                let number = self.log.begin(Operation::Head);
                self.log.end(
                    number,
                    match block_on(self.store.head()) {
                        Ok(head) => Outcome::Head(head.get()),
                        Err(_) => self.refused(),
                    },
                );
            }
        }
    }

    /// Waits a moment before the next operation: the store cannot be used.
    fn refused(&mut self) -> Outcome {
        thread::sleep(Duration::from_millis(5 + self.random.below(20)));
        Outcome::Refused
    }

    fn stream(&mut self) -> usize {
        usize::try_from(self.random.below(self.load.streams)).unwrap_or(0)
    }

    fn part(&mut self, stream: usize) -> (String, Option<u64>, Vec<String>) {
        let expected = (self.random.below(4) > 0).then(|| self.versions[stream]);
        let tokens = (0..=self.random.below(3))
            .map(|_| {
                self.tokens += 1;
                format!("{}-{}", self.name, self.tokens)
            })
            .collect();
        (format!("s-{stream}"), expected, tokens)
    }

    fn append(&mut self) {
        let first = self.stream();
        let second = self.stream();
        let mut streams = vec![self.part(first)];
        if second != first && self.random.below(4) == 0 {
            streams.push(self.part(second));
        }
        let number = self.log.begin(Operation::Append { streams: streams.clone() });
        let outcome = self.commit(&streams);
        match &outcome {
            Outcome::Acknowledged { versions, .. } => {
                self.versions[first] = versions[0];
            }
            Outcome::Conflict { stream, actual } => {
                let stream = if *stream == format!("s-{first}") { first } else { second };
                self.versions[stream] = *actual;
            }
            _ => {}
        }
        self.log.end(number, outcome);
    }

    /// Appends. A commit with an unknown outcome is repeated with the same ids.
    fn commit(&mut self, streams: &[(String, Option<u64>, Vec<String>)]) -> Outcome {
        let mut commit: Option<Commit<S>> = None;
        for (stream, expected, tokens) in streams {
            let expected = expected.map_or(Expected::Any, |it| Expected::Exact(it.into()));
            let events = tokens.iter().map(|token| {
                let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, token.as_bytes());
                NewEvent::new("T", token.clone()).id(id).tag("t")
            });
            commit = Some(match commit {
                None => Commit::to(stream.as_str(), expected, events),
                Some(commit) => commit.and(stream.as_str(), expected, events),
            });
        }
        let Some(commit) = commit else { return Outcome::Refused };
        let mut is_unknown = false;
        for _ in 0..4 {
            match block_on(self.store.append(commit.clone())) {
                Ok(done) => return acknowledged(&done),
                Err(AppendError::Conflict(conflict)) => {
                    let version = conflict.failed.iter().find_map(|failed| match failed {
                        annals_es::FailedCheck::Version { stream, actual, .. } => {
                            Some((stream.as_str().to_owned(), actual.get()))
                        }
                        _ => None,
                    });
                    return match version {
                        Some((stream, actual)) => Outcome::Conflict { stream, actual },
                        None => Outcome::Refused,
                    };
                }
                Err(AppendError::OutcomeUnknown(_)) => is_unknown = true,
                Err(_) if is_unknown => {}
                Err(_) => return self.refused(),
            }
            thread::sleep(Duration::from_millis(20));
        }
        Outcome::Unknown
    }

    fn read(&mut self) {
        const LIMIT: u64 = 100;
        let stream = self.stream();
        let name = format!("s-{stream}");
        // Not the whole of a long stream: the history would grow with the square of its length.
        let from = self.versions[stream].saturating_sub(self.random.below(20)).max(1);
        let number = self.log.begin(Operation::Read { stream: name.clone(), from });
        let mut tokens = Vec::new();
        for event in
            iter(self.store.read_stream(ReadStream::of(name).from(from.into()).limit(LIMIT)))
        {
            match event {
                Ok(event) => tokens.push(String::from_utf8_lossy(event.data()).into_owned()),
                Err(_) => {
                    let outcome = self.refused();
                    self.log.end(number, outcome);
                    return;
                }
            }
        }
        let is_whole = (tokens.len() as u64) < LIMIT;
        self.versions[stream] = from - 1 + tokens.len() as u64;
        self.log.end(number, Outcome::Tokens { tokens, is_whole });
    }
}

fn acknowledged(done: &Committed) -> Outcome {
    Outcome::Acknowledged {
        first: done.first_position.get(),
        last: done.last_position.get(),
        versions: done.versions.iter().map(|version| version.get()).collect(),
    }
}

/// Follows the store: every second consumer by a subscription that is given up now and then, the others by reads after
/// the last position.
fn consume<S: OrderedStore>(store: &S, load: &Load, log: &Log, consumer: usize, stop: &AtomicBool) {
    let name = format!("consumer-{consumer}");
    let begins = load.after.iter().find(|(it, _)| *it == name).map_or(0, |(_, after)| *after);
    let mut after = Position::new(begins);
    let deliver = |events: &[annals_es::RecordedEvent], scanned: Position| {
        let event = |event: &annals_es::RecordedEvent| {
            (event.position().get(), String::from_utf8_lossy(event.data()).into_owned())
        };
        log.add(Line::Delivered {
            consumer: name.clone(),
            events: events.iter().map(event).collect(),
            scanned_through: scanned.get(),
        });
    };
    let mut random = Random(load.seed ^ consumer as u64);
    while !stop.load(Ordering::Relaxed) {
        if consumer % 2 == 1 {
            let read: Result<Vec<_>, _> =
                iter(store.read_all(ReadAll::new().after(after).limit(1000))).collect();
            if let Ok(events) = read
                && let Some(last) = events.last()
            {
                after = last.position();
                deliver(&events, after);
            } else {
                thread::sleep(Duration::from_millis(1));
            }
            continue;
        }
        let mut subscription = store.subscribe(Subscribe::after(after).batch_size(64));
        for _ in 0..random.below(200) {
            let message = block_on_timeout(next(&mut subscription), Duration::from_millis(100));
            match message {
                Some(Some(Ok(message))) => {
                    after = message.scanned_through;
                    deliver(&message.events, after);
                }
                Some(Some(Err(_)) | None) => {
                    thread::sleep(Duration::from_millis(10));
                    break;
                }
                None if stop.load(Ordering::Relaxed) => return,
                None => {}
            }
        }
    }
}
