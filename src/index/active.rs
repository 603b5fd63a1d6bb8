//! The index of a segment that is not sealed yet.
//!
//! An append pays four pushes per event and no hashing beyond its stream's head: the previous
//! position of each event's stream makes the events of a stream a linked list through the segment,
//! in which shortcuts ([`jumps`](super::jumps)) lead from its head to any version in a logarithmic
//! number of steps. Ids are hashed when one is first looked up. Grouping by stream, type and tag is
//! done in the background, when the segment is sealed.
//!
//! The part that a clean close stored in a checkpoint is read in place: [`CheckpointedActive`] has the first
//! events, and later ones are in memory.

use std::sync::Arc;

use hashbrown::HashTable;

use super::Head;
use super::block_file::Reads;
use super::checkpointed::CheckpointedActive;
use super::heads::HeadTable;
use super::jumps::{self, Links, Member, NONE, Steps};
use super::terms::ActiveTerms;
use crate::event::NewEvent;
use crate::format::Defect;
use crate::format::index_file::hash_id;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, Rank};

#[derive(Debug)]
pub(crate) struct ActiveIndex {
    base_position: u64,
    kept: Option<CheckpointedActive>,
    /// Offsets of the events after the kept ones.
    offsets: Vec<u32>,
    previous: Vec<u64>,
    /// The ordinals of the shortcuts' targets, one per event, including kept events.
    shortcuts: Vec<u32>,
    ids: Vec<[u8; 16]>,
    by_id: Mutex<IdTable>,
    terms: Mutex<ActiveTerms>,
    /// The number of events that queries compared without terms.
    looked: AtomicU64,
    /// Whether every append adds its terms; those of all earlier events are entered then.
    keeps_terms: bool,
    pub(crate) commits: u64,
    /// Changes in the metadata of this segment.
    pub(crate) changes: u64,
    pub(crate) first_recorded_at: u64,
    pub(crate) last_recorded_at: u64,
}

/// An index as sections of a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct ActiveSections {
    pub(crate) offsets: Vec<u8>,
    pub(crate) previous: Vec<u8>,
    pub(crate) ids: Vec<u8>,
    pub(crate) shortcuts: Vec<u8>,
}

/// Ordinals by id, for the first `hashed` events.
#[derive(Debug, Default)]
struct IdTable {
    table: HashTable<u32>,
    hashed: usize,
}

fn ids_by_hash() -> Mutex<IdTable> {
    Mutex::new(Rank::ActiveIds, IdTable::default())
}

fn no_terms() -> Mutex<ActiveTerms> {
    Mutex::new(Rank::ActiveTerms, ActiveTerms::new())
}

impl ActiveIndex {
    pub(crate) fn new(base_position: u64) -> Self {
        Self {
            base_position,
            kept: None,
            offsets: Vec::new(),
            previous: Vec::new(),
            shortcuts: Vec::new(),
            ids: Vec::new(),
            by_id: ids_by_hash(),
            terms: no_terms(),
            looked: AtomicU64::default(),
            keeps_terms: false,
            commits: 0,
            changes: 0,
            first_recorded_at: 0,
            last_recorded_at: 0,
        }
    }

    /// Takes room for this many events in memory: to grow while appends wait takes milliseconds. Room that is not
    /// written to is not resident.
    pub(crate) fn reserve(&mut self, events: usize) {
        let more = events.saturating_sub(self.offsets.len());
        self.offsets.reserve_exact(more);
        self.previous.reserve_exact(more);
        self.shortcuts.reserve_exact(more);
        self.ids.reserve_exact(more);
    }

    /// Creates the index from the part that a checkpoint stored.
    pub(crate) fn restore(base_position: u64, kept: CheckpointedActive) -> Self {
        Self { kept: Some(kept), ..Self::new(base_position) }
    }

    /// Whether look-ups of events in the checkpoint read it, or fail with [`Defect::Unread`] where it
    /// was not read so far.
    pub(crate) fn set_reads(&mut self, reads: Reads) {
        if let Some(kept) = &mut self.kept {
            kept.set_reads(reads);
        }
    }

