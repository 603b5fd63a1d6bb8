//! The path of an append: prepare → (lock) check, assign, encode → (unlock) group commit.
//!
//! Owns what makes a commit acceptable. Must never change anything before all checks have passed.
//!
//! - [`prepare`]: what needs no lock.
//! - [`repeat`]: events that are in the store already.
//! - [`remaining`]: what a commit of such events still changes.
//! - [`boundary`]: queries that must match nothing.
//! - [`check`]: versions, cursors.
//! - [`records`]: versions of records.
//! - [`clock`]: the recorded time, and implausible clock readings.
//! - [`encode`]: positions, versions, bytes.
//! - [`hurry`]: what a task, which must not wait, leaves to a thread.
//! - [`conflict`]: what a refused commit waits for before its error is returned.
//! - [`accept`]: the calls, which wait for the group or return a commit on its way to disk.
//!
//! What these calls work out is filled in where their first caller keeps it ([`Answer`], [`Prepared`], `CheckResults`,
//! `Refusal`), and not returned. To return a struct copies it in long words right after it was written in short ones, and
//! a processor that cannot forward such stores waits until they are in its cache.
//!
//! Records are encoded under the lock, straight into the group's buffer. Encoding outside and
//! copying under the lock would shorten the time under it, but costs a second pass over the bytes,
//! and the checksum covers the version and position that are only known under it.

mod accept;
mod boundary;
mod check;
mod clock;
mod conflict;
mod encode;
mod hurry;
mod limits;
mod prepare;
mod records;
mod remaining;
mod repeat;

use std::sync::Arc;

use crate::catalog::{Catalog, OlderHeads};
use crate::engine::commit::{Commits, GroupNumber, Guard, Writer};
use crate::engine::contents::Contents;
use crate::engine::maintenance::Maintainer;
use crate::engine::positions::Positions;
use crate::engine::shared::Shared;
use crate::engine::snapshots::SnapshotFiles;
use crate::error::Result;
use crate::event::{Applied, Position, Timestamp};
use crate::format::metadata::SECTION_HEADER_LEN;
use crate::format::{align, frame};
use crate::index::block_file::Reads;

use boundary::Scanned;
use check::{Asked, CheckResults, KnownHeads, Missing, Refusal};
use records::KnownRecords;
use remaining::Unapplied;

pub(crate) use accept::Accepted;
pub(crate) use prepare::{
    Boundary, CursorFrom, ExpectedMatch, Prepared, Request, StreamOperation, check_record_key,
    prepare,
};

/// Appends and transactions: decides on them, and passes accepted ones to group commit.
#[derive(Debug)]
pub(crate) struct Appends {
    shared: Arc<Shared>,
    positions: Arc<Positions>,
    contents: Arc<Contents>,
    commits: Arc<Commits>,
    snapshots: Arc<SnapshotFiles>,
    maintenance: Arc<Maintainer>,
}

/// The decision about a commit, and the group to wait for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sequenced {
    pub(crate) group: GroupNumber,
    pub(crate) first_position: Position,
    pub(crate) last_position: Position,
    pub(crate) recorded_at: Timestamp,
    pub(crate) already_recorded: bool,
    /// For a commit whose events were recorded before: the changes that it still made.
    pub(crate) applied: Vec<Applied>,
    /// The version of each record after its request.
    pub(crate) record_versions: Vec<u64>,
}

/// The place of the answer to a commit: filled in once it is accepted.
#[derive(Debug)]
pub(crate) struct Answer<'v> {
    /// The version of the stream after each operation.
    pub(crate) versions: &'v mut [u64],
    pub(crate) sequenced: Sequenced,
}

impl<'v> Answer<'v> {
    /// `versions` has a place for each operation.
    pub(crate) fn new(versions: &'v mut [u64]) -> Self {
        Self { versions, sequenced: Sequenced::default() }
    }
}

/// The decision about a commit, with the writer still locked.
enum Decision<'a> {
    /// The answer is in its place.
    Accepted(Guard<'a>),
    Refused(Guard<'a>, Refusal),
    /// Nothing yet: it takes a wait, or work that takes long, and the caller has no time for that.
    TakesLong,
}

/// What became of a commit under the catalog's lock.
enum Checked {
    /// The answer is in its place.
    Encoded,
    /// It was refused, or writes nothing; with the versions of its records.
    Only(Vec<u64>),
}

/// What was looked up for a commit with no lock held.
#[derive(Clone, Copy)]
struct Known<'a> {
    /// Heads of streams without events in the active segment.
    older: &'a OlderHeads,
    records: &'a KnownRecords,
}

/// Whether the caller of [`Appends::decide`] may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Waits,
    /// The caller is a task, which would block its executor.
    #[cfg(feature = "async")]
    InAHurry,
}

impl Patience {
    fn hurries(self) -> bool {
        self != Self::Waits
    }
}

