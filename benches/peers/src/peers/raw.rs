//! The bare loop: the same frames and records with the same checksums as annals', and nothing
//! else. No versions, no index, no ids looked up, one file, no errors handled but by ending.
//!
//! The bytes are those of the bare loop in `benches/limits`; keep the two alike.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use super::lock;
use crate::input::{EVENT_TYPE, New, Seen};
use crate::peer::{About, Can, Mode, Peer, Result, Setup, Visit};

pub const ABOUT: About = About {
    name: "raw",
    title: "raw",
    package: "",
    engine: None,
    can: Can { threads: false, pipeline: false, streams: false, heads: false, ..Can::ALL },
    durable: "`pwrite` and `fdatasync` into a file filled with zeros beforehand, off the clock",
    buffered: "`pwrite` into an allocated file",
    layout: "annals' frames and records; reads map the file, walk it and verify each checksum",
    less: "the physical limit: no versions, no index, no streams, no check of ids, one file",
    open,
};

const SEED: u32 = 0x1234_5678;
const HEADER: usize = 48;

fn crc(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Appends a frame to the buffer.
pub fn encode(out: &mut Vec<u8>, position: &mut u64, events: &[New<'_>]) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let mut checksums = 0;
    for new in events {
        let at = out.len();
        let mut header = [0_u8; HEADER];
        header[8..16].copy_from_slice(&position.to_le_bytes());
        header[16..32].copy_from_slice(&new.id);
        header[32..34].copy_from_slice(&(new.stream.len() as u16).to_le_bytes());
        let len = HEADER + new.stream.len() + EVENT_TYPE.len() + new.data.len();
        header[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(new.stream.as_bytes());
        out.extend_from_slice(EVENT_TYPE.as_bytes());
        out.extend_from_slice(new.data);
        out.resize(out.len().next_multiple_of(8), 0);
        let checksum = crc(SEED, &out[at + 4..]);
        out[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        checksums = crc(checksums, &checksum.to_le_bytes());
        *position += 1;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let body = (out.len() - start - HEADER) as u32;
    out[start + 4..start + 8].copy_from_slice(&body.to_le_bytes());
    out[start + 32..start + 40].copy_from_slice(&now.to_le_bytes()[..8]);
    out[start + 40..start + 44].copy_from_slice(&checksums.to_le_bytes());
    let checksum = crc(SEED, &out[start..start + 44]);
    out[start + 44..start + 48].copy_from_slice(&checksum.to_le_bytes());
}

/// The maximum number of bytes that this number of events takes.
fn room(events: u64) -> u64 {
    events * 400 + (1 << 20)
}

/// The file of a loop, ready to be written to.
pub fn prepare(path: &Path, mode: Mode, events: u64) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let have = file.metadata()?.len();
    let want = room(events);
    if events == 0 || have >= want {
        return Ok(file);
    }
    match mode {
        Mode::Durable => {
            let zeros = [0; 4096];
            for at in (have..want).step_by(zeros.len()) {
                file.write_all_at(&zeros, at)?;
            }
            file.sync_all()?;
        }
        Mode::Buffered => {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, want)?;
        }
    }
    Ok(file)
}

struct Loop {
    path: PathBuf,
    mode: Mode,
    file: File,
    state: Mutex<State>,
}

struct State {
    offset: u64,
    position: u64,
    buffer: Vec<u8>,
}

fn open(setup: &Setup<'_>) -> Result<Box<dyn Peer>> {
    let path = setup.dir.join("raw");
    // As in a recovery, the existing frames are walked and verified up to their end.
    let (mut offset, mut position) = (0, 1);
    if path.exists() {
        let mut last = 0;
        offset = walk(&map(&path)?, true, &mut |seen| last = seen.position)? as u64;
        position = last + 1;
    }
    let file = prepare(&path, setup.mode, setup.events)?;
    let state = Mutex::new(State { offset, position, buffer: Vec::new() });
    Ok(Box::new(Loop { path, mode: setup.mode, file, state }))
}

fn map(path: &Path) -> Result<memmap2::Mmap> {
    let file = File::open(path)?;
    #[expect(unsafe_code, reason = "nobody else knows the file")]
    // SAFETY: the file belongs to this benchmark, in a directory that no other process uses.
    Ok(unsafe { memmap2::Mmap::map(&file) }?)
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Walks every header and record, verifying them if requested; returns their end.
fn walk(bytes: &[u8], verify: bool, visit: &mut dyn FnMut(Seen<'_>)) -> Result<usize> {
    let mut at = 0;
    while at + HEADER <= bytes.len() && word(&bytes[at + 4..]) != 0 {
        let header = &bytes[at..at + HEADER];
        if verify && crc(SEED, &header[..44]) != word(&header[44..]) {
            return Err("a header is damaged".into());
        }
        let end = at + HEADER + word(&header[4..]) as usize;
        at += HEADER;
        let mut checksums = 0;
        while at < end {
            let len = word(&bytes[at + 4..]) as usize;
            let record = &bytes[at..at + len.next_multiple_of(8)];
            if verify {
                if crc(SEED, &record[4..]) != word(record) {
                    return Err("a record is damaged".into());
                }
                checksums = crc(checksums, &record[..4]);
            }
            let name = HEADER + usize::from(u16::from_le_bytes([record[32], record[33]]));
            visit(Seen {
                position: crate::layout::number(&record[8..16]),
                version: 0,
                stream: std::str::from_utf8(&record[HEADER..name])?,
                data: &record[name + EVENT_TYPE.len()..len],
            });
            at += record.len();
        }
        if verify && checksums != word(&header[40..]) {
            return Err("a body is damaged".into());
        }
    }
    Ok(at)
}

impl Peer for Loop {
    fn append(&self, events: &[New<'_>]) -> Result {
        let state = &mut *lock(&self.state);
        state.buffer.clear();
        encode(&mut state.buffer, &mut state.position, events);
        self.file.write_all_at(&state.buffer, state.offset)?;
        if self.mode == Mode::Durable {
            self.file.sync_data()?;
        }
        state.offset += state.buffer.len() as u64;
        Ok(())
    }

    fn head(&self) -> Result<u64> {
        Ok(lock(&self.state).position - 1)
    }

    fn scan(&self, visit: Visit<'_>) -> Result {
        // Bytes after the last whole frame may be half written.
        let end = lock(&self.state).offset as usize;
        walk(&map(&self.path)?[..end], true, visit)?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result {
        self.file.sync_all()?;
        Ok(())
    }
}
