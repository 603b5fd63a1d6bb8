//! What clients did and saw, as lines in the order in which they were written.
//!
//! Owns the form of a history, in memory and in a file that outlives the process that writes it. Must never judge it.

#![allow(
    clippy::disallowed_methods,
    reason = "the clock that processes share, and the file of a history"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch: processes of one machine share the clock.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// An event that was stored: where, and which. Its data is a token that no other append has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// The event's place in the store.
    pub position: u64,
    /// The position of the first event of its commit.
    pub commit: u64,
    /// The event's stream.
    pub stream: String,
    /// The event's place in its stream.
    pub version: u64,
    /// The event's data.
    pub token: String,
}

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Append the tokens to the streams, in one commit.
    Append {
        /// For each stream, its name, the version it is expected to have, if any, and the tokens.
        streams: Vec<(String, Option<u64>, Vec<String>)>,
    },
    /// Read a stream from a version on.
    Read {
        /// The stream.
        stream: String,
        /// The version.
        from: u64,
    },
    /// Ask for the position of the last event.
    Head,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The append was acknowledged.
    Acknowledged {
        /// The position of the first event.
        first: u64,
        /// The position of the last event.
        last: u64,
        /// The versions of the streams.
        versions: Vec<u64>,
    },
    /// The append was refused because a stream had this version.
    Conflict {
        /// The stream.
        stream: String,
        /// The version.
        actual: u64,
    },
    /// Nothing was done.
    Refused,
    /// It may have been done, now or later.
    Unknown,
    /// The tokens of a stream that were read.
    Tokens {
        /// The tokens.
        tokens: Vec<String>,
        /// Whether the read has reached the end of the stream.
        is_whole: bool,
    },
    /// The position of the last event.
    Head(u64),
}

/// The end of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When it ended.
    pub at: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// An operation began.
    Began {
        /// The number of the operation.
        number: u64,
        /// When.
        at: u64,
        /// The operation.
        operation: Operation,
    },
    /// An operation ended.
    Ended {
        /// The number of the operation.
        number: u64,
        /// When and how.
        ended: Ended,
    },
    /// A consumer got events: a subscription, or a reader that continues after the last position it saw.
    Delivered {
        /// The name of the consumer, which keeps its place.
        consumer: String,
        /// Position and token of each event.
        events: Vec<(u64, String)>,
        /// Where the consumer is.
        scanned_through: u64,
    },
    /// A fault struck.
    Fault {
        /// What it was.
        what: String,
    },
}

/// Takes lines from all threads of a process.
#[derive(Debug)]
pub struct Log {
    lines: Mutex<Vec<Line>>,
    file: Option<Mutex<File>>,
    number: AtomicU64,
}

impl Log {
    /// A log in memory.
    pub fn new() -> Self {
        Self { lines: Mutex::default(), file: None, number: AtomicU64::new(0) }
    }

    /// A log at the end of a file. Each line is handed to the operating system before the call returns, so that it is
    /// there when the process is killed. Numbers of operations begin at `first`.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn at(path: &Path, first: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            lines: Mutex::default(),
            file: Some(Mutex::new(file)),
            number: AtomicU64::new(first),
        })
    }

    /// Adds a line.
    ///
    /// # Panics
    ///
    /// If the file cannot be written: the history would be wrong.
    pub fn add(&self, line: Line) {
        match &self.file {
            None => lock(&self.lines).push(line),
            Some(file) => {
                let mut text = serde_json::to_string(&line).unwrap_or_default();
                text.push('\n');
                // A lost line would make the history wrong: the process must not go on.
                lock(file).write_all(text.as_bytes()).expect("the history is written");
            }
        }
    }

    pub(crate) fn begin(&self, operation: Operation) -> u64 {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        self.add(Line::Began { number, at: now(), operation });
        number
    }

    pub(crate) fn end(&self, number: u64, outcome: Outcome) {
        self.add(Line::Ended { number, ended: Ended { at: now(), outcome } });
    }

    /// Number of operations that began.
    pub fn operations(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// The lines of a log in memory.
    pub fn into_lines(self) -> Vec<Line> {
        self.lines.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines, and what the store had at the end.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The lines.
    pub lines: Vec<Line>,
    /// Every event that the store had at the end, in the order of positions.
    pub stored: Vec<Event>,
}

impl History {
    /// Adds the lines of a file. A last line that is not whole is left out: its process was killed while it wrote.
    ///
    /// # Errors
    ///
    /// Those of the file system; [`io::ErrorKind::InvalidData`] if another line is no line of a history.
    pub fn read(&mut self, path: &Path) -> io::Result<()> {
        let mut bad = None;
        for line in BufReader::new(File::open(path)?).lines() {
            if let Some(bad) = bad.take() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, bad));
            }
            match serde_json::from_str(&line?) {
                Ok(line) => self.lines.push(line),
                Err(error) => bad = Some(error),
            }
        }
        Ok(())
    }
}
