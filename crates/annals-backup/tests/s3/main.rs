//! Backups on a real S3 server: shipped, restored, two shippers at once, and the server killed in the middle.
//!
//! They need a server: `ANNALS_BACKUP_S3` has the URL of a prefix in a bucket, and `ANNALS_BACKUP_S3_CONTROL` is a program
//! that kills the server and starts it. Without them they are ignored. `.ci/s3` starts one.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests touch files directly")]

#[path = "../backup/support.rs"]
#[allow(dead_code, reason = "the tests without a server use the rest")]
mod support;

mod server;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use annals::{ExpectedVersion, NewEvent, Options, Store};
use annals_backup::object_store::{
    self, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
};
use annals_backup::{
    Destination, Error, PruneOptions, RestoreOptions, ShipOptions, Shipper, list, prune, restore,
    verify,
};
use annals_conformance::AnySuite;
use futures_util::TryStreamExt;
use tokio::runtime::Runtime;

use crate::server::Server;
use crate::support::{commit, fill, open, reader, ship, shipper, shown, state};

fn main() -> ExitCode {
    let missing = ["ANNALS_BACKUP_S3", "ANNALS_BACKUP_S3_CONTROL"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_none())
        .map(|name| format!("{name} is not set; .ci/s3 starts a server"));
    let tests: [(&'static str, fn()); 6] = [
        ("restored_store_is_the_shipped_one", round_trip),
        ("conditional_put_has_one_winner", conditional_puts),
        ("shippers_that_race_have_one_winner", racing_shippers),
        ("shipping_goes_on_after_the_server_was_killed", killed_while_shipping),
        ("restore_goes_on_after_the_server_was_killed", killed_while_restoring),
        ("long_segment_is_uploaded_in_parts_though_the_server_is_killed", uploaded_in_parts),
    ];
    annals_conformance::run([AnySuite::tests(tests, missing)])
}

/// Appends events that cannot be compressed.
fn noise(store: &Store, events: usize, bytes: usize) {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut word = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()
    };
    for _ in 0..events {
        let data: Vec<u8> = (0..bytes / 8).flat_map(|_| word()).collect();
        store.append("noise", ExpectedVersion::Any, [NewEvent::new("Noise", data)]).unwrap();
    }
}

/// The backup has no fault, and what is restored from it is the store.
fn check(from: &Destination, store: &Store, copy: &Path) {
    let found = repeat(|| verify(from, None, |_| {}));
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    assert_eq!(found.position, store.head());
    repeat(|| restore(from, copy, &RestoreOptions::new(), |_| {}));
    compare(store, copy);
}

fn compare(store: &Store, copy: &Path) {
    let copied = reader(copy);
    assert_eq!(shown(&copied, u64::MAX), shown(store, u64::MAX));
    assert_eq!(state(&copied), state(store));
}

/// Two threads do the same at the same time.
fn both<T: Send>(work: impl Fn(usize) -> T + Sync) -> [T; 2] {
    let at_once = Barrier::new(2);
    let run = |number| {
        at_once.wait();
        work(number)
    };
    thread::scope(|scope| {
        let second = scope.spawn(|| run(1));
        [run(0), second.join().unwrap()]
    })
}

/// Repeats a call while the server is away, or answers that it is not ready yet. The same call continues.
fn repeat<T>(mut call: impl FnMut() -> annals_backup::Result<T>) -> T {
    loop {
        match call() {
            Err(error) if error.is_transient() => {}
            done => return done.unwrap(),
        }
    }
}

fn round_trip() {
    let server = Server::take("round-trip");
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let to = server.destination();
    let mut shipper = shipper(&store, &to);
    for round in 0..20 {
        fill(&store, round * 13..(round + 1) * 13);
        assert_eq!(shipper.ship().unwrap().position, store.head());
    }
    check(&to, &store, &dir.path().join("copy"));
    // One that an upload left.
    let (client, prefix) = server.client();
    let left = prefix.join("log").join("00000000000000000001").join("left.zst");
    Runtime::new().unwrap().block_on(client.put(&left, vec![1; 777].into())).unwrap();
    let pruned = prune(&to, &PruneOptions::new().grace(Duration::ZERO)).unwrap();
    assert_eq!((pruned.objects, pruned.bytes), (1, 777));
    check(&to, &store, &dir.path().join("copy after prune"));
}

/// What shippers rely on, and every storage for backups must do.
fn conditional_puts() {
    let server = Server::take("conditional-puts");
    let runtime = Runtime::new().unwrap();
    let clients = [server.client(), server.client()];
    for round in 0..200 {
        let path = clients[0].1.clone().join(format!("{round}"));
        let put = |number: usize| {
            let payload = PutPayload::from(format!("of client {number}"));
            let put = clients[number].0.put_opts(&path, payload, PutMode::Create.into());
            runtime.block_on(put)
        };
        let won = match both(put) {
            [Ok(_), Err(object_store::Error::AlreadyExists { .. })] => 0,
            [Err(object_store::Error::AlreadyExists { .. }), Ok(_)] => 1,
            both => panic!("round {round}: {both:?}"),
        };
        let stored = runtime.block_on(async { clients[0].0.get(&path).await?.bytes().await });
        assert_eq!(stored.unwrap(), format!("of client {won}"), "round {round}");
    }
}

