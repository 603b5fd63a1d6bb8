//! Live and durable streams: one subscription to whole commits and one thread for each.
//!
//! Owns the delivery to handlers and the positions of durable streams. Must never move a position before the
//! handler of everything up to it has succeeded.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use annals::subscription::{StopHandle, Subscribe, Subscription};
use annals::{Durability, Error, ExpectedRecord, Position, Store};
use factstr::{EventQuery, EventStoreError, EventStream, HandleStream, StreamHandlerError};
use serde_json::{Value, json};

use crate::query::Filter;
use crate::{OnFailure, Result, Run, event, failure};

/// The cursor and the record of a durable stream begin with this; its name follows. The cursor has the position, the
/// record the query.
pub const STREAM_PREFIX: &str = "factstr/";

/// The maximum length of the name of a durable stream, in bytes: what the name of a cursor leaves.
pub const MAX_STREAM_NAME: usize = 255 - STREAM_PREFIX.len();

/// The longest time that the position of a durable stream is not synced.
const SYNC_WITHIN: Duration = Duration::from_secs(1);

/// A delivery that failed.
///
/// A durable stream ends, and continues at the same commit when it is begun again. A live stream continues with
/// the next commit, unless the store could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct StreamFailure {
    /// The name of the stream; `None` for a live one.
    pub durable_stream: Option<String>,
    /// What failed.
    pub cause: FailureCause,
}

/// The cause of a [`StreamFailure`].
#[derive(Debug)]
#[non_exhaustive]
pub enum FailureCause {
    /// The handler returned an error.
    Handler(StreamHandlerError),
    /// The handler panicked, with this text if it has one.
    Panicked(String),
    /// The store could not be read, or the position could not be moved. The stream has ended.
    Store(Error),
    /// An event in the store is no fact. The stream has ended.
    Unreadable(EventStoreError),
}

impl fmt::Display for StreamFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.durable_stream {
            Some(name) => write!(f, "durable stream {name}: ")?,
            None => f.write_str("live stream: ")?,
        }
        match &self.cause {
            FailureCause::Handler(error) => error.fmt(f),
            FailureCause::Panicked(text) => write!(f, "the handler panicked: {text}"),
            FailureCause::Store(error) => error.fmt(f),
            FailureCause::Unreadable(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StreamFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            FailureCause::Handler(error) => Some(error),
            FailureCause::Panicked(_) => None,
            FailureCause::Store(error) => Some(error),
            FailureCause::Unreadable(error) => Some(error),
        }
    }
}

/// The streams of one store.
#[derive(Default)]
pub(crate) struct Streams {
    all: Mutex<All>,
    /// A stream has ended.
    ended: Condvar,
}

#[derive(Default)]
struct All {
    last_id: u64,
    active: HashMap<u64, Active>,
}

/// A stream whose thread has not ended.
#[derive(Default)]
struct Active {
    name: Option<String>,
    stopped: Arc<AtomicBool>,
    stop: Option<StopHandle>,
    thread: Option<JoinHandle<()>>,
}

impl Active {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(stop) = &self.stop {
            stop.stop();
        }
    }

    fn is_current_thread(&self) -> bool {
        self.thread.as_ref().is_some_and(|it| it.thread().id() == thread::current().id())
    }
}

/// What is told when the events that were stored before are delivered.
struct Replay {
    up_to: Position,
    done: SyncSender<Option<String>>,
}

impl Streams {
    /// A stream of what is committed from now on.
    pub(crate) fn live(self: &Arc<Self>, delivery: Delivery) -> Result<EventStream> {
        let subscription = delivery.subscribe(Subscribe::from_now).map_err(failure)?;
        let id = self.reserve(None)?;
        self.begin(id, delivery, subscription, None)
    }

