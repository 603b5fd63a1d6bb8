use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::event::NewEvent;
use crate::format::checksum::Seed;
use crate::format::container::{self, INDEX_MAGIC, LEVEL_MAGIC};
use crate::format::index_file::{IndexMeta, Probe, hash_term};
use crate::format::metadata::{Change, ChangeNumber, RecordChange, RecordValue};
use crate::format::record::{self, Assigned, RecordRef};
use crate::index::Head;
use crate::index::block_file::{BlockFile, Reads};
use crate::index::build::{IndexBuilder, PreviousEvent};
use crate::index::covers::Covers;
use crate::index::record_table::{Match, RecordKey};
use crate::index::sealed::HashedId;
use crate::index::{Postings, Terms};
use crate::storage::{DiskStorage, OpenMode, Storage, read_exact_at};

const STORE: [u8; 16] = [1; 16];

/// An event: its stream and its tags, as numbers.
type Made = (u8, u8);

fn stream_name(stream: u8) -> String {
    format!("{}-{}", ["a", "b", ""][usize::from(stream) % 3], stream)
}

/// A built index and its expected contents.
#[derive(Default)]
struct Built {
    inputs: Vec<Arc<SealedIndex>>,
    metas: Vec<IndexMeta>,
    /// By segment: the number of changes.
    changes: Vec<u64>,
    events: Vec<Made>,
    /// The records that the next segment puts.
    records: Vec<&'static str>,
    /// Changes the bytes of the next index file.
    spoil: Option<fn(Vec<u8>) -> Vec<u8>>,
}

impl Built {
    fn last_position(&self, stream: u8, upto: usize) -> (u64, u64) {
        let own = |(_, event): &(usize, &Made)| event.0 == stream;
        let all: Vec<_> = self.events[..upto].iter().enumerate().filter(own).collect();
        (all.len() as u64, all.last().map_or(0, |(at, _)| *at as u64 + 1))
    }

    fn add(&mut self, events: &[Made], changes: u8) {
        let base = self.events.len();
        self.events.extend_from_slice(events);
        let segment = self.inputs.len() as u64 + 5;
        let meta = IndexMeta {
            segment,
            salt: segment * 7,
            base_position: base as u64 + 1,
            seal_offset: 9_000,
            event_count: u32::try_from(events.len()).unwrap(),
            link: 4,
        };
        let mut builder = IndexBuilder::new();
        for (at, (stream, tags)) in events.iter().enumerate() {
            let at = base + at;
            let tags = (0..4).filter(|bit| tags >> bit & 1 == 1).map(|bit| format!("t{bit}"));
            let event = NewEvent::new(["T", "U"][at % 2], "").tags(tags);
            let name = stream_name(*stream);
            let place = Assigned {
                stream: &name,
                version: self.last_position(*stream, at).0 + 1,
                position: at as u64 + 1,
                id: u128::from_be_bytes(id(at)),
                id_origin: record::IdOrigin::Unrecorded,
                frame_distance: 48,
            };
            let mut out = Vec::new();
            record::encode(&mut out, Seed::of_salt(0), &place, &event);
            builder.add(&RecordRef::parse(&out).unwrap(), PreviousEvent::Unknown);
        }
        let before: u64 = self.changes.iter().sum();
        for number in 0..u64::from(changes) {
            let change = Change::CursorSet { name: "c".into(), position: before + number };
            builder.add_change(ChangeNumber::new(before + number + 1), &change, meta.segment);
        }
        let mut number = before + u64::from(changes);
        for key in &self.records {
            let (key, value) = ((*key).into(), Some(RecordValue::Given("v".into())));
            let record = RecordChange { key, version: segment, value, offset: 8192 };
            number += 1;
            let change = Change::Record(record);
            builder.add_change(ChangeNumber::new(number), &change, segment);
        }
        self.changes.push(number - before);
        let bytes = builder.finish(STORE, &meta, |name, _, _| {
            let stream = (0..=255).find(|s| stream_name(*s) == name).unwrap();
            Ok::<_, Defect>(self.last_position(stream, base).1)
        });
        let spoil = self.spoil.unwrap_or(|bytes| bytes);
        let file = BlockFile::from_bytes(spoil(bytes.unwrap()), INDEX_MAGIC).unwrap();
        self.inputs.push(Arc::new(SealedIndex::new(file, STORE, &meta).unwrap().unwrap()));
        self.metas.push(meta);
    }

