//! Index files answer what they were built from.

use super::*;
use crate::event::NewEvent;
use crate::format::checksum::Seed;
use crate::format::index_file::hash_term;
use crate::format::record::{self, Assigned, RecordRef};
use crate::index::build::{IndexBuilder, PreviousEvent};

fn term(index: &SealedIndex, kind: Terms, name: &str) -> Vec<u32> {
    let found = index.find(kind, name).unwrap();
    let list = |found| index.some(found, 0..u32::MAX, false, usize::MAX).unwrap();
    found.map(list).unwrap_or_default()
}

fn meta(event_count: u32) -> IndexMeta {
    IndexMeta { segment: 2, salt: 3, base_position: 101, seal_offset: 9, event_count, link: 4 }
}

fn build(events: &[(&str, u64, u8, &[&str])]) -> SealedIndex {
    let mut builder = IndexBuilder::new();
    for (stream, version, id, tags) in events {
        let event = NewEvent::new("T", "").tags(tags.iter().copied());
        let place = Assigned {
            stream,
            version: *version,
            position: 1,
            id: u128::from_be_bytes([*id; 16]),
            id_origin: record::IdOrigin::Unrecorded,
            frame_distance: 48,
        };
        let mut out = Vec::new();
        record::encode(&mut out, Seed::of_salt(0), &place, &event);
        builder.add(&RecordRef::parse(&out).unwrap(), PreviousEvent::Unknown);
    }
    let meta = meta(u32::try_from(events.len()).unwrap());
    let bytes = builder
        .finish([1; 16], &meta, |name, _, _| Ok::<_, Defect>(if name == "a-1" { 77 } else { 0 }))
        .unwrap();
    let file = BlockFile::from_bytes(bytes, INDEX_MAGIC).unwrap();
    SealedIndex::new(file, [1; 16], &meta).unwrap().unwrap()
}

#[test]
fn sealed_index_answers_what_it_was_built_from() {
    let index =
        build(&[("a-1", 5, 1, &["x", "x"]), ("b-1", 1, 2, &[]), ("a-1", 6, 3, &["x", "y"])]);
    let run = index.stream("a-1").unwrap().unwrap();
    assert_eq!(run, StreamRun { first_version: 5, previous_position: 77, ordinals: vec![0, 2] });
    assert_eq!(index.stream("a-2").unwrap(), None);
    assert_eq!(term(&index, Terms::Tags, "x"), [0, 2]);
    assert_eq!(term(&index, Terms::Tags, "y"), [2]);
    assert_eq!(term(&index, Terms::Types, "T"), [0, 1, 2]);
    assert_eq!(term(&index, Terms::Categories, "b"), [1]);
    assert!(term(&index, Terms::Categories, "c").is_empty());
    let probe = |kind: Terms, name: &str| Probe::new(hash_term(kind.section(), name));
    let may = |kind, name: &str| index.may_hold(&probe(kind, name)).unwrap();
    assert!(may(Terms::Streams, "a-1") && may(Terms::Tags, "y"));
    assert!(may(Terms::Types, "T") && may(Terms::Categories, "b"));
    let absent = (0..1000).filter(|i| may(Terms::Tags, &i.to_string())).count();
    assert!(absent < 100, "{absent} of 1,000 absent tags pass");
    let mut heads = Vec::new();
    index.for_each_head("", |name, head| heads.push((name.to_owned(), head))).unwrap();
    assert_eq!(heads[0], ("a-1".into(), Head { version: 6, last_position: 103 }));
    assert_eq!(heads.len(), 2);
}

#[test]
fn sealed_index_finds_its_ids_and_no_others() {
    let events: Vec<_> = (0..200).map(|i| ("s", u64::from(i) + 1, i, &[][..])).collect();
    let index = build(&events);
    for i in 0..200_u8 {
        assert_eq!(index.candidates(&HashedId::new(&[i; 16])).unwrap(), [u32::from(i)]);
    }
    assert!((200..=255_u8).all(|i| index.candidates(&HashedId::new(&[i; 16])).unwrap().is_empty()));
}

#[test]
fn index_file_of_another_segment_is_refused() {
    let bytes = IndexBuilder::new().finish([1; 16], &meta(0), |_, _, _| Ok::<_, Defect>(0));
    let open = || BlockFile::from_bytes(bytes.clone().unwrap(), INDEX_MAGIC).unwrap();
    assert!(SealedIndex::new(open(), [1; 16], &meta(0)).unwrap().is_some());
    assert!(SealedIndex::new(open(), [2; 16], &meta(0)).unwrap().is_none());
    assert!(SealedIndex::new(open(), [1; 16], &meta(1)).unwrap().is_none());
}
