//! Consumer groups whose handlers write in the commit that moves the cursor.

use annals::consumer_group::ConsumerGroup;
use annals::testing::SimStorage;
use annals::{ExpectedRecord, ExpectedVersion, NewEvent, Position, Query, Store};
use shuttle::thread;

use super::support::*;

/// The positions of the handled events, in the order of their commits.
fn notes(store: &Store) -> Vec<u64> {
    let number = |data: &[u8]| std::str::from_utf8(data).unwrap().parse().unwrap();
    store.read_stream("notes").into_iter().map(|event| number(event.unwrap().data())).collect()
}

/// The positions of the events to handle.
fn selected(store: &Store) -> Vec<u64> {
    let read = store.read_all().matching(Query::types(["Happened"])).start().unwrap();
    read.map(|event| event.unwrap().position().get()).collect()
}

fn sum(store: &Store) -> u64 {
    store.records().get("sum").unwrap().map_or(0, |record| record.version)
}

/// Two workers, a writer, and a reader that looks at what a power loss leaves: each event has its effects,
/// an event and a change of a record, once, and with the cursor.
#[test]
fn effects_of_a_transactional_group_are_committed_once_and_in_order() {
    explore(|| {
        let sim = SimStorage::new(1);
        let store = open(&sim);
        append(&store, "a", 10).unwrap();
        let running = ConsumerGroup::new(&store, "g")
            .workers(2)
            .matching(Query::types(["Happened"]))
            .start_transactional(|delivery, transaction| {
                let note = NewEvent::new("Noted", delivery.event().position().to_string());
                let transaction = transaction.append("notes", ExpectedVersion::Any, [note]);
                Ok::<_, String>(transaction.put("sum", "", ExpectedRecord::Any))
            })
            .unwrap();
        let writer = {
            let store = store.clone();
            thread::spawn(move || append(&store, "b", 10).unwrap().last_position)
        };
        let reader = {
            let (store, sim) = (store.clone(), sim.clone());
            thread::spawn(move || {
                let mut seen = 0;
                for _ in 0..3 {
                    let handled = sum(&store);
                    assert!(handled >= seen, "{handled} after {seen}");
                    seen = handled;
                    let lasting = after_power_loss(&sim);
                    let kept = notes(&lasting);
                    assert!(kept.len() as u64 >= seen, "{kept:?}, and a reader saw {seen}");
                    assert_eq!(kept.len() as u64, sum(&lasting));
                    assert!(selected(&lasting).starts_with(&kept), "{kept:?}");
                    let cursor = lasting.cursors().get("g").unwrap().map_or(0, Position::get);
                    assert!(cursor >= kept.last().copied().unwrap_or(0), "{cursor}: {kept:?}");
                }
            })
        };
        let last = writer.join().unwrap();
        assert!(running.wait_for(last, FOR_EVER));
        reader.join().unwrap();
        running.stop().unwrap();
        assert_eq!(notes(&store), selected(&store));
        assert_eq!((notes(&store).len(), sum(&store)), (4, 4));
        store.close().unwrap();
        let lasting = after_power_loss(&sim);
        assert_eq!((notes(&lasting).len(), sum(&lasting)), (4, 4));
    });
}
