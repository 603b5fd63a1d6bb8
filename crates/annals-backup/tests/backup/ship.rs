//! What is shipped is what the store holds, once and in few objects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals::shipping::Until;
use annals::{Opened, Position};
use annals_backup::object_store::{ObjectStore, ObjectStoreExt};
use annals_backup::{
    Destination, Error, Keys, PruneOptions, RestoreOptions, ShipOptions, Shipper, list, prune,
    restore, verify,
};
use futures_util::{StreamExt, TryStreamExt};

use crate::support::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures_util::future::FutureExt::now_or_never(future).expect("memory answers at once")
}

/// The names of all objects, and their lengths.
fn objects(store: &dyn ObjectStore) -> Vec<(String, u64)> {
    let listed = block_on(store.list(None).try_collect::<Vec<_>>()).unwrap();
    listed.into_iter().map(|object| (object.location.to_string(), object.size)).collect()
}

#[test]
fn restored_store_is_the_shipped_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (_, to) = memory();
    let mut shipper = shipper(&store, &to);
    for round in 0..12 {
        fill(&store, round * 13..(round + 1) * 13);
        let done = shipper.ship().unwrap();
        assert_eq!(done.position, store.head());
        let again = shipper.ship().unwrap();
        assert_eq!((again.puts, again.sent_bytes), (0, 0), "there is nothing new");
    }
    let copy = dir.path().join("copy");
    let mut steps = 0;
    let restored = restore(&to, &copy, &RestoreOptions::new(), |_| steps += 1).unwrap();
    assert!(steps > 3);
    assert_eq!((restored.position, restored.branch), (store.head(), 1));
    assert_eq!(restored.faults.map(|faults| faults.len()), Some(0));
    let copied = open(&copy);
    assert_eq!(shown(&copied, u64::MAX), shown(&store, u64::MAX));
    assert_eq!(state(&copied), state(&store));
    let token = store.checkpoint_token(store.head()).unwrap();
    copied.verify_token(&token).unwrap();
    let found = verify(&to, None, |_| {}).unwrap();
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    assert_eq!(found.position, store.head());
    assert!(found.objects > 2 && found.manifests > 12);
}

#[test]
fn reader_beside_the_writer_ships_too_and_a_running_shipper_keeps_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = open(&path);
    let (_, to) = memory();
    let options = ShipOptions::new().interval(Duration::from_millis(5));
    let shipper = Shipper::new(reader(&path), to.clone(), options).unwrap().start().unwrap();
    fill(&store, 0..100);
    while shipper.status().position < store.head() {
        assert!(!shipper.status().ended, "{:?}", shipper.status());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(shipper.status().sent_bytes > 0 && shipper.status().log_bytes > 100_000);
    fill(&store, 100..130);
    shipper.stop().unwrap();
    let copy = dir.path().join("copy");
    let restored = restore(&to, &copy, &RestoreOptions::new(), |_| {}).unwrap();
    assert_eq!(restored.position, store.head());
    assert_eq!(shown(&open(&copy), u64::MAX), shown(&store, u64::MAX));
}

#[test]
fn second_shipper_takes_over_and_the_first_one_stops() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (_, to) = memory();
    let mut first = shipper(&store, &to);
    fill(&store, 0..20);
    first.ship().unwrap();
    let mut second = shipper(&store, &to);
    fill(&store, 20..40);
    assert!(matches!(first.ship(), Err(Error::OtherShipper { .. })));
    assert_eq!(second.ship().unwrap().position, store.head());
    assert!(matches!(first.ship(), Err(Error::OtherShipper { .. })));
    let found = verify(&to, None, |_| {}).unwrap();
    assert!(found.faults.is_empty() && found.position == store.head());
}

