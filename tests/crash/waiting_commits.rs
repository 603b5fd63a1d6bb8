//! Commits that wait while a sync fails all return, and a task may be polled by the thread that
//! wakes it.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use annals::testing::{
    Call, Fault, Hook, HookedStorage, Operation, SimStorage, Storage, verify_on,
};
use annals::{
    Committed, Durability, Error, ExpectedVersion, NewEvent, Options, Result, Store, Ticket,
};

use super::shared::simulated;

/// A hook of a disk: once it is closed, syncs of files wait until `let_fail` or `let_pass`.
#[derive(Default)]
struct Gate {
    closed: AtomicBool,
    passes: AtomicBool,
    entered: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) -> io::Result<()> {
        if !self.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut state = self.entered.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
        if self.passes.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(io::Error::other("the gate is closed"))
    }

    fn let_pass(&self) {
        self.passes.store(true, Ordering::SeqCst);
        self.let_fail();
    }

    fn wait_until_entered(&self) {
        let mut state = self.entered.lock().unwrap();
        while !state.0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn let_fail(&self) {
        self.entered.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

impl Hook for Gate {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if call.operation == Operation::Sync { self.pass() } else { Ok(()) }
    }
}

/// A store on a disk with a gate, and the disk. It holds one event.
fn gated() -> (Store, HookedStorage<Gate>) {
    gated_with(Options::new())
}

fn gated_with(options: Options) -> (Store, HookedStorage<Gate>) {
    let disk = HookedStorage::new(SimStorage::new(1), Gate::default());
    let options = options.storage(Arc::new(disk.clone()));
    let store = options.segment_size(Options::MIN_SEGMENT_SIZE).open("/store").unwrap();
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    (store, disk)
}

/// Found by the schedules of `tests/shuttle`: only one of the commits that waited for the failed
/// group was woken, and it woke no other.
#[test]
fn commits_waiting_for_the_next_group_all_return_after_a_failed_sync() {
    let (store, disk) = gated();
    let gate = disk.hook();
    gate.closed.store(true, Ordering::SeqCst);
    let (told, outcomes) = mpsc::channel();
    let append = || {
        let (store, told) = (store.clone(), told.clone());
        thread::spawn(move || {
            let done = store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]);
            told.send(done).unwrap();
        });
    };
    append();
    gate.wait_until_entered();
    for _ in 0..3 {
        append();
    }
    // An append is counted under the lock that it releases when it waits.
    while store.stats().appends < 5 {
        thread::yield_now();
    }
    gate.let_fail();
    let mut unknown = 0;
    for _ in 0..4 {
        match outcomes.recv_timeout(Duration::from_secs(60)).expect("a commit is never told") {
            Err(Error::OutcomeUnknown { .. }) => unknown += 1,
            Err(Error::WriterPoisoned { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(unknown, 1);
}

/// It would be written after the close frame, and after the lock on the directory is released.
#[test]
fn commit_that_waits_for_room_during_a_close_is_refused() {
    const SIZE: usize = 8 << 10;
    let (store, disk) = gated_with(Options::new().max_pending_bytes(SIZE as u64));
    let gate = disk.hook();
    let append = {
        let store = store.clone();
        move || store.append("s", ExpectedVersion::Any, [NewEvent::new("T", vec![0; SIZE])])
    };
    gate.closed.store(true, Ordering::SeqCst);
    let leads = thread::spawn(append.clone());
    gate.wait_until_entered();
    // Of two, one fills the collecting group and the other waits for room.
    let others = [thread::spawn(append.clone()), thread::spawn(append)];
    while store.stats().appends < 3 {
        thread::yield_now();
    }
    // Nothing shows that the last one waits. One that comes later is refused as well.
    thread::sleep(Duration::from_millis(100));
    let closes = {
        let store = store.clone();
        thread::spawn(move || store.close())
    };
    while !matches!(store.stream_head("s"), Err(Error::Closed)) {
        thread::yield_now();
    }
    gate.let_pass();
    leads.join().unwrap().unwrap();
    let outcomes = others.map(|other| other.join().unwrap());
    closes.join().unwrap().unwrap();
    let refused = outcomes.iter().filter(|it| matches!(it, Err(Error::Closed))).count();
    let accepted = outcomes.iter().filter(|it| it.is_ok()).count();
    assert_eq!((accepted, refused), (1, 1), "{outcomes:?}");
}

/// A task that its executor polls within the wake-up, and which commits there.
struct PolledInWake {
    store: Store,
    ticket: Mutex<Option<Ticket>>,
    told: mpsc::Sender<Result<Committed>>,
}

impl Wake for PolledInWake {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let mut ticket = self.ticket.lock().unwrap();
        let Some(waits) = ticket.as_mut() else { return };
        if let Poll::Ready(outcome) = Pin::new(waits).poll(&mut Context::from_waker(&waker)) {
            *ticket = None;
            let _ = self.store.append("woken", ExpectedVersion::Any, [NewEvent::new("T", "")]);
            self.told.send(outcome).unwrap();
        }
    }
}

/// Polls the ticket once; its outcome is sent to the returned receiver.
fn spawn(store: &Store, ticket: Ticket) -> mpsc::Receiver<Result<Committed>> {
    let (told, outcome) = mpsc::channel();
    Arc::new(PolledInWake { store: store.clone(), ticket: Mutex::new(Some(ticket)), told }).wake();
    outcome
}

fn submit(store: &Store) -> Ticket {
    let transaction = store.transaction();
    transaction.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).submit().unwrap()
}

/// The outcome of a task whose group is led by another commit that meets a fault.
fn outcome_beside(fault: Option<Fault>) -> Result<Committed> {
    let sim = SimStorage::new(1);
    let store = simulated(&sim).open("/store").unwrap();
    store.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).unwrap();
    let outcome = spawn(&store, submit(&store));
    if let Some(fault) = fault {
        sim.inject_at("log", fault);
    }
    let leader = store.clone();
    thread::spawn(move || leader.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]));
    outcome.recv_timeout(Duration::from_secs(60)).expect("the leader waits for itself")
}

