//! The event-store layout that key-value peers share: events by position, an index from stream and
//! version to position, and the head of each stream.
//!
//! Owns the bytes of keys and values, and must never depend on the store.

use crate::input::{EVENT_TYPE, New, Seen};
use crate::peer::Result;

const FIXED: usize = 16 + 8 + 2 + 2;

/// Writes an event's value over `out`: id, version, lengths, stream, type, data.
pub fn encode(out: &mut Vec<u8>, version: u64, event: &New<'_>) {
    out.clear();
    out.extend_from_slice(&event.id);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&(event.stream.len() as u16).to_le_bytes());
    out.extend_from_slice(&(EVENT_TYPE.len() as u16).to_le_bytes());
    out.extend_from_slice(event.stream.as_bytes());
    out.extend_from_slice(EVENT_TYPE.as_bytes());
    out.extend_from_slice(event.data);
}

/// Reads a value back.
pub fn decode(position: u64, value: &[u8]) -> Result<Seen<'_>> {
    let short = || "a value is too short";
    let fixed = value.get(..FIXED).ok_or_else(short)?;
    let version = number(&fixed[16..24]);
    let stream = usize::from(u16::from_le_bytes([fixed[24], fixed[25]]));
    let kind = usize::from(u16::from_le_bytes([fixed[26], fixed[27]]));
    let name = value.get(FIXED..FIXED + stream).ok_or_else(short)?;
    let data = value.get(FIXED + stream + kind..).ok_or_else(short)?;
    Ok(Seen { position, version, stream: std::str::from_utf8(name)?, data })
}

/// The index's key: the stream, a zero byte, the version so that it sorts.
pub fn index_key(out: &mut Vec<u8>, stream: &str, version: u64) {
    out.clear();
    out.extend_from_slice(stream.as_bytes());
    out.push(0);
    out.extend_from_slice(&version.to_be_bytes());
}

/// What all index keys of a stream begin with.
pub fn index_prefix(stream: &str) -> Vec<u8> {
    let mut prefix = stream.as_bytes().to_vec();
    prefix.push(0);
    prefix
}

/// The index keys of a stream's versions after `after`.
pub fn index_range(stream: &str, after: u64) -> std::ops::RangeInclusive<Vec<u8>> {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    index_key(&mut first, stream, after + 1);
    index_key(&mut last, stream, u64::MAX);
    first..=last
}

/// A little-endian number of eight bytes; 0 where there are fewer.
pub fn number(bytes: &[u8]) -> u64 {
    bytes.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A big-endian one, as keys have it.
pub fn ordered(bytes: &[u8]) -> u64 {
    bytes.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}
