//! Runs a life: rounds of work, a crash, and a recovery that is checked.

use std::fmt::{self, Write as _};

use super::opening::FilesBefore;
use super::{Kind, Life, Report, faults};
use crate::error::{Error, Result as StoreResult};
use crate::options::{Checksums, Durability, Options};
use crate::recovery::Opened;
use crate::storage::{DirectoryModel, SimStorage};
use crate::testing::commits::is_failure;
use crate::testing::compare::{Checked, Mismatch, ensure};
use crate::testing::harness::{Harness, Settings};
use crate::testing::operations::{Action, OperationChoice};
use crate::testing::random::Random;

/// Receives a line for each step.
pub(super) type Tell<'a> = Option<&'a mut (dyn FnMut(&str) + 'a)>;

/// The state of a running life.
pub(super) struct RunningLife<'a> {
    life: &'a Life,
    tell: Tell<'a>,
    random: Random,
    sim: SimStorage,
    harness: Harness,
    round: u64,
    action: u64,
    /// The creation of the store was to be interrupted, and may be incomplete.
    cut_short: bool,
    report: Report,
}

/// Reports a step, if a receiver is set.
macro_rules! tell {
    ($run:expr, $($words:tt)+) => {
        if let Some(tell) = &mut $run.tell {
            tell(&format!($($words)+));
        }
    };
}

impl<'a> RunningLife<'a> {
    pub(super) fn new(life: &'a Life, tell: Tell<'a>) -> Self {
        let seed = life.seed;
        let mut random = Random::new(match life.kind {
            Kind::Log => seed,
            Kind::Beside => seed ^ 0xe5e5_0000_0000_0001,
            Kind::Lying => seed ^ 0xe5e5_0000_0000_0002,
            Kind::Everything => seed ^ 0xe5e5_0000_0000_0003,
            Kind::Cold => seed ^ 0xe5e5_0000_0000_0004,
        });
        let strict = random.percent(70);
        let model = if strict { DirectoryModel::Strict } else { DirectoryModel::Ext4Like };
        let sim = SimStorage::with_directory_model(seed, model);
        let buffered = random.percent(20);
        let durability = if buffered { Durability::BUFFERED } else { Durability::Sync };
        let segment_size = Options::MIN_SEGMENT_SIZE;
        let mut settings = Settings { background: false, durability, segment_size, faults: true };
        let mut checksums = Checksums::default();
        if life.kind != Kind::Log {
            settings.segment_size <<= random.below(2);
            checksums = *random.pick(&[Checksums::Once, Checksums::Always, Checksums::Never]);
        }
        let mut harness = Harness::on_sim(&sim, settings);
        harness.set_checksums(checksums);
        harness.set_cold(life.kind == Kind::Cold);
        let mut run = Self {
            life,
            tell,
            random,
            sim,
            harness,
            round: 0,
            action: 0,
            cut_short: false,
            report: Report::default(),
        };
        tell!(run, "{life}: names {model:?}, {settings:?}, checksums {checksums:?}");
        run
    }

    /// The round and the last action.
    pub(super) fn reached(&self) -> (u64, u64) {
        (self.round, self.action)
    }

    pub(super) fn into_report(mut self) -> Report {
        self.report.tally.merge(self.harness.tally());
        self.report.disk = self.sim.stats();
        self.report
    }

    pub(super) fn live(&mut self) -> Checked {
        for round in 0..=self.random.below(5) {
            self.round = round + 1;
            if round == 0 {
                self.create()?;
            }
            self.harness.expect_faults(true);
            if self.harness.store().is_some() {
                self.arm();
                self.work()?;
            }
            let closed = self.life.kind != Kind::Log && self.random.percent(15) && self.close()?;
            let power_lost = self.random.percent(75) || self.life.kind == Kind::Lying;
            self.end_process(power_lost, "");
            self.cut_short = false;
            let power_lost = self.recover(power_lost)?;
            self.harness.expect_faults(false);
            self.harness.recovered(power_lost)?;
            self.report.states += 1;
            self.after_recovery(closed)?;
            if self.round >= self.life.rounds {
                break;
            }
        }
        self.harness.finish()?;
        for path in self.sim.files() {
            let bytes = self.sim.read_file(&path).unwrap_or_default();
            self.mix(u64::from(crc32fast::hash(&bytes)));
        }
        self.report.lives = 1;
        tell!(self, "the end, with {} events", self.harness.model().head());
        Ok(())
    }

