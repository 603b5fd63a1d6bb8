//! Figures about a store.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::catalog::{PartIndex, units};
use crate::engine::Engine;
use crate::engine::follower::Follower;
use crate::engine::histogram::Histogram;
use crate::event::{Position, Timestamp, clock_behind_by};
use crate::format::seal::Trailer;
use crate::format::segment_header::DATA_START;

/// Figures about a store; see [`Store::stats`](crate::Store::stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// The store's identity, given when it was created.
    pub store_id: Uuid,
    /// The position of the last visible event.
    pub head: Position,
    /// The number of events, those on their way to disk included.
    pub events: u64,
    /// The number of streams, those on their way to disk included.
    pub streams: u64,
    /// The number of commits, those on their way to disk included.
    pub commits: u64,
    /// Bytes of segments that are in use: headers, frames, seals.
    pub log_bytes: u64,
    /// Bytes of segments, those preallocated included.
    pub allocated_bytes: u64,
    /// Bytes of index files, level files included.
    pub index_bytes: u64,
    /// The number of index files, level files included: what a look-up of an id may touch.
    pub index_files: u64,
    /// The number of level files among the index files, each the index of several segments.
    pub level_files: u64,
    /// Bytes of level files.
    pub level_bytes: u64,
    /// The number of segments that hold or take events.
    pub segments: u64,
    /// The number of sealed segments.
    pub sealed_segments: u64,
    /// The number of full segments that wait to be sealed, at most 8: an append that needs another
    /// segment then waits until one is sealed, unless sealing fails.
    pub unsealed_segments: u64,
    /// The size of new segments, in bytes: given by
    /// [`Options::segment_size`](crate::Options::segment_size), or that of the newest segment when
    /// the store was opened.
    pub segment_size: u64,
    /// When the store was created.
    pub created_at: Timestamp,
    /// When the newest commit was recorded.
    pub last_recorded_at: Option<Timestamp>,
    /// The time by which the clock is earlier than the newest recorded time, if more than a minute. It
    /// was ahead at an earlier commit; commits are recorded at that time until the clock reaches it.
    pub clock_behind_by: Option<Duration>,
    /// Since the store was opened: commits accepted.
    pub appends: u64,
    /// Since the store was opened: commits refused because a check failed.
    pub conflicts: u64,
    /// Since the store was opened: commits whose events were in the store already.
    pub already_recorded: u64,
    /// Since the store was opened: groups written; `appends / groups` is the mean group size.
    pub groups: u64,
    /// Since the store was opened: syncs of segments.
    pub syncs: u64,
    /// Since the store was opened: segments sealed.
    pub sealed: u64,
    /// Since the store was opened: how often an append waited for a segment to be sealed.
    pub seal_waits: u64,
    /// Since the store was opened: background work that failed and will be tried again.
    pub maintenance_failures: u64,
    /// Since the store was opened: snapshots of commits that could not be saved.
    pub snapshot_failures: u64,
    /// Since the store was opened: level files written.
    pub compactions: u64,
    /// Since the store was opened: bytes of level files written.
    pub compacted_bytes: u64,
    /// Since the store was opened: how long an append or a commit took until it had its durability, in nanoseconds. One of
    /// 64 is timed, and those that are submitted or awaited are not.
    pub append_nanos: Histogram,
    /// Since the store was opened: how long a sync of a segment took, in nanoseconds.
    pub sync_nanos: Histogram,
    /// Since the store was opened: the number of events of each group that was written.
    pub group_events: Histogram,
}

impl Engine {
    pub(crate) fn stats(&self) -> Stats {
        let (tip, spare) = self.commits.tip_and_spare();
        // Locks are taken one after the other: none is held while another is taken or a file is
        // examined.
        let following = self.follower.as_ref().map(Follower::tip);
        let (parts, capacity, streams) = self.contents.with_catalog(|catalog| {
            let capacity = catalog.active.segment.header.capacity;
            (Arc::clone(&catalog.parts), capacity, catalog.streams)
        });
        let (mut log_bytes, mut allocated_bytes) = (0, spare + capacity);
        let (mut sealed_segments, mut unsealed_segments) = (0, 0);
        let (mut index_bytes, mut index_files) = (0, 0);
        let (mut level_bytes, mut level_files) = (0, 0);
        for part in units(&parts) {
            let PartIndex::Sealed(index) = &part.index else { continue };
            index_bytes += index.file_len();
            index_files += 1;
            if index.is_level() {
                level_bytes += index.file_len();
                level_files += 1;
            }
        }
        for part in parts.iter() {
            let used = match &part.index {
                PartIndex::Sealed(_) => {
                    sealed_segments += 1;
                    let len = part.segment.trailer.as_ref().map_or(0, Trailer::file_len);
                    allocated_bytes += len;
                    len
                }
                PartIndex::Frozen { .. } => {
                    unsealed_segments += 1;
                    allocated_bytes += part.segment.header.capacity;
                    part.segment.end()
                }
            };
            log_bytes += used;
        }
        let (next_position, recorded_at, commits, offset) = match following {
            Some(tip) => (tip.next_position, tip.recorded_at, tip.commits, tip.offset),
            None => (tip.next_position, tip.recorded_at, tip.commits, tip.offset),
        };
        log_bytes += offset.max(DATA_START);
        let c = self.shared.counters();
        Stats {
            store_id: Uuid::from_bytes(self.shared.store_id()),
            head: Position::new(self.positions.visible(false)),
            events: next_position - 1,
            streams,
            commits,
            log_bytes,
            allocated_bytes,
            index_bytes,
            index_files,
            level_files,
            level_bytes,
            segments: parts.len() as u64 + 1,
            sealed_segments,
            unsealed_segments,
            segment_size: self.shared.options().capacity(),
            created_at: Timestamp::from_micros(self.shared.created_at()),
            last_recorded_at: (next_position > 1).then(|| Timestamp::from_micros(recorded_at)),
            clock_behind_by: clock_behind_by(recorded_at, self.shared.now_micros()),
            appends: c.appends.get(),
            conflicts: c.conflicts.get(),
            already_recorded: c.already_recorded.get(),
            groups: c.groups.get(),
            syncs: c.syncs.get(),
            sealed: c.sealed.get(),
            seal_waits: c.seal_waits.get(),
            maintenance_failures: c.maintenance_failures.get(),
            snapshot_failures: c.snapshot_failures.get(),
            compactions: c.compactions.get(),
            compacted_bytes: c.compacted_bytes.get(),
            append_nanos: c.append_nanos.get(),
            sync_nanos: c.sync_nanos.get(),
            group_events: c.group_events.get(),
        }
    }
}
