//! Bounds of reads.

use annals::{ExpectedVersion, NewEvent, Query};

#[test]
fn upper_bound_of_a_read_limits_its_events_and_not_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let store = annals::Store::open(dir.path()).unwrap();
    for number in 0..20 {
        let event = NewEvent::new("T", "").tag(["even", "odd"][number % 2]);
        store.append(["a", "b"][number % 2], ExpectedVersion::Any, [event]).unwrap();
    }
    let all = || store.read_all();
    let positions = |read: annals::ReadAll| -> Vec<u64> {
        let events = read.start().unwrap();
        assert_eq!(events.head().get(), 20);
        events.map(|event| event.unwrap().position().get()).collect()
    };
    assert_eq!(positions(all().after(3).up_to(6)), [4, 5, 6]);
    assert_eq!(positions(all().after(3).up_to(6).backwards()), [6, 5, 4]);
    assert_eq!(positions(all().up_to(6).matching(Query::tagged(["odd"]))), [2, 4, 6]);
    assert_eq!(positions(all().up_to(5).matching(Query::stream("b")).backwards()), [4, 2]);
    assert_eq!(positions(all().up_to(6).backwards().limit(2)), [6, 5]);
    assert_eq!(positions(all().after(18).up_to(u64::MAX)), [19, 20]);
    for nothing in [all().up_to(0), all().after(7).up_to(7), all().after(9).up_to(3)] {
        assert_eq!(positions(nothing.clone()), [0_u64; 0]);
        assert_eq!(positions(nothing.backwards()), [0_u64; 0]);
    }
    let mut borrowed = Vec::new();
    all().after(17).up_to(19).for_each(|event| borrowed.push(event.position().get())).unwrap();
    assert_eq!(borrowed, [18, 19]);

    let stream = || store.read_stream("a");
    let versions = |read: annals::ReadStream| -> Vec<u64> {
        let events = read.start().unwrap();
        assert_eq!(events.head().get(), 20);
        events.map(|event| event.unwrap().version()).collect()
    };
    assert_eq!(versions(stream().from_version(2).up_to_version(4)), [2, 3, 4]);
    assert_eq!(versions(stream().up_to_version(3).backwards().limit(2)), [3, 2]);
    assert_eq!(versions(stream().from_version(9).up_to_version(u64::MAX)), [9, 10]);
    assert_eq!(versions(stream().up_to_version(0)), [0_u64; 0]);
    assert_eq!(versions(stream().from_version(5).up_to_version(4).backwards()), [0_u64; 0]);
    // Retention applies as of now, unlike in the past.
    store.transaction().truncate_before("a", 3).commit().unwrap();
    assert_eq!(versions(stream().up_to_version(4)), [3, 4]);
    assert_eq!(versions(stream().up_to_version(2)), [0_u64; 0]);
    assert_eq!(positions(all().up_to(6)), [2, 4, 5, 6]);
}
