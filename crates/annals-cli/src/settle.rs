//! Waits for commits in flight, in their order, in a separate thread.
//!
//! Owns the count of stored events, and the acknowledgements. Must never acknowledge a commit that
//! is not durable.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use annals::{Store, Ticket};
use serde::Serialize;

/// Number of commits that may be in flight; the store itself bounds their bytes.
const IN_FLIGHT: usize = 256;
/// Acknowledgements of a buffered import wait for a sync at most this long, and in this number.
const ACK_DELAY: Duration = Duration::from_millis(50);
const ACK_BATCH: usize = 1000;

/// A commit in flight, or events that are recorded already.
pub(crate) struct InFlight {
    pub(crate) outcome: Outcome,
    pub(crate) events: u64,
    pub(crate) lines: (u64, u64),
}

/// How the first and last position of the lines become known.
pub(crate) enum Outcome {
    Later(Ticket),
    Recorded { first_position: u64, last_position: u64 },
}

impl Outcome {
    /// The first position and the last, and whether they were recorded before.
    fn wait(self) -> annals::Result<(u64, u64, bool)> {
        match self {
            Self::Later(ticket) => ticket.wait().map(|done| {
                let (first, last) = (done.first_position.get(), done.last_position.get());
                (first, last, done.already_recorded)
            }),
            Self::Recorded { first_position, last_position } => {
                Ok((first_position, last_position, true))
            }
        }
    }
}

/// The outcome of all commits.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Events stored by this import.
    pub(crate) events: u64,
    pub(crate) commits: u64,
    /// Events that were recorded before.
    pub(crate) already_recorded: u64,
    /// The last line whose event is stored.
    pub(crate) last_line: Option<u64>,
    /// The first commit with an unknown outcome, and its error.
    pub(crate) failure: Option<(u64, annals::Error)>,
    /// Printing acknowledgements failed.
    pub(crate) unprinted: Option<io::Error>,
}

#[derive(Serialize)]
struct Ack {
    first_position: u64,
    last_position: u64,
    lines: (u64, u64),
}

/// The thread that waits for commits.
pub(crate) struct Settler {
    tickets: Option<SyncSender<InFlight>>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl Settler {
    pub(crate) fn start(store: Store, ack: bool, buffered: bool) -> Self {
        let (tickets, receiver) = sync_channel(IN_FLIGHT);
        let stopped = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            store,
            ack,
            buffered,
            unsynced: Vec::new(),
            tally: Tally::default(),
            stopped: Arc::clone(&stopped),
        };
        let thread = std::thread::spawn(move || worker.run(&receiver));
        Self { tickets: Some(tickets), stopped, thread }
    }

    /// Passes a commit to the thread; waits while too many are in flight.
    pub(crate) fn hand_over(&self, commit: InFlight) {
        if let Some(tickets) = &self.tickets
            && tickets.send(commit).is_err()
        {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the import must stop: a commit failed, or the reader of the acknowledgements closed
    /// the pipe.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Waits for all commits in flight.
    pub(crate) fn finish(mut self) -> Tally {
        self.tickets = None;
        match self.thread.join() {
            Ok(tally) => tally,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

struct Worker {
    store: Store,
    ack: bool,
    buffered: bool,
    /// Acknowledgements that wait for a sync.
    unsynced: Vec<Ack>,
    tally: Tally,
    stopped: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self, tickets: &Receiver<InFlight>) -> Tally {
        loop {
            let next = if self.unsynced.is_empty() {
                tickets.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                tickets.recv_timeout(ACK_DELAY)
            };
            match next {
                Ok(commit) => self.settle(commit),
                Err(RecvTimeoutError::Timeout) => self.acknowledge(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.unsynced.len() >= ACK_BATCH {
                self.acknowledge();
            }
        }
        self.acknowledge();
        self.tally
    }

    fn settle(&mut self, commit: InFlight) {
        let (first_position, last_position, already_recorded) = match commit.outcome.wait() {
            Ok(done) => done,
            Err(error) => return self.fail(commit.lines.0, error),
        };
        if self.tally.failure.is_some() {
            return;
        }
        if already_recorded {
            self.tally.already_recorded += commit.events;
        } else {
            self.tally.events += commit.events;
            self.tally.commits += 1;
        }
        self.tally.last_line = Some(commit.lines.1);
        if self.ack {
            self.unsynced.push(Ack { first_position, last_position, lines: commit.lines });
            if !self.buffered {
                self.acknowledge();
            }
        }
    }

    fn fail(&mut self, line: u64, error: annals::Error) {
        self.stopped.store(true, Ordering::Relaxed);
        if self.tally.failure.is_none() {
            self.tally.failure = Some((line, error));
        }
    }

    /// Prints acknowledgements of durable commits; syncs first in a buffered import.
    fn acknowledge(&mut self) {
        let Some(first) = self.unsynced.first() else {
            return;
        };
        if self.buffered
            && let Err(error) = self.store.sync()
        {
            let line = first.lines.0;
            self.unsynced.clear();
            return self.fail(line, error);
        }
        if self.tally.unprinted.is_none()
            && let Err(error) = print(&self.unsynced)
        {
            self.tally.unprinted = Some(error);
            self.stopped.store(true, Ordering::Relaxed);
        }
        self.unsynced.clear();
    }
}

fn print(acks: &[Ack]) -> io::Result<()> {
    let mut text = Vec::new();
    for ack in acks {
        serde_json::to_writer(&mut text, ack)?;
        text.push(b'\n');
    }
    let mut out = io::stdout().lock();
    out.write_all(&text)?;
    out.flush()
}
