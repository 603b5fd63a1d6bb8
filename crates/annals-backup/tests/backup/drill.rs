//! The restore drill: random moments of a history with every kind of commit, each restored and compared.
//!
//! `ANNALS_DRILL=1000` restores that many moments; the default is smaller.

use annals::shipping::Until;
use annals::{Position, Timestamp};
use annals_backup::{RestoreOptions, restore};

use crate::support::*;

#[test]
fn store_is_restored_as_of_random_moments() {
    let moments: u64 =
        std::env::var("ANNALS_DRILL").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (_, to) = memory();
    let mut shipper = shipper(&store, &to);
    // The state beside the events as of each number of events, as the store showed it.
    let mut states = std::collections::HashMap::new();
    for number in 0..300 {
        commit(&store, number);
        states.insert(store.head().get(), state(&store));
        if number % 17 == 0 {
            shipper.ship().unwrap();
        }
    }
    shipper.ship().unwrap();
    let all = shown(&store, u64::MAX);
    let ends = commit_ends(&store);
    let times = times(&store);
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut compared = 0;
    for moment in 0..moments {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let position = 1 + random % store.head().get();
        let (until, last) = if moment % 3 == 0 {
            let time = times[usize::try_from(position).unwrap() - 1];
            let covered = times.iter().take_while(|it| **it <= time).count() as u64;
            (Until::Time(time), covered)
        } else {
            let whole = ends.iter().take_while(|end| **end <= position).last();
            (Until::Position(Position::new(position)), whole.copied().unwrap_or(0))
        };
        let copy = dir.path().join("copy");
        let options = RestoreOptions::new().until(until);
        let restored = match restore(&to, &copy, &options, |_| {}) {
            Ok(restored) => restored,
            Err(annals_backup::Error::OutOfRange { .. }) if last == 0 => continue,
            Err(error) => panic!("{until:?}: {error}"),
        };
        assert_eq!(restored.position, Position::new(last), "{until:?}");
        assert!(restored.faults.unwrap().is_empty(), "{until:?}");
        let copied = open(&copy);
        assert_eq!(shown(&copied, u64::MAX), all[..usize::try_from(last).unwrap()], "{until:?}");
        if matches!(until, Until::Position(_)) {
            assert_eq!(state(&copied), states[&last], "{until:?}");
            compared += 1;
        }
        drop(copied);
        std::fs::remove_dir_all(&copy).unwrap();
    }
    assert!(compared > moments / 2);
}

fn times(store: &annals::Store) -> Vec<Timestamp> {
    let mut times = Vec::new();
    store.read_all().include_hidden().for_each(|event| times.push(event.recorded_at())).unwrap();
    times
}
