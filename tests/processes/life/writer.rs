//! The child writes in every way until it is killed, and prints acknowledgements only after the
//! calls returned.
//!
//! Its lines: `opened WHAT`, `ack KEY FIRST LAST`, `no KEY` (refused), `snap STREAM VERSION`, `head
//! POSITION` (on request), `closed`. It ends with its input, so that it does not outlive the
//! process that started it.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use annals::testing::random::Random;
use annals::{
    Durability, Error, ExpectedVersion, Opened, Options, Result, Store, Ticket, Transaction,
    snapshot::Snapshot,
};

use super::commits::{Commit, Key, Planned, REFUSED, state_of};

/// Whether a close failed only for want of space in work that the next opening does.
pub(crate) fn only_work_beside_was_refused(error: &Error) -> bool {
    let Error::MaintenanceFailed { failed } = error else { return false };
    !failed.is_empty() && failed.iter().all(|it| matches!(it.error, Error::DiskFull { .. }))
}

/// The parameters of a life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// The seed of the store; with the number it determines every random choice.
    pub(crate) seed: u64,
    /// The number of the life, counted per store.
    pub(crate) number: u64,
    /// Whether the store is never buffered, so that what readers see is durable.
    pub(crate) synced: bool,
}

/// Prints one whole line, from any thread.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // If the output is closed, the parent is gone and cannot kill this process.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(3);
    }
}

/// Answers requests for the visible position, up to the end of the input.
fn answer_questions(current: &Arc<Mutex<Option<Store>>>) {
    let current = Arc::clone(current);
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() {
                break;
            }
            let store = current.lock().unwrap().clone();
            say(&format!("head {}", store.map_or(0, |store| store.head().get())));
        }
        std::process::exit(0);
    });
}

/// Opens the store and writes, closes it, and opens it again, until the process is killed.
pub(crate) fn live(path: &Path, life: Life) {
    let mut random = Random::new(life.seed ^ life.number.wrapping_mul(0x9e37_79b9));
    let current = Arc::new(Mutex::new(None));
    answer_questions(&current);
    let sessions = if random.percent(60) { 1 } else { 2 + random.below(20) };
    for session in 0..sessions {
        let options = options(&mut random, life.synced);
        let store = open(path, &options);
        *current.lock().unwrap() = Some(store.clone());
        let steps = if session + 1 == sessions { u64::MAX } else { 3 + random.below(100) };
        let workers = 1 + random.below(4);
        thread::scope(|scope| {
            for worker in 0..workers {
                let (store, random) = (&store, Random::new(random.number()));
                let author = Key::new(life.number, session * 4 + worker, 0);
                scope.spawn(move || Worker::new(store, random, author).work(steps));
            }
        });
        match store.close() {
            Ok(()) => say("closed"),
            // A failed close leaves every acknowledged commit durable.
            Err(Error::DiskFull { .. }) => say("closed full"),
            Err(error) if only_work_beside_was_refused(&error) => say("closed full"),
            Err(error) => panic!("cannot close: {error:?}"),
        }
    }
}

/// Small segments cause frequent rollovers, seals and checkpoints.
fn options(random: &mut Random, synced: bool) -> Options {
    let durability = if synced || random.percent(60) {
        Durability::Sync
    } else {
        Durability::Buffered { interval: Duration::from_millis(random.below(50)) }
    };
    let size = *random.pick(&[64 << 10, 64 << 10, 80 << 10, 256 << 10]);
    Options::new().segment_size(size).durability(durability)
}

fn open(path: &Path, options: &Options) -> Store {
    loop {
        match options.clone().open(path) {
            Ok(store) => {
                say(&format!("opened {}", word_for(store.opened())));
                return store;
            }
            Err(Error::DiskFull { .. }) => {
                say("full");
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("cannot open: {error:?}"),
        }
    }
}

/// The result of an opening in one word.
pub(crate) fn word_for(opened: &Opened) -> &'static str {
    match opened {
        Opened::Created => "created",
        Opened::Clean => "clean",
        Opened::Recovered(recovery) if recovery.dropped_bytes > 0 => "cut",
        Opened::Recovered(_) => "recovered",
        _ => "damaged",
    }
}

