//! Aggregates: commands, snapshots, repetition, contention, faults.

#![allow(missing_docs)]

#[path = "../examples/bank_read_model.rs"]
#[allow(dead_code, reason = "an example's `main` is not called from here")]
mod bank_read_model;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use annals_es::blocking::{block_on, iter};
use annals_es::testing::{given, given_recorded};
use annals_es::{
    Aggregate, AnnalsStore, AppendError, AtomicCheckpoints, Clock, Commit, Committed, Context,
    Event, EventStore, Events, ExecuteError, Expected, LoadError, Mark, MemoryStore, Metadata,
    NewEvent, OrderedStore, Position, Query, ReadAll, ReadStream, RecordedEvent, Repository,
    SeveralStreams, Snapshot, SnapshotPolicy, StoreError, StreamName, Timestamp, Version,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
enum AccountEvent {
    #[event(name = "AccountOpened")]
    Opened {
        #[tag]
        owner: String,
    },
    #[event(name = "MoneyDeposited")]
    Deposited { amount: u64 },
    #[event(name = "MoneyWithdrawn")]
    Withdrawn { amount: u64, memo: String },
}

#[derive(Debug, Clone)]
enum Command {
    Open(&'static str),
    Deposit(u64),
    DepositInParts(u64, usize),
    Withdraw(u64),
    WithdrawWith(u64, String),
    Nothing,
    Panic,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
enum Refusal {
    #[error("the account has only {0}")]
    TooLittle(u64),
    #[error("the account is open already")]
    Open,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Account {
    owner: Option<String>,
    balance: u64,
}

thread_local! {
    /// The number of events by which this thread has changed states.
    static EVOLVED: Cell<u64> = const { Cell::new(0) };
}

/// The number of events by which a call changes states.
fn evolved<T>(call: impl FnOnce() -> T) -> (T, u64) {
    let before = EVOLVED.get();
    let done = call();
    (done, EVOLVED.get() - before)
}

impl Aggregate for Account {
    type Command = Command;
    type Event = AccountEvent;
    type Error = Refusal;
    const CATEGORY: &'static str = "account";

    fn initial() -> Self {
        Self { owner: None, balance: 0 }
    }

    fn decide(&self, command: &Command) -> Result<Events<AccountEvent>, Refusal> {
        match command.clone() {
            Command::Open(_) if self.owner.is_some() => Err(Refusal::Open),
            Command::Open(owner) => Ok(AccountEvent::Opened { owner: owner.into() }.into()),
            Command::Deposit(amount) => Ok(AccountEvent::Deposited { amount }.into()),
            Command::DepositInParts(amount, parts) => {
                Ok((0..parts).map(|_| AccountEvent::Deposited { amount }).collect())
            }
            Command::Withdraw(amount) => self.decide(&Command::WithdrawWith(amount, String::new())),
            Command::WithdrawWith(amount, _) if amount > self.balance => {
                Err(Refusal::TooLittle(self.balance))
            }
            Command::WithdrawWith(amount, memo) => {
                Ok(AccountEvent::Withdrawn { amount, memo }.into())
            }
            Command::Nothing => Ok(Events::none()),
            Command::Panic => panic!("a decision that panics"),
        }
    }

    fn evolve(&mut self, event: &AccountEvent) {
        EVOLVED.set(EVOLVED.get() + 1);
        match event {
            AccountEvent::Opened { owner } => self.owner = Some(owner.clone()),
            AccountEvent::Deposited { amount } => self.balance += amount,
            AccountEvent::Withdrawn { amount, .. } => self.balance -= amount,
        }
    }
}

fn repository<S: EventStore>(store: &S) -> Repository<Account, S> {
    Repository::new(store.clone()).expect("all versions have a path")
}

fn balance<S: EventStore>(store: &S, id: &str) -> u64 {
    let loaded = block_on(repository(store).load(id)).expect("it can be loaded");
    loaded.state.balance
}

fn events<S: EventStore>(store: &S, id: &str) -> Vec<RecordedEvent> {
    let read = store.read_stream(ReadStream::of(StreamName::new("account", id)));
    iter(read).map(|event| event.expect("a read")).collect()
}

/// Runs a test with a store in memory, and with the engine in both forms.
macro_rules! with_each_store {
    ($($test:ident),* $(,)?) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&annals_es::MemoryStore::new()); })*
        }
        mod annals_blocking {
            $(#[test] fn $test() {
                let dir = tempfile::tempdir().expect("a directory");
                let store = annals::Store::open(dir.path().join("store")).expect("a new store");
                super::$test(&annals_es::AnnalsStore::blocking(store));
            })*
        }
        mod annals_for_tasks {
            $(#[test] fn $test() {
                let dir = tempfile::tempdir().expect("a directory");
                let store = annals::Store::open(dir.path().join("store")).expect("a new store");
                super::$test(&annals_es::AnnalsStore::new(store));
            })*
        }
    };
}

