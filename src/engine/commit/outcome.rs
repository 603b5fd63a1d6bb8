//! Failures of work beside appends: kept until the work succeeds, and reported by a close.
//!
//! Must never keep a commit from being written: nothing acknowledged depends on this work.

use super::Commits;
use crate::error::{Error, FailedMaintenance, Maintenance, Result};
use crate::trace;

/// The most failures that are kept: a disk that refuses every snapshot is described by the first ones.
const KEPT: usize = 64;

impl Commits {
    /// Keeps the failure of a task, or forgets it once the task is done. Whether it is done. Not to be
    /// called with the writer locked.
    pub(in crate::engine) fn note_outcome(&self, task: Maintenance, outcome: Result<()>) -> bool {
        if let Err(error) = &outcome {
            trace::maintenance_failed(self.shared.root(), &task, error);
        }
        let undone = &mut self.writer.lock().undone;
        undone.retain(|undone| undone.task != task);
        match outcome {
            Ok(()) => true,
            Err(error) => {
                if undone.len() < KEPT {
                    undone.push(FailedMaintenance { task, error });
                }
                false
            }
        }
    }

    /// Like [`Commits::note_outcome`], of a task that there may have been nothing to do for (`Ok(false)`):
    /// then a failure before is not made good. Whether this did not fail.
    pub(in crate::engine) fn note_attempt(&self, task: Maintenance, attempt: Result<bool>) -> bool {
        match attempt {
            Ok(false) => true,
            done => self.note_outcome(task, done.map(drop)),
        }
    }

    /// Keeps that a commit's snapshot could not be saved. One that lost to another state of the same
    /// mark is counted and not kept: a snapshot of that mark is there, and no work is left to do.
    pub(in crate::engine) fn note_unsaved(&self, key: &str, error: Error) {
        self.shared.counters().snapshot_failures.add(1);
        if matches!(error, Error::SnapshotExists { .. }) {
            return;
        }
        self.note_outcome(Maintenance::Snapshot { key: key.to_owned() }, Err(error));
    }

    /// A snapshot was saved: earlier failures of the same key are dropped.
    pub(in crate::engine) fn note_saved(&self, key: &str) {
        if self.shared.counters().snapshot_failures.get() > 0 {
            self.note_outcome(Maintenance::Snapshot { key: key.to_owned() }, Ok(()));
        }
    }

    /// At the end of a close: whether any work has failed for good.
    pub(in crate::engine) fn report_undone(&self) -> Result<()> {
        let mut failed = std::mem::take(&mut self.writer.lock().undone);
        if failed.is_empty() {
            return Ok(());
        }
        failed.sort_by(|a, b| a.task.cmp(&b.task));
        Err(Error::MaintenanceFailed { failed })
    }
}
