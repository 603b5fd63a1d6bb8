//! Changes that are not events, in order, and their result.

use std::collections::BTreeMap;

/// The changes of a commit other than events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChange {
    /// A cursor is set to a position, or is deleted.
    Cursor(String, Option<u64>),
    /// A stream's events below a version are hidden.
    Truncated(String, u64),
    /// All events of a stream are hidden, or shown again.
    Archived(String, bool),
    /// A stream's events beyond an age in µs or a count are hidden; 0: no such limit.
    Limited(String, u64, u64),
    /// A record gets a value, or is deleted.
    Record(String, Option<Vec<u8>>),
}

impl ModelChange {
    /// The same change, except that a truncation that would show events again keeps them hidden.
    #[must_use]
    pub fn not_back(self, state: &ModelState) -> Self {
        match self {
            Self::Truncated(stream, before) => {
                let hidden = state.rules(&stream).truncated_before;
                Self::Truncated(stream, before.max(hidden))
            }
            change => change,
        }
    }

    /// Whether its subject differs between two states.
    pub fn differs(&self, one: &ModelState, other: &ModelState) -> bool {
        match self {
            Self::Cursor(name, _) => one.cursors.get(name) != other.cursors.get(name),
            Self::Truncated(stream, _) | Self::Archived(stream, _) | Self::Limited(stream, ..) => {
                one.rules(stream).shown() != other.rules(stream).shown()
            }
            Self::Record(key, _) => one.records.get(key) != other.records.get(key),
        }
    }
}

/// The hidden part of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelRules {
    /// Events below this version.
    pub truncated_before: u64,
    /// All events.
    pub archived: bool,
    /// Events older than this, in µs; 0: no limit.
    pub max_age: u64,
    /// All but this number of newest events; 0: no limit.
    pub max_count: u64,
}

impl ModelRules {
    /// The same value for all rules with the same effect: versions begin at 1.
    fn shown(self) -> Self {
        Self { truncated_before: self.truncated_before.max(1), ..self }
    }

    /// The first version that truncation and the count show of a stream at version `newest`.
    pub fn first_version(&self, newest: u64) -> u64 {
        let counted = |version: &u64| self.max_count == 0 || newest - version < self.max_count;
        let shown = |version: &u64| *version >= self.truncated_before && counted(version);
        (1..=newest).find(shown).unwrap_or(self.truncated_before.max(newest + 1))
    }

    /// Whether an event is hidden from a read that began at `now`, in µs.
    pub fn hide(&self, version: u64, recorded_at: u64, newest: u64, now: u64) -> bool {
        let old = self.max_age != 0 && recorded_at.saturating_add(self.max_age) < now;
        self.archived || version < self.first_version(newest) || old
    }
}

/// Cursors and rules as of some change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelState {
    /// The position of each cursor.
    pub cursors: BTreeMap<String, u64>,
    rules: BTreeMap<String, ModelRules>,
    /// Each record that was ever put.
    pub records: BTreeMap<String, ModelRecord>,
    /// The number of changes that led here.
    applied: u64,
}

/// A record, or what is left of a deleted one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelRecord {
    /// The number of its changes.
    pub version: u64,
    /// `None`: it is deleted.
    pub value: Option<Vec<u8>>,
    /// The number of its last change among all changes.
    pub change: u64,
}

impl ModelRecord {
    /// The version that checks compare with.
    pub fn current(&self) -> u64 {
        if self.value.is_some() { self.version } else { 0 }
    }
}

impl ModelState {
    /// The result of some changes.
    pub fn of(changes: &[ModelChange]) -> Self {
        let mut state = Self::default();
        for change in changes {
            state.apply(change);
        }
        state
    }

    /// The next change.
    pub fn apply(&mut self, change: &ModelChange) {
        self.applied += 1;
        match change {
            ModelChange::Record(key, value) => {
                let record = self.records.entry(key.clone()).or_default();
                record.version += 1;
                record.value.clone_from(value);
                record.change = self.applied;
            }
            ModelChange::Cursor(name, Some(position)) => {
                self.cursors.insert(name.clone(), *position);
            }
            ModelChange::Cursor(name, None) => {
                self.cursors.remove(name);
            }
            ModelChange::Truncated(stream, before) => {
                self.rules_mut(stream).truncated_before = *before;
            }
            ModelChange::Archived(stream, archived) => self.rules_mut(stream).archived = *archived,
            ModelChange::Limited(stream, age, count) => {
                let rules = self.rules_mut(stream);
                (rules.max_age, rules.max_count) = (*age, *count);
            }
        }
    }

    /// A record as it is now; version 0 if it was never put.
    pub fn record(&self, key: &str) -> ModelRecord {
        self.records.get(key).cloned().unwrap_or_default()
    }

    fn rules_mut(&mut self, stream: &str) -> &mut ModelRules {
        self.rules.entry(stream.to_owned()).or_default()
    }

    /// The hidden part of a stream.
    pub fn rules(&self, stream: &str) -> ModelRules {
        self.rules.get(stream).copied().unwrap_or_default()
    }

    /// Whether the hidden events depend on the time.
    pub fn hides_by_age(&self) -> bool {
        self.rules.values().any(|rules| rules.max_age != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_change_of_each_name_counts() {
        let name = || "a".to_owned();
        let changes = [
            ModelChange::Cursor(name(), Some(4)),
            ModelChange::Truncated(name(), 3),
            ModelChange::Limited(name(), 0, 2),
            ModelChange::Archived(name(), true),
            ModelChange::Cursor(name(), None),
            ModelChange::Archived(name(), false),
        ];
        assert_eq!(ModelState::of(&changes[..1]).cursors[&name()], 4);
        assert!(ModelState::of(&changes[..4]).rules("a").archived);
        let state = ModelState::of(&changes);
        assert!(state.cursors.is_empty() && !state.hides_by_age());
        let rules = state.rules("a");
        assert_eq!([0, 3, 4, 5].map(|newest| rules.first_version(newest)), [3, 3, 3, 4]);
        assert!(rules.hide(3, 0, 5, 0) && !rules.hide(4, 0, 5, 0));
        assert_eq!(state.rules("b"), ModelRules::default());
        let aged = ModelRules { max_age: 10, ..ModelRules::default() };
        assert!(aged.hide(1, 5, 1, 16) && !aged.hide(1, 5, 1, 15));
    }
}
