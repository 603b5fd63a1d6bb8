//! The record: one event's bytes, readable on their own.
//!
//! ```text
//!   0  checksum                  u32   36  schema version            u16
//!   4  length without padding    u32   38  tags length (bytes)       u16
//!   8  version in its stream     u64   40  metadata length           u32
//!  16  event id                  16    44  distance to frame start   u32
//!  32  stream length             u16   48  stream, type, tags, metadata, data,
//!  34  type length               u8        zeros to a multiple of 8
//!  35  flags                     u8
//!
//! flags    bit 0: the data is JSON           bit 2: the store generated the id
//!          bit 1: the caller gave the id     bit 3: the tags are in the wide form
//! ```
//!
//! Bits 1 to 3 are set only in segments with the incompatible feature bit 2.
//!
//! The checksum covers everything after itself, including padding, seeded with the segment's salt
//! and the event's position: a record that is read through an index is thereby proven to be the
//! requested event, without its frame.

use std::ops::Range;

use byteorder::{ByteOrder, LittleEndian as LE};

use super::checksum::{Seed, crc32};
use super::tags::{self, Tags};
use super::{ALIGNMENT, Defect, MAX_NUMBER, align};
use crate::event::NewEvent;

pub(crate) const HEADER_LEN: usize = 48;
pub(crate) const MAX_STREAM_LEN: usize = 1024;
pub(crate) const MAX_TYPE_LEN: usize = 255;
const FLAG_JSON: u8 = 1;
const FLAG_GIVEN: u8 = 1 << 1;
const FLAG_GENERATED: u8 = 1 << 2;
const FLAG_WIDE_TAGS: u8 = 1 << 3;
const FLAGS_OF_ID: u8 = FLAG_GIVEN | FLAG_GENERATED;
const FLAGS: u8 = FLAG_JSON | FLAGS_OF_ID | FLAG_WIDE_TAGS;
/// Bounds the allocation that a hostile length can cause.
const MAX_RECORD_LEN: u32 = 1 << 30;

/// What a record states about the origin of its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdOrigin {
    /// Nothing: the segment was created by a version that did not record it.
    Unrecorded,
    /// The caller gave it.
    Given,
    /// The store generated it.
    Generated,
}

impl IdOrigin {
    fn to_flags(self) -> u8 {
        match self {
            Self::Unrecorded => 0,
            Self::Given => FLAG_GIVEN,
            Self::Generated => FLAG_GENERATED,
        }
    }
}

/// The fields of a record that the store assigns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assigned<'a> {
    pub(crate) stream: &'a str,
    pub(crate) version: u64,
    pub(crate) position: u64,
    /// As a number: its bytes are big-endian.
    pub(crate) id: u128,
    pub(crate) id_origin: IdOrigin,
    /// The distance from the frame's first byte to the record's.
    pub(crate) frame_distance: u32,
}

/// The padded length of the record for `event`, with the length of its measured tags. Limits are checked
/// before, so it cannot overflow.
pub(crate) fn encoded_len(stream: &str, event: &NewEvent, tags_len: usize) -> usize {
    align(
        HEADER_LEN
            + stream.len()
            + event.event_type.len()
            + tags_len
            + event.metadata.len()
            + event.data.len(),
    )
}

/// Appends the record and returns its checksum. The caller has checked all limits.
#[expect(clippy::cast_possible_truncation, reason = "lengths are within the checked limits")]
pub(crate) fn encode(out: &mut Vec<u8>, seed: Seed, place: &Assigned<'_>, event: &NewEvent) -> u32 {
    let start = out.len();
    let tags = tags::measure(&event.tags);
    let json = event.content_type == crate::event::ContentType::Json;
    let names = place.stream.len() + event.event_type.len() + tags.len;
    let len = HEADER_LEN + names + event.metadata.len() + event.data.len();
    let mut h = [0; HEADER_LEN];
    LE::write_u32(&mut h[4..], len as u32);
    LE::write_u64(&mut h[8..], place.version);
    h[16..32].copy_from_slice(&place.id.to_be_bytes());
    LE::write_u16(&mut h[32..], place.stream.len() as u16);
    h[34] = event.event_type.len() as u8;
    h[35] = place.id_origin.to_flags()
        | if json { FLAG_JSON } else { 0 }
        | if tags.wide { FLAG_WIDE_TAGS } else { 0 };
    LE::write_u16(&mut h[36..], event.schema_version);
    LE::write_u16(&mut h[38..], tags.len as u16);
    LE::write_u32(&mut h[40..], event.metadata.len() as u32);
    LE::write_u32(&mut h[44..], place.frame_distance);
    out.extend_from_slice(&h);
    out.extend_from_slice(place.stream.as_bytes());
    out.extend_from_slice(event.event_type.as_bytes());
    tags::encode(out, &event.tags, tags.wide);
    out.extend_from_slice(&event.metadata);
    out.extend_from_slice(&event.data);
    debug_assert_eq!(out.len() - start, len, "the parts have the lengths that were added up");
    out.extend_from_slice(&[0; ALIGNMENT][..align(len) - len]);
    let checksum = crc32(seed.at(place.position), &out[start + 4..]);
    LE::write_u32(&mut out[start..], checksum);
    checksum
}

