//! Groups of commits: the numbers by which they are waited for, and what the collecting one and the one being written
//! have.
//!
//! Owns the order of groups. Must never be mixed with positions, batches of snapshots or numbers of
//! changes: a group's number is a type of its own.

use std::sync::Arc;

use super::Writer;
use crate::log::segment::Segment;
use crate::log::writer::{CommitPoint, SegmentWrite};

/// Commits that are written together.
#[derive(Debug, Default)]
pub(in crate::engine) struct Group {
    pub(in crate::engine) writes: Vec<SegmentWrite>,
    /// A member wants it durable and not only written.
    pub(in crate::engine) sync: bool,
}

/// The number of a group. Groups are written in the order of their numbers. Default: [`GroupNumber::NONE`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
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

impl Writer {
    /// The bytes that wait to be written.
    pub(in crate::engine) fn pending_bytes(&self) -> usize {
        self.collecting.writes.iter().map(|write| write.bytes.len()).sum()
    }

    /// The bytes of a record or frame that is not written yet, from `offset` on.
    pub(in crate::engine) fn pending(&self, segment: &Segment, offset: u64) -> Option<&[u8]> {
        let groups = self.writing.as_deref().into_iter().chain([&self.collecting]);
        groups.flat_map(|group| &group.writes).find_map(|write| write.bytes_at(segment, offset))
    }

    /// Whether frames of a segment, or of one before it, are not written yet.
    pub(super) fn has_pending_up_to(&self, segment: u64) -> bool {
        let groups = self.writing.as_deref().into_iter().chain([&self.collecting]);
        groups.flat_map(|group| &group.writes).any(|write| write.segment.number() <= segment)
    }

    /// The group with which everything accepted is written, and durable if `sync`.
    pub(in crate::engine) fn group_of_all(&mut self, sync: bool) -> GroupNumber {
        self.collecting.sync |= sync;
        if self.wants_leader() { self.collecting_number } else { self.collecting_number.previous() }
    }

    /// Whether the collecting group has something to do: bytes to write, or a sync of what is written.
    pub(in crate::engine) fn wants_leader(&self) -> bool {
        self.collecting.sync || !self.collecting.writes.is_empty()
    }

    /// The group with which an event and a change are written; [`GroupNumber::NONE`]: they are written.
    pub(in crate::engine) fn group_of(&self, point: CommitPoint) -> GroupNumber {
        if self.written_to().covers(point) {
            GroupNumber::NONE
        } else if self.writing_to.is_some_and(|to| to.covers(point)) {
            self.collecting_number.previous()
        } else {
            self.collecting_number
        }
    }

    /// The collecting group if it has bytes to write, otherwise the one before it.
    pub(super) fn newest_with_bytes(&self) -> GroupNumber {
        if self.collecting.writes.is_empty() {
            self.collecting_number.previous()
        } else {
            self.collecting_number
        }
    }

    /// Takes the collecting group out, and puts an emptied one in its place.
    pub(super) fn take_collecting(&mut self) -> Arc<Group> {
        let mut taken = self.spare_group.take().unwrap_or_default();
        match Arc::get_mut(&mut taken) {
            Some(empty) => std::mem::swap(empty, &mut self.collecting),
            None => taken = Arc::new(std::mem::take(&mut self.collecting)),
        }
        taken
    }

    /// Keeps a written group's allocations for the next ones.
    pub(super) fn recycle(&mut self, mut group: Arc<Group>) {
        let Some(inner) = Arc::get_mut(&mut group) else { return };
        self.log.recycle(&mut inner.writes);
        inner.sync = false;
        self.spare_group = Some(group);
    }
}
