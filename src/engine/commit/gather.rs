//! Waiting, before a sync, for commits that are about to come.
//!
//! Threads that commit again as soon as a commit is durable come back right after a sync. A leader that syncs at once
//! leaves them to the next sync: two halves take turns, and each commit waits for both. So a leader waits for them, at
//! most a part of the time that a sync takes, as `commit_delay` of `PostgreSQL` does for a time that
//! is configured.
//!
//! Owns whether a leader waits, and how long. Must never wait with the writer locked, and never for commits that only
//! want to be written.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::lead::Guard;
use super::{Commits, GroupNumber, Writer};
use crate::sync::{Instant, yields_until};

/// The part of a sync's time that a leader waits at most.
const PART: u32 = 3;
/// A shorter wait is no use: a thread takes longer to come back.
const SHORTEST: Duration = Duration::from_micros(5);
const LONGEST: Duration = Duration::from_micros(100);
/// The most commits that are waited for. More threads come back one after the other, and keep two processors busy.
const MOST_MEMBERS: u32 = 12;
/// The most groups that are not waited for after waits that were not worth it.
const MOST_SKIPPED: u32 = 64;

/// What a leader knows about the commits to come.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// A leader waits, and leads afterwards.
    is_active: bool,
    /// The last group that was decided on.
    decided: GroupNumber,
    /// The commits that the last synced group had, and those that came meanwhile: as many are in progress.
    expected: u32,
    /// How long its sync took.
    sync_took: Duration,
    /// The groups that are not waited for, and how many they were after the last wait.
    skips: u32,
    skipped: u32,
}

impl Gathering {
    /// A group of `members` commits is durable, and `joined` came meanwhile.
    pub(super) fn note_synced(&mut self, members: u32, joined: u32, took: Duration) {
        self.expected = members.saturating_add(joined);
        self.sync_took = took;
    }

    /// How long to wait for a group that has `members`; `None`: it is to be led now.
    fn wait_for(&mut self, number: GroupNumber, members: u32) -> Option<Duration> {
        if self.decided == number {
            return None;
        }
        self.decided = number;
        if !(members + 1..=MOST_MEMBERS).contains(&self.expected) {
            return None;
        }
        if self.skips > 0 {
            self.skips -= 1;
            return None;
        }
        longest_wait(self.sync_took)
    }

    /// A wait for `missing` commits has ended, and `came` of them came.
    fn note_waited(&mut self, missing: u32, came: u32) {
        let is_worth_it = came > missing / 2;
        self.skipped =
            if is_worth_it { 0 } else { self.skipped.saturating_mul(2).clamp(1, MOST_SKIPPED) };
        self.skips = self.skipped;
    }
}

/// The longest wait before a sync that takes this long; `None`: none is worth it.
fn longest_wait(sync_took: Duration) -> Option<Duration> {
    // Under a model checker nothing takes time.
    let wait = if cfg!(annals_shuttle) { SHORTEST } else { (sync_took / PART).min(LONGEST) };
    (wait >= SHORTEST).then_some(wait)
}

impl Writer {
    /// Whether no thread writes the collecting group or is about to.
    pub(super) fn has_no_leader(&self) -> bool {
        self.writing.is_none() && !self.gathering.is_active
    }
}

impl Commits {
    /// A commit has joined the collecting group, and wants it synced if `sync`.
    pub(in crate::engine) fn note_member(&self, writer: &mut Writer, sync: bool) {
        if sync {
            writer.collecting.sync = true;
            self.members.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number of commits that want a sync, of the group that was taken out. The writer is locked.
    pub(super) fn take_members(&self) -> u32 {
        self.members.swap(0, Ordering::Relaxed)
    }

    /// The number of them in the collecting group.
    pub(super) fn members(&self) -> u32 {
        self.members.load(Ordering::Relaxed)
    }

    /// Before the collecting group is led: waits for commits that are expected to join it, with the writer unlocked and no
    /// other leader. `Err` if it waited: then all that the caller knew may have changed.
    pub(super) fn gather<'a>(&'a self, mut writer: Guard<'a>) -> Result<Guard<'a>, Guard<'a>> {
        let (number, members) = (writer.collecting_number, self.members());
        if !writer.collecting.sync {
            return Ok(writer);
        }
        let Some(wait) = writer.gathering.wait_for(number, members) else { return Ok(writer) };
        let expected = writer.gathering.expected;
        writer.gathering.is_active = true;
        drop(writer);
        let until = Instant::now() + wait;
        while self.members() < expected && yields_until(until) {}
        let came = self.members().saturating_sub(members);
        let mut writer = self.writer.lock();
        writer.gathering.is_active = false;
        writer.gathering.note_waited(expected - members, came);
        Err(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(90);

    /// Decides on the group after `number`.
    fn decide(gathering: &mut Gathering, number: &mut GroupNumber, members: u32) -> bool {
        *number = number.next();
        gathering.wait_for(*number, members).is_some()
    }

    #[test]
    fn leader_waits_for_those_that_were_there_before() {
        let (mut gathering, mut number) = (Gathering::default(), GroupNumber::NONE);
        assert!(!decide(&mut gathering, &mut number, 1), "nothing is known");
        // One thread.
        gathering.note_synced(1, 0, SYNC);
        assert!(!decide(&mut gathering, &mut number, 1));
        // Two halves.
        gathering.note_synced(2, 2, SYNC);
        assert!(decide(&mut gathering, &mut number, 2));
        assert_eq!(gathering.wait_for(number, 2), None, "once for a group");
        assert!(!decide(&mut gathering, &mut number, 4), "all are there");
        gathering.note_synced(12, 5, SYNC);
        assert!(!decide(&mut gathering, &mut number, 5), "they are too many");
    }

    #[test]
    fn wait_is_a_part_of_a_sync() {
        assert_eq!(longest_wait(Duration::ZERO), None);
        assert_eq!(longest_wait(Duration::from_micros(14)), None);
        assert_eq!(longest_wait(SYNC), Some(Duration::from_micros(30)));
        assert_eq!(longest_wait(Duration::from_millis(10)), Some(LONGEST));
    }

    #[test]
    fn waits_in_vain_become_rare() {
        let (mut gathering, mut number) = (Gathering::default(), GroupNumber::NONE);
        gathering.note_synced(2, 2, SYNC);
        let mut waits = 0;
        for _ in 0..1_000 {
            if decide(&mut gathering, &mut number, 2) {
                waits += 1;
                gathering.note_waited(2, 0);
            }
        }
        assert!((10..30).contains(&waits), "{waits}");
        while !decide(&mut gathering, &mut number, 2) {}
        gathering.note_waited(2, 1);
        assert!(!decide(&mut gathering, &mut number, 2), "half of them is too few");
        while !decide(&mut gathering, &mut number, 2) {}
        gathering.note_waited(2, 2);
        assert!(decide(&mut gathering, &mut number, 2), "a wait that was worth it is repeated");
    }
}
