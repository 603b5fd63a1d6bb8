//! The format's decoders, run on arbitrary bytes.
//!
//! Each function decodes the input as one structure and returns whether it was accepted. An
//! accepted structure must be consistent: accessors work, and encoding it again gives bytes that
//! decode to the same. Otherwise only panics and excessive allocation are faults. Checksums stop
//! nearly every changed input early; [`patch`] corrects them first.

pub mod patch;

use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian as LE};
use bytes::Bytes;

use crate::event::{ContentType, NewEvent};
use crate::format::checksum::Seed;
use crate::format::container::{CHECKPOINT_MAGIC, INDEX_MAGIC, LEVEL_MAGIC};
use crate::format::frame::{self, FrameHeader};
use crate::format::index_file::{IndexMeta, META as INDEX_META, META_LEN as INDEX_META_LEN};
use crate::format::level_file::{self, LevelMeta};
use crate::format::metadata::{CHANGE_HEADER_LEN, Change, RecordValue, SectionHeader};
use crate::format::record::{self, Assigned, RecordRef};
use crate::format::seal::{TRAILER_LEN, Trailer};
use crate::format::segment_header::SegmentHeader;
use crate::format::snapshot::SnapshotFile;
use crate::format::status::Status;
use crate::format::{Defect, names, tags};
use crate::index::block_file::BlockFile;
use crate::index::covers::Covers;
use crate::index::heads::{HeadTable, Heads};
use crate::index::metadata::{Cursor, EncodedMetadata, Metadata};
use crate::index::names::NameRange;
use crate::index::record_table::{Match, RecordKey, RecordsCopy};
use crate::index::records::PageStart;
use crate::index::sealed::{HashedId, SealedIndex};
use crate::index::{Postings, Terms};
use crate::log::scan::{ScannedFrame, for_each_record, verify_body};
use crate::log::segment::LogPlace;

/// The salt of the segment that frames, records and seals are decoded as parts of.
const SALT: u64 = 7;
/// The offset of a decoded frame.
const OFFSET: u64 = 8192;
/// The position of a decoded record.
const POSITION: u64 = 17;

/// A structure of the format: its name, its patcher and its decoder.
#[derive(Debug, Clone, Copy)]
pub struct Structure {
    /// Its name.
    pub name: &'static str,
    /// Corrects the checksums.
    pub patch: fn(&mut Vec<u8>),
    /// Decodes the input; returns whether it was accepted.
    pub decode: fn(&[u8]) -> bool,
}

/// Every structure of the format. New ones are added at the end: kept inputs rely on the order.
pub const STRUCTURES: [Structure; 11] = [
    Structure { name: "segment_header", patch: patch::segment_header, decode: segment_header },
    Structure { name: "frame", patch: patch::frame, decode: frame },
    Structure { name: "record", patch: patch::record, decode: record },
    Structure { name: "seal", patch: patch::seal, decode: seal },
    Structure { name: "index_file", patch: patch::payload, decode: index_file },
    Structure { name: "checkpoint", patch: patch::payload, decode: checkpoint },
    Structure { name: "status", patch: patch::status, decode: status },
    Structure { name: "file_name", patch: |_| (), decode: file_name },
    Structure { name: "snapshot", patch: patch::snapshot, decode: snapshot },
    Structure { name: "metadata", patch: |_| (), decode: metadata },
    Structure { name: "level_file", patch: patch::payload, decode: level_file },
];

/// Set in the first byte of [`any`]'s input, beside the number of the structure: correct the
/// checksums.
pub const PATCHED: u8 = 0x80;

/// Decodes the structure that the first byte selects, with corrected checksums if [`PATCHED`] is
/// set; returns whether it was accepted.
pub fn any(input: &[u8]) -> bool {
    let Some((&first, bytes)) = input.split_first() else { return false };
    let structure = STRUCTURES[usize::from(first & !PATCHED) % STRUCTURES.len()];
    if first & PATCHED == 0 {
        return (structure.decode)(bytes);
    }
    let mut bytes = bytes.to_vec();
    (structure.patch)(&mut bytes);
    (structure.decode)(&bytes)
}

fn seed() -> Seed {
    Seed::of_salt(SALT)
}

/// One copy of a segment's header.
///
/// # Panics
///
/// If an accepted header changes when it is encoded again.
pub fn segment_header(bytes: &[u8]) -> bool {
    let Ok(header) = SegmentHeader::decode(bytes) else { return false };
    assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    true
}

