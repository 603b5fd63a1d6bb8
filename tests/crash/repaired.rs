//! What holds after a repair: a store, its repair, and the comparison of the two with the report and what was salvaged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use annals::testing::{SimStorage, Storage, repair_and_salvage_on, verify_on};
use annals::{
    Event, ExpectedVersion, Opened, Store, Uuid,
    repair::{RepairOptions, RepairReport, SalvagedEvent},
};

use super::support::*;

pub(super) const NEW: &str = "/new";
pub(super) const SIZE: usize = 9_000;

/// An event as it was appended. `commit` is the first position of its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) position: u64,
    pub(super) version: u64,
    pub(super) stream: String,
    pub(super) id: Uuid,
    event_type: String,
    tags: Vec<String>,
    pub(super) data: Vec<u8>,
    recorded_at: u64,
    pub(super) commit: u64,
}

pub(super) fn all(store: &Store) -> Vec<Seen> {
    let mut commit = 1;
    let seen = |event: annals::Result<Event>| {
        let event = event.unwrap();
        let seen = Seen {
            position: event.position().get(),
            version: event.version(),
            stream: event.stream().into(),
            id: event.id(),
            event_type: event.event_type().into(),
            tags: event.tags().map(str::to_owned).collect(),
            data: event.data().into(),
            recorded_at: event.recorded_at().as_micros(),
            commit,
        };
        if event.is_last_in_commit() {
            commit = seen.position + 1;
        }
        seen
    };
    store.read_all().into_iter().map(seen).collect()
}

/// A store of several segments and sessions, with commits to several streams.
pub(super) fn original() -> (SimStorage, Vec<Seen>) {
    let sim = SimStorage::new(11);
    let mut number = 0;
    for commits in [5, 4, 6] {
        let store = open(&sim).unwrap();
        for _ in 0..commits {
            let mut transaction = store.transaction();
            for stream in ["a", "b", "a"].iter().take(1 + number as usize % 3) {
                number += 1;
                sim.advance_clock(1000);
                transaction =
                    transaction.append(*stream, ExpectedVersion::Any, [event(number, SIZE / 3)]);
            }
            transaction.commit().unwrap();
            number += 1;
            store
                .append(format!("s-{}", number % 3), ExpectedVersion::Any, [event(number, SIZE)])
                .unwrap();
        }
        store.close().unwrap();
    }
    let store = open(&sim).unwrap();
    let events = all(&store);
    drop(store);
    assert!(files_in(&sim, "log").len() >= 4, "{:?}", files_in(&sim, "log"));
    (sim, events)
}

/// Every file of the damaged store.
pub(super) fn bytes_of(sim: &SimStorage, root: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = sim.files().into_iter().filter(|path| path.starts_with(root));
    files.map(|path| (path.clone(), sim.read_file(&path).unwrap())).collect()
}

pub(super) fn repair_with(
    sim: &SimStorage,
    options: RepairOptions,
) -> annals::Result<RepairReport> {
    repair_with_salvage(sim, options).map(|(report, _)| report)
}

/// An intact event of a broken commit: its place, and what is known of its commit.
#[derive(Debug)]
pub(super) struct Salvaged {
    pub(super) position: u64,
    pub(super) first_position: Option<u64>,
    pub(super) events: Option<u32>,
    pub(super) reason: String,
    seen: Seen,
}