    /// Returns when everything that was stored at the time of the call is delivered.
    pub(crate) fn durable(
        self: &Arc<Self>,
        delivery: Delivery,
        query: &EventQuery,
    ) -> Result<EventStream> {
        let name = delivery.durable.clone().unwrap_or_default();
        if name.len() > MAX_STREAM_NAME {
            let length = name.len();
            let text =
                format!("the name of a stream has {length} bytes, the limit is {MAX_STREAM_NAME}");
            return Err(failure(text));
        }
        let id = self.reserve(Some(name.clone()))?;
        let up_to = delivery.store.head();
        let prepared = delivery.prepare_durable(&name, query);
        let subscription = prepared.inspect_err(|_| self.remove(id))?;
        let (done, replayed) = sync_channel(1);
        let replay = Replay { up_to, done };
        let stream = self.begin(id, delivery, subscription, Some(replay))?;
        match replayed.recv() {
            Ok(None) => Ok(stream),
            Ok(Some(message)) => Err(failure(message)),
            Err(_) => Err(failure(format!("durable stream {name} ended before it had caught up"))),
        }
    }

    /// Ends all streams and waits for their handlers.
    pub(crate) fn end_all(&self) {
        let mut threads = Vec::new();
        for active in self.lock().active.values_mut() {
            active.stop();
            if !active.is_current_thread() {
                threads.extend(active.thread.take());
            }
        }
        for thread in threads {
            // A panic of a handler was reported.
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves an id. A durable stream waits for the last handler of an earlier one of its name.
    fn reserve(&self, name: Option<String>) -> Result<u64> {
        let mut all = self.lock();
        if let Some(name) = &name {
            while let Some(same) = all.active.values().find(|it| it.name.as_ref() == Some(name)) {
                if !same.stopped.load(Ordering::Acquire) || same.is_current_thread() {
                    return Err(failure(format!("durable stream {name} is already active")));
                }
                all = self.ended.wait(all).unwrap_or_else(PoisonError::into_inner);
            }
        }
        all.last_id += 1;
        let id = all.last_id;
        all.active.insert(id, Active { name, ..Active::default() });
        Ok(id)
    }

    fn begin(
        self: &Arc<Self>,
        id: u64,
        delivery: Delivery,
        subscription: Subscription,
        replay: Option<Replay>,
    ) -> Result<EventStream> {
        let mut all = self.lock();
        let Some(active) = all.active.get_mut(&id) else {
            return Err(failure("the store is dropped"));
        };
        active.stop = Some(subscription.stop_handle());
        let (stopped, ending) =
            (Arc::clone(&active.stopped), Ending { streams: Arc::clone(self), id });
        // The thread removes the entry, which it can only do when this lock is released.
        let thread = thread::Builder::new().name("annals-factstr".into()).spawn(move || {
            let _ending = ending;
            delivery.run(subscription, replay, &stopped);
            drop(delivery);
        });
        match thread {
            Ok(thread) => active.thread = Some(thread),
            Err(error) => {
                all.active.remove(&id);
                return Err(failure(error));
            }
        }
        drop(all);
        let streams = Arc::clone(self);
        Ok(EventStream::new(id, Arc::new(move |id| streams.unsubscribe(id))))
    }

    fn unsubscribe(&self, id: u64) {
        if let Some(active) = self.lock().active.get(&id) {
            active.stop();
        }
    }

    fn remove(&self, id: u64) {
        self.lock().active.remove(&id);
        self.ended.notify_all();
    }
}

/// Removes a stream when its thread ends, also by a panic.
struct Ending {
    streams: Arc<Streams>,
    id: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.streams.remove(self.id);
    }
}

/// What one stream delivers, and to whom.
pub(crate) struct Delivery {
    pub(crate) store: Store,
    pub(crate) filter: Filter,
    pub(crate) handle: HandleStream,
    pub(crate) run: Arc<Run>,
    pub(crate) on_failure: Arc<OnFailure>,
    pub(crate) durable: Option<String>,
}

impl Delivery {
    fn subscribe(&self, from: impl FnOnce(Subscribe) -> Subscribe) -> annals::Result<Subscription> {
        let subscribe = self.store.subscribe().matching(self.filter.candidates.clone());
        from(subscribe.whole_commits()).start()
    }

