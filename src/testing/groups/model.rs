//! What a consumer group must have handled, and where its progress ends, by walking over all events.
//!
//! Must never look at a store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Receiver;

use crate::consumer_group::{Delivery, SteppedGroup};
use crate::error::{Error, FailedCheck};
use crate::event::{ExpectedVersion, Position, category_of};
use crate::testing::compare::{Checked, ensure};
use crate::testing::model::{Model, ModelCommit, ModelRequest};

/// The streams whose events groups handle. No other action appends to them or hides them.
pub(super) const WORK: [&str; 4] = ["work-1", "work-2", "work-3", "work-4"];
pub(super) const PARKED: &str = "EventParked";
/// The second has a handler that writes in the commit that moves its cursor.
const NAMES: [&str; 2] = ["works", "bills"];

/// What a handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Fails,
    /// It returns a transaction whose check fails.
    Refused,
}

/// What a handler does with an event: some succeed in the second attempt, some never.
pub(super) fn answer_to(position: u64, attempt: u32, transactional: bool) -> Answer {
    match position % 8 {
        2 => Answer::Fails,
        4 if attempt == 1 => Answer::Fails,
        6 if transactional => Answer::Refused,
        _ => Answer::Done,
    }
}

/// A call of a handler.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) position: u64,
    pub(super) attempt: u32,
    pub(super) answer: Answer,
}

impl Call {
    pub(super) fn of(delivery: Delivery<'_>, transactional: bool) -> Self {
        let (position, attempt) = (delivery.event().position().get(), delivery.attempt());
        Self { position, attempt, answer: answer_to(position, attempt, transactional) }
    }

    /// The text that its event is parked with.
    pub(super) fn error(&self) -> String {
        if self.answer != Answer::Refused {
            return "no".into();
        }
        let (stream, expected) = ("nothing".into(), ExpectedVersion::StreamExists);
        let check = FailedCheck::WrongExpectedVersion { index: 1, stream, expected, actual: 0 };
        Error::Conflict { failed: vec![check], visible_at: Position::START }.to_string()
    }
}

fn work(model: &Model) -> impl Iterator<Item = u64> {
    let events = model.events().iter().filter(|event| category_of(&event.stream) == "work");
    events.map(|event| event.position)
}

/// The first event for the groups after a position.
pub(super) fn next_work(model: &Model, after: u64) -> Option<u64> {
    work(model).find(|position| *position > after)
}

pub(super) fn name_of_group(index: usize) -> &'static str {
    NAMES[index % NAMES.len()]
}

/// The groups of a life: what each has handled, and the run of each.
#[derive(Debug, Default)]
pub(in crate::testing) struct Groups {
    used: [bool; 2],
    /// Events that a handler without a transaction has handled, in this life of the store.
    handled: BTreeSet<u64>,
    pub(super) runs: [Option<GroupRun>; 2],
}

impl Groups {
    pub(super) fn begins(&mut self, index: usize) -> &'static str {
        self.used[index] = true;
        name_of_group(index)
    }

    pub(super) fn is_used(&self, index: usize) -> bool {
        self.used[index]
    }

    pub(super) fn handled(&mut self, index: usize, position: u64) {
        if index == 0 {
            self.handled.insert(position);
        }
    }

    /// Ends the runs, like the end of their process.
    pub(in crate::testing) fn abort(&mut self) {
        self.runs = [None, None];
    }

    /// Events after this position are lost.
    pub(in crate::testing) fn truncated(&mut self, events: u64) {
        self.handled.retain(|position| *position <= events);
    }

    /// Every event up to the cursor is handled or parked; with a transactional handler once, in order, and
    /// none after it.
    pub(in crate::testing) fn check_all(&self, model: &Model) -> Checked {
        (0..NAMES.len()).try_for_each(|index| self.check(index, model))
    }

    fn check(&self, index: usize, model: &Model) -> Checked {
        let name = name_of_group(index);
        let cursor = model.state(u64::MAX).cursors.get(name).copied().unwrap_or(0);
        let parked = format!("$parked-{name}");
        let parked = model.stream(&parked, u64::MAX).filter_map(|note| {
            note.contents.tags.iter().find_map(|tag| tag.strip_prefix("position:")?.parse().ok())
        });
        let mut ended: Vec<u64> = parked.collect();
        if index == 0 {
            let missed = work(model)
                .find(|it| *it <= cursor && !self.handled.contains(it) && !ended.contains(it));
            ensure!(missed.is_none(), "{name} is at {cursor}, and {missed:?} is not handled");
            return Ok(());
        }
        let text = |data: &[u8]| std::str::from_utf8(data).ok()?.parse().ok();
        let effects = model.stream("billed", u64::MAX);
        let effects: Vec<u64> = effects.filter_map(|event| text(&event.contents.data)).collect();
        ensure!(effects.is_sorted(), "{name} has committed {effects:?}");
        ended.extend(effects);
        ended.sort_unstable();
        let expected: Vec<u64> = work(model).filter(|it| *it <= cursor).collect();
        ensure!(
            ended == expected,
            "{name} is at {cursor}, and has handled {ended:?}, not {expected:?}"
        );
        Ok(())
    }

    /// Every event up to the cursor is handled or parked, and the cursor is after every event.
    pub(super) fn has_finished(&self, index: usize, model: &Model) -> Checked {
        let name = name_of_group(index);
        let cursor = model.state(u64::MAX).cursors.get(name).copied().unwrap_or(0);
        let left = next_work(model, cursor);
        ensure!(left.is_none(), "{name} has ended at {cursor}, before {left:?}");
        self.check(index, model)
    }
}

