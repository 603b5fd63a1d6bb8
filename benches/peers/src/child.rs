//! One measurement, which the driver starts in a separate process. Prints one line of JSON.

use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::input::{Corpus, New, Random, STREAMS, Seen};
use crate::peer::{About, Mode, Peer, Result, Setup, Visit};
use crate::workload::Workload;
use crate::{lookups, many};

/// The measurement and its size.
pub struct Job {
    pub about: &'static About,
    /// The workload's name, `fill-` and a store's name, or `fill`.
    pub task: String,
    pub dir: PathBuf,
    /// Events at most.
    pub count: u64,
    /// The time after which no more is begun.
    pub limit: Duration,
    pub seed: u64,
}

pub type Figures = Map<String, Value>;

/// Runs the job and prints its figures.
pub fn run(job: &Job) -> Result {
    // A driver that is ended takes its measurement along.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let figures = match job.task.as_str() {
        "fill-scattered" => prepare(job)?,
        "fill-long" => lookups::prepare(job)?,
        "fill-many" | "fill-large" => many::prepare(job)?,
        "fill" => return fill(job),
        name => match Workload::find(name).ok_or("no such workload")? {
            Workload::Durable1 => synced(job, 1)?,
            Workload::Durable16 => threads(job, Mode::Durable, 16)?,
            Workload::Durable100 => synced(job, 100)?,
            Workload::Submit => pipeline(job)?,
            Workload::Buffered1 => buffered(job, 1)?,
            Workload::Buffered4 => threads(job, Mode::Buffered, 4)?,
            Workload::Buffered1000 => buffered(job, 1000)?,
            Workload::Scan => scan(job)?,
            Workload::Streams => {
                streams(job, |peer, name, number, visit| peer.read_stream(name, number, visit))?
            }
            Workload::Query => streams(job, |peer, name, _, visit| peer.query(name, visit))?,
            Workload::Heads => lookups::heads(job)?,
            Workload::Newest => lookups::newest(job)?,
            Workload::Pages => lookups::pages(job)?,
            Workload::Mixed => crate::mixed::run(job)?,
            Workload::Open | Workload::OpenKilled => open(job)?,
            Workload::OpenMany | Workload::OpenLarge => many::open(job)?,
            Workload::Latency => latency(job)?,
            Workload::Paced => crate::paced::run(job)?,
        },
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", Value::Object(figures))?;
    Ok(())
}

pub fn start(job: &Job, mode: Mode, threads: usize, events: u64) -> Result<Box<dyn Peer>> {
    (job.about.open)(&Setup { dir: &job.dir, mode, threads, events })
}

/// Buffered, where the peer has that.
pub fn cheapest(about: &About) -> Mode {
    if about.can.buffered { Mode::Buffered } else { Mode::Durable }
}