/// A thread that writes.
struct Worker<'s> {
    store: &'s Store,
    random: Random,
    author: Key,
    count: u64,
    refused: u64,
    /// The version of the worker's own stream; unknown after a full disk refused a commit to it.
    version: Option<u64>,
    /// The last acknowledged commit with given ids.
    repeatable: Option<(Commit, u64, u64)>,
}

impl<'s> Worker<'s> {
    fn new(store: &'s Store, random: Random, author: Key) -> Self {
        let head = store.stream_head(&author.own_stream()).unwrap();
        let version = Some(head.map_or(0, |head| head.version));
        Self { store, random, author, count: 0, refused: 0, version, repeatable: None }
    }

    fn work(mut self, steps: u64) {
        for _ in 0..steps {
            match self.random.below(20) {
                0..8 => self.commit(),
                8..11 => self.buffered(),
                11..14 => self.pipeline(),
                14..16 => self.repeat(),
                16 => self.wrong_version(),
                17 => self.reused_id(),
                18 => self.snapshot(),
                _ => match self.store.sync() {
                    Ok(()) | Err(Error::DiskFull { .. }) => {}
                    Err(error) => panic!("cannot sync: {error:?}"),
                },
            }
        }
    }

    fn next(&mut self) -> Commit {
        self.count += 1;
        Commit::of(Key(self.author.0 + self.count))
    }

    fn refused_key(&mut self) -> Key {
        self.refused += 1;
        Key(self.author.0 + (REFUSED << 24) + self.refused)
    }

    /// The transaction of a commit, and the version of the own stream after it.
    fn transaction(&self, commit: &Commit) -> (Transaction<'s>, Option<u64>) {
        let own = self.author.own_stream();
        let mut version = self.version;
        let mut transaction = self.store.transaction();
        for (stream, events) in &commit.operations {
            let mut expected = ExpectedVersion::Any;
            if *stream == own {
                expected = version.map_or(expected, ExpectedVersion::Exact);
                version = version.map(|version| version + events.len() as u64);
            }
            let events = events.iter().map(Planned::event);
            transaction = transaction.append(stream, expected, events);
        }
        if let Some(version) = version.filter(|_| commit.operations.len() > 1) {
            transaction = transaction.check(own, ExpectedVersion::Exact(version));
        }
        (transaction, version)
    }

    /// Prints the outcome of a commit, and records it.
    fn settle(&mut self, commit: Commit, outcome: Result<(u64, u64)>, version: Option<u64>) {
        match outcome {
            Ok((first, last)) => {
                assert_eq!(last - first + 1, commit.event_count() as u64);
                say(&format!("ack {} {first} {last}", commit.key.0));
                self.version = version;
                if commit.has_ids() {
                    self.repeatable = Some((commit, first, last));
                }
            }
            Err(error) => self.refuse(commit.key, &error),
        }
    }

    fn refuse(&mut self, key: Key, error: &Error) {
        assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
        say(&format!("no {}", key.0));
        self.version = None;
        thread::sleep(Duration::from_millis(1));
    }

    fn commit(&mut self) {
        let commit = self.next();
        if let [(stream, events)] = &commit.operations[..] {
            let own = *stream == self.author.own_stream();
            let expected = match self.version {
                Some(version) if own => ExpectedVersion::Exact(version),
                _ => ExpectedVersion::Any,
            };
            let events: Vec<_> = events.iter().map(Planned::event).collect();
            let done = self.store.append(stream, expected, events);
            let version = match &done {
                Ok(done) if own => Some(done.version),
                _ => self.version,
            };
            let outcome = done.map(|d| (d.first_position.get(), d.last_position.get()));
            return self.settle(commit, outcome, version);
        }
        let (transaction, version) = self.transaction(&commit);
        let outcome = transaction.commit();
        let outcome = outcome.map(|d| (d.first_position.get(), d.last_position.get()));
        self.settle(commit, outcome, version);
    }

