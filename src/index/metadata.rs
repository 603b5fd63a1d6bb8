//! The state after all metadata commits of a store: cursors, the hidden part of each stream, and the records
//! whose newest change is in no index file yet.
//!
//! A plain value that changes are applied to in the order of their numbers. Must never decide
//! whether a change is allowed: that is decided before it is written.

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::event::RetentionLimits;
use crate::format::Defect;
use crate::format::checksum::Seed;
use crate::format::metadata::{Change, ChangeNumber, DerivedChange, RecordChange, RecordEntry};
use crate::index::records::RecentRecords;

type Map<V> = HashMap<SmolStr, V, foldhash::fast::RandomState>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    last_change: ChangeNumber,
    cursors: Map<Cursor>,
    streams: Map<StreamRules>,
    records: RecentRecords,
}

/// The state as it is kept in a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EncodedMetadata {
    /// Changes that produce it.
    pub(crate) changes: Vec<u8>,
    /// When each of them that sets a cursor was recorded, in the same order, 8 bytes each.
    pub(crate) cursor_times: Vec<u8>,
}

/// A consumer's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) position: u64,
    /// When the commit was recorded that moved it; 0: that is not known.
    pub(crate) moved_at: u64,
}

/// The part of a stream that is hidden from reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StreamRules {
    /// Events below this version are hidden; 0 and 1 hide none.
    pub(crate) truncated_before: u64,
    /// All are.
    pub(crate) archived: bool,
    /// Events older than this are hidden, in microseconds; 0: no limit.
    pub(crate) max_age: u64,
    /// All events but this number of newest ones are hidden; 0: no limit.
    pub(crate) max_count: u64,
}

/// An event, and the present of its stream that it is compared with. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventAge {
    pub(crate) version: u64,
    pub(crate) recorded_at: u64,
    /// The version of the stream's newest event.
    pub(crate) newest: u64,
    pub(crate) now: u64,
}

impl StreamRules {
    /// Whether an event is hidden.
    pub(crate) fn hides(&self, event: &EventAge) -> bool {
        self.archived
            || event.version < self.first_version(event.newest)
            || (self.max_age != 0 && event.recorded_at < event.now.saturating_sub(self.max_age))
    }

    /// The limits on the age and the count of events.
    pub(crate) fn limits(&self) -> RetentionLimits {
        RetentionLimits { max_age: self.max_age, max_count: self.max_count }
    }

    /// The first version that truncation and the limit on the count show.
    pub(crate) fn first_version(&self, newest: u64) -> u64 {
        let by_count =
            if self.max_count == 0 { 1 } else { (newest + 1).saturating_sub(self.max_count) };
        self.truncated_before.max(by_count).max(1)
    }

    /// Applies a change of a stream; a change of a cursor has no effect.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Truncated { before, .. } => {
                self.truncated_before = if *before <= 1 { 0 } else { *before };
            }
            Change::Archived { .. } => self.archived = true,
            Change::Unarchived { .. } => self.archived = false,
            Change::Retention { max_age, max_count, .. } => {
                (self.max_age, self.max_count) = (*max_age, *max_count);
            }
            Change::CursorSet { .. } | Change::CursorDeleted { .. } | Change::Record(_) => {}
        }
    }
}

impl Metadata {
    /// The number of the last applied change.
    pub(crate) fn last_change(&self) -> ChangeNumber {
        self.last_change
    }

    pub(crate) fn cursor(&self, name: &str) -> Option<u64> {
        self.cursors.get(name).map(|cursor| cursor.position)
    }

    pub(crate) fn cursors(&self) -> impl Iterator<Item = (&SmolStr, Cursor)> {
        self.cursors.iter().map(|(name, &cursor)| (name, cursor))
    }

    /// Whether nothing is hidden.
    pub(crate) fn hides_nothing(&self) -> bool {
        self.streams.is_empty()
    }

    pub(crate) fn rules(&self, stream: &str) -> StreamRules {
        self.streams.get(stream).copied().unwrap_or_default()
    }

    /// The records whose newest change is in a segment that is not sealed.
    pub(crate) fn records(&self) -> &RecentRecords {
        &self.records
    }

