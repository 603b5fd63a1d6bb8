//! Checkpoint tokens: positions that are kept outside the store, bound to its history.

use uuid::Uuid;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::event::token::CheckpointToken;

impl Engine {
    /// A token for a visible position.
    pub(crate) fn checkpoint_token(&self, position: u64) -> Result<CheckpointToken> {
        self.shared.check_open()?;
        self.refresh()?;
        let head = self.positions.visible(false);
        if position > head {
            return Err(ahead(position, head));
        }
        let history = self.contents.history_at(position)?;
        let store = Uuid::from_bytes(self.shared.store_id());
        Ok(CheckpointToken::new(store, Position::new(position), history))
    }

    /// Proves that a token belongs to this history; returns its position.
    pub(crate) fn verify_token(&self, token: &CheckpointToken) -> Result<u64> {
        self.shared.check_open()?;
        let expected = Uuid::from_bytes(self.shared.store_id());
        if token.store_id() != expected {
            return Err(Error::OtherStore { expected, found: token.store_id() });
        }
        self.refresh()?;
        let (position, head) = (token.position().get(), self.positions.visible(false));
        if position > head {
            return Err(ahead(position, head));
        }
        if self.contents.history_at(position)? != token.history() {
            return Err(Error::OtherHistory { position: token.position() });
        }
        Ok(position)
    }

    /// Refuses a start position after the last accepted event.
    pub(crate) fn check_not_ahead(&self, position: u64, include_unsynced: bool) -> Result<()> {
        if position <= self.positions.visible(include_unsynced) {
            return Ok(());
        }
        self.refresh()?;
        let mut head = self.positions.visible(include_unsynced);
        if self.follower.is_none() {
            // A commit that was submitted has its position before readers see it.
            head = head.max(self.commits.tip().next_position - 1);
        }
        if position > head { Err(ahead(position, head)) } else { Ok(()) }
    }
}

fn ahead(position: u64, head: u64) -> Error {
    Error::PositionAhead { position: Position::new(position), head: Position::new(head) }
}
