//! Commands: what is decided is recorded, refused or an error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use annals_es::blocking::{block_on, iter};
use annals_es::testing::{given, given_recorded};
use annals_es::{
    Aggregate, AppendError, AtomicCheckpoints, Commit, Context, EventStore, ExecuteError, Expected,
    LoadError, Metadata, NewEvent, OrderedStore, Query, ReadAll, SeveralStreams, SnapshotPolicy,
    Version,
};
use uuid::Uuid;

use crate::account::{Account, AccountEvent, Command, Refusal, balance, events, repository};

crate::with_each_store!(
    command_is_decided_and_recorded,
    version_that_the_sender_saw_is_required,
    command_that_decides_too_much_is_refused,
    event_that_cannot_be_read_is_an_error,
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