    /// Creates the store; every other time the creation is interrupted.
    fn create(&mut self) -> Checked {
        if self.random.percent(50) {
            self.sim.fail_after_ops(self.random.below(25));
            self.cut_short = true;
            let created = self.harness.open();
            tell!(self, "created, with the power off in the middle: {}", shown(&created));
            return Ok(());
        }
        self.harness.open().map_err(|error| Mismatch::new(error.to_string()))?;
        tell!(self, "created");
        Ok(())
    }

    fn arm(&mut self) {
        let (sim, random) = (&self.sim, &mut self.random);
        let mut armed = Vec::new();
        match self.life.kind {
            Kind::Log => armed.push(faults::arm(sim, random)),
            Kind::Beside | Kind::Everything | Kind::Cold => {
                for _ in 0..=random.below(3) {
                    armed.push(faults::arm_any(sim, random));
                }
                faults::harmless(sim, random, 1 + random.clone().below(12));
                armed.retain(|fault| *fault != "none");
                // If no fault is armed, every answer must equal the model's.
                self.harness.expect_faults(!armed.is_empty() || self.cut_short);
            }
            Kind::Lying => armed.push(faults::lie(sim, random)),
        }
        for fault in &armed {
            self.report.tally.add("faults armed", fault, 1);
        }
        tell!(self, "round {}, armed: {}", self.round, armed.join(", "));
    }

    fn has_all_faults(&self) -> bool {
        matches!(self.life.kind, Kind::Beside | Kind::Everything | Kind::Cold)
    }

    fn work(&mut self) -> Checked {
        for _ in 0..self.random.below(45) {
            self.act()?;
            let ended = self.harness.store().is_none()
                || self.sim.is_stopped() && self.random.percent(50)
                || self.harness.is_poisoned() && self.random.percent(20);
            if ended {
                break;
            }
            if self.has_all_faults() && self.random.percent(4) {
                self.sim.set_free_space(None);
            }
        }
        Ok(())
    }

    /// Draws an action, and performs it if it is selected.
    fn act(&mut self) -> Checked {
        let action = match self.life.kind {
            Kind::Log => self.random.action(),
            Kind::Beside => self.random.any_action(),
            Kind::Everything | Kind::Cold | Kind::Lying => self.random.every_action(),
        };
        self.action += 1;
        if !self.life.actions.contains(self.action) {
            return Ok(());
        }
        tell!(self, "{:4} {}", self.action, brief(&action));
        let mut checked = self.harness.run(&action);
        if checked.is_ok() && self.action.is_multiple_of(8) {
            checked = self.harness.move_segments();
        }
        let (head, acknowledged) = (self.harness.model().head(), self.harness.acknowledged());
        tell!(
            self,
            "     {head} events, {acknowledged} acknowledged; {}{}{}",
            self.harness.answer(),
            if self.harness.is_poisoned() { ", the writer is poisoned" } else { "" },
            if self.sim.is_stopped() { ", the power is off" } else { "" },
        );
        let stats = self.sim.stats();
        for number in [head, acknowledged, stats.operations, stats.reads, stats.bytes_written] {
            self.mix(number);
        }
        checked
    }

    /// Closes the store, so that the crash happens after a close.
    fn close(&mut self) -> Checked<bool> {
        let faults = self.sim.stats().faults;
        let closed = self.harness.close()?;
        tell!(self, "closed: {closed}");
        Ok(closed && !self.sim.is_stopped() && self.sim.stats().faults == faults)
    }

    fn end_process(&mut self, power_lost: bool, when: &str) {
        if self.sim.is_stopped() {
            self.report.tally.add("crashes", "at an operation on the disk", 1);
        }
        let name = if power_lost {
            let crash = faults::crash(&mut self.random);
            tell!(self, "power loss{when}: {crash:?}");
            self.sim.crash(crash);
            faults::name_of(&crash)
        } else {
            tell!(self, "killed{when}");
            self.sim.kill();
            "killed"
        };
        self.report.tally.add("crashes", name, 1);
        if !when.is_empty() {
            self.report.tally.add("crashes", "during a recovery", 1);
        }
    }