/// A frame with its records.
///
/// # Panics
///
/// If an accepted frame changes when it is encoded again, or has other records than its header
/// states.
pub fn frame(bytes: &[u8]) -> bool {
    let Ok((header, checksum)) = FrameHeader::decode(bytes, seed(), OFFSET) else { return false };
    let (again, checksum_again) = header.encode(seed(), OFFSET);
    assert_eq!((&again[..], checksum_again), (&bytes[..frame::HEADER_LEN], checksum));
    let end = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
    let Some(padded) = bytes.get(frame::HEADER_LEN..end) else { return false };
    let Ok(records) = verify_body(&header, padded, seed(), &mut Vec::new()) else { return false };
    let body = &padded[..header.body_len as usize];
    let metadata = if header.kind.may_hold_metadata() { &body[records..] } else { &[] };
    let frame = ScannedFrame { offset: OFFSET, header, checksum, body, metadata };
    let (mut next, mut end) = (frame.header.first_position, frame::HEADER_LEN);
    let walked = for_each_record(&frame, |LogPlace { offset, position }, record| {
        assert_eq!((offset, position), (OFFSET + end as u64, next));
        assert_eq!(record.frame_distance() as usize, end);
        end += record.padded_len();
        next += 1;
        keeps_its_promises(record);
    });
    assert_eq!((walked, next), (Ok(()), frame.header.next_position()));
    changes_keep_their_promises(&frame);
    true
}

/// Encodes a change that was decoded from `section`. The value of a record and its checksum, whose seed is not
/// known, are taken from there.
fn encode_again(section: &[u8], change: &Change, out: &mut Vec<u8>) {
    let (mut change, start, seed) = (change.clone(), out.len(), Seed::of_salt(0));
    let Change::Record(record) = &mut change else { return change.encode(out, seed) };
    let at = record.offset as usize;
    if let Some(value) = &record.value {
        let from = at + CHANGE_HEADER_LEN + record.key.len();
        let value = Bytes::copy_from_slice(&section[from..from + value.len() as usize]);
        record.value = Some(RecordValue::Given(value));
    }
    change.encode(out, seed);
    out[start + 16..start + 24].copy_from_slice(&section[at + 16..at + 24]);
}

/// The state as a checkpoint that ends in segment 1 holds it.
fn encode_state(state: &Metadata) -> EncodedMetadata {
    state.encode([].into_iter())
}

fn decode_state(last_change: u64, state: &EncodedMetadata) -> Result<Metadata, Defect> {
    Metadata::decode(last_change, &state.changes, &state.cursor_times, 1)
}

/// The changes of an accepted frame, encoded again.
fn changes_keep_their_promises(frame: &ScannedFrame<'_>) {
    if frame.metadata.is_empty() {
        return;
    }
    let mut changes = Vec::new();
    let header = SectionHeader::decode(frame.metadata, |_, change| {
        encode_again(frame.metadata, &change, &mut changes);
    });
    let mut again = Vec::new();
    header.expect("it was accepted").encode(&mut again);
    again.extend_from_slice(&changes);
    assert_eq!(again, frame.metadata);
}

/// A record.
///
/// # Panics
///
/// If an accepted record changes when it is encoded again.
pub fn record(bytes: &[u8]) -> bool {
    let Ok(record) = RecordRef::parse(bytes) else { return false };
    if record.verify(seed(), POSITION).is_err() {
        return false;
    }
    keeps_its_promises(&record);
    true
}

/// The contents of a verified record, encoded again.
fn keeps_its_promises(found: &RecordRef<'_>) {
    let content_type = if found.is_json() { ContentType::Json } else { ContentType::Binary };
    let event = NewEvent::new(found.event_type(), found.data())
        .metadata(found.metadata())
        .tags(found.tags())
        .schema_version(found.schema_version())
        .content_type(content_type);
    let place = Assigned {
        stream: found.stream(),
        version: found.version(),
        position: POSITION,
        id: u128::from_be_bytes(found.id()),
        id_origin: found.id_origin(),
        frame_distance: found.frame_distance(),
    };
    assert!(!place.stream.is_empty() && place.version > 0);
    assert_eq!(
        record::encoded_len(place.stream, &event, tags::measure(&event.tags).len),
        found.padded_len()
    );
    let mut bytes = Vec::new();
    record::encode(&mut bytes, seed(), &place, &event);
    assert_eq!(&bytes[found.data_range()], found.data());
    let again = RecordRef::parse(&bytes).and_then(|again| {
        again.verify(seed(), POSITION)?;
        Ok((
            again.version(),
            again.id(),
            again.id_origin(),
            again.has_contents_of(place.stream, &event),
        ))
    });
    assert_eq!(again, Ok((place.version, place.id.to_be_bytes(), place.id_origin, true)));
}

