//! Stores at rest to damage, and checks of what opening and reading them returns.

use std::path::Path;

use annals::testing::{Crash, Keep, SimStorage};
use annals::{Durability, Error, ExpectedVersion, NewEvent, Opened, Options, Result, Store, Uuid};

pub(crate) use crate::shared::ROOT;
use crate::shared::simulated;

/// Offset of the first frame in a segment.
pub(crate) const DATA_START: u64 = 8192;
pub(crate) const FRAME_HEADER: u64 = 48;

pub(crate) fn options(sim: &SimStorage) -> Options {
    super::state_count::note(sim);
    simulated(sim)
}

pub(crate) fn open(sim: &SimStorage) -> Result<Store> {
    options(sim).open(ROOT)
}

pub(crate) fn segment(number: u64) -> String {
    format!("{ROOT}/log/{number:020}.seg")
}

pub(crate) fn index(number: u64) -> String {
    format!("{ROOT}/index/{number:020}.idx")
}

/// The files in a directory of the store, sorted.
pub(crate) fn files_in(sim: &SimStorage, directory: &str) -> Vec<String> {
    let directory = Path::new(ROOT).join(directory);
    let files = sim.files();
    let inside = files.iter().filter(|path| path.starts_with(&directory));
    inside.map(|path| path.to_string_lossy().into_owned()).collect()
}

pub(crate) fn remove(sim: &SimStorage, path: &str) {
    use annals::testing::Storage;
    sim.remove_file(Path::new(path)).unwrap();
    sim.sync_dir(Path::new(path).parent().unwrap()).unwrap();
}

/// The event with a number, from which all of its fields are derived.
pub(crate) fn event(number: u64, size: usize) -> NewEvent {
    let data: Vec<u8> = (0..size).map(|i| (number as usize * 31 + i * 7) as u8).collect();
    NewEvent::new(format!("Type{}", number % 3), data)
        .id(Uuid::from_u128(u128::from(number) + (1 << 100)))
        .tag(format!("tag:{}", number % 5))
}

pub(crate) fn stream_of(number: u64) -> String {
    format!("stream-{}", number % 4)
}

/// Appends the events with the numbers `from..=to`, each as a commit; they get these positions.
pub(crate) fn append(store: &Store, from: u64, to: u64, size: usize) {
    for number in from..=to {
        let done =
            store.append(stream_of(number), ExpectedVersion::Any, [event(number, size)]).unwrap();
        assert_eq!(done.last_position.get(), number);
    }
}

/// Appends an event without waiting for a sync.
pub(crate) fn append_buffered(store: &Store, number: u64, size: usize) {
    let transaction = store.transaction().durability(Durability::BUFFERED);
    let done = transaction
        .append(stream_of(number), ExpectedVersion::Any, [event(number, size)])
        .commit()
        .unwrap();
    assert_eq!(done.last_position.get(), number);
}

/// Loses the power; everything that was written survives.
pub(crate) fn stop(sim: &SimStorage, store: Store) {
    sim.crash(Crash::new(0).keep(Keep::Everything));
    drop(store);
}

/// A store with `events` events of `size` bytes, one per commit, cleanly closed.
pub(crate) fn closed(events: u64, size: usize) -> SimStorage {
    let sim = SimStorage::new(7);
    let store = open(&sim).unwrap();
    append(&store, 1, events, size);
    store.close().unwrap();
    sim
}

/// A store with `events` events of `size` bytes whose machine stopped: no close frame, no last
/// checkpoint.
pub(crate) fn stopped(events: u64, size: usize) -> SimStorage {
    let sim = SimStorage::new(7);
    let store = open(&sim).unwrap();
    append(&store, 1, events, size);
    stop(&sim, store);
    sim
}

/// Reads every event by every path. `Ok(n)`: exactly the events 1 to n are there, right by every
/// path. `Err`: a read failed. Panics if anything wrong is returned.
pub(crate) fn read_back(store: &Store, size: usize) -> Result<u64> {
    let mut next = 0;
    for found in store.read_all() {
        next += 1;
        check(&found?, next, size);
    }
    assert_eq!(store.head().get(), next, "an end without an error is the end");
    let mut count = 0;
    store.read_all().for_each(|_| count += 1)?;
    assert_eq!(count, next);
    let mut left = next;
    for found in store.read_all().backwards() {
        check(&found?, left, size);
        left -= 1;
    }
    assert_eq!(left, 0);
    let mut listed = 0;
    for info in store.streams() {
        let info = info?;
        let mut version = 0;
        for found in store.read_stream(&info.name) {
            let found = found?;
            version += 1;
            assert_eq!((found.version(), found.stream()), (version, info.name.as_str()));
            check(&found, found.position().get(), size);
        }
        assert_eq!(version, info.version);
        let head = store.stream_head(&info.name)?.map(|head| head.version);
        assert_eq!(head, Some(version));
        listed += version;
    }
    assert_eq!(listed, next);
    for number in 1..=next {
        let found = store.event(id_of(number))?;
        assert_eq!(found.map(|found| found.position().get()), Some(number));
    }
    Ok(next)
}

pub(crate) fn id_of(number: u64) -> Uuid {
    Uuid::from_u128(u128::from(number) + (1 << 100))
}

pub(crate) fn check(found: &annals::Event, number: u64, size: usize) {
    assert_eq!(found.position().get(), number);
    assert_eq!(found.id(), id_of(number));
    assert_eq!(found.stream(), stream_of(number));
    assert_eq!(found.event_type(), format!("Type{}", number % 3));
    let data: Vec<u8> = (0..size).map(|i| (number as usize * 31 + i * 7) as u8).collect();
    assert_eq!(found.data(), data);
}

