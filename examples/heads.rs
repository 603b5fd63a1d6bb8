//! What many streams cost: appending, closing, opening, and looking up heads, by the number of streams.
//!
//! ```text
//! cargo run --release --example heads                # 10^4 to 10^7 streams, some minutes and GB
//! cargo run --release --example heads -- 1000000     # this many
//! ```
//!
//! Each stream gets one event of 64 bytes, in commits of 100 streams, then the store is closed. Derived bytes
//! are those that the process wrote (`wchar` of `/proc/self/io`, Linux) beyond the log: index files, level
//! files and checkpoints, each time that they are written. MB are 10^6 bytes.
//!
//! The rest is measured in a new process. Memory is what the open store adds to its `RssAnon`, look-ups
//! included. Those are of random streams: 100,000 of each kind, after others that read each block of the index
//! once, a fifth of the number of streams and at least 100,000. The store is created in the directory
//! `ANNALS_HEADS_DIR`, or the system's for temporary files, and removed again.

#![allow(missing_docs, reason = "an example")]
#![allow(clippy::disallowed_methods, reason = "this measures time")]
#![allow(clippy::cast_precision_loss, reason = "numbers for a table")]
#![allow(clippy::print_stdout, reason = "a table is what it is for")]

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use annals::{Durability, ExpectedVersion, NewEvent, Options, Store};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const CURVE: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const MEASURED: u64 = 100_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [child, path, streams] = arguments.as_slice()
        && child == "child"
    {
        return look_up(Path::new(path), streams.parse()?);
    }
    let given = arguments.iter().map(|a| a.parse()).collect::<Result<Vec<u64>, _>>()?;
    println!(
        "   streams  fill µs/stream  log MB  derived: written MB  final MB  close ms  open ms  \
         RssAnon MB  known ns  unknown ns  append ns  append NoStream ns"
    );
    let curve = if given.is_empty() { &CURVE[..] } else { &given };
    curve.iter().try_for_each(|&streams| measure(streams))
}

fn measure(streams: u64) -> Result<()> {
    let base = std::env::var_os("ANNALS_HEADS_DIR").map(PathBuf::from);
    let base = base.unwrap_or_else(std::env::temp_dir);
    let path = base.join(format!("annals-heads-{}-{streams}", std::process::id()));
    let measured = write(&path, streams).and_then(|line| {
        let child = Command::new(std::env::current_exe()?)
            .args([OsStr::new("child"), path.as_os_str(), OsStr::new(&streams.to_string())])
            .output()?;
        if !child.status.success() {
            return Err(String::from_utf8_lossy(&child.stderr).into());
        }
        println!("{line}  {}", String::from_utf8(child.stdout)?.trim_end());
        Ok(())
    });
    fs::remove_dir_all(&path)?;
    measured
}

fn options() -> Options {
    Options::new().durability(Durability::BUFFERED)
}

/// Creates the store; returns the first half of a line.
fn write(path: &Path, streams: u64) -> Result<String> {
    let before = written()?;
    let store = options().open(path)?;
    let started = Instant::now();
    fill(&store, streams)?;
    let filled = started.elapsed();
    settle(&store);
    store.sync()?;
    let log = store.stats().log_bytes;
    let started = Instant::now();
    store.close()?;
    let closed = started.elapsed();
    Ok(format!(
        "{streams:10}  {:14.2}  {:6}  {:19}  {:8}  {:8.1}",
        filled.as_secs_f64() * 1e6 / streams as f64,
        log / 1_000_000,
        (written()? - before).saturating_sub(log) / 1_000_000,
        derived_bytes(path)? / 1_000_000,
        closed.as_secs_f64() * 1e3,
    ))
}

/// Opens the store in a process that did nothing before, and prints the second half of a line.
fn look_up(path: &Path, streams: u64) -> Result<()> {
    let before = anonymous()?;
    let mut opened = Duration::MAX;
    for _ in 0..9 {
        let started = Instant::now();
        let store = options().open(path)?;
        opened = opened.min(started.elapsed());
        store.close()?;
    }
    let store = options().open(path)?;
    let warm = MEASURED.max(streams / 5);
    let mut random = Random(7);
    let known = per_call(warm, |_| {
        let found = store.stream_head(&name(random.below(streams)))?;
        assert!(found.is_some());
        Ok(())
    })?;
    let mut random = Random(8);
    let unknown = per_call(warm, |_| {
        let found = store.stream_head(&name(streams + random.below(streams)))?;
        assert!(found.is_none());
        Ok(())
    })?;
    let memory = anonymous()?.saturating_sub(before);
    let append = |stream: String, expected| -> Result<()> {
        store.append(stream, expected, [NewEvent::new("Opened", vec![7; 64])])?;
        Ok(())
    };
    let same = per_call(MEASURED, |_| append("same".into(), ExpectedVersion::Any))?;
    let new =
        per_call(MEASURED, |number| append(name(2 * streams + number), ExpectedVersion::NoStream))?;
    store.close()?;
    println!(
        "{:7.2}  {:10.2}  {known:8}  {unknown:10}  {same:9}  {new:18}",
        opened.as_secs_f64() * 1e3,
        memory as f64 / 1e6,
    );
    Ok(())
}

fn fill(store: &Store, streams: u64) -> Result<()> {
    for first in (0..streams).step_by(100) {
        let mut transaction = store.transaction();
        for stream in first..streams.min(first + 100) {
            let event = NewEvent::new("Opened", vec![7; 64]);
            transaction = transaction.append(name(stream), ExpectedVersion::NoStream, [event]);
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Waits until all full segments are sealed, and eight neighbours are merged wherever there were as many.
fn settle(store: &Store) {
    loop {
        let stats = store.stats();
        if stats.unsealed_segments == 0 && stats.index_files - stats.level_files < 8 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Names that are not in the order of their numbers.
fn name(number: u64) -> String {
    format!("account-{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Nanoseconds of one call, after `warm` others.
fn per_call(warm: u64, mut call: impl FnMut(u64) -> Result<()>) -> Result<u64> {
    (0..warm).try_for_each(&mut call)?;
    let started = Instant::now();
    (warm..warm + MEASURED).try_for_each(&mut call)?;
    Ok(u64::try_from(started.elapsed().as_nanos())? / MEASURED)
}

/// A xorshift generator (Marsaglia, 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn derived_bytes(path: &Path) -> Result<u64> {
    Ok(bytes_in(&path.join("index"))? + bytes_in(&path.join("checkpoints"))?)
}

fn bytes_in(directory: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

/// The bytes that this process wrote so far.
fn written() -> Result<u64> {
    let counters = fs::read_to_string("/proc/self/io")?;
    let line = counters.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.ok_or("no wchar")?.parse()?)
}

/// The resident memory of this process that is not of a file, in bytes.
fn anonymous() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes: u64 = line.ok_or("no RssAnon")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
