//! Event listeners: handlers of new events, with a position in the store and retries.
//!
//! Owns the position of each listener. Must never move it past an event that was not handled.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annals::subscription::StopHandle;
use annals::{Durability, Position};
use disintegrate::serde::Serde;
use disintegrate::{Event, EventListener};
use futures::StreamExt;
use futures::future::{BoxFuture, join, join_all};

use crate::store::id;
use crate::{AnnalsEventStore, Error, EventId, PREFIX, query};

/// What failed in a listener.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenerErrorKind<HE> {
    /// The next event could not be read, or the position not be stored.
    FetchNextEvent {
        /// The cause.
        source: Error,
        /// The last event that was handled, or scanned without a match.
        last_processed_event_id: EventId,
    },
    /// The handler returned an error.
    Handler {
        /// The handler's error.
        source: HE,
        /// The last event that was handled, or scanned without a match.
        last_processed_event_id: EventId,
    },
}

/// The error of a listener.
#[derive(Debug)]
pub struct ListenerError<HE> {
    /// What failed.
    pub kind: ListenerErrorKind<HE>,
    /// The listener.
    pub listener_id: String,
}

/// What a retry policy decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAction {
    /// The listener ends.
    Abort,
    /// The event is handled again after this time.
    Wait {
        /// The time.
        duration: Duration,
    },
}

/// Decides what happens after an error. `attempts` counts from 0 the failures since the last event that was handled.
pub trait Retry<HE> {
    /// The decision.
    fn retry(&self, error: ListenerError<HE>, attempts: usize) -> RetryAction;
}

/// A listener ends at its first error.
#[derive(Debug, Clone, Copy, Default)]
pub struct AbortRetry;

impl<HE> Retry<HE> for AbortRetry {
    fn retry(&self, _error: ListenerError<HE>, _attempts: usize) -> RetryAction {
        RetryAction::Abort
    }
}

impl<HE, F: Fn(ListenerError<HE>, usize) -> RetryAction> Retry<HE> for F {
    fn retry(&self, error: ListenerError<HE>, attempts: usize) -> RetryAction {
        self(error, attempts)
    }
}

/// The settings of a listener.
#[derive(Debug, Clone, Copy)]
pub struct ListenerConfig<R> {
    fetch_size: usize,
    retry: R,
}

impl Default for ListenerConfig<AbortRetry> {
    fn default() -> Self {
        Self { fetch_size: 256, retry: AbortRetry }
    }
}

impl<R> ListenerConfig<R> {
    /// The number of events after which the position is stored. Default: 256, and always when no more are there.
    #[must_use]
    pub fn fetch_size(self, fetch_size: usize) -> Self {
        Self { fetch_size, ..self }
    }

    /// The retry policy. Default: [`AbortRetry`].
    pub fn with_retry<R1>(self, retry: R1) -> ListenerConfig<R1> {
        ListenerConfig { fetch_size: self.fetch_size, retry }
    }
}

/// The handles that end the listeners.
#[derive(Default)]
struct Stops {
    stopped: AtomicBool,
    handles: Mutex<Vec<StopHandle>>,
}

impl Stops {
    fn add(&self, handle: StopHandle) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        if self.is_stopped() {
            self.stop();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .for_each(StopHandle::stop);
    }
}

type Listen = Box<dyn FnOnce(Arc<Stops>) -> BoxFuture<'static, ()> + Send>;

/// Runs the listeners of an event store.
pub struct AnnalsEventListener<E, S> {
    event_store: AnnalsEventStore<E, S>,
    listeners: Vec<Listen>,
}

impl<E, S> fmt::Debug for AnnalsEventListener<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnnalsEventListener")
            .field("listeners", &self.listeners.len())
            .finish_non_exhaustive()
    }
}

