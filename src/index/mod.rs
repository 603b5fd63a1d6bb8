//! Indexes: stream heads, and per segment the postings and ids.
//!
//! Everything here is derived from the log and disposable. This module must never hold a fact that
//! the log does not have, and never decides how to treat a damaged file: it returns a
//! [`Defect`](crate::format::Defect), and its caller rebuilds the file from the log.
//!
//! - [`active`]: the index of a segment that is not sealed yet, in memory, fed by appends.
//! - [`jumps`]: shortcuts through its linked lists.
//! - [`checkpointed`]: the part of it that a clean close stored in a checkpoint, read in place.
//! - [`terms`]: its postings, and [`unsealed`], which answers from them and from the chains of
//!   streams.
//! - [`build`] turns a segment's records into an index file; [`merge`] several of those into a level
//!   file, which [`level_file`] writes front to back; [`sealed`] opens either, [`contents`] reads
//!   them, [`list`] their lists.
//! - [`names`]: the names in a sealed index, in order.
//! - [`metadata`]: cursors, and what of each stream is hidden.
//! - [`heads`]: stream to version and last position, a mapped base with an overlay in memory.
//! - [`block_file`]: the container of both kinds of files, checked block by block.

pub(crate) mod active;
pub(crate) mod block_file;
pub(crate) mod build;
pub(crate) mod checkpointed;
mod contents;
pub(crate) mod covers;
mod hashes;
pub(crate) mod heads;
pub(crate) mod jumps;
pub(crate) mod layers;
pub(crate) mod level_file;
pub(crate) mod list;
pub(crate) mod merge;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod record_table;
pub(crate) mod records;
pub(crate) mod sealed;
pub(crate) mod terms;
pub(crate) mod touched;
pub(crate) mod unsealed;

use std::ops::Range;

use crate::format::{Defect, index_file};

/// A stream's end, including commits that are not durable yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) version: u64,
    pub(crate) last_position: u64,
}

/// The kinds of posting lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Terms {
    Streams,
    Types,
    Tags,
    Categories,
}

impl Terms {
    /// The section of an index file with the entries of this kind.
    pub(crate) fn section(self) -> u32 {
        match self {
            Self::Streams => index_file::STREAMS,
            Self::Types => index_file::TYPES,
            Self::Tags => index_file::TAGS,
            Self::Categories => index_file::CATEGORIES,
        }
    }
}

/// A term that was found: the number of its events, and the place of its list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PostingList {
    pub(crate) count: u32,
    /// The offset of the list in a file, or the newest member of a list in memory.
    place: u32,
    /// For a list in memory, the rank of its newest member.
    depth: u64,
    is_chain: bool,
}

impl PostingList {
    /// Tells the lists of one index apart.
    pub(crate) fn key(&self) -> u32 {
        self.place
    }
}

/// The events of one segment, or of several neighbours, by stream, type, tag and category.
pub(crate) trait Postings {
    /// Looks a term up; `None` if no event has it.
    fn find(&self, kind: Terms, name: &str) -> Result<Option<PostingList>, Defect>;

    /// At most `most` of the ordinals of its events that are in a range: the ones nearest to its
    /// beginning, ascending, or, backwards, the ones nearest to its end, descending. The cost is their
    /// number and a logarithm.
    fn some(
        &self,
        found: PostingList,
        range: Range<u32>,
        backwards: bool,
        most: usize,
    ) -> Result<Vec<u32>, Defect>;
}

/// Binary search over `count` sorted names that are read one by one.
fn search_names<'a>(
    count: usize,
    target: &[u8],
    name_at: impl Fn(usize) -> Result<&'a [u8], Defect>,
) -> Result<Result<usize, usize>, Defect> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = usize::midpoint(low, high);
        match name_at(middle)?.cmp(target) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => return Ok(Ok(middle)),
        }
    }
    Ok(Err(low))
}