#[test]
fn many_small_uploads_leave_few_objects_and_prune_removes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (memory, to) = memory();
    let mut shipper = shipper(&store, &to);
    let mut restored = 0;
    for number in 0..600 {
        commit(&store, number);
        shipper.ship().unwrap();
        if number % 97 == 0 {
            let copy = dir.path().join(format!("copy-{number}"));
            let done = restore(&to, &copy, &RestoreOptions::new(), |_| {}).unwrap();
            assert_eq!(done.position, store.head());
            restored += 1;
        }
    }
    assert_eq!(restored, 7);
    let manifests =
        |all: &[(String, u64)]| all.iter().filter(|it| it.0.contains("manifests/")).count();
    let all = objects(&*memory);
    assert!(manifests(&all) < 330, "{} manifests", manifests(&all));
    let branch = list(&to).unwrap().branches.remove(0);
    let named = branch.stored_bytes;
    let grace = PruneOptions::new().grace(Duration::ZERO);
    // One that an upload left.
    let orphan = "backups/ledger/log/00000000000000000001/left.zst".into();
    block_on(memory.put(&orphan, vec![1; 777].into())).unwrap();
    let pruned = prune(&to, &grace).unwrap();
    assert!(pruned.objects > 0 && pruned.bytes >= 777, "{pruned:?}");
    assert!(block_on(memory.head(&orphan)).is_err());
    assert_eq!(list(&to).unwrap().branches[0].stored_bytes, named);
    assert!(verify(&to, None, |_| {}).unwrap().faults.is_empty());
    assert_eq!(prune(&to, &grace).unwrap().objects, 0);
    shipper.ship().unwrap();
}

#[test]
fn restored_past_is_a_branch_and_shares_full_segments() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = open(&path);
    let (_, to) = memory();
    fill(&store, 0..150);
    // After a close every segment but the last is sealed.
    store.close().unwrap();
    let store = open(&path);
    ship(&store, &to);
    let past = Position::new(store.head().get() * 3 / 4);
    let copy = dir.path().join("copy");
    let options = RestoreOptions::new().until(Until::Position(past));
    let restored = restore(&to, &copy, &options, |_| {}).unwrap();
    assert!(restored.position <= past && restored.end_of_backup == store.head());
    let ahead = store.checkpoint_token(store.head()).unwrap();
    let before = store.checkpoint_token(restored.position).unwrap();
    let other = open(&copy);
    assert!(!matches!(other.opened(), Opened::Damaged { .. }));
    assert!(matches!(other.verify_token(&ahead), Err(annals::Error::PositionAhead { .. })));
    fill(&other, 0..100);
    assert!(matches!(other.verify_token(&ahead), Err(annals::Error::OtherHistory { .. })));
    other.verify_token(&before).unwrap();
    // It never becomes part of the history that is there.
    let refused = Shipper::new(other.clone(), to.clone(), ShipOptions::new());
    match refused {
        Err(Error::OtherHistory { end, .. }) => assert_eq!(end, store.head()),
        refused => panic!("{refused:?}"),
    }
    let options = ShipOptions::new().new_branch(true);
    let mut branch = Shipper::new(other.clone(), to.clone(), options).unwrap();
    let shipped = branch.ship().unwrap();
    assert!(shipped.log_bytes < list(&to).unwrap().branches[1].log_bytes, "{shipped:?}");
    let found = list(&to).unwrap();
    assert_eq!(found.branches.len(), 2);
    assert_eq!(found.branches[0].position, store.head());
    assert_eq!(found.branches[1].position, other.head());
    for (branch, source) in [(1, &store), (2, &other)] {
        assert!(verify(&to, Some(branch), |_| {}).unwrap().faults.is_empty());
        let copy = dir.path().join(format!("branch-{branch}"));
        let options = RestoreOptions::new().branch(branch);
        restore(&to, &copy, &options, |_| {}).unwrap();
        assert_eq!(shown(&open(&copy), u64::MAX), shown(source, u64::MAX));
    }
    let grace = PruneOptions::new().grace(Duration::ZERO).keep_branches(1);
    assert_eq!(prune(&to, &grace).unwrap().branches, 1);
    assert_eq!(list(&to).unwrap().branches.len(), 1);
    assert!(verify(&to, None, |_| {}).unwrap().faults.is_empty(), "shared objects stay");
}

#[test]
fn store_that_has_lost_its_last_commits_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    fill(&store, 0..20);
    let earlier = dir.path().join("earlier");
    store.backup_to(&earlier, |_| {}).unwrap();
    fill(&store, 20..23);
    let (_, to) = memory();
    ship(&store, &to);
    let other = open(&earlier);
    for number in 33..39 {
        let refused = Shipper::new(other.clone(), to.clone(), ShipOptions::new());
        assert!(matches!(refused, Err(Error::OtherHistory { .. })), "{refused:?}");
        commit(&other, number);
    }
    assert_eq!(list(&to).unwrap().branches[0].position, store.head());
}

