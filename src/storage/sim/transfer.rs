//! Copies between the simulated disk and a real directory, for golden files and for inspecting the
//! result of a failed test.
#![allow(clippy::disallowed_methods, reason = "a test helper that reads and writes real files")]

use std::path::Path;
use std::{fs, io};

use super::disk::{NodeId, View};
use super::{Disk, SimStorage};

impl SimStorage {
    /// Copies a real directory with its contents to `to` on this disk; the copy is durable at once.
    pub fn import_dir(&self, real: &Path, to: impl AsRef<Path>) -> io::Result<()> {
        let to = to.as_ref();
        self.machine.lock().disk.put_settled(to, None)?;
        for entry in fs::read_dir(real)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.import_dir(&entry.path(), &target)?;
            } else if kind.is_file() {
                self.write_file(&target, &fs::read(entry.path())?)?;
            }
        }
        Ok(())
    }

    /// Copies the visible files below `from` to a real directory, which is created if missing.
    pub fn export_dir(&self, from: impl AsRef<Path>, real: &Path) -> io::Result<()> {
        let machine = self.machine.lock();
        let node = machine.disk.find(from.as_ref(), View::Live)?;
        export(&machine.disk, node, real)
    }
}

fn export(disk: &Disk, directory: NodeId, real: &Path) -> io::Result<()> {
    fs::create_dir_all(real)?;
    for (name, node) in disk.directory(directory)?.names(View::Live) {
        let target = real.join(name);
        if disk.is_directory(*node) {
            export(disk, *node, &target)?;
        } else {
            fs::write(target, disk.file(*node)?.live().to_vec())?;
        }
    }
    Ok(())
}
