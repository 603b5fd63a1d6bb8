//! The copy itself: where to continue, what is copied, and when it ends.
//!
//! Owns the order of the steps. Must never append to a target that is not a copy of the beginning of the source.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use annals_es::{Position, RecordedEvent, Timestamp};

use crate::compare::{Comparison, difference};
use crate::positions::MapWriter;
use crate::{Error, Source, Target};

/// Number of events and of bytes that are appended at once, at least; a batch ends with a commit.
const BATCH_EVENTS: usize = 1024;
const BATCH_BYTES: usize = 4 << 20;
/// Number of events that may be left to copy when the source is fenced.
const NEAR: u64 = 1024;
/// How often a source that is followed is asked for its fence.
const LOOK: Duration = Duration::from_millis(200);

/// The pauses between attempts while a place cannot be reached: the first one, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When a copy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Until {
    /// When it has what the source had at the beginning of the last step. The source may be in use.
    #[default]
    CaughtUp,
    /// It follows the source, fences it when little is left to copy, and ends when it has everything.
    Switched,
    /// It follows the source until that is fenced, and ends when it has everything.
    Fenced,
}

/// The settings of a copy.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// When the copy ends.
    pub until: Until,
    /// How long the fence waits for a program to close a directory.
    pub wait: Duration,
    /// What the fence names as the place where the history goes on. `None`: the name of the target.
    pub place: Option<String>,
    /// Where to write the table of old and new positions.
    pub map: Option<PathBuf>,
    /// Whether records of the source, and what its streams hide, may be left out where the target cannot keep them.
    pub leave_out: bool,
}

impl Settings {
    /// Sets when the copy ends. Default: [`Until::CaughtUp`].
    #[must_use]
    pub fn until(mut self, until: Until) -> Self {
        self.until = until;
        self
    }

    /// Sets how long the fence waits for a program to close a directory. Default: it does not wait.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets what the fence names as the place where the history goes on. Default: the name of the target.
    #[must_use]
    pub fn place(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Writes the table of old and new positions. Default: none.
    #[must_use]
    pub fn map(mut self, path: impl Into<PathBuf>) -> Self {
        self.map = Some(path.into());
        self
    }

    /// Permits that records, and what streams hide, are left out where the target cannot keep them. Default: such a copy is
    /// refused before it begins.
    #[must_use]
    pub fn leave_out(mut self) -> Self {
        self.leave_out = true;
        self
    }
}

/// A step of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Events were copied, up to a position of the source.
    Copied {
        /// Number of events in all.
        events: u64,
        /// The position of the last one.
        position: Position,
        /// The last position of the source when it was asked.
        head: Position,
    },
    /// Events were compared.
    Compared {
        /// Number of events in all.
        events: u64,
    },
    /// Everything up to a position of the source is copied and compared; it is followed.
    CaughtUp {
        /// The position.
        position: Position,
    },
    /// The source is about to be fenced. A program that has it open has to close it.
    Fencing,
    /// The server of a place cannot be reached, and the source is followed: the copy waits, and goes on then.
    Unreachable {
        /// Whether it is the server of the source, or else that of the target.
        is_source: bool,
        /// Until the next attempt.
        pause: Duration,
    },
}

/// What a copy has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Number of events that were appended to the target.
    pub events_copied: u64,
    /// Number of events that were read back from both places and compared: all of them.
    pub events_compared: u64,
    /// Number of commits that were recorded at the time of the commit before, because theirs was earlier.
    pub times_raised: u64,
    /// Number of checkpoints that were set.
    pub checkpoints: u64,
    /// Whether some events have other positions than in the source.
    pub positions_moved: bool,
    /// Whether the source is fenced, so that the copy is complete.
    pub is_complete: bool,
}

type Tell<'a> = dyn FnMut(Step) -> ControlFlow<()> + 'a;