with_each_store!(
    command_is_decided_and_recorded,
    snapshot_replaces_earlier_events,
    snapshot_of_another_schema_is_ignored,
    repeated_command_returns_its_first_outcome,
    command_repeated_at_once_is_executed_once,
    version_that_the_sender_saw_is_required,
    contending_repositories_lose_nothing,
    command_that_decides_too_much_is_refused,
    event_that_cannot_be_read_is_an_error,
    cached_state_follows_other_writers,
    state_of_the_past_is_loaded,
    change_between_two_points_is_data,
    metadata_is_carried_and_found,
    panic_in_a_decision_leaves_the_repository_usable,
    prepared_decisions_are_recorded_together,
);

fn command_is_decided_and_recorded<S: EventStore>(store: &S) {
    let accounts = repository(store).blocking();
    let opened = accounts.execute("ann", &Command::Open("ann")).expect("it is new");
    assert_eq!((opened.version, opened.already_recorded), (Version::new(1), false));
    let parts = accounts.execute("ann", &Command::DepositInParts(5, 3)).expect("it is accepted");
    assert_eq!((parts.version.get(), parts.events.len()), (4, 3));
    assert!(parts.position > opened.position);
    let refused = accounts.execute("ann", &Command::Withdraw(16)).expect_err("too much");
    assert_eq!(refused.refused(), Some(&Refusal::TooLittle(15)));
    assert_eq!(refused.to_string(), "the account has only 15");
    let nothing = accounts.execute("ann", &Command::Nothing).expect("nothing to do");
    assert_eq!((nothing.version.get(), nothing.events.len(), nothing.position), (4, 0, None));
    let loaded = accounts.load("ann").expect("it can be loaded");
    assert_eq!((loaded.state.balance, loaded.version.get()), (15, 4));
    assert_eq!(
        accounts.view("ann", |account, at| (account.balance, at.get())).expect("ok"),
        (15, 4)
    );
    let other = accounts.load("bob").expect("it does not exist");
    assert_eq!((other.state, other.version), (Account::initial(), Version::NONE));
    let first = &events(store, "ann")[0];
    assert_eq!((first.stream(), first.event_type()), ("account-ann", "AccountOpened"));
    assert_eq!(first.tags().collect::<Vec<_>>(), ["owner:ann"]);
}

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

