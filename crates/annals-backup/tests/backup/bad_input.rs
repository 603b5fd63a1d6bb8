//! Places that are no backups, damaged and foreign ones, directories that are in use: a clear error, and nothing is
//! overwritten.

use std::sync::Arc;

use annals::shipping::Until;
use annals::{Position, Timestamp};
use annals_backup::object_store::memory::InMemory;
use annals_backup::object_store::{ObjectStore, ObjectStoreExt};
use annals_backup::{
    Destination, Error, PruneOptions, RestoreOptions, ShipOptions, Shipper, list, prune, restore,
    verify,
};
use futures_util::TryStreamExt;

use crate::support::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures_util::future::FutureExt::now_or_never(future).expect("memory answers at once")
}

fn names(memory: &InMemory) -> Vec<String> {
    let listed = block_on(memory.list(None).try_collect::<Vec<_>>()).unwrap();
    let mut names: Vec<_> = listed.iter().map(|object| object.location.to_string()).collect();
    names.sort();
    names
}

fn get(memory: &InMemory, name: &str) -> Vec<u8> {
    let read = async { memory.get(&name.into()).await?.bytes().await };
    block_on(read).unwrap().to_vec()
}

fn put(memory: &InMemory, name: &str, bytes: Vec<u8>) {
    block_on(memory.put(&name.into(), bytes.into())).unwrap();
}

/// A copy of all objects.
fn fork(memory: &InMemory) -> (Arc<InMemory>, Destination) {
    let (copy, to) = self::memory();
    for name in names(memory) {
        put(&copy, &name, get(memory, &name));
    }
    (copy, to)
}

#[test]
fn places_that_are_no_backups_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    fill(&store, 0..20);
    let (memory, place) = self::memory();
    let none = restore(&place, dir.path().join("copy"), &RestoreOptions::new(), |_| {});
    assert!(matches!(none, Err(Error::NotABackup { .. })), "{none:?}");
    assert!(matches!(list(&place), Err(Error::NotABackup { .. })));
    assert!(matches!(prune(&place, &PruneOptions::new()), Err(Error::NotABackup { .. })));
    put(&memory, "backups/ledger/holiday.jpg", vec![1]);
    let refused = Shipper::new(store.clone(), place.clone(), ShipOptions::new());
    assert!(matches!(refused, Err(Error::NotABackup { why, .. }) if why.contains("holiday.jpg")));
    assert_eq!(names(&memory).len(), 1, "nothing was written");
    for url in ["gopher://x/y", "s3://bucket/x", "https://example.com/x"] {
        let refused = Destination::open(url);
        let is_other = cfg!(feature = "s3") && url.starts_with("s3");
        assert!(is_other || matches!(refused, Err(Error::Url { .. })), "{url}: {refused:?}");
    }
    let (_, place) = self::memory();
    ship(&store, &place);
    let other = open(&dir.path().join("other"));
    let refused = Shipper::new(other, place.clone(), ShipOptions::new().new_branch(true));
    assert!(matches!(refused, Err(Error::OtherStore { .. })));
    let branch = restore(&place, dir.path().join("copy"), &RestoreOptions::new().branch(7), |_| {});
    assert!(matches!(branch, Err(Error::NotABackup { .. })));
}

#[test]
fn directory_in_use_and_moments_that_are_not_held_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    fill(&store, 0..40);
    let (_, place) = self::memory();
    ship(&store, &place);
    let full = dir.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("notes.txt"), "mine").unwrap();
    for path in [full.clone(), dir.path().join("store")] {
        let refused = restore(&place, &path, &RestoreOptions::new(), |_| {});
        let refused_by_store = matches!(
            refused,
            Err(Error::Store(annals::Error::BackupRefused { .. } | annals::Error::Locked { .. }))
        );
        assert!(refused_by_store, "{refused:?}");
    }
    assert_eq!(std::fs::read_dir(&full).unwrap().count(), 1);
    let copy = dir.path().join("copy");
    let moments = [
        Until::Position(Position::new(store.head().get() + 1)),
        Until::Time(Timestamp::from_micros(1)),
    ];
    for until in moments {
        let refused = restore(&place, &copy, &RestoreOptions::new().until(until), |_| {});
        assert!(matches!(refused, Err(Error::OutOfRange { .. })), "{refused:?}");
    }
    restore(&place, &copy, &RestoreOptions::new(), |_| {}).unwrap();
    let again = restore(&place, &copy, &RestoreOptions::new(), |_| {});
    assert!(matches!(again, Err(Error::Store(annals::Error::BackupRefused { .. }))));
}

