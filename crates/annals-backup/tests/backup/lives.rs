//! Whole lives of a store and its backup while processes end and the storage fails: whatever is restored is the history up
//! to a commit, and at least what was reported as shipped.
//!
//! `ANNALS_BACKUP_LIVES=500` runs that many; the default is smaller.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use annals::Store;
use annals::shipping::Until;
use annals_backup::object_store::ObjectStore;
use annals_backup::{
    Destination, Error, PruneOptions, RestoreOptions, ShipOptions, Shipper, Standby, prune,
    restore, verify,
};

use crate::faulty::FaultyStore;
use crate::support::*;

struct Life {
    dir: tempfile::TempDir,
    faults: Arc<FaultyStore>,
    to: Destination,
    store: Store,
    shipper: Option<Shipper>,
    standby: Option<Standby>,
    /// What a shipper has reported, or a promotion.
    shipped: u64,
    number: u64,
    random: u64,
    /// Standbys that took the place of the store.
    promoted: u64,
    seed: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let faults = Arc::new(FaultyStore::new(seed));
        let shared: Arc<dyn ObjectStore> = Arc::clone(&faults) as _;
        let to = Destination::in_store(shared, "life").unwrap();
        let store = open(&dir.path().join("store-0"));
        Self {
            dir,
            faults,
            to,
            store,
            shipper: None,
            standby: None,
            shipped: 0,
            number: 0,
            random: seed.wrapping_mul(0xD129_0F3A_9B1C_55D7) | 1,
            promoted: 0,
            seed,
        }
    }

    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    /// Errors of the storage are part of a life, all others are not.
    fn allow<T>(&self, result: Result<T, Error>) -> Option<T> {
        let seed = self.seed;
        match result {
            Ok(value) => Some(value),
            Err(error) if error.is_transient() => None,
            // A manifest or its base was looked for while answers were lost.
            Err(Error::NotABackup { .. }) if self.shipped == 0 => None,
            Err(error) => panic!("life {seed}: {error:?}"),
        }
    }

    fn step(&mut self) {
        match self.random(20) {
            0..=7 => {
                for _ in 0..=self.random(6) {
                    commit(&self.store, self.number);
                    self.number += 1;
                }
            }
            8..=12 => self.ship(),
            13 => {
                // The process ends.
                self.shipper = None;
                if self.random(2) == 0 {
                    let path = self.path();
                    self.store.clone().close().unwrap();
                    self.store = open(&path);
                }
            }
            14 | 15 => self.follow(),
            16 => self.standby = None,
            17 => self.restore(),
            18 => {
                let pruned = prune(&self.to, &PruneOptions::new());
                self.allow(pruned);
            }
            _ if self.random(4) == 0 => self.promote(),
            _ => {}
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join(format!("store-{}", self.promoted))
    }

    fn ship(&mut self) {
        if self.shipper.is_none() {
            let options = ShipOptions::new().compression_level(1);
            let new = Shipper::new(self.store.clone(), self.to.clone(), options.clone());
            let new = match new {
                Err(Error::Fenced { .. }) if self.promoted > 0 => {
                    Shipper::new(self.store.clone(), self.to.clone(), options.new_branch(true))
                }
                new => new,
            };
            self.shipper = self.allow(new);
        }
        let Some(mut shipper) = self.shipper.take() else { return };
        let done = shipper.ship();
        if let Some(done) = self.allow(done) {
            assert_eq!(done.position, self.store.head());
            self.shipped = done.position.get();
            self.shipper = Some(shipper);
        } else if self.random(2) == 0 {
            self.shipper = Some(shipper);
        }
    }

    fn follow(&mut self) {
        let path = self.dir.path().join(format!("store-{}", self.promoted + 1));
        let done = match self.standby.take() {
            Some(mut standby) => standby.catch_up().map(|_| standby),
            None => Standby::open(self.to.clone(), &path, |_| {}),
        };
        match done {
            // The new store has not begun its branch.
            Err(Error::Fenced { .. }) if self.promoted > 0 => {}
            // A promotion ended early, and the store went on.
            Err(Error::OtherHistory { .. }) => std::fs::remove_dir_all(&path).unwrap(),
            done => self.standby = self.allow(done),
        }
        if let Some(standby) = &self.standby {
            self.compare(&path, standby.position().get());
        }
    }

    /// What is at a path is this history up to a position.
    fn compare(&self, path: &Path, position: u64) {
        let copy = reader(path);
        assert_eq!(copy.head().get(), position, "life {}", self.seed);
        let (copied, own) = (shown(&copy, u64::MAX), shown(&self.store, position));
        assert_eq!(copied, own, "life {}", self.seed);
    }

    fn restore(&mut self) {
        let path = self.dir.path().join("restored");
        let mut options = RestoreOptions::new();
        let limit = self.random(1 + self.shipped * 2);
        if limit > 0 && limit < self.shipped {
            options = options.until(Until::Position(annals::Position::new(limit)));
        }
        let done = restore(&self.to, &path, &options, |_| {});
        let done = match done {
            Err(Error::OutOfRange { .. }) if limit > 0 => None,
            done => self.allow(done),
        };
        if let Some(done) = done {
            assert!(done.faults.unwrap().is_empty());
            let least = if limit > 0 && limit < self.shipped { 0 } else { self.shipped };
            assert!(done.position.get() >= least, "{} of {least}", done.position);
            self.compare(&path, done.position.get());
        }
        let _ = std::fs::remove_dir_all(&path);
    }

    /// The machine is gone, with or without its disk.
    fn promote(&mut self) {
        let Some(standby) = self.standby.take() else { return };
        let old = self.path();
        let before = self.store.clone();
        let is_readable = self.random(2) == 0;
        let mut old_shipper = None;
        if is_readable {
            self.shipper = None;
            self.store.clone().close().unwrap();
        } else {
            old_shipper = self.shipper.take();
        }
        let place = format!("store-{}", self.promoted + 1);
        let done = standby.promote(&place, is_readable.then_some(&*old), Duration::ZERO);
        match done {
            Ok(done) => {
                let position = done.position.get();
                let expected = if is_readable { reader(&old).head().get() } else { self.shipped };
                assert!(position >= expected, "{position} of {expected}");
                let new = open(&self.dir.path().join(&place));
                let source = if is_readable { reader(&old) } else { before };
                assert_eq!(shown(&new, u64::MAX), shown(&source, position));
                if let Some(mut shipper) = old_shipper {
                    commit(&source, 0);
                    let refused = shipper.ship();
                    let ended = matches!(&refused, Err(Error::Fenced { to, .. }) if *to == place);
                    assert!(
                        ended || refused.as_ref().is_err_and(Error::is_transient),
                        "{refused:?}"
                    );
                }
                self.promoted += 1;
                self.store = new;
                self.shipped = 0;
            }
            Err(error) => {
                // The caller of a promotion that ended early repeats it; here the old store goes on.
                assert!(error.is_transient() || matches!(error, Error::Fenced { .. }), "{error:?}");
                self.faults.heal();
                if is_readable {
                    annals::fence::lift(&old).unwrap();
                    self.store = open(&old);
                }
                let options = ShipOptions::new().new_branch(true);
                let new = Shipper::new(self.store.clone(), self.to.clone(), options);
                self.shipper = Some(new.unwrap());
                let unused = self.dir.path().join(&place);
                let _ = std::fs::remove_dir_all(unused);
                self.shipped = 0;
            }
        }
    }
}

#[test]
fn restored_histories_are_whole_whatever_fails() {
    let lives: u64 =
        std::env::var("ANNALS_BACKUP_LIVES").ok().and_then(|it| it.parse().ok()).unwrap_or(12);
    let first: u64 =
        std::env::var("ANNALS_BACKUP_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    let mut promoted = 0;
    for seed in first..first + lives {
        let mut life = Life::new(seed);
        let rate = [0, 30, 8][usize::try_from(seed % 3).unwrap()];
        for step in 0..120 {
            life.faults.fail_one_of(rate);
            life.step();
            if rate > 0 && step % 40 == 39 {
                life.faults.fail_after(0);
                life.ship();
                life.faults.heal();
            }
        }
        // Everything works again: the backup becomes whole.
        life.faults.heal();
        life.shipper = None;
        life.ship();
        assert_eq!(life.shipped, life.store.head().get(), "life {seed}");
        let found = verify(&life.to, None, |_| {}).unwrap();
        assert!(found.faults.is_empty(), "life {seed}: {:?}", found.faults);
        life.restore();
        promoted += life.promoted;
    }
    assert!(promoted > 0 || lives < 5);
}
