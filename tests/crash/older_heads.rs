//! Heads of streams without events in the active segment.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use annals::testing::{Call, Hook, HookedStorage, Operation, SimStorage};
use annals::{ExpectedVersion, NewEvent, Options, Result, Store};

use super::support::files_in;

/// Once armed, the next read of an index file waits until it is let pass.
#[derive(Default)]
struct IndexReads {
    armed: AtomicBool,
    /// Whether a read waits, and whether it may go on.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl IndexReads {
    fn wait_until(&self, reached: impl Fn(&(bool, bool)) -> bool) {
        let mut state = self.state.lock().unwrap();
        while !reached(&state) {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn change(&self, change: impl Fn(&mut (bool, bool))) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

impl Hook for IndexReads {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if call.operation == Operation::Read
            && call.path.starts_with("/store/index")
            && self.armed.swap(false, Ordering::SeqCst)
        {
            self.change(|state| state.0 = true);
            self.wait_until(|state| state.1);
        }
        Ok(())
    }

    fn permits_mappings(&self) -> bool {
        false
    }
}

fn open(disk: &HookedStorage<IndexReads>) -> Store {
    let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE).compaction(false);
    options.storage(Arc::new(disk.clone())).open("/store").unwrap()
}

fn append(store: &Store, stream: &str, expected: ExpectedVersion, len: usize) -> Result<u64> {
    let done = store.append(stream, expected, [NewEvent::new("T", vec![0; len])]);
    done.map(|appended| appended.version)
}

/// Appends until another segment is active.
fn fill(store: &Store) {
    let segments = store.stats().segments;
    while store.stats().segments == segments {
        append(store, "filler", ExpectedVersion::Any, 9_000).unwrap();
    }
}

#[test]
fn head_found_before_a_rollover_is_looked_up_again() {
    let disk = HookedStorage::new(SimStorage::new(1), IndexReads::default());
    let store = open(&disk);
    append(&store, "old", ExpectedVersion::NoStream, 10).unwrap();
    fill(&store);
    store.close().unwrap();
    let store = open(&disk);
    let hook = disk.hook();
    hook.armed.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let late = scope.spawn(|| append(&store, "old", ExpectedVersion::Exact(1), 10));
        hook.wait_until(|state| state.0);
        assert_eq!(append(&store, "old", ExpectedVersion::Exact(1), 10).unwrap(), 2);
        fill(&store);
        hook.change(|state| state.1 = true);
        let refused = late.join().unwrap().unwrap_err();
        assert_eq!(refused.actual_version(), Some(2), "{refused:?}");
    });
    assert_eq!(append(&store, "old", ExpectedVersion::Exact(2), 10).unwrap(), 3);
}

#[test]
fn checkpoints_do_not_grow_with_the_number_of_streams() {
    let sim = SimStorage::new(1);
    let disk = HookedStorage::new(sim.clone(), IndexReads::default());
    let store = open(&disk);
    let (mut sizes, mut number) = (Vec::new(), 0);
    for _ in 0..6 {
        for _ in 0..200 {
            number += 1;
            append(&store, &format!("s-{number}"), ExpectedVersion::NoStream, 10).unwrap();
        }
        fill(&store);
    }
    for number in 1..=number {
        assert_eq!(store.stream_head(&format!("s-{number}")).unwrap().unwrap().version, 1);
    }
    assert_eq!(store.stats().streams, number + 1);
    // The active segment has one stream.
    store.close().unwrap();
    for path in files_in(&sim, "checkpoints") {
        sizes.push(sim.read_file(&path).unwrap().len());
    }
    assert!(!sizes.is_empty() && sizes.iter().all(|&size| size < 2_500), "{sizes:?}");
    let store = open(&disk);
    assert_eq!(store.stats().streams, number + 1);
}
