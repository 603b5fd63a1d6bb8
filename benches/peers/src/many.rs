//! Opening a store with many streams, and the memory that this and a scan take.

use std::hint::black_box;
use std::time::Instant;

use crate::child::{self, Figures, Job};
use crate::input::{Corpus, New, Random};
use crate::peer::Result;

/// Events of a commit.
const COMMIT: u64 = 100;

/// A store of as many streams as events, in commits of 100, in the order of the streams' names: in
/// another, the B-trees would take hours for 10^7.
pub fn prepare(job: &Job) -> Result<Figures> {
    let peer = child::start(job, child::cheapest(job.about), 1, job.count)?;
    let (corpus, mut random) = (Corpus::get(), Random::new(job.seed));
    for first in (0..job.count).step_by(COMMIT as usize) {
        let numbers = first..job.count.min(first + COMMIT);
        let names: Vec<String> = numbers.clone().map(name).collect();
        let mut events = Vec::with_capacity(names.len());
        for (number, stream) in numbers.zip(&names) {
            events.push(New { number, stream, ..corpus.event(&mut random) });
        }
        peer.append(&events)?;
    }
    peer.close()?;
    Ok(child::figures(&[("events", job.count as f64)]))
}

fn name(number: u64) -> String {
    format!("account-{number:08}")
}

/// Opens the store and reads one event of a stream; then everything, where the peer has that.
pub fn open(job: &Job) -> Result<Figures> {
    let number = Random::new(job.seed).next() % job.count;
    let name = name(number);
    let before = resident()?;
    let started = Instant::now();
    let peer = child::start(job, child::cheapest(job.about), 1, 0)?;
    let mut found = 0;
    peer.newest(&name, number, &mut |seen| {
        black_box(child::weigh(&seen));
        found += 1;
    })?;
    let elapsed = started.elapsed();
    let opened = resident()?;
    if found != 1 {
        return Err(format!("{found} events of {name}").into());
    }
    let mut figures = child::figures(&[
        ("ms", elapsed.as_secs_f64() * 1e3),
        ("before_rss", before.all),
        ("open_rss", opened.all),
        ("open_own", opened.own),
    ]);
    if job.about.can.scan {
        let events = child::scan_once(&*peer)?;
        if events != job.count {
            return Err(format!("{events} events instead of {}", job.count).into());
        }
        let scanned = resident()?;
        figures.extend(child::figures(&[("scan_rss", scanned.all), ("scan_own", scanned.own)]));
    }
    peer.close()?;
    Ok(figures)
}

/// Resident memory of this process, in megabytes.
struct Resident {
    all: f64,
    /// Anonymous memory: without the pages of mapped files, which the system can take back.
    own: f64,
}

fn resident() -> Result<Resident> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let megabytes = |key: &str| -> Result<f64> {
        let line = status.lines().find(|line| line.starts_with(key)).ok_or("no such memory")?;
        let kib = line[key.len()..].trim().trim_end_matches(" kB");
        Ok(kib.parse::<f64>()? * 1024.0 / 1e6)
    };
    Ok(Resident { all: megabytes("VmRSS:")?, own: megabytes("RssAnon:")? })
}