    /// Opens until it succeeds, with crashes and kills in between. Returns whether power was lost.
    fn recover(&mut self, mut power_lost: bool) -> Checked<bool> {
        for attempt in 0.. {
            self.sim.set_free_space(None);
            self.harness.abandon_process();
            let nested = attempt < 3 && self.random.percent(40);
            if nested {
                let (sim, random) = (&self.sim, &mut self.random);
                let armed = match self.life.kind {
                    Kind::Beside | Kind::Everything | Kind::Cold if random.percent(50) => {
                        faults::arm_any(sim, random)
                    }
                    _ => faults::arm_opening(sim, random),
                };
                tell!(self, "opening, armed: {armed}");
                self.report.tally.add("faults armed in a recovery", armed, 1);
            }
            let before = FilesBefore::of(&self.sim);
            let opened = self.harness.open();
            tell!(self, "{}", shown(&opened));
            match (opened, self.harness.store()) {
                (Ok(()), Some(store)) => {
                    let (opened, events) = (store.opened().clone(), store.stats().events);
                    self.mix(events);
                    for byte in format!("{opened:?}").bytes() {
                        self.mix(byte.into());
                    }
                    tell!(self, "{opened:?}, {events} events");
                    before.check(&self.sim, &opened, events)?;
                    if !nested {
                        break;
                    }
                }
                (Err(error), _) => {
                    let explained = nested && (self.life.kind == Kind::Log || is_failure(&error));
                    ensure!(explained, "recovery is refused: {error} ({error:?})");
                    self.report.tally.add("openings", "failed by a fault", 1);
                }
                (Ok(()), None) => return Err(Mismatch::new("opened, and no store is there")),
            }
            let lost = self.random.percent(70);
            power_lost |= lost;
            self.end_process(lost, " during the recovery");
        }
        Ok(power_lost)
    }

    /// Performs actions without faults.
    fn after_recovery(&mut self, closed: bool) -> Checked {
        if self.life.kind == Kind::Log {
            for _ in 0..self.random.below(6) {
                self.act()?;
            }
            return Ok(());
        }
        if closed && self.has_all_faults() {
            let opened = self.harness.store().map(|store| store.opened().clone());
            let dropped = match &opened {
                Some(Opened::Recovered(recovery)) => recovery.dropped_bytes,
                _ => 0,
            };
            ensure!(dropped == 0, "the store was closed, and is opened with {opened:?}");
            self.report.tally.add("openings", "after a close", 1);
        }
        self.harness.verify()?;
        for _ in 0..self.random.below(12) {
            self.act()?;
        }
        Ok(())
    }

    fn mix(&mut self, number: u64) {
        let digest = (self.report.digest ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.report.digest = digest ^ digest >> 29;
    }
}

fn shown(opened: &StoreResult<()>) -> String {
    match opened {
        Ok(()) => "opened".into(),
        Err(Error::Io { operation, path, source }) => {
            format!("not opened: cannot {operation} {}: {source}", path.display())
        }
        Err(error) => format!("not opened: {error}"),
    }
}

/// An action in a line: data is shown by its length.
fn brief(action: &Action) -> String {
    let (operations, via) = match action {
        Action::Commit(operations, via) => (operations, via),
        Action::Transaction(commit, via) => (&commit.operations, via),
        action => return format!("{action:?}"),
    };
    let mut line = format!("{via:?}");
    // Writing to a string does not fail.
    for operation in operations {
        let _ = write!(line, " [{}]", Brief(operation));
    }
    if let Action::Transaction(commit, _) = action {
        for boundary in &commit.boundaries {
            let _ = write!(line, " {boundary:?}");
        }
        for request in &commit.requests {
            let _ = write!(line, " {request:?}");
        }
    }
    line
}

struct Brief<'a>(&'a OperationChoice);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OperationChoice { stream, expected, events } = self.0;
        write!(f, "stream {stream} {expected:?}")?;
        for choice in events {
            write!(f, " {:?}:{}", choice.id, choice.event.data.len())?;
        }
        Ok(())
    }
}
