//! Changes to streams, delivered among the events of a subscription that requested them.
//!
//! Events are read up to the place of the next changes, then these are delivered. Must never
//! deliver an event before a change that precedes it.

use super::Subscription;
use crate::engine::Engine;
use crate::error::Result;
use crate::read::{ChangeNumber, ChangeScan, StreamChange, Visible, Walked};

/// The number of positions that the search for changes is ahead of the events.
const WINDOW: u64 = 4 * Subscription::PROGRESS_EVERY;

#[derive(Debug)]
pub(super) struct ChangeFeed {
    scan: ChangeScan,
    /// Changes that were found, to be delivered after the event at this position.
    found: Option<(u64, Vec<StreamChange>)>,
    /// The last visible change at the time of the last search.
    looked_at: ChangeNumber,
}

/// What to deliver next.
pub(super) enum More {
    ChangeFeed(Vec<StreamChange>),
    /// Events up to a position, if there are any.
    EventsUpTo(Option<u64>),
}

impl ChangeFeed {
    pub(super) fn new(scan: ChangeScan) -> Self {
        // The existing changes are searched at the first read.
        Self { scan, found: None, looked_at: ChangeNumber::NONE }
    }

    /// Whether changes became visible since the last search.
    pub(super) fn has_news(&self, engine: &Engine) -> bool {
        engine.contents().last_change() != self.looked_at
    }

    /// What to deliver after `scanned_through`.
    fn next(&mut self, visible: Visible, scanned_through: u64) -> Result<More> {
        let is_seen = visible.change == self.looked_at && visible.position <= scanned_through;
        if self.found.is_none() && is_seen {
            return Ok(More::EventsUpTo(None));
        }
        if self.found.is_none() {
            let limit = scanned_through.saturating_add(WINDOW);
            match self.scan.next(visible, limit)? {
                Walked::Changes(after, changes) => self.found = Some((after, changes)),
                Walked::Through(position) if position > scanned_through => {
                    return Ok(More::EventsUpTo(Some(position)));
                }
                Walked::Through(_) | Walked::All => {
                    self.looked_at = visible.change;
                    let head = (visible.position > scanned_through).then_some(visible.position);
                    return Ok(More::EventsUpTo(head));
                }
            }
        }
        Ok(match self.found.take() {
            Some((after, changes)) if after <= scanned_through => More::ChangeFeed(changes),
            found => {
                self.found = found;
                More::EventsUpTo(self.found.as_ref().map(|(after, _)| *after))
            }
        })
    }
}

impl Subscription {
    /// What to deliver next if changes were requested; otherwise `None`.
    pub(super) fn look_for_changes(&mut self) -> Result<Option<More>> {
        let Some(changes) = &mut self.changes else { return Ok(None) };
        let mut refreshed = false;
        loop {
            let position = self.engine.visible(self.include_unsynced);
            let visible = Visible { position, change: self.engine.contents().last_change() };
            let more = changes.next(visible, self.scanned_through);
            let more = more.inspect_err(|_| self.behind = true)?;
            if let More::EventsUpTo(Some(head)) = more {
                self.behind |= head < position;
            }
            if refreshed || !matches!(more, More::EventsUpTo(None)) {
                return Ok(Some(more));
            }
            self.engine.refresh()?;
            refreshed = true;
        }
    }
}
