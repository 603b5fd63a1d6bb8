//! Commits of tasks: decides what does not block the executor.
//!
//! Must never wait or do long reads: it then returns `None`, nothing is changed, and a thread of the
//! store makes the commit.

#[cfg(feature = "async")]
use super::{Answer, Decision, Guard, Patience};
use super::{Appends, Boundary, Prepared, frame_len};
use crate::catalog::{Catalog, PartIndex, units};
use crate::engine::commit::Writer;
#[cfg(feature = "async")]
use crate::error::Result;

/// Number of events that can be examined, or entered into an index, without taking long.
const FEW_EVENTS: u64 = 2048;

impl Appends {
    /// Like [`Appends::sequence`], without a wait; `None` if that takes long.
    #[cfg(feature = "async")]
    pub(super) fn sequence_in_a_hurry(
        &self,
        commit: &Prepared<'_>,
        sync: bool,
        answer: &mut Answer<'_>,
        conflict_at_once: bool,
    ) -> Result<Option<Guard<'_>>> {
        match self.decide(commit, sync, answer, Patience::InAHurry)? {
            Decision::Accepted(writer) => Ok(Some(writer)),
            Decision::TakesLong => Ok(None),
            Decision::Refused(writer, refusal) => {
                if conflict_at_once {
                    Err(self.conflict_at_once(&writer, refusal))
                } else if self.shows(refusal.lost) {
                    Err(self.conflict(refusal.failed, refusal.lost.position))
                } else {
                    Ok(None)
                }
            }
        }
    }

    /// Whether boundaries have to look at many events, or need an index that is not made yet.
    pub(super) fn boundaries_take_long(&self, boundaries: &[Boundary]) -> bool {
        if boundaries.is_empty() {
            return false;
        }
        let written = self.positions.written();
        let (base, keeps_terms) = self.contents.with_catalog(|catalog| {
            let index = &catalog.active.index;
            (index.base_position(), index.keeps_terms())
        });
        let far = |boundary: &Boundary| {
            let from = boundary.searched_from().min(written);
            // The indexes of sealed segments are files.
            written - from > FEW_EVENTS || from + 1 < base
        };
        !keeps_terms || boundaries.iter().any(far)
    }

    /// Whether a commit has to wait for files: its session begins, it needs the next segment, or
    /// its ids are looked up where that is still to be prepared, or it may be a repetition, whose
    /// snapshots are looked for.
    pub(super) fn takes_long(&self, writer: &Writer, commit: &Prepared<'_>) -> bool {
        let has_room = || writer.log.fits(frame_len(commit), commit.features());
        commit.writes() && !(writer.log.tip.session_begun && has_room())
            || commit.has_ids
                && (!commit.snapshots.is_empty() || self.contents.with_catalog(ids_take_long))
    }
}

/// Whether a look-up of an id opens files, or enters many ids into a table.
fn ids_take_long(catalog: &Catalog) -> bool {
    let few = |unhashed: usize| unhashed as u64 <= FEW_EVENTS;
    let prepared = |index: &PartIndex| match index {
        PartIndex::Sealed(index) => index.is_open(),
        PartIndex::Frozen { index, .. } => few(index.unhashed_ids()),
    };
    !few(catalog.active.index.unhashed_ids())
        || !units(&catalog.parts).all(|part| prepared(&part.index))
}
