//! Decodes bytes as operations on a store and on the model.

use annals::Durability;
use annals::testing::SimStorage;
use annals::testing::harness::{Harness, Settings};
use annals::testing::operations::{Action, decode_all};

/// A longer history finds little more, and is slow.
const MAX_ACTIONS: usize = 100;

/// A flag in the first byte: actions of every kind, instead of only the kinds that older inputs are
/// made of.
pub(crate) const EVERY: u8 = 0x60;

/// The first byte selects the options of the store, the others are the operations.
///
/// # Panics
///
/// Where the store and the model differ.
pub(crate) fn check(input: &[u8]) {
    let Some((&first, bytes)) = input.split_first() else { return };
    let durability = if first.is_multiple_of(2) { Durability::Sync } else { Durability::BUFFERED };
    let settings = Settings { durability, ..Settings::default() };
    let every = first & EVERY == EVERY;
    let mut actions = decode_all(bytes, if every { Action::decode_every } else { Action::decode });
    actions.truncate(MAX_ACTIONS);
    let mut harness = Harness::on_sim(&SimStorage::new(1), settings);
    harness.open().expect("a new store opens");
    let run = |harness: &mut Harness, action: &Action| {
        harness.run(action).unwrap_or_else(|mismatch| panic!("{mismatch}\n{actions:#?}"));
    };
    for action in &actions {
        run(&mut harness, action);
    }
    harness.finish().unwrap_or_else(|mismatch| panic!("{mismatch}\n{actions:#?}"));
}
