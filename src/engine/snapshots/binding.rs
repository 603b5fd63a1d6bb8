//! The history that a snapshot is bound to.
//!
//! Owns the rule that decides whether a snapshot belongs to this history. Must never decide by the mark
//! alone: an older log restored under newer snapshots reaches their marks again, with other events.

use super::SnapshotFiles;
use crate::catalog::Reached;
use crate::error::Result;
use crate::event::Position;
use crate::event::snapshot::{Mark, Snapshot};
use crate::format::snapshot::{HistoryBinding, SnapshotFile};

impl SnapshotFiles {
    /// Binds a snapshot to its history by the last event that it covers, which is durable.
    pub(super) fn binding_of(&self, snapshot: &Snapshot) -> Result<HistoryBinding> {
        let position = match snapshot.mark() {
            Mark::Position(position) => position.get(),
            Mark::Version(version) => {
                let found = self.position_of(
                    snapshot.key(),
                    version,
                    Position::new(self.positions.durable()),
                )?;
                found.ok_or_else(|| self.contents.lost(self.positions.durable()))?
            }
        };
        Ok(HistoryBinding { position, history: self.contents.history_at(position)? })
    }

    /// Whether the log has the events that a snapshot covers. A snapshot without a binding, written
    /// by an older version, is accepted if the log has reached its mark, and if the event there was
    /// not recorded after the snapshot was saved.
    pub(super) fn is_of_this_history(&self, file: &SnapshotFile<'_>) -> Result<bool> {
        let visible = self.positions.visible(false);
        if let Some(HistoryBinding { position, history }) = file.binding {
            return Ok(position <= visible && self.contents.history_at(position)? == history);
        }
        let position = if file.is_position {
            Some(file.mark).filter(|&position| position <= visible)
        } else {
            self.position_of(file.key, file.mark, Position::new(visible))?
        };
        match position {
            None => Ok(false),
            Some(0) => Ok(true),
            Some(position) => {
                Ok(self.contents.commit_header(position)?.0.recorded_at <= file.saved_at)
            }
        }
    }

    /// The position of a version of a stream, as a reader at `visible` sees it; `None` if the stream
    /// has no such version.
    fn position_of(&self, stream: &str, version: u64, visible: Position) -> Result<Option<u64>> {
        if version == 0 {
            return Ok(Some(0));
        }
        let head = self.contents.head_at(stream, visible.get())?;
        if head.version <= version {
            return Ok((head.version == version).then_some(head.last_position));
        }
        let mut end = head;
        loop {
            let range = (version, version);
            match self.contents.reach(stream, end, version, range)? {
                Reached::Before(before) => end = before,
                Reached::Runs(runs) => {
                    let Some(run) = runs.first().filter(|run| run.len() > 0) else {
                        return Ok(None);
                    };
                    return run.place(0).map(|(position, _)| Some(position));
                }
            }
        }
    }
}
