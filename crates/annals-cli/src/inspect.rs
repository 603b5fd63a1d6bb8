//! `streams`, `stats` and `verify`: information about a store as a whole.
//!
//! Owns the output about a store as a whole. Must never change the store.

use std::path::Path;

use annals::{
    Stats,
    verify::{Progress as Done, VerifyReport, verify_with_cold_segments},
};
use annals_lines::time;
use serde::Serialize;

use crate::args::{Format, StatsArgs, StatsFormat, StreamOrder, StreamsArgs, VerifyArgs};
use crate::failure::{self, Failure};
use crate::output::Output;
use crate::progress::{Progress, Unit, note, report as report_line};
use crate::{interrupt, open, sizes};

#[derive(Serialize)]
struct StreamLine<'a> {
    stream: &'a str,
    version: u64,
    last_position: u64,
    /// The first version that truncation and the stream's metadata leave visible.
    #[serde(skip_serializing_if = "is_one")]
    first_version: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    archived: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(number: &u64) -> bool {
    *number == 1
}

/// `annals streams`
pub(crate) fn streams(args: &StreamsArgs, quiet: bool) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let mut out = Output::new(args.format);
    let mut streams = store.streams().prefix(args.prefix.as_str());
    if let Some(category) = &args.category {
        streams = streams.category(category.as_str());
    }
    if let Some(after) = &args.after {
        streams = streams.after(after.as_str());
    }
    if args.include_hidden {
        streams = streams.include_hidden();
    }
    let most = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let sorted = match args.sort {
        StreamOrder::Name => None,
        StreamOrder::Size => Some(streams.clone().largest(most)?),
        StreamOrder::Changed => Some(streams.clone().last_changed(most)?),
    };
    let in_order = sorted.into_iter().flatten().map(Ok);
    let by_name = streams.limit(match args.sort {
        // One more shows whether the limit ends the listing.
        StreamOrder::Name => args.limit.map_or(u64::MAX, |limit| limit.saturating_add(1)),
        _ => 0,
    });
    let (mut printed, mut last) = (0, None);
    for stream in in_order.chain(by_name) {
        if interrupt::requested() {
            out.flush()?;
            return Err(Failure::Interrupted);
        }
        let stream = stream?;
        if args.sort == StreamOrder::Name && args.limit == Some(printed) {
            out.flush()?;
            say_how_to_continue(last.as_deref(), quiet);
            break;
        }
        printed += 1;
        let last_position = stream.last_position.get();
        match args.format {
            Format::Ndjson => {
                let (version, first_version) = (stream.version, stream.first_version);
                let archived = stream.archived;
                let stream = &stream.name;
                out.json(&StreamLine { stream, version, last_position, first_version, archived })?;
            }
            Format::Text => {
                let name = out.name(&stream.name);
                let shown = match stream.first_version {
                    _ if stream.archived => "  (archived)".to_owned(),
                    0 | 1 => String::new(),
                    first => format!("  (from version {first})"),
                };
                let version = stream.version;
                out.line(format_args!("{version:>8}  {last_position:>10}  {name}{shown}"))?;
            }
        }
        last = Some(stream.name);
    }
    out.flush()?;
    open::must_be_whole(&store)
}

/// Names the option that continues a listing by name which its limit has ended.
pub(crate) fn say_how_to_continue(last: Option<&str>, quiet: bool) {
    if let (Some(last), false) = (last, quiet) {
        note(format_args!("there are more; to continue, add --after {last:?}"));
    }
}

#[derive(Serialize)]
struct StatsObject {
    store_id: String,
    events: u64,
    streams: u64,
    commits: u64,
    head: u64,
    bytes: u64,
    allocated_bytes: u64,
    index_bytes: u64,
    index_files: u64,
    level_files: u64,
    level_bytes: u64,
    segments: u64,
    sealed_segments: u64,
    created_at: String,
    last_recorded_at: Option<String>,
    /// Left out if the clock is right.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_behind_by_seconds: Option<u64>,
}

impl From<Stats> for StatsObject {
    fn from(stats: Stats) -> Self {
        Self {
            store_id: stats.store_id.to_string(),
            events: stats.events,
            streams: stats.streams,
            commits: stats.commits,
            head: stats.head.get(),
            bytes: stats.log_bytes,
            allocated_bytes: stats.allocated_bytes,
            index_bytes: stats.index_bytes,
            index_files: stats.index_files,
            level_files: stats.level_files,
            level_bytes: stats.level_bytes,
            segments: stats.segments,
            sealed_segments: stats.sealed_segments,
            created_at: time::to_rfc3339(stats.created_at),
            last_recorded_at: stats.last_recorded_at.map(time::to_rfc3339),
            clock_behind_by_seconds: stats.clock_behind_by.map(|behind| behind.as_secs()),
        }
    }
}

