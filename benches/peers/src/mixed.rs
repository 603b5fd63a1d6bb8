//! One thread appends and one scans, at the same time; each is compared with its rate alone.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::child::{self, Job};
use crate::input::{Corpus, Random};
use crate::peer::{Peer, Result};

/// A peer that appends slowly begins with fewer events.
const FILLING: Duration = Duration::from_secs(5);

pub fn run(job: &Job) -> Result<Map<String, Value>> {
    // Room for the events that exist first and for those that the two rounds of appending add.
    let peer = child::start(job, child::cheapest(job.about), 1, job.count * 45)?;
    let peer_ref = &*peer;
    child::append_scattered(peer_ref, job.count, job.seed, FILLING)?;

    let most = job.count * 20;
    let append_alone = appending(peer_ref, job.limit, most, job.seed + 1)?;
    // After that, so that both times as much is scanned, which fits into no cache.
    child::scan_once(peer_ref)?;
    let scan_alone = scanning(peer_ref, job.limit)?;
    let (append, scan) = std::thread::scope(|scope| {
        let append = scope.spawn(|| appending(peer_ref, job.limit, most, job.seed + 2));
        let scan = scope.spawn(|| scanning(peer_ref, job.limit));
        (append.join(), scan.join())
    });
    let append = append.map_err(|_| "the appending thread panicked")??;
    let scan = scan.map_err(|_| "the scanning thread panicked")??;
    peer.close()?;
    Ok(child::figures(&[
        ("append_alone", append_alone),
        ("append_beside", append),
        ("append_keeps", append / append_alone),
        ("scan_alone", scan_alone),
        ("scan_beside", scan),
        ("scan_keeps", scan / scan_alone),
    ]))
}

fn appending(peer: &dyn Peer, limit: Duration, most: u64, seed: u64) -> Result<f64> {
    let (corpus, mut random) = (Corpus::get(), Random::new(seed));
    let (mut done, started) = (0, Instant::now());
    while done < most && (done % 64 != 0 || started.elapsed() < limit) {
        peer.append(&[corpus.event(&mut random)])?;
        done += 1;
    }
    Ok(child::rate(done, started.elapsed()))
}

fn scanning(peer: &dyn Peer, limit: Duration) -> Result<f64> {
    let (mut count, started) = (0, Instant::now());
    while started.elapsed() < limit {
        count += child::scan_once(peer)?;
    }
    Ok(child::rate(count, started.elapsed()))
}
