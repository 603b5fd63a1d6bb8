//! Turns the choices of an action into operations on the current store.
//!
//! Owns the ids that are given to events. Must never change the store or the model.

use uuid::Uuid;

use super::Harness;
use crate::event::{ExpectedVersion, NewEvent, Timestamp};
use crate::store::Store;
use crate::testing::commits::acceptable_times;
use crate::testing::model::ModelOperation;
use crate::testing::operations::{
    Expectation, IdChoice, OperationChoice, RepeatDifference, STREAMS, TimeChoice,
};

impl Harness {
    pub(in crate::testing) fn resolve(&mut self, choice: &OperationChoice) -> ModelOperation {
        let stream = STREAMS[choice.stream % STREAMS.len()].to_owned();
        let version = self.model.stream_head(&stream, u64::MAX).0;
        let expected = match choice.expected {
            Expectation::Any => ExpectedVersion::Any,
            Expectation::NoStream => ExpectedVersion::NoStream,
            Expectation::Exists => ExpectedVersion::StreamExists,
            Expectation::Current => ExpectedVersion::Exact(version),
            Expectation::Off(by) => ExpectedVersion::Exact(version + u64::from(by)),
            Expectation::Exact(version) => ExpectedVersion::Exact(version.into()),
        };
        let events = choice.events.iter().map(|choice| {
            let event = choice.event.clone();
            match choice.id {
                IdChoice::Generated => event,
                IdChoice::Fresh => event.id(self.fresh_id()),
                IdChoice::Known(back) => {
                    match self.model.at(self.model.back(back)).and_then(|known| known.id) {
                        Some(id) => event.id(id),
                        None => event,
                    }
                }
            }
        });
        let events = events.collect();
        ModelOperation { stream, expected, events }
    }

    fn fresh_id(&mut self) -> Uuid {
        self.fresh_ids += 1;
        Uuid::from_u128(0x1234_5678_0000_4000_8000 << 48 | self.fresh_ids)
    }

    /// Repeats an earlier commit with its ids.
    pub(super) fn repeated(
        &mut self,
        back: u16,
        change: RepeatDifference,
    ) -> Option<Vec<ModelOperation>> {
        let known = self.model.at(self.model.back(back))?.commit;
        let mut operations: Vec<ModelOperation> = Vec::new();
        for event in self.model.events().iter().filter(|event| event.commit == known) {
            let again = NewEvent { id: event.id, ..event.contents.clone() };
            match operations.last_mut().filter(|last| last.stream == event.stream) {
                Some(last) => last.events.push(again),
                None => operations.push(ModelOperation {
                    stream: event.stream.clone(),
                    expected: ExpectedVersion::Exact(event.version - 1),
                    events: vec![again],
                }),
            }
        }
        let id = self.fresh_id();
        let last = operations.last_mut()?;
        match change {
            RepeatDifference::Nothing => {}
            RepeatDifference::Data => last.events.last_mut()?.data = "other".into(),
            RepeatDifference::Order => last.events.reverse(),
            RepeatDifference::More => last.events.push(NewEvent::new("More", "").id(id)),
            RepeatDifference::Less => drop(last.events.pop()),
            RepeatDifference::Stream => last.stream.push('x'),
            RepeatDifference::Nil => last.events.last_mut()?.id = Some(Uuid::nil()),
        }
        Some(operations)
    }
}

pub(super) fn resolve_time(store: &Store, choice: TimeChoice) -> Timestamp {
    let times = acceptable_times(store);
    let (last, clock) = (times.start().as_micros(), times.end().as_micros());
    Timestamp::from_micros(match choice {
        TimeChoice::Last => last,
        TimeChoice::Between(hundredths) => last + (clock - last) / 100 * u64::from(hundredths),
        TimeChoice::Clock => clock,
        TimeChoice::Before(micros) => last.saturating_sub(1 + u64::from(micros)),
        TimeChoice::Ahead(seconds) => clock + (1 + u64::from(seconds)) * 1_000_000,
    })
}
