//! The last known position, and news of later ones: from this program at once, from others by the server.
//!
//! Owns the subscription to the notices that the server publishes when it has stored an event. They may be lost: what
//! waits also asks by itself from time to time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use annals_es::Position;
use async_nats::Client;
use futures_util::StreamExt as _;
use tokio::sync::watch;

use crate::message::{self, Stored};

#[derive(Debug)]
pub(crate) struct Signal {
    known: watch::Sender<Position>,
}

impl Signal {
    pub(crate) fn new() -> Self {
        Self { known: watch::Sender::new(Position::START) }
    }

    /// The last position that is known to be recorded.
    pub(crate) fn known(&self) -> Position {
        *self.known.borrow()
    }

    /// Notes that a position is recorded, and every one before it.
    pub(crate) fn committed(&self, position: Position) {
        self.known.send_if_modified(|known| {
            let is_later = position > *known;
            *known = position.max(*known);
            is_later
        });
    }

    pub(crate) fn news(&self) -> watch::Receiver<Position> {
        self.known.subscribe()
    }

    /// Listens until the store is dropped.
    pub(crate) fn listen(self: &Arc<Self>, client: Client, subject: String) {
        tokio::spawn(listen(Arc::downgrade(self), client, subject));
    }
}

async fn listen(signal: Weak<Signal>, client: Client, subject: String) {
    let Ok(mut notices) = client.subscribe(subject).await else { return };
    loop {
        let next = tokio::time::timeout(Duration::from_secs(1), notices.next()).await;
        let Some(signal) = signal.upgrade() else { return };
        match next {
            Ok(Some(notice)) => {
                if let Some(position) = notice.headers.and_then(end_of_commit) {
                    signal.committed(position);
                }
            }
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

/// The position of the last event of a notice, if its commit ends there.
fn end_of_commit(headers: async_nats::HeaderMap) -> Option<Position> {
    let sequence = headers.get_last("Nats-Sequence")?.as_str().parse().ok()?;
    let (subject, payload) = (String::new(), bytes::Bytes::new());
    let part = Stored { subject, sequence, headers, payload }.part().ok()?;
    let is_last = part.number + 1 == part.parts;
    is_last.then(|| message::position_of(sequence, part.events - 1))
}