#[test]
fn task_polled_within_its_wake_up_gets_its_outcome() {
    assert_eq!(outcome_beside(None).unwrap().versions, [2]);
    let outcome = outcome_beside(Some(Fault::SyncDropsPages { nth: 1 }));
    assert!(matches!(outcome, Err(Error::OutcomeUnknown { .. })), "{outcome:?}");
    let outcome = outcome_beside(Some(Fault::Full { operation: Operation::Write, nth: 1 }));
    assert!(matches!(outcome, Err(Error::DiskFull { .. })), "{outcome:?}");
}

/// The sync that fails belongs to an earlier group.
#[test]
fn task_polled_within_its_wake_up_after_another_sync_failed_gets_its_outcome() {
    let (store, disk) = gated();
    let gate = disk.hook();
    gate.closed.store(true, Ordering::SeqCst);
    let soon = Durability::Buffered { interval: Duration::from_millis(1) };
    let transaction = store.transaction().durability(soon);
    transaction.append("s", ExpectedVersion::Any, [NewEvent::new("T", "")]).commit().unwrap();
    // The thread that would write the next group is blocked in its sync.
    gate.wait_until_entered();
    let outcome = spawn(&store, submit(&store));
    gate.let_fail();
    let outcome = outcome.recv_timeout(Duration::from_secs(60)).expect("a thread waits for itself");
    assert!(matches!(outcome, Err(Error::WriterPoisoned { .. })), "{outcome:?}");
}

/// A gate for the syncs of the first segment, and whether a checkpoint was touched while it was closed.
#[derive(Default)]
struct FirstSegmentGate {
    gate: Gate,
    touched: AtomicBool,
}