/// Copies the events and checkpoints of a source to a target that is empty or has a beginning of them, and compares
/// every event of both. `tell` is called after each step, and may stop the copy.
///
/// # Errors
///
/// Those of [`Error`]. The same call goes on where it stopped.
pub fn copy(
    source: &mut dyn Source,
    target: &mut dyn Target,
    settings: &Settings,
    tell: &mut Tell<'_>,
) -> Result<Report, Error> {
    if source.name() == target.name() {
        return Err(Error::SamePlace { place: source.name().to_owned() });
    }
    check_rest(source, target, settings)?;
    let map = settings.map.as_deref().map(MapWriter::create).transpose()?;
    let mut copy = Copy {
        after: beginning(source, target)?,
        source,
        target,
        tell,
        comparison: Comparison::new(map),
        is_unsure: false,
        report: Report::default(),
    };
    copy.run(settings)?;
    copy.finish(settings)
}

/// Refuses to lose what the source has besides events, before anything is copied.
fn check_rest(
    source: &mut dyn Source,
    target: &dyn Target,
    settings: &Settings,
) -> Result<(), Error> {
    if target.keeps_rest() || settings.leave_out {
        return Ok(());
    }
    let rest = source.rest()?;
    if rest.is_empty() {
        return Ok(());
    }
    let (place, target) = (source.name().to_owned(), target.name().to_owned());
    Err(Error::CannotKeep { target, place, what: rest.text() })
}

/// The position of the source that the target has reached.
fn beginning(source: &mut dyn Source, target: &mut dyn Target) -> Result<Position, Error> {
    let Some(last) = target.last()? else { return Ok(Position::START) };
    let original = source.same(&last)?;
    let before = Timestamp::from_micros(last.recorded_at().as_micros());
    let what = match &original {
        None => Some("the source does not have it".to_owned()),
        Some(original) => difference(original, &last, before),
    };
    match (original, what) {
        (Some(original), None) => Ok(original.position()),
        (_, what) => Err(Error::NotACopy {
            target: target.name().to_owned(),
            place: source.name().to_owned(),
            what: format!(
                "its last event is {}, at position {}: {}",
                last.id(),
                last.position(),
                what.unwrap_or_default()
            ),
        }),
    }
}

struct Copy<'a> {
    source: &'a mut dyn Source,
    target: &'a mut dyn Target,
    tell: &'a mut Tell<'a>,
    /// The last position of the source that is copied.
    after: Position,
    /// An append to the target has failed, and some of it may be recorded.
    is_unsure: bool,
    comparison: Comparison,
    report: Report,
}

fn stopped(flow: ControlFlow<()>) -> Result<(), Error> {
    if flow.is_break() { Err(Error::Stopped) } else { Ok(()) }
}

