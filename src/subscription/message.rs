//! What a subscription hands out.

use std::iter::FusedIterator;
use std::vec;

use super::Subscription;
use crate::error::Result;
use crate::event::Position;
use crate::read::StreamChange;
use crate::read::event::Event;

/// What a [`Subscription`] hands out: events or news about itself, and how far it has come.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Message {
    /// What it tells.
    pub kind: MessageKind,
    /// Everything at or before this position that was asked for is handed out, with this message
    /// or before. A consumer that stores this number and later subscribes after it misses nothing.
    pub scanned_through: Position,
}

/// What a [`Message`] tells.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MessageKind {
    /// At least one event. A batch may end within a commit:
    /// [`Event::is_last_in_commit`] tells.
    Events(Vec<Event>),
    /// Everything visible is handed out. Told when that is so for the first time, and again each
    /// time it is so after a message that left behind what was visible when its read began (a read
    /// begins when the one before is handed out whole), and after an error.
    CaughtUp,
    /// What reads show of streams was changed by one commit, behind all events up to
    /// [`Message::scanned_through`]; told to those who [asked for
    /// it](super::Subscribe::include_metadata).
    StreamChanged(Vec<StreamChange>),
    /// Nothing that was asked for was found up to [`Message::scanned_through`]: see
    /// [`Subscription::PROGRESS_EVERY`].
    Progress,
}

impl Message {
    /// Its events, of which there may be none.
    pub fn events(&self) -> &[Event] {
        match &self.kind {
            MessageKind::Events(events) => events,
            _ => &[],
        }
    }

    /// Likewise, owned.
    pub fn into_events(self) -> Vec<Event> {
        match self.kind {
            MessageKind::Events(events) => events,
            _ => Vec::new(),
        }
    }

    /// Whether it says that everything visible is handed out.
    pub fn is_caught_up(&self) -> bool {
        matches!(self.kind, MessageKind::CaughtUp)
    }
}

/// The events of a subscription, one by one; see [`Subscription::events`].
#[derive(Debug)]
pub struct SubscribedEvents {
    subscription: Subscription,
    batch: vec::IntoIter<Event>,
}

impl SubscribedEvents {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self { subscription, batch: Vec::new().into_iter() }
    }

    /// How far it has come: everything at or before this position that was asked for is handed out.
    /// For a filtered consumer, that is more than the position of the last event tells.
    pub fn scanned_through(&self) -> Position {
        match self.batch.as_slice().first() {
            Some(next) => Position::new(next.position().get() - 1),
            None => self.subscription.scanned_through(),
        }
    }
}

impl Iterator for SubscribedEvents {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.batch.next() {
                return Some(Ok(event));
            }
            match self.subscription.next()? {
                Ok(message) => self.batch = message.into_events().into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl FusedIterator for SubscribedEvents {}
