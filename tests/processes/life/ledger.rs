//! The record of what the children acknowledged, compared with the store.

use std::collections::{HashMap, HashSet};

use annals::testing::random::Random;
use annals::{Event, Query, Store};

use super::commits::{Commit, Key, REFUSED, key_of, state_of};

/// A commit in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) key: Key,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// The answers about one store, and the commits found in it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    acknowledged: HashMap<Key, (u64, u64)>,
    refused: HashSet<Key>,
    /// The newest version of each stream whose snapshot was saved.
    snapshots: HashMap<String, u64>,
    /// The commits found by the last check, which must stay.
    found: Vec<Placed>,
    /// The results of openings that the children printed.
    pub(crate) opened: HashMap<String, u64>,
    /// Whether commits of an author may be missing: a full disk may have refused them before the
    /// kill.
    pub(crate) disk_fills_up: bool,
    pub(crate) disk_was_full: u64,
}

impl Ledger {
    /// Records a line of a child.
    pub(crate) fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<u64>().unwrap();
        match words[..] {
            ["ack", key, first, last] => self.note(Key(number(key)), number(first), number(last)),
            ["no", key] => {
                let key = Key(number(key));
                self.disk_was_full += u64::from(key.worker() & REFUSED == 0);
                self.refused.insert(key);
            }
            ["snap", stream, version] => {
                let known = self.snapshots.entry(stream.into()).or_default();
                *known = (*known).max(number(version));
            }
            ["opened", what] => *self.opened.entry(what.into()).or_default() += 1,
            _ => {}
        }
    }

    pub(crate) fn note(&mut self, key: Key, first: u64, last: u64) {
        let known = self.acknowledged.insert(key, (first, last));
        assert!(
            known.is_none_or(|known| known == (first, last)),
            "{key:?}: {known:?}, then {first}"
        );
    }

    pub(crate) fn refuse(&mut self, key: Key) {
        self.refused.insert(key);
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// The last acknowledged position.
    pub(crate) fn last_acknowledged(&self) -> u64 {
        self.acknowledged.values().map(|(_, last)| *last).max().unwrap_or(0)
    }

    /// The commits found by the last check.
    pub(crate) fn found(&self) -> &[Placed] {
        &self.found
    }

    /// Reads a whole store, and panics at the first difference from the answers or from the last
    /// check. `chance` selects look-ups in the indexes.
    pub(crate) fn check(&mut self, store: &Store, chance: u64) {
        let read = read_all(store);
        let placed: HashMap<Key, Placed> = read.commits.iter().map(|p| (p.key, *p)).collect();
        assert_eq!(placed.len(), read.commits.len(), "a commit is there twice");
        for (key, (first, last)) in &self.acknowledged {
            let found = placed.get(key).map(|placed| (placed.first, placed.last));
            let said = Some((*first, *last));
            assert_eq!(found, said, "{key:?} was acknowledged; the head is {}", store.head());
        }
        for key in &self.refused {
            assert!(!placed.contains_key(key), "{key:?} was refused");
        }
        let before = self.found.len().min(read.commits.len());
        assert_eq!(read.commits[..before], self.found[..], "what was there has changed");
        self.check_authors(&read.commits);
        check_lookups(store, &read, chance);
        for (stream, version) in &self.snapshots {
            let snapshot = store.snapshots().load(stream).unwrap();
            let snapshot = snapshot.unwrap_or_else(|| panic!("no snapshot of {stream}"));
            let annals::snapshot::Mark::Version(mark) = snapshot.mark() else {
                panic!("{snapshot:?}")
            };
            assert!(mark >= *version && mark <= read.versions[stream], "{stream}: {mark}");
            assert_eq!(snapshot.state(), state_of(stream, mark));
        }
        self.found = read.commits;
    }

    /// Asserts that the commits of an author are there in order and without a gap.
    fn check_authors(&self, commits: &[Placed]) {
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for placed in commits {
            let count = counts.entry(placed.key.author()).or_default();
            assert!(placed.key.count() > *count, "{:?} comes behind {count}", placed.key);
            let between = *count + 1..placed.key.count();
            for missing in between {
                let missing = Key(placed.key.author() << 24 | missing);
                let refused = self.disk_fills_up || self.refused.contains(&missing);
                assert!(refused, "{missing:?} is missing, {:?} is there", placed.key);
            }
            *count = placed.key.count();
        }
    }
}

