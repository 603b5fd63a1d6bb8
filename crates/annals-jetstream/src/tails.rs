//! What this handle has seen of the ends of streams, and the order of its own commits to a stream.
//!
//! Owns a bounded cache. An entry is a state that the stream had, so a commit that is based on it loses if the stream has
//! grown since: nothing depends on the cache but speed. Commits of one handle to one stream follow each other, because
//! the server refuses all but one that are on their way at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_es::Version;
use tokio::sync::OwnedMutexGuard;

/// The number of streams after which the older half of the cache is dropped.
const STREAMS: usize = 1 << 16;

/// The last message of a stream: its sequence, and the version after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tail {
    pub(crate) sequence: u64,
    pub(crate) version: Version,
}

#[derive(Debug, Default)]
pub(crate) struct Tails {
    known: Mutex<Known>,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug, Default)]
struct Known {
    recent: HashMap<String, Tail>,
    older: HashMap<String, Tail>,
}

impl Known {
    fn get(&mut self, subject: &str) -> Option<Tail> {
        if let Some(tail) = self.recent.get(subject) {
            return Some(*tail);
        }
        let (subject, tail) = self.older.remove_entry(subject)?;
        self.insert(subject, tail);
        Some(tail)
    }

    fn insert(&mut self, subject: String, tail: Tail) {
        if self.recent.len() >= STREAMS / 2 {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(subject, tail);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tails {
    pub(crate) fn get(&self, subject: &str) -> Option<Tail> {
        lock(&self.known).get(subject)
    }

    /// Notes a state of a stream, unless a later one is known. Returns the later of both.
    pub(crate) fn note(&self, subject: &str, tail: Tail) -> Tail {
        let mut known = lock(&self.known);
        match known.get(subject) {
            Some(later) if later.sequence >= tail.sequence => later,
            _ => {
                known.insert(subject.to_owned(), tail);
                tail
            }
        }
    }

    /// Waits until no other commit of this handle to these streams is on its way.
    pub(crate) async fn turn<'a>(&'a self, subjects: impl IntoIterator<Item = &str>) -> Turn<'a> {
        // In one order, so that two commits to the same streams do not wait for each other.
        let mut subjects: Vec<&str> = subjects.into_iter().collect();
        subjects.sort_unstable();
        let mut turn = Turn { tails: self, held: Vec::with_capacity(subjects.len()) };
        for subject in subjects {
            let mutex = Arc::clone(lock(&self.turns).entry(subject.to_owned()).or_default());
            let held = Held { subject: subject.to_owned(), guard: None };
            turn.held.push(held);
            let guard = mutex.lock_owned().await;
            if let Some(held) = turn.held.last_mut() {
                held.guard = Some(guard);
            }
        }
        turn
    }
}

/// The right of a commit to be the one on its way.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    tails: &'a Tails,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    subject: String,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = lock(&self.tails.turns);
        for held in self.held.drain(..) {
            drop(held.guard);
            // No commit holds it or waits for it.
            if turns.get(&held.subject).is_some_and(|it| Arc::strong_count(it) == 1) {
                turns.remove(&held.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(sequence: u64) -> Tail {
        Tail { sequence, version: Version::new(sequence) }
    }

    #[test]
    fn later_state_is_kept_and_the_number_of_streams_is_bounded() {
        let tails = Tails::default();
        assert_eq!(tails.note("s", tail(5)), tail(5));
        assert_eq!(tails.note("s", tail(3)), tail(5));
        assert_eq!(tails.get("s"), Some(tail(5)));
        for number in 0..3 * STREAMS {
            tails.note(&number.to_string(), tail(1));
        }
        let known = lock(&tails.known);
        assert!(known.recent.len() + known.older.len() <= STREAMS);
    }

    #[tokio::test]
    async fn turns_follow_each_other_and_leave_nothing() {
        let tails = Tails::default();
        let first = tails.turn(["a", "b"]).await;
        let second = tails.turn(["b", "c"]);
        tokio::pin!(second);
        let waits = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(waits, &mut second).await.is_err());
        drop(tails.turn(["c"]));
        drop(first);
        drop(second.await);
        assert!(lock(&tails.turns).is_empty());
    }
}
