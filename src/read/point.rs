//! Reads of one event, and the search for the last position at a time.

use uuid::Uuid;

use crate::engine::Engine;
use crate::error::Result;
use crate::event::Timestamp;
use crate::log::segment::{LogPlace, Segment};
use crate::read::event::{Event, EventPlace};
use std::sync::Arc;

/// The event at a position; `None` if the position is 0 or after the written head.
pub(crate) fn event_at(engine: &Engine, position: u64) -> Result<Option<Event>> {
    if position == 0 {
        return Ok(None);
    }
    let located = engine.contents().find(position)?;
    let Some((segment, offset)) = located else {
        return Ok(None);
    };
    event_in(engine, &segment, LogPlace { offset, position }).map(Some)
}

/// The event at a place; verifies the record and the header of its frame.
pub(super) fn event_in(engine: &Engine, segment: &Arc<Segment>, place: LogPlace) -> Result<Event> {
    let (bytes, layout, header) = segment.event(place, engine.options().checksums)?;
    Ok(Event::new(bytes, layout, EventPlace::new(&header, place.position)))
}

/// The event with an id, if it is visible.
pub(crate) fn event_by_id(engine: &Engine, id: Uuid) -> Result<Option<Event>> {
    let visible = engine.visible(false);
    let wanted = id.into_bytes();
    for position in engine.contents().id_candidates(&wanted)? {
        if position <= visible
            && let Some(event) = event_at(engine, position)?
            && event.id() == id
        {
            return Ok(Some(event));
        }
    }
    Ok(None)
}

/// The last position at or before `visible` that was recorded at or before `time`; 0: none.
pub(crate) fn position_at(engine: &Engine, time: Timestamp, visible: u64) -> Result<u64> {
    let (mut low, mut high) = engine.contents().bounds_of_time(time).into_inner();
    high = high.min(visible);
    // Events up to `low` were recorded at or before `time`, events after `high` were not. Times never
    // decrease with positions, so the boundary is found by binary search.
    low = low.min(high);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let event = event_at(engine, middle)?.ok_or_else(|| engine.contents().lost(middle))?;
        if event.recorded_at() <= time {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}
