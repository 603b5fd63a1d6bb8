//! Backups of a store under test, beside it on the same disk.
//!
//! Owns the checks of a copy: it opens, holds a whole number of commits, at least those of the last backup that was
//! reported, and shows the same as the model.

use std::sync::Arc;

use super::compare::{self, Checked, ensure};
use super::harness::Harness;
use super::metadata;
use super::operations::ReadChoice;
use crate::dir::StoreDir;
use crate::error::Error;
use crate::recovery::Opened;
use crate::store::Store;

const COPY: &str = "/backup";

impl Harness {
    pub(super) fn back_up(&mut self, store: &Store, by_follower: bool) -> Checked {
        // A real directory has no other one beside it.
        if !self.is_simulated() {
            return Ok(());
        }
        // The reader of a buffered store shows what may still be lost.
        let follower = self.beside.follower.clone();
        let follower = follower.filter(|_| by_follower && self.settings.durability.is_sync());
        let is_writer = follower.is_none();
        let source = follower.unwrap_or_else(|| store.clone());
        let done = source.backup_to(COPY, |_| {});
        let full = matches!(done, Err(Error::DiskFull { .. }));
        let Some(done) = self.allow(done)? else {
            // The commits in flight may have been taken back for want of space.
            return if full && is_writer { self.taken_back(store) } else { Ok(()) };
        };
        // A follower has taken in what the writer had made visible.
        let end = if is_writer { self.model.end() } else { metadata::visible(&source) };
        let position = done.position.get();
        ensure!(position == end.events, "a backup of {end:?} ends at {position}");
        if is_writer {
            self.acknowledge(end, true);
        }
        self.beside.backup = Some(end);
        if self.settings.faults { Ok(()) } else { self.check_backup(true) }
    }

    /// Opens the copy and compares what it shows. `is_whole`: nothing was copied after the last backup that is known to
    /// be whole.
    pub(super) fn check_backup(&mut self, is_whole: bool) -> Checked {
        let Some(least) = self.beside.backup else { return Ok(()) };
        let opened = self.options().read_only(true).open(COPY);
        let Some(copy) = self.allow(opened)? else { return Ok(()) };
        let damaged = matches!(copy.opened(), Opened::Damaged { .. });
        ensure!(!damaged, "a backup is damaged: {:?}", copy.opened());
        let found = metadata::visible(&copy);
        ensure!(found.covers(least), "a backup ends at {found:?}, {least:?} was copied");
        ensure!(self.model.end().covers(found), "a backup ends at {found:?}, which never was");
        ensure!(self.model.is_end(found), "a backup ends within a commit, at {found:?}");
        let all = ReadChoice {
            stream: None,
            from: 0,
            limit: None,
            backwards: false,
            query: None,
            past: super::operations::PastChoice::Now,
            borrowed: true,
            unsynced: false,
            hidden: true,
        };
        let read = compare::read(&copy, &mut self.model, &all)?;
        if self.allow(read)?.is_none() || self.settings.faults {
            return Ok(());
        }
        let dir = StoreDir::new(Arc::clone(&self.storage), COPY.as_ref());
        let report = compare::must("verify", crate::verify::verify_in(&dir, |_| {}))?;
        ensure!(report.faults.is_empty(), "verify of a backup: {:?}", report.faults);
        let named = report.backup.map(crate::event::Position::get);
        ensure!(
            named
                .is_some_and(|named| named >= least.events && (!is_whole || named == least.events)),
            "the manifest names {named:?}, {least:?} was copied"
        );
        Ok(())
    }
}
