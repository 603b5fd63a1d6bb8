//! Generates event ids: UUID version 7 (RFC 9562), ascending within a writer.
//!
//! Randomness is 74 bits from two words of a `SplitMix64` sequence that the storage seeds; the
//! version 7 layout puts the time first, so that ids sort by when they were made. An id is put together in registers:
//! bytes in memory that are written in parts and read as a whole stall the processor.

use crate::storage::Storage;

#[derive(Debug)]
pub(crate) struct IdSource {
    state: u64,
}

impl IdSource {
    pub(crate) fn new(storage: &dyn Storage) -> Self {
        Self { state: storage.random_u64() }
    }

    /// An id for an event recorded at this time, as a number: its bytes are big-endian.
    pub(crate) fn next(&mut self, recorded_at_micros: u64) -> u128 {
        let (first, second) = (self.word().swap_bytes(), self.word().swap_bytes());
        // 16 bits, of which the version replaces four, and 64, of which the variant replaces two.
        let (random_a, random_b) = (first >> 48, (first << 16) | (second >> 48));
        let time = u128::from((recorded_at_micros / 1000) & 0xFFFF_FFFF_FFFF) << 80;
        let high = u128::from(0x7000 | (random_a & 0x0FFF)) << 64;
        let low = u128::from((1 << 63) | (random_b & (u64::MAX >> 2)));
        time | high | low
    }

    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.state;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::{Builder, Uuid, Version};

    #[test]
    fn generated_id_has_the_layout_of_the_crate_uuid() {
        for time in [0, 999, 1_793_491_200_123_456, u64::MAX] {
            let (mut ids, mut words) = (IdSource { state: time }, IdSource { state: time });
            for _ in 0..100 {
                let mut random = [0; 10];
                random[..8].copy_from_slice(&words.word().to_le_bytes());
                random[8..].copy_from_slice(&words.word().to_le_bytes()[..2]);
                let expected = Builder::from_unix_timestamp_millis(time / 1000, &random);
                assert_eq!(ids.next(time), expected.into_uuid().as_u128());
            }
        }
    }

    #[test]
    fn generated_ids_are_of_version_7_and_differ() {
        let mut ids = IdSource { state: 1 };
        let all: std::collections::HashSet<_> = (0..1000).map(|_| ids.next(5_000_000)).collect();
        assert_eq!(all.len(), 1000);
        for id in all {
            let id = Uuid::from_u128(id);
            assert_eq!(id.get_version(), Some(Version::SortRand));
            assert_eq!(id.get_timestamp().map(|t| t.to_unix()), Some((5, 0)));
        }
    }
}
