//! Counts the different disks on which a test opens a store. With `ANNALS_COUNT_STATES=1` each test
//! prints its count when it ends (shown with `-- --nocapture`). The figures of `docs/evidence.md`
//! come from here.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use annals::testing::SimStorage;

thread_local! {
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// Dropped when the thread of the test ends.
struct Seen {
    test: String,
    states: HashSet<u64>,
}

impl Drop for Seen {
    fn drop(&mut self) {
        eprintln!("states {} {}", self.states.len(), self.test);
    }
}

/// Counts the current contents of the disk.
pub(crate) fn note(sim: &SimStorage) {
    if std::env::var_os("ANNALS_COUNT_STATES").is_none() {
        return;
    }
    let mut hasher = DefaultHasher::new();
    for path in sim.files() {
        path.hash(&mut hasher);
        sim.read_file(&path).ok().hash(&mut hasher);
        // The same live contents may have different durable ones.
        sim.read_durable(&path).ok().hash(&mut hasher);
    }
    let test = || std::thread::current().name().unwrap_or("main").to_owned();
    SEEN.with_borrow_mut(|seen| {
        let seen = seen.get_or_insert_with(|| Seen { test: test(), states: HashSet::new() });
        seen.states.insert(hasher.finish());
    });
}
