//! The memory and the opening time of a store, by the number of its events and streams.
//!
//! ```text
//! cargo run --release --example footprint            # the first two tables, a few minutes
//! cargo run --release --example footprint -- memory  # resident memory against events and streams
//! cargo run --release --example footprint -- open    # opening against events: closed, and killed
//! cargo run --release --example footprint -- open 100000000  # opening with this many events: 20 GB each
//! cargo run --release --example footprint -- segments  # opening against segments, which are small
//! ```
//!
//! Each measurement runs in a separate process; memory is `VmRSS` and `RssAnon` of
//! `/proc/self/status` (Linux). Stores are created in the directory `ANNALS_FOOTPRINT_DIR`, or the
//! system's for temporary files, and removed again. Files are in the page cache when they are opened.
//! Of nine openings after a close the fastest is printed.

#![allow(missing_docs, reason = "an example")]
#![allow(clippy::disallowed_methods, reason = "this measures time and processes")]
#![allow(clippy::print_stdout, reason = "a table is what it is for")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use annals::{Durability, ExpectedVersion, NewEvent, Options, Store};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Bytes of data in an event.
const PAYLOAD: usize = 64;
/// Events of the stores that are opened.
const CURVE: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => memory().and_then(|()| curve(&CURVE)),
        ["memory"] => memory(),
        ["open"] => curve(&CURVE),
        ["open", events] => curve(&[events.parse()?]),
        ["segments"] => by_segments(),
        ["child", "fill", path, events, streams, end] => {
            fill(options().open(path)?, events.parse()?, streams.parse()?, end)
        }
        ["child", "fill", path, events, streams, end, segment] => {
            let options = options().segment_size(segment.parse()?);
            fill(options.open(path)?, events.parse()?, streams.parse()?, end)
        }
        ["child", "open", path] => open(Path::new(path)),
        _ => Err("footprint [memory|open [EVENTS]|segments]".into()),
    }
}

fn options() -> Options {
    Options::new().durability(Durability::BUFFERED)
}