fn repeated_command_returns_its_first_outcome<S: EventStore>(store: &S) {
    let accounts = repository(store).blocking();
    let [deposit, withdraw] = [1, 2].map(Uuid::from_u128);
    let with = |id| Context::new().command_id(id);
    let parts = Command::DepositInParts(5, 2);
    let first = accounts.execute_with("ann", &parts, &with(deposit)).expect("it is accepted");
    let taken = accounts.execute_with("ann", &Command::Withdraw(10), &with(withdraw));
    let taken = taken.expect("it is accepted");
    assert!(!first.already_recorded && !taken.already_recorded);

    // On the present state the withdrawal would be refused. Other metadata, and another repository.
    for accounts in [accounts.clone(), repository(store).blocking()] {
        let context = with(withdraw).metadata(Metadata::new().user("ann"));
        let again = accounts.execute_with("ann", &Command::Withdraw(10), &context);
        let again = again.expect("it was accepted");
        assert!(again.already_recorded);
        assert_eq!((&again.events, again.version), (&taken.events, taken.version));
        assert_eq!(again.position, taken.position);
        let again = accounts.execute_with("ann", &parts, &with(deposit)).expect("it was accepted");
        assert_eq!((&again.events, again.version), (&first.events, first.version));
    }
    assert_eq!(events(store, "ann").len(), 3);
    // One id for two aggregates is two commands.
    let other = accounts.execute_with("bob", &parts, &with(deposit)).expect("it is accepted");
    assert!(!other.already_recorded);
    // A refused command has recorded nothing, and is decided again.
    let refused = with(Uuid::from_u128(3));
    let withdraw = || accounts.execute_with("ann", &Command::Withdraw(1), &refused);
    assert!(withdraw().is_err());
    accounts.execute("ann", &Command::Deposit(1)).expect("it is accepted");
    assert!(!withdraw().expect("it is accepted").already_recorded);
}

/// The same command from threads with repositories of their own: the state that one decides on may already contain
/// the events of the first execution.
fn command_repeated_at_once_is_executed_once<S: EventStore>(store: &S) {
    let accounts = repository(store).blocking();
    for round in 0..20_u128 {
        accounts.execute("ann", &Command::Deposit(10)).expect("it is accepted");
        let context = Context::new().command_id(Uuid::from_u128(100 + round));
        let first: usize = thread::scope(|scope| {
            let execute = || {
                let accounts = repository(store).blocking();
                let done = accounts.execute_with("ann", &Command::Withdraw(10), &context);
                usize::from(!done.expect("one of them is the first").already_recorded)
            };
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(execute)).collect();
            threads.into_iter().map(|it| it.join().expect("no panic")).sum()
        });
        assert_eq!(first, 1);
        assert_eq!(balance(store, "ann"), 0);
    }
    assert_eq!(events(store, "ann").len(), 40);
}

fn version_that_the_sender_saw_is_required<S: EventStore>(store: &S) {
    let accounts = repository(store).blocking();
    accounts.execute("ann", &Command::Deposit(5)).expect("it is accepted");
    let at = |version| Context::new().if_match(Version::new(version));
    for version in [0, 2] {
        let done = accounts.execute_with("ann", &Command::Deposit(1), &at(version));
        let Err(ExecuteError::VersionMismatch { expected, actual, .. }) = done else {
            panic!("{done:?}")
        };
        assert_eq!((expected.get(), actual.get()), (version, 1));
    }
    let done = accounts.execute_with("ann", &Command::Deposit(1), &at(1)).expect("it is the one");
    assert_eq!(done.version.get(), 2);
    accounts.execute_with("new", &Command::Deposit(1), &at(0)).expect("there is none");
}

fn contending_repositories_lose_nothing<S: EventStore>(store: &S) {
    const COMMANDS: u64 = 25;
    let shared = repository(store).attempts(100);
    thread::scope(|scope| {
        for number in 0..4 {
            // Two threads share a repository, two have one of their own.
            let accounts =
                if number < 2 { shared.clone() } else { repository(store).attempts(100) };
            scope.spawn(move || {
                for _ in 0..COMMANDS {
                    block_on(accounts.execute("ann", &Command::Deposit(1)))
                        .expect("it gets its turn");
                }
            });
        }
    });
    assert_eq!(balance(store, "ann"), 4 * COMMANDS);
    let versions: Vec<u64> = events(store, "ann").iter().map(|it| it.version().get()).collect();
    assert_eq!(versions, (1..=4 * COMMANDS).collect::<Vec<_>>());
}

