//! Random numbers for simulations: the same seed gives the same life.

use super::operations::{Action, Source};

/// Reproducible random numbers for simulations: `SplitMix64`.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers follow from the seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// True in this percentage of the cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these, of which there is at least one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        &from[index]
    }

    /// An action.
    pub fn action(&mut self) -> Action {
        let bytes: Vec<u8> = (0..8).flat_map(|_| self.number().to_le_bytes()).collect();
        Action::decode(&mut Source::new(&bytes))
    }

    /// An action, including those that do not append.
    pub fn any_action(&mut self) -> Action {
        let bytes: Vec<u8> = (0..9).flat_map(|_| self.number().to_le_bytes()).collect();
        Action::decode_any(&mut Source::new(&bytes))
    }

    /// An action of any kind.
    pub fn every_action(&mut self) -> Action {
        let bytes: Vec<u8> = (0..16).flat_map(|_| self.number().to_le_bytes()).collect();
        Action::decode_every(&mut Source::new(&bytes))
    }
}