/// `annals stats`
pub(crate) fn stats(args: &StatsArgs) -> Result<(), Failure> {
    let store = open::for_reading(&args.store)?;
    let stats = StatsObject::from(store.stats());
    match args.format {
        StatsFormat::Json => {
            let mut out = Output::new(Format::Ndjson);
            out.json(&stats)?;
            out.flush()?;
        }
        StatsFormat::Text => {
            let mut out = Output::new(Format::Text);
            for (name, value) in rows(&stats) {
                out.line(format_args!("{name:<16} {value}"))?;
            }
            if let Some(seconds) = stats.clock_behind_by_seconds {
                let what = "the last recorded time; later events are recorded at that time";
                out.line(format_args!("{:<16} {seconds} s behind {what}", "clock"))?;
            }
            out.flush()?;
        }
    }
    open::must_be_whole(&store)
}

fn files(bytes: u64, files: u64) -> String {
    format!("{} in {} files", sizes::bytes(bytes), sizes::count(files))
}

fn rows(stats: &StatsObject) -> [(&'static str, String); 12] {
    [
        ("store id", stats.store_id.clone()),
        ("events", sizes::count(stats.events)),
        ("streams", sizes::count(stats.streams)),
        ("commits", sizes::count(stats.commits)),
        ("head", stats.head.to_string()),
        ("log", sizes::bytes(stats.bytes)),
        ("allocated", sizes::bytes(stats.allocated_bytes)),
        ("indexes", files(stats.index_bytes, stats.index_files)),
        ("of them levels", files(stats.level_bytes, stats.level_files)),
        ("segments", format!("{} ({} sealed)", stats.segments, stats.sealed_segments)),
        ("created", stats.created_at.clone()),
        ("last recorded", stats.last_recorded_at.clone().unwrap_or_else(|| "never".to_owned())),
    ]
}

/// `annals verify`
pub(crate) fn verify(args: &VerifyArgs, quiet: bool) -> Result<(), Failure> {
    open::must_exist(&args.store)?;
    let mut progress = Progress::new(Unit::Bytes, None, quiet);
    let shown = |done: Done| {
        progress.set(done.done_bytes, Some(done.total_bytes));
        if interrupt::requested() {
            // An incomplete report is not printed; nothing was changed that has to be undone.
            progress.finish();
            std::process::exit(failure::INTERRUPTED.into());
        }
    };
    let report = match open::cold_segments() {
        Some(source) => verify_with_cold_segments(&args.store, source, shown)?,
        None => annals::verify(&args.store, shown)?,
    };
    progress.finish();
    if !report.faults.is_empty() && !quiet {
        advise(&args.store, &report);
    }
    let printed = print_report(&report, progress.elapsed().as_secs_f64(), quiet);
    // The store is damaged even if the reader of the output closes the pipe.
    match printed {
        Err(failure) if failure.exit_code() != 0 => Err(failure),
        _ if !report.faults.is_empty() => Err(Failure::Reported),
        printed => printed,
    }
}

/// Prints advice about faults to standard error.
fn advise(store: &Path, report: &VerifyReport) {
    let derived = |file: &Path| {
        let inside = file.strip_prefix(store).unwrap_or(file);
        ["index", "checkpoints", "snapshots"].iter().any(|it| inside.starts_with(it))
    };
    let advice = if report.faults.iter().all(|fault| derived(&fault.file)) {
        "the log is intact: close the store and delete the listed files, which are derived"
            .to_owned()
    } else {
        let store = failure::quoted(store);
        format!("annals repair {store} --to NEWDIR    copies what is intact into a new store")
    };
    report_line(format_args!("annals: next: {advice}"));
}

fn print_report(report: &VerifyReport, seconds: f64, quiet: bool) -> Result<(), Failure> {
    let mut out = Output::new(Format::Text);
    for fault in &report.faults {
        out.line(format_args!("{} offset {}: {}", fault.file.display(), fault.offset, fault.what))?;
    }
    if !quiet {
        for note in &report.notes {
            out.line(format_args!("note: {note}"))?;
        }
        let verdict = match report.faults.len() {
            0 => "no fault found".to_owned(),
            1 => "1 fault found".to_owned(),
            faults => format!("{faults} faults found"),
        };
        if report.cold_segments > 0 {
            out.line(format_args!(
                "note: {} cold segments were not read; their events are counted",
                report.cold_segments
            ))?;
        }
        let prepared = match report.prepared_segments {
            0 => String::new(),
            prepared => format!(" and {prepared} prepared"),
        };
        out.line(format_args!(
            "{verdict}: {} events in {} commits, {} segments{prepared}, {} bytes read in \
             {seconds:.1} s",
            report.events, report.commits, report.segments, report.bytes
        ))?;
    }
    out.flush()
}
