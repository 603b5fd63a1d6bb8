//! Changes that are accepted and not visible yet.
//!
//! Change numbers order changes as positions order events: a change is added when it is accepted, and
//! moves into the store's metadata when its group is visible. Checks see both.

use std::collections::VecDeque;

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::format::metadata::{Change, ChangeNumber, RecordEntry};
use crate::index::metadata::{Metadata, StreamRules};

#[derive(Debug, Default)]
pub(crate) struct PendingChanges {
    /// In the order of their numbers.
    pending: VecDeque<PendingChange>,
    /// The cursors that pending changes set or delete: the number of the last change, and the cursor
    /// after it.
    cursors: HashMap<SmolStr, (ChangeNumber, Option<u64>), foldhash::fast::RandomState>,
    /// The records that pending changes put or delete: the number of the last change, and its entry.
    records: HashMap<SmolStr, (ChangeNumber, RecordEntry), foldhash::fast::RandomState>,
    /// The last change written, and the last that is durable.
    pub(crate) written: ChangeNumber,
    pub(crate) durable: ChangeNumber,
}

/// A change that is accepted. The value of a record is not kept.
#[derive(Debug)]
struct PendingChange {
    number: ChangeNumber,
    change: Change,
    /// The segment that it is written to.
    segment: u64,
    /// When its commit is recorded.
    recorded_at: u64,
}

impl PendingChanges {
    pub(crate) fn new(last: ChangeNumber) -> Self {
        Self { written: last, durable: last, ..Self::default() }
    }

    /// Adds the next change, which is written to `segment` and recorded at this time.
    pub(crate) fn accept(
        &mut self,
        number: ChangeNumber,
        change: Change,
        segment: u64,
        recorded_at: u64,
    ) {
        let pending = PendingChange { number, change, segment, recorded_at };
        self.overlay(&pending);
        self.pending.push_back(pending);
    }

    fn overlay(&mut self, pending: &PendingChange) {
        let PendingChange { number, change, segment, .. } = pending;
        let number = *number;
        match change {
            Change::Record(record) => {
                let entry = RecordEntry::of(record, *segment);
                self.records.insert(record.key.clone(), (number, entry));
            }
            Change::CursorSet { name, position } => {
                self.cursors.insert(name.clone(), (number, Some(*position)));
            }
            Change::CursorDeleted { name } => {
                self.cursors.insert(name.clone(), (number, None));
            }
            _ => {}
        }
    }

    /// The position of a cursor, pending changes included.
    pub(crate) fn cursor(&self, visible: &Metadata, name: &str) -> Option<u64> {
        match self.cursors.get(name) {
            Some((_, position)) => *position,
            None => visible.cursor(name),
        }
    }

    /// The newest pending change of a record, and its number.
    pub(crate) fn record(&self, key: &str) -> Option<(ChangeNumber, RecordEntry)> {
        self.records.get(key).copied()
    }

    /// The hidden part of a stream, pending changes included.
    pub(crate) fn rules(&self, visible: &Metadata, stream: &str) -> StreamRules {
        let mut rules = visible.rules(stream);
        for (change, _) in self.pending().filter(|(change, _)| change.hides() == Some(stream)) {
            rules.apply(change);
        }
        rules
    }

    /// The number of the pending change that sets or deletes a cursor;
    /// [`ChangeNumber::NONE`]: there is none.
    pub(crate) fn pending_cursor(&self, name: &str) -> ChangeNumber {
        self.cursors.get(name).map_or(ChangeNumber::NONE, |(number, _)| *number)
    }

    /// The number of the pending change of a record; [`ChangeNumber::NONE`]: there is none.
    pub(crate) fn pending_record(&self, key: &str) -> ChangeNumber {
        self.record(key).map_or(ChangeNumber::NONE, |(number, _)| number)
    }

    /// The pending changes and their segments, oldest first.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (&Change, u64)> {
        self.pending.iter().map(|pending| (&pending.change, pending.segment))
    }

    /// The pending changes and when their commits are recorded, oldest first.
    pub(crate) fn pending_times(&self) -> impl Iterator<Item = (&Change, u64)> {
        self.pending.iter().map(|pending| (&pending.change, pending.recorded_at))
    }

    /// Whether changes up to a number would become visible.
    pub(crate) fn any_up_to(&self, number: ChangeNumber) -> bool {
        self.pending.front().is_some_and(|first| first.number <= number)
    }

    /// Moves all changes up to a number into the metadata that readers see.
    pub(crate) fn publish(&mut self, upto: ChangeNumber, visible: &mut Metadata) {
        while self.any_up_to(upto) {
            let Some(first) = self.pending.pop_front() else { return };
            let PendingChange { number, change, segment, recorded_at } = first;
            visible.apply_at(number, &change, segment, recorded_at);
            if let Change::Record(record) = &change {
                if self.pending_record(&record.key) == number {
                    self.records.remove(&record.key);
                }
                continue;
            }
            if let hashbrown::hash_map::EntryRef::Occupied(entry) =
                self.cursors.entry_ref(change.name())
                && entry.get().0 == number
            {
                entry.remove();
            }
        }
    }

    /// Removes the changes that are not written.
    pub(crate) fn take_back(&mut self) {
        self.pending.retain(|pending| pending.number <= self.written);
        self.cursors.clear();
        self.records.clear();
        let pending = std::mem::take(&mut self.pending);
        for change in &pending {
            self.overlay(change);
        }
        self.pending = pending;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(position: u64) -> Change {
        Change::CursorSet { name: "a".into(), position }
    }

    #[test]
    fn pending_changes_are_seen_by_checks_and_not_by_readers() {
        let mut visible = Metadata::default();
        let (one, two) = (ChangeNumber::FIRST, ChangeNumber::FIRST.next());
        let mut changes = PendingChanges::new(ChangeNumber::NONE);
        changes.accept(one, set(5), 1, 0);
        changes.accept(two, set(7), 1, 0);
        assert_eq!((changes.cursor(&visible, "a"), visible.cursor("a")), (Some(7), None));
        changes.publish(one, &mut visible);
        assert_eq!((changes.cursor(&visible, "a"), visible.cursor("a")), (Some(7), Some(5)));
        changes.written = one;
        changes.take_back();
        assert_eq!(changes.cursor(&visible, "a"), Some(5));
        changes.accept(two, Change::CursorDeleted { name: "a".into() }, 1, 0);
        assert_eq!(changes.cursor(&visible, "a"), None);
        changes.publish(two, &mut visible);
        assert_eq!((changes.cursor(&visible, "a"), changes.pending().count()), (None, 0));
        assert!(changes.cursors.is_empty());
    }
}
