//! The segments that an index file or level file covers. A plain value, compared with what the file records.

use std::ops::RangeInclusive;

use crate::format::index_file::IndexMeta;

/// The segments that an index covers, as their headers and trailers describe them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Covers {
    /// One for each segment, in order. A level file covers several, an index file one.
    pub(super) metas: Box<[IndexMeta]>,
    /// The number of their changes.
    pub(super) changes: u64,
}

impl Covers {
    pub(crate) fn one(meta: IndexMeta, changes: u32) -> Self {
        Self { metas: Box::new([meta]), changes: changes.into() }
    }

    /// Several segments, each with its number of changes; `None` if they are not neighbours.
    pub(crate) fn several(
        segments: impl IntoIterator<Item = Option<(IndexMeta, u32)>>,
    ) -> Option<Self> {
        let (mut metas, mut changes) = (Vec::<IndexMeta>::new(), 0_u64);
        for segment in segments {
            let (meta, own) = segment?;
            let follows = metas.last().is_none_or(|before| {
                let next = before.base_position.checked_add(before.event_count.into());
                before.segment.checked_add(1) == Some(meta.segment)
                    && Some(meta.base_position) == next
            });
            if !follows {
                return None;
            }
            changes = changes.checked_add(own.into())?;
            metas.push(meta);
        }
        (metas.len() > 1).then(|| Self { metas: metas.into(), changes })
    }

    /// The numbers of the segments.
    pub(crate) fn segments(&self) -> RangeInclusive<u64> {
        self.metas[0].segment..=self.metas[self.metas.len() - 1].segment
    }

    pub(super) fn event_count(&self) -> u64 {
        self.metas.iter().map(|meta| u64::from(meta.event_count)).sum()
    }
}
