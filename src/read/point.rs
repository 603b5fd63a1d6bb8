//! Reads of one event, and of the point where time and position meet.

use uuid::Uuid;

use crate::catalog::PartIndex;
use crate::engine::Engine;
use crate::error::Result;
use crate::format::segment_header::DATA_START;
use crate::log::segment::Segment;
use crate::read::event::{Event, Place};
use std::sync::Arc;

impl Engine {
    /// The event at a position, if there is one and it is at or before the written head.
    pub(crate) fn event_at(&self, position: u64) -> Result<Option<Event>> {
        if position == 0 {
            return Ok(None);
        }
        let located = self.lookup(|catalog| catalog.locate(position))?;
        let Some((segment, offset)) = located else {
            return Ok(None);
        };
        self.event_in(&segment, offset, position).map(Some)
    }

    /// The event whose record lies at `offset`; proves it and its frame's header.
    pub(super) fn event_in(
        &self,
        segment: &Arc<Segment>,
        offset: u64,
        position: u64,
    ) -> Result<Event> {
        let (bytes, layout, header) = segment.event(offset, position, self.options.checksums)?;
        Ok(Event::new(bytes, layout, Place::new(&header, position)))
    }

    /// The event with an id, if it is visible.
    pub(crate) fn event_by_id(&self, id: Uuid) -> Result<Option<Event>> {
        let visible = self.visible(false);
        let wanted = id.into_bytes();
        for position in self.id_candidates(&wanted)? {
            if position <= visible
                && let Some(event) = self.event_at(position)?
                && event.id() == id
            {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The last position at or before `visible` that was recorded at or before `time`; 0: none.
    pub(crate) fn position_at(&self, time: u64, visible: u64) -> Result<u64> {
        let (mut low, mut high) = self.segment_around(time);
        high = high.min(visible);
        // Everything up to `low` was recorded by then; nothing behind `high` was. Times never
        // decrease with positions, so the boundary between them is found by halving.
        low = low.min(high);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            let event = self.event_at(middle)?.ok_or_else(|| self.lost(middle))?;
            if event.recorded_at().as_micros() <= time {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    /// Bounds for the boundary, from the times that sealed segments keep.
    fn segment_around(&self, time: u64) -> (u64, u64) {
        let catalog = self.catalog.read();
        let mut low = 0;
        for part in catalog.parts.iter() {
            let base = part.segment.base_position;
            let (count, first, last) = match (&part.index, &part.segment.trailer) {
                (PartIndex::Sealed(_), Some(t)) => {
                    (u64::from(t.event_count), t.first_recorded_at, t.last_recorded_at)
                }
                (PartIndex::Frozen { index, .. }, _) => {
                    (index.len() as u64, index.first_recorded_at, index.last_recorded_at)
                }
                _ => continue,
            };
            debug_assert!(part.segment.end() >= DATA_START);
            if count == 0 {
                continue;
            }
            if first > time {
                return (low, base - 1);
            }
            if last <= time {
                low = base + count - 1;
            } else {
                return (low, base + count - 1);
            }
        }
        (low, u64::MAX)
    }
}
