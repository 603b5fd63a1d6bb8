//! The bank account: rules, snapshots, races, and a read model that can be rebuilt.

use annals::{Error, FailedCheck, Store, snapshot::Mark};

use crate::bank_account::account::{Fact, Money, Refused};
use crate::bank_account::balances::Balances;
use crate::bank_account::bank::Bank;
use crate::bank_account::run;
use crate::printed;

fn bank(dir: &tempfile::TempDir) -> Bank {
    Bank { store: Store::open(dir.path().join("bank")).unwrap() }
}

#[test]
fn bank_example_prints_a_day_of_accounts() {
    let out = printed(run);
    for line in [
        "  withdraw 101               101 cannot be withdrawn, the balance is 100",
        "  close it with money in it  an account with a balance of 100 cannot be closed",
        "  the loser tries again: 100 cannot be withdrawn, the balance is 0",
        "  4 of its events were replayed, the others are in a snapshot",
        "after a restart it takes in 1, and knows",
        "  account-2: 6400 by 114 transactions",
        "rebuilt from nothing by 119 events, it says the same",
        "deposits since account 2 was opened: 113",
        "a page of events 101 to 119",
    ] {
        assert!(out.lines().any(|it| it == line), "{line:?} is not in\n{out}");
    }
}

#[test]
fn broken_rule_of_the_bank_is_an_error_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&dir);
    assert!(matches!(bank.deposit(1, 5), Err(Refused::NotOpen)));
    assert!(matches!(bank.close(1), Err(Refused::NotOpen)));
    bank.open(1, "Ann").unwrap();
    assert!(matches!(bank.open(1, "Ann"), Err(Refused::AlreadyOpen)));
    assert!(matches!(bank.deposit(1, 0), Err(Refused::NoAmount)));
    assert!(matches!(bank.withdraw(1, 0), Err(Refused::NoAmount)));
    assert!(matches!(bank.withdraw(1, 1), Err(Refused::NotEnough { wanted: 1, balance: 0 })));
    bank.deposit(1, u64::MAX).unwrap();
    assert!(matches!(bank.deposit(1, 1), Err(Refused::TooMuch)));
    assert!(matches!(bank.close(1), Err(Refused::NotEmpty { balance: u64::MAX })));
    bank.withdraw(1, u64::MAX).unwrap();
    bank.close(1).unwrap();
    assert!(matches!(bank.close(1), Err(Refused::Closed)));
    assert!(matches!(bank.open(1, "Ann"), Err(Refused::AlreadyOpen)));
    assert_eq!(bank.store.head().get(), 4);
}

#[test]
fn bank_saves_a_snapshot_every_ten_events() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&dir);
    bank.open(1, "Ann").unwrap();
    for n in 2..=32_u64 {
        bank.deposit(1, n).unwrap();
        let loaded = bank.load(1).unwrap();
        assert_eq!((loaded.version, loaded.replayed), (n, n % 10));
        assert_eq!(loaded.account.balance, (2..=n).sum::<u64>());
        let saved = bank.store.snapshots().load("account-1").unwrap();
        let expected = (n >= 10).then_some(Mark::Version(n / 10 * 10));
        assert_eq!(saved.map(|saved| saved.mark()), expected);
    }
    // Snapshots can be deleted.
    let with = bank.load(1).unwrap().account;
    assert!(bank.store.snapshots().delete("account-1").unwrap());
    let without = bank.load(1).unwrap();
    assert_eq!((without.account, without.replayed), (with, 32));
}

#[test]
fn one_of_two_racing_withdrawals_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&dir);
    bank.open(1, "Ann").unwrap();
    for round in 1..=20_u64 {
        bank.deposit(1, 100).unwrap();
        let outcomes = bank.withdraw_twice(1, 100);
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 1));
        let Err(Refused::Store(Error::Conflict { failed, .. })) = &lost[0] else {
            panic!("{lost:?}");
        };
        let FailedCheck::WrongExpectedVersion { actual, .. } = &failed[0] else {
            panic!("{failed:?}");
        };
        assert_eq!(*actual, round * 2 + 1);
        assert_eq!(bank.load(1).unwrap().account.balance, 0);
    }
}

#[test]
fn deposits_of_threads_that_retry_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&dir);
    bank.open(1, "Ann").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| bank.deposit(1, 3).unwrap()));
        }
    });
    assert_eq!(bank.load(1).unwrap().account.balance, 120);
}

#[test]
fn bank_read_model_counts_each_event_once_and_can_be_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&dir);
    bank.open(1, "Ann").unwrap();
    for n in 1..=5 {
        bank.deposit(1, 10 * n).unwrap();
        // Opened again each time, as after a restart.
        let mut balances = Balances::open(&bank.store).unwrap();
        assert_eq!(balances.follow().unwrap(), if n == 1 { 2 } else { 1 });
        assert_eq!(balances.follow().unwrap(), 0);
        let row = &balances.rows["account-1"];
        assert_eq!((row.balance, row.transactions), (5 * n * (n + 1), n));
        let last = bank.store.event_at(bank.store.head()).unwrap().unwrap();
        assert_eq!(row.last_activity, last.recorded_at());
    }
    let kept = Balances::open(&bank.store).unwrap().rows;
    let mut rebuilt = Balances::rebuild(&bank.store).unwrap();
    assert!(rebuilt.rows.is_empty());
    assert_eq!(rebuilt.follow().unwrap(), 6);
    assert_eq!(rebuilt.rows, kept);
}

#[test]
fn bank_events_can_be_read_since_a_time_and_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank(&dir);
    bank.open(1, "Ann").unwrap();
    for n in 0..250_u64 {
        let loaded = bank.load(1).unwrap();
        bank.save(1, &loaded, &Fact::Deposited(Money { amount: n + 1 })).unwrap();
    }
    let mut all = Vec::new();
    let mut after = annals::Position::START;
    loop {
        let page = bank.page(after).unwrap();
        let Some(last) = page.last() else { break };
        after = last.position();
        assert!(page.len() == 100 || after == bank.store.head());
        all.extend(page);
    }
    assert_eq!(all.len(), 251);
    let time = all[101].recorded_at();
    let since = bank.since("MoneyDeposited", time).unwrap();
    let expected = all.iter().filter(|it| it.recorded_at() >= time).count();
    assert_eq!(since.len(), expected);
    assert!((149..=151).contains(&expected), "{expected}");
    assert!(bank.since("AccountOpened", time).unwrap().is_empty());
}
