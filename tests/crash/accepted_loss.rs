//! Accepting a loss: only at the position up to which the store is intact, only where an opening
//! refuses, and wholly or not at all if the power is lost meanwhile.

use annals::testing::{Crash, Keep, SimStorage, accept_loss_on, find_loss_on, verify_on};
use annals::{
    Error, Opened, Position,
    snapshot::{Mark, Snapshot},
};

use super::support::*;

const SIZE: usize = 9_000;
const EVENTS: u64 = 20;

/// What is done to a store of twenty events in four segments.
const DAMAGES: &[(&str, Damage)] = &[
    ("a frame of the active segment", |sim| {
        let number = files_in(sim, "log").len() as u64;
        let number = (1..=number).rev().find(|&n| frames_of(sim, n).len() > 2).unwrap();
        let frame = frames_of(sim, number)[1];
        sim.flip_bit(segment(number), frame.offset + 70, 1).unwrap();
        remove_all(sim, "checkpoints");
    }),
    ("a sealed segment without its seal and index", |sim| {
        let frames = frames_of(sim, 2);
        let end = usize::try_from(frames.last().unwrap().offset).unwrap();
        sim.corrupt(segment(2), |bytes| bytes.truncate(end)).unwrap();
        sim.flip_bit(segment(2), frames[2].offset + 70, 1).unwrap();
        remove_all(sim, "index");
    }),
    ("a sealed segment without its index", |sim| {
        sim.flip_bit(segment(2), frames_of(sim, 2)[2].offset + 70, 1).unwrap();
        remove_all(sim, "index");
        remove_all(sim, "checkpoints");
    }),
    ("a segment in the middle missing", |sim| remove(sim, &segment(2))),
    ("a segment in the middle without headers", |sim| zero(sim, &segment(3), 0, DATA_START)),
    ("the newest segments missing", |sim| {
        for path in files_in(sim, "log").iter().skip(2) {
            remove(sim, path);
        }
    }),
    ("the end zeroed, a checkpoint tells", |sim| {
        let number = files_in(sim, "log").len() as u64;
        let number = (1..=number).rev().find(|&n| frames_of(sim, n).len() > 2).unwrap();
        let from = frames_of(sim, number)[1].offset;
        zero(sim, &segment(number), from, 1 << 16);
    }),
];

/// Twenty events, and snapshots of the early and the late ones.
fn base() -> SimStorage {
    let sim = SimStorage::new(7);
    let store = open(&sim).unwrap();
    append(&store, 1, EVENTS, SIZE);
    for number in 1..=EVENTS {
        let event = store.event_at(Position::new(number)).unwrap().unwrap();
        let (stream, version) = (event.stream().to_owned(), event.version());
        store.snapshots().save(&Snapshot::new(stream, version, "state")).unwrap();
        let at = Mark::Position(Position::new(number));
        store.snapshots().save(&Snapshot::new(format!("all-{number}"), at, "state")).unwrap();
    }
    store.close().unwrap();
    sim
}

fn refusal(sim: &SimStorage) -> String {
    match open(sim) {
        Err(Error::Corrupt { .. }) => String::new(),
        other => format!("{other:?}"),
    }
}

fn damaged() -> impl Iterator<Item = (&'static str, SimStorage)> {
    let base = base();
    DAMAGES.iter().map(move |(name, damage)| {
        let sim = base.fork();
        damage(&sim);
        assert_eq!(refusal(&sim), "", "{name}: is not refused");
        (*name, sim)
    })
}

