//! The sections HASHES and BUCKETS of index files, level files and checkpoints: the place of a name in a
//! sorted section, by the name's hash.
//!
//! ```text
//! HASHES     sorted, 8 bytes a name: the upper 32 bits of its hash << 32 | its place in the other section
//! BUCKETS    4 bytes each: the place in HASHES of the first entry of the bucket or of a later one
//! ```

/// The upper half of a hash, which IDS and HASHES keep.
pub(crate) const HASH_HALF: u64 = 0xFFFF_FFFF_0000_0000;
/// The average number of entries of HASHES in a bucket.
const ENTRIES_PER_BUCKET: usize = 8;

/// The number of buckets for this many streams.
pub(crate) fn bucket_count(streams: usize) -> usize {
    streams.div_ceil(ENTRIES_PER_BUCKET)
}

/// The bucket of a hash: its upper half, scaled. An entry of HASHES has the bucket of its hash.
pub(crate) fn bucket_of(hash: u64, buckets: usize) -> usize {
    // Below 2^32 buckets, so the product fits.
    usize::try_from(((hash >> 32) * buckets as u64) >> 32).unwrap_or(0)
}

/// Collects the section BUCKETS from the entries of HASHES, in order.
#[derive(Debug)]
pub(crate) struct BucketBuilder {
    starts: Vec<u32>,
    buckets: usize,
    entries: u32,
}

impl BucketBuilder {
    pub(crate) fn new(streams: usize) -> Self {
        let buckets = bucket_count(streams);
        Self { starts: Vec::with_capacity(buckets), buckets, entries: 0 }
    }

    pub(crate) fn add(&mut self, entry: u64) {
        let bucket = bucket_of(entry, self.buckets);
        while self.starts.len() <= bucket {
            self.starts.push(self.entries);
        }
        self.entries += 1;
    }

    /// The section.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.starts.resize(self.buckets, self.entries);
        self.starts.iter().flat_map(|start| start.to_le_bytes()).collect()
    }
}

/// The two sections, from the entries of HASHES in any order.
pub(crate) fn encode_hashes(mut entries: Vec<u64>) -> (Vec<u8>, Vec<u8>) {
    entries.sort_unstable();
    let mut buckets = BucketBuilder::new(entries.len());
    for &entry in &entries {
        buckets.add(entry);
    }
    (entries.iter().flat_map(|entry| entry.to_le_bytes()).collect(), buckets.finish())
}