    /// The checkpoint with the first events.
    pub(crate) fn kept_in(&self) -> Option<&Arc<HeadTable>> {
        self.kept.as_ref().map(CheckpointedActive::table)
    }

    /// Reads the same contents from another file instead of `damaged`.
    pub(crate) fn replace_kept(&mut self, damaged: &Arc<HeadTable>, table: &Arc<HeadTable>) {
        if let Some(kept) = &mut self.kept
            && Arc::ptr_eq(kept.table(), damaged)
        {
            kept.replace(table);
        }
    }

    /// A copy that reads the same contents from another file instead of `damaged`.
    pub(crate) fn with_kept(&self, damaged: &Arc<HeadTable>, table: &Arc<HeadTable>) -> Self {
        let mut copy = Self {
            base_position: self.base_position,
            kept: self.kept.clone(),
            offsets: self.offsets.clone(),
            previous: self.previous.clone(),
            shortcuts: self.shortcuts.clone(),
            ids: self.ids.clone(),
            // Ids and terms are entered again by the look-ups that need them.
            by_id: ids_by_hash(),
            terms: no_terms(),
            looked: AtomicU64::default(),
            keeps_terms: false,
            commits: self.commits,
            changes: self.changes,
            first_recorded_at: self.first_recorded_at,
            last_recorded_at: self.last_recorded_at,
        };
        copy.replace_kept(damaged, table);
        copy
    }

    /// How many events are kept.
    fn below(&self) -> usize {
        self.kept.as_ref().map_or(0, CheckpointedActive::len)
    }

    pub(crate) fn base_position(&self) -> u64 {
        self.base_position
    }

    /// The number of events.
    pub(crate) fn len(&self) -> usize {
        self.below() + self.offsets.len()
    }

    /// Adds the next event: where its record is, and its stream's head before it. `steps` are those of that head; returns
    /// the event's.
    pub(crate) fn push(&mut self, offset: u32, before: Head, steps: Steps, id: [u8; 16]) -> Steps {
        let previous = self.node(before.last_position);
        let previous = previous.map(|node| Member { node, depth: before.version });
        // Nothing is read here: see [`ActiveIndex::touch_shortcuts`].
        let added = jumps::add(self, previous, steps);
        let (shortcut, steps) = added.unwrap_or((NONE, Steps::UNKNOWN));
        self.shortcuts.push(shortcut);
        self.offsets.push(offset);
        self.previous.push(before.last_position);
        self.ids.push(id);
        steps
    }

    /// Looks up what later events of a stream take their shortcuts from, if its head is in the
    /// checkpoint: the members that are reached from the head by following shortcuts, and no others.
    pub(crate) fn touch_shortcuts(&self, head: Head) -> Result<(), Defect> {
        let Some(node) = self.node(head.last_position).filter(|&n| (n as usize) < self.below())
        else {
            return Ok(());
        };
        jumps::touch_path(self, Member { node, depth: head.version })
    }

    /// Adds the terms of the event that was pushed last, if terms are kept.
    pub(crate) fn push_terms(&mut self, stream: &str, event: &NewEvent) {
        if self.keeps_terms {
            let tags = event.tags.iter().map(|tag| &**tag);
            self.terms.get_mut().push(stream, &event.event_type, tags);
        }
    }

    /// Makes appends add their terms from now on. The terms of all present events must have been
    /// entered.
    pub(crate) fn keep_terms(&mut self) {
        self.keeps_terms = true;
    }

    pub(crate) fn keeps_terms(&self) -> bool {
        self.keeps_terms
    }

    /// Whether a query may compare `events` more events one by one, when the terms of `missing` events
    /// would have to be entered: in total at most that number.
    pub(crate) fn may_look(&self, events: u64, missing: u64) -> bool {
        let looked = self.looked.fetch_add(events, Ordering::Relaxed);
        looked.saturating_add(events) <= missing
    }

