//! The explanation of a history.
//!
//! Owns the rules. The order of a stream's commits is the one that the store has at the end; each operation must fit
//! between its call and its return in that order.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::record::{Ended, Event, History, Line, Operation, Outcome};

/// What a history has, if it is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Operations that began.
    pub operations: u64,
    /// Appends that were acknowledged.
    pub acknowledged: u64,
    /// Appends that lost to another one.
    pub conflicts: u64,
    /// Appends whose outcome the client does not know.
    pub unknown: u64,
    /// Operations that the store refused because of a fault.
    pub refused: u64,
    /// Reads of streams.
    pub reads: u64,
    /// Reads that saw a version although a later one had been acknowledged before they began; only where they are
    /// [allowed](check_with_stale_reads).
    pub stale_reads: u64,
    /// The longest time between such an acknowledgement and the beginning of the read, in µs.
    pub longest_stale: u64,
    /// Events that consumers got.
    pub delivered: u64,
    /// Events that are stored.
    pub stored: u64,
    /// Faults.
    pub faults: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations under {} faults: {} commits acknowledged, {} conflicts, {} of unknown \
             outcome, {} refused, {} reads; {} events stored, {} delivered",
            self.operations,
            self.faults,
            self.acknowledged,
            self.conflicts,
            self.unknown,
            self.refused,
            self.reads,
            self.stored,
            self.delivered
        )?;
        if self.stale_reads > 0 {
            write!(f, "; {} stale reads, up to {} µs", self.stale_reads, self.longest_stale)?;
        }
        Ok(())
    }
}

/// What cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// Positions, versions or commits at the end contradict each other.
    Stored(String),
    /// A commit that was acknowledged is not stored, or not as it was acknowledged.
    Lost(String),
    /// A token is stored twice.
    Doubled(String),
    /// A part of a commit is stored, or a commit that was refused.
    Unwanted(String),
    /// A commit was acknowledged that its expectation forbids.
    Expectation(String),
    /// No order of a stream's operations fits their times.
    Order(String),
    /// A read differs from what is stored.
    Read(String),
    /// A consumer left an event out, got one twice, or got one in disorder.
    Delivery(String),
    /// A position went back.
    Back(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, what) = match self {
            Self::Stored(what) => ("stored", what),
            Self::Lost(what) => ("lost", what),
            Self::Doubled(what) => ("doubled", what),
            Self::Unwanted(what) => ("unwanted", what),
            Self::Expectation(what) => ("expectation", what),
            Self::Order(what) => ("order", what),
            Self::Read(what) => ("read", what),
            Self::Delivery(what) => ("delivery", what),
            Self::Back(what) => ("back", what),
        };
        write!(f, "{kind}: {what}")
    }
}

/// Explains a history.
///
/// # Errors
///
/// Everything that cannot be explained.
pub fn check(history: &History) -> Result<Summary, Vec<Violation>> {
    explain(history, false)
}

/// Explains a history of a store that promises the order of commits, and not that a read sees the newest one: a replica
/// that was cut off may answer it. Such reads are counted. Everything else has to hold without them: commits have one
/// order that fits their times, no read shows what is not stored, nor a commit before it began.
///
/// # Errors
///
/// Everything that cannot be explained.
pub fn check_with_stale_reads(history: &History) -> Result<Summary, Vec<Violation>> {
    explain(history, true)
}

fn explain(history: &History, allow_stale_reads: bool) -> Result<Summary, Vec<Violation>> {
    let mut checker = Checker::new(history);
    checker.stored();
    checker.operations();
    if allow_stale_reads {
        checker.count_stale_reads();
    }
    checker.streams();
    checker.deliveries();
    if checker.violations.is_empty() { Ok(checker.summary) } else { Err(checker.violations) }
}

