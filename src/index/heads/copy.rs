//! Heads of one segment, copied so that the rest can be done without its lock: a listing, or a checkpoint.
//!
//! Owns how heads in memory and those of a checkpoint become one. Must never read under a lock.

use std::sync::Arc;

use smol_str::SmolStr;

use super::HeadTable;
use crate::format::Defect;
use crate::format::checkpoint::HeadEntry;
use crate::format::index_file::STREAMS;
use crate::index::Head;
use crate::index::layers::{NamedSections, SectionsBuilder, newest_by_name};
use crate::index::names::NameRange;

/// Heads of one segment that can be read with no lock held.
#[derive(Debug)]
pub(crate) struct HeadsCopy {
    pub(super) newer: Vec<(SmolStr, Head)>,
    pub(super) base: Option<Arc<HeadTable>>,
}

impl HeadsCopy {
    /// Adds the first `most` heads of a range, which the copy was made for. Of several heads with a name the last one counts,
    /// and version 0 means that there is no such stream. Returns the last name up to which the heads are complete, if there
    /// may be more.
    pub(crate) fn add_to(
        self,
        heads: &mut Vec<(Box<str>, Head)>,
        range: &NameRange<'_>,
        most: usize,
    ) -> Result<Option<Box<str>>, Defect> {
        let begin = heads.len();
        if let Some(base) = self.base {
            base.for_each(range, most, |name, head| heads.push((name.into(), head)))?;
        }
        let last = heads.last().filter(|_| heads.len() - begin >= most);
        let end_of_base = last.map(|(name, _)| name.clone());
        let newest = self.newer.iter().map(|(name, _)| &**name).max();
        let end_of_newer = newest.filter(|_| self.newer.len() >= most).map(Box::from);
        heads.extend(self.newer.iter().map(|(name, head)| (Box::from(&**name), *head)));
        Ok([end_of_base, end_of_newer].into_iter().flatten().min())
    }

    /// The heads of the streams that have events at or after `from`, the base position of the segment.
    pub(crate) fn encode(self, from: u64) -> Result<NamedSections, Defect> {
        let Self { mut newer, base } = self;
        newer.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let older = |each: &mut dyn FnMut(&str, Head)| {
            base.map_or(Ok(()), |base| base.for_each(&NameRange::ALL, usize::MAX, each))
        };
        let mut sections = SectionsBuilder::new(STREAMS);
        newest_by_name(newer, older, |name, Head { version, last_position }| {
            if last_position >= from {
                sections.add(name, |name_offset, name_len, out| {
                    HeadEntry { name_offset, name_len, version, last_position }.encode(out);
                });
            }
        })?;
        Ok(sections.finish())
    }
}