    /// The postings of the events whose terms are entered.
    pub(crate) fn terms(&self) -> MutexGuard<'_, ActiveTerms> {
        self.terms.lock()
    }

    /// Records that a commit was added. One without events is not counted, but its time is taken
    /// over.
    pub(crate) fn note_commit(&mut self, recorded_at: u64, has_events: bool) {
        if has_events {
            if self.commits == 0 {
                self.first_recorded_at = recorded_at;
            }
            self.commits += 1;
        }
        self.last_recorded_at = recorded_at;
    }

    /// Removes all events from `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        let above = len.saturating_sub(self.below());
        self.offsets.truncate(above);
        self.previous.truncate(above);
        self.shortcuts.truncate(above);
        self.ids.truncate(above);
        if let Some(kept) = &mut self.kept {
            kept.truncate(len);
        }
        *self.by_id.get_mut() = IdTable::default();
        self.terms.get_mut().truncate(u32::try_from(len).unwrap_or(u32::MAX));
    }

    /// The ordinal of a position, if the event is in this segment.
    pub(crate) fn ordinal(&self, position: u64) -> Option<usize> {
        let ordinal = usize::try_from(position.checked_sub(self.base_position)?).ok()?;
        (ordinal < self.len()).then_some(ordinal)
    }

    pub(crate) fn offset(&self, ordinal: usize) -> Result<Option<u32>, Defect> {
        match (&self.kept, ordinal.checked_sub(self.below())) {
            (Some(kept), None) => kept.offset(ordinal).map(Some),
            (_, above) => Ok(above.and_then(|above| self.offsets.get(above).copied())),
        }
    }

    /// The position of the stream's event before the one at `ordinal`; 0 if there is none.
    pub(crate) fn previous(&self, ordinal: usize) -> Result<u64, Defect> {
        match (&self.kept, ordinal.checked_sub(self.below())) {
            (Some(kept), None) => kept.previous(ordinal),
            (_, above) => Ok(above.and_then(|a| self.previous.get(a).copied()).unwrap_or(0)),
        }
    }

    /// The ordinal of a position as a link.
    fn node(&self, position: u64) -> Option<u32> {
        self.ordinal(position).and_then(|ordinal| u32::try_from(ordinal).ok())
    }

    /// The event of a stream at `end`, which is in this segment, as a member of the stream's list.
    pub(crate) fn member(&self, end: Head) -> Option<Member> {
        self.node(end.last_position).map(|node| Member { node, depth: end.version })
    }

    /// The version and position of a member.
    pub(crate) fn head_of(&self, member: Member) -> Head {
        let last_position = self.base_position + u64::from(member.node);
        Head { version: member.depth, last_position }
    }

    /// The stream's head before one of its events; it may be in an earlier segment.
    pub(crate) fn head_before(&self, member: Member) -> Result<Head, Defect> {
        let last_position = self.previous(member.node as usize)?;
        let version = member.depth.saturating_sub(1);
        // The chain of a damaged checkpoint must not loop.
        if last_position >= self.base_position + u64::from(member.node)
            || (version == 0) != (last_position == 0)
        {
            return Err(Defect::Invalid(
                "the chain of a stream's events does not reach its first event",
            ));
        }
        Ok(Head { version, last_position })
    }

    /// The sections of a checkpoint that hold this index.
    pub(crate) fn encode(&self) -> Result<ActiveSections, Defect> {
        Ok(ActiveSections {
            offsets: self.encode_offsets()?,
            previous: self.encode_previous()?,
            ids: self.encode_ids()?,
            shortcuts: self.encode_shortcuts()?,
        })
    }

    /// The offsets of all records, as in the table of a seal: four bytes each.
    pub(crate) fn encode_offsets(&self) -> Result<Vec<u8>, Defect> {
        let kept = self.kept.as_ref().map_or(Ok(&[][..]), CheckpointedActive::offsets)?;
        let mut out = Vec::with_capacity(self.len() * 4);
        out.extend_from_slice(kept);
        out.extend(self.offsets.iter().flat_map(|offset| offset.to_le_bytes()));
        Ok(out)
    }

    /// The previous positions of all events, eight bytes each.
    pub(crate) fn encode_previous(&self) -> Result<Vec<u8>, Defect> {
        let kept =
            self.kept.as_ref().map_or(Ok(&[][..]), CheckpointedActive::previous_positions)?;
        let mut out = Vec::with_capacity(self.len() * 8);
        out.extend_from_slice(kept);
        out.extend(self.previous.iter().flat_map(|previous| previous.to_le_bytes()));
        Ok(out)
    }

    /// The shortcuts of all events, four bytes each.
    pub(crate) fn encode_shortcuts(&self) -> Result<Vec<u8>, Defect> {
        let mut out = Vec::with_capacity(self.len() * 4);
        if let Some(kept) = &self.kept {
            out.extend_from_slice(&kept.shortcuts()?);
        }
        out.extend(self.shortcuts.iter().flat_map(|shortcut| shortcut.to_le_bytes()));
        Ok(out)
    }

    /// The ids of all events, concatenated.
    pub(crate) fn encode_ids(&self) -> Result<Vec<u8>, Defect> {
        let kept = self.kept.as_ref().map_or(Ok(&[][..]), CheckpointedActive::ids)?;
        let mut out = Vec::with_capacity(self.len() * 16);
        out.extend_from_slice(kept);
        out.extend_from_slice(self.ids.as_flattened());
        Ok(out)
    }

    /// The number of ids that the next look-up enters into the table.
    pub(crate) fn unhashed_ids(&self) -> usize {
        self.ids.len() - self.by_id.lock().hashed.min(self.ids.len())
    }

    /// The event with this id. Whole ids are compared, so equal hashes only cost time.
    pub(crate) fn find_id(&self, id: &[u8; 16]) -> Result<Option<usize>, Defect> {
        if let Some(kept) = &self.kept
            && let Some(found) = kept.find_id(id)?
        {
            return Ok(Some(found));
        }
        let mut by_id = self.by_id.lock();
        let IdTable { table, hashed } = &mut *by_id;
        for (ordinal, new) in self.ids.iter().enumerate().skip(*hashed) {
            // A segment holds at most 2^30 / 48 events.
            let ordinal = u32::try_from(ordinal).unwrap_or(u32::MAX);
            table.insert_unique(hash_id(new), ordinal, |&o| hash_id(&self.ids[o as usize]));
        }
        *hashed = self.ids.len();
        let found = table.find(hash_id(id), |&o| self.ids[o as usize] == *id);
        Ok(found.map(|&o| self.below() + o as usize))
    }
}

