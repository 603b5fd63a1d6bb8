//! The kernel's table of file locks, which names the process that holds a lock.
//!
//! Must never return a process that may not be the holder: an uncertain number is omitted.
#![allow(
    clippy::disallowed_methods,
    reason = "this is part of the module that the rest of the crate must go through"
)]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{major, minor};

/// The maximum number of bytes of the table that are read: some ten thousand locks.
const MOST: u64 = 1 << 20;

/// The process that holds the exclusive lock on a file, by its id in this process's PID namespace.
pub(super) fn holder(path: &Path) -> Option<u32> {
    let file = fs::symlink_metadata(path).ok()?;
    holder_of(file.dev(), file.ino())
}

/// The same for the file with this device and inode number.
pub(super) fn holder_of(device: u64, inode: u64) -> Option<u32> {
    // If /proc belongs to another namespace, its numbers mean other processes here.
    let own = fs::read_link("/proc/self").ok()?;
    if own.to_str()? != std::process::id().to_string() {
        return None;
    }
    let mut table = String::new();
    fs::File::open("/proc/locks").ok()?.take(MOST).read_to_string(&mut table).ok()?;
    let holder = find(&table, major(device), minor(device), inode)?;
    // The lock lives as long as an open file, which a child may have inherited; the process that took
    // the lock may have ended.
    fs::symlink_metadata(format!("/proc/{holder}")).ok().map(|_| holder)
}

/// Looks for a line such as
///
/// ```text
/// 7: FLOCK  ADVISORY  WRITE 31631 fe:00:11001857 0 EOF
/// ```
///
/// A waiting process has an arrow after the number. A holder of another PID namespace has the
/// number 0.
fn find(table: &str, major: u32, minor: u32, inode: u64) -> Option<u32> {
    let wanted = format!("{major:02x}:{minor:02x}:{inode}");
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let kind = [words.next()?, words.next()?, words.next()?];
        let (process, file) = (words.next()?, words.next()?);
        let holds = kind == ["FLOCK", "ADVISORY", "WRITE"] && file == wanted;
        holds.then(|| process.parse().ok().filter(|&id| id > 0)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
1: POSIX  ADVISORY  WRITE 11 fe:00:5 0 EOF
2: FLOCK  ADVISORY  READ  12 fe:00:5 0 EOF
3: FLOCK  ADVISORY  WRITE 13 fe:01:5 0 EOF
3: -> FLOCK  ADVISORY  WRITE 14 fe:00:5 0 EOF
4: OFDLCK ADVISORY  WRITE -1 fe:00:5 0 EOF
5: FLOCK  ADVISORY  WRITE 15 fe:00:5 0 EOF
6: FLOCK  ADVISORY  WRITE 0 08:11:7 0 EOF
short
";

    #[test]
    fn lock_holder_is_the_process_with_the_exclusive_lock_on_the_file() {
        assert_eq!(find(TABLE, 0xfe, 0, 5), Some(15));
        assert_eq!(find(TABLE, 0xfe, 1, 5), Some(13));
        assert_eq!(find(TABLE, 0xfe, 0, 6), None);
        assert_eq!(find("", 0xfe, 0, 5), None);
    }

    #[test]
    fn lock_holder_of_another_namespace_is_not_named() {
        assert_eq!(find(TABLE, 8, 0x11, 7), None);
    }
}
