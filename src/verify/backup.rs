//! The check of a backup's manifest: the log has to hold the place that it names.
//!
//! Owns what is known of that place during the walk over the log. Must never read a frame itself.

use crate::error::{Error, Result};
use crate::event::{Position, Timestamp};
use crate::format::backup::{LogEnd, Manifest};
use crate::format::names;
use crate::format::segment_header::DATA_START;
use crate::log::scan::{ScanState, ScannedFrame};

use super::Verifier;

/// The end of the log in the manifest of a backup.
#[derive(Debug, Default)]
pub(super) struct BackupEnd {
    manifest: Option<Manifest>,
    /// The log holds a frame with this checksum there. It covers everything before it.
    found: bool,
}

impl BackupEnd {
    /// Passes the place where the first frame of a segment begins.
    pub(super) fn pass_start(&mut self, segment: u64, state: &ScanState) {
        if let Some(end) = self.end_in(segment) {
            self.found |= end.last_frame == 0 && end.offset == DATA_START && end.link == state.link;
        }
    }

    /// Passes a valid frame that continues the ones before it.
    pub(super) fn pass(&mut self, segment: u64, frame: &ScannedFrame<'_>) {
        if let Some(end) = self.end_in(segment) {
            self.found |= end.last_frame == frame.offset
                && end.link == frame.checksum
                && end.offset == frame.offset + frame.header.frame_len();
        }
    }

    fn end_in(&self, segment: u64) -> Option<LogEnd> {
        self.manifest.as_ref()?.end.filter(|end| end.segment == segment)
    }
}

impl Verifier<'_> {
    pub(super) fn read_backup(&mut self) -> Result<()> {
        let path = self.dir.join(names::BACKUP);
        match self.dir.read_backup() {
            Ok(manifest) => self.backup.manifest = manifest,
            Err(Error::BackupRefused { .. }) => {
                self.fault(&path, 0, "the manifest of the backup is damaged");
            }
            Err(other) => self.error(other)?,
        }
        Ok(())
    }

    /// Compares the manifest with the log, all of which was walked.
    pub(super) fn judge_backup(&mut self) {
        let Some(manifest) = self.backup.manifest.take() else { return };
        let path = self.dir.join(names::BACKUP);
        if self.store_id.is_some_and(|id| id != manifest.store_id) {
            let id = uuid::Uuid::from_bytes(manifest.store_id);
            self.fault(&path, 16, format!("the backup is one of store {id}, and this is another"));
            return;
        }
        let Some(end) = manifest.end else {
            self.fault(&path, 12, "the first backup into the directory was not finished");
            return;
        };
        if !self.backup.found {
            let LogEnd { position, segment, offset, .. } = end;
            let what = format!(
                "the backup was whole up to position {position}, at offset {offset} of segment \
                 {segment}, and the log does not hold that place"
            );
            self.fault(&path, 32, what);
            return;
        }
        self.report.backup = Some(Position::new(end.position));
        let taken_at = Timestamp::from_micros(manifest.taken_at);
        self.report
            .notes
            .push(format!("a backup, whole up to position {}, taken at {taken_at}", end.position));
    }
}
