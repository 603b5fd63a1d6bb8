//! Histograms of what happened since a store was opened.
//!
//! Owns the buckets: fixed ones, eight for each doubling, so that a value is known to an eighth. Counting takes no lock
//! and no allocation. Must never order memory: a count says nothing about other data.

use std::sync::atomic::{AtomicU64, Ordering};

/// Values below this one have a bucket of their own.
const EXACT: usize = 16;
/// The power of two that begins the first octave, which is [`EXACT`].
const FIRST_OCTAVE: u32 = 4;
/// Larger values are counted in the last bucket: 2^41 ns are 36 minutes.
const LAST_OCTAVE: u32 = 40;
const PER_OCTAVE: usize = 8;
const BUCKETS: usize = EXACT + (LAST_OCTAVE - FIRST_OCTAVE + 1) as usize * PER_OCTAVE;

/// A histogram that threads count in.
#[derive(Debug)]
pub(super) struct LiveHistogram([AtomicU64; BUCKETS]);

impl Default for LiveHistogram {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

impl LiveHistogram {
    pub(super) fn count(&self, value: u64) {
        self.0[bucket_of(value)].fetch_add(1, Ordering::Relaxed);
    }

    /// Like [`LiveHistogram::count`], for a histogram that one thread at a time counts in.
    pub(super) fn count_locked(&self, value: u64) {
        let count = &self.0[bucket_of(value)];
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Histogram {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let buckets = self.0.iter().map(count).enumerate();
        let filled = buckets.filter(|&(_, count)| count > 0);
        let buckets = filled.map(|(at, count)| Bucket { upto: last_of(at), count }).collect();
        Histogram { buckets }
    }
}

fn bucket_of(value: u64) -> usize {
    if let Ok(value) = usize::try_from(value)
        && value < EXACT
    {
        return value;
    }
    let octave = value.ilog2();
    if octave > LAST_OCTAVE {
        return BUCKETS - 1;
    }
    // The three bits after the first one.
    let part = usize::try_from((value >> (octave - 3)) & 7).unwrap_or(0);
    EXACT + (octave - FIRST_OCTAVE) as usize * PER_OCTAVE + part
}

/// The largest value of a bucket.
fn last_of(bucket: usize) -> u64 {
    let Some(at) = bucket.checked_sub(EXACT) else { return bucket as u64 };
    let shift = at / PER_OCTAVE + FIRST_OCTAVE as usize - 3;
    (((PER_OCTAVE + at % PER_OCTAVE + 1) as u64) << shift) - 1
}

/// How often values of a size occurred since a store was opened; see [`Stats`](crate::Stats).
///
/// The buckets are the same for every store: one for each value up to 15, then eight for each doubling. So a value is
/// known to an eighth, and histograms of several stores can be added up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Histogram {
    /// The buckets with values, ascending.
    pub buckets: Vec<Bucket>,
}

/// A bucket of a [`Histogram`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Bucket {
    /// The largest value that is counted here; the smallest one is greater than this of the bucket before.
    pub upto: u64,
    /// The number of values.
    pub count: u64,
}

impl Histogram {
    /// The number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The value that at least this share of all values do not exceed, such as 0.99, at most an eighth too large;
    /// `None` without values.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = annals::Store::open(dir.path().join("ledger"))?;
    /// if let Some(nanos) = store.stats().sync_nanos.at_share(0.99) {
    ///     println!("99 % of syncs took at most {nanos} ns");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn at_share(&self, share: f64) -> Option<u64> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share of more than 2^53 values is not exact"
        )]
        let wanted = share * self.count() as f64;
        let mut seen = 0;
        let reaches = |bucket: &&Bucket| {
            seen += bucket.count;
            #[expect(clippy::cast_precision_loss, reason = "as above")]
            let seen = seen as f64;
            seen >= wanted
        };
        let found = self.buckets.iter().find(reaches).or(self.buckets.last());
        found.map(|bucket| bucket.upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_begins_after_the_one_before() {
        for bucket in 1..BUCKETS {
            let first = last_of(bucket - 1) + 1;
            assert!(first <= last_of(bucket), "{bucket}");
            assert_eq!((bucket_of(first), bucket_of(last_of(bucket))), (bucket, bucket));
            assert!(last_of(bucket) - first <= first / 8, "{bucket}");
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
        assert_eq!(last_of(BUCKETS - 1), (1 << (LAST_OCTAVE + 1)) - 1);
    }

    #[test]
    fn share_is_the_value_that_so_many_values_do_not_exceed() {
        let live = LiveHistogram::default();
        assert_eq!(live.get().at_share(0.5), None);
        for value in 1..=100 {
            live.count(value);
        }
        let found = live.get();
        assert_eq!(found.count(), 100);
        for (share, value) in [(0.0, 1), (0.01, 1), (0.1, 10), (0.5, 50), (0.99, 99), (1.0, 100)] {
            let told = found.at_share(share).unwrap();
            assert!((value..=value + value / 8).contains(&told), "{share}: {told}");
        }
    }
}
