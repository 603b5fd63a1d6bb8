//! One file of the simulated disk: the contents that programs see, the contents of the medium, and every
//! change in between that a power loss may or may not keep.
//!
//! Must never make anything durable except through [`Inode::sync`] or a crash.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::crash::Plan;
use super::image::{Image, SECTOR, Sector};

/// The maximum number of versions of a sector that are kept between syncs; the oldest is dropped
/// first.
const VERSIONS_MAX: usize = 256;

/// The contents of a sector after one operation.
#[derive(Debug, Clone)]
struct Version {
    /// The number of the operation.
    at: u64,
    data: Arc<Sector>,
    /// The version was made by truncating the file, not by a write: it cannot survive without the
    /// truncation.
    by_cut: bool,
}

/// A file.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    live: Image,
    durable: Image,
    /// Every version of every sector written since the last sync, oldest first.
    unsynced: BTreeMap<u64, Vec<Version>>,
    /// Every length since the last sync, with the number of the operation, oldest first.
    lengths: Vec<(u64, u64)>,
    /// A failed sync has dropped pages: the live image shows data that no later sync writes.
    dropped: bool,
    /// The contents of durable sectors before their last sync.
    before: Arc<BTreeMap<u64, Arc<Sector>>>,
    /// Exclusive end of the bytes with allocated space.
    backed: u64,
}

impl Inode {
    /// A file whose contents are on the medium.
    pub(super) fn settled(bytes: &[u8]) -> Self {
        let image = Image::from_bytes(bytes);
        let backed = image.len();
        Self { live: image.clone(), durable: image, backed, ..Self::default() }
    }

    pub(super) fn live(&self) -> &Image {
        &self.live
    }

    pub(super) fn durable(&self) -> &Image {
        &self.durable
    }

    pub(super) fn backed(&self) -> u64 {
        self.backed
    }

    pub(super) fn unsynced_sectors(&self) -> usize {
        self.unsynced.len()
    }

    pub(super) fn write(&mut self, at: u64, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let len = self.live.len();
        self.live.write(offset, bytes);
        if self.live.len() != len {
            self.lengths.push((at, self.live.len()));
        }
        let end = offset + bytes.len() as u64;
        self.backed = self.backed.max(end);
        for index in offset / SECTOR as u64..end.div_ceil(SECTOR as u64) {
            self.remember(at, index, false);
        }
    }

    pub(super) fn set_len(&mut self, at: u64, len: u64) {
        let old = self.live.len();
        if len == old {
            return;
        }
        self.lengths.push((at, len));
        if len > old {
            self.live.set_len(len);
            return;
        }
        self.backed = self.backed.min(len);
        let first = len / SECTOR as u64;
        let cut: Vec<u64> = self.live.sectors_from(first).collect();
        self.live.set_len(len);
        for index in cut {
            self.remember(at, index, true);
        }
    }

    pub(super) fn reserve(&mut self, at: u64, len: u64) {
        if len > self.live.len() {
            self.set_len(at, len);
        }
        self.backed = self.backed.max(len);
    }

    fn remember(&mut self, at: u64, index: u64, by_cut: bool) {
        let data = Arc::new(self.live.sector(index));
        let versions = self.unsynced.entry(index).or_default();
        if versions.len() == VERSIONS_MAX
            && let Some(oldest) = versions.iter().position(|version| !version.by_cut)
        {
            versions.remove(oldest);
        }
        versions.push(Version { at, data, by_cut });
    }

    /// Makes everything that was written since the last sync durable.
    pub(super) fn sync(&mut self) {
        let before = Arc::make_mut(&mut self.before);
        for (index, versions) in std::mem::take(&mut self.unsynced) {
            if let Some(newest) = versions.last() {
                before.insert(index, Arc::new(self.durable.sector(index)));
                self.durable.put_sector(index, &newest.data);
            }
        }
        self.lengths.clear();
        self.durable.set_len(self.live.len());
    }

    /// A failed sync: the pages are marked clean and are not written any more. Lengths and cuts
    /// belong to the file system and remain to be written.
    pub(super) fn drop_unsynced(&mut self) {
        self.unsynced.retain(|_, versions| {
            versions.retain(|version| version.by_cut);
            !versions.is_empty()
        });
        self.dropped = true;
    }

    /// The oldest operation that a power loss could undo.
    pub(super) fn first_unsynced(&self) -> Option<u64> {
        let sectors = self.unsynced.values().filter_map(|versions| versions.first());
        let lengths = self.lengths.first().map(|(at, _)| *at);
        sectors.map(|version| version.at).chain(lengths).min()
    }