fn command_that_decides_too_much_is_refused<S: EventStore>(store: &S) {
    let accounts = repository(store).snapshots(SnapshotPolicy::events(1)).blocking();
    accounts.execute("ann", &Command::Deposit(5)).expect("it is accepted");
    let memo = "x".repeat(80 << 20);
    let done = accounts.execute("ann", &Command::WithdrawWith(5, memo));
    let Err(ExecuteError::TooLarge { events: count, size, max, .. }) = &done else {
        panic!("{:?}", done.map(|it| it.version))
    };
    assert!(*count == 1 && size > max);
    // The state that was prepared for the snapshot is not used.
    assert_eq!(
        accounts.view("ann", |account, at| (account.balance, at.get())).expect("ok"),
        (5, 1)
    );
    assert_eq!(events(store, "ann").len(), 1);
}

fn event_that_cannot_be_read_is_an_error<S: EventStore>(store: &S) {
    let accounts = repository(store).blocking();
    accounts.execute("ann", &Command::Deposit(5)).expect("it is accepted");
    for (event, text) in [
        (NewEvent::new("MoneyDeposited", "{}"), "missing field `amount`"),
        (NewEvent::new("Unheard", "{}"), "does not know this type"),
    ] {
        let stream = format!("account-{}", event.event_type);
        let good = annals_es::encode(&AccountEvent::Deposited { amount: 1 }).expect("JSON");
        let of = |events| Commit::to(&*stream, Expected::Any, events);
        block_on(store.append(of(vec![good, event.clone()]))).expect("the store takes any bytes");
        let error = accounts.load(&*event.event_type).expect_err("it cannot be read");
        let LoadError::Event(inner) = &error else { panic!("{error}") };
        assert_eq!((inner.stream.as_str(), inner.version.get()), (&*stream, 2));
        assert!(error.to_string().contains(text), "{error}");
        let done = accounts.execute(&*event.event_type, &Command::Deposit(1));
        assert!(matches!(done, Err(ExecuteError::Load(LoadError::Event(_)))), "{done:?}");
    }
}

fn cached_state_follows_other_writers<S: EventStore>(store: &S) {
    let accounts = repository(store).cache(2).blocking();
    accounts.execute("ann", &Command::Deposit(5)).expect("it is accepted");
    let (_, read) = evolved(|| accounts.execute("ann", &Command::Deposit(5)).expect("accepted"));
    assert_eq!(read, 1, "the state before is in memory");
    let others = repository(store).blocking();
    others.execute("ann", &Command::Withdraw(8)).expect("it is accepted");
    let (done, read) = evolved(|| accounts.execute("ann", &Command::Withdraw(3)));
    assert_eq!(done.expect_err("only 2 are left").refused(), Some(&Refusal::TooLittle(2)));
    assert_eq!(read, 1, "only the new event is read");
    for id in ["bob", "eve", "ann"] {
        accounts.execute(id, &Command::Deposit(1)).expect("it is accepted");
        assert!(accounts.tasks().cached() <= 2);
    }
    assert_eq!(accounts.view("ann", |account, _| account.balance).expect("ok"), 3);
}

fn state_of_the_past_is_loaded<S: OrderedStore>(store: &S) {
    let accounts = repository(store).snapshots(SnapshotPolicy::events(2));
    let mut places = Vec::new();
    for amount in 1..=5 {
        block_on(accounts.execute("other", &Command::Deposit(1))).expect("it is accepted");
        let done = block_on(accounts.execute("ann", &Command::Deposit(amount))).expect("accepted");
        places.push(done.position.expect("an event"));
        thread::sleep(Duration::from_millis(1));
    }
    let recorded = events(store, "ann");
    let sums = [1, 3, 6, 10, 15];
    for (index, &position) in places.iter().enumerate() {
        let version = Version::new(index as u64 + 1);
        let at_position = block_on(accounts.load_at("ann", position)).expect("loads");
        assert_eq!((at_position.state.balance, at_position.version), (sums[index], version));
        let at_version = block_on(accounts.load_at("ann", version)).expect("loads");
        assert_eq!(at_version, at_position);
        let time = recorded[index].recorded_at();
        let at_time = block_on(accounts.load_at("ann", time)).expect("loads");
        assert_eq!(at_time, at_position);
    }
    let before = block_on(accounts.load_at("ann", Position::new(1))).expect("loads");
    assert_eq!(before.version, Version::NONE);
    let later = block_on(accounts.load_at("ann", Version::new(9))).expect("loads");
    assert_eq!(later.version.get(), 5);
}

