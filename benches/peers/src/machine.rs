//! The machine of a run, how idle it was, and the size of a directory.
//!
//! Reads /proc and the directory it is given, and writes nothing but the file it syncs.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::peer::Result;

/// How fast the machine is at this moment.
#[derive(Clone, Copy)]
pub struct Calm {
    pub load: f64,
    /// A fixed loop of arithmetic, in milliseconds.
    pub loop_ms: f64,
    /// The median of writing and syncing 4 KiB over and over, in microseconds.
    pub sync_us: f64,
}

impl Calm {
    pub fn json(self) -> Value {
        json!({ "load": self.load, "loop_ms": self.loop_ms, "sync_us": self.sync_us })
    }
}

/// Measures the machine itself.
pub fn calm(dir: &Path) -> Result<Calm> {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(-1.0);
    let started = Instant::now();
    let mut random = crate::input::Random::new(1);
    let mut sum = 0_u64;
    for _ in 0..50_000_000 {
        sum = sum.wrapping_add(random.next());
    }
    std::hint::black_box(sum);
    let loop_ms = started.elapsed().as_secs_f64() * 1e3;

    let path = dir.join("calm");
    let file = fs::File::create(&path)?;
    file.write_all_at(&[1; 4096], 0)?;
    file.sync_all()?;
    let mut syncs: Vec<f64> = Vec::new();
    for turn in 0..200_u8 {
        let started = Instant::now();
        file.write_all_at(&[turn; 4096], 0)?;
        file.sync_data()?;
        syncs.push(started.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(path)?;
    Ok(Calm { load, loop_ms, sync_us: crate::report::median(&mut syncs) })
}

/// Kernel, processor, memory and file system.
pub fn describe(dir: &Path) -> Value {
    let line = |path: &str, key: &str| -> String {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or(line, |(_, value)| value).trim().to_owned()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "kernel": kernel.trim(),
        "cpu": line("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": line("/proc/meminfo", "MemTotal"),
        "file_system": file_system(dir),
    })
}

/// The type and options of the file system that holds a directory.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut best = (0, String::from("unknown"));
    for mount in mounts.lines() {
        let fields: Vec<&str> = mount.split(' ').collect();
        if let [_, point, kind, options, ..] = fields[..]
            && dir.starts_with(point)
            && point.len() >= best.0
        {
            best = (point.len(), format!("{kind} ({options})"));
        }
    }
    best.1
}

/// The bytes of a directory: those allocated, and of these the ones in blocks that hold anything.
///
/// Preallocated space is blocks of zeros, whether a file system or a store made them so; with
/// incompressible data no block of a store's own is all zeros.
pub fn disk(dir: &Path) -> Result<(u64, u64)> {
    let (mut allocated, mut used) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            let inner = disk(&entry.path())?;
            allocated += inner.0;
            used += inner.1;
        } else {
            allocated += metadata.blocks() * 512;
            used += used_bytes(&entry.path())?;
        }
    }
    Ok((allocated, used))
}

fn used_bytes(path: &Path) -> Result<u64> {
    const BLOCK: usize = 4096;
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; BLOCK * 256];
    let (mut used, mut filled) = (0, 0);
    loop {
        let read = file.read(&mut buffer[filled..])?;
        filled += read;
        if read == 0 || filled == buffer.len() {
            let blocks = buffer[..filled].chunks(BLOCK);
            used += blocks.filter(|block| block.iter().any(|&byte| byte != 0)).count() * BLOCK;
            filled = 0;
        }
        if read == 0 {
            return Ok(used as u64);
        }
    }
}
