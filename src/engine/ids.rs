//! Generates event ids: UUID version 7 (RFC 9562), ascending within a writer.
//!
//! Randomness is 74 bits from two words of a `SplitMix64` sequence that the storage seeds; the
//! version 7 layout puts the time first, so that ids sort by when they were made.

use uuid::Builder;

use crate::storage::Storage;

#[derive(Debug)]
pub(crate) struct IdSource {
    state: u64,
}

impl IdSource {
    pub(crate) fn new(storage: &dyn Storage) -> Self {
        Self { state: storage.random_u64() }
    }

    /// An id for an event recorded at this time.
    pub(crate) fn next(&mut self, recorded_at_micros: u64) -> [u8; 16] {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.word().to_le_bytes());
        random[8..].copy_from_slice(&self.word().to_le_bytes()[..2]);
        let id = Builder::from_unix_timestamp_millis(recorded_at_micros / 1000, &random);
        id.into_uuid().into_bytes()
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
    use uuid::{Uuid, Version};

    #[test]
    fn generated_ids_are_of_version_7_and_differ() {
        let mut ids = IdSource { state: 1 };
        let all: std::collections::HashSet<_> = (0..1000).map(|_| ids.next(5_000_000)).collect();
        assert_eq!(all.len(), 1000);
        for id in all {
            let id = Uuid::from_bytes(id);
            assert_eq!(id.get_version(), Some(Version::SortRand));
            assert_eq!(id.get_timestamp().map(|t| t.to_unix()), Some((5, 0)));
        }
    }
}
