//! The bytes of one file at one moment, stored sparsely and shared between copies.
//!
//! Owns the arithmetic of pages, sectors and lengths. Must never depend on what is durable.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The smallest unit that is written to the medium atomically.
pub(super) const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// The contents of one sector.
pub(super) type Sector = [u8; SECTOR];

/// A file's contents. Pages that are missing read as zero; copies share pages until written.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
    len: u64,
}

impl Image {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let mut image = Self::default();
        image.write(0, bytes);
        image
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).expect("a file fits in memory")];
        self.fill(0, &mut bytes);
        bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Truncates or extends the file. Bytes past the new end are removed for good, even if the file
    /// grows again.
    pub(super) fn set_len(&mut self, len: u64) {
        self.len = len;
        let (page, within) = split(len);
        self.pages.split_off(&if within == 0 { page } else { page + 1 });
        if within > 0
            && let Some(last) = self.pages.get_mut(&page)
            && last[within..].iter().any(|&byte| byte != 0)
        {
            Arc::make_mut(last)[within..].fill(0);
        }
    }

    /// Reads up to the end of the file; returns the number of bytes read.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buf.len().min(left);
        self.fill(offset, &mut buf[..count]);
        count
    }

    /// Writes the bytes, and extends the file if they end past its length.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.put(offset, bytes);
        if !bytes.is_empty() {
            self.len = self.len.max(offset + bytes.len() as u64);
        }
    }

    /// The contents of a sector, which may lie past the end of the file.
    pub(super) fn sector(&self, index: u64) -> Sector {
        let mut sector = [0; SECTOR];
        self.fill(index * SECTOR as u64, &mut sector);
        sector
    }

    /// Replaces a sector without changing the length of the file.
    pub(super) fn put_sector(&mut self, index: u64, sector: &Sector) {
        self.put(index * SECTOR as u64, sector);
    }

    /// The sectors at or after `first` that may be other than zero.
    pub(super) fn sectors_from(&self, first: u64) -> impl Iterator<Item = u64> {
        const PER_PAGE: u64 = (PAGE / SECTOR) as u64;
        let pages = self.pages.range(first / PER_PAGE..).map(|(page, _)| *page);
        pages
            .flat_map(|page| page * PER_PAGE..(page + 1) * PER_PAGE)
            .filter(move |index| *index >= first)
    }

    fn fill(&self, offset: u64, buf: &mut [u8]) {
        for_each_part(offset, buf.len(), |page, within, part| {
            let target = &mut buf[part];
            match self.pages.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[within..within + target.len()]),
                None => target.fill(0),
            }
        });
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        for_each_part(offset, bytes.len(), |page, within, part| {
            let source = &bytes[part];
            if !self.pages.contains_key(&page) && source.iter().all(|&byte| byte == 0) {
                return;
            }
            let target = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(target)[within..within + source.len()].copy_from_slice(source);
        });
    }
}

fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE as u64, usize::try_from(offset % PAGE as u64).expect("less than a page"))
}

/// Calls back for every page touched: with its number, the offset of the part in it, and the part.
fn for_each_part(
    offset: u64,
    len: usize,
    mut each: impl FnMut(u64, usize, std::ops::Range<usize>),
) {
    let mut done = 0;
    while done < len {
        let (page, within) = split(offset + done as u64);
        let count = (PAGE - within).min(len - done);
        each(page, within, done..done + count);
        done += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_reads_what_was_written_across_pages() {
        let mut image = Image::default();
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| n.to_le_bytes()[0] | 1).collect();
        image.write(3000, &bytes);
        assert_eq!(image.len(), 13_000);
        let all = image.to_vec();
        assert!(all[..3000].iter().all(|&byte| byte == 0));
        assert_eq!(all[3000..], bytes);
        let mut buf = [0; 100];
        assert_eq!(image.read(12_950, &mut buf), 50);
        assert_eq!(buf[..50], bytes[9950..]);
        assert_eq!(image.read(13_000, &mut buf), 0);
        assert_eq!(image.read(u64::MAX, &mut buf), 0);
    }

    #[test]
    fn cut_bytes_of_an_image_read_as_zero_after_growing() {
        let mut image = Image::from_bytes(&[7; 9000]);
        image.set_len(4100);
        image.set_len(9000);
        let all = image.to_vec();
        assert!(all[..4100].iter().all(|&byte| byte == 7));
        assert!(all[4100..].iter().all(|&byte| byte == 0));
        image.set_len(4096);
        assert_eq!(image.to_vec(), [7; 4096]);
        image.set_len(1 << 60); // Sparse: costs nothing.
        assert_eq!(image.sector(1 << 40), [0; SECTOR]);
    }

    #[test]
    fn copies_of_an_image_do_not_share_writes() {
        let first = Image::from_bytes(&[1; 5000]);
        let mut second = first.clone();
        second.write(10, &[2]);
        assert_eq!(first.to_vec(), [1; 5000]);
        assert_eq!(second.to_vec()[9..12], [1, 2, 1]);
    }

    #[test]
    fn sectors_of_an_image_are_listed_where_data_is() {
        let mut image = Image::default();
        image.set_len(1 << 20);
        image.put_sector(20, &[1; SECTOR]);
        assert_eq!(image.sectors_from(0).collect::<Vec<_>>(), (16..24).collect::<Vec<_>>());
        assert_eq!(image.sectors_from(21).count(), 3);
        assert_eq!(image.len(), 1 << 20);
    }
}