/// The store opens with the events before the cut, accepts more, and has no fault.
fn hold_cut(name: &str, sim: &SimStorage, kept: u64) {
    let store = open(sim).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read_back(&store, SIZE).unwrap(), kept, "{name}");
    for number in 1..=EVENTS {
        // The two newest of each key are kept; none is of what was cut off.
        let snapshot = store.snapshots().load(&stream_of(number)).unwrap();
        let head = store.stream_head(&stream_of(number)).unwrap().map_or(0, |head| head.version);
        if let Some(Mark::Version(version)) = snapshot.map(|snapshot| snapshot.mark()) {
            assert!(version <= head, "{name}: a snapshot of version {version}, {head} is there");
        }
        let snapshot = store.snapshots().load(&format!("all-{number}")).unwrap();
        assert!(snapshot.is_none() || number <= kept, "{name}: a snapshot of {number}");
    }
    append(&store, kept + 1, kept + 3, SIZE);
    store.close().unwrap();
    let store = open(sim).unwrap();
    assert_eq!(*store.opened(), Opened::Clean, "{name}");
    assert_eq!(read_back(&store, SIZE).unwrap(), kept + 3, "{name}");
    assert_eq!(verify_on(sim, ROOT, |_| {}).unwrap().faults, [], "{name}");
}

#[test]
fn accepted_loss_is_cut_at_the_named_position_and_kept_in_quarantine() {
    for (name, sim) in damaged() {
        let before: Vec<_> = sim.files().iter().map(|f| sim.read_file(f).unwrap()).collect();
        let loss = find_loss_on(&sim.process(), ROOT).unwrap();
        let whole = loss.cut_after;
        for wrong in [whole.get() + 1, whole.get().wrapping_sub(1), 0, EVENTS] {
            let wrong = Position::new(wrong);
            let refused = accept_loss_on(&sim.process(), ROOT, wrong);
            let told = matches!(refused, Err(Error::WrongCut { given, whole: named })
                if (given, named) == (wrong, whole));
            assert!(told || wrong == whole, "{name}: {refused:?}");
        }
        let lock = |path: &&std::path::PathBuf| !path.ends_with("LOCK");
        let after: Vec<_> =
            sim.files().iter().filter(lock).map(|f| sim.read_file(f).unwrap()).collect();
        assert!(
            before
                .iter()
                .filter(|bytes| !bytes.is_empty())
                .eq(after.iter().filter(|bytes| !bytes.is_empty())),
            "{name}: asking changed the store"
        );
        let log: Vec<u8> =
            files_in(&sim, "log").iter().flat_map(|f| sim.read_file(f).unwrap()).collect();

        let accepted = accept_loss_on(&sim.process(), ROOT, whole).unwrap();
        assert_eq!(accepted.loss, loss, "{name}");
        assert_eq!(verify_on(&sim, ROOT, |_| {}).unwrap().faults, [], "{name}");
        // Every event that was cut off and is not damaged can be found in quarantine.
        let kept: Vec<u8> =
            accepted.quarantined.iter().flat_map(|f| sim.read_durable(f).unwrap()).collect();
        let holds = |bytes: &[u8], id: &[u8]| bytes.windows(16).any(|window| window == id);
        for number in whole.get() + 1..=EVENTS {
            let id = id_of(number).into_bytes();
            assert!(holds(&kept, &id) || !holds(&log, &id), "{name}: event {number}");
        }
        let record = accepted.quarantined.iter().find(|path| path.extension().unwrap() == "loss");
        let text = String::from_utf8(sim.read_durable(record.unwrap()).unwrap()).unwrap();
        assert!(text.contains(&format!("kept up to position: {whole}\n")), "{name}: {text}");
        hold_cut(name, &sim, whole.get());
    }
}

#[test]
fn loss_is_not_accepted_for_a_store_that_lost_nothing() {
    let sim = base();
    let nothing = |result: annals::Result<annals::repair::Loss>| match result {
        Err(Error::NothingLost { .. }) => {}
        other => panic!("{other:?}"),
    };
    nothing(find_loss_on(&sim.process(), ROOT));
    nothing(accept_loss_on(&sim.process(), ROOT, Position::new(20)).map(|it| it.loss));
    // Neither a torn tail nor damage to derived files is a loss.
    let tail = stopped(10, 40);
    overwrite(&tail, &segment(1), 30_000, b"?");
    nothing(find_loss_on(&tail.process(), ROOT));
    remove_all(&sim, "index");
    remove_all(&sim, "checkpoints");
    nothing(find_loss_on(&sim.process(), ROOT));
    assert_eq!(read_back(&open(&sim).unwrap(), SIZE).unwrap(), EVENTS);
    let writer = open(&sim).unwrap();
    assert!(matches!(find_loss_on(&sim.process(), ROOT), Err(Error::Locked { .. })));
    let locked = accept_loss_on(&sim.process(), ROOT, Position::new(20));
    assert!(matches!(locked, Err(Error::Locked { .. })));
    drop(writer);
    // There is nothing to keep in quarantine.
    remove(&sim, &segment(1));
    assert!(matches!(find_loss_on(&sim.process(), ROOT), Err(Error::Corrupt { .. })));
    let other = find_loss_on(&sim.process(), "/nowhere");
    assert!(matches!(other, Err(Error::NotAStore { .. })));
}

