//! Reading the parts of a segment back.
//!
//! Owns the checks: length, digest, seek table, and those of each block. Memory is bounded, however long a part is.

use annals::Position;

use crate::catalog;
use crate::destination::{Destination, PIECE};
use crate::error::{Error, Result};
use crate::manifest::{Part, SegmentEntry};
use crate::pack::{Unpacker, table_len};

/// Reads a segment from an offset on, and passes its bytes on in order. A digest is compared when a part was read to its
/// end, after its bytes were passed on: they are right only if this succeeds.
pub(crate) fn fetch_segment(
    from: &Destination,
    segment: &SegmentEntry,
    offset: u64,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    for part in segment.parts.iter().filter(|part| part.to > offset) {
        let mut at = part.from;
        let fetched = fetch_part(from, part, &mut |bytes| {
            let skip = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
            at += bytes.len() as u64;
            if skip < bytes.len() { each(&bytes[skip..]) } else { Ok(()) }
        });
        fetched.map_err(|error| at_position(error, segment.first_position))?;
    }
    Ok(())
}

/// Reads the first `len` bytes of a segment. If an object is gone, the shipper may have replaced it since the manifest was
/// read: then the newest one names what holds these bytes now. `begin` is called before the bytes are passed on, again if
/// they begin again.
pub(crate) fn fetch_beginning(
    from: &Destination,
    branch: u32,
    segment: &SegmentEntry,
    len: u64,
    begin: &mut dyn FnMut() -> Result<()>,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut segment = segment.clone();
    loop {
        segment.parts.retain(|part| part.from < len);
        begin()?;
        let mut left = usize::try_from(len).unwrap_or(usize::MAX);
        let fetched = fetch_segment(from, &segment, 0, &mut |bytes| {
            let taken = &bytes[..bytes.len().min(left)];
            left -= taken.len();
            each(taken)
        });
        let Err(error @ Error::Damaged { .. }) = fetched else { return fetched };
        let newest = catalog::newest(from, Some(branch))?.map(|newest| newest.segments);
        let replaced = newest.into_iter().flatten().find(|it| it.number == segment.number);
        match replaced {
            Some(mut now) => {
                now.parts.retain(|part| part.from < len);
                if now.salt != segment.salt || now.len() < len || now.parts == segment.parts {
                    return Err(error);
                }
                segment = now;
            }
            None => return Err(error),
        }
    }
}

/// Names the first position that depends on a damaged object.
pub(crate) fn at_position(error: Error, first: u64) -> Error {
    match error {
        Error::Damaged { object, why, .. } => {
            Error::Damaged { object, position: Position::new(first), why }
        }
        other => other,
    }
}

fn damaged(part: &Part, why: String) -> Error {
    Error::Damaged { object: part.object.clone(), position: Position::START, why }
}

fn fetch_part(
    from: &Destination,
    part: &Part,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let plain = part.to - part.from;
    let range = |start, end| -> Result<bytes::Bytes> {
        let bytes = match from.get_range(&part.object, start, end) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(damaged(part, "it is missing".into())),
            // Clients refuse a range after the end of an object in ways of their own.
            Err(error) => match from.len(&part.object)? {
                Some(len) if len != part.stored => {
                    let stored = part.stored;
                    let why = format!("it has {len} bytes, the manifest states {stored}");
                    return Err(damaged(part, why));
                }
                _ => return Err(error),
            },
        };
        if bytes.len() as u64 == end - start {
            return Ok(bytes);
        }
        let stored = part.stored;
        Err(damaged(part, format!("it ends before byte {end}, the manifest states {stored} bytes")))
    };
    let table = table_len(plain).min(part.stored);
    let (start, whole) = (part.stored - table, part.stored <= PIECE);
    let first = range(0, part.stored.min(PIECE))?;
    let table = if whole {
        first.slice(usize::try_from(start).unwrap_or(0)..)
    } else {
        range(start, part.stored)?
    };
    let mut unpacker = Unpacker::new(&part.object, from.keys(), (plain, part.stored), &table)?;
    unpacker.take(&first, each)?;
    let mut at = first.len() as u64;
    while at < part.stored {
        let next = range(at, part.stored.min(at + PIECE))?;
        unpacker.take(&next, each)?;
        at += next.len() as u64;
    }
    unpacker.finish(&part.digest)
}
