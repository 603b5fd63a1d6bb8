//! Commands that are repeated by their id.

use std::thread;

use annals_es::{AppendError, Context, EventStore, ExecuteError, Metadata};
use uuid::Uuid;

use crate::account::{Command, balance, events, repository};
use crate::contested::Contested;

crate::with_each_store!(
    repeated_command_returns_its_first_outcome,
    command_repeated_at_once_is_executed_once,
);

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
