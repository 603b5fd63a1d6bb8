//! A reader in another language that is written from the specification alone, compared with the
//! engine.

use std::path::Path;
use std::time::Duration;

use annals::{ContentType, ExpectedRecord, ExpectedVersion, NewEvent, Store, StreamMetadata, Uuid};

use crate::support::{GOLDEN, expected_ndjson, golden, ndjson, open, python, python_prints};

/// Reproducible random numbers (`SplitMix64`).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((x ^ (x >> 31)) % limit as u64).unwrap()
    }

    fn bytes(&mut self, limit: usize) -> Vec<u8> {
        let len = self.below(limit);
        (0..len).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }

    fn name(&mut self) -> String {
        const PARTS: [&str; 8] = ["account", "-", "é", "日本", "\u{0}", "\"\n", "🦀", "x"];
        (0..=self.below(4)).map(|_| PARTS[self.below(PARTS.len())]).collect()
    }

    fn event(&mut self) -> NewEvent {
        let limit = [1, 20, 3000][self.below(3)];
        let mut event = NewEvent::new(self.name(), self.bytes(limit))
            .metadata(self.bytes(limit.min(64)))
            .schema_version(u16::try_from(self.below(65_536)).unwrap());
        for _ in 0..self.below(4) {
            event = event.tag(self.name());
        }
        event = match self.below(8) {
            0 => event.tag("").tag("t".repeat(256 + self.below(300))),
            1 => event.tags((0..70).map(|number| number.to_string())),
            2 => NewEvent::new("", "no type")
                .tag("")
                .id(Uuid::from_u128(self.below(1 << 40) as u128)),
            _ => event,
        };
        if self.below(2) == 0 {
            event = event.content_type(ContentType::Json);
        }
        event
    }
}

/// Several sessions of commits over a few streams; ends with a clean close.
fn write_random(path: &Path, seed: u64) {
    let mut chance = Chance(seed);
    for _ in 0..=chance.below(4) {
        let store = open(path);
        for _ in 0..chance.below(60) {
            commit(&store, &mut chance);
        }
        store.close().unwrap();
    }
    let store = open(path);
    commit(&store, &mut chance);
    store.close().unwrap();
}

fn commit(store: &Store, chance: &mut Chance) {
    let mut transaction = store.transaction();
    for _ in 0..=chance.below(3) {
        let events: Vec<_> = (0..=chance.below(2)).map(|_| chance.event()).collect();
        transaction = transaction.append(chance.name(), ExpectedVersion::Any, events);
    }
    let head = store.head().get();
    if head > 0 && chance.below(3) == 0 {
        let cursor = format!("c{}", chance.below(4));
        transaction = transaction.reset_cursor(cursor, head - 1);
    }
    for _ in 0..chance.below(3) {
        let key = format!("{}{}", chance.name(), chance.below(3));
        transaction = transaction.put(key, chance.bytes(200), ExpectedRecord::Any);
    }
    transaction.commit().unwrap();
    let record = store.records().list().next();
    if let Some(Ok(record)) = record.filter(|_| chance.below(5) == 0) {
        store.records().delete(&record.key, ExpectedRecord::Exact(record.version)).unwrap();
    }
    let stream = store.streams().include_hidden().into_iter().next();
    let Some(Ok(stream)) = stream.filter(|_| chance.below(4) == 0) else { return };
    match chance.below(4) {
        0 => store.archive(&stream.name).unwrap(),
        1 => store.unarchive(&stream.name).unwrap(),
        2 => store.truncate_before(&stream.name, stream.version).unwrap(),
        _ => {
            let metadata = StreamMetadata::new().max_count(7).max_age(Duration::from_secs(9));
            store.set_stream_metadata(&stream.name, metadata).unwrap();
        }
    }
}

fn assert_agrees(store: &Path, expected: &str) {
    assert!(python_prints(&[], store) == expected, "{}", store.display());
    let summary = python_prints(&["--check-derived"], store);
    assert!(summary.ends_with("agree with the log\n"), "{summary}");
}

#[test]
fn python_reads_golden_stores_as_the_engine_does() {
    for name in GOLDEN {
        assert_agrees(&golden(name), &expected_ndjson(name));
    }
    let summary = python_prints(&["--check-derived"], &golden("sealed"));
    assert_eq!(summary, "2 index files and 2 checkpoints agree with the log\n");
}

#[test]
fn python_reads_new_stores_as_the_engine_does() {
    for seed in 1..=12 {
        let dir = tempfile::tempdir().unwrap();
        write_random(dir.path(), seed);
        let store = open(dir.path());
        let expected = ndjson(&store);
        store.close().unwrap();
        assert_agrees(dir.path(), &expected);
    }
}

#[test]
fn python_reads_an_unclosed_store_as_the_engine_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut chance = Chance(99);
    for _ in 0..40 {
        commit(&store, &mut chance);
    }
    let copy = crate::support::copy_of(dir.path());
    let printed = String::from_utf8(python(&[], copy.path()).stdout).unwrap();
    assert!(printed == ndjson(&store));
}

#[test]
fn python_reports_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let output = python(&[], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message, "damage: not a store: it has no segments\n");
}
