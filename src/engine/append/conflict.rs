//! Delays the error of a refused commit until reads show the cause.
//!
//! Checks see commits that are on their way to disk, reads do not. A caller that got the conflict
//! before reads show the winning commit would read the same state, make the same decision and fail
//! again in a busy loop. So the conflict is returned once reads show it. If the winning commit is taken
//! back because the disk was full, the check is made again.

use super::check::Refusal;
use super::{Answer, Appends, Decision, Guard, Patience, Prepared};
use crate::engine::commit::Writer;
use crate::error::{Error, FailedCheck, Result};
use crate::event::Position;
use crate::format::metadata::ChangeNumber;
use crate::log::writer::CommitPoint;

impl Appends {
    /// Accepts a commit, or returns the conflict: at once, or, if not `conflict_at_once`, when reads show
    /// its cause.
    pub(super) fn sequence(
        &self,
        commit: &Prepared<'_>,
        sync: bool,
        answer: &mut Answer<'_>,
        conflict_at_once: bool,
    ) -> Result<Guard<'_>> {
        loop {
            match self.decide(commit, sync, answer, Patience::Waits)? {
                Decision::Accepted(writer) => return Ok(writer),
                // The answer to tasks alone.
                Decision::TakesLong => {}
                Decision::Refused(writer, refusal) if conflict_at_once => {
                    return Err(self.conflict_at_once(&writer, refusal));
                }
                Decision::Refused(writer, refusal) => {
                    if self.wait_for_winner(writer, refusal.lost)? {
                        return Err(self.conflict(refusal.failed, refusal.lost.position));
                    }
                }
            }
        }
    }

    pub(super) fn conflict_at_once(&self, writer: &Writer, refusal: Refusal) -> Error {
        let Refusal { failed, lost } = refusal;
        // If a cursor was moved without events, the last accepted position is the nearest one.
        let tip =
            if lost.change > ChangeNumber::NONE { writer.log.tip.next_position - 1 } else { 0 };
        self.conflict(failed, lost.position.max(tip))
    }

    pub(super) fn conflict(&self, failed: Vec<FailedCheck>, position: u64) -> Error {
        self.shared.counters().conflicts.add(1);
        Error::Conflict { failed, visible_at: Position::new(position) }
    }

    /// Whether reads show the cause of a refusal.
    pub(super) fn shows(&self, lost: CommitPoint) -> bool {
        self.positions.visible(false) >= lost.position
            && (lost.change == ChangeNumber::NONE || self.contents.last_change() >= lost.change)
    }

    /// Waits until reads show the cause of a refusal, and leads groups where no other thread does.
    /// `false`: the cause was taken back, so the commit may succeed now.
    fn wait_for_winner(&self, mut writer: Guard<'_>, lost: CommitPoint) -> Result<bool> {
        if self.shows(lost) {
            return Ok(true);
        }
        let number = writer.group_of(lost);
        if number == writer.collecting_number {
            writer.collecting.sync |= self.shared.options().durability.is_sync();
        }
        let (writer, written) = self.commits.wait_for_group(writer, number, false);
        drop(writer);
        match written {
            Ok(()) => {}
            Err(Error::DiskFull { .. }) => return Ok(false),
            // The outcome of other commits is uncertain; of this one nothing was written.
            Err(Error::OutcomeUnknown { reason }) => return Err(Error::WriterPoisoned { reason }),
            Err(error) => return Err(error),
        }
        if !self.shows(lost) {
            // Written by a commit that did not ask for a sync, in a store whose reads wait for one.
            self.commits.sync_written()?;
        }
        Ok(true)
    }

    /// Waits until reads show the cause of a conflict that was returned at once, or until the cause was
    /// taken back.
    pub(crate) fn settle(&self, conflict: &Error) {
        let Error::Conflict { failed, visible_at } = conflict else { return };
        let of_a_change = |check: &FailedCheck| {
            matches!(
                check,
                FailedCheck::CursorNotForward { .. }
                    | FailedCheck::WrongCursor { .. }
                    | FailedCheck::UnknownCursor { .. }
                    | FailedCheck::WrongRecordVersion { .. }
                    | FailedCheck::UnknownRecord { .. }
            )
        };
        let writer = self.commits.lock();
        let change = if failed.iter().any(of_a_change) {
            writer.log.tip.point().change
        } else {
            ChangeNumber::NONE
        };
        let lost = CommitPoint { position: visible_at.get(), change };
        if lost.position < writer.log.tip.next_position {
            // The next attempt meets the failure.
            let _ = self.wait_for_winner(writer, lost);
        }
    }
}