fn change_between_two_points_is_data<S: OrderedStore>(store: &S) {
    let accounts = repository(store).snapshots(SnapshotPolicy::events(4)).cache(0).blocking();
    for amount in 1..=10 {
        accounts.execute("other", &Command::Deposit(1)).expect("it is accepted");
        accounts.execute("ann", &Command::Deposit(amount)).expect("it is accepted");
    }
    // Each state is computed from the newest snapshot at or before its point.
    let between = || accounts.between("ann", Version::new(5), Position::new(19));
    let (change, events) = evolved(|| between().expect("it can be loaded"));
    assert_eq!((change.before.version.get(), change.after.version.get(), events), (5, 9, 2));
    let differences = change.difference().expect("JSON");
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["/balance: 15 -> 45"]);
    accounts.execute("ann", &Command::Deposit(1)).expect("it is accepted");
    let versions: Vec<_> = change.events.map(|it| it.expect("a read").version().get()).collect();
    assert_eq!(versions, [6, 7, 8, 9]);

    let none = accounts.between("ann", Version::new(5), Version::new(2)).expect("it can be loaded");
    assert_eq!(none.after, none.before);
    assert_eq!((none.before.version.get(), none.events.count()), (5, 0));
    let all = accounts.between("ann", Version::NONE, Version::MAX).expect("it can be loaded");
    assert_eq!((all.after.version.get(), all.events.count()), (11, 11));
}

fn metadata_is_carried_and_found<S: OrderedStore>(store: &S) {
    let accounts = repository(store).blocking();
    let command = Uuid::from_u128(7);
    let metadata =
        Metadata::new().user("ann").tenant("north").traceparent("00-1-2-01").with("ip", "::1");
    let context = Context::new().command_id(command).metadata(metadata);
    accounts.execute_with("ann", &Command::Deposit(5), &context).expect("it is accepted");
    let first = &events(store, "ann")[0];
    let read = Metadata::of(first).expect("it is JSON");
    assert_eq!((read.causation_id, read.correlation_id), (Some(command), Some(command)));
    assert_eq!(read.more["ip"], "::1");

    let follows = Metadata::caused_by(first).expect("it is JSON");
    assert_eq!((follows.causation_id, follows.correlation_id), (Some(first.id()), Some(command)));
    assert_eq!((follows.user.as_deref(), follows.tenant.as_deref()), (Some("ann"), Some("north")));
    assert_eq!(follows.traceparent.as_deref(), Some("00-1-2-01"));
    let tag = follows.correlation_tag().expect("it has a correlation");
    let context = Context::new().metadata(follows);
    accounts.execute_with("bob", &Command::Deposit(5), &context).expect("it is accepted");
    accounts.execute("eve", &Command::Deposit(5)).expect("it is accepted");
    let found = iter(store.read_all(ReadAll::matching(Query::tagged([tag]))));
    let streams: Vec<_> = found.map(|it| it.expect("a read").stream().to_owned()).collect();
    assert_eq!(streams, ["account-ann", "account-bob"]);
    let without = &events(store, "eve")[0];
    assert!(without.metadata().is_empty() && without.tags().count() == 0);
}

fn panic_in_a_decision_leaves_the_repository_usable<S: EventStore>(store: &S) {
    let accounts = repository(store).blocking();
    accounts.execute("ann", &Command::Deposit(5)).expect("it is accepted");
    let call = AssertUnwindSafe(|| accounts.execute("ann", &Command::Panic).is_ok());
    assert!(catch_unwind(call).is_err());
    let done = accounts.execute("ann", &Command::Withdraw(5)).expect("it is accepted");
    assert_eq!(done.version.get(), 2);
}

