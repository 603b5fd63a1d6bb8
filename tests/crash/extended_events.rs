//! Events that only segments with feature bit 2 may hold: power losses while a store leaves a segment
//! without the bit.

use annals::testing::{Crash, Keep, SimStorage};
use annals::{ExpectedVersion, NewEvent, Position, Result};

use super::support::*;

/// An event without a type, with an empty tag, a long one and many.
fn extended() -> NewEvent {
    NewEvent::new("", "").tags((0..70).map(|n| n.to_string())).tag("").tag("t".repeat(300))
}

#[test]
fn power_loss_at_each_step_of_leaving_a_segment_without_the_feature_loses_nothing() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1/basic");
    let live = |sim: &SimStorage, told: &mut u64| -> Result<()> {
        let store = open(sim)?;
        for event in [NewEvent::new("T", ""), extended(), NewEvent::new("T", ""), extended()] {
            *told = store.append("s", ExpectedVersion::Any, [event])?.last_position.get();
        }
        store.close()
    };
    let fresh = || {
        let sim = SimStorage::new(1);
        sim.import_dir(std::path::Path::new(golden), ROOT).unwrap();
        sim
    };
    // Segment 1 lacks the feature.
    let misplaced = |sim: &SimStorage| {
        let bytes = sim.read_file(segment(1)).unwrap();
        bytes.windows(300).any(|part| part.iter().all(|&byte| byte == b't'))
    };
    let features = |sim: &SimStorage, number: u64| sim.read_file(segment(number)).unwrap()[16];
    let whole = fresh();
    let before = open(&whole).unwrap().head().get();
    live(&whole, &mut 0).unwrap();
    assert_eq!((features(&whole, 1) & 4, features(&whole, 2) & 4), (0, 4));
    assert!(!misplaced(&whole));
    for step in 0..=whole.op_count() {
        let sim = fresh();
        sim.fail_after_ops(step);
        let mut told = before;
        let _ = live(&sim, &mut told);
        sim.crash(Crash::new(step));
        let store = open(&sim).unwrap_or_else(|error| panic!("step {step}: {error}"));
        let head = store.head().get();
        assert!((told..=told + 1).contains(&head), "step {step}: {head} of {told}");
        let read = |position| store.event_at(Position::new(position)).unwrap().unwrap();
        for position in before + 1..=head {
            let found = read(position);
            let again = NewEvent::new(found.event_type(), found.data()).tags(found.tags());
            let extended_one = (position - before).is_multiple_of(2);
            assert_eq!(again == extended(), extended_one, "step {step}, {position}");
        }
        store.append("s", ExpectedVersion::Any, [extended()]).unwrap();
        sim.crash(Crash::new(step).keep(Keep::Nothing));
        drop(store);
        let store = open(&sim).unwrap();
        assert_eq!(store.head().get(), head + 1, "step {step}");
        store.close().unwrap();
        let report = annals::testing::verify_on(&sim, ROOT, |_| {}).unwrap();
        assert_eq!(report.faults, [], "step {step}");
        assert!(!misplaced(&sim), "step {step}");
    }
}
