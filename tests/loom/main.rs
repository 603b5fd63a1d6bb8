//! Model checks of the protocols without locks, in all interleavings that weak memory permits.
//!
//! The files under test are `src/sync/progress.rs` and `src/sync/wait_list.rs`: this module checks
//! how positions are published, and [`waits`] how the threads and tasks that wait for them are
//! woken. Run with `just loom`; see `docs/internals/concurrency.md`.
#![cfg(annals_loom)]
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::print_stderr, reason = "how many executions were tried")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod sync;
mod waits;
#[path = "../../src/sync/wait_list.rs"]
#[allow(dead_code, reason = "the engine uses all of it")]
mod watch;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use sync::AtomicMark;

/// Tries every execution, with a bounded number of preemptions if one is given, and prints their
/// number.
fn model(name: &str, switches: Option<usize>, execution: impl Fn() + Send + Sync + 'static) {
    let tried = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = std::sync::Arc::clone(&tried);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = switches;
    builder.check(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        execution();
    });
    eprintln!("{name}: {} executions", tried.load(std::sync::atomic::Ordering::Relaxed));
}

/// A small model of what the engine's threads share: two bytes of a segment, and the marks over
/// them.
struct Log {
    bytes: [UnsafeCell<u8>; 2],
    /// The end of the segment in bytes.
    end: AtomicMark,
    written: AtomicMark,
    durable: AtomicMark,
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            bytes: [UnsafeCell::new(0), UnsafeCell::new(0)],
            end: AtomicMark::new(0),
            written: AtomicMark::new(0),
            durable: AtomicMark::new(0),
        })
    }

    /// Writes a group, as `group_commit` does.
    fn write(&self, position: u8) {
        let at = usize::from(position - 1);
        #[allow(unsafe_code, reason = "loom watches the access")]
        self.bytes[at].with_mut(|byte| unsafe { *byte = position });
        self.end.raise(u64::from(position));
        self.written.raise(u64::from(position));
    }

    fn sync(&self, position: u64) {
        self.durable.raise(position);
    }

    /// Reads as readers do: pins the head, then reads the bytes before the end of the segment. Loom
    /// fails if a byte might not be there.
    fn read_up_to(&self, head: u64) {
        let end = self.end.get();
        assert!(end >= head, "{head} is visible, and the segment ends at {end}");
        for (at, byte) in self.bytes.iter().enumerate().take(usize::try_from(end).unwrap_or(2)) {
            #[allow(unsafe_code, reason = "loom watches the access")]
            let byte = byte.with(|byte| unsafe { *byte });
            assert_eq!(usize::from(byte), at + 1);
        }
    }
}

#[test]
fn visible_position_can_be_read() {
    model("visible_position_can_be_read", None, || {
        let log = Log::new();
        let writer = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                for position in 1..=2 {
                    log.write(position);
                    log.sync(u64::from(position));
                }
            })
        };
        let durable = log.durable.get();
        let written = log.written.get();
        assert!(durable <= written, "{durable} is durable, and {written} written");
        log.read_up_to(durable);
        log.read_up_to(written);
        assert!(log.durable.get() >= durable);
        writer.join().unwrap();
    });
}

/// A leader and the sync of a buffered store publish concurrently, the older position last.
#[test]
fn durable_position_never_decreases() {
    model("durable_position_never_decreases", None, || {
        let log = Log::new();
        log.write(1);
        log.write(2);
        let publish = |position| {
            let log = Arc::clone(&log);
            thread::spawn(move || log.sync(position))
        };
        let publishers = [publish(1), publish(2)];
        let first = log.durable.get();
        assert!(log.durable.get() >= first);
        for publisher in publishers {
            publisher.join().unwrap();
        }
        assert_eq!(log.durable.get(), 2);
    });
}
