//! Which history a position belongs to.
//!
//! The log is a chain: the header checksum of a frame covers that of the frame before. So the
//! checksums of the frame that holds a position stand for everything at or before it. What was
//! derived from the log and is kept elsewhere (snapshots, positions of consumers) carries them and is
//! compared with the log before it is used. Must never change anything.

use uuid::Uuid;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::Position;
use crate::event::token::CheckpointToken;
use crate::format::frame::FrameHeader;
use crate::options::Checksums;

impl Engine {
    /// The header of the frame that holds a position that is written, and its checksum.
    pub(crate) fn commit_header(&self, position: u64) -> Result<(FrameHeader, u32)> {
        let located = self.lookup(|catalog| catalog.locate(position))?;
        let (segment, offset) = located.ok_or_else(|| self.lost(position))?;
        let (bytes, layout) = segment.record(offset, position, Checksums::Once)?;
        let distance = u64::from(bytes.record(layout).frame_distance());
        segment.checked_frame_header(offset.saturating_sub(distance), position)
    }

    /// What stands for everything at or before a position that is written; 0 for the beginning.
    pub(crate) fn history_at(&self, position: u64) -> Result<u64> {
        if position == 0 {
            return Ok(0);
        }
        let (header, checksum) = self.commit_header(position)?;
        Ok(header.history(checksum))
    }

    /// A token for a visible position.
    pub(crate) fn checkpoint_token(&self, position: u64) -> Result<CheckpointToken> {
        self.check_open()?;
        self.refresh()?;
        let head = self.visible(false);
        if position > head {
            return Err(ahead(position, head));
        }
        let history = self.history_at(position)?;
        let store = Uuid::from_bytes(self.store_id);
        Ok(CheckpointToken::new(store, Position::new(position), history))
    }

    /// Proves that a token belongs to this history; returns its position.
    pub(crate) fn verify_token(&self, token: &CheckpointToken) -> Result<u64> {
        self.check_open()?;
        let expected = Uuid::from_bytes(self.store_id);
        if token.store_id() != expected {
            return Err(Error::OtherStore { expected, found: token.store_id() });
        }
        self.refresh()?;
        let (position, head) = (token.position().get(), self.visible(false));
        if position > head {
            return Err(ahead(position, head));
        }
        if self.history_at(position)? != token.history() {
            return Err(Error::OtherHistory { position: token.position() });
        }
        Ok(position)
    }

    /// Refuses a position to go on from that no event is at, nor is on its way to.
    pub(crate) fn check_not_ahead(&self, position: u64, include_unsynced: bool) -> Result<()> {
        if position <= self.visible(include_unsynced) {
            return Ok(());
        }
        self.refresh()?;
        let mut head = self.visible(include_unsynced);
        if self.follower.is_none() {
            // A commit that was submitted has its position before readers see it.
            head = head.max(self.writer.lock().tip.next_position - 1);
        }
        if position > head { Err(ahead(position, head)) } else { Ok(()) }
    }
}

fn ahead(position: u64, head: u64) -> Error {
    Error::PositionAhead { position: Position::new(position), head: Position::new(head) }
}