fn racing_shippers() {
    let server = Server::take("racing-shippers");
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let places = [server.destination(), server.destination()];
    let mut same_number = 0;
    for round in 0..300 {
        // Until two asked for the same number, too.
        if round >= 30 && same_number > 0 {
            break;
        }
        let begin = |at: usize| Shipper::new(store.clone(), places[at].clone(), ShipOptions::new());
        let shippers = both(begin).map(parking_lot::Mutex::new);
        fill(&store, round * 3..(round + 1) * 3);
        let results = both(|at| match &mut *shippers[at].lock() {
            Ok(shipper) => Some(shipper.ship()),
            Err(_) => None,
        });
        let mut winners = 0;
        for (result, begun) in results.into_iter().zip(shippers) {
            match (begun.into_inner(), result) {
                (Ok(_), Some(Ok(shipped))) => {
                    assert_eq!(shipped.position, store.head());
                    winners += 1;
                }
                (Ok(_), Some(Err(Error::OtherShipper { .. }))) => {}
                (Err(Error::OtherShipper { .. }), None) => same_number += 1,
                other => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(winners, 1, "round {round}");
    }
    assert!(same_number > 0, "no two asked for the same number");
    check(&places[0], &store, &dir.path().join("copy"));
}

fn killed_while_shipping() {
    let server = Server::take("killed-while-shipping");
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    noise(&store, 700, 8 << 10);
    let (strikes, to) = server.struck();
    let options = ShipOptions::new().interval(Duration::from_millis(20));
    let shipper = Shipper::new(store.clone(), to.clone(), options).unwrap();
    let shipper = shipper.start().unwrap();
    let mut number = 0;
    // Appends, and returns the last position that was reported as shipped.
    let mut append_while = |goes_on: &dyn Fn() -> bool| {
        let mut status = shipper.status();
        while goes_on() {
            commit(&store, number);
            number += 1;
            status = shipper.status();
            assert!(!status.ended, "{status:?}");
            thread::sleep(Duration::from_millis(5));
        }
        status.position
    };
    // In the middle of the first long upload, then of short ones.
    for requests in [40, 25] {
        strikes.strike_after(requests);
        let reported = append_while(&|| !strikes.is_over());
        strikes.wait();
        let stored = repeat(|| list(&server.destination())).branches[0].position;
        assert!(stored >= reported, "{stored} of {reported}");
        append_while(&|| shipper.status().position == reported);
    }
    while shipper.status().position < store.head() {
        assert!(!shipper.status().ended, "{:?}", shipper.status());
        thread::sleep(Duration::from_millis(20));
    }
    shipper.stop().unwrap();
    check(&server.destination(), &store, &dir.path().join("copy"));
}

fn killed_while_restoring() {
    let server = Server::take("killed-while-restoring");
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    noise(&store, 700, 8 << 10);
    fill(&store, 0..60);
    ship(&store, &server.destination());
    let (strikes, from) = server.struck();
    strikes.strike_after(50);
    let copy = dir.path().join("copy");
    let restored = repeat(|| restore(&from, &copy, &RestoreOptions::new(), |_| {}));
    strikes.wait();
    assert_eq!(restored.position, store.head());
    assert_eq!(restored.faults.map(|faults| faults.len()), Some(0));
    compare(&store, &copy);
}

fn uploaded_in_parts() {
    let server = Server::take("uploaded-in-parts");
    let dir = tempfile::tempdir().unwrap();
    let store = Options::new().open(dir.path().join("store")).unwrap();
    noise(&store, 80, 256 << 10);
    let (strikes, to) = server.struck();
    let mut shipper = shipper(&store, &to);
    // The second of its three parts.
    strikes.strike_after(1);
    let done = repeat(|| shipper.ship());
    strikes.wait();
    assert_eq!(done.position, store.head());
    let runtime = Runtime::new().unwrap();
    let (client, prefix) = server.client();
    let objects: Vec<ObjectMeta> =
        runtime.block_on(client.list(Some(&prefix)).try_collect()).unwrap();
    let longest = objects.into_iter().max_by_key(|object| object.size).unwrap();
    assert!(longest.size > 16 << 20, "{longest:?}");
    // S3 states the number of parts in this tag.
    assert!(longest.e_tag.as_ref().is_some_and(|tag| tag.contains("-3")), "{longest:?}");
    check(&server.destination(), &store, &dir.path().join("copy"));
}