/// A segment's trailer, followed by the length of the file that it ends.
///
/// # Panics
///
/// If an accepted trailer changes when it is encoded again, or points outside its file.
pub fn seal(bytes: &[u8]) -> bool {
    let Some(len) = bytes.get(TRAILER_LEN..TRAILER_LEN + 8) else { return false };
    let len = LE::read_u64(len);
    let Ok(trailer) = Trailer::decode(bytes, seed(), len) else { return false };
    assert_eq!(trailer.encode(seed())[..], bytes[..TRAILER_LEN]);
    let table = u64::from(trailer.event_count) * 4;
    assert!(trailer.table_offset() + table + TRAILER_LEN as u64 <= len);
    true
}

/// An index file; all its contents are read.
///
/// # Panics
///
/// If a result is outside the segment.
pub fn index_file(bytes: &[u8]) -> bool {
    ask_index(bytes).is_ok()
}

fn ask_index(bytes: &[u8]) -> Result<(), Defect> {
    let file = BlockFile::from_bytes(bytes.to_vec(), INDEX_MAGIC)?;
    let meta = IndexMeta::decode(file.get(file.section(INDEX_META), 0, INDEX_META_LEN)?)?;
    // An index is accepted only if its description of the segment equals the segment's own, and a
    // segment has four bytes for each event.
    let events = u64::from(meta.event_count);
    if events > bytes.len() as u64 || meta.base_position.checked_add(events).is_none() {
        return Err(Defect::Invalid("of no segment"));
    }
    let store_id = file.store_id();
    let index = SealedIndex::new(file, store_id, &meta)?.ok_or(Defect::Invalid("not taken"))?;
    ask_whole(&index, bytes)
}

/// A level file; all its contents are read.
///
/// # Panics
///
/// If a result is outside its segments.
pub fn level_file(bytes: &[u8]) -> bool {
    ask_level(bytes).is_ok()
}

fn ask_level(bytes: &[u8]) -> Result<(), Defect> {
    let file = BlockFile::from_bytes(bytes.to_vec(), LEVEL_MAGIC)?;
    let meta = file.get(file.section(INDEX_META), 0, level_file::META_LEN)?;
    let meta = LevelMeta::decode(meta)?;
    let segments = file.section(level_file::SEGMENTS);
    // It is accepted only if its description of its segments equals their own. The changes must be
    // in some of them: here, in the first.
    let mut changes = u32::try_from(meta.change_count).ok();
    let covers = Covers::several((0..segments.count(INDEX_META_LEN)).map(|at| {
        let segment = file.entry(segments, at, INDEX_META_LEN).and_then(IndexMeta::decode);
        Some((segment.ok()?, changes.replace(0)?))
    }));
    let covers = covers.ok_or(Defect::Invalid("of no segments"))?;
    if u64::from(meta.event_count) > bytes.len() as u64 {
        return Err(Defect::Invalid("of no segments"));
    }
    let store_id = file.store_id();
    let index = SealedIndex::new_level(file, store_id, covers)?;
    ask_whole(&index.ok_or(Defect::Invalid("not taken"))?, bytes)
}

/// Reads all contents of an index with these bytes.
fn ask_whole(index: &SealedIndex, bytes: &[u8]) -> Result<(), Defect> {
    let (base, events) = (index.base_position(), index.event_count());
    let verified = index.verify();
    let within = |list: Vec<u32>| list.iter().all(|&ordinal| ordinal < events);
    let mut streams = Vec::new();
    let listed = index.for_each_head("", |name, head| {
        assert!(head.last_position - base < u64::from(events));
        streams.push(name.to_owned());
    });
    for name in &streams {
        // In an index whose names are out of order, look-ups do not find them.
        let run = index.stream(name).ok().flatten();
        assert!(run.is_none_or(|run| within(run.ordinals)));
        for kind in [Terms::Streams, Terms::Types, Terms::Tags, Terms::Categories] {
            let found = index.find(kind, crate::event::category_of(name));
            let list = found.and_then(|found| {
                found.map(|found| index.some(found, 1..u32::MAX, false, usize::MAX)).transpose()
            });
            assert!(list.map_or(true, |list| list.is_none_or(within)));
        }
    }
    for id in bytes.chunks_exact(16) {
        let mut wanted = [0; 16];
        wanted.copy_from_slice(id);
        assert!(
            index
                .candidates(&HashedId::new(&wanted))
                .map_or(true, |found| found.len() <= bytes.len() / 8)
        );
    }
    let mut keys = Vec::new();
    let all = PageStart { prefix: "", after: "" };
    let records = index.record_page(all, usize::MAX, |key, _| keys.push(key.to_owned()));
    for key in &keys {
        // As with streams: the answer of a file whose keys are out of order or hashed wrongly is any.
        let _ = index.record(&RecordKey::new(key), Match::Key);
    }
    verified.and(listed).and(records).and(index.for_each_change(|_, _| {}).map(drop))
}