/// When an operation took effect at the earliest and at the latest, and which version it left or saw.
#[derive(Debug, Clone, Copy)]
struct Interval {
    version: u64,
    is_write: bool,
    began: u64,
    ended: u64,
    number: u64,
}

struct Checker<'a> {
    history: &'a History,
    violations: Vec<Violation>,
    summary: Summary,
    by_token: HashMap<&'a str, &'a Event>,
    /// The tokens of each stream in the order of versions.
    streams: HashMap<&'a str, Vec<&'a Event>>,
    intervals: HashMap<&'a str, Vec<Interval>>,
}

/// An operation with its times. One that has not ended may take effect at any time.
struct Op<'a> {
    number: u64,
    began: u64,
    ended: u64,
    outcome: &'a Outcome,
}

impl<'a> Checker<'a> {
    fn new(history: &'a History) -> Self {
        let (by_token, streams) = (HashMap::new(), HashMap::new());
        let (violations, summary) = (Vec::new(), Summary::default());
        Self { history, violations, summary, by_token, streams, intervals: HashMap::new() }
    }

    fn stored(&mut self) {
        self.summary.stored = self.history.stored.len() as u64;
        let mut last = 0;
        for event in &self.history.stored {
            if event.position <= last {
                let what = format!("{event:?} is not after position {last}");
                self.violations.push(Violation::Stored(what));
            }
            last = event.position;
            if let Some(other) = self.by_token.insert(&event.token, event) {
                let what = format!("{event:?} and {other:?}");
                self.violations.push(Violation::Doubled(what));
            }
            let stream = self.streams.entry(&event.stream).or_default();
            if event.version != stream.len() as u64 + 1 {
                let what = format!("{event:?} is not version {}", stream.len() + 1);
                self.violations.push(Violation::Stored(what));
            }
            stream.push(event);
        }
    }

    fn operations(&mut self) {
        const UNKNOWN: &Outcome = &Outcome::Unknown;
        let mut ends: HashMap<u64, &Ended> = HashMap::new();
        for line in &self.history.lines {
            if let Line::Ended { number, ended } = line {
                ends.insert(*number, ended);
            }
        }
        let mut heads = Vec::new();
        for line in &self.history.lines {
            let Line::Began { number, at, operation } = line else { continue };
            self.summary.operations += 1;
            let (ended, outcome) = match ends.get(number) {
                Some(ended) if ended.outcome == Outcome::Unknown => (u64::MAX, UNKNOWN),
                Some(ended) => (ended.at, &ended.outcome),
                None => (u64::MAX, UNKNOWN),
            };
            let op = Op { number: *number, began: *at, ended, outcome };
            match operation {
                Operation::Append { streams } => self.append(&op, streams),
                Operation::Read { stream, from } => self.read(&op, stream, *from),
                Operation::Head => {
                    if let Outcome::Head(head) = outcome {
                        heads.push((*at, ended, *head));
                    }
                }
            }
        }
        self.heads(heads);
    }

    /// A head that was returned before another was asked for is not greater.
    fn heads(&mut self, mut heads: Vec<(u64, u64, u64)>) {
        heads.sort_unstable();
        let mut by_end = heads.clone();
        by_end.sort_unstable_by_key(|(_, ended, _)| *ended);
        let (mut index, mut greatest) = (0, 0);
        for (began, _, head) in heads {
            while index < by_end.len() && by_end[index].1 < began {
                greatest = greatest.max(by_end[index].2);
                index += 1;
            }
            if head < greatest {
                let what = format!("the head was {greatest}, and then {head}");
                self.violations.push(Violation::Back(what));
            }
        }
    }