    /// The segments from `from` on that a container names.
    fn covers(&self, from: usize, count: usize) -> Option<Covers> {
        Covers::several((from..from + count).map(|at| {
            let changes = u32::try_from(*self.changes.get(at)?).unwrap();
            Some((self.metas.get(at)?.clone(), changes))
        }))
    }

    fn open(&self, bytes: Vec<u8>) -> Result<Option<SealedIndex>, Defect> {
        let file = BlockFile::from_bytes(bytes, LEVEL_MAGIC)?;
        let meta = file.get(file.section(layout::META), 0, level_file::META_LEN)?;
        let meta = LevelMeta::decode(meta)?;
        let from = usize::try_from(meta.first_segment - 5).unwrap();
        let count = usize::try_from(meta.last_segment + 1 - meta.first_segment).unwrap();
        match self.covers(from, count) {
            Some(covers) => SealedIndex::new_level(file, STORE, covers),
            None => Ok(None),
        }
    }
}

impl Built {
    /// Merges these inputs; a single one is returned unchanged.
    fn half(&self, inputs: &[Arc<SealedIndex>]) -> Arc<SealedIndex> {
        match inputs {
            [one] => Arc::clone(one),
            _ => Arc::new(self.open(merged(inputs).unwrap()).unwrap().unwrap()),
        }
    }
}

fn id(at: usize) -> [u8; 16] {
    (at as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C834).to_le_bytes()
}

fn merged(inputs: &[Arc<SealedIndex>]) -> Merged<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let path = Path::new(directory.path()).join("level");
    let file = DiskStorage.open(&path, OpenMode::CreateNew).unwrap();
    merge(inputs, STORE, &*file, &mut |_| ControlFlow::Continue(()))?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_exact_at(&*file, &mut bytes, 0).unwrap();
    Ok(bytes)
}

