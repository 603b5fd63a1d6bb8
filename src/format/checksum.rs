//! CRC-32 (IEEE 802.3, as in zlib), with an initial state; and the hash of names.
//!
//! Seeding ties bytes to their place: a frame to its segment and offset, a record to its segment
//! and position. CRC is linear, so a wrong seed always gives a wrong checksum.

use crc32fast::Hasher;

/// CRC-32 of `bytes`, continuing from `state` (0 to begin).
pub(crate) fn crc32(state: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(state);
    hasher.update(bytes);
    hasher.finalize()
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): for finding names, not for proving contents.
pub(crate) fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// A segment's seed: the checksum of its salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn of_salt(salt: u64) -> Self {
        Self(crc32(0, &salt.to_le_bytes()))
    }

    /// The seed for checksums that are bound to the segment only.
    pub(crate) const fn plain(self) -> u32 {
        self.0
    }

    /// The seed for checksums that are also bound to a place, given by its file offset or its
    /// position.
    #[expect(clippy::cast_possible_truncation, reason = "the halves are folded on purpose")]
    pub(crate) const fn at(self, place: u64) -> u32 {
        self.0 ^ (place as u32) ^ ((place >> 32) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_equals_the_one_of_zlib() {
        assert_eq!(crc32(0, b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xCBF4_3926);
    }

    #[test]
    fn fnv_1a_equals_the_published_values() {
        assert_eq!(fnv_1a(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv_1a(b"a"), 0xAF63_DC4C_8601_EC8C);
    }

    #[test]
    fn checksum_seed_differs_by_offset_and_salt() {
        let seed = Seed::of_salt(7);
        assert_ne!(crc32(seed.at(8192), b"x"), crc32(seed.at(8200), b"x"));
        assert_ne!(crc32(seed.at(1 << 32), b"x"), crc32(seed.at(0), b"x"));
        assert_ne!(Seed::of_salt(7), Seed::of_salt(8));
    }
}