/// Runs this program again with other arguments, and returns its output.
fn child(words: &[&str]) -> Result<String> {
    let output = Command::new(std::env::current_exe()?).arg("child").args(words).output()?;
    if !output.status.success() && !words.contains(&"kill") {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A directory for one store, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let base = std::env::var_os("ANNALS_FOOTPRINT_DIR").map(PathBuf::from);
        let base = base.unwrap_or_else(std::env::temp_dir);
        Self(base.join(format!("annals-footprint-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `VmRSS` and `RssAnon` in bytes.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        number.unwrap_or(0) * 1024
    };
    (field("VmRSS:"), field("RssAnon:"))
}

/// Appends events over streams in turn, a thousand streams a commit, and prints the anonymous memory
/// at the end; then closes the store or ends without.
fn fill(store: Store, events: u64, streams: u64, end: &str) -> Result<()> {
    let data = vec![7_u8; PAYLOAD];
    let mut next = 0;
    while next < events {
        let mut commit = store.transaction();
        let upto = (next + 1000).min(events).min(next + streams);
        for number in next..upto {
            let stream = format!("stream-{:010}", number % streams);
            commit = commit.append(
                stream,
                ExpectedVersion::Any,
                [NewEvent::new("Happened", data.as_slice())],
            );
        }
        commit.commit()?;
        next = upto;
    }
    println!("{}", resident().1);
    if end == "kill" {
        // The system has everything that was written, as after a kill.
        std::process::abort();
    }
    store.close()?;
    Ok(())
}

/// Microseconds that this thread has run, without the time of other processes.
fn on_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0) / 1000
}

/// Opens a store and prints the time in microseconds by the clock and on the processor, the anonymous and the
/// whole memory then, and both after looking up the heads of up to ten thousand streams.
fn open(path: &Path) -> Result<()> {
    let before = resident();
    let (started, cpu) = (Instant::now(), on_cpu());
    let store = options().open(path)?;
    let (opened, cpu) = (started.elapsed(), on_cpu() - cpu);
    let (rss, anonymous) = resident();
    let streams = store.stats().streams.min(1 << 40);
    for number in (0..streams).step_by(usize::try_from(streams.div_ceil(10_000)).unwrap_or(1)) {
        store.stream_head(&format!("stream-{number:010}"))?;
    }
    let (rss_asked, anonymous_asked) = resident();
    println!(
        "{} {cpu} {} {} {} {}",
        opened.as_micros(),
        anonymous.saturating_sub(before.1),
        rss.saturating_sub(before.0),
        anonymous_asked.saturating_sub(before.1),
        rss_asked.saturating_sub(before.0)
    );
    drop(store);
    Ok(())
}

fn numbers(text: &str) -> Result<Vec<u64>> {
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn per(bytes: u64, count: u64) -> String {
    format!("{:.2}", bytes as f64 / count.max(1) as f64)
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

fn size_of(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

fn memory() -> Result<()> {
    println!(
        "| events | streams | anonymous while appending, MiB | a stream, B | after opening, MiB | \
         a stream, B | and 10,000 heads: anonymous, MiB | mapped too, MiB | a stream, B |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let sizes = [
        (100_000, 1_000),
        (1_000_000, 1_000),
        (10_000_000, 1_000),
        (1_000_000, 100_000),
        (1_000_000, 1_000_000),
        (10_000_000, 10_000_000),
    ];
    for (events, streams) in sizes {
        let dir = Directory::new("memory");
        let (e, s) = (events.to_string(), streams.to_string());
        let filling = numbers(&child(&["fill", dir.path(), &e, &s, "close"])?)?[0];
        let [_, _, opened, _, asked, asked_rss] = numbers(&child(&["open", dir.path()])?)?[..]
        else {
            return Err("six numbers".into());
        };
        println!(
            "| {events} | {streams} | {} | {} | {} | {} | {} | {} | {} |",
            mib(filling),
            per(filling, streams),
            mib(opened),
            per(opened, streams),
            mib(asked),
            mib(asked_rss),
            per(asked_rss, streams)
        );
    }
    Ok(())
}

fn curve(numbers_of_events: &[u64]) -> Result<()> {
    println!(
        "| events | log, MiB | index files, MiB | checkpoints, MiB | segments | \
         open after a close, ms | of these on the processor | open after a kill, ms | of these on \
         the processor |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for &events in numbers_of_events {
        let count = events.to_string();
        let closed = Directory::new("closed");
        child(&["fill", closed.path(), &count, "10000", "close"])?;
        let after_close = (0..9)
            .map(|_| numbers(&child(&["open", closed.path()])?))
            .collect::<Result<Vec<Vec<u64>>>>()?;
        let least = |at: usize| after_close.iter().map(|run| run[at]).min().unwrap_or(0);
        let sizes = ["log", "index", "checkpoints"].map(|of| mib(size_of(&closed.0.join(of))));
        let segments = std::fs::read_dir(closed.0.join("log"))?.count();
        // One at a time, since they may be large.
        drop(closed);
        let killed = Directory::new("killed");
        child(&["fill", killed.path(), &count, "10000", "kill"])?;
        // Opening repairs the effects of the kill: only the first one is measured.
        let after_kill = numbers(&child(&["open", killed.path()])?)?;
        println!(
            "| {events} | {} | {} | {} | {segments} | {:.2} | {:.2} | {:.2} | {:.2} |",
            sizes[0],
            sizes[1],
            sizes[2],
            milliseconds(least(0)),
            milliseconds(least(1)),
            milliseconds(after_kill[0]),
            milliseconds(after_kill[1])
        );
    }
    Ok(())
}

/// The cost of an opening per segment does not depend on their size, so small ones represent many
/// large ones.
fn by_segments() -> Result<()> {
    const SEGMENT: u64 = 1 << 20;
    /// The number of these events that fill a segment.
    const EVENTS: u64 = 6_600;
    println!(
        "| segments | as much in segments of 128 MiB, GiB | index files | open after a close, ms | on the processor |"
    );
    println!("|---|---|---|---|---|");
    for segments in [4_u64, 32, 256, 1_024] {
        let dir = Directory::new("segments");
        let (events, segment) = ((segments * EVENTS).to_string(), SEGMENT.to_string());
        child(&["fill", dir.path(), &events, "1000", "close", &segment])?;
        let openings = (0..9)
            .map(|_| numbers(&child(&["open", dir.path()])?))
            .collect::<Result<Vec<Vec<u64>>>>()?;
        let least = |at: usize| openings.iter().map(|run| run[at]).min().unwrap_or(0);
        let count = |of: &str| std::fs::read_dir(dir.0.join(of)).map(Iterator::count);
        let found = count("log")? as u64;
        println!(
            "| {found} | {} | {} | {:.2} | {:.2} |",
            found / 8,
            count("index")?,
            milliseconds(least(0)),
            milliseconds(least(1)),
        );
    }
    Ok(())
}

fn milliseconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64() * 1e3
}
