//! States of the past.

use std::thread;
use std::time::Duration;

use annals_es::blocking::block_on;
use annals_es::{OrderedStore, Position, SnapshotPolicy, Version};

use crate::account::{Command, events, evolved, repository};

crate::with_each_store!(state_of_the_past_is_loaded, change_between_two_points_is_data,);

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