#[test]
fn power_loss_while_a_loss_is_accepted_leaves_it_accepted_or_refused() {
    for (name, base) in damaged() {
        let probe = base.fork();
        let whole = find_loss_on(&probe.process(), ROOT).unwrap().cut_after;
        let before = probe.op_count();
        accept_loss_on(&probe.process(), ROOT, whole).unwrap();
        let operations = probe.op_count() - before;
        let (mut refused, mut accepted) = (0, 0);
        for step in 0..=operations {
            let stopped = base.fork();
            stopped.fail_after_ops(step);
            let done = accept_loss_on(&stopped.process(), ROOT, whole);
            assert!(done.is_err() || step >= operations, "{name}: step {step}");
            let crashes = [
                Crash::new(step),
                Crash::new(step).keep(Keep::Nothing),
                Crash::new(step).keep(Keep::Everything),
                Crash::new(step + 10_000).tear_bytes(),
            ];
            // Each kind of crash at every second step only, to keep the test short.
            for crash in crashes.into_iter().skip(step as usize % 2).step_by(2) {
                let sim = stopped.fork();
                sim.crash(crash);
                let name = format!("{name}: step {step} of {operations}, {crash:?}");
                match find_loss_on(&sim.process(), ROOT) {
                    Ok(loss) => {
                        refused += 1;
                        assert_eq!(loss.cut_after, whole, "{name}: {loss:?}");
                        assert_eq!(refusal(&sim), "", "{name}: is not refused");
                        accept_loss_on(&sim.process(), ROOT, whole).unwrap();
                    }
                    Err(Error::NothingLost { .. }) => accepted += 1,
                    Err(other) => panic!("{name}: {other:?}"),
                }
                hold_cut(&name, &sim, whole.get());
            }
        }
        assert!(refused > 20 && accepted > 0, "{name}: {refused} refused, {accepted} accepted");
    }
}

#[test]
fn damaged_seal_without_a_later_segment_is_refused() {
    let sim = base();
    for path in files_in(&sim, "log").iter().skip(2) {
        remove(&sim, path);
    }
    remove_all(&sim, "checkpoints");
    remove_all(&sim, "index");
    let seal = *frames_of(&sim, 2).last().unwrap();
    assert_eq!(seal.kind, 4);
    let damages: [Damage; 3] = [
        |sim| {
            let len = sim.read_file(segment(2)).unwrap().len() as u64;
            sim.flip_bit(segment(2), len - 40, 0).unwrap();
        },
        |sim| sim.corrupt(segment(2), |bytes| bytes.extend_from_slice(&[0; 64])).unwrap(),
        |sim| zero(sim, &segment(2), frames_of(sim, 2).last().unwrap().offset + 100, 1 << 16),
    ];
    for (damage, number) in damages.into_iter().zip(1..) {
        let sim = sim.fork();
        damage(&sim);
        assert_eq!(refusal(&sim), "", "damage {number} to the trailer");
        let loss = find_loss_on(&sim.process(), ROOT).unwrap();
        assert_eq!(loss.cut_after.get(), seal.first_position - 1);
        accept_loss_on(&sim.process(), ROOT, loss.cut_after).unwrap();
        let store = open(&sim).unwrap();
        assert_eq!(read_back(&store, SIZE).unwrap(), loss.cut_after.get());
        // No append follows here: a crash leaves such a seal only if the next segment exists.
    }
}