/// The events of a stream within the segment.
impl Links for ActiveIndex {
    fn previous(&self, node: u32) -> Result<Option<u32>, Defect> {
        Ok(self.node(Self::previous(self, node as usize)?))
    }

    fn shortcut(&self, node: u32) -> Result<Option<u32>, Defect> {
        let shortcut = match (&self.kept, (node as usize).checked_sub(self.below())) {
            (Some(kept), None) => kept.shortcut(node as usize)?,
            (_, above) => {
                above.and_then(|above| self.shortcuts.get(above).copied()).unwrap_or(NONE)
            }
        };
        Ok((shortcut != NONE).then_some(shortcut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: u64, last_position: u64) -> Head {
        Head { version, last_position }
    }

    #[test]
    fn ids_of_the_active_segment_are_found_while_it_grows_and_after_a_truncation() {
        let mut index = ActiveIndex::new(11);
        index.push(100, head(0, 0), Steps::UNKNOWN, [1; 16]);
        assert_eq!(index.find_id(&[1; 16]), Ok(Some(0)));
        index.push(200, head(1, 11), Steps::UNKNOWN, [2; 16]);
        assert_eq!(index.find_id(&[2; 16]), Ok(Some(1)));
        assert_eq!(index.find_id(&[3; 16]), Ok(None));
        index.truncate(1);
        assert_eq!((index.find_id(&[2; 16]), index.find_id(&[1; 16])), (Ok(None), Ok(Some(0))));
        assert_eq!(
            (index.ordinal(11), index.ordinal(12), index.ordinal(10)),
            (Some(0), None, None)
        );
    }
}
