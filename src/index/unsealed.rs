//! The postings of a segment that is not sealed: terms from memory, streams from the chains that each
//! event begins with the one before it in its stream.
//!
//! Those chains are there for every append anyway, so a stream is no term and costs an append nothing
//! here.

use super::active::ActiveIndex;
use super::terms::ActiveTerms;
use super::{Found, Postings, Terms};
use crate::format::Defect;

/// A chain is followed so far to tell how long it is; a longer one counts as the longest list.
const COUNTED: u32 = 1024;

/// `newest_of` tells the ordinal of a stream's newest event in the segment, if it has one there.
pub(crate) struct Unsealed<'a, F> {
    pub(crate) index: &'a ActiveIndex,
    pub(crate) terms: &'a ActiveTerms,
    pub(crate) newest_of: F,
}

impl<F> Unsealed<'_, F> {
    /// The ordinal of the event before, in the same stream and segment.
    fn before(&self, ordinal: u32) -> Result<Option<u32>, Defect> {
        let previous = self.index.previous(ordinal as usize)?;
        let Some(before) = self.index.ordinal(previous) else { return Ok(None) };
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        // A damaged checkpoint must not lead in circles.
        let broken = Defect::Invalid("a stream's events do not lead back to its first");
        if before < ordinal { Ok(Some(before)) } else { Err(broken) }
    }
}

impl<F> Postings for Unsealed<'_, F>
where
    F: Fn(&str) -> Result<Option<u32>, Defect>,
{
    fn find(&self, kind: Terms, name: &str) -> Result<Option<Found>, Defect> {
        if kind != Terms::Streams {
            return self.terms.find(kind, name);
        }
        let Some(newest) = (self.newest_of)(name)? else { return Ok(None) };
        let (mut count, mut at) = (0, Some(newest));
        while let Some(ordinal) = at {
            count += 1;
            if count == COUNTED {
                count = u32::MAX;
                break;
            }
            at = self.before(ordinal)?;
        }
        Ok(Some(Found { count, entries: count, place: newest, is_chain: true }))
    }

    fn list(&self, found: Found, floor: u32) -> Result<Vec<u32>, Defect> {
        if !found.is_chain {
            return self.terms.list(found, floor);
        }
        let (mut ordinals, mut at) = (Vec::new(), Some(found.place));
        while let Some(ordinal) = at.filter(|&ordinal| ordinal >= floor) {
            ordinals.push(ordinal);
            at = self.before(ordinal)?;
        }
        ordinals.reverse();
        Ok(ordinals)
    }
}
