//! Counts by name: the events of a simulated life, and how often they happened.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::recovery::Opened;

/// Counts in groups, each by name. Both are printed in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, BTreeMap<&'static str, u64>>);

impl Tally {
    /// Adds to a count.
    pub fn add(&mut self, group: &'static str, name: &'static str, count: u64) {
        *self.0.entry(group).or_default().entry(name).or_default() += count;
    }

    /// Adds all counts of another tally.
    pub fn merge(&mut self, other: &Self) {
        for (group, counts) in &other.0 {
            for (name, count) in counts {
                self.add(group, name, *count);
            }
        }
    }

    /// A count; 0 if it does not exist.
    pub fn get(&self, group: &str, name: &str) -> u64 {
        self.0.get(group).and_then(|counts| counts.get(name)).copied().unwrap_or(0)
    }

    /// The groups and their counts.
    pub fn groups(&self) -> impl Iterator<Item = (&'static str, &BTreeMap<&'static str, u64>)> {
        self.0.iter().map(|(group, counts)| (*group, counts))
    }
}

impl Tally {
    pub(super) fn opened(&mut self, opened: &Opened) {
        let name = match opened {
            Opened::Created => "created",
            Opened::Clean => "clean",
            Opened::Recovered(recovery) if recovery.dropped_bytes > 0 => "a tail was cut off",
            Opened::Recovered(recovery) if recovery.rewritten_bytes > 0 => "a tail was kept",
            Opened::Recovered(_) => "put right otherwise",
            Opened::Damaged { .. } => "damaged",
        };
        self.add("openings", name, 1);
        if let Opened::Recovered(recovery) = opened {
            self.add("recovered", "bytes cut off", recovery.dropped_bytes);
            self.add("recovered", "bytes written again", recovery.rewritten_bytes);
            self.add("recovered", "files rebuilt", recovery.rebuilt);
        }
    }
}

/// The name of an answer in the counts.
pub(super) fn name_of(error: &Error) -> &'static str {
    match error {
        Error::Conflict { .. } => "conflict",
        Error::IdReused { .. } => "id reused",
        Error::OutcomeUnknown { .. } => "outcome unknown",
        Error::WriterPoisoned { .. } => "writer poisoned",
        Error::DiskFull { .. } => "disk full",
        Error::Io { .. } => "I/O error",
        Error::RecordedTime { .. } => "time refused",
        Error::MaintenanceFailed { .. } => "work left undone",
        Error::LimitExceeded { .. } => "over a limit",
        Error::ColdSegment { .. } => "cold segment out of reach",
        Error::Corrupt { .. } => "a block cannot be read",
        _ => "refused otherwise",
    }
}
