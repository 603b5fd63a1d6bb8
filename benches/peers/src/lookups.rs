//! Look-ups in streams of a store that exists: their versions, their newest events, and a long
//! stream in pages.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::child::{self, Figures, Job};
use crate::input::{Corpus, Random, STREAMS};
use crate::peer::{Peer, Result};

/// The number of the long stream.
const LONG: usize = 0;
/// Events of a page.
const PAGE: u64 = 100;
/// A pass that takes longer ends where it is.
const LONGEST: Duration = Duration::from_secs(3);
/// Look-ups between two glances at the clock, which takes as long as the fastest of them.
const TURN: u64 = 32;

/// A store in which every second event is of one stream, in commits of 100.
pub fn prepare(job: &Job) -> Result<Figures> {
    let peer = child::start(job, child::cheapest(job.about), 1, job.count)?;
    let (corpus, mut random) = (Corpus::get(), Random::new(job.seed));
    for _ in 0..job.count / 100 {
        let mut commit = corpus.scattered(100, &mut random);
        for event in commit.iter_mut().step_by(2) {
            *event = corpus.event_of(LONG, &mut random);
        }
        peer.append(&commit)?;
    }
    peer.close()?;
    Ok(child::figures(&[("events", job.count as f64)]))
}

/// The versions of streams at random.
pub fn heads(job: &Job) -> Result<Figures> {
    at_random(job, |peer, name, number| peer.version(name, number))
}

/// The newest events of streams at random.
pub fn newest(job: &Job) -> Result<Figures> {
    at_random(job, |peer, name, number| {
        let mut sum = 0;
        peer.newest(name, number, &mut |seen| sum += child::weigh(&seen))?;
        Ok(sum)
    })
}

/// The rate of a look-up; for half the time it runs first, and is not counted.
fn at_random(job: &Job, ask: impl Fn(&dyn Peer, &str, u64) -> Result<u64>) -> Result<Figures> {
    let peer = child::start(job, child::cheapest(job.about), 1, 0)?;
    let (corpus, mut random) = (Corpus::get(), Random::new(job.seed));
    let mut read = |limit: Duration| -> Result<f64> {
        let (mut done, mut sum, started) = (0, 0, Instant::now());
        while started.elapsed() < limit {
            for _ in 0..TURN {
                let number = random.below(STREAMS);
                let found = ask(&*peer, &corpus.streams[number], number as u64)?;
                if found == 0 {
                    return Err("a stream has no events".into());
                }
                sum += found;
            }
            done += TURN;
        }
        black_box(sum);
        Ok(child::rate(done, started.elapsed()))
    };
    read(job.limit / 2)?;
    let rate = read(job.limit)?;
    peer.close()?;
    Ok(child::figures(&[("rate", rate)]))
}

/// The long stream in pages, each by a read of its own that begins after the last event of the one
/// before; whole passes, unless one takes too long. The first tenth of it is read before, and is not
/// counted.
pub fn pages(job: &Job) -> Result<Figures> {
    let peer = child::start(job, child::cheapest(job.about), 1, 0)?;
    let at_least = job.count / 2;
    pass(&*peer, at_least / 10, LONGEST)?;
    let (mut events, started) = (0, Instant::now());
    while started.elapsed() < job.limit {
        let read = pass(&*peer, u64::MAX, LONGEST)?;
        if read < at_least && started.elapsed() < LONGEST {
            return Err(format!("{read} of {at_least} events").into());
        }
        events += read;
    }
    let figures = child::figures(&[("rate", child::rate(events, started.elapsed()))]);
    peer.close()?;
    Ok(figures)
}

/// Reads the long stream up to its end, about as many events, or as long, and returns the number of
/// events.
fn pass(peer: &dyn Peer, most: u64, longest: Duration) -> Result<u64> {
    let started = Instant::now();
    let name = &Corpus::get().streams[LONG];
    let (mut after, mut events, mut sum) = (0, 0, 0);
    loop {
        let before = events;
        peer.page(name, LONG as u64, after, PAGE, &mut |seen| {
            after = if seen.version > 0 { seen.version } else { seen.position };
            events += 1;
            sum += child::weigh(&seen);
        })?;
        if events - before < PAGE || events >= most || started.elapsed() > longest {
            black_box(sum);
            return Ok(events);
        }
    }
}
