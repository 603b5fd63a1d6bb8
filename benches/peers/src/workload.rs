//! The workloads: their names, the meaning of their cells, and the peers that can run them.
//!
//! Owns the list; how each is run is in `child`.

use crate::peer::Can;

/// The measured quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    Durable1,
    Durable16,
    Durable100,
    Submit,
    Buffered1,
    Buffered4,
    Buffered1000,
    Scan,
    Streams,
    Query,
    Heads,
    Newest,
    Pages,
    Mixed,
    Open,
    OpenKilled,
    OpenMany,
    OpenLarge,
    Latency,
    Paced,
}

/// A store that is filled once for a peer and then measured in each repetition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store {
    /// Events of ten thousand streams at random.
    Scattered,
    /// The same, and as many of one long stream among them.
    Long,
    /// A stream for each event.
    Many,
    /// The same with ten times as many.
    Large,
}

impl Store {
    pub const ALL: [Self; 4] = [Self::Scattered, Self::Long, Self::Many, Self::Large];

    /// The name of its directory, before the peer's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scattered => "scattered",
            Self::Long => "long",
            Self::Many => "many",
            Self::Large => "large",
        }
    }
}

/// Which direction is good, and how a value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Events or streams in a second: more is better.
    Rate,
    /// A share of the rate alone: more is better.
    Share,
    Milliseconds,
    Microseconds,
    Bytes,
    Megabytes,
}

/// A row of the table: one of the figures a workload yields.
pub struct Row {
    pub workload: Workload,
    pub metric: &'static str,
    pub title: &'static str,
    pub unit: Unit,
}

const fn row(workload: Workload, metric: &'static str, title: &'static str, unit: Unit) -> Row {
    Row { workload, metric, title, unit }
}

/// The rows, in the order of the table.
pub const ROWS: &[Row] = &[
    row(Workload::Durable1, "rate", "durable, 1 event, 1 thread", Unit::Rate),
    row(Workload::Durable16, "rate", "durable, 1 event, 16 threads", Unit::Rate),
    row(Workload::Durable100, "rate", "durable, 100 events, 1 thread", Unit::Rate),
    row(Workload::Submit, "rate", "durable, pipelined, 1 thread, 1 event each", Unit::Rate),
    row(Workload::Buffered1, "rate", "buffered, 1 event", Unit::Rate),
    row(Workload::Buffered4, "rate", "buffered, 1 event, 4 threads", Unit::Rate),
    row(Workload::Buffered1000, "rate", "buffered, 1,000 events", Unit::Rate),
    row(Workload::Scan, "rate", "scan everything, warm", Unit::Rate),
    row(Workload::Streams, "rate", "streams of scattered events", Unit::Rate),
    row(Workload::Query, "rate", "queries with as many matches", Unit::Rate),
    row(Workload::Heads, "rate", "version of a stream at random", Unit::Rate),
    row(Workload::Newest, "rate", "newest event of a stream at random", Unit::Rate),
    row(Workload::Pages, "rate", "a long stream, in pages of 100", Unit::Rate),
    row(Workload::Mixed, "append_keeps", "appending while scanning, share kept", Unit::Share),
    row(Workload::Mixed, "scan_keeps", "scanning while appending, share kept", Unit::Share),
    row(Workload::Open, "ms", "open, clean", Unit::Milliseconds),
    row(Workload::OpenKilled, "ms", "open after a kill", Unit::Milliseconds),
    row(Workload::OpenMany, "ms", "open, 10^6 streams", Unit::Milliseconds),
    row(Workload::OpenLarge, "ms", "open, 10^7 streams", Unit::Milliseconds),
    row(Workload::OpenMany, "open_rss", "memory, 10^6 streams, opened", Unit::Megabytes),
    row(Workload::OpenMany, "scan_rss", "memory, 10^6 streams, after a scan", Unit::Megabytes),
    row(
        Workload::OpenMany,
        "scan_own",
        "anonymous memory, 10^6 streams, after a scan",
        Unit::Megabytes,
    ),
    row(Workload::OpenLarge, "open_rss", "memory, 10^7 streams, opened", Unit::Megabytes),
    row(Workload::OpenLarge, "scan_rss", "memory, 10^7 streams, after a scan", Unit::Megabytes),
    row(
        Workload::OpenLarge,
        "scan_own",
        "anonymous memory, 10^7 streams, after a scan",
        Unit::Megabytes,
    ),
    row(Workload::Open, "disk_used", "disk per event, commits of 100", Unit::Bytes),
    row(Workload::Latency, "disk_used", "disk per event, commits of 1", Unit::Bytes),
    row(Workload::Durable1, "p50", "durable append, p50", Unit::Microseconds),
    row(Workload::Durable1, "p99", "durable append, p99", Unit::Microseconds),
    row(Workload::Durable1, "p999", "durable append, p99.9", Unit::Microseconds),
    row(Workload::Durable1, "max", "durable append, max", Unit::Microseconds),
    row(Workload::Durable100, "p50", "durable, 100 events, p50", Unit::Microseconds),
    row(Workload::Durable100, "p99", "durable, 100 events, p99", Unit::Microseconds),
    row(Workload::Latency, "short_p50", "append, p50, fresh store", Unit::Microseconds),
    row(Workload::Latency, "short_p99", "append, p99, fresh store", Unit::Microseconds),
    row(Workload::Latency, "short_p999", "append, p99.9, fresh store", Unit::Microseconds),
    row(Workload::Latency, "short_max", "append, max, fresh store", Unit::Microseconds),
    row(Workload::Latency, "long_p50", "append, p50, with rollover", Unit::Microseconds),
    row(Workload::Latency, "long_p99", "append, p99, with rollover", Unit::Microseconds),
    row(Workload::Latency, "long_p999", "append, p99.9, with rollover", Unit::Microseconds),
    row(Workload::Latency, "long_max", "append, max, with rollover", Unit::Microseconds),
    row(Workload::Paced, "p50", "100,000/s, buffered, p50", Unit::Microseconds),
    row(Workload::Paced, "p99", "100,000/s, buffered, p99", Unit::Microseconds),
    row(Workload::Paced, "p999", "100,000/s, buffered, p99.9", Unit::Microseconds),
    row(Workload::Paced, "max", "100,000/s, buffered, max", Unit::Microseconds),
];

