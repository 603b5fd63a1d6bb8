//! Copies of a store's directory. A copy that is made file by file beside a writer is no backup,
//! but must not return anything wrong. A copy of a closed store whose names were never synced must
//! keep later commits.

use std::path::{Path, PathBuf};

use annals::testing::{Crash, Keep, OpenMode, SimStorage, Storage};
use annals::{Error, Opened};

use super::support::*;

/// Six events fill a segment.
const LARGE: usize = 9_000;

/// The files of the disk, shuffled by the seed `order`.
fn shuffled(sim: &SimStorage, order: u64) -> Vec<PathBuf> {
    let mut files = sim.files();
    let mut state = order.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for i in (1..files.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        files.swap(i, (state >> 33) as usize % (i + 1));
    }
    files
}

#[test]
fn copy_of_a_store_in_use_is_a_whole_prefix_or_refused() {
    let (mut opened, mut refused) = (0, 0);
    for order in 0..120 {
        let sim = SimStorage::new(order);
        let store = open(&sim).unwrap();
        append(&store, 1, 14, LARGE);
        let copy = SimStorage::new(order + 1000);
        let mut number = 14;
        // Files that are created during the copy are not listed, as with any copying tool.
        for path in shuffled(&sim, order) {
            // Files that are removed during the copy are skipped.
            if let Ok(bytes) = sim.read_file(&path) {
                copy.write_file(&path, &bytes).unwrap();
            }
            append(&store, number + 1, number + 1 + order % 3, LARGE);
            number += 1 + order % 3;
        }
        hold(&format!("order {order}"), &copy, LARGE, Expected::NothingWrong);
        match open(&copy) {
            Ok(copied) => {
                let found = read_back(&copied, LARGE).unwrap_or(0);
                assert!(found <= number);
                opened += 1;
            }
            Err(Error::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("order {order}: {other:?}"),
        }
        // The copied store is unaffected.
        assert_eq!(read_back(&store, LARGE).unwrap(), number);
    }
    assert!(opened > 5 && refused > 5, "{opened} opened, {refused} refused");
}

/// Copies a store as `cp -r` does: names are not synced.
fn copy_without_syncing(sim: &SimStorage, to: &Path) {
    sim.create_dir(to).unwrap();
    for file in sim.files() {
        let Ok(name) = file.strip_prefix(ROOT) else { continue };
        let path = to.join(name);
        sim.create_dir(path.parent().unwrap()).unwrap();
        let copy = sim.open(&path, OpenMode::CreateNew).unwrap();
        copy.write_at(&sim.read_file(&file).unwrap(), 0).unwrap();
        // The kernel writes contents back at some time, and need not write names.
        copy.sync_data().unwrap();
    }
}

#[test]
fn commit_to_a_copy_that_was_never_synced_survives_a_power_loss() {
    let sim = SimStorage::new(1);
    let store = open(&sim).unwrap();
    append(&store, 1, 3, LARGE);
    store.close().unwrap();
    let copied = Path::new("/copied");
    copy_without_syncing(&sim, copied);
    let store = options(&sim).open(copied).unwrap();
    assert!(matches!(store.opened(), Opened::Clean), "{:?}", store.opened());
    append(&store, 4, 4, LARGE);
    sim.crash(Crash::new(1).keep(Keep::Nothing));
    drop(store);
    let store = options(&sim).create(false).open(copied).unwrap();
    assert_eq!(store.head().get(), 4);
}
