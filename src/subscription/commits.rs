//! Whole commits: the events of a message, grouped by commit, and batches that end with a commit.
//!
//! Owns the events of a commit that is not read to its end. Must never deliver a part of a commit of
//! which the rest follows in another message.

use std::slice;

use super::Subscription;
use super::portion::{BATCH_BYTES, Portion};
use crate::error::{Error, Result};
use crate::event::{Position, Timestamp};
use crate::read::event::Event;

/// The events of one commit in a message; see [`Message::commits`](super::Message::commits).
#[derive(Debug, Clone, Copy)]
pub struct CommitEvents<'a> {
    /// Not empty.
    events: &'a [Event],
}

impl<'a> CommitEvents<'a> {
    /// The events in the order of positions; at least one.
    pub fn events(&self) -> &'a [Event] {
        self.events
    }

    /// The position of the commit's first event, delivered or not; it identifies the commit.
    pub fn first_position(&self) -> Position {
        self.events[0].commit()
    }

    /// The position of the commit's last event, delivered or not.
    pub fn last_position(&self) -> Position {
        self.events[0].commit_end()
    }

    /// When the commit was recorded.
    pub fn recorded_at(&self) -> Timestamp {
        self.events[0].recorded_at()
    }

    /// Whether these are all events of the commit: none was left out by a query, is hidden, or is at
    /// or before the position at which the subscription began.
    pub fn is_complete(&self) -> bool {
        let [first, last] = [self.first_position(), self.last_position()].map(Position::get);
        self.events.len() as u64 == last - first + 1
    }
}

impl<'a> IntoIterator for CommitEvents<'a> {
    type Item = &'a Event;
    type IntoIter = slice::Iter<'a, Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.events.iter()
    }
}

/// The commits of a run of events.
pub(super) fn commits_of(events: &[Event]) -> impl Iterator<Item = CommitEvents<'_>> {
    events.chunk_by(|one, next| one.commit() == next.commit()).map(|events| CommitEvents { events })
}

/// The batch that a subscription with whole commits reads.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Events that are not delivered yet, because the rest of the last one's commit is missing.
    events: Vec<Event>,
    /// The bytes that they own.
    bytes: usize,
    /// The first event of the next batch, if it was read to find the end of the previous one.
    next: Option<Event>,
}

/// Why a batch was not read further.
enum Pause {
    /// It ends with a commit.
    Ended,
    /// Its last commit continues, and other tasks run first.
    Unfinished,
}

impl Gathering {
    fn push(&mut self, event: Event) {
        self.bytes += event.owned_len();
        self.events.push(event);
    }

    fn take(&mut self) -> Vec<Event> {
        self.bytes = 0;
        std::mem::take(&mut self.events)
    }

    /// Whether the batch is large enough, so that only the rest of its last commit is added.
    fn is_full(&self, batch: u64) -> bool {
        self.events.len() as u64 >= batch || self.bytes >= BATCH_BYTES
    }

    fn drop_last_commit(&mut self) {
        let Some(commit) = self.events.last().map(Event::commit) else { return };
        while self.events.pop_if(|event| event.commit() == commit).is_some() {}
    }
}

impl Subscription {
    /// The next batch of whole commits. Empty if there is none yet.
    pub(super) fn read_commits(&mut self, mut gathering: Gathering) -> Result<Vec<Event>> {
        let paused = self.gather(&mut gathering);
        let read = match paused {
            Ok(Pause::Ended) => {
                self.scanned_through = match &gathering.next {
                    Some(next) => next.position().get() - 1,
                    None => self.scan.scanned_through(),
                };
                Ok(gathering.take())
            }
            Ok(Pause::Unfinished) => Ok(Vec::new()),
            Err(error) => self.end_before(&mut gathering, error),
        };
        self.commits = Some(gathering);
        read
    }

    /// Reads up to the end of a commit, and no more than a portion.
    fn gather(&mut self, gathering: &mut Gathering) -> Result<Pause> {
        let Portion { events: most, positions, bytes, yields, .. } = self.portion;
        let batch = (self.batch_size as u64).min(most);
        let window = positions.max(batch);
        let from = match gathering.events.last() {
            Some(_) => self.scan.scanned_through(),
            None => self.told.max(self.scanned_through),
        };
        let mut stop = from.saturating_add(window);
        let mut left = if yields { bytes } else { usize::MAX };
        let mut read = 0;
        if let Some(next) = gathering.next.take() {
            gathering.push(next);
        }
        loop {
            let is_full = gathering.is_full(batch);
            let end = gathering.events.last().map_or(0, |last| last.commit_end().get());
            if is_full && gathering.events.last().is_some_and(Event::is_last_in_commit) {
                return Ok(Pause::Ended);
            }
            // What follows the last commit is left to the next batch.
            let stop_here = if is_full { stop.min(end) } else { stop };
            let event = if yields && (read >= most || left == 0) {
                None
            } else {
                self.scan.next_until(stop_here, &mut left)?
            };
            match event {
                Some(event) if is_full && event.position().get() > end => {
                    gathering.next = Some(event);
                    return Ok(Pause::Ended);
                }
                Some(event) => {
                    read += 1;
                    gathering.push(event);
                }
                None if self.scan.scanned_through() >= end.min(self.scan.head()) => {
                    return Ok(Pause::Ended);
                }
                None if yields => return Ok(Pause::Unfinished),
                None => stop = end,
            }
        }
    }

    /// Reads the rest of the last commit after an error, which may be in a later one; returns whether
    /// the commit is complete.
    fn finish_last_commit(&mut self, gathering: &mut Gathering) -> bool {
        let Some(last) = gathering.events.last() else { return true };
        let (position, end) = (last.position().get(), last.commit_end().get());
        self.scan.resume(position, end);
        let mut unlimited = usize::MAX;
        loop {
            match self.scan.next_until(end, &mut unlimited) {
                Ok(Some(event)) => gathering.push(event),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Returns the commits before an error, if there are any, and the error after them.
    fn end_before(&mut self, gathering: &mut Gathering, error: Error) -> Result<Vec<Event>> {
        gathering.next = None;
        if !self.finish_last_commit(gathering) {
            gathering.drop_last_commit();
        }
        if let Some(last) = gathering.events.last() {
            self.scanned_through = last.commit_end().get();
        }
        // The next read begins after the last delivered commit.
        self.scan.resume(self.scanned_through, self.scanned_through);
        self.behind = true;
        if gathering.events.is_empty() {
            return Err(error);
        }
        self.failed = Some(error);
        Ok(gathering.take())
    }
}