    /// Forgets the records of a segment whose index file is in use.
    pub(crate) fn drop_records(&mut self, segment: u64) {
        self.records.drop_segment(segment);
    }

    /// Applies a change in `segment` whose time is not known, unless it was applied before.
    pub(crate) fn apply(&mut self, number: ChangeNumber, change: &Change, segment: u64) {
        self.apply_at(number, change, segment, 0);
    }

    /// Applies a change in `segment` that was recorded at this time, unless it was applied before.
    pub(crate) fn apply_at(
        &mut self,
        number: ChangeNumber,
        change: &Change,
        segment: u64,
        recorded_at: u64,
    ) {
        if let Change::Record(record) = change {
            self.apply_record(record, segment);
        }
        if number <= self.last_change {
            return;
        }
        self.last_change = number;
        self.replay(change, recorded_at);
    }

    /// Applies a change of a record; an older one than is known has no effect.
    pub(crate) fn apply_record(&mut self, record: &RecordChange, segment: u64) {
        self.records.apply(&record.key, RecordEntry::of(record, segment));
    }

    /// Passes changes that an index file holds without their contents.
    pub(crate) fn pass(&mut self, last: ChangeNumber) {
        self.last_change = self.last_change.max(last);
    }

    fn replay(&mut self, change: &Change, recorded_at: u64) {
        match change {
            Change::CursorSet { name, position } => {
                let cursor = Cursor { position: *position, moved_at: recorded_at };
                self.cursors.insert(name.clone(), cursor);
            }
            Change::CursorDeleted { name } => {
                self.cursors.remove(name);
            }
            Change::Truncated { stream, .. }
            | Change::Archived { stream }
            | Change::Unarchived { stream }
            | Change::Retention { stream, .. } => {
                let mut rules = self.rules(stream);
                rules.apply(change);
                if rules == StreamRules::default() {
                    self.streams.remove(stream);
                } else {
                    self.streams.insert(stream.clone(), rules);
                }
            }
            Change::Record(_) => {}
        }
    }

    /// The changes that produce this state from an empty one, followed by `pending` ones with the times when
    /// they were recorded. Records are not included.
    pub(crate) fn encode<'a>(
        &self,
        pending: impl Iterator<Item = (&'a Change, u64)>,
    ) -> EncodedMetadata {
        let mut encoded = EncodedMetadata::default();
        let EncodedMetadata { changes: out, cursor_times } = &mut encoded;
        // Without records, a seed has no effect.
        let seed = Seed::of_salt(0);
        for (name, &Cursor { position, moved_at }) in sorted(&self.cursors) {
            Change::CursorSet { name: name.clone(), position }.encode(out, seed);
            cursor_times.extend_from_slice(&moved_at.to_le_bytes());
        }
        for (stream, rules) in sorted(&self.streams) {
            let StreamRules { truncated_before: before, archived, max_age, max_count } = *rules;
            let stream = || stream.clone();
            if before != 0 {
                Change::Truncated { stream: stream(), before }.encode(out, seed);
            }
            if archived {
                Change::Archived { stream: stream() }.encode(out, seed);
            }
            if max_age != 0 || max_count != 0 {
                Change::Retention { stream: stream(), max_age, max_count }.encode(out, seed);
            }
        }
        for (change, recorded_at) in pending {
            if !matches!(change, Change::Record(_)) {
                change.encode(out, seed);
            }
            if matches!(change, Change::CursorSet { .. }) {
                cursor_times.extend_from_slice(&recorded_at.to_le_bytes());
            }
        }
        encoded
    }

