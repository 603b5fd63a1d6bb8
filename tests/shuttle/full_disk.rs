//! A disk that fills up under a group of commits while others wait: the group and the next one are
//! taken back, and the store goes on.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};

use annals::testing::{Call, File, Hook, HookedStorage, SimStorage};
use shuttle::rand::{Rng as _, thread_rng};

use super::failures::{Told, appender, check_outcomes};
use super::support::*;

/// A hook of a disk: one write to the log finds no space, after half of it was written.
#[derive(Default)]
struct FullAtWrite {
    /// Number of writes to the log up to and including that one; 0: none fails any more.
    left: AtomicU64,
}

impl Hook for FullAtWrite {
    fn write(&self, call: Call<'_>, file: &dyn File, buf: &[u8]) -> io::Result<usize> {
        if call.path.parent().is_some_and(|directory| directory.ends_with("log")) {
            let before = self.left.load(Ordering::Relaxed);
            self.left.store(before.saturating_sub(1), Ordering::Relaxed);
            if before == 1 {
                file.write_at(&buf[..buf.len() / 2], call.offset)?;
                return Err(ErrorKind::StorageFull.into());
            }
        }
        file.write_at(buf, call.offset)
    }
}

fn fills_up(size: usize) {
    let sim = SimStorage::new(1);
    let disk = HookedStorage::new(sim.process(), FullAtWrite::default());
    let store = options(disk.clone()).open(ROOT).unwrap();
    append(&store, "first", 10).unwrap();
    disk.hook().left.store(thread_rng().gen_range(1..6), Ordering::Relaxed);
    let appenders = ["a", "b", "c"].map(|name| appender(&store, name, size));
    let outcomes: Vec<_> = appenders.into_iter().flat_map(|it| it.join().unwrap()).collect();
    disk.hook().left.store(0, Ordering::Relaxed);
    let went_on = append(&store, "last", 10);
    // Only commits in two segments cannot be taken back.
    let poisoned = outcomes.iter().any(|(_, told)| *told == Told::Unknown);
    assert!(went_on.is_ok() || poisoned, "{went_on:?} after {outcomes:?}");
    check_outcomes(&store, &outcomes);
    let _ = store.close();
    check_outcomes(&after_power_loss(&sim), &outcomes);
}

#[test]
fn disk_full_ends_every_waiting_commit_and_the_store_goes_on() {
    explore(|| fills_up(10));
}

#[test]
fn disk_full_during_a_rollover_ends_every_waiting_commit() {
    explore(|| fills_up(7_500));
}
