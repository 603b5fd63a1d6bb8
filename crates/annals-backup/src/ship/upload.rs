//! The upload of a range of a segment as one object.
//!
//! Owns the names of these objects and the counts. An object is never written twice under a name.

use annals::Position;
use annals::shipping::LogSegment;

use super::Shipped;
use crate::destination::Destination;
use crate::error::Result;
use crate::manifest::{LOG, Part};
use crate::pack::{BLOCK, Packer};

/// Ranges up to this length are written with one request.
const SMALL: u64 = 8 << 20;

/// What was uploaded.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    log_bytes: u64,
    sent_bytes: u64,
    puts: u64,
}

impl Uploads {
    /// Uploads the bytes of a segment from `from` to `end`.
    pub(super) fn upload(
        &mut self,
        to: &Destination,
        level: i32,
        segment: &LogSegment<'_>,
        from: u64,
        end: u64,
    ) -> Result<Part> {
        let (number, unique) = (segment.number(), uuid::Uuid::new_v4().simple());
        let object = format!("{LOG}/{number:020}/{from:010}-{end:010}-{unique}.zst");
        let (mut packer, header) = Packer::new(&object, to.keys(), level)?;
        let mut buffer = Vec::new();
        let mut next_block = |at: u64, packer: &mut Packer| {
            buffer.resize(usize::try_from((end - at).min(BLOCK as u64)).unwrap_or(BLOCK), 0);
            segment.read_at(&mut buffer, at)?;
            packer.block(&object, &buffer)
        };
        let blocks = (from..end).step_by(BLOCK);
        let object_is = if end - from <= SMALL {
            let mut bytes = header;
            for at in blocks {
                bytes.extend(next_block(at, &mut packer)?);
            }
            let (is, table) = packer.finish();
            bytes.extend(table);
            to.put(&object, bytes)?;
            is
        } else {
            let mut upload = to.begin(&object)?;
            let sent = (|| {
                upload.write(&header)?;
                for at in blocks {
                    upload.write(&next_block(at, &mut packer)?)?;
                }
                let (is, table) = packer.finish();
                upload.write(&table)?;
                Ok(is)
            })();
            match sent {
                Ok(is) => {
                    upload.finish()?;
                    is
                }
                Err(error) => {
                    upload.abort();
                    return Err(error);
                }
            }
        };
        self.log_bytes += end - from;
        self.sent_bytes += object_is.stored;
        self.puts += object_is.stored.div_ceil(SMALL);
        Ok(Part { object, from, to: end, stored: object_is.stored, digest: object_is.digest })
    }

    pub(super) fn puts(&self) -> u64 {
        self.puts
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.log_bytes += other.log_bytes;
        self.sent_bytes += other.sent_bytes;
        self.puts += other.puts;
    }

    /// Counts the request that writes a manifest.
    pub(super) fn count_manifest(&mut self) {
        self.puts += 1;
    }

    pub(super) fn into_shipped(self, position: Position) -> Shipped {
        let Self { log_bytes, sent_bytes, puts } = self;
        Shipped { position, log_bytes, sent_bytes, puts }
    }
}