impl<E, S> AnnalsEventListener<E, S>
where
    E: Event + Clone + Send + Sync + 'static,
    S: Serde<E> + Clone + Send + Sync + 'static,
{
    /// No listeners yet.
    pub fn builder(event_store: AnnalsEventStore<E, S>) -> Self {
        Self { event_store, listeners: Vec::new() }
    }

    /// Adds a listener. Its position is a cursor of the store, named by its id; the first time, it is at the first event.
    /// A listener with this id must not run twice at a time.
    #[must_use]
    pub fn register_listener<QE, L, R>(mut self, listener: L, config: ListenerConfig<R>) -> Self
    where
        L: EventListener<EventId, QE> + 'static,
        QE: TryFrom<E> + Event + Clone + Send + Sync + 'static,
        <QE as TryFrom<E>>::Error: StdError + Send + Sync + 'static,
        L::Error: Send + Sync + 'static,
        R: Retry<L::Error> + Send + Sync + 'static,
    {
        let event_store = self.event_store.clone();
        self.listeners.push(Box::new(move |stops| {
            Box::pin(async move {
                let mut attempts = 0;
                while !stops.is_stopped() {
                    let ended =
                        listen(&event_store, &listener, config.fetch_size, &stops, &mut attempts)
                            .await;
                    let Err(kind) = ended else { return };
                    let error = ListenerError { kind, listener_id: listener.id().to_owned() };
                    match config.retry.retry(error, attempts) {
                        RetryAction::Abort => return,
                        RetryAction::Wait { duration } => futures_timer::Delay::new(duration).await,
                    }
                    attempts += 1;
                }
            })
        }));
        self
    }

    /// Runs the listeners until each has ended: by its retry policy, or because the store is closed.
    pub async fn start(self) {
        self.start_with_shutdown(std::future::pending()).await;
    }

    /// Runs the listeners until each has ended, or until `shutdown` is ready and each has handled its current event.
    pub async fn start_with_shutdown(self, shutdown: impl Future<Output = ()> + Send) {
        let stops = Arc::new(Stops::default());
        let all = join_all(self.listeners.into_iter().map(|listen| listen(Arc::clone(&stops))));
        let (all, shutdown) = (Box::pin(all), Box::pin(shutdown));
        match futures::future::select(all, shutdown).await {
            futures::future::Either::Left(_) => {}
            futures::future::Either::Right(((), all)) => {
                join(all, async { stops.stop() }).await;
            }
        }
    }
}

/// Handles events until the subscription ends.
async fn listen<QE, E, S, L>(
    event_store: &AnnalsEventStore<E, S>,
    listener: &L,
    fetch_size: usize,
    stops: &Stops,
    attempts: &mut usize,
) -> Result<(), ListenerErrorKind<L::Error>>
where
    E: Event + Clone + Send + Sync + 'static,
    S: Serde<E> + Send + Sync,
    L: EventListener<EventId, QE>,
    QE: TryFrom<E> + Event + Clone + Send + Sync + 'static,
    <QE as TryFrom<E>>::Error: StdError + Send + Sync + 'static,
{
    let cursor = format!("{PREFIX}{}", listener.id());
    let store = event_store.store();
    let fetch_error = |source: Error, last: Position| ListenerErrorKind::FetchNextEvent {
        source,
        last_processed_event_id: id(last),
    };
    // A move of the position that is not synced would not be seen.
    store.sync_async().await.map_err(|it| fetch_error(it.into(), Position::START))?;
    let selected = query::convert(listener.query(), Some(0));
    let subscribe =
        store.subscribe().matching(selected).from_cursor(&cursor).batch_size(fetch_size.max(1));
    let subscription = subscribe.start().map_err(|it| fetch_error(it.into(), Position::START))?;
    let mut reached = subscription.scanned_through();
    let mut stored = reached;
    stops.add(subscription.stop_handle());
    let mut messages = subscription.into_stream();
    while let Some(message) = messages.next().await {
        let message = match message {
            Ok(message) => message,
            Err(annals::Error::Closed) => return Ok(()),
            Err(error) => return Err(fetch_error(error.into(), reached)),
        };
        let mut failed = None;
        for event in message.events() {
            if stops.is_stopped() {
                break;
            }
            let handled = match event_store.decode::<QE>(event) {
                Ok(decoded) => listener.handle(decoded).await.map_err(|source| {
                    ListenerErrorKind::Handler { source, last_processed_event_id: id(reached) }
                }),
                Err(source) => Err(fetch_error(source, reached)),
            };
            if let Err(kind) = handled {
                failed = Some(kind);
                break;
            }
            (reached, *attempts) = (event.position(), 0);
        }
        if failed.is_none() && !stops.is_stopped() {
            reached = message.scanned_through;
        }
        if reached > stored {
            let moved =
                store.transaction().cursor(&cursor, reached).durability(Durability::BUFFERED);
            moved.commit_async().await.map_err(|it| fetch_error(it.into(), stored))?;
            stored = reached;
        }
        if let Some(kind) = failed {
            return Err(kind);
        }
    }
    Ok(())
}
