//! Changes to streams among the events of a subscription that asked for them.
//!
//! Events are read up to where the next changes stand, then these are told. Must never let an event
//! pass a change that stands before it.

use super::Subscription;
use crate::engine::Engine;
use crate::error::Result;
use crate::read::{ChangeScan, StreamChange, Visible, Walked};

/// Changes are looked for so many positions ahead of the events.
const WINDOW: u64 = 4 * Subscription::PROGRESS_EVERY;

#[derive(Debug)]
pub(super) struct Changes {
    scan: ChangeScan,
    /// Found, to be told behind the event at this position.
    found: Option<(u64, Vec<StreamChange>)>,
    /// The last visible change when it was last looked for some.
    looked_at: u64,
}

/// What is next.
pub(super) enum More {
    Changes(Vec<StreamChange>),
    /// Events up to a position, if there are any.
    EventsUpTo(Option<u64>),
}

impl Changes {
    pub(super) fn new(scan: ChangeScan) -> Self {
        // Change numbers begin with 1: what is there is looked for at the first read.
        Self { scan, found: None, looked_at: 0 }
    }

    /// Whether changes became visible since it was last looked for some.
    pub(super) fn has_news(&self, engine: &Engine) -> bool {
        engine.contents().last_change() != self.looked_at
    }

    /// What is next behind `scanned_through`.
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
            Some((after, changes)) if after <= scanned_through => More::Changes(changes),
            found => {
                self.found = found;
                More::EventsUpTo(self.found.as_ref().map(|(after, _)| *after))
            }
        })
    }
}

impl Subscription {
    /// What is next, where changes are asked for; else `None`.
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