/// Damages a store at rest.
pub(crate) type Damage = fn(&SimStorage);

/// Checks each row of a table: name, damage, expected result.
pub(crate) fn run(base: &SimStorage, size: usize, table: &[(&str, Damage, Expected)]) {
    for (name, damage, expected) in table {
        let sim = base.fork();
        damage(&sim);
        hold(name, &sim, size, *expected);
    }
}

pub(crate) fn zero(sim: &SimStorage, path: &str, from: u64, len: u64) {
    overwrite(sim, path, from, &vec![0; usize::try_from(len).unwrap()]);
}

pub(crate) fn remove_all(sim: &SimStorage, directory: &str) {
    for path in files_in(sim, directory) {
        remove(sim, &path);
    }
}

/// The expected result of opening a damaged store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The opening is refused as damage, and nothing is changed.
    Refused,
    /// The opening succeeds or is refused; a read returns an error or the right event.
    NothingWrong,
    /// This number of events is left, and the cut bytes are reported and kept.
    Cut(u64),
    /// This number of events is there, and nothing is missing.
    Whole(u64),
    /// The opening is refused as an unknown format.
    Unsupported,
}

/// Opens a damaged store and asserts the expected result.
pub(crate) fn hold(name: &str, sim: &SimStorage, size: usize, expected: Expected) {
    let read_all_files = || -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let log = sim.files().into_iter().filter(|path| path.starts_with("/store/log"));
        log.map(|path| (path.clone(), sim.read_file(path).unwrap())).collect()
    };
    let before = read_all_files();
    let opened = open(sim);
    let describe = match &opened {
        Ok(store) => format!("{:?}", store.opened()),
        Err(error) => format!("{error:?}"),
    };
    match (expected, opened) {
        (Expected::Refused | Expected::NothingWrong, Err(Error::Corrupt { .. })) => {
            // Derived files may have been rebuilt.
            assert!(before == read_all_files(), "{name}: the log of a refused store was changed");
            // Reading stays possible, up to the damage or with an error.
            if let Ok(store) = options(sim).read_only(true).open(ROOT) {
                let _ = read_back(&store, size);
            }
        }
        (Expected::Unsupported, Err(Error::Unsupported { .. })) => {}
        (Expected::NothingWrong, Ok(store)) => match read_back(&store, size) {
            Ok(_) | Err(Error::Corrupt { .. } | Error::Io { .. }) => {}
            Err(other) => panic!("{name}: {other:?}"),
        },
        (Expected::Cut(left), Ok(store)) => {
            let Opened::Recovered(recovery) = store.opened() else {
                panic!("{name}: not reported: {describe}");
            };
            assert!(recovery.dropped_bytes > 0, "{name}: {describe}");
            let kept = recovery.quarantined.clone().expect("kept in quarantine");
            assert!(!sim.read_durable(kept).unwrap().is_empty(), "{name}");
            go_on(name, sim, store, size, left);
        }
        (Expected::Whole(left), Ok(store)) => go_on(name, sim, store, size, left),
        _ => panic!("{name}: expected {expected:?}, got {describe}"),
    }
}

/// Asserts that the store holds this number of events, accepts more, and has no fault after a
/// reopening.
fn go_on(name: &str, sim: &SimStorage, store: Store, size: usize, events: u64) {
    assert_eq!(read_back(&store, size).unwrap(), events, "{name}");
    append(&store, events + 1, events + 3, size);
    assert_eq!(read_back(&store, size).unwrap(), events + 3, "{name}");
    let again = store.append(stream_of(1), ExpectedVersion::Any, [event(1, size)]);
    assert!(events == 0 || again.unwrap().already_recorded, "{name}");
    store.close().unwrap();
    let store = open(sim).unwrap();
    assert_eq!(*store.opened(), Opened::Clean, "{name}");
    assert_eq!(read_back(&store, size).unwrap(), events + 3, "{name}");
    let mut report = annals::testing::verify_on(sim, ROOT, |_| {}).unwrap();
    // A damaged copy of a header is reported for as long as the segment exists.
    report.faults.retain(|fault| !fault.what.contains("a copy of the header"));
    assert_eq!(report.faults, [], "{name}");
}

/// A frame of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    /// Includes the header and padding.
    pub(crate) len: u64,
    /// 1: commit, 3: close, 4: seal, 5: session.
    pub(crate) kind: u8,
    pub(crate) first_position: u64,
    pub(crate) durable_position: u64,
}

/// The frames of a segment file, decoded as described in `format-spec.md`.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut found = Vec::new();
    let mut offset = DATA_START;
    let word = |at: u64| {
        let at = usize::try_from(at).unwrap();
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    };
    while offset + FRAME_HEADER <= bytes.len() as u64 && word(offset) & 0xFFFF == 0x4EAF {
        let body = word(offset) >> 32;
        let frame = Frame {
            offset,
            len: FRAME_HEADER + body.next_multiple_of(8),
            kind: (word(offset) >> 16) as u8,
            first_position: word(offset + 16),
            durable_position: word(offset + 24),
        };
        offset += frame.len;
        found.push(frame);
    }
    found
}

pub(crate) fn frames_of(sim: &SimStorage, number: u64) -> Vec<Frame> {
    frames(&sim.read_file(segment(number)).unwrap())
}

/// Overwrites a part of a file at rest.
pub(crate) fn overwrite(sim: &SimStorage, path: &str, offset: u64, with: &[u8]) {
    let at = usize::try_from(offset).unwrap();
    sim.corrupt(path, |bytes| {
        let end = (at + with.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&with[..end - at]);
    })
    .unwrap();
}
