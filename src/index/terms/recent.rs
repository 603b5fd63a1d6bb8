//! The postings of the last few events of a segment that is not sealed, by their terms' hashes alone.
//!
//! Every look-up compares all of these hashes, so it is for few events only. Like every posting, the
//! result is a superset: two terms may have the same hash.

use std::ops::Range;

use super::{TermHasher, short};
use crate::format::Defect;
use crate::index::{PostingList, Postings, Terms};

/// Consecutive events.
#[derive(Debug)]
pub(crate) struct RecentTerms<'a> {
    /// The ordinal of the first one.
    pub(super) first: u32,
    /// The number of terms of each.
    pub(super) counts: &'a [u16],
    /// The hashes of their terms, one event after the other.
    pub(super) hashes: &'a [u32],
    pub(super) hasher: &'a TermHasher,
}

impl RecentTerms<'_> {
    /// The ordinals of the events that have the hash, ascending.
    fn with(&self, hash: u32) -> impl Iterator<Item = u32> {
        let mut rest = self.hashes;
        (self.first..).zip(self.counts).filter_map(move |(ordinal, &count)| {
            let (own, after) = rest.split_at_checked(count.into())?;
            rest = after;
            own.contains(&hash).then_some(ordinal)
        })
    }
}

impl Postings for RecentTerms<'_> {
    fn find(&self, kind: Terms, name: &str) -> Result<Option<PostingList>, Defect> {
        let hash = short(self.hasher.hash(kind, name));
        if !self.hashes.contains(&hash) {
            return Ok(None);
        }
        let count = u32::try_from(self.with(hash).count()).unwrap_or(u32::MAX);
        Ok(Some(PostingList { count, place: hash, depth: count.into(), is_chain: false }))
    }

    fn some(
        &self,
        found: PostingList,
        range: Range<u32>,
        backwards: bool,
        most: usize,
    ) -> Result<Vec<u32>, Defect> {
        let mut inside: Vec<u32> =
            self.with(found.place).filter(|ordinal| range.contains(ordinal)).collect();
        if backwards {
            inside.reverse();
        }
        inside.truncate(most);
        Ok(inside)
    }
}