/// A checkpoint; all its heads are read.
pub fn checkpoint(bytes: &[u8]) -> bool {
    ask_checkpoint(bytes).is_ok()
}

fn ask_checkpoint(bytes: &[u8]) -> Result<(), Defect> {
    let file = BlockFile::from_bytes(bytes.to_vec(), CHECKPOINT_MAGIC)?;
    file.verify()?;
    let table = HeadTable::new(file)?;
    let (metadata, _) = table.metadata()?;
    table.sealed_segments()?;
    // Encoding the accepted state and decoding it gives the same state.
    let again = decode_state(metadata.last_change().get(), &encode_state(&metadata))?;
    assert_eq!(again.cursors().count(), metadata.cursors().count());
    let mut names = Vec::new();
    table.for_each(&NameRange::ALL, usize::MAX, |name, _| names.push(name.to_owned()))?;
    let mut keys = Vec::new();
    let all = PageStart { prefix: "", after: "" };
    table.record_page(all, usize::MAX, |key, _| keys.push(key.to_owned()))?;
    for key in keys {
        table.record(&RecordKey::new(&key))?;
    }
    let table = Arc::new(table);
    RecordsCopy { base: Some(Arc::clone(&table)), ..RecordsCopy::default() }.encode()?;
    let heads = Heads::with_base(Some(table));
    for name in names {
        heads.get(&name)?;
    }
    heads.copy().encode(1).map(drop)
}

/// A writer's status.
///
/// # Panics
///
/// If an accepted status changes when it is encoded again.
pub fn status(bytes: &[u8]) -> bool {
    let Ok(status) = Status::decode(bytes) else { return false };
    assert_eq!(Status::decode(&status.encode()), Ok(status));
    true
}

/// The name of a segment.
///
/// # Panics
///
/// If an accepted name is not the name of its number.
pub fn file_name(bytes: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(bytes) else { return false };
    let Some(number) = names::parse_numbered(name, names::SEGMENT_SUFFIX) else { return false };
    assert_eq!(names::numbered(number, names::SEGMENT_SUFFIX), name);
    true
}

/// A snapshot file.
///
/// # Panics
///
/// If an accepted snapshot changes when it is encoded again.
pub fn snapshot(bytes: &[u8]) -> bool {
    let Ok(snapshot) = SnapshotFile::decode(bytes) else { return false };
    assert_eq!(SnapshotFile::decode(&snapshot.encode()), Ok(snapshot));
    true
}

/// A metadata section; its changes in a state, and that state in a checkpoint.
///
/// # Panics
///
/// If an accepted section changes when it is encoded again, or its state does.
pub fn metadata(bytes: &[u8]) -> bool {
    let mut changes = Vec::new();
    let mut state = Metadata::default();
    let decoded = SectionHeader::decode(bytes, |number, change| {
        assert!(state.last_change() < number);
        state.apply(number, &change, 1);
        changes.push(change);
    });
    let Ok(header) = decoded else { return false };
    let mut again = Vec::new();
    header.encode(&mut again);
    for change in &changes {
        encode_again(bytes, change, &mut again);
    }
    assert_eq!(again, bytes);
    let encoded = encode_state(&state);
    let decoded = decode_state(state.last_change().get(), &encoded).expect("it was just encoded");
    assert_eq!(encode_state(&decoded), encoded);
    let same_cursor = |(name, cursor): (&smol_str::SmolStr, Cursor)| {
        decoded.cursor(name) == Some(cursor.position)
    };
    assert!(state.cursors().all(same_cursor));
    assert!(changes.iter().all(|it| decoded.rules(it.name()) == state.rules(it.name())));
    true
}