/// Compares all contents of a level with the events that it was built from.
fn check(built: &Built, level: &SealedIndex, events: &[Made], base: usize) {
    assert_eq!(
        (level.event_count() as usize, level.base_position()),
        (events.len(), base as u64 + 1)
    );
    for stream in 0..=255_u8 {
        let own = events.iter().enumerate().filter(|(_, event)| event.0 == stream);
        let ordinals: Vec<u32> = own.map(|(at, _)| u32::try_from(at).unwrap()).collect();
        let (before, previous) = built.last_position(stream, base);
        let run = level.stream(&stream_name(stream)).unwrap();
        let Some(run) = run else {
            assert!(ordinals.is_empty(), "stream {stream} is missing");
            continue;
        };
        assert_eq!((run.first_version, run.previous_position), (before + 1, previous));
        assert_eq!(run.ordinals, ordinals, "stream {stream}");
        let entry = level.stream_entry(&stream_name(stream)).unwrap().unwrap();
        let name = stream_name(stream);
        let head = level.head(Reads::Any, &name, &Probe::new(hash_term(layout::STREAMS, &name)));
        let last_position = level.base_position() + u64::from(*ordinals.last().unwrap());
        let version = before + ordinals.len() as u64;
        assert_eq!(head.unwrap(), Some(Head { version, last_position }));
        let count = entry.count;
        for places in [0..1, count / 2..count, count - 1..count + 5, 1023..1025, count..1] {
            let from = (places.start as usize).min(ordinals.len());
            let to = (places.end as usize).clamp(from, ordinals.len());
            assert_eq!(level.stream_ordinals(&entry, places).unwrap(), ordinals[from..to]);
        }
    }
    for bit in 0..4 {
        let own = events.iter().enumerate().filter(|(_, event)| event.1 >> bit & 1 == 1);
        check_term(level, Terms::Tags, &format!("t{bit}"), own.map(|(at, _)| at).collect());
    }
    for (which, name) in ["T", "U"].iter().enumerate() {
        let own = (0..events.len()).filter(|at| (base + at) % 2 == which).collect();
        check_term(level, Terms::Types, name, own);
    }
    for (which, name) in ["a", "b", ""].iter().enumerate() {
        let own = events.iter().enumerate().filter(|(_, event)| usize::from(event.0) % 3 == which);
        check_term(level, Terms::Categories, name, own.map(|(at, _)| at).collect());
    }
    let may = |kind: Terms, name: &str| {
        level.may_hold(&Probe::new(hash_term(kind.section(), name))).unwrap()
    };
    for (stream, tags) in events {
        let name = stream_name(*stream);
        assert!(
            may(Terms::Streams, &name) && may(Terms::Categories, name.split('-').next().unwrap())
        );
        assert!((0..4).all(|bit| tags >> bit & 1 == 0 || may(Terms::Tags, &format!("t{bit}"))));
    }
    for at in 0..events.len() {
        assert!(may(Terms::Types, ["T", "U"][(base + at) % 2]));
    }
    let absent = (0..1000).filter(|i| may(Terms::Tags, &i.to_string())).count();
    assert!(absent < 150 || events.is_empty(), "{absent} of 1,000 absent tags pass");
    for at in 0..events.len() {
        let found = level.candidates(&HashedId::new(&id(base + at))).unwrap();
        assert_eq!(found, [u32::try_from(at).unwrap()]);
    }
}

fn check_term(level: &SealedIndex, kind: Terms, name: &str, expected: Vec<usize>) {
    let expected: Vec<u32> = expected.into_iter().map(|at| u32::try_from(at).unwrap()).collect();
    let Some(found) = level.find(kind, name).unwrap() else {
        assert!(expected.is_empty(), "{name} is missing");
        return;
    };
    assert_eq!(found.count as usize, expected.len());
    let all = level.event_count();
    for floor in [0, 1, all / 3, all] {
        let from = expected.partition_point(|&ordinal| ordinal < floor);
        for end in [floor, all / 2, all] {
            let own: Vec<u32> =
                expected[from..].iter().copied().take_while(|&ordinal| ordinal < end).collect();
            for most in [1, 5, usize::MAX] {
                let some = |backwards| level.some(found, floor..end, backwards, most).unwrap();
                assert!(some(false).iter().eq(own.iter().take(most)), "{name} from {floor} on");
                assert!(some(true).iter().eq(own.iter().rev().take(most)), "{name} up to {end}");
            }
        }
    }
}

fn check_changes(level: &SealedIndex, expected: u64) {
    let mut next = 1;
    let count = level.for_each_change(|number, _| {
        assert_eq!(number.get(), next);
        next += 1;
    });
    assert_eq!(count, Ok(expected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 64 }, ..ProptestConfig::default() })]
    #[test]
    fn level_file_answers_as_its_inputs(
        segments in proptest::collection::vec(
            (proptest::collection::vec((0..20_u8, 0..16_u8), 0..40), 0..3_u8), 2..7),
        cut in 1_usize..6,
    ) {
        let mut built = Built::default();
        for (events, changes) in &segments {
            built.add(events, *changes);
        }
        let bytes = merged(&built.inputs).unwrap();
        let level = built.open(bytes).unwrap().unwrap();
        check(&built, &level, &built.events, 0);
        check_changes(&level, built.changes.iter().sum());
        // Merging in steps gives the same file, except for its level.
        let cut = cut.min(built.inputs.len() - 1);
        let (front, back) = built.inputs.split_at(cut);
        let halves = [front, back].map(|half| built.half(half));
        let base = built.metas[cut].base_position - 1;
        let base = usize::try_from(base).unwrap();
        check(&built, &halves[1], &built.events[base..], base);
        let again = built.open(merged(&halves).unwrap()).unwrap().unwrap();
        prop_assert_eq!(again.contents().unwrap().level(), if built.inputs.len() > 2 { 2 } else { 1 });
        prop_assert_eq!(again.file_len(), level.file_len());
        check(&built, &again, &built.events, 0);
    }
}