impl Hook for FirstSegmentGate {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        if call.changes_the_disk() && call.path.starts_with("/store/checkpoints") {
            self.touched.fetch_or(self.gate.closed.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        let is_first = call.is_segment() && call.path.to_string_lossy().ends_with("01.seg");
        if is_first { self.gate.before(call) } else { Ok(()) }
    }
}

#[test]
fn checkpoint_waits_for_the_sync_of_all_that_it_covers() {
    let disk = HookedStorage::new(SimStorage::new(1), FirstSegmentGate::default());
    let options = Options::new().segment_size(Options::MIN_SEGMENT_SIZE);
    let store = options.storage(Arc::new(disk.clone())).open("/store").unwrap();
    let append = |durability| {
        let transaction = store.transaction().durability(durability);
        let event = NewEvent::new("T", vec![0; 9_000]);
        transaction.append("s", ExpectedVersion::Any, [event]).commit()
    };
    // Six of these fill a segment.
    let unsynced = Durability::Buffered { interval: Duration::from_secs(3600) };
    for durability in [Durability::Sync; 5].into_iter().chain([unsynced]) {
        append(durability).unwrap();
    }
    let hook = disk.hook();
    hook.gate.closed.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let appended = scope.spawn(|| append(Durability::Sync));
        hook.gate.wait_until_entered();
        // The rollover is done; a checkpoint that does not wait would be written about now.
        thread::sleep(Duration::from_millis(200));
        let touched = hook.touched.load(Ordering::SeqCst);
        hook.gate.closed.store(false, Ordering::SeqCst);
        hook.gate.let_pass();
        appended.join().unwrap().unwrap();
        assert!(!touched, "a checkpoint was written while the sync was in progress");
    });
    // The rollover did begin one: it is written by now, at the latest by the close.
    store.close().unwrap();
    assert!(!disk.read_dir(Path::new("/store/checkpoints")).unwrap().is_empty());
}

/// A hook of a disk: a gate for the writes to the first segment.
#[derive(Default)]
struct FirstSegmentWrites(Gate);

impl Hook for FirstSegmentWrites {
    fn before(&self, call: Call<'_>) -> io::Result<()> {
        let is_first = call.is_segment() && call.path.to_string_lossy().ends_with("01.seg");
        if is_first && call.operation == Operation::Write { self.0.pass() } else { Ok(()) }
    }
}

#[test]
fn full_segment_is_not_sealed_before_its_last_group_is_written() {
    let disk = HookedStorage::new(SimStorage::new(1), FirstSegmentWrites::default());
    let options = || Options::new().segment_size(Options::MIN_SEGMENT_SIZE);
    let store = options().storage(Arc::new(disk.clone())).open("/store").unwrap();
    let event = || [NewEvent::new("T", vec![0; 9_000])];
    // Six of these fill a segment.
    for _ in 0..5 {
        store.append("s", ExpectedVersion::Any, event()).unwrap();
    }
    let gate = &disk.hook().0;
    gate.closed.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let last = scope.spawn(|| store.append("s", ExpectedVersion::Any, event()));
        gate.wait_until_entered();
        let first_of_next =
            store.transaction().append("s", ExpectedVersion::Any, event()).submit().unwrap();
        // The rollover is done; a seal that does not wait would be written about now.
        thread::sleep(Duration::from_secs(1));
        gate.closed.store(false, Ordering::SeqCst);
        gate.let_pass();
        last.join().unwrap().unwrap();
        first_of_next.wait().unwrap();
    });
    store.close().unwrap();
    let store = options().storage(Arc::new(disk.clone())).open("/store").unwrap();
    let versions: Vec<u64> =
        store.read_all().into_iter().map(|event| event.unwrap().version()).collect();
    assert_eq!(versions, (1..=7).collect::<Vec<_>>());
    store.close().unwrap();
    assert_eq!(verify_on(&disk, "/store", |_| {}).unwrap().faults, []);
}