pub(super) fn salvaged(event: &SalvagedEvent<'_>) -> Salvaged {
    let commit = event.commit();
    let first_position = commit.first_position.map(annals::Position::get);
    Salvaged {
        position: event.position().get(),
        first_position,
        events: commit.events,
        reason: commit.reason.into(),
        seen: Seen {
            position: event.position().get(),
            version: event.version(),
            stream: event.stream().into(),
            id: event.id(),
            event_type: event.event_type().into(),
            tags: event.tags().map(str::to_owned).collect(),
            data: event.data().into(),
            recorded_at: event.recorded_at().map_or(0, annals::Timestamp::as_micros),
            commit: first_position.unwrap_or(0),
        },
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `repair` takes them")]
pub(super) fn repair_with_salvage(
    sim: &SimStorage,
    options: RepairOptions,
) -> annals::Result<(RepairReport, Vec<Salvaged>)> {
    let storage: Arc<dyn Storage> = Arc::new(sim.process());
    let before = bytes_of(sim, ROOT);
    let mut events = Vec::new();
    let done = repair_and_salvage_on(&storage, ROOT, NEW, &options, |event| {
        events.push(salvaged(event));
        Ok(())
    });
    assert!(before == bytes_of(sim, ROOT), "the damaged store was changed");
    done.map(|report| (report, events))
}

/// Every salvaged event is one of the original that the new store lacks, and the report counts them.
pub(super) fn hold_salvage(
    name: &str,
    report: &RepairReport,
    salvaged: &[Salvaged],
    original: &[Seen],
) {
    let counted: u64 = report.gaps.iter().map(|gap| gap.intact_events).sum();
    assert_eq!(counted + report.tail_intact_events, salvaged.len() as u64, "{name}");
    let listed = report.gaps.iter().flat_map(|gap| &gap.intact).map(|lost| lost.position.get());
    let of_gaps = salvaged.iter().map(|found| found.position);
    assert!(listed.eq(of_gaps.take(usize::try_from(counted).unwrap())), "{name}");
    for found in salvaged {
        let was = original.iter().find(|seen| seen.id == found.seen.id).unwrap();
        let mut expected = was.clone();
        if found.events.is_none() {
            (expected.recorded_at, expected.commit) = (0, found.first_position.unwrap_or(0));
        }
        assert_eq!(found.seen, expected, "{name}");
        assert!(found.first_position.is_none_or(|first| first == was.commit), "{name}");
        assert!(!found.reason.is_empty());
    }
}

/// Repairs, and compares the salvaged events, too.
pub(super) fn hold_with_salvage(
    name: &str,
    sim: &SimStorage,
    original: &[Seen],
) -> (RepairReport, Vec<Salvaged>) {
    let (_, salvaged) = repair_with_salvage(&sim.fork(), RepairOptions::new()).unwrap();
    (hold(name, sim, original).0, salvaged)
}

/// Repairs, and compares the new store, the report and the original. Returns the missing positions.
pub(super) fn hold(name: &str, sim: &SimStorage, original: &[Seen]) -> (RepairReport, Vec<u64>) {
    hold_with(name, sim, original, RepairOptions::new())
}

pub(super) fn hold_with(
    name: &str,
    sim: &SimStorage,
    original: &[Seen],
    options_of_repair: RepairOptions,
) -> (RepairReport, Vec<u64>) {
    let (report, salvaged) = repair_with_salvage(sim, options_of_repair)
        .unwrap_or_else(|e| panic!("{name}: {e} ({e:?})"));
    hold_salvage(name, &report, &salvaged, original);
    let verified = verify_on(sim, NEW, |_| {}).unwrap();
    assert_eq!(verified.faults, [], "{name}");
    let store = options(sim).open(NEW).unwrap();
    assert_eq!(*store.opened(), Opened::Clean, "{name}");
    let new = all(&store);
    let ids: BTreeMap<Uuid, &Seen> = original.iter().map(|seen| (seen.id, seen)).collect();
    let mut kept = Vec::new();
    for (seen, position) in new.iter().zip(1..) {
        let was = ids.get(&seen.id).unwrap_or_else(|| panic!("{name}: {seen:?} is new"));
        assert_eq!(seen.position, position, "{name}");
        assert_eq!(
            (&seen.stream, &seen.data, seen.recorded_at),
            (&was.stream, &was.data, was.recorded_at),
            "{name}"
        );
        assert_eq!(moved(&report, was.position), Some(seen.position), "{name}: {report:?}");
        let loss = report.streams.iter().find(|loss| loss.stream == was.stream);
        let version = match loss {
            Some(loss) => {
                let run = loss.versions.iter().find(|r| (r.first..=r.last).contains(&was.version));
                run.map(|run| was.version - run.first + run.new_first)
            }
            None => Some(was.version),
        };
        assert_eq!(version, Some(seen.version), "{name}: {seen:?} {loss:?}");
        kept.push(was.position);
    }
    let missing: Vec<u64> =
        (1..=original.len() as u64).filter(|position| !kept.contains(position)).collect();
    let told: Vec<u64> =
        report.gaps.iter().filter_map(|gap| gap.missing).flat_map(|m| m.first..=m.last).collect();
    assert_eq!(told, missing, "{name}: {report:?}");
    assert_eq!(report.missing_events, missing.len() as u64, "{name}");
    assert_eq!((report.events, report.is_complete()), (new.len() as u64, missing.is_empty()));
    for position in &missing {
        let lost = &original[usize::try_from(position - 1).unwrap()];
        let told = report.streams.iter().find(|loss| loss.stream == lost.stream);
        let told = told.is_some_and(|loss| {
            loss.missing.iter().any(|m| (m.first..=m.last).contains(&lost.version))
        });
        // Since the checkpoint, only a stream's last record itself may have recorded its version.
        let newest =
            !new.iter().any(|e| e.stream == lost.stream && ids[&e.id].version > lost.version);
        let unknowable = newest && files_in(sim, "checkpoints").is_empty();
        assert!(told || unknowable, "{name}: {} of {}: {report:?}", lost.version, lost.stream);
    }
    for lost in report.gaps.iter().flat_map(|gap| &gap.intact) {
        let was = ids[&lost.id];
        assert_eq!((lost.position.get(), lost.version), (was.position, was.version), "{name}");
        assert!(missing.contains(&lost.position.get()), "{name}");
    }
    // Whole commits only.
    let whole = |at: u64| original[usize::try_from(at - 1).unwrap()].commit;
    let broken = missing.iter().any(|&at| kept.iter().any(|&kept| whole(kept) == whole(at)));
    assert!(!broken, "{name}: half a commit is there");
    store.close().unwrap();
    (report, missing)
}

fn moved(report: &RepairReport, position: u64) -> Option<u64> {
    let run = report.positions.iter().find(|run| (run.first..=run.last).contains(&position))?;
    Some(position - run.first + run.new_first)
}

/// The commits of the original that a flipped bit at this offset of a segment damages.
pub(super) fn touched(frames: &[Frame], events: &[Seen], offset: u64) -> Vec<u64> {
    let hit = frames.iter().find(|f| (f.offset..f.offset + f.len).contains(&offset) && f.kind == 1);
    let commit = hit.map(|frame| frame.first_position);
    events.iter().filter(|e| Some(e.commit) == commit).map(|e| e.position).collect()
}
