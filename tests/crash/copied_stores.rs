//! A copy of the directory that was taken file by file while the writer was at work. It is no backup,
//! and the documents say so; what it must not do is to show anything wrong. And a copy of a closed store,
//! whose names nobody made durable.

use std::path::{Path, PathBuf};

use annals::testing::{Crash, Keep, OpenMode, SimStorage, Storage};
use annals::{Error, Opened};

use super::support::*;

/// Six events fill a segment.
const LARGE: usize = 9_000;

/// The files of the disk, in an order that follows from a number.
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
        // New files that come meanwhile are not on the list, as with any tool that copies.
        for path in shuffled(&sim, order) {
            // What is gone by then is not copied.
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
        // The store itself does not mind.
        assert_eq!(read_back(&store, LARGE).unwrap(), number);
    }
    assert!(opened > 5 && refused > 5, "{opened} opened, {refused} refused");
}

/// Copies a store the way `cp -r` does: contents and names only in the cache.
fn copy_without_syncing(sim: &SimStorage, to: &Path) {
    sim.create_dir(to).unwrap();
    for file in sim.files() {
        let Ok(name) = file.strip_prefix(ROOT) else { continue };
        let path = to.join(name);
        sim.create_dir(path.parent().unwrap()).unwrap();
        let copy = sim.open(&path, OpenMode::CreateNew).unwrap();
        copy.write_at(&sim.read_file(&file).unwrap(), 0).unwrap();
        // Some day the kernel writes back what files hold; nothing makes it write names.
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