fn prepared_decisions_are_recorded_together<S: SeveralStreams + AtomicCheckpoints>(store: &S) {
    let accounts = repository(store);
    let done = block_on(accounts.execute("ann", &Command::Deposit(100))).expect("it is accepted");
    let handled = done.position.expect("an event");
    let context = Context::new().command_id(Uuid::from_u128(5));
    let transfer = || {
        block_on(async {
            let debit = accounts.prepare("ann", &Command::Withdraw(30), &context).await;
            let credit = accounts.prepare("bob", &Command::Deposit(30), &context).await;
            let commit = debit.expect("it has 100").commit();
            credit.expect("any deposit").add_to(commit).checkpoint("transfers", handled)
        })
    };
    let (first, late) = (transfer(), transfer());
    block_on(accounts.execute("bob", &Command::Deposit(1))).expect("it is accepted");
    let lost = block_on(store.append(first)).expect_err("bob has changed");
    assert!(matches!(lost, AppendError::Conflict(_)), "{lost}");
    assert_eq!((balance(store, "ann"), balance(store, "bob")), (100, 1));
    block_on(store.append(transfer())).expect("nothing has changed");
    // The events of the same command have the same ids.
    assert!(block_on(store.append(late)).expect("it is recorded").already_recorded);
    assert_eq!((balance(store, "ann"), balance(store, "bob")), (70, 31));
    assert_eq!(block_on(store.checkpoint("transfers")).expect("no error"), Some(handled));
    let again = block_on(accounts.execute_with("ann", &Command::Withdraw(30), &context));
    assert!(again.expect("it was accepted").already_recorded);
    let refused = block_on(accounts.prepare("ann", &Command::Withdraw(71), &context));
    assert_eq!(refused.expect_err("70 are left").refused(), Some(&Refusal::TooLittle(70)));
    let old = Context::new().if_match(Version::new(1));
    let old = block_on(accounts.prepare("ann", &Command::Deposit(1), &old));
    assert!(matches!(old, Err(ExecuteError::VersionMismatch { .. })), "{old:?}");
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

/// A store in which another commit comes first, or the answer to a commit is lost, a number of times.
#[derive(Clone)]
struct Contested {
    store: MemoryStore,
    conflicts: Arc<AtomicU32>,
    lost_answers: Arc<AtomicU32>,
}

impl Contested {
    fn new(conflicts: u32, lost_answers: u32) -> Self {
        let [conflicts, lost_answers] = [conflicts, lost_answers].map(|it| Arc::new(it.into()));
        Self { store: MemoryStore::new(), conflicts, lost_answers }
    }
}

/// Whether one is left, which is taken.
fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1)).is_ok()
}

impl EventStore for Contested {
    type Events = annals_es::MemoryEvents;

    async fn append(&self, commit: Commit<Self>) -> Result<Committed, AppendError> {
        let parts = commit.into_parts();
        if take(&self.conflicts) {
            let other = annals_es::encode(&AccountEvent::Deposited { amount: 1 }).expect("JSON");
            let other = Commit::to(&parts.streams[0].stream, Expected::Any, [other]);
            self.store.append(other).await?;
        }
        let done = self.store.append(Commit::from_parts(parts)).await?;
        if take(&self.lost_answers) {
            return Err(AppendError::OutcomeUnknown("the connection was lost".into()));
        }
        Ok(done)
    }

    fn read_stream(&self, read: ReadStream) -> Self::Events {
        self.store.read_stream(read)
    }

    async fn stream_version(&self, stream: &StreamName) -> Result<Version, StoreError> {
        self.store.stream_version(stream).await
    }

    async fn find_event(
        &self,
        stream: &StreamName,
        id: Uuid,
    ) -> Result<Option<RecordedEvent>, StoreError> {
        self.store.find_event(stream, id).await
    }

