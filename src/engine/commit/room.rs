//! Room for a commit: among the bytes that wait to be written, and in the active segment.
//!
//! Owns the waits for both. Must never hold the writer's lock across a wait.

use super::lead::Guard;
use super::{Commits, Writer};
use crate::error::Result;
use crate::format::segment_header::{DATA_START, FEATURES};

impl Commits {
    /// Makes the names of the store's files durable, and records that the log may go on. Called before the
    /// first frame of this writer.
    pub(in crate::engine) fn begin_session(&self, writer: &mut Writer) -> Result<()> {
        if !writer.names_synced {
            self.shared.dir().sync_names()?;
            writer.names_synced = true;
        }
        // From now on an opening has to look for a tail.
        self.positions.mark_clean(false, writer.durable_link, self.positions.visible_elsewhere())
    }

    /// Waits until the collecting group has been taken; leads it if there is no leader.
    pub(in crate::engine) fn wait_for_room<'a>(
        &'a self,
        mut writer: Guard<'a>,
    ) -> Result<Guard<'a>> {
        if writer.has_no_leader() {
            writer = self.lead(writer);
        } else {
            writer.room_waiters += 1;
            self.room.wait(&mut writer);
            writer.room_waiters -= 1;
        }
        // The store may have been closed meanwhile: a commit must not join after the close frame.
        self.shared.check_writable()?;
        writer.check_usable()?;
        Ok(writer)
    }

    /// Makes sure that a frame of this many bytes fits the active segment after the session frame, if
    /// that is still to be written, and that the segment has the `features` that the commit's changes need.
    /// May release the lock to wait.
    pub(in crate::engine) fn make_room<'a>(
        &'a self,
        mut writer: Guard<'a>,
        len: usize,
        features: u64,
    ) -> Result<Guard<'a>> {
        loop {
            if writer.log.fits(len, features) {
                return Ok(writer);
            }
            // Without threads the commits themselves seal, each before the next.
            let seals = self.shared.options().background && writer.work.lags();
            let prepares = writer.work.is_preparing();
            if prepares || seals {
                if !prepares {
                    self.shared.counters().seal_waits.add(1);
                }
                writer.room_waiters += 1;
                // It may be resting between two pieces of zeros.
                self.preparation_wanted.notify_one();
                self.room.wait(&mut writer);
                writer.room_waiters -= 1;
                self.shared.check_writable()?;
                writer.check_usable()?;
                continue;
            }
            // The spare may be of a smaller size than is set now, or of a version with fewer features; a
            // new segment of the same number replaces it.
            let needed = writer.log.needed(len);
            writer.spare.take_if(|spare| {
                spare.file.header.capacity < DATA_START + needed
                    || spare.file.header.features & FEATURES != FEATURES
            });
            self.roll_over(&mut writer)?;
        }
    }
}
