//! The targets: which figure of annals is held against what.

use std::fmt::Write;

use crate::report::{Results, format_value};
use crate::workload::{ROWS, Unit, Workload};

/// What annals' figure is divided by.
enum Against {
    /// The same figure of a peer.
    Peer(&'static str),
    /// The same rate of the fastest store that is not annals.
    Best,
    /// Another figure of the same peer.
    Own(Workload, &'static str),
    /// A number.
    Number(f64),
}

struct Target {
    workload: Workload,
    metric: &'static str,
    against: Against,
    /// At least this factor if more is better; otherwise at most.
    times: f64,
}

/// Data, type, stream and id of an event.
const PLAIN_BYTES: f64 = 256.0 + 16.0 + 16.0 + 16.0;

const fn target(workload: Workload, metric: &'static str, times: f64, against: Against) -> Target {
    Target { workload, metric, against, times }
}

const TARGETS: &[Target] = &[
    target(Workload::Durable1, "rate", 0.97, Against::Peer("raw")),
    target(Workload::Durable16, "rate", 1.5, Against::Peer("raw-grouped")),
    target(Workload::Durable16, "rate", 1.3, Against::Peer("tephra")),
    target(Workload::Durable100, "rate", 0.9, Against::Peer("raw")),
    target(Workload::Durable100, "rate", 2.0, Against::Peer("tephra")),
    target(Workload::Durable100, "p99", 2.0, Against::Peer("raw")),
    target(Workload::Submit, "rate", 10.0, Against::Own(Workload::Durable1, "rate")),
    target(Workload::Buffered1, "rate", 2.5, Against::Peer("raw")),
    target(Workload::Buffered1, "rate", 8.0, Against::Best),
    target(Workload::Buffered4, "rate", 1.0, Against::Own(Workload::Buffered1, "rate")),
    target(Workload::Buffered1000, "rate", 0.9, Against::Peer("raw")),
    target(Workload::Buffered1000, "rate", 4.0, Against::Peer("lmdb")),
    target(Workload::Latency, "long_p50", 1.0, Against::Number(0.5)),
    target(Workload::Latency, "long_p999", 1.0, Against::Number(20.0)),
    target(Workload::Scan, "rate", 1.0, Against::Peer("raw")),
    target(Workload::Streams, "rate", 3.0, Against::Peer("lmdb")),
    target(Workload::Query, "rate", 1.0, Against::Peer("tephra")),
    target(Workload::Mixed, "append_keeps", 0.8, Against::Number(1.0)),
    target(Workload::Mixed, "scan_keeps", 0.8, Against::Number(1.0)),
    target(Workload::Open, "ms", 2.0, Against::Peer("sqlite")),
    target(Workload::OpenKilled, "ms", 1.5, Against::Peer("raw")),
    target(Workload::Open, "disk_used", 1.25, Against::Number(PLAIN_BYTES)),
    target(Workload::Latency, "disk_used", 1.25, Against::Number(PLAIN_BYTES)),
    target(Workload::Latency, "long_p999", 3.0, Against::Own(Workload::Latency, "short_p999")),
];

/// A table of the targets that the results cover.
pub fn markdown(results: &Results) -> String {
    let mut out = String::from("| what | annals | against | ratio | wanted | |\n");
    out.push_str("|---|---:|---:|---:|---:|---|\n");
    for target in TARGETS {
        let Some(row) =
            ROWS.iter().find(|row| row.workload == target.workload && row.metric == target.metric)
        else {
            continue;
        };
        let own = results.get("annals", target.workload, target.metric);
        let (against, name) = match target.against {
            Against::Peer(peer) => (results.get(peer, target.workload, target.metric), peer),
            Against::Best => match results.best(target.workload) {
                Some((peer, rate)) => (Some(rate), peer),
                None => (None, ""),
            },
            Against::Own(workload, metric) => (results.get("annals", workload, metric), "itself"),
            Against::Number(number) => (Some(number), ""),
        };
        let (Some(own), Some(against)) = (own, against) else { continue };
        let ratio = own / against;
        let more = matches!(row.unit, Unit::Rate | Unit::Share);
        let met = if more { ratio >= target.times } else { ratio <= target.times };
        let _ = writeln!(
            out,
            "| {} | {} | {name} {} | {ratio:.2} | {} {} | {} |",
            row.title,
            format_value(own, row.unit),
            format_value(against, row.unit),
            if more { "≥" } else { "≤" },
            target.times,
            if met { "met" } else { "**missed**" },
        );
    }
    out
}
