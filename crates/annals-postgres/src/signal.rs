//! News that events may have become visible: from this program at once, from others by NOTIFY.
//!
//! Owns the session that listens and the one that notifies. What waits for news also looks by itself from time to time:
//! a notification may be lost with its session.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_postgres::Config;

use crate::Error;
use crate::pool::{BoxFuture, Connect, Connections, once};

pub(crate) struct Signal {
    news: watch::Sender<u64>,
    handle: Handle,
    connections: Connections,
    connector: Arc<dyn Connect>,
    config: Config,
    /// The name of the notifications, which needs no quotes.
    channel: String,
    /// A task listens.
    listens: AtomicBool,
    /// A notification is to be sent.
    is_due: AtomicBool,
    /// A task sends notifications.
    notifies: AtomicBool,
}

impl Signal {
    pub(crate) fn new(
        handle: Handle,
        connections: Connections,
        connector: Arc<dyn Connect>,
        config: Config,
        store: uuid::Uuid,
    ) -> Self {
        Self {
            news: watch::Sender::new(0),
            handle,
            connections,
            connector,
            config,
            channel: format!("annals_{}", store.simple()),
            listens: AtomicBool::new(false),
            is_due: AtomicBool::new(false),
            notifies: AtomicBool::new(false),
        }
    }

    fn wake(&self) {
        self.news.send_modify(|number| *number += 1);
    }

    /// Wakes what waits in this program, and notifies others. The notification is sent after the commit and not with
    /// it: PostgreSQL commits transactions with notifications one by one.
    pub(crate) fn committed(self: &Arc<Self>) {
        self.wake();
        self.is_due.store(true, Ordering::SeqCst);
        if !self.notifies.swap(true, Ordering::SeqCst) {
            let this = Arc::clone(self);
            self.handle.spawn(async move { this.notify().await });
        }
    }

    /// Sends notifications until none is due. Those that become due meanwhile are sent as one.
    async fn notify(&self) {
        loop {
            while self.is_due.swap(false, Ordering::SeqCst) {
                let notify = format!(
                    "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {}; COMMIT",
                    self.channel
                );
                let sent: Result<(), Error> = once!(&self.connections, client => {
                    Ok(client.batch_execute(&notify).await?)
                });
                // Without it, others look by themselves.
                let _ = sent;
            }
            self.notifies.store(false, Ordering::SeqCst);
            if !self.is_due.load(Ordering::SeqCst) || self.notifies.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }

    /// News from now on. The first call starts to listen to other programs.
    pub(crate) fn news(self: &Arc<Self>) -> watch::Receiver<u64> {
        if !self.listens.swap(true, Ordering::SeqCst) {
            self.handle.spawn(listen(Arc::downgrade(self)));
        }
        self.news.subscribe()
    }
}

/// Listens until the store is dropped, in one session after the other.
async fn listen(signal: Weak<Signal>) {
    const LONGEST: Duration = Duration::from_secs(5);
    let mut delay = Duration::from_millis(10);
    loop {
        let Some(this) = signal.upgrade() else { return };
        let weak = Weak::clone(&signal);
        let heard = Box::new(move || {
            if let Some(signal) = weak.upgrade() {
                signal.wake();
            }
        });
        let connecting = this.connector.listen(this.config.clone(), heard);
        let listen = format!("LISTEN {}", this.channel);
        drop(this);
        if let Ok(Ok((client, exchange))) =
            tokio::time::timeout(crate::pool::CONNECT, connecting).await
        {
            let exchange: BoxFuture<'static, ()> = exchange;
            let driver = tokio::spawn(exchange);
            if client.batch_execute(&listen).await.is_ok() {
                delay = Duration::from_millis(10);
                // What was committed before.
                if let Some(this) = signal.upgrade() {
                    this.wake();
                }
                while !client.is_closed() && signal.strong_count() > 0 {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            driver.abort();
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(LONGEST);
    }
}
