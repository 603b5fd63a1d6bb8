//! A second look before damage is reported, at the file that the segment's name leads to now.
//!
//! A handle and a mapping show the file that was opened. If the file was moved to another place
//! since, as by an overlay that copies a file up at its first write, they show the former bytes for
//! as long as they are open, and bytes that were appended since as zeros. Every read of an event
//! passes here before it fails. Must never take bytes of another segment.

use std::sync::Arc;

use super::{CHUNK, Segment, read_header};
use crate::error::Error;
use crate::storage::{File, read_exact_at};

impl Segment {
    /// Whether the operation that failed with this error is to be repeated, because the file that the
    /// name leads to now has other bytes there. From then on that file is read, without a mapping.
    pub(crate) fn look_again(&self, error: &Error) -> bool {
        match error {
            Error::Corrupt { file, offset, .. } => {
                let end = self.readable_limit().min(offset.saturating_add(CHUNK));
                *file == self.path && self.look_again_at(*offset, end)
            }
            _ => false,
        }
    }

    /// Whether the file that the name leads to now holds other bytes in a range. From then on those
    /// are read.
    pub(crate) fn look_again_at(&self, offset: u64, end: u64) -> bool {
        if let Some(fresh) = self.fresh.get() {
            // Another thread may have found out after the failed read.
            return self.differs(&**fresh, offset, end);
        }
        let Ok(Some(fresh)) = self.file.reopen() else { return false };
        if read_header(&*fresh, &self.path, 0).ok().as_ref() != Some(&self.header)
            || !self.differs(&*fresh, offset, end)
        {
            return false;
        }
        self.fresh.get_or_init(|| fresh);
        true
    }

    /// Whether a file shows other bytes than the mapping, or the handle, in a range.
    fn differs(&self, fresh: &dyn File, offset: u64, end: u64) -> bool {
        let Ok(len) = usize::try_from(end.saturating_sub(offset)) else { return false };
        let (mut new, mut old) = (vec![0; len], vec![0; len]);
        if read_exact_at(fresh, &mut new, offset).is_err() {
            return false;
        }
        match self.map.get().and_then(Option::as_ref).and_then(|map| map.get(offset, len)) {
            Some(mapped) => mapped != new,
            None => read_exact_at(&*self.file, &mut old, offset).is_err() || old != new,
        }
    }

    /// The file to read from.
    pub(super) fn source(&self) -> &Arc<dyn File> {
        self.fresh.get().unwrap_or(&self.file)
    }

    /// Whether the handle turned out to show another file than the name leads to.
    pub(crate) fn is_stale(&self) -> bool {
        self.fresh.get().is_some()
    }
}
