//! Verification of snapshots: each is undamaged, and its state belongs to the history in the log.
//!
//! The files are read before the log, and compared with its frames as the walk passes them. A snapshot
//! that loading would skip is a note and not a fault: replay gives the same state. Must never hold a
//! caller's state in memory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::Verifier;
use crate::engine::snapshots::{PackWalk, SnapshotLevel, read_file};
use crate::format::snapshot::{HistoryBinding, Packed, SnapshotFile};
use crate::format::snapshot_pack::{self, PackHeader};
use crate::format::{Defect, names};
use crate::log::scan::{ScannedFrame, for_each_record};
use crate::storage::{EntryKind, File, OpenMode, read_exact_at};

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
    place: Place,
    proof: Proof,
}

/// Where a snapshot is.
#[derive(Debug, Clone)]
struct Place {
    file: Arc<Path>,
    /// `None` for a file that has no other snapshot.
    offset: Option<u64>,
}

impl Place {
    fn note(&self, why: &str) -> String {
        let file = self.file.display();
        match self.offset {
            Some(offset) => format!("{file}, at offset {offset}: {why}; the snapshot is skipped"),
            None => format!("{file}: {why}; the snapshot is skipped"),
        }
    }
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
        self.place.note(why)
    }
}

impl UncheckedSnapshots {
    fn add(&mut self, place: Place, file: &SnapshotFile<'_>) {
        let claim = |proof| Claim { place, proof };
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

    /// Gives up the snapshots that would have been compared with events that are not read, all before `next_position`.
    pub(super) fn pass_unread(&mut self, next_position: u64) {
        while self.by_position.pop_if(|(position, _)| *position < next_position).is_some() {}
        self.by_version.clear();
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
    /// Reads every snapshot. A torn one, which loading skips, is reported.
    pub(super) fn read_snapshots(&mut self, store_id: Option<[u8; 16]>, beside_a_writer: bool) {
        for entry in self.entries(names::SNAPSHOT_DIR) {
            let path = self.dir.join(names::SNAPSHOT_DIR).join(&entry.name);
            match entry.kind {
                EntryKind::Directory => self.read_own_files(&path, store_id),
                EntryKind::File => self.read_packed(&path, &entry.name, store_id, beside_a_writer),
                EntryKind::Other => {
                    self.report.notes.push(format!("{}: not a directory", path.display()));
                }
            }
        }
        self.snapshots.begin();
    }

    /// Reads the files of a directory, each of which has one snapshot.
    fn read_own_files(&mut self, directory: &Path, store_id: Option<[u8; 16]>) {
        for entry in self.dir.storage().read_dir(directory).unwrap_or_default() {
            let path = directory.join(&entry.name);
            let bytes = match read_file(self.dir.storage(), &path) {
                Ok(bytes) => bytes.unwrap_or_default(),
                Err(error) => {
                    self.report.notes.push(format!("{error}; the snapshot is skipped"));
                    continue;
                }
            };
            self.advance(bytes.len() as u64);
            let place = Place { file: path.into(), offset: None };
            match SnapshotFile::decode(&bytes) {
                Ok(file) => self.add_snapshot(place, &file, store_id),
                Err(defect) => self.report.notes.push(place.note(&defect.to_string())),
            }
        }
    }

    fn add_snapshot(&mut self, place: Place, file: &SnapshotFile<'_>, store_id: Option<[u8; 16]>) {
        if store_id.is_some_and(|id| id != file.store_id) {
            self.report.notes.push(place.note("it belongs to another store"));
        } else {
            self.snapshots.add(place, file);
        }
    }

    /// Reads a pack or a level file.
    fn read_packed(
        &mut self,
        path: &Path,
        name: &str,
        store_id: Option<[u8; 16]>,
        beside_a_writer: bool,
    ) {
        let pack = names::parse_numbered(name, names::PACK_SUFFIX);
        let level = names::parse_snapshot_level(name);
        let unfinished = name.strip_suffix(names::TEMPORARY_SUFFIX);
        if pack.is_none() && level.is_none() {
            if unfinished.and_then(names::parse_snapshot_level).is_none() {
                self.report.notes.push(format!("{}: not a file of the store", path.display()));
            }
            return;
        }
        let file = match self.dir.storage().open(path, OpenMode::Read) {
            Ok(file) => file,
            // A writer has merged it meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
            Err(e) => return self.skip_rest(path, &e.to_string()),
        };
        self.advance(file.len().unwrap_or(0));
        let read = match (pack, level) {
            (Some(number), _) => self.read_pack(path, &*file, store_id, number, beside_a_writer),
            (_, Some(packs)) => self.read_level(path, file, store_id, packs),
            (None, None) => Ok(()),
        };
        if let Err(defect) = read {
            self.skip_rest(path, &defect.to_string());
        }
    }

    fn skip_rest(&mut self, path: &Path, why: &str) {
        let note = format!("{}: {why}; the snapshots in it are skipped", path.display());
        self.report.notes.push(note);
    }

    fn read_pack(
        &mut self,
        path: &Path,
        file: &dyn File,
        store_id: Option<[u8; 16]>,
        number: u64,
        beside_a_writer: bool,
    ) -> Result<(), Defect> {
        let unreadable = |e: std::io::Error| Defect::Unreadable(e.to_string());
        let mut header = [0; snapshot_pack::HEADER_LEN];
        if file.len().map_err(unreadable)? < header.len() as u64 {
            return Err(Defect::TooShort);
        }
        read_exact_at(file, &mut header, 0).map_err(unreadable)?;
        let own = PackHeader::decode(&header)?;
        if store_id.is_some_and(|id| id != own.store_id) || own.number != number {
            return Err(Defect::Invalid("it belongs to another store, or has another number"));
        }
        let shared: Arc<Path> = path.into();
        let mut walk = PackWalk::new(file, header.len() as u64).map_err(unreadable)?;
        while let Some((offset, _, packed)) = walk.next().map_err(unreadable)? {
            if let Packed::Snapshot(file) = packed {
                let place = Place { file: Arc::clone(&shared), offset: Some(offset) };
                self.add_snapshot(place, &file, store_id);
            }
        }
        // Beside a writer, the last one may not be whole yet.
        if let Some(defect) = walk.defect.filter(|_| !beside_a_writer) {
            let (path, at) = (path.display(), walk.at);
            self.report.notes.push(format!(
                "{path}: {defect}, at offset {at}; the snapshots from there on are skipped"
            ));
        }
        Ok(())
    }

    fn read_level(
        &mut self,
        path: &Path,
        file: Arc<dyn File>,
        store_id: Option<[u8; 16]>,
        packs: (u64, u64),
    ) -> Result<(), Defect> {
        let Some(store_id) = store_id else { return Ok(()) };
        let level = SnapshotLevel::open(file, store_id, packs)?;
        let shared: Arc<Path> = path.into();
        for at in 0..level.len() {
            let entry = level.entry(at)?;
            let place = Place { file: Arc::clone(&shared), offset: Some(level.offset(&entry)) };
            match level.data(&entry).and_then(Packed::decode) {
                Ok(Packed::Snapshot(file)) => self.add_snapshot(place, &file, Some(store_id)),
                Ok(Packed::Deletion { .. }) => {}
                Err(defect) => self.report.notes.push(place.note(&defect.to_string())),
            }
        }
        level.verify()
    }

    /// Reports the snapshots that do not fit the log.
    pub(super) fn judge_snapshots(&mut self, limit: Option<u64>) {
        let head = self.state.next_position.saturating_sub(1);
        let notes = std::mem::take(&mut self.snapshots).end(head, limit.is_some());
        self.report.notes.extend(notes);
    }
}
