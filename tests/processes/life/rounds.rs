//! Starts a writer, kills it, reopens the store and checks it, repeatedly in one directory.

use std::fmt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use annals::testing::random::Random;
use annals::{Opened, Options};

use super::child::{self, Running};
use super::ledger::Ledger;
use super::writer::{Life, word_for};

/// The counts of a run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) stores: u64,
    pub(crate) kills: u64,
    /// Kills before the child had printed that the store is open.
    pub(crate) while_opening: u64,
    pub(crate) acknowledged: u64,
    /// Whole commits in the store whose acknowledgement was not read.
    pub(crate) unheard: u64,
    pub(crate) openings: u64,
    /// Openings that recovered something.
    pub(crate) recovered: u64,
    /// Of those, the ones that cut off a torn tail.
    pub(crate) cut: u64,
    pub(crate) events: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stores, kills, while_opening, acknowledged, .. } = self;
        let Self { unheard, openings, recovered, cut, events, .. } = self;
        write!(
            f,
            "stores {stores}, kills {kills} (while opening {while_opening}), commits acknowledged \
             {acknowledged}, unheard and whole {unheard}, events {events}, openings for writing \
             {openings}, recoveries {recovered} (tails cut {cut})"
        )
    }
}

/// One directory, and its successive writers.
#[derive(Debug)]
pub(crate) struct Lives {
    pub(crate) path: PathBuf,
    pub(crate) seed: u64,
    pub(crate) number: u64,
    pub(crate) random: Random,
    pub(crate) ledger: Ledger,
}

impl Lives {
    pub(crate) fn new(path: PathBuf, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { path, seed, number: 0, random, ledger: Ledger::default() }
    }

    /// The next writer.
    pub(crate) fn start(&mut self, synced: bool) -> Running {
        self.number += 1;
        let life = Life { seed: self.seed, number: self.number, synced };
        Running::start(child::command("write", &self.path, life))
    }

    /// Runs one writer up to its kill, and checks what it leaves.
    pub(crate) fn round(&mut self, tally: &mut Tally) {
        let running = self.start(false);
        let opened = self.ledger.opened.values().sum::<u64>();
        if self.random.percent(25) {
            // At any time from its start: during opening, recovery or creation as well.
            let time = Duration::from_micros(self.random.below(25_000));
            self.hear_for(&running, time);
        } else {
            let most = if self.random.percent(80) { 150 } else { 2_000 };
            let enough = self.ledger.acknowledged() as u64 + 1 + self.random.below(most);
            let ledger = &mut self.ledger;
            running.hear_until(|line| {
                ledger.hear(line);
                ledger.acknowledged() as u64 >= enough
            });
            let time = Duration::from_micros(self.random.below(3_000));
            self.hear_for(&running, time);
        }
        let ledger = &mut self.ledger;
        running.kill(|line| ledger.hear(line));
        tally.kills += 1;
        let opened = self.ledger.opened.values().sum::<u64>() - opened;
        tally.while_opening += u64::from(opened == 0);
        self.look(tally);
    }

    fn hear_for(&mut self, running: &Running, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match running.hear(left) {
                Some(line) => self.ledger.hear(&line),
                None => break,
            }
        }
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    /// Verifies, opens, checks. Half of the openings are read-only, and leave a due recovery to the
    /// next writer.
    pub(crate) fn look(&mut self, tally: &mut Tally) {
        let chance = self.random.number();
        if self.is_there() {
            if self.random.percent(50) {
                self.verify();
            }
            let reading = self.random.percent(50);
            if reading || self.random.percent(30) {
                let store = Options::new().read_only(true).open(&self.path).unwrap();
                assert!(!matches!(store.opened(), Opened::Damaged { .. }), "{:?}", store.opened());
                self.ledger.check(&store, chance);
            }
            if !reading {
                self.open_and_check(tally);
            }
        } else {
            assert_eq!(self.ledger.acknowledged(), 0, "the store is gone");
        }
    }

    /// Whether there is a store: the child may have been killed before it created one.
    fn is_there(&self) -> bool {
        match Options::new().read_only(true).open(&self.path) {
            Ok(_) => true,
            Err(annals::Error::NotAStore { .. }) => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(crate) fn verify(&self) {
        let report = annals::verify(&self.path, |_| {}).unwrap();
        assert_eq!(report.faults, []);
    }

    /// Opens for writing, which recovers the store; then closes or drops it.
    pub(crate) fn open_and_check(&mut self, tally: &mut Tally) {
        let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE);
        let store = options.open(&self.path).unwrap();
        tally.openings += 1;
        let word = word_for(store.opened());
        tally.recovered += u64::from(["cut", "recovered"].contains(&word));
        tally.cut += u64::from(word == "cut");
        let chance = self.random.number();
        self.ledger.check(&store, chance);
        if self.random.percent(50) {
            store.close().unwrap();
        }
    }

    /// The final counts, including the openings of the children.
    pub(crate) fn end(mut self, tally: &mut Tally) {
        self.look(tally);
        self.open_and_check(tally);
        self.verify();
        tally.stores += 1;
        tally.acknowledged += self.ledger.acknowledged() as u64;
        tally.events += self.ledger.found().last().map_or(0, |placed| placed.last);
        let heard = |word: &str| self.ledger.opened.get(word).copied().unwrap_or(0);
        tally.openings += self.ledger.opened.values().sum::<u64>();
        tally.recovered += heard("recovered") + heard("cut");
        tally.cut += heard("cut");
        tally.unheard += (self.ledger.found().len() - self.ledger.acknowledged()) as u64;
    }
}