    fn append(&mut self, op: &Op<'a>, streams: &'a [(String, Option<u64>, Vec<String>)]) {
        let tokens: Vec<&str> =
            streams.iter().flat_map(|(.., tokens)| tokens.iter().map(String::as_str)).collect();
        let found: Vec<&Event> =
            tokens.iter().filter_map(|token| self.by_token.get(token).copied()).collect();
        let is_whole = found.len() == tokens.len();
        match op.outcome {
            Outcome::Acknowledged { first, last, versions } => {
                self.summary.acknowledged += 1;
                if !is_whole {
                    let what = format!("{} of {tokens:?} of operation {}", found.len(), op.number);
                    return self.violations.push(Violation::Lost(what));
                }
                let ends: Vec<u64> = streams
                    .iter()
                    .map(|(.., tokens)| tokens.last().map_or(0, |it| self.by_token[&**it].version))
                    .collect();
                if found[0].position != *first
                    || found[found.len() - 1].position != *last
                    || ends != *versions
                {
                    let what = format!("{found:?} was acknowledged as {:?}", op.outcome);
                    self.violations.push(Violation::Lost(what));
                }
            }
            Outcome::Conflict { stream, actual } => {
                self.summary.conflicts += 1;
                self.absent(op, &found);
                let expected = streams.iter().find(|(name, ..)| name == stream);
                if let Some((name, expected, _)) = expected {
                    if *expected == Some(*actual) {
                        let what = format!("{name} had the expected version {actual}");
                        self.violations.push(Violation::Expectation(what));
                    }
                    self.interval(name, op, *actual, false);
                }
                return;
            }
            Outcome::Unknown => {
                self.summary.unknown += 1;
                if found.is_empty() {
                    return;
                }
            }
            _ => {
                self.summary.refused += 1;
                return self.absent(op, &found);
            }
        }
        if !is_whole || found.iter().any(|event| event.commit != found[0].commit) {
            let what = format!("{} of {tokens:?} are one commit", found.len());
            return self.violations.push(Violation::Unwanted(what));
        }
        for (stream, expected, tokens) in streams {
            let Some(first) = tokens.first().map(|token| self.by_token[&**token]) else { continue };
            if expected.is_some_and(|expected| expected + 1 != first.version) {
                let what = format!("operation {} expected {expected:?}, {first:?}", op.number);
                self.violations.push(Violation::Expectation(what));
            }
            let is_in_order = tokens.iter().zip(first.version..).all(|(token, version)| {
                let event = self.by_token[&**token];
                event.version == version && event.stream == *stream
            });
            if !is_in_order {
                let what = format!("{tokens:?} are not in order in {stream}");
                self.violations.push(Violation::Lost(what));
            }
            self.interval(stream, op, first.version + tokens.len() as u64 - 1, true);
        }
    }

    fn absent(&mut self, op: &Op<'_>, found: &[&Event]) {
        if !found.is_empty() {
            let what = format!("operation {} ended with {:?}: {found:?}", op.number, op.outcome);
            self.violations.push(Violation::Unwanted(what));
        }
    }

    fn interval(&mut self, stream: &'a str, op: &Op<'_>, version: u64, is_write: bool) {
        let Op { number, began, ended, .. } = *op;
        let interval = Interval { version, is_write, began, ended, number };
        self.intervals.entry(stream).or_default().push(interval);
    }

    fn read(&mut self, op: &Op<'a>, stream: &'a str, from: u64) {
        let Outcome::Tokens { tokens, is_whole } = op.outcome else {
            self.summary.refused += 1;
            return;
        };
        self.summary.reads += 1;
        let stored = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        let version = from - 1 + tokens.len() as u64;
        let found = usize::try_from(from - 1).ok().and_then(|it| stored.get(it..));
        let found = found.and_then(|stored| stored.get(..tokens.len()));
        let is_same = found.is_some_and(|found| {
            tokens.iter().zip(found).all(|(token, event)| *token == event.token)
        });
        if !is_same {
            let what = format!("operation {} of {stream}: {tokens:?} from {from}", op.number);
            return self.violations.push(Violation::Read(what));
        }
        let Some(last) = found.and_then(<[_]>::last).filter(|_| *is_whole) else { return };
        let next = usize::try_from(version).ok().and_then(|it| stored.get(it));
        if next.is_some_and(|next| next.commit == last.commit) {
            let what = format!("operation {} saw a part of a commit: {last:?}", op.number);
            return self.violations.push(Violation::Read(what));
        }
        self.interval(stream, op, version, false);
    }

