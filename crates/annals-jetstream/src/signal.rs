//! The last known position, and news of later ones: from this program at once, from others by notices.
//!
//! Owns the notices, which are plain messages that no server stores. They are sent after a commit by its program, and not
//! by the server with each message: that took more than a quarter of its commits a second. A notice may be lost, or its
//! program may end before it is sent: what waits also asks by itself from time to time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use annals_es::Position;
use async_nats::Client;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use uuid::Uuid;

/// The time between two notices. Commits meanwhile share one.
const BETWEEN: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Signal {
    known: watch::Sender<Position>,
    client: Client,
    /// The subject of notices.
    subject: String,
    /// The id of the store: a notice of another store of the name is ignored.
    id: Uuid,
    /// A notice is to be sent.
    is_due: AtomicBool,
    /// A task sends notices.
    notifies: AtomicBool,
}

impl Signal {
    /// The signal of a store, which listens to notices until it is dropped.
    pub(crate) fn new(client: Client, subject: String, id: Uuid) -> Arc<Self> {
        let signal = Arc::new(Self {
            known: watch::Sender::new(Position::START),
            client,
            subject,
            id,
            is_due: AtomicBool::new(false),
            notifies: AtomicBool::new(false),
        });
        tokio::spawn(listen(Arc::downgrade(&signal)));
        signal
    }

    /// The last position that is known to be recorded.
    pub(crate) fn known(&self) -> Position {
        *self.known.borrow()
    }

    /// Notes that a position is recorded, and every one before it.
    pub(crate) fn seen(&self, position: Position) {
        self.known.send_if_modified(|known| {
            let is_later = position > *known;
            *known = position.max(*known);
            is_later
        });
    }

    /// Notes a commit of this program, and sends a notice of it to other programs.
    pub(crate) fn committed(self: &Arc<Self>, position: Position) {
        self.seen(position);
        self.is_due.store(true, Ordering::SeqCst);
        if !self.notifies.swap(true, Ordering::SeqCst) {
            let this = Arc::clone(self);
            tokio::spawn(async move { this.notify().await });
        }
    }

    /// Sends notices until none is due.
    async fn notify(&self) {
        loop {
            while self.is_due.swap(false, Ordering::SeqCst) {
                let notice = format!("{} {}", self.id.simple(), self.known());
                // Without it, others ask by themselves.
                let _ = self.client.publish(self.subject.clone(), notice.into()).await;
                tokio::time::sleep(BETWEEN).await;
            }
            self.notifies.store(false, Ordering::SeqCst);
            if !self.is_due.load(Ordering::SeqCst) || self.notifies.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    pub(crate) fn news(&self) -> watch::Receiver<Position> {
        self.known.subscribe()
    }

    /// The position of a notice of this store.
    fn position_of(&self, notice: &[u8]) -> Option<Position> {
        let (id, position) = std::str::from_utf8(notice).ok()?.split_once(' ')?;
        let position = position.parse().ok()?;
        (id.parse() == Ok(self.id)).then_some(Position::new(position))
    }
}

async fn listen(signal: Weak<Signal>) {
    let Some(this) = signal.upgrade() else { return };
    let subscribing = this.client.subscribe(this.subject.clone()).await;
    drop(this);
    let Ok(mut notices) = subscribing else { return };
    loop {
        let next = tokio::time::timeout(Duration::from_secs(1), notices.next()).await;
        let Some(signal) = signal.upgrade() else { return };
        match next {
            Ok(Some(notice)) => {
                if let Some(position) = signal.position_of(&notice.payload) {
                    signal.seen(position);
                }
            }
            Ok(None) => return,
            Err(_) => {}
        }
    }
}
