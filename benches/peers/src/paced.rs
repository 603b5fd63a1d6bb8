//! Single buffered appends at a fixed rate, with their latencies.
//!
//! Each is measured from the time at which it was to begin, not from the one at which it began: an
//! append that waits for the one before it has that time in its latency.

use std::time::{Duration, Instant};

use crate::child::{self, Figures, Job};
use crate::input::{Corpus, Random};
use crate::peer::{Mode, Result};

/// Appends in a second.
pub const RATE: u32 = 100_000;
/// A store that is late by so much is not waited for.
const HOPELESS: Duration = Duration::from_secs(1);
/// A store that is never on time by so much within the last tenth is too slow.
const ON_TIME: Duration = Duration::from_millis(1);

pub fn run(job: &Job) -> Result<Figures> {
    let peer = child::start(job, Mode::Buffered, 1, job.count)?;
    let (corpus, mut random) = (Corpus::get(), Random::new(job.seed));
    // Written beforehand, or the measurement would pay for the memory's page faults.
    let mut late = vec![Duration::MAX; job.count as usize];
    let pace = Duration::from_secs(1) / RATE;
    let (mut intended, mut done) = (Duration::ZERO, 0);
    let started = Instant::now();
    for late in &mut late {
        let event = corpus.event(&mut random);
        while started.elapsed() < intended {
            std::hint::spin_loop();
        }
        peer.append(&[event])?;
        *late = started.elapsed().saturating_sub(intended);
        intended += pace;
        done += 1;
        if *late > HOPELESS {
            break;
        }
    }
    let elapsed = started.elapsed();
    peer.close()?;

    late.truncate(done);
    let last_tenth = &late[done - done / 10..];
    let held = done as u64 == job.count && last_tenth.iter().any(|&late| late < ON_TIME);
    let mut figures = child::figures(&[
        ("rate", child::rate(done as u64, elapsed)),
        ("held", f64::from(u8::from(held))),
    ]);
    if held {
        child::percentiles(&mut figures, "", &late);
    }
    Ok(figures)
}
