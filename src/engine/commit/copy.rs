//! Groups that are a copy in memory: written with the writer locked, in less time than it takes to unlock and lock it.
//!
//! Owns when a group is written that way. Must never make a system call but to wake a thread, and never copy more than
//! a few pages: others wait for the lock.

use super::lead::Guard;
use super::{Commits, Group, Writer};
use crate::log::writer::SegmentWrite;

/// The most bytes that are copied with the writer locked.
const MOST: usize = 16 << 10;

impl Writer {
    /// Whether the collecting group can be written now, without a system call but for a look at the directory.
    pub(super) fn is_copied_at_once(&self) -> bool {
        let Group { writes, sync } = &self.collecting;
        let is_ready = self.has_no_leader() && !sync && self.poisoned.is_none();
        is_ready && !writes.is_empty() && writes.iter().all(SegmentWrite::is_a_copy)
    }

    /// Writes the collecting group if it is one short copy, and leaves it in its place. `false`: it is to be led.
    fn copy(&mut self) -> bool {
        let is_short = matches!(&self.collecting.writes[..], [write] if write.bytes.len() <= MOST);
        is_short
            && self.is_copied_at_once()
            && !self.may_have_to_look()
            && self.collecting.writes[0].copy()
    }
}

impl Commits {
    /// Writes the collecting group. No other group is being written.
    pub(super) fn write_collecting<'a>(&'a self, mut writer: Guard<'a>) -> Guard<'a> {
        if !writer.copy() {
            return self.lead(writer);
        }
        let number = writer.collecting_number;
        writer.collecting_number = number.next();
        writer.flush_requested = false;
        let last = writer.log.tip.point();
        writer.group_tip = writer.log.tip.clone();
        let mut performed = std::mem::take(&mut writer.collecting.writes);
        self.note_writes(&mut writer, &performed, number, true);
        writer.log.recycle(&mut performed);
        writer.collecting.writes = performed;
        self.publish_written(&mut writer, number, last);
        self.announce_group(writer, number)
    }
}