    /// Decodes the result of [`Metadata::encode`], up to a change's number. Without times of cursors they are
    /// not known.
    pub(crate) fn decode(
        last_change: u64,
        changes: &[u8],
        cursor_times: &[u8],
        segment: u64,
    ) -> Result<Self, Defect> {
        let mut metadata = Self::default();
        let mut times = cursor_times.chunks(8);
        let mut is_complete = true;
        DerivedChange::decode_all(changes, |change| match change {
            DerivedChange::Change(change) => {
                let mut recorded_at = 0;
                if matches!(change, Change::CursorSet { .. }) && !cursor_times.is_empty() {
                    let time = times.next().and_then(|time| time.try_into().ok());
                    is_complete &= time.is_some();
                    recorded_at = time.map_or(0, u64::from_le_bytes);
                }
                metadata.replay(&change, recorded_at);
            }
            DerivedChange::Newest(record) => metadata.apply_record(&record, segment),
            DerivedChange::Records(_) => {}
        })?;
        if !is_complete || times.next().is_some() {
            return Err(Defect::Invalid("not one time for each cursor that is set"));
        }
        metadata.last_change = ChangeNumber::new(last_change);
        Ok(metadata)
    }
}

/// Sorted by name, so that the same state gives the same bytes.
fn sorted<V>(map: &Map<V>) -> Vec<(&SmolStr, &V)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_state_equals_its_changes_applied_in_order() {
        let changes = [
            Change::CursorSet { name: "a".into(), position: 4 },
            Change::CursorSet { name: "b".into(), position: 5 },
            Change::Truncated { stream: "s".into(), before: 3 },
            Change::Archived { stream: "s".into() },
            Change::Retention { stream: "t".into(), max_age: 10, max_count: 2 },
            Change::CursorDeleted { name: "b".into() },
            Change::Unarchived { stream: "s".into() },
        ];
        let mut metadata = Metadata::default();
        for (number, change) in (1..).zip(&changes) {
            metadata.apply_at(ChangeNumber::new(number), change, 3, 100 + number);
        }
        // A change that was applied already is not applied again.
        metadata.apply(
            ChangeNumber::new(3),
            &Change::Truncated { stream: "s".into(), before: 9 },
            3,
        );
        let last = [Change::CursorSet { name: "c".into(), position: 6 }];
        let encoded = metadata.encode(last.iter().map(|change| (change, 106)));
        let decode = |times: &[u8]| Metadata::decode(8, &encoded.changes, times, 3);
        let read = decode(&encoded.cursor_times).unwrap();
        // The same state gives the same bytes, whatever its history is.
        let again = decode(&encoded.cursor_times).unwrap();
        assert_eq!(read.encode([].into_iter()), again.encode([].into_iter()));
        assert_eq!(read.last_change().get(), 8);
        let cursors = |read: &Metadata| {
            let cursors = read.cursors().map(|(n, c)| (n.to_string(), c.position, c.moved_at));
            cursors.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(cursors(&read), [("a".into(), 4, 101), ("c".into(), 6, 106)].into());
        // Files from before there were times have none.
        let without = decode(&[]).unwrap();
        assert_eq!(cursors(&without), [("a".into(), 4, 0), ("c".into(), 6, 0)].into());
        for len in 1..encoded.cursor_times.len() {
            assert!(decode(&encoded.cursor_times[..len]).is_err(), "{len}");
        }
        assert!(decode(&[&encoded.cursor_times[..], &[0; 8]].concat()).is_err());
        assert_eq!(read.rules("s").truncated_before, 3);
        assert!(!read.rules("s").archived);
        assert_eq!(read.rules("t").first_version(5), 4);
        metadata.apply(
            ChangeNumber::new(9),
            &Change::Truncated { stream: "s".into(), before: 1 },
            3,
        );
        metadata.apply(
            ChangeNumber::new(10),
            &Change::Retention { stream: "t".into(), max_age: 0, max_count: 0 },
            3,
        );
        assert!(metadata.hides_nothing());
    }

    #[test]
    fn hiding_rules_apply_by_version_count_and_age() {
        let hides = |rules: &StreamRules, version, recorded_at| {
            rules.hides(&EventAge { version, recorded_at, newest: 10, now: 1000 })
        };
        let rules =
            StreamRules { truncated_before: 3, max_count: 4, max_age: 100, archived: false };
        assert_eq!((rules.first_version(4), rules.first_version(10)), (3, 7));
        assert!(hides(&rules, 6, 1000));
        assert!(!hides(&rules, 7, 900));
        assert!(hides(&rules, 7, 899));
        assert!(hides(&StreamRules { archived: true, ..StreamRules::default() }, 10, 1000));
    }
}
