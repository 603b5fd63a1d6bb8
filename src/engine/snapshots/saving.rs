//! Saving snapshots: those of commits that are durable by now, and those of single calls.
//!
//! Owns the rule by which a state replaces another one of the same mark. Must never save a snapshot before its events
//! are durable.

use std::collections::{BTreeSet, HashMap, HashSet};

use smol_str::SmolStr;

use super::files::OwnFiles;
use super::pack::Entry;
use super::{Candidate, Found, SnapshotFiles};
use crate::error::{Error, Result};
use crate::event::snapshot::{Mark, Snapshot};
use crate::format::snapshot::{HistoryBinding, Packed, SnapshotFile};
use crate::format::snapshot_pack::Kind;

/// The size of a write.
const PIECE: usize = 1 << 20;

/// Snapshots that are appended to a pack together.
#[derive(Default)]
struct Batch<'a> {
    bytes: Vec<u8>,
    /// The snapshots, and their places in the bytes.
    members: Vec<(&'a Snapshot, Entry)>,
    marks: HashSet<(&'a str, Mark)>,
}

impl SnapshotFiles {
    /// Saves the snapshots of commits that are durable by now.
    pub(crate) fn save_due(&self) {
        // A thread that waits for a commit must find its snapshot, also while another thread is
        // saving it.
        let _saving = self.saving.lock();
        let due = self.commits.take_due_snapshots();
        if due.batches.is_empty() {
            return;
        }
        self.store(&due.snapshots, &mut |snapshot, outcome| {
            if let Err(error) = outcome {
                self.commits.note_unsaved(snapshot.key(), error);
            }
        });
        self.commits.end_saving(&due.batches);
    }

    /// Saves a snapshot whose mark is durable. Of several threads that save one of the same key and
    /// mark, the first wins: see [`Snapshots::save`](crate::store::Snapshots::save).
    pub(crate) fn save(&self, snapshot: &Snapshot) -> Result<()> {
        let _saving = self.saving.lock();
        let mut saved = Ok(());
        self.store(std::slice::from_ref(snapshot), &mut |_, outcome| saved = outcome);
        saved
    }

    /// Deletes all snapshots of a key; returns whether there were any.
    pub(crate) fn delete(&self, key: &str) -> Result<bool> {
        let _saving = self.saving.lock();
        self.packs.refresh()?;
        let mut found = self.listed_candidates(key, false)?;
        found.extend(self.listed_candidates(key, true)?);
        let mut packed = false;
        for candidate in &found {
            match &candidate.found {
                Found::File(path) => self.files.remove(path)?,
                Found::Packed(_) => packed = true,
            }
        }
        if packed {
            let mut bytes = Vec::new();
            Packed::encode_deletion(self.shared.store_id(), key, &mut bytes);
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let entry = Entry { kind: Kind::Deletion, mark: 0, offset: 0, len };
            self.append_entries(&bytes, vec![(SmolStr::new(key), entry)])?;
        }
        Ok(!found.is_empty())
    }

    /// Saves snapshots, whose marks are durable, and passes on the outcome of each. The caller holds the right to
    /// save snapshots.
    fn store(&self, snapshots: &[Snapshot], done: &mut dyn FnMut(&Snapshot, Result<()>)) {
        let mut batch = Batch::default();
        let superseded = superseded(snapshots, self.shared.options().snapshots_kept);
        for (snapshot, superseded) in snapshots.iter().zip(superseded) {
            if superseded {
                done(snapshot, Ok(()));
                continue;
            }
            let mark = (snapshot.key(), snapshot.mark());
            let has_own_file = snapshot.state().len() as u64 >= self.packs.own_file_from();
            if batch.bytes.len() >= PIECE || has_own_file || batch.marks.contains(&mark) {
                self.append(std::mem::take(&mut batch), done);
            }
            let mut binding = self.packs.refresh().and_then(|()| self.binding_of_new(snapshot));
            if let Ok(Some(bound)) = binding
                && has_own_file
            {
                binding = self.write_own_file(snapshot, bound).map(|()| None);
            }
            match binding {
                Ok(Some(binding)) => {
                    batch.add(self.shared.store_id(), self.now(), snapshot, binding);
                }
                outcome => done(snapshot, outcome.map(drop)),
            }
        }
        self.append(batch, done);
    }

    fn now(&self) -> u64 {
        self.shared.now_micros()
    }

    /// The binding of a snapshot that is to be written; `None` if the same state is there.
    fn binding_of_new(&self, snapshot: &Snapshot) -> Result<Option<HistoryBinding>> {
        let (key, mark) = (snapshot.key(), snapshot.mark());
        let candidates = self.listed_candidates(key, mark.is_position())?;
        for candidate in candidates.iter().filter(|it| it.mark == mark.number()) {
            if let Some(found) = self.read(key, candidate)? {
                let schema_version = found.schema_version();
                if schema_version == snapshot.schema_version() && found.state() == snapshot.state()
                {
                    return Ok(None);
                }
                if schema_version >= snapshot.schema_version() {
                    let (key, mark) = (key.to_owned(), mark.number());
                    return Err(Error::SnapshotExists { key, mark, schema_version });
                }
            }
            // Otherwise it would count before a packed one.
            if let Found::File(path) = &candidate.found {
                self.files.remove(path)?;
            }
        }
        self.binding_of(snapshot).map(Some)
    }

    /// Appends a batch to a pack. If that fails, each snapshot is tried alone: there may be space for some.
    fn append(&self, batch: Batch<'_>, done: &mut dyn FnMut(&Snapshot, Result<()>)) {
        let entry = |&(snapshot, entry): &(&Snapshot, Entry)| (SmolStr::new(snapshot.key()), entry);
        let Batch { bytes, members, .. } = batch;
        if members.is_empty() {
            return;
        }
        let appended = self.append_entries(&bytes, members.iter().map(entry).collect());
        match appended {
            Err(_) if members.len() > 1 => {
                for (snapshot, entry) in members {
                    let start = usize::try_from(entry.offset).unwrap_or(usize::MAX);
                    let bytes = &bytes[start..start + entry.len as usize];
                    let alone = (SmolStr::new(snapshot.key()), Entry { offset: 0, ..entry });
                    let appended = self.append_entries(bytes, vec![alone]);
                    done(snapshot, appended.map(|()| self.note_stored(snapshot)));
                }
            }
            Err(error) => done(members[0].0, Err(error)),
            Ok(()) => {
                for (snapshot, _) in members {
                    self.note_stored(snapshot);
                    done(snapshot, Ok(()));
                }
            }
        }
    }

    fn append_entries(&self, bytes: &[u8], entries: Vec<(SmolStr, Entry)>) -> Result<()> {
        if self.packs.append(bytes, entries)? {
            self.commits.look_for_compaction();
        }
        Ok(())
    }

    fn write_own_file(&self, snapshot: &Snapshot, binding: HistoryBinding) -> Result<()> {
        let file = file_of(self.shared.store_id(), self.now(), snapshot, binding);
        self.files.write(snapshot.key(), snapshot.mark(), &file.encode())?;
        let fan_out = OwnFiles::fan_out(snapshot.key());
        self.packs.with(|set| set.fan_outs.insert(fan_out));
        self.note_stored(snapshot);
        Ok(())
    }

    /// A snapshot was stored: removes files of superseded ones. A pack loses them when it is merged.
    fn note_stored(&self, snapshot: &Snapshot) {
        let fan_out = OwnFiles::fan_out(snapshot.key());
        if self.packs.with(|set| set.fan_outs.contains(&fan_out)) {
            // Files that stay are superseded by the next snapshot too.
            let _ = self.remove_superseded(snapshot);
        }
        self.commits.note_saved(snapshot.key());
    }

    fn remove_superseded(&self, snapshot: &Snapshot) -> Result<()> {
        let (key, mark) = (snapshot.key(), snapshot.mark());
        let mut kept = 0;
        for candidate in self.listed_candidates(key, mark.is_position())? {
            // A snapshot of another history may have a higher mark, and must not supersede this one.
            let counts = candidate.mark <= mark.number()
                || self.read(key, &candidate).is_ok_and(|found| found.is_some());
            kept += usize::from(counts);
            if let Candidate { found: Found::File(path), .. } = &candidate
                && (!counts || kept > self.shared.options().snapshots_kept)
            {
                let _ = self.files.remove(path);
            }
        }
        Ok(())
    }
}

/// For each snapshot, whether `kept` later ones of the same key and kind have higher marks: it is never stored.
fn superseded(snapshots: &[Snapshot], kept: usize) -> Vec<bool> {
    let mut found = vec![false; snapshots.len()];
    if snapshots.len() <= kept {
        return found;
    }
    // The highest marks of each key and kind.
    let mut highest: HashMap<(&str, bool), BTreeSet<u64>> = HashMap::new();
    for (snapshot, found) in snapshots.iter().zip(&mut found).rev() {
        let mark = snapshot.mark();
        let marks = highest.entry((snapshot.key(), mark.is_position())).or_default();
        *found = marks.len() >= kept && marks.first().is_some_and(|lowest| mark.number() < *lowest);
        marks.insert(mark.number());
        if marks.len() > kept {
            marks.pop_first();
        }
    }
    found
}

impl<'a> Batch<'a> {
    fn add(
        &mut self,
        store_id: [u8; 16],
        now: u64,
        snapshot: &'a Snapshot,
        binding: HistoryBinding,
    ) {
        let start = self.bytes.len();
        file_of(store_id, now, snapshot, binding).encode_to(&mut self.bytes);
        let len = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        let kind = Kind::of_mark(snapshot.mark().is_position());
        let entry = Entry { kind, mark: snapshot.mark().number(), offset: start as u64, len };
        self.members.push((snapshot, entry));
        self.marks.insert((snapshot.key(), snapshot.mark()));
    }
}

fn file_of(
    store_id: [u8; 16],
    saved_at: u64,
    snapshot: &Snapshot,
    binding: HistoryBinding,
) -> SnapshotFile<'_> {
    SnapshotFile {
        store_id,
        mark: snapshot.mark().number(),
        is_position: snapshot.mark().is_position(),
        saved_at,
        schema_version: snapshot.schema_version(),
        binding: Some(binding),
        key: snapshot.key(),
        state: snapshot.state(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;

    #[test]
    fn snapshots_superseded_by_later_ones_are_not_stored() {
        let of = |key: &str, version: u64| Snapshot::new(key, version, "");
        let by_position = Snapshot::new("a", Position::new(1), "");
        let snapshots = [
            of("a", 1),
            of("a", 2),
            of("b", 1),
            by_position,
            of("a", 3),
            of("a", 3),
            of("a", 4),
            of("a", 2),
        ];
        let found = superseded(&snapshots, 2);
        assert_eq!(found, [true, true, false, false, false, false, false, false]);
        assert_eq!(
            superseded(&snapshots, 3),
            [true, false, false, false, false, false, false, false]
        );
        assert_eq!(superseded(&snapshots, 8), [false; 8]);
    }
}
