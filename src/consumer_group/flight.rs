//! Events in flight, and the position up to which all are handled.
//!
//! Plain state, no threads and no store. Progress ends before the first event in flight or, without
//! one, at the last position that was handed out.

use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct Flight {
    /// Positions of events that are neither handled nor parked.
    on_their_way: BTreeSet<u64>,
    /// Every event at or before this position was handed out or is not selected.
    handed_out: u64,
}

impl Flight {
    pub(super) fn new(after: u64) -> Self {
        Self { on_their_way: BTreeSet::new(), handed_out: after }
    }

    /// The number of events in flight.
    pub(super) fn len(&self) -> usize {
        self.on_their_way.len()
    }

    /// Records that the event at `position` was handed out.
    pub(super) fn begin(&mut self, position: u64) {
        self.on_their_way.insert(position);
        self.handed_out = self.handed_out.max(position);
    }

    /// Records that every event at or before this position was handed out.
    pub(super) fn scanned(&mut self, position: u64) {
        self.handed_out = self.handed_out.max(position);
    }

    /// Records that an event is handled or parked.
    pub(super) fn end(&mut self, position: u64) {
        self.on_their_way.remove(&position);
    }

    /// Every event at or before this position is handled, parked or not selected.
    pub(super) fn progress(&self) -> u64 {
        self.on_their_way.first().map_or(self.handed_out, |first| first - 1)
    }

    /// Whether this event is in flight, and every event before it has ended.
    pub(super) fn is_first(&self, position: u64) -> bool {
        self.on_their_way.first() == Some(&position)
    }

    /// The progress after this event has ended too.
    pub(super) fn progress_without(&self, position: u64) -> u64 {
        let first = self.on_their_way.iter().find(|&&other| other != position);
        first.map_or(self.handed_out, |first| first - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Compares progress with its definition: no event at or before it is in flight, and either
        /// the next position is in flight or nothing after it was handed out.
        #[test]
        fn progress_ends_before_the_first_unhandled_event(
            positions in proptest::collection::btree_set(1_u64..200, 0..60),
            order in any::<u64>(),
        ) {
            let mut flight = Flight::new(0);
            let mut left: Vec<u64> = Vec::new();
            let mut random = order;
            let mut waiting = positions.iter().copied();
            let (mut handed_out, mut before) = (0, 0);
            loop {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let ends = random >> 33 & 1 == 1 && !left.is_empty();
                if ends {
                    let at = usize::try_from(random >> 40).unwrap() % left.len();
                    let position = left.swap_remove(at);
                    let foretold = flight.progress_without(position);
                    flight.end(position);
                    prop_assert_eq!(flight.progress(), foretold);
                } else if let Some(position) = waiting.next() {
                    flight.begin(position);
                    handed_out = position;
                    left.push(position);
                } else if left.is_empty() {
                    break;
                }
                let expected = left.iter().min().map_or(handed_out, |first| first - 1);
                prop_assert_eq!(flight.progress(), expected);
                prop_assert!(flight.progress() >= before);
                prop_assert_eq!(flight.len(), left.len());
                before = flight.progress();
            }
            flight.scanned(500);
            prop_assert_eq!(flight.progress(), 500);
        }
    }
}
