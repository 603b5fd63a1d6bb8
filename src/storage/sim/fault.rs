//! Faults that are armed in advance and take effect at a counted operation.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::disk::slashed;

/// The kinds of operations that faults can be aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening, creating or locking a file.
    Open,
    /// Listing a directory.
    ReadDir,
    /// Reading from a file.
    Read,
    /// Mapping a file.
    Map,
    /// Writing to a file.
    Write,
    /// Cutting or extending a file.
    SetLen,
    /// Reserving space.
    Allocate,
    /// Making a file's data durable.
    Sync,
    /// Making a directory's names durable.
    SyncDir,
    /// Creating a directory.
    CreateDir,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Queries of a path, of the length of an open file, or of a lock.
    Stat,
}

/// A fault. `nth` counts matching operations from now on; 1 is the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One operation fails with an I/O error; later ones succeed. A failed write may have written its
    /// beginning; after a failed sync, everything is still written by the next one.
    Fail {
        /// Which kind fails.
        operation: Operation,
        /// Which one of them.
        nth: u64,
    },
    /// An operation and all later ones of its kind fail with an I/O error.
    FailFrom {
        /// Which kind fails.
        operation: Operation,
        /// The first of them.
        nth: u64,
    },
    /// One operation fails for lack of space, however much is free: because of a quota, of another
    /// program, or of blocks that are allocated at write-back, where a sync fails. Such a failed
    /// sync may have dropped the pages, as with [`Fault::SyncDropsPages`].
    Full {
        /// Which kind fails.
        operation: Operation,
        /// Which one of them.
        nth: u64,
    },
    /// A signal interrupts one operation before it does anything.
    Interrupt {
        /// Which kind is interrupted.
        operation: Operation,
        /// Which one of them.
        nth: u64,
    },
    /// One read or write transfers no more than `len` bytes and succeeds.
    Short {
        /// [`Operation::Read`] or [`Operation::Write`].
        operation: Operation,
        /// Which one of them.
        nth: u64,
        /// The maximum number of bytes transferred; 0 for a write means that nothing can be written.
        len: usize,
    },
    /// A sync fails and marks the pages clean: reads still show them, later syncs succeed without
    /// writing them, and a power loss removes them.
    SyncDropsPages {
        /// Which sync.
        nth: u64,
    },
    /// A sync of data or of a directory succeeds and does nothing.
    SyncLies {
        /// [`Operation::Sync`] or [`Operation::SyncDir`].
        operation: Operation,
        /// Which one of them.
        nth: u64,
    },
    /// A sync of data or of a directory, and all later ones of its kind, do nothing and succeed.
    SyncLiesFrom {
        /// [`Operation::Sync`] or [`Operation::SyncDir`].
        operation: Operation,
        /// The first of them.
        nth: u64,
    },
}

impl Fault {
    /// The kind of operation that the fault applies to, which one, and whether it applies to all later
    /// ones.
    fn aim(self) -> (Operation, u64, bool) {
        match self {
            Self::Fail { operation, nth }
            | Self::Full { operation, nth }
            | Self::Interrupt { operation, nth }
            | Self::Short { operation, nth, .. }
            | Self::SyncLies { operation, nth } => (operation, nth, false),
            Self::FailFrom { operation, nth } | Self::SyncLiesFrom { operation, nth } => {
                (operation, nth, true)
            }
            Self::SyncDropsPages { nth } => (Operation::Sync, nth, false),
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Fail { .. } | Self::FailFrom { .. } => Outcome::Fail,
            Self::Full { .. } => Outcome::Full,
            Self::Interrupt { .. } => Outcome::Interrupt,
            Self::Short { len, .. } => Outcome::Short(len),
            Self::SyncDropsPages { .. } => Outcome::DropPages,
            Self::SyncLies { .. } | Self::SyncLiesFrom { .. } => Outcome::Lie,
        }
    }
}

/// The outcome of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Go,
    Fail,
    Full,
    Interrupt,
    Short(usize),
    DropPages,
    Lie,
}

impl Outcome {
    /// The outcome of an operation that is done either completely or not at all.
    pub(super) fn or_fail(self) -> io::Result<()> {
        match self {
            Self::Go | Self::Short(_) | Self::Lie => Ok(()),
            Self::Fail | Self::DropPages => Err(io_error()),
            Self::Full => Err(ErrorKind::StorageFull.into()),
            Self::Interrupt => Err(ErrorKind::Interrupted.into()),
        }
    }

    /// The maximum number of bytes to transfer.
    pub(super) fn limit(self, len: usize) -> usize {
        match self {
            Self::Short(limit) => len.min(limit),
            _ => len,
        }
    }
}

pub(super) fn io_error() -> io::Error {
    io::Error::other("simulated I/O error")
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("simulated power loss")
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    path_part: String,
    seen: u64,
}

/// The armed faults, and the number of operations before the machine stops.
#[derive(Debug, Default)]
pub(super) struct Faults {
    armed: Vec<Armed>,
    /// The number of changing operations before every operation fails.
    left: Option<u64>,
    stopped: bool,
}

impl Faults {
    pub(super) fn arm(&mut self, fault: Fault, path_part: &str) {
        let (operation, nth, _) = fault.aim();
        assert!(nth > 0, "operations are counted from 1");
        let fits = match fault {
            Fault::Short { .. } => matches!(operation, Operation::Read | Operation::Write),
            Fault::SyncLies { .. } | Fault::SyncLiesFrom { .. } => {
                matches!(operation, Operation::Sync | Operation::SyncDir)
            }
            _ => true,
        };
        assert!(fits, "{fault:?} cannot happen");
        self.armed.push(Armed { fault, path_part: path_part.to_owned(), seen: 0 });
    }

    pub(super) fn stop_after(&mut self, operations: u64) {
        self.left = Some(operations);
        self.stopped = false;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Counts an operation; an error if the machine has stopped.
    pub(super) fn next(
        &mut self,
        operation: Operation,
        path: &Path,
        changes: bool,
    ) -> io::Result<Outcome> {
        if changes && let Some(left) = &mut self.left {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => self.stopped = true,
            }
        }
        if self.stopped {
            return Err(power_is_off());
        }
        if self.armed.is_empty() {
            return Ok(Outcome::Go);
        }
        let path = slashed(path);
        let aimed_at = |part: &str| part.is_empty() || path.contains(part);
        let mut outcome = Outcome::Go;
        self.armed.retain_mut(|armed| {
            let (at, nth, stays) = armed.fault.aim();
            if at != operation || !aimed_at(&armed.path_part) {
                return true;
            }
            armed.seen += 1;
            if armed.seen >= nth && outcome == Outcome::Go {
                outcome = armed.fault.outcome();
                return stays;
            }
            true
        });
        Ok(outcome)
    }
}