    /// Whether a power loss could change anything.
    pub(super) fn is_settled(&self) -> bool {
        self.unsynced.is_empty() && self.lengths.is_empty() && !self.dropped
    }

    /// The contents of the medium after a power loss.
    pub(super) fn after_crash(&self, plan: &mut Plan) -> Image {
        let lengths: Vec<u64> = self.lengths.iter().map(|(at, _)| *at).collect();
        let (length_at, len) = match plan.choose(&lengths, 0, u64::MAX) {
            None => (0, self.durable.len()),
            Some(index) => self.lengths[index],
        };
        let mut image = self.durable.clone();
        let per_unit = (plan.sector_size() / SECTOR) as u64;
        let mut next = 0;
        while let Some((&index, _)) = self.unsynced.range(next..).next() {
            let first = index / per_unit * per_unit;
            next = first + per_unit;
            self.crash_unit(&mut image, first..next, length_at, plan);
        }
        image.set_len(len);
        image
    }

    /// Chooses the contents of one sector of the drive, which may consist of several sectors of
    /// this model.
    fn crash_unit(
        &self,
        image: &mut Image,
        unit: std::ops::Range<u64>,
        length_at: u64,
        plan: &mut Plan,
    ) {
        let versions = || self.unsynced.range(unit.clone()).flat_map(|(_, versions)| versions);
        // A truncation that survived removed the older versions. One that was lost never took effect,
        // and later writes went to blocks that the file does not have.
        let cuts = || versions().filter(|version| version.by_cut).map(|version| version.at);
        let oldest = cuts().filter(|at| *at <= length_at).max().unwrap_or(0);
        let end = cuts().filter(|at| *at > length_at).min().unwrap_or(u64::MAX);
        let mut moments: Vec<u64> = versions().map(|version| version.at).collect();
        moments.sort_unstable();
        moments.dedup();
        moments.retain(|at| (oldest..end).contains(at));
        let Some(chosen) = plan.choose(&moments, oldest, end) else {
            return;
        };
        let torn_over = chosen.checked_sub(1).map(|older| moments[older]);
        let at_moment = |index: u64, moment: Option<u64>| -> Sector {
            let versions = self.unsynced.get(&index).map_or(&[][..], Vec::as_slice);
            let version = versions.iter().rev().find(|version| Some(version.at) <= moment);
            version.map_or_else(|| self.durable.sector(index), |version| *version.data)
        };
        // If a truncation survived, no older version remains.
        let may_tear = torn_over.is_some() || oldest == 0;
        let tear = if may_tear { plan.tear() } else { None };
        for index in unit.clone() {
            let mut sector = at_moment(index, Some(moments[chosen]));
            if let Some(tear) = &tear {
                let base = usize::try_from(index - unit.start).expect("small") * SECTOR;
                let older = at_moment(index, torn_over);
                for (position, byte) in sector.iter_mut().enumerate() {
                    if tear.is_old(base + position) {
                        *byte = older[position];
                    }
                }
            }
            image.put_sector(index, &sector);
        }
    }

    /// The file after a power loss that left the contents `image`.
    pub(super) fn survivor(&self, image: Image) -> Self {
        Self {
            backed: self.backed.max(image.len()),
            live: image.clone(),
            durable: image,
            before: Arc::clone(&self.before),
            ..Self::default()
        }
    }

    /// Inverts a bit in every version of the byte. The file must be long enough.
    pub(super) fn flip_bit(&mut self, offset: u64, bit: u32) {
        let index = offset / SECTOR as u64;
        let within = usize::try_from(offset % SECTOR as u64).expect("less than a sector");
        for image in [&mut self.live, &mut self.durable] {
            let mut sector = image.sector(index);
            sector[within] ^= 1 << bit;
            image.put_sector(index, &sector);
        }
        for version in self.unsynced.get_mut(&index).into_iter().flatten() {
            Arc::make_mut(&mut version.data)[within] ^= 1 << bit;
        }
    }

    /// Restores a durable sector to its contents before its last sync: a write that the drive
    /// acknowledged and lost. Returns `false` if no sync has overwritten it.
    pub(super) fn revert_sector(&mut self, index: u64) -> bool {
        let Some(old) = Arc::make_mut(&mut self.before).remove(&index) else {
            return false;
        };
        self.durable.put_sector(index, &old);
        if !self.unsynced.contains_key(&index) {
            self.live.put_sector(index, &old);
        }
        true
    }
}
