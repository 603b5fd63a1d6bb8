//! The bare loop: the same frames and records with the same checksums, and nothing else. No
//! versions, no index, no groups, no ids looked up, no errors handled but by ending.

#![allow(clippy::disallowed_methods, reason = "the bare loop goes around the storage seam")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Input, rate};

const SEED: u32 = 0x1234_5678;
const HEADER: usize = 48;

fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Appends a frame of `batch` records to the buffer.
fn encode(out: &mut Vec<u8>, batch: u64, position: &mut u64, input: &mut Input) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let mut checksums = 0;
    for _ in 0..batch {
        let at = out.len();
        let mut header = [0_u8; HEADER];
        header[8..16].copy_from_slice(&position.to_le_bytes());
        header[16..24].copy_from_slice(&input.next().to_le_bytes());
        let (stream, data) = input.pick();
        let len = HEADER + stream.len() + 16 + data.len();
        header[4..8].copy_from_slice(&u32::try_from(len).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(stream.as_bytes());
        out.extend_from_slice(b"MoneyTransferred");
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(8), 0);
        let checksum = crc(SEED, &out[at + 4..]);
        out[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        checksums = crc(checksums, &checksum.to_le_bytes());
        *position += 1;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let body = u32::try_from(out.len() - start - HEADER).unwrap_or(0);
    out[start + 4..start + 8].copy_from_slice(&body.to_le_bytes());
    out[start + 32..start + 40].copy_from_slice(&now.to_le_bytes()[..8]);
    out[start + 40..start + 44].copy_from_slice(&checksums.to_le_bytes());
    let checksum = crc(SEED, &out[start..start + 44]);
    out[start + 44..start + 48].copy_from_slice(&checksum.to_le_bytes());
}

fn preallocated(path: &Path, len: u64) -> File {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).open(path);
    let file = file.expect("create");
    #[cfg(target_os = "linux")]
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).expect("allocate");
    #[cfg(not(target_os = "linux"))]
    file.set_len(len).expect("set the length");
    file
}

/// One positional write a frame.
pub(crate) fn append(dir: &Path, count: u64, batch: u64, input: &mut Input) -> f64 {
    let file = preallocated(&dir.join("raw"), count * 400 + (1 << 20));
    let (mut offset, mut position, mut buffer) = (0, 1, Vec::new());
    let started = Instant::now();
    for _ in 0..count / batch {
        buffer.clear();
        encode(&mut buffer, batch, &mut position, input);
        file.write_all_at(&buffer, offset).expect("write");
        offset += buffer.len() as u64;
    }
    rate(count, started)
}

/// A file of single-record frames, mapped.
pub(crate) fn prepare(dir: &Path, count: u64, input: &mut Input) -> memmap2::Mmap {
    let path = dir.join("raw");
    let (mut position, mut buffer) = (1, Vec::new());
    for _ in 0..count {
        encode(&mut buffer, 1, &mut position, input);
    }
    std::fs::write(&path, &buffer).expect("write");
    let file = File::open(&path).expect("open");
    #[expect(unsafe_code, reason = "nobody else knows the file")]
    // SAFETY: the file belongs to this benchmark, in a directory that no other process uses.
    unsafe { memmap2::Mmap::map(&file) }.expect("map")
}

/// Where the first record of each frame is, by the stream it belongs to.
pub(crate) fn by_stream(bytes: &[u8]) -> std::collections::BTreeMap<Vec<u8>, Vec<usize>> {
    let mut streams = std::collections::BTreeMap::<Vec<u8>, Vec<usize>>::new();
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        let record = at + HEADER;
        let name = &bytes[record + HEADER..record + HEADER + "account-00000000".len()];
        streams.entry(name.into()).or_default().push(record);
        at = record + word(&bytes[at + 4..]) as usize;
    }
    streams
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Verifies records here and there, and counts their bytes.
pub(crate) fn read(bytes: &[u8], records: &[usize]) -> usize {
    let mut total = 0;
    for &at in records {
        let len = (word(&bytes[at + 4..]) as usize).next_multiple_of(8);
        assert_eq!(crc(SEED, &bytes[at + 4..at + len]), word(&bytes[at..]), "record");
        total += len;
    }
    total
}

/// Walks and verifies every header and record.
pub(crate) fn scan(bytes: &[u8]) -> f64 {
    let started = Instant::now();
    let (mut at, mut count, mut total) = (0, 0, 0);
    while at + HEADER <= bytes.len() {
        let header = &bytes[at..at + HEADER];
        assert_eq!(crc(SEED, &header[..44]), word(&header[44..]), "header");
        let end = at + HEADER + word(&header[4..]) as usize;
        at += HEADER;
        let mut checksums = 0;
        while at < end {
            let len = (word(&bytes[at + 4..]) as usize).next_multiple_of(8);
            let record = &bytes[at..at + len];
            assert_eq!(crc(SEED, &record[4..]), word(record), "record");
            checksums = crc(checksums, &record[..4]);
            total += len;
            count += 1;
            at += len;
        }
        assert_eq!(checksums, word(&header[40..]), "body");
    }
    std::hint::black_box(total);
    rate(count, started)
}