pub fn figures(pairs: &[(&str, f64)]) -> Figures {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

pub fn rate(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// A store of events whose streams are scattered, in commits of 100, closed cleanly.
fn prepare(job: &Job) -> Result<Figures> {
    let peer = start(job, cheapest(job.about), 1, job.count)?;
    append_scattered(&*peer, job.count, job.seed, Duration::MAX)?;
    peer.close()?;
    Ok(figures(&[("events", job.count as f64)]))
}

/// Commits of 100 events of streams at random; fewer events if they take longer than the limit.
pub fn append_scattered(peer: &dyn Peer, count: u64, seed: u64, limit: Duration) -> Result {
    let (corpus, mut random) = (Corpus::get(), Random::new(seed));
    let started = Instant::now();
    for _ in 0..count / 100 {
        if started.elapsed() > limit {
            break;
        }
        peer.append(&corpus.scattered(100, &mut random))?;
    }
    Ok(())
}

/// Fills a store durably and waits to be killed.
fn fill(job: &Job) -> Result {
    let peer = start(job, Mode::Durable, 1, job.count)?;
    append_scattered(&*peer, job.count, job.seed, Duration::MAX)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", json!({ "filled": job.count }))?;
    out.flush()?;
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Durable appends of `size` events of one stream, one after the other, each with its time.
fn synced(job: &Job, size: usize) -> Result<Figures> {
    let peer = start(job, Mode::Durable, 1, job.count)?;
    let (corpus, mut random) = (Corpus::get(), Random::new(job.seed));
    let most = job.count as usize / size;
    let mut times = Vec::with_capacity(most);
    let started = Instant::now();
    let mut before = started;
    while times.len() < most && before - started < job.limit {
        peer.append(&corpus.batch(size, &mut random))?;
        let now = Instant::now();
        times.push(now - before);
        before = now;
    }
    let done = (times.len() * size) as u64;
    let mut figures = figures(&[("rate", rate(done, before - started))]);
    percentiles(&mut figures, "", &times);
    peer.close()?;
    Ok(figures)
}

/// Adds what latencies come to, in microseconds.
pub fn percentiles(figures: &mut Figures, prefix: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        // A percentile above all samples but the largest is the largest.
        if share < 1.0 && (sorted.len() as f64) * (1.0 - share) < 1.0 {
            continue;
        }
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        if let Some(time) = sorted.get(at) {
            figures.insert(format!("{prefix}{name}"), json!(time.as_secs_f64() * 1e6));
        }
    }
}

/// Single appends of many threads at once.
fn threads(job: &Job, mode: Mode, threads: usize) -> Result<Figures> {
    let peer = start(job, mode, threads, job.count)?;
    let (corpus, done, full) = (Corpus::get(), AtomicU64::new(0), AtomicBool::new(false));
    // As in `buffered`; a count that all threads raise would cost more.
    let look = if mode == Mode::Buffered { 64 } else { 1 };
    let (peer_ref, started) = (&*peer, Instant::now());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads as u64)
            .map(|thread| {
                let (done, full) = (&done, &full);
                scope.spawn(move || -> Result {
                    let mut random = Random::new(job.seed + thread * 1_000);
                    while !full.load(Ordering::Relaxed) && started.elapsed() < job.limit {
                        for _ in 0..look {
                            peer_ref.append(&[corpus.event(&mut random)])?;
                        }
                        if done.fetch_add(look, Ordering::Relaxed) + look >= job.count {
                            full.store(true, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked")?)
    })?;
    let figures = figures(&[("rate", rate(done.into_inner(), started.elapsed()))]);
    peer.close()?;
    Ok(figures)
}

/// Buffered appends of `size` events of one stream, one after the other.
fn buffered(job: &Job, size: usize) -> Result<Figures> {
    let peer = start(job, Mode::Buffered, 1, job.count)?;
    let (corpus, mut random) = (Corpus::get(), Random::new(job.seed));
    // Looking at the clock each time would cost a tenth of the fastest append.
    let look = (64 / size as u64).max(1);
    let started = Instant::now();
    let (mut done, mut turn) = (0, 0);
    while done < job.count && (turn % look != 0 || started.elapsed() < job.limit) {
        if size == 1 {
            peer.append(&[corpus.event(&mut random)])?;
        } else {
            peer.append(&corpus.batch(size, &mut random))?;
        }
        done += size as u64;
        turn += 1;
    }
    let figures = figures(&[("rate", rate(done, started.elapsed()))]);
    peer.close()?;
    Ok(figures)
}

/// Single durable appends; each is submitted without waiting for the previous one.
fn pipeline(job: &Job) -> Result<Figures> {
    let peer = start(job, Mode::Durable, 1, job.count)?;
    let (corpus, mut random) = (Corpus::get(), Random::new(job.seed));
    let mut done = 0;
    let started = Instant::now();
    let mut next = || -> Option<New<'static>> {
        let go_on = done < job.count && (done % 64 != 0 || started.elapsed() < job.limit);
        go_on.then(|| {
            done += 1;
            corpus.event(&mut random)
        })
    };
    peer.pipeline(&mut next)?;
    let figures = figures(&[("rate", rate(done, started.elapsed()))]);
    peer.close()?;
    Ok(figures)
}

/// Everything, again and again; the first time is not counted.
fn scan(job: &Job) -> Result<Figures> {
    let peer = start(job, cheapest(job.about), 1, 0)?;
    scan_once(&*peer)?;
    let (mut count, started) = (0, Instant::now());
    while count == 0 || started.elapsed() < job.limit {
        count += scan_once(&*peer)?;
    }
    let figures = figures(&[("rate", rate(count, started.elapsed()))]);
    peer.close()?;
    Ok(figures)
}

/// Has all of an event looked up, and none of its bytes read.
pub fn weigh(seen: &Seen<'_>) -> u64 {
    seen.position + seen.version + seen.stream.len() as u64 + seen.data.len() as u64
}

/// Reads everything once and returns the number of events.
pub fn scan_once(peer: &dyn Peer) -> Result<u64> {
    let (mut count, mut sum) = (0, 0);
    peer.scan(&mut |seen| {
        count += 1;
        sum += weigh(&seen);
    })?;
    black_box(sum);
    Ok(count)
}

/// Streams at random, whole; as many as fit into half the time go first and are not counted.
fn streams(job: &Job, ask: impl Fn(&dyn Peer, &str, u64, Visit<'_>) -> Result) -> Result<Figures> {
    let peer = start(job, cheapest(job.about), 1, 0)?;
    let (corpus, mut random) = (Corpus::get(), Random::new(job.seed));
    let mut read = |limit: Duration| -> Result<Figures> {
        let (mut streams, mut events, mut sum) = (0, 0, 0);
        let started = Instant::now();
        while started.elapsed() < limit {
            let number = random.below(STREAMS);
            ask(&*peer, &corpus.streams[number], number as u64, &mut |seen| {
                events += 1;
                sum += weigh(&seen);
            })?;
            streams += 1;
        }
        black_box(sum);
        let each = events as f64 / streams as f64;
        Ok(figures(&[("rate", rate(streams, started.elapsed())), ("events_each", each)]))
    };
    read(job.limit / 2)?;
    let figures = read(job.limit)?;
    peer.close()?;
    Ok(figures)
}

/// Opens a store and reads its head.
fn open(job: &Job) -> Result<Figures> {
    let started = Instant::now();
    let peer = start(job, cheapest(job.about), 1, 0)?;
    let head = peer.head()?;
    let figures = figures(&[("ms", started.elapsed().as_secs_f64() * 1e3), ("head", head as f64)]);
    peer.close()?;
    Ok(figures)
}

/// Single appends into a fresh store: the latencies of the first tenth of them, and of all.
fn latency(job: &Job) -> Result<Figures> {
    let peer = start(job, cheapest(job.about), 1, job.count)?;
    let (corpus, mut random) = (Corpus::get(), Random::new(job.seed));
    let mut times = Vec::with_capacity(job.count as usize);
    let started = Instant::now();
    let mut before = started;
    let fresh = job.count / 10;
    let mut limit = job.limit;
    while (times.len() as u64) < job.count && before - started < limit {
        peer.append(&[corpus.event(&mut random)])?;
        let now = Instant::now();
        times.push(now - before);
        before = now;
        // At half the speed that a rollover needs, the rest of the time would yield nothing.
        if before - started > job.limit / 4 && (times.len() as u64) < fresh / 2 {
            limit = job.limit / 4;
        }
    }
    peer.close()?;
    let mut figures = figures(&[("events", times.len() as f64)]);
    let short = times.len().min(fresh as usize);
    percentiles(&mut figures, "short_", &times[..short]);
    // A peer that was too slow to fill more than a fresh store has no rollover to report.
    if times.len() as u64 >= fresh * 4 {
        percentiles(&mut figures, "long_", &times);
    }
    Ok(figures)
}