    fn prepare_durable(&self, name: &str, query: &EventQuery) -> Result<Subscription> {
        let key = format!("{STREAM_PREFIX}{name}");
        let filters = query.filters.as_ref().map(|filters| {
            let of_filter = |it: &factstr::EventFilter| {
                json!({ "types": it.event_types, "predicates": it.payload_predicates })
            };
            filters.iter().map(of_filter).collect::<Vec<_>>()
        });
        let filters = json!({ "filters": filters });
        match self.store.records().get(&key).map_err(failure)? {
            Some(record) => {
                if serde_json::from_slice::<Value>(&record.value).ok() != Some(filters) {
                    let text = format!("durable stream {name} was resumed with a different query");
                    return Err(failure(text));
                }
            }
            None => {
                let value = filters.to_string();
                let put = self.store.records().put(&key, value, ExpectedRecord::NoRecord);
                put.map_err(failure)?;
            }
        }
        // The last moves of the position may not be synced, and would not be seen.
        self.store.sync().map_err(failure)?;
        self.subscribe(|it| it.from_cursor(key)).map_err(failure)
    }

    fn run(&self, subscription: Subscription, replay: Option<Replay>, stopped: &AtomicBool) {
        let mut reached = subscription.scanned_through();
        let mut replay = replay;
        let caught_up = |reached: Position, replay: &mut Option<Replay>| {
            if let Some(Replay { done, .. }) = replay.take_if(|it| reached >= it.up_to) {
                // The caller may have been ended with its thread.
                let _ = done.send(None);
            }
        };
        caught_up(reached, &mut replay);
        for message in subscription {
            let delivered = message.map_err(FailureCause::Store).and_then(|message| {
                for commit in message.commits() {
                    if stopped.load(Ordering::Acquire) {
                        return Ok(reached);
                    }
                    self.deliver(commit.events())?;
                    self.move_to(commit.last_position(), &mut reached)?;
                }
                self.move_to(message.scanned_through, &mut reached)?;
                Ok(reached)
            });
            match delivered {
                Ok(reached) => caught_up(reached, &mut replay),
                Err(FailureCause::Store(Error::Closed)) => return,
                Err(cause) => {
                    let failed = StreamFailure { durable_stream: self.durable.clone(), cause };
                    (self.on_failure)(&failed);
                    if let Some(Replay { done, .. }) = replay {
                        let _ = done.send(Some(failed.to_string()));
                    }
                    return;
                }
            }
        }
    }

    /// Delivers the facts of one commit that match. The failure of a live stream's handler is reported here.
    fn deliver(&self, events: &[annals::Event]) -> std::result::Result<(), FailureCause> {
        let records = events.iter().map(event::decode).collect::<Result<Vec<_>>>();
        let mut records = records.map_err(FailureCause::Unreadable)?;
        records.retain(|it| self.filter.matches(it));
        if records.is_empty() {
            return Ok(());
        }
        let handled = catch_unwind(AssertUnwindSafe(|| (self.run)(self.handle.call(records))));
        let cause = match handled {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => FailureCause::Handler(error),
            Err(panic) => FailureCause::Panicked(text_of(&*panic)),
        };
        if self.durable.is_some() {
            return Err(cause);
        }
        (self.on_failure)(&StreamFailure { durable_stream: None, cause });
        Ok(())
    }

    /// Moves the position of a durable stream forward, without a sync of its own.
    fn move_to(
        &self,
        position: Position,
        reached: &mut Position,
    ) -> std::result::Result<(), FailureCause> {
        if position <= *reached {
            return Ok(());
        }
        if let Some(name) = &self.durable {
            let transaction =
                self.store.transaction().cursor(format!("{STREAM_PREFIX}{name}"), position);
            let buffered = transaction.durability(Durability::Buffered { interval: SYNC_WITHIN });
            buffered.commit().map_err(FailureCause::Store)?;
        }
        *reached = position;
        Ok(())
    }
}

/// The text of a panic.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