/// Changes the position of a whole record, with its padding; returns its new checksum.
pub(crate) fn relocate(record: &mut [u8], seed: Seed, version: u64, position: u64) -> u32 {
    LE::write_u64(&mut record[8..], version);
    let checksum = crc32(seed.at(position), &record[4..]);
    LE::write_u32(record, checksum);
    checksum
}

/// The distance from the frame's first byte to a record's, from the record's header.
pub(crate) fn frame_distance(header: &[u8]) -> Option<u64> {
    header.get(..HEADER_LEN).map(|h| LE::read_u32(&h[44..]).into())
}

/// The offsets of the parts of a record, counted from its first byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    type_at: u32,
    tags_at: u32,
    metadata_at: u32,
    data_at: u32,
    data_end: u32,
}

impl Layout {
    /// Reads the lengths from a record's header and checks them against each other.
    pub(crate) fn read(header: &[u8]) -> Result<Self, Defect> {
        let h = header.get(..HEADER_LEN).ok_or(Defect::TooShort)?;
        let data_end = LE::read_u32(&h[4..]);
        let type_at = 48 + u32::from(LE::read_u16(&h[32..]));
        let tags_at = type_at + u32::from(h[34]);
        let metadata_at = tags_at + u32::from(LE::read_u16(&h[38..]));
        let data_at = metadata_at.checked_add(LE::read_u32(&h[40..]));
        match data_at {
            Some(data_at) if data_at <= data_end && data_end <= MAX_RECORD_LEN => {
                Ok(Self { type_at, tags_at, metadata_at, data_at, data_end })
            }
            _ => Err(Defect::Invalid("record lengths contradict each other")),
        }
    }

    /// The length with padding: the distance to the next record.
    pub(crate) fn padded_len(&self) -> usize {
        align(self.data_end as usize)
    }
}

/// A record's bytes and the layout of its parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordRef<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

impl<'a> RecordRef<'a> {
    /// Takes the record at the front of `bytes`, which may be longer. Its lengths are consistent;
    /// its contents are not proven before [`RecordRef::verify`].
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Defect> {
        let layout = Layout::read(bytes)?;
        let bytes = bytes.get(..layout.padded_len()).ok_or(Defect::TooShort)?;
        Ok(Self { bytes, layout })
    }

    /// The record in `bytes`, which [`RecordRef::parse`] gave this layout before.
    pub(crate) fn from_parts(bytes: &'a [u8], layout: Layout) -> Self {
        Self { bytes, layout }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    fn part(&self, from: u32, to: u32) -> &'a [u8] {
        self.bytes.get(from as usize..to as usize).unwrap_or_default()
    }

    /// Checks the checksum against the position, and everything that accessors rely on.
    pub(crate) fn verify(&self, seed: Seed, position: u64) -> Result<(), Defect> {
        if crc32(seed.at(position), &self.bytes[4..]) != self.checksum() {
            return Err(Defect::Checksum);
        }
        let stream = self.part(48, self.layout.type_at);
        let event_type = self.part(self.layout.type_at, self.layout.tags_at);
        if stream.is_empty() || stream.len() > MAX_STREAM_LEN {
            return Err(Defect::Invalid("stream length out of range"));
        }
        if std::str::from_utf8(stream).is_err() || std::str::from_utf8(event_type).is_err() {
            return Err(Defect::Invalid("stream or type is not UTF-8"));
        }
        let flags = self.bytes[35];
        let contradictory = flags & FLAGS_OF_ID == FLAGS_OF_ID;
        if self.version() == 0
            || self.version() > MAX_NUMBER
            || flags & !FLAGS != 0
            || contradictory
        {
            return Err(Defect::Invalid("version or flags out of range"));
        }
        let tags = self.part(self.layout.tags_at, self.layout.metadata_at);
        tags::verify(tags, self.has_wide_tags())
    }

    pub(crate) fn checksum(&self) -> u32 {
        LE::read_u32(self.bytes)
    }

    /// The length with padding: the distance to the next record.
    pub(crate) fn padded_len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn version(&self) -> u64 {
        LE::read_u64(&self.bytes[8..])
    }

