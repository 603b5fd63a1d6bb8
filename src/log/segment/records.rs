//! Values of records in a segment, found one by one: through an index, at an offset.
//!
//! Must never return a value that was not proven, unless the caller requested it, and then only bytes
//! within the segment.

use std::sync::Arc;

use bytes::Bytes;

use super::Segment;
use super::events::asks_for_proof;
use crate::error::Result;
use crate::format::Defect;
use crate::format::metadata::{LoggedRecord, RecordEntry};
use crate::options::Checksums;

impl Segment {
    /// The value that the change at `entry` gives the record `key`; shares the mapping, if there is one.
    pub(crate) fn record_value(
        self: &Arc<Self>,
        key: &str,
        entry: &RecordEntry,
        checksums: Checksums,
    ) -> Result<Bytes> {
        match self.record_value_once(key, entry, checksums) {
            Err(error) if self.look_again(&error) => {
                self.record_value_once(key, entry, Checksums::Always)
            }
            value => value,
        }
    }

    fn record_value_once(
        self: &Arc<Self>,
        key: &str,
        entry: &RecordEntry,
        checksums: Checksums,
    ) -> Result<Bytes> {
        let (offset, len) = (u64::from(entry.offset), LoggedRecord::len_of(key, entry.value_len));
        let end = offset + len as u64;
        let corrupt = |defect: &Defect| self.corrupt(offset, self.base_position, defect);
        let value_at = len - entry.value_len as usize;
        let check = |bytes: &[u8], prove: bool| {
            let record = LoggedRecord::parse(bytes, prove.then_some(self.seed));
            let record = record.map_err(|d| corrupt(&d))?;
            if record.key != key.as_bytes() || record.version != entry.version {
                return Err(corrupt(&Defect::Invalid("it is not the record that the index names")));
            }
            Ok(())
        };
        if let Some(bytes) = self.mapped(offset, len)? {
            check(bytes, asks_for_proof(checksums, end <= self.verified_end()))?;
            return Ok(self.share(offset + value_at as u64, entry.value_len as usize));
        }
        if end > self.end() {
            return Err(corrupt(&Defect::TooShort));
        }
        // Bounded by the limits of keys and values.
        let mut bytes = vec![0; len];
        self.read(&mut bytes, offset)?;
        check(&bytes, true)?;
        Ok(Bytes::from(bytes).slice(value_at..))
    }
}