impl Appends {
    pub(super) fn new(
        shared: &Arc<Shared>,
        positions: &Arc<Positions>,
        contents: &Arc<Contents>,
        commits: &Arc<Commits>,
        snapshots: &Arc<SnapshotFiles>,
        maintenance: &Arc<Maintainer>,
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            positions: Arc::clone(positions),
            contents: Arc::clone(contents),
            commits: Arc::clone(commits),
            snapshots: Arc::clone(snapshots),
            maintenance: Arc::clone(maintenance),
        }
    }

    /// Checks a commit against everything accepted before, and adds it to the collecting group.
    /// Returns the locked writer, for the caller to wait or to leave. A refusal may be for commits that are still on their
    /// way to disk.
    fn decide(
        &self,
        commit: &Prepared<'_>,
        sync: bool,
        answer: &mut Answer<'_>,
        patience: Patience,
    ) -> Result<Decision<'_>> {
        let reads = if patience.hurries() { Reads::None } else { Reads::Any };
        let older_heads = || self.contents.older_heads(commit.streams(), reads);
        let (mut healed, mut older) = (false, OlderHeads::default());
        let mut records = KnownRecords::default();
        let mut scanned = Scanned::default();
        loop {
            let known = Known { older: &older, records: &records };
            match self.try_to_decide(commit, sync, answer, patience, known, &mut scanned)? {
                Ok(decision) => return Ok(decision),
                // Read or rebuilt with no lock held; then all checks are made again.
                Err(Missing::Checkpoint(_)) if patience.hurries() => {
                    return Ok(Decision::TakesLong);
                }
                Err(Missing::Checkpoint(defect)) => {
                    self.contents.provide(defect, &mut healed)?;
                    for operation in commit.operations {
                        self.contents.read_for_append(operation.stream)?;
                    }
                }
                Err(Missing::OlderHeads) => match older_heads()? {
                    Some(found) => older = found,
                    None => return Ok(Decision::TakesLong),
                },
                Err(Missing::Records) if patience.hurries() => return Ok(Decision::TakesLong),
                Err(Missing::Records) => records = self.known_records(commit)?,
            }
        }
    }

    /// [`Appends::decide`], once. `Err`: a check lacks something. `scanned` keeps what was searched for
    /// boundaries, so that the next round only searches what was accepted since.
    fn try_to_decide(
        &self,
        commit: &Prepared<'_>,
        sync: bool,
        answer: &mut Answer<'_>,
        patience: Patience,
        Known { older, records }: Known<'_>,
        scanned: &mut Scanned,
    ) -> Result<std::result::Result<Decision<'_>, Missing>> {
        if patience.hurries() && self.boundaries_take_long(commit.boundaries) {
            return Ok(Ok(Decision::TakesLong));
        }
        self.scan_boundaries(commit.boundaries, scanned)?;
        let Some(mut writer) = self.lock_with_room(commit, patience)? else {
            return Ok(Ok(Decision::TakesLong));
        };
        // From here on the lock is held: what is looked up stays true.
        if commit.has_ids
            && let Some(known) = self.find_recorded(&writer, commit, answer.versions)?
        {
            answer.sequenced = known;
            let rest = self.sequence_remaining(&mut writer, commit, records, sync, answer)?;
            return Ok(match rest {
                Ok(()) => Ok(Decision::Accepted(writer)),
                Err(Unapplied::Refused(refusal)) => Ok(Decision::Refused(writer, refusal)),
                Err(Unapplied::Missing(missing)) => Err(missing),
            });
        }
        self.check_time(&writer, commit)?;
        let mut refusal = Refusal::default();
        self.check_boundaries(&writer, commit.boundaries, scanned, &mut refusal)?;
        if commit.writes() && !writer.log.tip.session_begun && refusal.failed.is_empty() {
            self.commits.begin_session(&mut writer)?;
        }
        let tried = self.contents.change_catalog(|catalog| {
            let asked = Asked { commit, records };
            self.check_and_encode(&mut writer, catalog, older, asked, answer, &mut refusal)
        });
        let checked = match tried {
            Ok(checked) => checked?,
            Err(missing) => return Ok(Err(missing)),
        };
        if !refusal.failed.is_empty() {
            return Ok(Ok(Decision::Refused(writer, refusal)));
        }
        if let Checked::Only(record_versions) = checked {
            answer.sequenced = without_a_write(&mut writer, sync, record_versions);
            return Ok(Ok(Decision::Accepted(writer)));
        }
        self.commits.note_member(&mut writer, sync);
        self.shared.counters().appends.add_locked(1);
        self.commits.want_spare(&mut writer);
        Ok(Ok(Decision::Accepted(writer)))
    }

    /// Locks the writer, with room for the commit among the pending bytes and in the active segment;
    /// `None` if that takes long and the caller has no time for it. A rollover also swaps the layers of
    /// the heads, so it comes before anything is looked up in them.
    fn lock_with_room(
        &self,
        commit: &Prepared<'_>,
        patience: Patience,
    ) -> Result<Option<Guard<'_>>> {
        let mut writer = self.commits.lock();
        // Checked under the lock, so that nothing joins after the last group of a close.
        self.shared.check_writable()?;
        writer.check_usable()?;
        let max = self.shared.options().max_pending_bytes;
        let body_len = commit.body_len + commit.metadata_len;
        while writer.pending_bytes() as u64 + body_len as u64 > max
            && !writer.collecting.writes.is_empty()
        {
            if patience.hurries() {
                return Ok(None);
            }
            writer = self.commits.wait_for_room(writer)?;
        }
        if patience.hurries() && self.takes_long(&writer, commit) {
            return Ok(None);
        }
        if commit.writes() {
            writer = self.commits.make_room(writer, frame_len(commit), commit.features())?;
        }
        Ok(Some(writer))
    }

    /// Makes the checks that need the catalog. If all hold and there is something to write, adds the
    /// commit to the collecting group. `Err`: a check lacks something, and nothing is changed. For a
    /// commit that writes nothing, also returns the versions of its records.
    fn check_and_encode(
        &self,
        writer: &mut Writer,
        catalog: &mut Catalog,
        older: &OlderHeads,
        asked: Asked<'_>,
        answer: &mut Answer<'_>,
        refusal: &mut Refusal,
    ) -> std::result::Result<Result<Checked>, Missing> {
        let commit = asked.commit;
        let mut checked = CheckResults::with_slots(std::mem::take(&mut writer.slots));
        let heads = KnownHeads { catalog, older };
        self.check(writer, heads, asked, answer.versions, &mut checked, refusal)?;
        if !refusal.failed.is_empty() || !commit.writes() {
            writer.slots = checked.slots;
            return Ok(Ok(Checked::Only(checked.record_versions)));
        }
        for slot in &checked.slots {
            catalog.active.index.touch_shortcuts(slot.head())?;
        }
        let time = match self.time_to_record(writer, commit.recorded_at) {
            Ok(time) => time,
            Err(error) => return Ok(Err(error)),
        };
        self.encode(writer, catalog, commit, answer, &mut checked, time);
        writer.slots = checked.slots;
        Ok(Ok(Checked::Encoded))
    }

    /// Completes the answer to a commit whose events are recorded, after applying what it still changes beside
    /// them.
    fn sequence_remaining(
        &self,
        writer: &mut Guard<'_>,
        commit: &Prepared<'_>,
        records: &KnownRecords,
        sync: bool,
        answer: &mut Answer<'_>,
    ) -> Result<std::result::Result<(), Unapplied>> {
        let known = &mut answer.sequenced;
        let last_event = known.last_position.get();
        let remaining = self.remaining_changes(writer, commit, records, last_event)?;
        let mut checked = match remaining {
            Ok(checked) => checked,
            Err(unapplied) => return Ok(Err(unapplied)),
        };
        self.shared.counters().already_recorded.add(1);
        known.record_versions = std::mem::take(&mut checked.record_versions);
        if checked.changes.is_empty() {
            // Data that is durable needs no wait.
            let durable = known.last_position.get() <= self.positions.durable();
            known.group = if durable { GroupNumber::NONE } else { writer.group_of_all(sync) };
            return Ok(Ok(()));
        }
        if !writer.log.tip.session_begun {
            self.commits.begin_session(writer)?;
        }
        known.applied = checked.changes.iter().map(remaining::to_applied).collect();
        let mut rest = commit.without_events(&[]);
        rest.recorded_at = self.nearest_time(writer, commit);
        let time = self.time_to_record(writer, rest.recorded_at)?;
        let mut of_rest = Answer::new(&mut []);
        self.contents.change_catalog(|catalog| {
            self.encode(writer, catalog, &rest, &mut of_rest, &mut checked, time);
        });
        answer.sequenced.group = of_rest.sequenced.group;
        self.commits.note_member(writer, sync);
        self.shared.counters().appends.add_locked(1);
        Ok(Ok(()))
    }
}

/// The bytes of a commit's frame.
fn frame_len(commit: &Prepared<'_>) -> usize {
    // Any frame may have to record the number of durable changes.
    let metadata_len = commit.metadata_len.max(SECTION_HEADER_LEN);
    frame::HEADER_LEN + align(commit.body_len + metadata_len)
}

/// The answer to a commit that writes nothing; given once the state it was checked against is durable.
fn without_a_write(writer: &mut Writer, sync: bool, record_versions: Vec<u64>) -> Sequenced {
    let in_flight = !writer.collecting.writes.is_empty() || writer.writing.is_some();
    let head = Position::new(writer.log.tip.next_position - 1);
    Sequenced {
        group: if in_flight { writer.group_of_all(sync) } else { GroupNumber::NONE },
        first_position: head,
        last_position: head,
        recorded_at: Timestamp::from_micros(writer.log.tip.recorded_at),
        already_recorded: false,
        applied: Vec::new(),
        record_versions,
    }
}
