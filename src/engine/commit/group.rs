//! Groups of commits, and the numbers by which they are waited for.
//!
//! Owns the order of groups. Must never be mixed with positions, batches of snapshots or numbers of
//! changes: a group's number is a type of its own.

use crate::log::writer::SegmentWrite;

/// Commits that are written together.
#[derive(Debug, Default)]
pub(in crate::engine) struct Group {
    pub(in crate::engine) writes: Vec<SegmentWrite>,
    /// A member wants it durable and not only written.
    pub(in crate::engine) sync: bool,
}

/// The number of a group. Groups are written in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupNumber(u64);

impl GroupNumber {
    /// Before all groups. As the group of a commit: it has nothing to wait for.
    pub(crate) const NONE: Self = Self(0);
    /// Of the first group of a writer.
    pub(super) const FIRST: Self = Self(1);
    /// At or after every group.
    pub(super) const ALL: Self = Self(u64::MAX);

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Not to be called on [`GroupNumber::NONE`].
    pub(super) fn previous(self) -> Self {
        Self(self.0 - 1)
    }

    /// 0 or 1, different for neighbours.
    pub(super) fn parity(self) -> usize {
        usize::from(!self.0.is_multiple_of(2))
    }
}
