//! A power loss: its settings, and the choices that follow from its seed.

use super::chance::Chance;
use super::image::SECTOR;

/// How directory entries become durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DirectoryModel {
    /// A name is durable only after a sync of its directory. Directories are independent of each other;
    /// within one, changes survive in order.
    #[default]
    Strict,
    /// One journal for the whole file system: changes of names survive in order everywhere, and
    /// the sync of a newly created file also makes its name, and all changes before it, durable.
    Ext4Like,
}

/// Which unsynced changes a power loss keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// A random choice between the other variants and mixtures of them: each sector and each length
    /// survives independently, with a probability that is drawn for the whole crash.
    #[default]
    Random,
    /// Everything that was written before a moment drawn from the seed, and nothing after it.
    InOrder,
    /// Everything.
    Everything,
    /// Only synced writes.
    Nothing,
}

/// A power loss. The same crash of the same disk always leaves the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// Seeds every choice that the other settings leave open.
    pub seed: u64,
    /// The unit that the drive writes atomically: 512, 4096 or another power of two of at least
    /// 512.
    pub sector_size: usize,
    /// Whether sectors that survive may be torn at any byte, as on media without atomic sectors.
    pub tear_bytes: bool,
    /// Which unsynced changes survive.
    pub keep: Keep,
}

impl Crash {
    /// A power loss that keeps a random subset, in whole sectors of 512 bytes.
    pub fn new(seed: u64) -> Self {
        Self { seed, sector_size: SECTOR, tear_bytes: false, keep: Keep::Random }
    }

    /// Sets the size of a sector.
    pub fn sector_size(self, sector_size: usize) -> Self {
        Self { sector_size, ..self }
    }

    /// Allows sectors to be torn at any byte.
    pub fn tear_bytes(self) -> Self {
        Self { tear_bytes: true, ..self }
    }

    /// Sets which unsynced changes survive.
    pub fn keep(self, keep: Keep) -> Self {
        Self { keep, ..self }
    }
}

/// The bias of the choices of one crash.
#[derive(Debug, Clone, Copy)]
enum Lean {
    /// Nothing after this operation survives.
    Until(u64),
    /// The newest version survives in this percentage of cases.
    Newest(u64),
    Nothing,
}

/// The random choices of one crash.
#[derive(Debug)]
pub(super) struct Plan {
    chance: Chance,
    lean: Lean,
    crash: Crash,
}

impl Plan {
    /// A plan for a disk whose unsynced changes were made by operations in `first..=last`.
    pub(super) fn new(crash: &Crash, first: u64, last: u64) -> Self {
        assert!(
            crash.sector_size >= SECTOR && crash.sector_size.is_power_of_two(),
            "a drive's sector of {} bytes",
            crash.sector_size
        );
        let mut chance = Chance::new(crash.seed);
        let until = first.saturating_sub(1) + chance.below(last.saturating_sub(first) + 2);
        let lean = match crash.keep {
            Keep::Everything => Lean::Newest(100),
            Keep::Nothing => Lean::Nothing,
            Keep::InOrder => Lean::Until(until),
            Keep::Random => match chance.below(8) {
                0 | 1 => Lean::Until(until),
                2 => Lean::Newest(100),
                3 => Lean::Newest(95),
                4 => Lean::Newest(5),
                5 => Lean::Nothing,
                _ => Lean::Newest(50),
            },
        };
        Self { chance, lean, crash: *crash }
    }

    pub(super) fn sector_size(&self) -> usize {
        self.crash.sector_size
    }

    /// Chooses one of the `moments` (ascending), or `None` for the durable state, which cannot be chosen
    /// if a truncation at `oldest` survived.
    pub(super) fn choose(&mut self, moments: &[u64], oldest: u64, end: u64) -> Option<usize> {
        debug_assert!(moments.iter().all(|at| (oldest..end).contains(at)));
        let newest = moments.len().checked_sub(1)?;
        let durable = if oldest == 0 { None } else { Some(0) };
        match self.lean {
            Lean::Nothing => durable,
            Lean::Until(until) => {
                moments.partition_point(|at| *at <= until).checked_sub(1).or(durable)
            }
            Lean::Newest(percent) if self.chance.percent(percent) => Some(newest),
            Lean::Newest(_) if self.chance.percent(50) => durable,
            Lean::Newest(_) => match self.chance.index(moments.len() + 1) {
                0 => durable,
                chosen => Some(chosen - 1),
            },
        }
    }

    /// Number of changes of names, made at these `moments`, that survive.
    pub(super) fn names(&mut self, moments: &[u64]) -> usize {
        let count = moments.len();
        match (self.crash.keep, self.lean) {
            (Keep::Everything, _) => count,
            (Keep::Nothing, _) => 0,
            (Keep::InOrder, Lean::Until(until)) => moments.partition_point(|at| *at <= until),
            _ => match self.chance.below(3) {
                0 => count,
                1 => 0,
                _ => self.chance.index(count + 1),
            },
        }
    }

    /// Whether and how a surviving sector is torn.
    pub(super) fn tear(&mut self) -> Option<Tear> {
        if !self.crash.tear_bytes || self.chance.percent(50) {
            return None;
        }
        let position = self.chance.index(self.crash.sector_size);
        Some(Tear { position, old_first: self.chance.percent(25) })
    }
}

/// A sector that is torn: one side has the new contents, the other the old.
#[derive(Debug)]
pub(super) struct Tear {
    position: usize,
    old_first: bool,
}

impl Tear {
    pub(super) fn is_old(&self, position: usize) -> bool {
        (position < self.position) == self.old_first
    }
}
