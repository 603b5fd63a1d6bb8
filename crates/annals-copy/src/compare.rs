//! Reads both places back and compares them, event by event.
//!
//! Owns how far they were compared. Must never change a place.

use annals_es::{Position, RecordedEvent, Timestamp};

use crate::positions::MapWriter;
use crate::{Error, Source, Step};

/// Number of events after which the caller is told of progress.
const PROGRESS: u64 = 1024;

#[derive(Default)]
pub(crate) struct Comparison {
    /// The last position that was compared, in each place.
    source: Position,
    target: Position,
    /// The time of the last event in the target.
    time: Timestamp,
    pub(crate) events: u64,
    /// Whether some event has another position in the target.
    pub(crate) moved: bool,
    pub(crate) map: Option<MapWriter>,
}

impl Comparison {
    pub(crate) fn new(map: Option<MapWriter>) -> Self {
        Self { map, ..Self::default() }
    }

    /// Compares the events up to a position of the source, which is the end of the target.
    pub(crate) fn compare(
        &mut self,
        source: &mut dyn Source,
        target: &mut dyn Source,
        up_to: Position,
        tell: &mut dyn FnMut(Step) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut copies = target.read(self.target, Position::MAX)?;
        for original in source.read(self.source, up_to)? {
            let original = original?;
            let position = original.position();
            let copy = copies.next().transpose()?;
            let copy = copy.ok_or_else(|| Error::Differs {
                position,
                what: "the target ends before it".into(),
            })?;
            self.compare_one(&original, &copy)?;
            if self.events.is_multiple_of(PROGRESS) {
                tell(Step::Compared { events: self.events })?;
            }
        }
        if let Some(more) = copies.next().transpose()? {
            let what = format!("the target has another event after it, {}", more.id());
            return Err(Error::Differs { position: self.source, what });
        }
        tell(Step::Compared { events: self.events })
    }

    fn compare_one(&mut self, original: &RecordedEvent, copy: &RecordedEvent) -> Result<(), Error> {
        let position = original.position();
        if let Some(what) = difference(original, copy, self.time) {
            return Err(Error::Differs { position, what });
        }
        if copy.position() <= self.target {
            let what = format!("it has position {}, after {}", copy.position(), self.target);
            return Err(Error::Differs { position, what });
        }
        self.time = copy.recorded_at();
        (self.source, self.target) = (position, copy.position());
        self.events += 1;
        self.moved |= copy.position() != position;
        match &mut self.map {
            Some(map) => map.add(position, copy.position()),
            None => Ok(()),
        }
    }
}

/// What differs between an event and its copy, which follows an event of a time.
pub(crate) fn difference(
    original: &RecordedEvent,
    copy: &RecordedEvent,
    before: Timestamp,
) -> Option<String> {
    let differs = |what: &str, (old, new): (String, String)| {
        Some(format!("the {what} is {new} in place of {old}"))
    };
    macro_rules! compare {
        ($($what:literal: $field:ident as $text:literal),*) => {
            $(if original.$field() != copy.$field() {
                let text = |event: &RecordedEvent| format!($text, event.$field());
                return differs($what, (text(original), text(copy)));
            })*
        };
    }
    compare!("id": id as "{}", "stream": stream as "{:?}", "version": version as "{}",
        "type": event_type as "{:?}", "schema version": schema_version as "{}",
        "content type": content_type as "{:?}", "end of its commit": is_last_in_commit as "{}");
    if !original.tags().eq(copy.tags()) {
        let text = |event: &RecordedEvent| format!("{:?}", event.tags().collect::<Vec<_>>());
        return differs("list of tags", (text(original), text(copy)));
    }
    if original.data() != copy.data() {
        return Some("the data is another".into());
    }
    if original.metadata() != copy.metadata() {
        return Some("the metadata is another".into());
    }
    // A time that goes back is raised to the one before it, in a place where times grow.
    let (old, new) = (original.recorded_at(), copy.recorded_at());
    if old != new && !(old < new && new == before) {
        let text = |time: Timestamp| format!("{} µs", time.as_micros());
        return differs("time of recording", (text(old), text(new)));
    }
    None
}