    async fn load_snapshot(&self, key: &str, at: Mark) -> Result<Option<Snapshot>, StoreError> {
        self.store.load_snapshot(key, at).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.store.save_snapshot(snapshot).await
    }
}

#[test]
fn command_is_decided_again_a_bounded_number_of_times() {
    for (conflicts, attempts, succeeds) in
        [(2, 3, true), (3, 3, false), (1, 1, false), (0, 0, true)]
    {
        let store = Contested::new(conflicts, 0);
        let accounts = repository(&store).attempts(attempts).blocking();
        let done = accounts.execute("ann", &Command::Deposit(10));
        if succeeds {
            let version = u64::from(conflicts) + 1;
            assert_eq!(done.expect("the last attempt").version.get(), version);
        } else {
            let Err(ExecuteError::Contended { attempts: made, conflict }) = done else {
                panic!("{done:?}")
            };
            assert_eq!(made, attempts);
            assert_eq!(conflict.actual_version(), Some(Version::new(u64::from(attempts))));
        }
    }
}

#[test]
fn state_that_was_prepared_for_a_lost_commit_is_not_used() {
    let store = Contested::new(1, 0);
    let accounts = repository(&store).snapshots(SnapshotPolicy::events(1)).blocking();
    accounts.execute("ann", &Command::Deposit(10)).expect("the second attempt");
    assert_eq!(
        accounts.view("ann", |account, at| (account.balance, at.get())).expect("ok"),
        (11, 2)
    );
}

#[test]
fn command_of_unknown_outcome_is_repeated_by_its_id() {
    let store = Contested::new(0, 1);
    let accounts = repository(&store).blocking();
    let context = Context::new().command_id(Uuid::from_u128(1));
    let deposit = || accounts.execute_with("ann", &Command::Deposit(10), &context);
    let unknown = deposit().expect_err("the answer is lost");
    assert!(matches!(unknown, ExecuteError::Append(AppendError::OutcomeUnknown(_))), "{unknown}");
    assert!(deposit().expect("it is recorded").already_recorded);
    assert_eq!(
        accounts.view("ann", |account, at| (account.balance, at.get())).expect("ok"),
        (10, 1)
    );
}

#[test]
fn given_when_then_tests_an_aggregate() {
    given::<Account>([AccountEvent::Opened { owner: "ann".into() }])
        .when(&Command::Deposit(5))
        .then([AccountEvent::Deposited { amount: 5 }])
        .then_state(|account| assert_eq!(account.balance, 5))
        .when(&Command::Nothing)
        .then([])
        .when(&Command::Withdraw(6))
        .then_error(&Refusal::TooLittle(5));
    given_recorded::<Account>([NewEvent::new("MoneyDeposited", r#"{"amount":3}"#)])
        .when(&Command::Withdraw(4))
        .then_refused(|error| *error == Refusal::TooLittle(3));

    for wrong in [
        || drop(given::<Account>([]).when(&Command::Deposit(5)).then([])),
        || given::<Account>([]).when(&Command::Deposit(5)).then_error(&Refusal::Open),
        || drop(given::<Account>([]).when(&Command::Withdraw(5)).then([])),
        || given::<Account>([]).when(&Command::Withdraw(5)).then_error(&Refusal::Open),
        || given::<Account>([]).when(&Command::Withdraw(5)).then_refused(|_| false),
        || drop(given_recorded::<Account>([NewEvent::new("Unheard", "{}")])),
    ] {
        assert!(catch_unwind(wrong).is_err());
    }
}

#[test]
fn example_prints_balances_and_the_past() {
    let mut out = Vec::new();
    bank_read_model::run(&mut out).expect("the example runs");
    let expected = "\
the history has 2 events, 0 of which cannot be read
sent twice, carried out once: true
refused: the account has only 3800 cents
account-1  ann    3800 cents
account-2  bob    2500 cents
account-2 had 1000 cents at version 11, and has 2500 at version 26
";
    assert_eq!(String::from_utf8(out).expect("text"), expected);
}
