//! What reads skip: events that truncation, archiving or a stream's metadata hides.
//!
//! Looked up as a read goes along, so hiding takes effect at once, also in reads under way. Costs
//! nothing in a store where nothing is hidden.

use super::Settings;
use crate::engine::Engine;
use crate::error::Result;
use crate::index::metadata::StreamRules;
use crate::view::EventRef;

/// Decides for one read which events it shows.
#[derive(Debug)]
pub(super) struct Hidden {
    include: bool,
    /// The read sees what is not durable, so a stream's newest events are counted from there.
    unsynced: bool,
    /// When the read began: what ages count from.
    now: u64,
}

impl Hidden {
    pub(super) fn new(engine: &Engine, settings: &Settings) -> Self {
        let now = engine.storage.now_micros();
        Self { include: settings.include_hidden, unsynced: settings.include_unsynced, now }
    }

    /// Whether the read skips the event.
    #[inline]
    pub(super) fn hides(&self, engine: &Engine, event: &EventRef<'_>) -> Result<bool> {
        if self.include || !engine.hides_events() {
            return Ok(false);
        }
        self.judge(engine, event)
    }

    #[cold]
    fn judge(&self, engine: &Engine, event: &EventRef<'_>) -> Result<bool> {
        let rules = engine.metadata.read().rules(event.stream());
        if rules == StreamRules::default() {
            return Ok(false);
        }
        let newest = match rules.max_count {
            0 => 0,
            _ => {
                let visible = engine.visible(self.unsynced);
                engine.lookup(|catalog| catalog.head_at(event.stream(), visible))?.version
            }
        };
        let recorded_at = event.recorded_at().as_micros();
        Ok(rules.hides(event.version(), recorded_at, newest, self.now))
    }
}