#[test]
fn encrypted_backup_needs_its_key_and_keys_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (memory, plain) = memory();
    let (old, new) = (Keys::generate(), Keys::generate());
    let with = |text: &str| plain.clone().with_keys(Keys::parse(text).unwrap());
    fill(&store, 0..60);
    ship(&store, &with(&old));
    fill(&store, 60..150);
    // The new key first.
    let both = with(&format!("{new}\n{old}"));
    ship(&store, &both);
    let restored = restore(&both, dir.path().join("copy"), &RestoreOptions::new(), |_| {}).unwrap();
    assert_eq!(restored.position, store.head());
    for keys in [plain.clone(), with(&old), with(&Keys::generate())] {
        let failed = restore(&keys, dir.path().join("none"), &RestoreOptions::new(), |_| {});
        assert!(failed.is_err(), "{failed:?}");
        assert!(Shipper::new(store.clone(), keys, ShipOptions::new()).is_err());
    }
    for (name, _) in objects(&*memory) {
        let mut read = block_on(memory.get(&name.as_str().into())).unwrap().into_stream();
        let bytes = block_on(read.next()).unwrap().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("account-") && !text.contains("\"end\""), "{name}");
    }
}

#[test]
fn backup_in_a_directory_survives_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let place = dir.path().join("backups/ledger");
    let to = || Destination::open(place.to_str().unwrap()).unwrap();
    fill(&store, 0..40);
    ship(&store, &to());
    fill(&store, 40..90);
    ship(&store, &to());
    let url = format!("file://{}", place.display());
    let from = Destination::open(&url).unwrap();
    let restored = restore(&from, dir.path().join("copy"), &RestoreOptions::new(), |_| {}).unwrap();
    assert_eq!(restored.position, store.head());
    let listed = list(&from).unwrap();
    assert_eq!(listed.store_id, store.durable_log().unwrap().store_id());
    assert!(listed.branches[0].stored_bytes * 2 < listed.branches[0].log_bytes, "{listed:?}");
}

#[test]
fn restore_that_takes_long_finds_what_replaced_its_objects() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let storage = Arc::new(crate::faulty::FaultyStore::new(1));
    let to = Destination::in_store(Arc::clone(&storage) as Arc<dyn ObjectStore>, "ledger").unwrap();
    let mut shipper = shipper(&store, &to);
    for number in 0..30 {
        commit(&store, number);
        shipper.ship().unwrap();
    }
    let before = store.head();
    storage.hold(true);
    let path = dir.path().join("copy");
    let restored = std::thread::scope(|scope| {
        let restored = scope.spawn(|| restore(&to, &path, &RestoreOptions::new(), |_| {}));
        std::thread::sleep(Duration::from_millis(200));
        for number in 30..400 {
            commit(&store, number);
            shipper.ship().unwrap();
        }
        storage.hold(false);
        restored.join().unwrap()
    });
    let restored = restored.unwrap();
    assert!(restored.position >= before && restored.faults.unwrap().is_empty());
    assert_eq!(shown(&open(&path), u64::MAX), shown(&store, restored.position.get()));
}

#[test]
fn long_first_upload_continues_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    while store.stats().segments < 30 {
        let number = store.head().get();
        commit(&store, 5 + 11 * number);
    }
    // Every segment but the last is sealed then.
    store.close().unwrap();
    let store = open(&dir.path().join("store"));
    let faults = Arc::new(crate::faulty::FaultyStore::new(1));
    let to = Destination::in_store(Arc::clone(&faults) as Arc<dyn ObjectStore>, "ledger").unwrap();
    let mut shipper = shipper(&store, &to);
    faults.fail_after(20);
    assert!(shipper.ship().unwrap_err().is_transient());
    drop(shipper);
    faults.heal();
    let mut shipper = self::shipper(&store, &to);
    let done = shipper.ship().unwrap();
    let all = list(&to).unwrap().branches[0].log_bytes;
    assert!(done.log_bytes < all * 2 / 3, "{} of {all} bytes", done.log_bytes);
    assert!(verify(&to, None, |_| {}).unwrap().faults.is_empty());
}

#[test]
fn shipper_that_is_asked_to_does_not_wait_for_its_interval_when_there_is_much() {
    let dir = tempfile::tempdir().unwrap();
    let (_, to) = memory();
    let store = open(&dir.path().join("ledger"));
    let ship_options = ShipOptions::new().interval(Duration::from_secs(3_600)).bytes(50_000);
    let running = Shipper::new(store.clone(), to, ship_options).unwrap().start().unwrap();
    for round in 1..4_u64 {
        let before = store.head();
        fill(&store, round * 100..round * 100 + 100);
        let begun = Instant::now();
        // What is less than that waits for more.
        while running.status().position <= before {
            assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", running.status());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    running.stop().unwrap();
}
