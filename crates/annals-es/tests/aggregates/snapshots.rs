//! Snapshots, and events that they cover.

use std::time::Duration;

use annals_es::blocking::block_on;
use annals_es::{
    AnnalsStore, Clock, EventStore, ExecuteError, LoadError, Mark, MemoryStore, Snapshot,
    SnapshotPolicy, Timestamp, Version,
};

use crate::account::{Command, balance, evolved, repository};

crate::with_each_store!(snapshot_replaces_earlier_events, snapshot_of_another_schema_is_ignored,);

fn snapshot_replaces_earlier_events<S: EventStore>(store: &S) {
    let policy = SnapshotPolicy::events(10);
    let accounts = repository(store).snapshots(policy).cache(0).blocking();
    for _ in 0..25 {
        accounts.execute("ann", &Command::Deposit(2)).expect("it is accepted");
    }
    let saved = block_on(store.load_snapshot("account-ann", Mark::Version(Version::MAX)));
    let saved = saved.expect("no error").expect("two were due");
    assert_eq!(saved.mark, Mark::Version(Version::new(20)));
    let (loaded, events) = evolved(|| accounts.load("ann").expect("it can be loaded"));
    assert_eq!((loaded.state.balance, loaded.version.get(), events), (50, 25, 5));
    let at = |version| {
        let load = accounts.tasks().load_at("ann", Version::new(version));
        evolved(|| block_on(load).expect("it can be loaded").state.balance)
    };
    assert_eq!((at(23), at(20), at(19)), ((46, 3), (40, 0), (38, 9)));
    // In one commit that passes several marks, the snapshot is that of its end.
    accounts.execute("ann", &Command::DepositInParts(1, 30)).expect("it is accepted");
    let (loaded, events) = evolved(|| accounts.load("ann").expect("it can be loaded"));
    assert_eq!((loaded.state.balance, loaded.version.get(), events), (80, 55, 0));
    // Without the rules, the same state is computed from all events.
    assert_eq!(balance(store, "ann"), 80);
}

fn snapshot_of_another_schema_is_ignored<S: EventStore>(store: &S) {
    let deposit = |policy: SnapshotPolicy| {
        let accounts = repository(store).snapshots(policy).blocking();
        accounts.execute("ann", &Command::Deposit(1)).expect("it is accepted");
    };
    let load = |policy: SnapshotPolicy| {
        let accounts = repository(store).snapshots(policy).blocking();
        let (loaded, events) = evolved(|| accounts.load("ann").expect("it can be loaded"));
        (loaded.state.balance, events)
    };
    let one = SnapshotPolicy::events(1);
    (0..5).for_each(|_| deposit(one));
    assert_eq!(load(one), (5, 0));
    assert_eq!(load(one.schema_version(2)), (5, 5));
    deposit(one.schema_version(2));
    assert_eq!(load(one.schema_version(2)), (6, 0));
    // A state that cannot be read as one.
    let torn = Snapshot::new("account-ann", Version::new(6), "{").schema_version(3);
    block_on(store.save_snapshot(torn)).expect("its schema is newer");
    assert_eq!(load(one.schema_version(3)), (6, 6));
}

#[test]
fn snapshot_is_due_by_bytes_and_age() {
    let clock = Clock::at(Timestamp::from_micros(1));
    let store = MemoryStore::with_clock(clock.clone());
    let saved = |id: &str| {
        let key = format!("account-{id}");
        let saved = block_on(store.load_snapshot(&key, Mark::Version(Version::MAX)));
        saved.expect("no error").map(|it| it.mark)
    };
    let mark = |version| Some(Mark::Version(Version::new(version)));

    let by_bytes = repository(&store).snapshots(SnapshotPolicy::bytes(25)).blocking();
    for expected in [None, mark(2), mark(2), mark(4)] {
        by_bytes.execute("ann", &Command::Deposit(10)).expect("it is accepted"); // 13 bytes
        assert_eq!(saved("ann"), expected);
    }
    let by_age = SnapshotPolicy::events(1000).or_age(Duration::from_secs(60));
    let by_age = repository(&store).snapshots(by_age).clock(clock.clone()).blocking();
    for (seconds, expected) in
        [(0, None), (59, None), (1, mark(3)), (59, mark(3)), (2, mark(3)), (58, mark(6))]
    {
        clock.advance(Duration::from_secs(seconds));
        by_age.execute("bob", &Command::Deposit(1)).expect("it is accepted");
        assert_eq!(saved("bob"), expected, "{seconds}");
    }
    // A repository that has just loaded the aggregate continues to count.
    let fresh = repository(&store).snapshots(SnapshotPolicy::bytes(25)).blocking();
    by_bytes.execute("eve", &Command::Deposit(10)).expect("it is accepted");
    fresh.execute("eve", &Command::Deposit(10)).expect("it is accepted");
    assert_eq!(saved("eve"), mark(2));
}

#[test]
fn hidden_events_are_an_error_unless_a_snapshot_covers_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = annals::Store::open(dir.path().join("store")).expect("a new store");
    let store = AnnalsStore::blocking(engine.clone());
    let with_snapshots =
        repository(&store).snapshots(SnapshotPolicy::events(4)).cache(0).blocking();
    for _ in 0..5 {
        with_snapshots.execute("ann", &Command::Deposit(1)).expect("it is accepted");
    }
    engine.truncate_before("account-ann", 4).expect("it can be truncated");
    assert_eq!(with_snapshots.load("ann").expect("the snapshot covers them").state.balance, 5);
    let without = repository(&store).blocking();
    let hidden = without.load("ann").expect_err("three are hidden");
    assert!(matches!(&hidden, LoadError::Hidden { missing, .. } if missing.get() == 1), "{hidden}");
    engine.archive("account-ann").expect("it can be archived");
    for accounts in [&with_snapshots, &without] {
        let done = accounts.execute("ann", &Command::Deposit(1));
        assert!(matches!(done, Err(ExecuteError::Load(LoadError::Hidden { .. }))), "{done:?}");
        assert!(accounts.load("ann").is_err());
    }
}
