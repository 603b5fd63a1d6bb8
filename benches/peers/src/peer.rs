//! A peer: the few operations that every store supports, and its description. One file in `peers/`
//! for each.

use std::path::Path;

use crate::input::{New, Seen};

pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Handed each event that is read.
pub type Visit<'v> = &'v mut dyn FnMut(Seen<'_>);

/// Yields the events of a pipeline, one by one, until it ends.
pub type Next<'n> = &'n mut dyn FnMut() -> Option<New<'static>>;

/// When an append returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// When it survives a power loss.
    Durable,
    /// When the operating system has it.
    Buffered,
}

/// The purpose of an opening, which some stores need to know.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    pub dir: &'a Path,
    pub mode: Mode,
    /// Threads that will append.
    pub threads: usize,
    /// Events that will be appended at most; bare loops allocate their file by it.
    pub events: u64,
}

/// A store that is open.
pub trait Peer: Send + Sync {
    /// Appends events as one atomic append, giving each the next version of its stream.
    fn append(&self, events: &[New<'_>]) -> Result;

    /// Appends the results of `next`, one append each, without waiting for the previous one;
    /// returns when all are durable.
    fn pipeline(&self, next: Next<'_>) -> Result {
        let _ = next;
        Err("this peer has no pipelined appends".into())
    }

    /// The number of events, or whatever proves that the store can answer.
    fn head(&self) -> Result<u64>;

    /// Reads everything in the order of positions.
    fn scan(&self, visit: Visit<'_>) -> Result {
        let _ = visit;
        Err("this peer does not read everything".into())
    }

    /// Reads a stream, oldest first.
    fn read_stream(&self, stream: &str, number: u64, visit: Visit<'_>) -> Result {
        let _ = (stream, number, visit);
        Err("this peer does not read streams".into())
    }

    /// The version of a stream's newest event; 0 if it has none.
    fn version(&self, stream: &str, number: u64) -> Result<u64> {
        let _ = (stream, number);
        Err("this peer has no versions of streams".into())
    }

    /// Reads the newest event of a stream.
    fn newest(&self, stream: &str, number: u64, visit: Visit<'_>) -> Result {
        let _ = (stream, number, visit);
        Err("this peer does not read streams".into())
    }

    /// Reads at most `limit` events of a stream after the one of version `after`, oldest first.
    /// Where events have no versions, `after` is a position.
    fn page(&self, stream: &str, number: u64, after: u64, limit: u64, visit: Visit<'_>) -> Result {
        let _ = (stream, number, after, limit, visit);
        Err("this peer does not read streams".into())
    }

    /// Reads the events of a stream by a query over everything, by the peer's equivalent of a
    /// stream.
    fn query(&self, stream: &str, visit: Visit<'_>) -> Result {
        let _ = (stream, visit);
        Err("this peer has no queries".into())
    }

    /// Closes the store in its own clean way.
    fn close(self: Box<Self>) -> Result;
}

/// The capabilities of a peer; unsupported cells of the table are empty.
#[derive(Clone, Copy, Debug)]
pub struct Can {
    pub durable: bool,
    pub buffered: bool,
    pub threads: bool,
    pub pipeline: bool,
    pub scan: bool,
    /// It reads a stream: all of it, its newest event, and pages of it.
    pub streams: bool,
    /// It looks up the version of a stream without reading an event.
    pub heads: bool,
    /// Its reads are queries: for the peers that have no streams the same as reading one.
    pub queries: bool,
    /// It can be opened again, and is more than a loop for one row.
    pub opens: bool,
    /// It opens 10^7 streams in less than 8 GB of memory.
    pub large: bool,
}

impl Can {
    pub const ALL: Self = Self {
        durable: true,
        buffered: true,
        threads: true,
        pipeline: true,
        scan: true,
        streams: true,
        heads: true,
        queries: false,
        opens: true,
        large: true,
    };
    /// Nothing; where a peer has a few rows only.
    pub const NONE: Self = Self {
        durable: false,
        buffered: false,
        threads: false,
        pipeline: false,
        scan: false,
        streams: false,
        heads: false,
        queries: false,
        opens: false,
        large: false,
    };
    /// Everything but pipelined appends.
    pub const STORE: Self = Self { pipeline: false, ..Self::ALL };
}

/// The description of a peer in the table.
pub struct About {
    /// What `--only` calls it.
    pub name: &'static str,
    /// The name in the table.
    pub title: &'static str,
    /// The crate whose version is shown, as `Cargo.lock` names it; empty for bare loops.
    pub package: &'static str,
    /// The version of the engine inside, where the crate wraps one.
    pub engine: Option<fn() -> String>,
    pub can: Can,
    /// How appends are made durable.
    pub durable: &'static str,
    /// What a buffered append does.
    pub buffered: &'static str,
    /// The layout and the settings.
    pub layout: &'static str,
    /// Where it does less than annals, or more.
    pub less: &'static str,
    pub open: fn(&Setup<'_>) -> Result<Box<dyn Peer>>,
}

impl About {
    /// Whether it is neither annals nor a bare loop.
    pub fn is_other_store(&self) -> bool {
        !self.package.is_empty() && self.package != "annals"
    }
}
