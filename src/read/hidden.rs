//! Filters out events that truncation, archiving or a stream's metadata hides from reads.
//!
//! The rules are looked up as a read advances, so hiding takes effect at once, also in reads that have
//! started. It costs nothing in a store that hides nothing, and no look-up of the stream for an event
//! that is already known to be hidden.

use std::collections::HashMap;

use smol_str::SmolStr;

use super::ReadSettings;
use crate::engine::Engine;
use crate::error::Result;
use crate::format::metadata::ChangeNumber;
use crate::index::metadata::{EventAge, StreamRules};
use crate::read::event::EventRef;

/// Decides for one read which events it shows.
#[derive(Debug)]
pub(super) struct Hidden {
    include: bool,
    /// The read includes events that are not durable, so a stream's newest events are counted from
    /// those.
    unsynced: bool,
    /// When the read began; ages are measured from this time.
    now: u64,
    /// The rules of streams that were looked up; valid until the metadata changes.
    known: HashMap<SmolStr, CachedRules>,
    change: ChangeNumber,
}

/// The rules that hide events of a stream.
#[derive(Debug, Clone, Copy)]
struct CachedRules {
    rules: StreamRules,
    /// The stream's version when it was looked up, if events are counted; the version only grows.
    newest: u64,
}

impl Hidden {
    pub(super) fn new(engine: &Engine, settings: &ReadSettings) -> Self {
        let now = engine.shared().now_micros();
        Self {
            include: settings.include_hidden,
            unsynced: settings.include_unsynced,
            now,
            known: HashMap::new(),
            change: ChangeNumber::NONE,
        }
    }

    /// Whether the read skips the event.
    #[inline]
    pub(super) fn hides(&mut self, engine: &Engine, event: &EventRef<'_>) -> Result<bool> {
        if self.include || !engine.contents().hides_events() {
            return Ok(false);
        }
        self.judge(engine, event)
    }

    /// The rules that hide events of a stream from this read.
    pub(super) fn rules(&self, engine: &Engine, stream: &str) -> StreamRules {
        if self.include || !engine.contents().hides_events() {
            return StreamRules::default();
        }
        engine.contents().with_metadata(|metadata| metadata.rules(stream))
    }

    /// The version from which a limit on the count of events counts back; 0 if there is no such limit.
    pub(super) fn newest(&self, engine: &Engine, stream: &str, rules: &StreamRules) -> Result<u64> {
        if rules.max_count == 0 {
            return Ok(0);
        }
        let visible = engine.visible(self.unsynced);
        Ok(engine.contents().head_at(stream, visible)?.version)
    }

    /// The time before which events of a stream with these rules are hidden by age; `None` if age hides
    /// none.
    pub(super) fn oldest_shown(&self, rules: &StreamRules) -> Option<u64> {
        (rules.max_age != 0).then(|| self.now.saturating_sub(rules.max_age))
    }

    #[cold]
    fn judge(&mut self, engine: &Engine, event: &EventRef<'_>) -> Result<bool> {
        let stream = event.stream();
        let rules = engine.contents().with_metadata(|metadata| {
            if metadata.last_change() != self.change {
                self.change = metadata.last_change();
                self.known.clear();
            }
            match self.known.get(stream) {
                Some(known) => known.rules,
                None => metadata.rules(stream),
            }
        });
        if rules == StreamRules::default() {
            return Ok(false);
        }
        let (version, recorded_at) = (event.version(), event.recorded_at().as_micros());
        let now = self.now;
        let hides = |newest| rules.hides(&EventAge { version, recorded_at, newest, now });
        // An event that was hidden by a count stays hidden: a stream only grows.
        if self.known.get(stream).is_some_and(|known| hides(known.newest)) {
            return Ok(true);
        }
        let newest = self.newest(engine, stream, &rules)?;
        let hidden = hides(newest);
        self.known.insert(stream.into(), CachedRules { rules, newest });
        Ok(hidden)
    }
}