impl Copy<'_> {
    fn run(&mut self, settings: &Settings) -> Result<(), Error> {
        let (mut earlier, mut pause) = (u64::MAX, PAUSE);
        loop {
            match self.round(settings, &mut earlier) {
                Ok(true) => return Ok(()),
                Ok(false) => pause = PAUSE,
                Err(Error::Unreachable { place, .. }) if settings.until != Until::CaughtUp => {
                    self.is_unsure = true;
                    self.wait_out(place == self.source.name(), pause)?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Copies what the source has now. True: that is everything.
    fn round(&mut self, settings: &Settings, earlier: &mut u64) -> Result<bool, Error> {
        if self.is_unsure {
            self.after = beginning(self.source, self.target)?;
            self.is_unsure = false;
        }
        // Asked first: what is visible afterwards is everything.
        let fence = self.source.find_fence()?;
        let is_complete = fence.is_some_and(|fence| fence.is_complete);
        let before = self.report.events_copied;
        self.step()?;
        if is_complete || settings.until == Until::CaughtUp {
            self.report.is_complete = is_complete;
            return Ok(true);
        }
        let copied = self.report.events_copied - before;
        if settings.until == Until::Switched {
            // Each round has less to copy than the one before, unless the source grows as fast as it is copied.
            if copied <= NEAR || copied > *earlier / 2 {
                stopped((self.tell)(Step::Fencing))?;
                let place = settings.place.as_deref();
                let place = place.unwrap_or_else(|| self.target.name()).to_owned();
                self.source.raise_fence(&place, settings.wait)?;
            }
            *earlier = copied;
        } else {
            stopped((self.tell)(Step::CaughtUp { position: self.after }))?;
            self.source.wait(self.after, LOOK)?;
        }
        Ok(false)
    }

    /// Waits while a place cannot be reached. The caller is told again and again, and may stop the copy.
    fn wait_out(&mut self, is_source: bool, pause: Duration) -> Result<(), Error> {
        let mut left = pause;
        while !left.is_zero() {
            stopped((self.tell)(Step::Unreachable { is_source, pause: left }))?;
            let part = left.min(LOOK);
            std::thread::sleep(part);
            left -= part;
        }
        Ok(())
    }

    /// Copies and compares what the source has now.
    fn step(&mut self) -> Result<(), Error> {
        let head = self.source.last()?.map_or(Position::START, |event| event.position());
        if head > self.after {
            self.copy_to(head)?;
        }
        let tell = &mut |step| stopped((self.tell)(step));
        let (source, target) = (&mut *self.source, &mut *self.target);
        self.comparison.compare(source, target, head, tell)
    }

    fn copy_to(&mut self, head: Position) -> Result<(), Error> {
        let mut batch: Vec<Vec<RecordedEvent>> = Vec::new();
        let (mut commit, mut events, mut bytes) = (Vec::new(), 0, 0);
        let place = self.source.name().to_owned();
        for event in self.source.read(self.after, head)? {
            let event = event?;
            (events, bytes) = (events + 1, bytes + event.data().len() + event.metadata().len());
            let (position, is_last) = (event.position(), event.is_last_in_commit());
            commit.push(event);
            if !is_last {
                continue;
            }
            batch.push(std::mem::take(&mut commit));
            if events >= BATCH_EVENTS || bytes >= BATCH_BYTES || position == head {
                self.report.times_raised += self.target.append(&batch)?;
                self.report.events_copied += events as u64;
                self.after = position;
                (events, bytes) = (0, 0);
                batch.clear();
                let events = self.report.events_copied;
                stopped((self.tell)(Step::Copied { events, position, head }))?;
            }
        }
        if self.after < head {
            let what = format!("a read up to position {head} ended after {}", self.after);
            return Err(Error::failed(&place, what));
        }
        Ok(())
    }

    /// Everything but events.
    fn finish(mut self, settings: &Settings) -> Result<Report, Error> {
        for (name, at) in self.source.checkpoints()? {
            let at = self.new_position(at.min(self.after))?;
            self.target.set_checkpoint(&name, at)?;
            self.report.checkpoints += 1;
        }
        if self.target.keeps_rest() {
            let rest = self.source.rest()?;
            self.target.keep(&rest)?;
        } else if !settings.leave_out {
            // The source may have got some meanwhile.
            check_rest(self.source, self.target, settings)?;
        }
        if let Some(map) = self.comparison.map.take() {
            map.finish()?;
        }
        self.report.events_compared = self.comparison.events;
        self.report.positions_moved = self.comparison.moved;
        Ok(self.report)
    }

    /// The position of the target that has the events up to a position of the source.
    fn new_position(&mut self, old: Position) -> Result<Position, Error> {
        if !self.comparison.moved || old == Position::START {
            return Ok(old);
        }
        let Some(original) = self.source.at_or_before(old)? else { return Ok(Position::START) };
        let copy = self.target.same(&original)?;
        copy.map(|copy| copy.position()).ok_or_else(|| Error::Differs {
            position: original.position(),
            what: "the target does not have the event".into(),
        })
    }
}