/// Lists that are longer than a chunk, from inputs with such lists.
fn long() -> Built {
    let mut built = Built::default();
    let sizes: &[usize] = if cfg!(miri) { &[1030, 3] } else { &[3000, 1, 1024, 0, 1023, 5000] };
    for (at, size) in sizes.iter().enumerate() {
        let events: Vec<Made> = (0..*size)
            .map(|i| (u8::try_from((i * i + at) % 7).unwrap() / 3, u8::try_from(i % 16).unwrap()))
            .collect();
        built.add(&events, 0);
    }
    built
}

#[test]
fn long_list_of_a_level_file_is_read_from_the_middle() {
    let built = long();
    let level = built.open(merged(&built.inputs).unwrap()).unwrap().unwrap();
    check(&built, &level, &built.events, 0);
    let halves: Vec<_> = built.inputs.chunks(built.inputs.len() / 2).collect();
    let halves: Vec<_> = halves.iter().map(|half| built.half(half)).collect();
    let level = built.open(merged(&halves).unwrap()).unwrap().unwrap();
    check(&built, &level, &built.events, 0);
}

#[test]
fn filter_of_a_level_file_has_few_false_positives() {
    let built = long();
    let level = built.open(merged(&built.inputs).unwrap()).unwrap().unwrap();
    let others = (0..10_000).map(|at| id(usize::MAX - at));
    let passed = others.filter(|id| level.filter_passes_for_tests(id)).count();
    assert!(passed < 300, "{passed} of 10,000 pass");
}

#[test]
fn level_file_is_refused_for_other_segments() {
    let mut built = Built::default();
    (0..3).for_each(|_| built.add(&[(1, 1), (2, 2)], 1));
    let bytes = merged(&built.inputs).unwrap();
    assert!(built.open(bytes.clone()).unwrap().is_some());
    let spoils: [fn(&mut Built); 6] = [
        |built| built.metas[1].salt += 1,
        |built| built.metas[2].link += 1,
        |built| built.metas[0].seal_offset += 8,
        |built| built.changes[1] += 1,
        |built| built.metas[2].event_count += 1,
        |built| built.metas.truncate(2),
    ];
    for spoil in spoils {
        let mut other = Built::default();
        (0..3).for_each(|_| other.add(&[(1, 1), (2, 2)], 1));
        spoil(&mut other);
        assert!(other.open(bytes.clone()).unwrap().is_none());
    }
    let file = BlockFile::from_bytes(bytes, LEVEL_MAGIC).unwrap();
    let covers = built.covers(0, 3).unwrap();
    assert!(SealedIndex::new_level(file, [2; 16], covers).unwrap().is_none());
}

#[test]
fn contradicting_index_files_are_not_merged() {
    let mut built = Built::default();
    (0..3).for_each(|_| built.add(&[(1, 1), (2, 2)], 1));
    let skipped = [Arc::clone(&built.inputs[0]), Arc::clone(&built.inputs[2])];
    assert!(matches!(merged(&skipped), Err(MergeError::Input { at: 1, .. })));
    // A segment that omits the events that the previous one has of a stream.
    let mut other = Built::default();
    other.add(&[(2, 1), (2, 2)], 1);
    other.add(&[(1, 1), (2, 2)], 1);
    let mixed = [Arc::clone(&built.inputs[0]), Arc::clone(&other.inputs[1])];
    assert!(matches!(merged(&mixed), Err(MergeError::Input { at: 1, .. })));
}

