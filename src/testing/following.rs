//! Subscriptions and waits in a random life, compared with the model.
//!
//! Owns what a subscription is expected to deliver, and what a wait returns. Must never wait: a life
//! has no other thread that would wake it.

use std::time::Duration;

use super::compare::{self, Checked, ensure};
use super::harness::Harness;
use super::operations::STREAMS;
use crate::event::Position;
use crate::store::Store;
use crate::subscription::MessageKind;

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
        let progress = subscription.progress();
        let (mut next, mut handled) = (after + 1, after);
        for _ in 0..MESSAGES {
            let asked = subscription.try_next();
            // The messages before are handled, whatever the call returns.
            let waited = progress.wait_for(handled, Duration::ZERO);
            ensure!(matches!(waited, Ok(true)), "{handled} is handled: {waited:?}, {progress:?}");
            let Some(message) = self.allow(asked)?.flatten() else { break };
            if matches!(message.kind, MessageKind::Events(_)) {
                let shown = progress.handled().get();
                ensure!(shown == handled, "{shown} is handled, not {handled}, at {message:?}");
            }
            handled = message.scanned_through.get();
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
            let lag = (progress.lag(), store.head().get() - told);
            ensure!(lag.0 == lag.1, "the lag is {}, and {} positions are left", lag.0, lag.1);
        }
        Ok(())
    }
    /// Asks whether a position around the head, and a version around a stream's last, is visible; the
    /// version also of a reader beside the writer.
    pub(super) fn wait_for(&mut self, store: &Store, off: u8) -> Checked {
        let off = u64::from(off);
        let head = store.head().get();
        let position = (head + 4).saturating_sub(off % 12);
        let waited = store.wait_for(position.into(), Duration::ZERO);
        let Some(reached) = self.allow(waited)? else { return Ok(()) };
        let after = store.head().get();
        let right = (position <= head) <= reached && reached <= (position <= after);
        ensure!(right, "position {position} is reached: {reached}, the head is {after}");

        let stream = STREAMS[(off / 12 % 8) as usize];
        let version = (self.model.reached(stream, false, head) + 2).saturating_sub(off % 4);
        let waited = store.wait_for_version(stream, version, Duration::ZERO);
        let Some(reached) = self.allow(waited)? else { return Ok(()) };
        let shown = [head, store.head().get()].map(|it| self.model.reached(stream, false, it));
        let right = (version <= shown[0]) <= reached && reached <= (version <= shown[1]);
        ensure!(right, "version {version} of {stream} is reached: {reached}, there are {shown:?}");

        self.follow(store, |follower, harness| {
            let waited = follower.wait_for_version(stream, version, Duration::ZERO);
            let head = follower.head().get();
            let shown = harness.model.reached(stream, false, head);
            let right = !matches!(waited, Ok(true)) || version <= shown;
            ensure!(right, "a follower at {head} waits for version {version}, not {shown}");
            Ok(waited.map(|_| head))
        })
    }
}
