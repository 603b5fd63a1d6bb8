//! A whole simulated life from one seed: random operations, random faults, a crash, recovery with
//! crashes inside it, a check against everything that was promised, and on with the next round.
//!
//! [`Life`] identifies a life, and the part of it to run; everything in it follows from that alone,
//! on every machine. The modules implement its parts: `faults` (what fails), `opening` (what an
//! opening may change and must report), `shrink` (the smallest part of a life that still fails).
//! Operations come from [`operations`](super::operations); a new one needs no change here.

mod faults;
mod life;
mod opening;
mod selection;
mod shrink;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::harness::Mismatch;
use super::tally::Tally;
use crate::storage::SimStats;
use life::{RunningLife, Tell};
pub use selection::Selection;
pub use shrink::shrink;

/// The kind of a life. The same seed is another life in each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The log and its reads. Kept seeds have this kind: what it draws from a seed must not change.
    Log,
    /// In addition snapshots, followers and every fault. Kept seeds have this kind: what it draws
    /// from a seed must not change.
    Beside,
    /// Every operation and every fault.
    Everything,
    /// Like `Everything`, and full segments move into cold storage and back.
    Cold,
    /// Like `Everything`, on a disk that lies about syncs. No promise can hold there: a life that
    /// does not fail was lucky, and checks that never fail are no checks.
    Lying,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Log, Self::Beside, Self::Everything, Self::Cold, Self::Lying];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Beside => "beside",
            Self::Everything => "everything",
            Self::Cold => "cold",
            Self::Lying => "lying",
        }
    }
}

/// A life, or the part of one that is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// The kind of the life.
    pub kind: Kind,
    /// The seed that everything follows from.
    pub seed: u64,
    /// The maximum number of rounds; each ends with a crash or a kill, and a recovery.
    pub rounds: u64,
    /// The actions that are performed, counted from 1. The others are drawn and omitted, so that
    /// crashes and faults stay in place.
    pub actions: Selection,
}

impl Life {
    /// The whole life of this kind that follows from a seed.
    pub fn new(kind: Kind, seed: u64) -> Self {
        Self { kind, seed, rounds: u64::MAX, actions: Selection::all() }
    }

    /// Lives it.
    ///
    /// # Errors
    ///
    /// The first broken promise; a panic is one too.
    pub fn run(&self) -> Result<Report, Failure> {
        self.run_with(None)
    }

    /// Runs the life, and reports each step in a line.
    ///
    /// # Errors
    ///
    /// Those of [`Life::run`].
    pub fn run_traced(&self, mut tell: impl FnMut(&str)) -> Result<Report, Failure> {
        self.run_with(Some(&mut tell))
    }

    fn run_with<'a>(&'a self, tell: Tell<'a>) -> Result<Report, Failure> {
        let mut run = RunningLife::new(self, tell);
        let lived = catch_unwind(AssertUnwindSafe(|| run.live()));
        let mismatch = match lived {
            Ok(Ok(())) => return Ok(run.into_report()),
            Ok(Err(mismatch)) => mismatch,
            Err(panic) => Mismatch::new(format!("panicked: {}", words_of(&*panic))),
        };
        let (round, action) = run.reached();
        let report = Box::new(run.into_report());
        Err(Failure { life: self.clone(), what: mismatch, round, action, report })
    }
}

impl fmt::Display for Life {
    /// As arguments of the simulator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--kind {} --seed {}", self.kind.name(), self.seed)?;
        if self.rounds != u64::MAX {
            write!(f, " --rounds {}", self.rounds)?;
        }
        if self.actions != Selection::all() {
            write!(f, " --actions {}", self.actions)?;
        }
        Ok(())
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("in no words")
}

/// The counters of a life, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Whole lives.
    pub lives: u64,
    /// The number of states after a crash or a kill that were recovered and compared with the
    /// promises.
    pub states: u64,
    /// The performed actions, by kind.
    pub tally: Tally,
    /// The counters of the disk.
    pub disk: SimStats,
    /// Covers every step of every life, in any order of lives.
    pub digest: u64,
}

impl Report {
    /// Adds the counters of another one.
    pub fn merge(&mut self, other: &Self) {
        self.lives += other.lives;
        self.states += other.states;
        self.tally.merge(&other.tally);
        self.disk.add(&other.disk);
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

/// A broken promise.
#[derive(Debug)]
pub struct Failure {
    /// The life.
    pub life: Life,
    /// The broken promise.
    pub what: Mismatch,
    /// The round it was found in, counted from 1.
    pub round: u64,
    /// The last action before it was found, counted from 1 over all rounds.
    pub action: u64,
    /// The counters until then.
    pub report: Box<Report>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { life, what, round, action, .. } = self;
        write!(f, "{life}: {what} (in round {round}, after action {action})")
    }
}

impl std::error::Error for Failure {}

/// Runs the life of the first kind that follows from a seed, as kept seeds do. Returns the number
/// of checked states after a crash.
///
/// # Errors
///
/// The first broken promise.
pub fn run(seed: u64) -> Result<u64, Mismatch> {
    let lived = Life::new(Kind::Log, seed).run();
    lived.map(|report| report.states).map_err(|failure| failure.what)
}