/// The index file with its sections, up to `last`, changed, and checksums that fit.
fn with_sections(bytes: Vec<u8>, last: u32, change: impl Fn(u32, &mut [u8])) -> Vec<u8> {
    let file = BlockFile::from_bytes(bytes, INDEX_MAGIC).unwrap();
    let sections: Vec<(u32, Vec<u8>)> = (layout::META..=last)
        .map(|kind| {
            let section = file.section(kind);
            let len = usize::try_from(section.len).unwrap();
            let mut bytes = file.get(section, 0, len).unwrap().to_vec();
            change(kind, &mut bytes);
            (kind, bytes)
        })
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect();
    let sections: Vec<_> = sections.iter().map(|(kind, bytes)| (*kind, &bytes[..])).collect();
    container::encode(INDEX_MAGIC, STORE, &sections)
}

/// The first byte `é` of the names is spoiled.
fn with_key_not_utf_8(bytes: Vec<u8>) -> Vec<u8> {
    with_sections(bytes, layout::RECORD_BUCKETS, |kind, bytes| {
        if kind == layout::NAMES {
            let at = bytes.iter().position(|&byte| byte == 0xC3).unwrap();
            bytes[at] = 0xFF;
        }
    })
}

/// As earlier versions wrote it.
fn without_record_hashes(bytes: Vec<u8>) -> Vec<u8> {
    with_sections(bytes, layout::BUCKETS, |_, _| {})
}

#[test]
fn records_are_found_with_hashes_and_in_files_without_them() {
    let mut built = Built::default();
    let segments = [vec!["b", "c", "d"], vec!["a", "c", "e"], vec!["d"]];
    for (records, spoil) in
        segments.into_iter().zip([Some(without_record_hashes as fn(_) -> _), None, None])
    {
        built.records = records;
        built.spoil = spoil;
        built.add(&[(1, 1), (2, 2)], 1);
    }
    let versions = |index: &SealedIndex| {
        ["", "a", "b", "c", "d", "e", "f"].map(|key| {
            index.record(&RecordKey::new(key), Match::Key).unwrap().map(|entry| entry.version)
        })
    };
    let level = built.open(merged(&built.inputs).unwrap()).unwrap().unwrap();
    assert_eq!(versions(&built.inputs[0]), [None, None, Some(5), Some(5), Some(5), None, None]);
    assert_eq!(versions(&built.inputs[1]), [None, Some(6), None, Some(6), None, Some(6), None]);
    assert_eq!(versions(&level), [None, Some(6), Some(5), Some(6), Some(7), Some(6), None]);
}

#[test]
fn record_key_that_is_not_utf_8_is_refused_in_a_merge() {
    for damaged in [None, Some(0), Some(1), Some(2)] {
        let mut built = Built { records: vec!["a", "\u{e9}", "z"], ..Built::default() };
        for segment in 0..3 {
            built.spoil = (damaged == Some(segment)).then_some(with_key_not_utf_8);
            built.add(&[(1, 1), (2, 2)], 1);
        }
        match (damaged, merged(&built.inputs)) {
            (None, Ok(bytes)) => {
                let level = built.open(bytes).unwrap().unwrap();
                assert_eq!(
                    level.record(&RecordKey::new("\u{e9}"), Match::Key).unwrap().unwrap().version,
                    7
                );
            }
            // The input with the fault is named, so that no other is rebuilt.
            (Some(segment), Err(MergeError::Input { at, defect })) => {
                assert_eq!((at, defect.to_string().contains("not UTF-8")), (segment, true));
            }
            (_, other) => panic!("{damaged:?}: {:?}", other.map(|bytes| bytes.len())),
        }
    }
}

#[test]
fn merge_can_be_stopped() {
    let built = long();
    let directory = tempfile::tempdir().unwrap();
    let path = Path::new(directory.path()).join("level");
    let file = DiskStorage.open(&path, OpenMode::CreateNew).unwrap();
    let stopped = merge(&built.inputs, STORE, &*file, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(MergeError::Stopped)));
}
