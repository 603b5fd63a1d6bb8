//! Checkpoint tokens of a random life: the tokens made before, and whether their history still
//! exists.
//!
//! A token is valid as long as its position survives, and never again once other events may have
//! been recorded at its positions.

use std::collections::VecDeque;

use super::compare::{Checked, ensure};
use super::harness::Harness;
use crate::error::Error;
use crate::event::Position;
use crate::event::token::CheckpointToken;
use crate::store::Store;

/// The number of tokens that are kept; older ones are dropped.
const KEPT: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// Each with whether its history is lost.
    kept: VecDeque<(CheckpointToken, bool)>,
}

impl Tokens {
    /// The log ends at `head`; everything after it is lost.
    pub(super) fn truncated(&mut self, head: u64) {
        for (token, lost) in &mut self.kept {
            *lost |= token.position().get() > head;
        }
    }
}

impl Harness {
    /// Makes a token, and verifies the earlier ones.
    pub(super) fn tokens(&mut self, store: &Store, back: u16) -> Checked {
        let head = store.head().get();
        let position = head - u64::from(back) % (head + 1);
        let made = store.checkpoint_token(position);
        if let Some(token) = self.allow(made)? {
            let text = token.to_string();
            ensure!(text.parse() == Ok(token), "{text} is another token than it was made of");
            self.beside.tokens.kept.push_back((token, false));
        }
        self.follow_commits(store, position, 1 + usize::from(back % 7))?;
        let next = Position::new(self.model.head() + 1);
        let ahead = store.subscribe().after(next).start().map(drop);
        let refused = matches!(ahead, Err(Error::PositionAhead { .. }));
        ensure!(refused, "a subscription after {next}, where nothing is: {ahead:?}");
        for index in 0..self.beside.tokens.kept.len() {
            let (token, lost) = self.beside.tokens.kept[index];
            match store.verify_token(&token) {
                Ok(position) => {
                    ensure!(!lost, "{token} is good, and what it was made of is lost");
                    ensure!(position == token.position(), "{token} is at {position}");
                }
                Err(Error::PositionAhead { .. } | Error::OtherHistory { .. }) if lost => {}
                Err(error) => drop(self.allow::<Position>(Err(error))?),
            }
        }
        while self.beside.tokens.kept.len() > KEPT {
            self.beside.tokens.kept.pop_front();
        }
        Ok(())
    }
}
