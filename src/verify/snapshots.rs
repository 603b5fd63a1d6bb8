//! Verification of snapshots: each file is undamaged, and its state belongs to the history in the log.
//!
//! The files are read before the log, and compared with its frames as the walk passes them. A snapshot
//! that loading would skip is a note and not a fault: replay gives the same state. Must never hold a
//! caller's state in memory.

use std::collections::HashMap;
use std::path::PathBuf;

use super::Verifier;
use crate::engine::snapshots::read_file;
use crate::format::names;
use crate::format::snapshot::{HistoryBinding, SnapshotFile};
use crate::log::scan::{ScannedFrame, for_each_record};
use crate::storage::EntryKind;

/// The snapshots that were not compared with the log yet.
#[derive(Debug, Default)]
pub(super) struct UncheckedSnapshots {
    /// By the position they cover; the next one to compare is the last.
    by_position: Vec<(u64, Claim)>,
    /// Snapshots without a binding, by stream and version.
    by_version: HashMap<String, HashMap<u64, Claim>>,
    /// Notes on the snapshots that do not fit the log.
    notes: Vec<String>,
}

#[derive(Debug)]
struct Claim {
    path: PathBuf,
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    /// The history that the snapshot is bound to at its position.
    History(u64),
    /// When a snapshot without a binding was saved, in µs: its event was recorded no later than this.
    SavedAt(u64),
}

impl Claim {
    /// The reason why the event in this frame is not the one that the snapshot covers; `None` if it may
    /// be.
    fn contradiction(&self, frame: &ScannedFrame<'_>) -> Option<&'static str> {
        match self.proof {
            Proof::History(history) if history != frame.header.history(frame.checksum) => {
                Some("it belongs to another history")
            }
            Proof::SavedAt(at) if frame.header.recorded_at > at => Some(
                "it is older than the last event that it covers, so it belongs to another history",
            ),
            _ => None,
        }
    }

    fn note(&self, why: &str) -> String {
        format!("{}: {why}; the snapshot is skipped", self.path.display())
    }
}

impl UncheckedSnapshots {
    fn add(&mut self, path: PathBuf, file: &SnapshotFile<'_>) {
        let claim = |proof| Claim { path, proof };
        match (file.binding, file.is_position) {
            (Some(HistoryBinding { position, history }), _) => {
                self.by_position.push((position, claim(Proof::History(history))));
            }
            (None, true) => {
                self.by_position.push((file.mark, claim(Proof::SavedAt(file.saved_at))));
            }
            (None, false) => {
                let of_stream = self.by_version.entry(file.key.to_owned()).or_default();
                of_stream.insert(file.mark, claim(Proof::SavedAt(file.saved_at)));
            }
        }
    }

    /// Prepares the comparison, once all snapshots are added and before the walk over the log begins.
    fn begin(&mut self) {
        // A snapshot at position 0 covers no event and fits every history.
        self.by_position.retain(|(position, _)| *position > 0);
        self.by_position.sort_unstable_by_key(|(position, _)| std::cmp::Reverse(*position));
        for versions in self.by_version.values_mut() {
            versions.remove(&0);
        }
        self.by_version.retain(|_, versions| !versions.is_empty());
    }

    /// Compares the snapshots whose events are in this frame.
    pub(super) fn pass(&mut self, frame: &ScannedFrame<'_>) {
        while let Some((position, _)) = self.by_position.last()
            && *position < frame.header.next_position()
        {
            let Some((position, claim)) = self.by_position.pop() else { return };
            // A snapshot whose position lies in skipped damage cannot be compared.
            let why = if position >= frame.header.first_position {
                claim.contradiction(frame)
            } else {
                Some("the last event that it covers cannot be read")
            };
            self.notes.extend(why.map(|why| claim.note(why)));
        }
        if self.by_version.is_empty() {
            return;
        }
        // The frame is verified, so its records can be walked.
        let _ = for_each_record(frame, |_, record| {
            let versions = self.by_version.get_mut(record.stream());
            if let Some(claim) = versions.and_then(|of| of.remove(&record.version())) {
                self.notes.extend(claim.contradiction(frame).map(|why| claim.note(why)));
            }
        });
    }

    /// Ends the walk at `head`: snapshots that are left cover a position after it. Beside a writer their
    /// events may exist and just not have been read, so they are not reported.
    fn end(mut self, head: u64, beside_a_writer: bool) -> Vec<String> {
        let by_version = self.by_version.into_values().flat_map(HashMap::into_values);
        let left = self.by_position.into_iter().map(|(_, claim)| claim).chain(by_version);
        if !beside_a_writer {
            let why = format!("it is ahead of its stream or of the store, whose head is {head}");
            self.notes.extend(left.map(|claim| claim.note(&why)));
        }
        self.notes.sort_unstable();
        self.notes
    }
}

impl Verifier<'_> {
    /// Reads every snapshot file. A torn one, which loading skips, is reported.
    pub(super) fn read_snapshots(&mut self, store_id: Option<[u8; 16]>) {
        for fan_out in self.entries(names::SNAPSHOT_DIR) {
            let directory = self.dir.join(names::SNAPSHOT_DIR).join(&fan_out.name);
            if fan_out.kind != EntryKind::Directory {
                self.report.notes.push(format!("{}: not a directory", directory.display()));
                continue;
            }
            for entry in self.dir.storage().read_dir(&directory).unwrap_or_default() {
                let path = directory.join(&entry.name);
                let bytes = match read_file(self.dir.storage(), &path) {
                    Ok(bytes) => bytes.unwrap_or_default(),
                    Err(error) => {
                        self.report.notes.push(format!("{error}; the snapshot is skipped"));
                        continue;
                    }
                };
                self.advance(bytes.len() as u64);
                let why = match SnapshotFile::decode(&bytes) {
                    Ok(file) if store_id.is_some_and(|id| id != file.store_id) => {
                        "it belongs to another store".to_owned()
                    }
                    Ok(file) => {
                        self.snapshots.add(path, &file);
                        continue;
                    }
                    Err(defect) => defect.to_string(),
                };
                let note = format!("{}: {why}; the snapshot is skipped", path.display());
                self.report.notes.push(note);
            }
        }
        self.snapshots.begin();
    }

    /// Reports the snapshots that do not fit the log.
    pub(super) fn judge_snapshots(&mut self, limit: Option<u64>) {
        let head = self.state.next_position.saturating_sub(1);
        let notes = std::mem::take(&mut self.snapshots).end(head, limit.is_some());
        self.report.notes.extend(notes);
    }
}