    /// Acknowledged once it is written to the system, which outlives this process.
    fn buffered(&mut self) {
        let commit = self.next();
        let (transaction, version) = self.transaction(&commit);
        let outcome = transaction.durability(Durability::BUFFERED).commit();
        let outcome = outcome.map(|d| (d.first_position.get(), d.last_position.get()));
        self.settle(commit, outcome, version);
    }

    /// Many submissions in flight; some tickets are dropped, whose outcome is never known.
    fn pipeline(&mut self) {
        let mut flying: Vec<(Commit, Ticket, Option<u64>)> = Vec::new();
        for _ in 0..2 + self.random.below(12) {
            let commit = self.next();
            let (transaction, version) = self.transaction(&commit);
            match transaction.submit() {
                Ok(ticket) => {
                    self.version = version;
                    flying.push((commit, ticket, version));
                }
                Err(error) => {
                    self.refuse(commit.key, &error);
                    break;
                }
            }
        }
        let known = self.version;
        let mut all_settled = true;
        for (commit, ticket, version) in flying {
            if self.random.percent(10) {
                all_settled = false;
                continue;
            }
            let outcome = ticket.wait();
            all_settled &= outcome.is_ok();
            let outcome = outcome.map(|d| (d.first_position.get(), d.last_position.get()));
            self.settle(commit, outcome, version);
        }
        self.version = if all_settled { known } else { None };
    }

    /// The same ids again: the result is the same, and nothing is written.
    fn repeat(&mut self) {
        let Some((commit, first, last)) = self.repeatable.clone() else { return };
        let mut transaction = self.store.transaction();
        for (stream, events) in &commit.operations {
            let events = events.iter().map(Planned::event);
            transaction = transaction.append(stream, ExpectedVersion::NoStream, events);
        }
        match transaction.commit() {
            Ok(done) => {
                assert!(done.already_recorded);
                let again = (done.first_position.get(), done.last_position.get());
                assert_eq!(again, (first, last));
                say(&format!("ack {} {first} {last}", commit.key.0));
            }
            Err(error) => assert!(matches!(error, Error::DiskFull { .. }), "{error:?}"),
        }
    }

    fn wrong_version(&mut self) {
        let key = self.refused_key();
        let Some(version) = self.version else { return };
        let (_, events) = Commit::of(key).operations.swap_remove(0);
        let events = events.into_iter().map(|event| Planned { id: None, ..event });
        let events: Vec<_> = events.map(|event| event.event()).collect();
        let expected = ExpectedVersion::Exact(version + 3);
        match self.store.append(key.own_stream(), expected, events) {
            Err(lost) if lost.is_conflict() => assert_eq!(lost.actual_version(), Some(version)),
            Err(Error::DiskFull { .. }) => {}
            other => panic!("version {version}: {other:?}"),
        }
        say(&format!("no {}", key.0));
    }

    fn reused_id(&mut self) {
        let key = self.refused_key();
        let Some((known, first, _)) = &self.repeatable else { return };
        let (id, first) = (known.operations[0].1[0].id, *first);
        let mut event = Commit::of(key).operations.swap_remove(0).1.swap_remove(0);
        event.id = id;
        match self.store.append("reused", ExpectedVersion::Any, [event.event()]) {
            Err(Error::IdReused { position, .. }) => assert_eq!(position.get(), first),
            Err(Error::DiskFull { .. }) => {}
            other => panic!("{other:?}"),
        }
        say(&format!("no {}", key.0));
    }

    fn snapshot(&mut self) {
        let stream = self.author.own_stream();
        let Some(version) = self.version.filter(|version| *version > 0) else { return };
        let snapshot = Snapshot::new(&stream, version, state_of(&stream, version));
        match self.store.snapshots().save(&snapshot) {
            Ok(()) => say(&format!("snap {stream} {version}")),
            Err(Error::DiskFull { .. }) => {}
            Err(error) => panic!("cannot save: {error:?}"),
        }
    }
}
