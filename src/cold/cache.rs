//! The cold segments that were read back, in memory.
//!
//! Owns their bytes, and which of them are on the way. Bounded: what is kept and what is on the way together take no
//! more than the limit, except that one segment is always possible. Must never hold its lock while a segment is
//! fetched.

use std::io;

use bytes::Bytes;

use crate::sync::{Condvar, Mutex, Rank};

#[derive(Debug)]
pub(super) struct Cache {
    /// In bytes.
    limit: u64,
    slots: Mutex<Vec<Slot>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Slot {
    segment: u64,
    len: u64,
    /// `None`: on the way.
    bytes: Option<Bytes>,
}

impl Cache {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, slots: Mutex::new(Rank::ColdCache, Vec::new()), changed: Condvar::new() }
    }

    /// The bytes of a segment of this length, fetched if they are not here. A segment is on the way once: others that
    /// need it wait, and try themselves if that fails.
    pub(super) fn get(
        &self,
        segment: u64,
        len: u64,
        fetch: impl FnOnce() -> io::Result<Bytes>,
    ) -> io::Result<Bytes> {
        if let Some(bytes) = self.take_or_begin(segment, len) {
            return Ok(bytes);
        }
        let mut begun = Begun { cache: self, segment, bytes: None };
        let bytes = fetch()?;
        begun.bytes = Some(bytes.clone());
        Ok(bytes)
    }

    /// The bytes of a segment, if they are here.
    pub(super) fn kept(&self, segment: u64) -> Option<Bytes> {
        let slots = self.slots.lock();
        slots.iter().find(|slot| slot.segment == segment)?.bytes.clone()
    }

    /// The bytes if they are here; otherwise the segment counts as on the way.
    fn take_or_begin(&self, segment: u64, len: u64) -> Option<Bytes> {
        let mut slots = self.slots.lock();
        loop {
            match slots.iter().position(|slot| slot.segment == segment) {
                Some(at) if slots[at].bytes.is_some() => {
                    // The last one is the last to be dropped.
                    let slot = slots.remove(at);
                    let bytes = slot.bytes.clone();
                    slots.push(slot);
                    return bytes;
                }
                None if self.make_room(&mut slots, len) => {
                    slots.push(Slot { segment, len, bytes: None });
                    return None;
                }
                // It is on the way, or others are and leave no room.
                Some(_) | None => {}
            }
            self.changed.wait(&mut slots);
        }
    }

    /// Drops the segments that were used least recently, until this many bytes fit; whether they do.
    fn make_room(&self, slots: &mut Vec<Slot>, len: u64) -> bool {
        while !slots.is_empty() {
            let used: u64 = slots.iter().map(|slot| slot.len).sum();
            if used.saturating_add(len) <= self.limit {
                return true;
            }
            let Some(oldest) = slots.iter().position(|slot| slot.bytes.is_some()) else {
                return false;
            };
            slots.remove(oldest);
        }
        true
    }

    /// Forgets a segment.
    pub(super) fn forget(&self, segment: u64) {
        self.slots.lock().retain(|slot| slot.segment != segment || slot.bytes.is_none());
        self.changed.notify_all();
    }
}

/// A segment on the way; dropped when it has arrived or failed.
struct Begun<'a> {
    cache: &'a Cache,
    segment: u64,
    bytes: Option<Bytes>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut slots = self.cache.slots.lock();
        let own = |slot: &Slot| slot.segment == self.segment && slot.bytes.is_none();
        match (slots.iter().position(own), self.bytes.take()) {
            (Some(at), Some(bytes)) => slots[at].bytes = Some(bytes),
            (Some(at), None) => drop(slots.remove(at)),
            (None, _) => {}
        }
        self.cache.changed.notify_all();
    }
}

#[cfg(all(test, not(annals_shuttle)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};

    use super::*;

    fn bytes(len: u64) -> Bytes {
        vec![7; usize::try_from(len).unwrap_or_default()].into()
    }

    fn kept(cache: &Cache) -> Vec<u64> {
        cache.slots.lock().iter().map(|slot| slot.segment).collect()
    }

    #[test]
    fn cache_keeps_what_was_used_last_up_to_its_limit() {
        let cache = Cache::new(100);
        for segment in [1, 2, 1, 3] {
            cache.get(segment, 40, || Ok(bytes(40))).unwrap();
        }
        assert_eq!(kept(&cache), [1, 3]);
        // One that is larger than the limit takes all of it.
        cache.get(4, 500, || Ok(bytes(500))).unwrap();
        assert_eq!(kept(&cache), [4]);
        cache.forget(4);
        assert!(kept(&cache).is_empty());
    }

    #[test]
    fn failed_fetch_keeps_nothing_and_the_next_one_tries_again() {
        let cache = Cache::new(100);
        cache.get(1, 40, || Err(io::Error::other("unreachable"))).unwrap_err();
        assert!(kept(&cache).is_empty());
        assert_eq!(cache.get(1, 40, || Ok(bytes(40))).unwrap(), bytes(40));
        cache.get(1, 40, || panic!("it is here")).unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            cache.get(2, 40, || panic!("a fault of the source"))
        }));
        assert!(panicked.is_err());
        assert_eq!(kept(&cache), [1]);
    }

    #[test]
    fn threads_that_need_the_same_segment_fetch_it_once_and_the_limit_holds_for_those_on_the_way() {
        let cache = Arc::new(Cache::new(80));
        let (fetched, at_once, most) = <(AtomicUsize, AtomicUsize, AtomicUsize)>::default();
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (cache, fetched, at_once, most, start) =
                    (&cache, &fetched, &at_once, &most, &start);
                scope.spawn(move || {
                    start.wait();
                    // Two of these fit at a time.
                    let got = cache.get(thread % 4, 40, || {
                        fetched.fetch_add(1, Ordering::SeqCst);
                        let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(5));
                        at_once.fetch_sub(1, Ordering::SeqCst);
                        Ok(bytes(40))
                    });
                    assert_eq!(got.unwrap(), bytes(40));
                });
            }
        });
        assert!(most.into_inner() <= 2);
        assert!((4..=8).contains(&fetched.into_inner()));
    }
}