impl Workload {
    pub const ALL: [Self; 20] = [
        Self::Durable1,
        Self::Durable16,
        Self::Durable100,
        Self::Submit,
        Self::Buffered1,
        Self::Buffered4,
        Self::Buffered1000,
        Self::Scan,
        Self::Streams,
        Self::Query,
        Self::Heads,
        Self::Newest,
        Self::Pages,
        Self::Mixed,
        Self::Open,
        Self::OpenKilled,
        Self::OpenMany,
        Self::OpenLarge,
        Self::Latency,
        Self::Paced,
    ];

    /// What `--workload` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Durable1 => "durable-1",
            Self::Durable16 => "durable-16",
            Self::Durable100 => "durable-100",
            Self::Submit => "submit",
            Self::Buffered1 => "buffered-1",
            Self::Buffered4 => "buffered-4",
            Self::Buffered1000 => "buffered-1000",
            Self::Scan => "scan",
            Self::Streams => "streams",
            Self::Query => "query",
            Self::Heads => "heads",
            Self::Newest => "newest",
            Self::Pages => "pages",
            Self::Mixed => "mixed",
            Self::Open => "open",
            Self::OpenKilled => "open-killed",
            Self::OpenMany => "open-many",
            Self::OpenLarge => "open-large",
            Self::Latency => "latency",
            Self::Paced => "paced",
        }
    }

    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    /// Whether a peer supports the workload.
    pub fn fits(self, can: Can) -> bool {
        match self {
            Self::Durable1 | Self::Durable100 => can.durable,
            Self::Durable16 => can.durable && can.threads,
            Self::Buffered4 => can.buffered && can.threads,
            Self::Submit => can.pipeline,
            Self::Buffered1 | Self::Buffered1000 | Self::Paced => can.buffered,
            Self::Scan => can.scan,
            Self::Streams | Self::Newest | Self::Pages => can.streams,
            Self::Heads => can.heads,
            Self::Query => can.queries,
            Self::Mixed => can.scan,
            Self::OpenMany => can.opens && can.streams,
            Self::OpenLarge => can.opens && can.streams && can.large,
            Self::OpenKilled => can.opens && can.durable,
            Self::Open | Self::Latency => can.opens,
        }
    }

    /// The store that it reads, if that is filled beforehand.
    pub fn store(self) -> Option<Store> {
        match self {
            Self::Scan | Self::Streams | Self::Query | Self::Open => Some(Store::Scattered),
            Self::Heads | Self::Newest => Some(Store::Scattered),
            Self::Pages => Some(Store::Long),
            Self::OpenMany => Some(Store::Many),
            Self::OpenLarge => Some(Store::Large),
            _ => None,
        }
    }
}