    /// Takes the reads out that began after a version was acknowledged, or another read had seen it, and saw an earlier one.
    fn count_stale_reads(&mut self) {
        for intervals in self.intervals.values_mut() {
            intervals.sort_by_key(|it| it.version);
            // From the last version on: when the first of the later ones was known to be there.
            let (mut later, mut at_version) = (u64::MAX, u64::MAX);
            let mut version = None;
            let summary = &mut self.summary;
            let mut is_stale = Vec::new();
            for it in intervals.iter().rev() {
                if version.replace(it.version) != Some(it.version) {
                    later = later.min(std::mem::replace(&mut at_version, u64::MAX));
                }
                at_version = at_version.min(it.ended);
                let stale = !it.is_write && later < it.began;
                if stale {
                    summary.stale_reads += 1;
                    summary.longest_stale = summary.longest_stale.max(it.began - later);
                }
                is_stale.push(stale);
            }
            let mut is_stale = is_stale.into_iter().rev();
            intervals.retain(|_| !is_stale.next().unwrap_or(false));
        }
    }

    /// Each operation has a time between its call and its return, in the order of versions; a version is seen after it
    /// is written, and before the next one is.
    fn streams(&mut self) {
        let mut found = Vec::new();
        for (stream, intervals) in &mut self.intervals {
            intervals.sort_by_key(|it| (it.version, !it.is_write));
            let (mut time, mut written, mut seen) = (0, 0, 0);
            let mut last_version = None;
            for it in intervals {
                if it.is_write || last_version != Some(it.version) {
                    // Reads of one version are in any order among themselves.
                    written = time.max(seen);
                    last_version = Some(it.version);
                }
                let earliest = written.max(it.began);
                if earliest > it.ended {
                    let what = format!(
                        "operation {} at version {} of {stream} ended {} µs too early",
                        it.number,
                        it.version,
                        earliest - it.ended
                    );
                    found.push(Violation::Order(what));
                }
                if it.is_write {
                    written = earliest;
                    time = earliest;
                }
                seen = seen.max(earliest);
            }
        }
        self.violations.extend(found);
    }

    fn deliveries(&mut self) {
        let mut places: BTreeMap<&str, u64> = BTreeMap::new();
        let mut found = Vec::new();
        for line in &self.history.lines {
            match line {
                Line::Delivered { consumer, events, scanned_through } => {
                    self.summary.delivered += events.len() as u64;
                    let place = places.entry(consumer).or_default();
                    if *scanned_through < *place {
                        let what =
                            format!("{consumer} was at {place}, and then at {scanned_through}");
                        found.push(Violation::Back(what));
                    }
                    let stored = between(&self.history.stored, *place, *scanned_through);
                    let is_same = stored.len() == events.len()
                        && stored.iter().zip(events).all(|(stored, (position, token))| {
                            stored.position == *position && stored.token == *token
                        });
                    if !is_same {
                        let what = format!(
                            "{consumer} got {} events after {place} up to {scanned_through}, {} are stored",
                            events.len(),
                            stored.len()
                        );
                        found.push(Violation::Delivery(what));
                    }
                    *place = (*place).max(*scanned_through);
                }
                Line::Fault { .. } => self.summary.faults += 1,
                _ => {}
            }
        }
        self.violations.extend(found);
    }
}

/// The events after one position and up to another.
fn between(stored: &[Event], after: u64, up_to: u64) -> &[Event] {
    let first = stored.partition_point(|event| event.position <= after);
    let last = stored.partition_point(|event| event.position <= up_to);
    &stored[first..last.max(first)]
}
