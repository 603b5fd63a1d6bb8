//! `stream`: the state of a stream, and the visible part of it.
//!
//! Owns the printed form of a stream. Must never hide a stream that the command does not name.

use std::time::Duration;

use annals::StreamInfo;
use annals_control::Request;
use jiff::SignedDuration;
use serde::Serialize;

use crate::args::{Format, Limit, MetadataArgs, StreamArgs, StreamCommand, StreamInfoArgs, Wait};
use crate::failure::Failure;
use crate::output::Output;
use crate::{control, inspect, open};

#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    version: u64,
    last_position: u64,
    first_version: u64,
    archived: bool,
    max_age: Option<String>,
    max_count: Option<u64>,
}

/// `annals stream`
pub(crate) fn run(command: &StreamCommand, quiet: bool) -> Result<(), Failure> {
    match command {
        StreamCommand::List(args) => inspect::streams(args, quiet),
        StreamCommand::Info(args) => info(args),
        StreamCommand::Metadata(args) => set_metadata(args, quiet),
        StreamCommand::Truncate(args) => {
            let (stream, before) = (args.stream.stream.clone(), args.before);
            change(&args.stream, args.wait, quiet, &Request::TruncateStream { stream, before })
        }
        StreamCommand::Archive(args) => {
            let request = Request::ArchiveStream { stream: args.stream.stream.clone() };
            change(&args.stream, args.wait, quiet, &request)
        }
        StreamCommand::Unarchive(args) => {
            let request = Request::UnarchiveStream { stream: args.stream.stream.clone() };
            change(&args.stream, args.wait, quiet, &request)
        }
    }
}

fn change(args: &StreamArgs, wait: Wait, quiet: bool, request: &Request) -> Result<(), Failure> {
    control::change(&args.store, wait, quiet, request).map(drop)
}

/// Changes the given limits, and keeps the other limits.
fn set_metadata(args: &MetadataArgs, quiet: bool) -> Result<(), Failure> {
    let age = |Limit(age): Limit<Duration>| {
        Limit(age.map(|age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX)))
    };
    let request = Request::LimitStream {
        stream: args.stream.stream.clone(),
        max_age_micros: control::limit(args.max_age.map(age)),
        max_count: control::limit(args.max_count),
    };
    change(&args.stream, args.wait, quiet, &request)
}

fn info(args: &StreamInfoArgs) -> Result<(), Failure> {
    let store = open::for_reading(&args.stream.store)?;
    let Some(info) = store.stream_info(&args.stream.stream)? else {
        // In a damaged store, the stream may be in the part that cannot be read.
        open::must_be_whole(&store)?;
        return Err(Failure::missing(format_args!("stream {:?}", args.stream.stream), "streams"));
    };
    let mut out = Output::new(args.format);
    match args.format {
        Format::Ndjson => out.json(&Line {
            stream: &info.name,
            version: info.version,
            last_position: info.last_position.get(),
            first_version: info.first_version,
            archived: info.archived,
            max_age: info.metadata.max_age.map(|age| signed(age).to_string()),
            max_count: info.metadata.max_count,
        })?,
        Format::Text => {
            for (name, value) in rows(&info, &out) {
                out.line(format_args!("{name:<16} {value}"))?;
            }
        }
    }
    out.flush()?;
    open::must_be_whole(&store)
}

fn rows(info: &StreamInfo, out: &Output) -> [(&'static str, String); 7] {
    let no_limit = || "none".to_owned();
    let max_age = info.metadata.max_age.map(|age| format!("{:#}", signed(age)));
    [
        ("stream", out.name(&info.name)),
        ("version", info.version.to_string()),
        ("last position", info.last_position.to_string()),
        ("first version", info.first_version.to_string()),
        ("archived", if info.archived { "yes" } else { "no" }.to_owned()),
        ("max age", max_age.unwrap_or_else(no_limit)),
        ("max count", info.metadata.max_count.map_or_else(no_limit, |count| count.to_string())),
    ]
}

/// For printing only: longer ages are printed as the longest one it can represent.
fn signed(age: Duration) -> SignedDuration {
    SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX)
}
