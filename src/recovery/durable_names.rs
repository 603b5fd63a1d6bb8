//! Names that lead to the store's files: made durable before anything under them is acknowledged.

use std::path::Path;

use crate::error::{Error, Result};
use crate::format::names;
use crate::storage::Storage;

/// Makes durable which names there are: the segments', the directories' and the store's own. An
/// earlier process may have created some and not lived to sync them, and a copy of a store may never
/// have been synced.
pub(crate) fn sync_names(storage: &dyn Storage, root: &Path) -> Result<()> {
    for name in [names::LOG_DIR, names::INDEX_DIR, names::CHECKPOINT_DIR] {
        let directory = root.join(name);
        storage.sync_dir(&directory).map_err(|e| Error::io("sync", &directory, e))?;
    }
    storage.sync_dir(root).map_err(|e| Error::io("sync", root, e))?;
    sync_parent(storage, root)
}

/// A root directory that cannot be named from above, like the working directory, is not ours to
/// sync.
fn sync_parent(storage: &dyn Storage, root: &Path) -> Result<()> {
    let Some(parent) = root.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match storage.sync_dir(parent) {
        // Who may not look into it did not create the root either.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(|e| Error::io("sync", parent, e)),
    }
}
