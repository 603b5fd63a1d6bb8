//! Opens and closes the store for all clones of a handle.
//!
//! Owns the engine's threads. Must never drop the engine of an open store without closing it.

use std::path::Path;
use std::sync::Arc;

use crate::creation::{
    PathContents, bind_or_create, create_if_empty, look_at, not_a_store, take_back, take_lock,
};
use crate::engine::Engine;
use crate::engine::follower::open_for_reading;
use crate::error::{Error, Result};
use crate::fence::refuse_fenced;
use crate::options::Options;
use crate::recovery::{Mode, Opened, Recovery, recover};
use crate::sync::thread::JoinHandle;
use crate::sync::{Mutex, Rank};
use crate::trace;

/// Closes the store when the last clone of the handle is dropped.
#[derive(Debug)]
pub(super) struct Handle {
    engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A caller that needs the errors calls `close`.
        let _ = self.close();
    }
}

impl Handle {
    /// Opens the store in a directory, or creates it, and starts its threads.
    pub(super) fn open(path: &Path, options: Options) -> Result<Self> {
        let _span = trace::opening(path, options.read_only);
        let watch = trace::Watch::start();
        let opened = Self::open_unreported(path, options);
        match &opened {
            Ok(handle) => handle.report_opening(&watch),
            Err(error) => trace::open_failed(path, error),
        }
        opened
    }

    fn report_opening(&self, watch: &trace::Watch) {
        let root = self.engine.shared().root();
        let outcome = match self.engine.shared().opened() {
            Opened::Created => "created",
            Opened::Clean => "clean",
            Opened::Recovered(Recovery {
                dropped_bytes,
                quarantined,
                rewritten_bytes,
                rebuilt,
            }) => {
                let quarantined = quarantined.as_deref();
                trace::recovered(root, *dropped_bytes, *rewritten_bytes, *rebuilt, quarantined);
                "recovered"
            }
            Opened::Damaged { file, offset, expected_position, evidence } => {
                trace::damaged(root, file, *offset, expected_position.get(), evidence);
                "damaged"
            }
        };
        trace::opened(root, outcome, self.engine.visible(false), watch.took());
    }

    fn open_unreported(path: &Path, mut options: Options) -> Result<Self> {
        let (dir, made) = bind_or_create(path, &options)?;
        options.storage = Arc::clone(dir.shared_storage());
        let found = look_at(&dir)?;
        let lock = match found {
            PathContents::Store | PathContents::Unfinished | PathContents::Nothing
                if options.read_only =>
            {
                if !matches!(found, PathContents::Store) {
                    let why = "there is no store to read; an opening for writing creates one";
                    return Err(not_a_store(dir.root(), why));
                }
                None
            }
            PathContents::Store => Some(take_lock(&dir, options.lock_timeout)?),
            PathContents::Unfinished | PathContents::Nothing => {
                if !options.create {
                    return Err(not_a_store(
                        dir.root(),
                        "there is no store, and Options::create is false",
                    ));
                }
                // An existing path may be a link to a directory, and is not created.
                if found == PathContents::Nothing {
                    dir.storage()
                        .create_dir(dir.root())
                        .map_err(|e| Error::io("create", dir.root(), e))?;
                }
                let lock = take_lock(&dir, options.lock_timeout);
                if lock.is_err() && found == PathContents::Nothing {
                    // This fails if another creation has begun in the directory meanwhile, and the
                    // directory is kept.
                    let _ = dir.storage().remove_dir(dir.root());
                }
                Some(lock?)
            }
        };
        if lock.is_some() {
            refuse_fenced(&dir)?;
        }
        let created = !options.read_only
            && create_if_empty(&dir, &options).inspect_err(|_| {
                if made || found == PathContents::Nothing {
                    take_back(&dir);
                }
            })?;
        let mut recovered = {
            let _span = trace::recovering();
            if options.read_only {
                open_for_reading(&dir, options.background)?
            } else {
                recover(&dir, Mode::Write, options.background, created)?
            }
        };
        if created {
            recovered.opened = Opened::Created;
        }
        options.remember_capacity(recovered.newest_capacity());
        let engine = Arc::new(Engine::new(dir, options, recovered, lock)?);
        let threads = Mutex::new(Rank::Threads, engine.start()?);
        Ok(Self { engine, threads })
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Ends the threads, and closes the store, unless it is closed already.
    pub(super) fn close(&self) -> Result<()> {
        if self.engine.begin_close() {
            return Ok(());
        }
        for thread in self.threads.lock().drain(..) {
            // The panic of that thread is not reported again; closing does the rest of its work.
            let _ = thread.join();
        }
        self.engine.finish_close()?;
        trace::closed(self.engine.shared().root());
        Ok(())
    }
}
