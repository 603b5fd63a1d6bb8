//! The file of `repair --salvage`: the intact events of broken commits, one line each.
//!
//! Owns the file, which it creates. Must never write over one, nor leave half of one after a failed repair.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use annals::repair::SalvagedEvent;
use annals_lines::lines::{self, Row};

use crate::failure::Failure;

/// A file of salvaged events that is being written. It is removed if it is dropped before it is finished.
pub(crate) struct SalvageFile {
    path: PathBuf,
    out: Option<BufWriter<File>>,
    line: Vec<u8>,
    failed: Option<String>,
}

impl SalvageFile {
    /// Creates the file.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create_new(path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::Usage(format!("{} exists and is not written over", path.display()))
            }
            _ => Failure::Fault(format!("cannot create {}: {e}", path.display())),
        })?;
        Ok(Self {
            path: path.to_owned(),
            out: Some(BufWriter::new(file)),
            line: Vec::new(),
            failed: None,
        })
    }

    /// Writes an event's line.
    pub(crate) fn event(&mut self, event: &SalvagedEvent<'_>) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        self.line.clear();
        lines::encode(&Row::from(event), &mut self.line)?;
        self.line.push(b'\n');
        let written = out.write_all(&self.line);
        if let Err(error) = &written {
            self.failed = Some(format!("cannot write {}: {error}", self.path.display()));
        }
        written
    }

    /// Why a line could not be written, if that ended the repair.
    pub(crate) fn failure(&mut self) -> Option<Failure> {
        self.failed.take().map(Failure::Fault)
    }

    /// Makes the file durable.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let Some(mut out) = self.out.take() else { return Ok(()) };
        let synced = out.flush().and_then(|()| out.get_ref().sync_all());
        // What was written is kept: the new store is there.
        synced.map_err(|e| Failure::Fault(format!("cannot write {}: {e}", self.path.display())))
    }
}

impl Drop for SalvageFile {
    #[expect(clippy::disallowed_methods, reason = "the file is the user's, not the store's")]
    fn drop(&mut self) {
        if self.out.take().is_some() {
            // The failure of the repair is reported.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
