//! Subscriptions in a random life, compared with the model.
//!
//! Owns what a subscription is expected to deliver. Must never wait: a life has no other thread that
//! would wake it.

use super::compare::{self, Checked, ensure};
use super::harness::Harness;
use crate::event::Position;
use crate::store::Store;

/// The number of messages that are taken of one subscription.
const MESSAGES: usize = 4;

impl Harness {
    /// Follows whole commits after a visible position: none is split, and none is left out.
    pub(super) fn follow_commits(
        &mut self,
        store: &Store,
        after: u64,
        batch_size: usize,
    ) -> Checked {
        let subscribe = store.subscribe().after(after).include_hidden();
        let started = subscribe.whole_commits().batch_size(batch_size).start();
        let Some(mut subscription) = self.allow(started)? else { return Ok(()) };
        let mut next = after + 1;
        for _ in 0..MESSAGES {
            let Some(message) = self.allow(subscription.try_next())?.flatten() else { break };
            for commit in message.commits() {
                let [first, last] =
                    [commit.first_position(), commit.last_position()].map(Position::get);
                for event in commit {
                    let position = compare::event(&mut self.model, &event.as_ref())?;
                    ensure!(position == next, "event {next} comes next, not {position}");
                    next += 1;
                }
                let ends = self.model.at(last).is_some_and(|event| event.is_last);
                let whole = ends && first < next && next == last + 1;
                ensure!(whole, "the commit {first}..={last} is delivered up to {}", next - 1);
            }
            let told = message.scanned_through.get();
            ensure!(told == next - 1, "scanned through {told}, delivered up to {}", next - 1);
        }
        Ok(())
    }
}
