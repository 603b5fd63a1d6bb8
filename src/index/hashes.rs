//! Looks up names by their hashes in an open container. Owns no bytes.

use byteorder::{ByteOrder, LittleEndian as LE};

use super::block_file::{BlockFile, Reads};
use crate::format::Defect;
use crate::format::container::Section;
use crate::format::hashes::{HASH_HALF, bucket_count, bucket_of};

const ENTRY_LEN: usize = 8;
const START_LEN: usize = 4;

/// The places of the sections HASHES and BUCKETS.
#[derive(Debug)]
pub(super) struct HashSections {
    hashes: Section,
    buckets: Section,
}

impl HashSections {
    /// Those of these kinds.
    pub(super) fn of(file: &BlockFile, hashes: u32, buckets: u32) -> Self {
        Self { hashes: file.section(hashes), buckets: file.section(buckets) }
    }

    /// Whether the file has none: it has no names, or is of an earlier version.
    pub(super) fn are_missing(&self) -> bool {
        self.hashes.len == 0
    }

    /// The place of the name with this hash for which `is_it` is true.
    pub(super) fn find(
        &self,
        file: &BlockFile,
        reads: Reads,
        hash: u64,
        is_it: impl Fn(usize) -> Result<bool, Defect>,
    ) -> Result<Option<usize>, Defect> {
        let (start, end) = self.bucket(file, reads, hash)?;
        // A bucket is short unless the hashes were chosen for that.
        let len = end.saturating_sub(start) * ENTRY_LEN;
        let bucket = file.get_with(reads, self.hashes, (start * ENTRY_LEN) as u64, len)?;
        for entry in bucket.chunks_exact(ENTRY_LEN).map(LE::read_u64) {
            if entry & HASH_HALF == hash & HASH_HALF {
                let place = usize::try_from(entry & !HASH_HALF).map_err(|_| Defect::TooShort)?;
                if is_it(place)? {
                    return Ok(Some(place));
                }
            }
        }
        Ok(None)
    }

    /// The places in HASHES of the bucket of a hash.
    fn bucket(&self, file: &BlockFile, reads: Reads, hash: u64) -> Result<(usize, usize), Defect> {
        let (count, buckets) = (self.hashes.count(ENTRY_LEN), self.buckets.count(START_LEN));
        if buckets != bucket_count(count) {
            return Err(Defect::Invalid("the number of buckets is wrong"));
        }
        if buckets == 0 {
            return Ok((0, 0));
        }
        let bucket = bucket_of(hash, buckets);
        let bounds = (buckets - bucket).min(2);
        let at = (bucket * START_LEN) as u64;
        let bounds = file.get_with(reads, self.buckets, at, bounds * START_LEN)?;
        let start = LE::read_u32(bounds) as usize;
        let end = bounds.get(START_LEN..).filter(|end| !end.is_empty());
        let end = end.map_or(count, |end| LE::read_u32(end) as usize);
        Ok((start, end.min(count)))
    }
}
