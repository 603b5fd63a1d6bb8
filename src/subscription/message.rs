//! The messages of a subscription.

use std::iter::FusedIterator;
use std::vec;

use super::commits::{CommitEvents, commits_of};
use super::{Progress, Subscription};
use crate::error::Result;
use crate::event::Position;
use crate::read::StreamChange;
use crate::read::event::Event;

/// A message of a [`Subscription`]: events or a notification, and the progress of the subscription.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Message {
    /// The content.
    pub kind: MessageKind,
    /// Every selected event at or before this position has been delivered, with this message or an
    /// earlier one. A consumer that stores this number and later subscribes after it misses no
    /// event.
    pub scanned_through: Position,
}

/// The content of a [`Message`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MessageKind {
    /// At least one event. A batch may end within a commit (see [`Event::is_last_in_commit`]), unless
    /// [whole commits](super::Subscribe::whole_commits) were requested.
    Events(Vec<Event>),
    /// Everything visible has been delivered. Sent the first time that this is so, again after a
    /// message that had left visible events undelivered when its read began (a read begins when the
    /// previous one is delivered), and after an error.
    CaughtUp,
    /// One commit changed what reads show of streams, after all events up to
    /// [`Message::scanned_through`]; sent only with
    /// [`include_metadata`](super::Subscribe::include_metadata).
    StreamChanged(Vec<StreamChange>),
    /// No selected event was found up to [`Message::scanned_through`]: see
    /// [`Subscription::PROGRESS_EVERY`].
    Progress,
}

impl Message {
    /// Its events; may be empty.
    pub fn events(&self) -> &[Event] {
        match &self.kind {
            MessageKind::Events(events) => events,
            _ => &[],
        }
    }

    /// Its events grouped by commit, in order; may be empty. Groups are complete only if
    /// [whole commits](super::Subscribe::whole_commits) were requested; otherwise the first and the
    /// last group may be parts of commits.
    pub fn commits(&self) -> impl Iterator<Item = CommitEvents<'_>> {
        commits_of(self.events())
    }

    /// The events of the message, owned.
    pub fn into_events(self) -> Vec<Event> {
        match self.kind {
            MessageKind::Events(events) => events,
            _ => Vec::new(),
        }
    }

    /// Whether the message is [`MessageKind::CaughtUp`].
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

    /// The progress: every selected event at or before this position has been delivered. With a
    /// query, it can be far ahead of the last event.
    pub fn scanned_through(&self) -> Position {
        match self.batch.as_slice().first() {
            Some(next) => Position::new(next.position().get() - 1),
            None => self.subscription.scanned_through(),
        }
    }

    /// A handle to the progress, see [`Subscription::progress`]: an event is handled when the next one is
    /// asked for.
    pub fn progress(&self) -> Progress {
        self.subscription.progress()
    }
}

impl Iterator for SubscribedEvents {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(next) = self.batch.as_slice().first() {
                self.subscription.reporter.asked_within(next.position().get() - 1);
                return self.batch.next().map(Ok);
            }
            match self.subscription.next()? {
                Ok(message) => self.batch = message.into_events().into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl FusedIterator for SubscribedEvents {}