    pub(crate) fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id.copy_from_slice(&self.bytes[16..32]);
        id
    }

    pub(crate) fn is_json(&self) -> bool {
        self.bytes[35] & FLAG_JSON != 0
    }

    pub(crate) fn id_origin(&self) -> IdOrigin {
        match self.bytes[35] & FLAGS_OF_ID {
            FLAG_GIVEN => IdOrigin::Given,
            FLAG_GENERATED => IdOrigin::Generated,
            _ => IdOrigin::Unrecorded,
        }
    }

    fn has_wide_tags(&self) -> bool {
        self.bytes[35] & FLAG_WIDE_TAGS != 0
    }

    pub(crate) fn schema_version(&self) -> u16 {
        LE::read_u16(&self.bytes[36..])
    }

    pub(crate) fn frame_distance(&self) -> u32 {
        LE::read_u32(&self.bytes[44..])
    }

    pub(crate) fn stream(&self) -> &'a str {
        text(self.part(48, self.layout.type_at))
    }

    pub(crate) fn event_type(&self) -> &'a str {
        text(self.part(self.layout.type_at, self.layout.tags_at))
    }

    pub(crate) fn tags(&self) -> Tags<'a> {
        let section = self.part(self.layout.tags_at, self.layout.metadata_at);
        Tags::new(section, self.has_wide_tags())
    }

    pub(crate) fn metadata(&self) -> &'a [u8] {
        self.part(self.layout.metadata_at, self.layout.data_at)
    }

    pub(crate) fn data(&self) -> &'a [u8] {
        self.part(self.layout.data_at, self.layout.data_end)
    }

    /// The range of the metadata within the record.
    pub(crate) fn metadata_range(&self) -> Range<usize> {
        self.layout.metadata_at as usize..self.layout.data_at as usize
    }

    /// The range of the data within the record.
    pub(crate) fn data_range(&self) -> Range<usize> {
        self.layout.data_at as usize..self.layout.data_end as usize
    }

    /// Whether the event was appended with the same contents; its id and place are not compared.
    pub(crate) fn has_contents_of(&self, stream: &str, event: &NewEvent) -> bool {
        self.stream() == stream
            && self.event_type() == event.event_type
            && self.data() == event.data
            && self.metadata() == event.metadata
            && self.schema_version() == event.schema_version
            && self.is_json() == (event.content_type == crate::event::ContentType::Json)
            && self.tags().eq(event.tags.iter().map(String::as_str))
    }
}

/// Text that [`RecordRef::verify`] has found to be UTF-8.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(event: &NewEvent) -> Vec<u8> {
        let mut out = vec![0xEE; 8];
        let place = Assigned {
            stream: "account-1",
            version: 3,
            position: 12,
            id: u128::from_be_bytes([7; 16]),
            id_origin: IdOrigin::Given,
            frame_distance: 48,
        };
        encode(&mut out, Seed::of_salt(5), &place, event);
        let tags_len = tags::measure(&event.tags).len;
        assert_eq!(out.len() - 8, encoded_len("account-1", event, tags_len));
        out.split_off(8)
    }

    fn sample() -> NewEvent {
        NewEvent::new("Opened", b"{\"a\":1}")
            .metadata(b"m")
            .tags(["owner:1", "x"])
            .schema_version(2)
    }

    #[test]
    fn record_round_trips() {
        let event = sample();
        let bytes = encoded(&event);
        let record = RecordRef::parse(&bytes).unwrap();
        record.verify(Seed::of_salt(5), 12).unwrap();
        assert!(record.has_contents_of("account-1", &event));
        assert!(!record.has_contents_of("account-1", &event.clone().tag("y")));
        assert_eq!((record.version(), record.id()), (3, [7; 16]));
        assert_eq!(record.tags().collect::<Vec<_>>(), ["owner:1", "x"]);
        assert_eq!(&bytes[record.data_range()], b"{\"a\":1}");
    }

    #[test]
    fn relocated_record_equals_the_one_encoded_there() {
        let (mut bytes, event) = (encoded(&sample()), sample());
        let checksum = relocate(&mut bytes, Seed::of_salt(6), 2, 9);
        let mut there = Vec::new();
        let place = Assigned {
            stream: "account-1",
            version: 2,
            position: 9,
            id: u128::from_be_bytes([7; 16]),
            id_origin: IdOrigin::Given,
            frame_distance: 48,
        };
        assert_eq!(encode(&mut there, Seed::of_salt(6), &place, &event), checksum);
        assert_eq!(bytes, there);
    }

    #[test]
    fn record_with_any_flipped_bit_is_refused() {
        let bytes = encoded(&sample());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let seen = RecordRef::parse(&bad).and_then(|r| r.verify(Seed::of_salt(5), 12)).is_err();
            assert!(seen, "bit {bit}");
        }
    }

    #[test]
    fn record_at_another_position_or_segment_is_refused() {
        let bytes = encoded(&sample());
        let record = RecordRef::parse(&bytes).unwrap();
        assert_eq!(record.verify(Seed::of_salt(5), 13), Err(Defect::Checksum));
        assert_eq!(record.verify(Seed::of_salt(6), 12), Err(Defect::Checksum));
    }

    #[test]
    fn record_with_hostile_lengths_is_refused() {
        let bytes = encoded(&sample());
        for (at, width) in [(4, 4), (32, 2), (34, 1), (38, 2), (40, 4)] {
            let mut bad = bytes.clone();
            bad[at..at + width].fill(0xFF);
            assert!(RecordRef::parse(&bad).is_err(), "{at}");
        }
    }
}