struct Read {
    commits: Vec<Placed>,
    versions: HashMap<String, u64>,
    ids: Vec<(annals::Uuid, u64)>,
    lives: HashMap<u64, u64>,
}

/// Reads up to the pinned head, and asserts: whole commits with the contents of their number,
/// positions and versions without gaps, times that do not decrease, unique ids.
fn read_all(store: &Store) -> Read {
    let mut read =
        Read { commits: vec![], versions: HashMap::new(), ids: vec![], lives: HashMap::new() };
    let mut follow = Following::default();
    let events = store.read_all().start().unwrap();
    let head = events.head().get();
    for event in events {
        let event = event.unwrap();
        let version = read.versions.entry(event.stream().into()).or_default();
        *version += 1;
        assert_eq!(event.version(), *version, "{}", event.stream());
        read.ids.push((event.id(), event.position().get()));
        if let Some(placed) = follow.take(event) {
            *read.lives.entry(placed.key.life()).or_default() += placed.last - placed.first + 1;
            read.commits.push(placed);
        }
    }
    assert_eq!(follow.position, head, "an end without an error is the end");
    assert!(follow.commit.is_empty(), "half a commit is visible, up to {head}");
    let distinct: HashSet<_> = read.ids.iter().map(|(id, _)| *id).collect();
    assert_eq!(distinct.len(), read.ids.len(), "an id is there twice");
    read
}

/// Groups events into commits, and checks each commit.
#[derive(Debug, Default)]
pub(crate) struct Following {
    pub(crate) position: u64,
    time: u64,
    commit: Vec<Event>,
}

impl Following {
    /// The commit that this event completes.
    pub(crate) fn take(&mut self, event: Event) -> Option<Placed> {
        self.position += 1;
        assert_eq!(event.position().get(), self.position);
        assert!(event.recorded_at().as_micros() >= self.time, "time has stepped back");
        self.time = event.recorded_at().as_micros();
        let last = event.is_last_in_commit();
        self.commit.push(event);
        let first = &self.commit[0];
        assert!(self.commit.iter().all(|event| event.commit() == first.position()));
        if !last {
            return None;
        }
        let key = key_of(first).unwrap();
        let difference = Commit::of(key).differs(&self.commit);
        assert_eq!(difference, None, "{key:?}");
        let placed = Placed { key, first: first.position().get(), last: self.position };
        self.commit.clear();
        Some(placed)
    }

    /// Whether the events taken so far end with a whole commit.
    pub(crate) fn is_whole(&self) -> bool {
        self.commit.is_empty()
    }
}

/// Asserts that some look-ups in the indexes return what the log holds.
fn check_lookups(store: &Store, read: &Read, chance: u64) {
    let mut random = Random::new(chance);
    for (stream, version) in &read.versions {
        let head = store.stream_head(stream).unwrap().unwrap();
        assert_eq!(head.version, *version, "{stream}");
    }
    assert_eq!(store.streams().into_iter().count(), read.versions.len());
    assert_eq!(store.stats().events, read.ids.len() as u64);
    if read.ids.is_empty() {
        return;
    }
    for _ in 0..6 {
        let (id, position) = *random.pick(&read.ids);
        let event = store.event(id).unwrap().unwrap();
        assert_eq!(event.position().get(), position);
        let stream = event.stream().to_owned();
        let events = store.read_stream(&stream).into_iter();
        let versions: Vec<u64> = events.map(|event| event.unwrap().version()).collect();
        let all: Vec<u64> = (1..=read.versions[&stream]).collect();
        assert_eq!(versions, all, "{stream}");
    }
    let lives: Vec<u64> = read.lives.keys().copied().collect();
    let life = *random.pick(&lives);
    let tagged = store.read_all().matching(Query::tagged([format!("life:{life}")]));
    let count = tagged.into_iter().flatten().count() as u64;
    assert_eq!(count, read.lives[&life], "life {life}");
}
