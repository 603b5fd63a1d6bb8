//! The loops of the flushing, the maintaining and the preparing thread, and how they sleep.
//!
//! Owns their loops; the work itself is handed in. Must never hold the writer's lock while work is done.

use std::ops::ControlFlow;
use std::time::Duration;

use super::Commits;
use crate::sync::Instant;

impl Commits {
    /// The loop of the flushing thread: leads groups that were submitted, syncs what is written after
    /// the interval of a buffered store, and saves snapshots while the maintaining thread is busy.
    pub(in crate::engine) fn run_flusher(&self, save_snapshots: impl Fn()) {
        let mut due = None;
        let mut writer = self.writer.lock();
        while !writer.shutdown {
            if writer.flush_requested && writer.has_no_leader() && writer.wants_leader() {
                writer = match self.gather(writer) {
                    Ok(writer) => self.lead(writer),
                    Err(writer) => writer,
                };
            } else if writer.snapshots.saver_is_busy && writer.has_due_snapshots() {
                drop(writer);
                save_snapshots();
                writer = self.writer.lock();
            } else if writer.is_dirty() {
                let due_at = *due
                    .get_or_insert_with(|| Instant::now().checked_add(writer.buffered_interval));
                match due_at {
                    Some(at) if Instant::now() >= at => {
                        drop(writer);
                        // The failure has poisoned the writer, which reports it to its callers.
                        let _ = self.sync_written();
                        due = None;
                        writer = self.writer.lock();
                    }
                    Some(at) => {
                        self.flush_wanted.wait_until(&mut writer, at);
                    }
                    None => self.flush_wanted.wait(&mut writer),
                }
            } else {
                due = None;
                self.flush_wanted.wait(&mut writer);
            }
        }
    }

    /// Pauses work that can wait, and meanwhile calls `maintain` for work that cannot; that returns
    /// whether all of it was done. Returns `Break` when the work is to stop: the store is closed.
    pub(in crate::engine) fn rest(
        &self,
        rest: Duration,
        maintain: impl Fn() -> bool,
    ) -> ControlFlow<()> {
        let mut writer = self.writer.lock();
        let until = Instant::now().checked_add(rest);
        while !writer.shutdown {
            if writer.has_work() {
                drop(writer);
                if !maintain() {
                    // It is tried again once this is done.
                    return ControlFlow::Break(());
                }
                writer = self.writer.lock();
                continue;
            }
            match until {
                Some(until) if Instant::now() < until => {
                    self.maintenance_wanted.wait_until(&mut writer, until);
                }
                _ => return ControlFlow::Continue(()),
            }
        }
        ControlFlow::Break(())
    }

    /// The loop of the preparing thread: calls `prepare` while there is something to prepare. What fails is asked for
    /// again by the next commit that lacks it.
    pub(in crate::engine) fn run_preparer(&self, prepare: impl Fn()) {
        let mut writer = self.writer.lock();
        while !writer.shutdown {
            if writer.work.has_preparations() {
                drop(writer);
                prepare();
                writer = self.writer.lock();
            } else {
                self.preparation_wanted.wait(&mut writer);
            }
        }
    }

    /// The loop of the maintaining thread: calls `maintain` while other threads wait for its work, and
    /// `compact` while none does. `maintain` returns whether all was done, `compact` whether there is
    /// more to do.
    pub(in crate::engine) fn run_maintenance(
        &self,
        maintain: impl Fn() -> bool,
        compact: impl Fn() -> bool,
    ) {
        let mut writer = self.writer.lock();
        while !writer.shutdown {
            if !writer.has_work() {
                writer.work.compactable = false;
                drop(writer);
                let more = compact();
                writer = self.writer.lock();
                let more = more || writer.work.compactable;
                if !more && !writer.shutdown && !writer.has_work() {
                    self.maintenance_wanted.wait(&mut writer);
                }
                continue;
            }
            writer.snapshots.saver_is_busy = true;
            drop(writer);
            let failed = !maintain();
            writer = self.writer.lock();
            writer.snapshots.saver_is_busy = false;
            if failed && !writer.shutdown && !writer.has_due_snapshots() {
                // The usual cause is a full disk. The remaining work is tried again with the next work, at the
                // latest at the next rollover.
                self.maintenance_wanted.wait(&mut writer);
            }
        }
    }
}
