//! The postings of a segment that is not sealed: terms from memory, streams from the chains that each
//! event begins with the one before it in its stream.
//!
//! Every append maintains those chains, so a stream is not a term and costs an append nothing here.

use std::ops::Range;

use super::active::ActiveIndex;
use super::jumps::{self, Member};
use super::{Head, PostingList, Postings, Terms};
use crate::format::Defect;

/// `newest_of` returns a stream's newest event in the segment, if there is one.
pub(crate) struct Unsealed<'a, T, F> {
    pub(crate) index: &'a ActiveIndex,
    pub(crate) terms: &'a T,
    pub(crate) newest_of: F,
}

impl<T, F> Postings for Unsealed<'_, T, F>
where
    T: Postings,
    F: Fn(&str) -> Result<Option<Head>, Defect>,
{
    fn find(&self, kind: Terms, name: &str) -> Result<Option<PostingList>, Defect> {
        if kind != Terms::Streams {
            return self.terms.find(kind, name);
        }
        let newest = (self.newest_of)(name)?.and_then(|head| self.index.member(head));
        let Some(newest) = newest else { return Ok(None) };
        let first = jumps::oldest(self.index, newest, |_| true)?;
        let count = u32::try_from(newest.depth - first.depth + 1).unwrap_or(u32::MAX);
        Ok(Some(PostingList { count, place: newest.node, depth: newest.depth, is_chain: true }))
    }

    fn some(
        &self,
        found: PostingList,
        range: Range<u32>,
        backwards: bool,
        most: usize,
    ) -> Result<Vec<u32>, Defect> {
        if !found.is_chain {
            return self.terms.some(found, range, backwards, most);
        }
        let newest = Member { node: found.place, depth: found.depth };
        jumps::some(self.index, newest, |member| member.node, range, backwards, most)
    }
}
