//! Stores that were restored, and new versions of the tables.

use std::path::Path;

use annals_es::projection::{
    ErrorPolicy, FailureCause, Options, ProjectionId, State, TargetError, WaitError,
};
use annals_es::{AnnalsStore, MemoryStore, Position};
use annals_es_postgres::{Postgres, remove};
use tempfile::TempDir;

use crate::support::{
    Database, Fault, Log, Tests, annals_store, append_each, catch_up, each_once, on_runtime, open,
    quick, start, wait,
};

pub(crate) const TESTS: Tests = &[
    ("read_model_ahead_of_a_restored_store_is_found_out", read_model_ahead_is_found_out),
    ("read_model_of_a_restored_store_is_rebuilt_by_choice", read_model_is_rebuilt_by_choice),
    ("read_model_of_another_store_is_found_out", read_model_of_another_store_is_found_out),
    ("new_version_takes_over_in_one_transaction", new_version_takes_over_in_one_transaction),
];

/// Copies the files of a store that is closed.
#[allow(clippy::disallowed_methods, reason = "a copy as an operator makes it")]
fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("the files") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_store(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A store with ten events of which the database has all, restored to a state of five.
fn restored(database: &Database) -> (AnnalsStore, [TempDir; 2]) {
    let (store, dir) = annals_store();
    append_each(&store, 1..=5);
    let backup = tempfile::tempdir().expect("a directory");
    store.engine().clone().close().expect("it closes");
    copy_store(&dir.path().join("store"), &backup.path().join("store"));
    let store = open(&dir.path().join("store"));
    append_each(&store, 6..=10);
    catch_up(&store, &Log::new(1), database);
    assert_eq!(database.read(1), each_once(10));
    (open(&backup.path().join("store")), [dir, backup])
}

fn assert_other_history(store: &AnnalsStore, database: &Database, case: &str) {
    let target = Postgres::new(database.config());
    let (handle, mut thread) = start(store, &Log::new(1), target, Options::new());
    let waited = wait(handle.wait_until_live());
    let Err(WaitError::Failed(error)) = waited else { panic!("it fails, found {waited:?}") };
    assert!(
        matches!(&error.cause, FailureCause::Target(TargetError::OtherHistory(_))),
        "{case}: {error}"
    );
    assert!(error.to_string().contains("rebuild_if_restored"), "{error}");
    assert_eq!(handle.status().state, State::Failed);
    thread.join().expect("nothing is left to run");
    assert_eq!(database.read(1), each_once(10), "the read model is left as it was");
}

fn read_model_ahead_is_found_out() {
    let database = Database::new();
    let (store, _dirs) = restored(&database);
    assert_other_history(&store, &database, "the store is shorter");
    // Other events took the places of those that are lost.
    append_each(&store, [60, 70, 80, 90, 100, 110]);
    assert_other_history(&store, &database, "the store is longer");
}

fn read_model_of_another_store_is_found_out() {
    let (database, (store, _dir)) = (Database::new(), annals_store());
    append_each(&store, 1..=10);
    catch_up(&store, &Log::new(1), &database);
    let (other, _other_dir) = annals_store();
    append_each(&other, 1..=10);
    assert_other_history(&other, &database, "the store is another one");
}

fn read_model_is_rebuilt_by_choice() {
    let database = Database::new();
    let (store, _dirs) = restored(&database);
    append_each(&store, [60, 70]);
    let options = || quick(ErrorPolicy::pause(), 0).rebuild_if_restored();
    let target = || Postgres::new(database.config());

    let without_clear = Log { clears: false, ..Log::new(1) };
    let (handle, thread) = start(&store, &without_clear, target(), options());
    let waited = wait(handle.wait_until_live());
    let Err(WaitError::Failed(error)) = waited else { panic!("it fails, found {waited:?}") };
    assert!(matches!(error.cause, FailureCause::Target(TargetError::NotCleared)), "{error}");
    assert_eq!(database.read(1), each_once(10));
    thread.stop().expect("it stops");

    let (handle, thread) = start(&store, &Log::new(1), target(), options());
    wait(handle.wait_for(Position::new(7))).expect("it is rebuilt");
    let mut expected = each_once(5);
    expected.extend([(6, 60), (7, 70)]);
    assert_eq!(database.read(1), expected);
    assert!(handle.status().active);
    thread.stop().expect("it stops");

    // It belongs to the history now.
    catch_up(&store, &Log::new(1), &database);
}

fn new_version_takes_over_in_one_transaction() {
    let (store, database) = (MemoryStore::new(), Database::new());
    append_each(&store, 1..=50);
    let target = || Postgres::new(database.config());
    let (former, former_thread) = start(&store, &Log::new(1), target(), Options::new());
    wait(former.wait_until_live()).expect("it catches up");
    let served = || {
        database.numbers(
            "SELECT sum(amount)::bigint,
                    (SELECT version FROM annals_projections WHERE active) FROM log",
        )
    };
    let sum = (1..=50).sum::<i64>();
    assert_eq!(served(), [sum, 1]);

    // The new version fails at its last event, and does not take over before it is handled.
    let new = Log::new(2).fail(50, [Fault::Error]);
    let (new, new_thread) = start(&store, &new, target(), quick(ErrorPolicy::pause(), 0));
    wait(new.wait_until_active()).expect_err("it pauses");
    assert_eq!((served(), new.status().active), ([sum, 1], false));
    append_each(&store, [51]);
    wait(former.wait_for(Position::new(51))).expect("it serves meanwhile");
    assert_eq!(served(), [sum + 51, 1]);
    wait(new.resume());
    wait(new.wait_until_active()).expect("it takes over");
    wait(former.stop());
    assert_eq!(served(), [(sum + 51) * 10, 2]);
    former_thread.stop().expect("it stops");
    new_thread.stop().expect("it stops");
    let id = ProjectionId::new("log", 1);
    on_runtime(remove(&database.client, &id)).expect("it is removed");
    assert_eq!(database.active_version(), Some(2));
}
