//! An error is returned as an error, and never as the end of the subscription.

use std::sync::Arc;

use annals::testing::{Fault, Operation, SimStorage};
use annals::{Error, Options};

use super::support::{Filter, Seen, append, expected, options};

fn open(storage: &SimStorage, read_only: bool) -> annals::Store {
    let options = options().storage(Arc::new(storage.clone())).background(false);
    let options: Options = options.read_only(read_only);
    options.open("/store").unwrap()
}

#[test]
fn failed_read_is_an_error_and_can_be_repeated() {
    let storage = SimStorage::new(7);
    let store = open(&storage, false);
    append(&store, 300);
    drop(store);
    let mut total_errors = 0;
    for nth in 1..12 {
        // What was read once is read from memory later.
        let store = open(&storage, false);
        let filter = Filter { types: vec![1], ..Filter::default() };
        let query = filter.query();
        let mut subscription = store.subscribe().batch_size(9).matching(query).start().unwrap();
        storage.inject_at(".seg", Fault::Fail { operation: Operation::Read, nth });
        let (mut seen, mut errors) = (Seen::default(), 0);
        loop {
            match subscription.try_next() {
                Ok(Some(message)) => seen.take(&message, store.head()),
                Ok(None) => break,
                Err(Error::Io { .. }) => errors += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        storage.clear_faults();
        assert!(errors <= 1);
        total_errors += errors;
        assert_eq!(seen.positions, expected(&store, 0, &filter), "fault at read {nth}");
        assert_eq!(seen.caught_up, 1);
    }
    assert!(total_errors > 5, "only {total_errors} of the faults were met");
}

#[test]
fn repeatedly_failing_read_does_not_move_the_subscription() {
    let storage = SimStorage::new(7);
    let store = open(&storage, false);
    append(&store, 10);
    let mut subscription = store.subscribe().start().unwrap();
    storage.inject_at(".seg", Fault::FailFrom { operation: Operation::Read, nth: 1 });
    for _ in 0..5 {
        assert!(matches!(subscription.next(), Some(Err(Error::Io { .. }))));
        assert_eq!(subscription.scanned_through().get(), 0);
    }
    storage.clear_faults();
    assert_eq!(subscription.next().unwrap().unwrap().events().len(), 10);
}

#[test]
fn failed_refresh_of_a_follower_is_an_error_of_its_subscription() {
    let storage = SimStorage::new(3);
    let writer = open(&storage, false);
    append(&writer, 4);
    let reader = open(&storage, true);
    let mut subscription = reader.subscribe().start().unwrap();
    assert_eq!(subscription.next().unwrap().unwrap().events().len(), 4);
    assert!(subscription.next().unwrap().unwrap().is_caught_up());
    append(&writer, 2);
    storage.inject_at(".seg", Fault::Fail { operation: Operation::Read, nth: 1 });
    assert!(matches!(subscription.next(), Some(Err(Error::Io { .. }))));
    assert_eq!(subscription.next().unwrap().unwrap().events().len(), 2);
}
