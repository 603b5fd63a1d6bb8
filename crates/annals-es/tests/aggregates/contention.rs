//! Commands that other commits come before.

use std::thread;

use annals_es::blocking::block_on;
use annals_es::{EventStore, ExecuteError, SnapshotPolicy, Version};

use crate::account::{Command, Refusal, balance, events, evolved, repository};
use crate::contested::Contested;

crate::with_each_store!(contending_repositories_lose_nothing, cached_state_follows_other_writers,);

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