#[test]
fn damage_names_object_and_position_and_the_rest_is_restored_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (memory, place) = self::memory();
    let mut shipper = shipper(&store, &place);
    for round in 0..6 {
        fill(&store, round * 40..(round + 1) * 40);
        shipper.ship().unwrap();
    }
    // What replaced objects hold is never missed.
    let objects: Vec<_> =
        names(&memory).into_iter().filter(|name| name.contains("/log/")).collect();
    let manifests: Vec<_> =
        names(&memory).into_iter().filter(|name| name.contains("/manifests/")).collect();
    let (mut named, mut least) = (0, u64::MAX);
    for (at, name) in objects.iter().enumerate() {
        let bytes = get(&memory, name);
        let (damaged, place) = fork(&memory);
        match at % 3 {
            0 => block_on(damaged.delete(&name.as_str().into())).unwrap(),
            1 => put(&damaged, name, bytes[..bytes.len() / 2].to_vec()),
            _ => {
                let mut bad = bytes.clone();
                let middle = bad.len() / 2;
                bad[middle] ^= 4;
                put(&damaged, name, bad);
            }
        }
        let copy = dir.path().join(format!("copy-{at}"));
        let relative = name.strip_prefix("backups/ledger/").unwrap();
        match restore(&place, &copy, &RestoreOptions::new(), |_| {}) {
            Err(Error::Damaged { object, .. }) => {
                assert_eq!(object, relative);
                named += 1;
            }
            Ok(_) => continue,
            Err(other) => panic!("{other:?}"),
        }
        let faults = verify(&place, None, |_| {}).unwrap().faults;
        assert!(matches!(&faults[..], [Error::Damaged { object, .. }] if object == relative));
        let options = RestoreOptions::new().up_to_damage(true);
        match restore(&place, &copy, &options, |_| {}) {
            Ok(restored) => {
                let position = restored.position.get();
                assert!(position < store.head().get() && restored.damage.is_some());
                assert!(restored.faults.unwrap().is_empty());
                assert_eq!(shown(&open(&copy), u64::MAX), shown(&store, position));
                least = least.min(position);
            }
            // Nothing comes before it.
            Err(Error::Damaged { object, .. }) => assert_eq!(object, relative),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(named > 3 && least < store.head().get() / 2, "{named} named, {least}");
    let newest = manifests.last().unwrap();
    for len in [0, 10, get(&memory, newest).len() - 1] {
        let (damaged, place) = fork(&memory);
        put(&damaged, newest, get(&memory, newest)[..len].to_vec());
        let refused = restore(&place, dir.path().join("none"), &RestoreOptions::new(), |_| {});
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{len}: {refused:?}");
    }
    let (damaged, place) = fork(&memory);
    let text = String::from_utf8(get(&memory, newest)).unwrap();
    put(&damaged, newest, text.replacen("\"format\":1", "\"format\":9", 1).into_bytes());
    let refused = restore(&place, dir.path().join("none"), &RestoreOptions::new(), |_| {});
    assert!(matches!(refused, Err(Error::Version { found: 9, .. })), "{refused:?}");
    // A manifest that was put in place of another one.
    let (damaged, place) = fork(&memory);
    let earlier = &manifests[manifests.len() - 3];
    let changed = String::from_utf8(get(&memory, earlier)).unwrap().replacen(
        "\"written_at\":1",
        "\"written_at\":2",
        1,
    );
    put(&damaged, earlier, changed.into_bytes());
    let faults = verify(&place, None, |_| {}).unwrap().faults;
    assert!(faults.iter().any(|fault| fault.to_string().contains("does not follow")), "{faults:?}");
}

#[test]
fn object_with_other_contents_is_found_by_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    fill(&store, 0..20);
    let (memory, place) = self::memory();
    ship(&store, &place);
    let name = names(&memory).into_iter().rfind(|name| name.contains("/log/")).unwrap();
    let object = get(&memory, &name);
    let mut plain = zstd::stream::decode_all(&object[..]).unwrap();
    let table = object.len() - (17 + 8 * plain.len().div_ceil(1 << 20));
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    let checksums = zstd::zstd_safe::CParameter::ChecksumFlag(true);
    compressor.set_parameter(checksums).unwrap();
    // Another digit somewhere, such that the object keeps its length.
    let other = (0..plain.len()).filter(|at| plain[*at].is_ascii_digit()).collect::<Vec<_>>();
    let changed = other.into_iter().find_map(|at| {
        plain[at] ^= 1;
        let block = compressor.compress(&plain).unwrap();
        plain[at] ^= 1;
        (block.len() == table).then_some(block)
    });
    let changed =
        [changed.expect("some digit keeps the length"), object[table..].to_vec()].concat();
    put(&memory, &name, changed);
    let refused = restore(&place, dir.path().join("copy"), &RestoreOptions::new(), |_| {});
    let by_digest = matches!(&refused, Err(Error::Damaged { why, .. }) if why.contains("digest"));
    assert!(by_digest, "{refused:?}");
}