/// A running group.
#[derive(Debug)]
pub(super) struct GroupRun {
    pub(super) group: SteppedGroup,
    calls: Receiver<Call>,
    /// Its stored progress.
    pub(super) cursor: Option<u64>,
    /// Every event for it at or before this position was handed out.
    pub(super) handed_out: u64,
    /// Events that are neither handled nor parked, and their failed attempts.
    open: BTreeMap<u64, u32>,
    window: usize,
}

impl GroupRun {
    pub(super) fn new(
        group: SteppedGroup,
        calls: Receiver<Call>,
        cursor: Option<u64>,
        window: usize,
    ) -> Self {
        let handed_out = cursor.unwrap_or(0);
        Self { group, calls, cursor, handed_out, open: BTreeMap::new(), window }
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= self.window
    }

    pub(super) fn hand_out(&mut self, position: u64) -> Checked {
        ensure!(!self.is_full(), "{position} is handed out without room: {self:?}");
        self.open.insert(position, 0);
        self.handed_out = position;
        Ok(())
    }

    /// The call of the handler in this step; there is at most one.
    pub(super) fn call(&self) -> Checked<Option<Call>> {
        let call = self.calls.try_recv().ok();
        let more = self.calls.try_recv().ok();
        ensure!(more.is_none(), "two calls in a step: {call:?} and {more:?}");
        Ok(call)
    }

    /// An event comes after every earlier one of its stream; with a transactional handler, after every
    /// earlier one.
    pub(super) fn called(
        &mut self,
        model: &Model,
        call: &Call,
        has_failed: bool,
        in_turn: bool,
    ) -> Checked {
        let stream = |position: u64| model.at(position).map(|event| event.stream.as_str());
        let same = |other: &&u64| in_turn || stream(**other) == stream(call.position);
        let first = self.open.keys().find(same);
        ensure!(first == Some(&call.position), "{call:?} comes before {first:?}");
        let failed = self.open.entry(call.position).or_default();
        ensure!(call.attempt == *failed + 1, "{call:?} after {failed} that have failed");
        *failed += u32::from(has_failed);
        Ok(())
    }

    pub(super) fn done(&mut self, position: u64) {
        self.open.remove(&position);
    }

    /// The last position before which nothing is open, apart from the event at `without`.
    pub(super) fn progress(&self, without: Option<u64>) -> u64 {
        let is_open =
            |position: &u64| Some(*position) != without && self.open.contains_key(position);
        let reached = (1..=self.handed_out).take_while(|position| !is_open(position));
        reached.last().unwrap_or(0)
    }

    /// The request that moves the cursor to `to`; none if it is there.
    pub(super) fn advance(&self, name: &str, to: u64) -> Vec<ModelRequest> {
        if to <= self.cursor.unwrap_or(0) {
            return Vec::new();
        }
        vec![ModelRequest::Advance { name: name.into(), from: Some(self.cursor), to }]
    }

    pub(super) fn has_stored(&self, commit: &ModelCommit) -> bool {
        let stored = self.group.stats().stored.get();
        matches!(commit.requests[..], [ModelRequest::Advance { to, .. }] if to == stored)
    }

    /// The group shows the progress, and the number of events in flight, of the model.
    pub(super) fn agrees(&self) -> Checked {
        let stats = self.group.stats();
        let shown = (stats.progress.get(), stats.in_flight, stats.stored.get());
        let expected = (self.progress(None), self.open.len(), self.cursor.unwrap_or(0));
        ensure!(
            shown == expected,
            "progress, events in flight and cursor are {shown:?}, not {expected:?}"
        );
        Ok(())
    }
}
