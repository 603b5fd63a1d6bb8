//! Changes that are accepted and not visible yet.
//!
//! Change numbers order changes as positions order events: a change is added when it is accepted, and
//! moves into the store's metadata when its group is visible. Checks see both.

use std::collections::VecDeque;

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::format::metadata::{Change, ChangeNumber};
use crate::index::metadata::{Metadata, StreamRules};

#[derive(Debug, Default)]
pub(crate) struct PendingChanges {
    /// With their numbers, which ascend.
    pending: VecDeque<(ChangeNumber, Change)>,
    /// The cursors that pending changes set or delete: the number of the last change, and the cursor
    /// after it.
    cursors: HashMap<SmolStr, (ChangeNumber, Option<u64>), foldhash::fast::RandomState>,
    /// The last change written, and the last that is durable.
    pub(crate) written: ChangeNumber,
    pub(crate) durable: ChangeNumber,
}

impl PendingChanges {
    pub(crate) fn new(last: ChangeNumber) -> Self {
        Self { written: last, durable: last, ..Self::default() }
    }

    /// Adds the next change.
    pub(crate) fn accept(&mut self, number: ChangeNumber, change: Change) {
        self.overlay(number, &change);
        self.pending.push_back((number, change));
    }

    fn overlay(&mut self, number: ChangeNumber, change: &Change) {
        match change {
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

    /// The hidden part of a stream, pending changes included.
    pub(crate) fn rules(&self, visible: &Metadata, stream: &str) -> StreamRules {
        let mut rules = visible.rules(stream);
        for change in self.pending().filter(|change| change.hides() == Some(stream)) {
            rules.apply(change);
        }
        rules
    }

    /// The number of the pending change that sets or deletes a cursor;
    /// [`ChangeNumber::NONE`]: there is none.
    pub(crate) fn pending_cursor(&self, name: &str) -> ChangeNumber {
        self.cursors.get(name).map_or(ChangeNumber::NONE, |(number, _)| *number)
    }

    /// The pending changes, oldest first.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Change> {
        self.pending.iter().map(|(_, change)| change)
    }

    /// Whether changes up to a number would become visible.
    pub(crate) fn any_up_to(&self, number: ChangeNumber) -> bool {
        self.pending.front().is_some_and(|(first, _)| *first <= number)
    }

    /// Moves all changes up to a number into the metadata that readers see.
    pub(crate) fn publish(&mut self, upto: ChangeNumber, visible: &mut Metadata) {
        while self.any_up_to(upto) {
            let Some((number, change)) = self.pending.pop_front() else { return };
            visible.apply(number, &change);
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
        self.pending.retain(|(number, _)| *number <= self.written);
        self.cursors.clear();
        let pending = std::mem::take(&mut self.pending);
        for (number, change) in &pending {
            self.overlay(*number, change);
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
        changes.accept(one, set(5));
        changes.accept(two, set(7));
        assert_eq!((changes.cursor(&visible, "a"), visible.cursor("a")), (Some(7), None));
        changes.publish(one, &mut visible);
        assert_eq!((changes.cursor(&visible, "a"), visible.cursor("a")), (Some(7), Some(5)));
        changes.written = one;
        changes.take_back();
        assert_eq!(changes.cursor(&visible, "a"), Some(5));
        changes.accept(two, Change::CursorDeleted { name: "a".into() });
        assert_eq!(changes.cursor(&visible, "a"), None);
        changes.publish(two, &mut visible);
        assert_eq!((changes.cursor(&visible, "a"), changes.pending().count()), (None, 0));
        assert!(changes.cursors.is_empty());
    }
}
