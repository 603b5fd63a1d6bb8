//! Upstream's kernel calls on annals: a run is opened, recorded and closed by its lifecycle functions.

use std::time::Duration;

use annals_nautilus::RunStore;
use annals_nautilus::nautilus_event_store::{
    BootError, EventStore, EventStoreConfig, EventStoreLifecycleOptions, EventStoreSession,
    HaltSignal, RegisteredComponents, RunStatus, ScanDirection, Verifier, open_run_with_options,
};
use nautilus_core::time::get_atomic_clock_static;

use crate::support::{INSTANCE, plain};

fn open(
    runs: &RunStore,
    base: &std::path::Path,
    run_id: &str,
) -> Result<EventStoreSession, BootError> {
    let config = EventStoreConfig {
        base_dir: base.to_owned(),
        halt_threshold: Duration::from_secs(60),
        run_started_timeout: Duration::from_secs(60),
        ..EventStoreConfig::default()
    };
    let options = EventStoreLifecycleOptions::new().with_backend_opener(runs.opener());
    open_run_with_options(
        &config,
        INSTANCE,
        run_id.to_owned(),
        None,
        1.into(),
        &RegisteredComponents::default(),
        HaltSignal::new(),
        get_atomic_clock_static(),
        &options,
    )
}

#[test]
fn kernel_session_records_a_run_and_seals_it() {
    let dir = tempfile::tempdir().unwrap();
    let runs = RunStore::open(dir.path().join("ledger")).unwrap();
    let mut session = open(&runs, dir.path(), "run-1").unwrap();
    assert_eq!(runs.list_runs(INSTANCE).unwrap()[0].status, RunStatus::Running);
    session.close(9.into()).unwrap();
    let sealed = runs.open_sealed(INSTANCE, "run-1").unwrap();
    assert_eq!(sealed.manifest().unwrap().status, RunStatus::Ended);
    let entries = sealed.scan_range(1, 9, ScanDirection::Forward).unwrap();
    let names: Vec<_> = entries.iter().map(|it| it.payload_type.as_str()).collect();
    assert_eq!(names, ["RunStarted", "RunEnded"]);
    assert!(Verifier::new(Box::new(sealed)).verify().unwrap().is_clean());
    // Nothing is written for upstream's redb backend.
    assert!(!dir.path().join(INSTANCE).exists());
}

#[test]
fn run_after_a_crash_has_the_crashed_one_as_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let runs = RunStore::open(dir.path().join("ledger")).unwrap();
    drop(open(&runs, dir.path(), "run-1").unwrap());
    drop(open(&runs, dir.path(), "run-2").unwrap());
    // Recovery before the kernel starts, to restore its cache, leaves the parent to the run that follows.
    assert_eq!(runs.recover(INSTANCE).unwrap().parent_run_id.as_deref(), Some("run-2"));
    open(&runs, dir.path(), "run-3").unwrap().close(9.into()).unwrap();
    open(&runs, dir.path(), "run-4").unwrap().close(9.into()).unwrap();
    let listed = runs.list_runs(INSTANCE).unwrap();
    let parents: Vec<_> = listed.iter().map(|it| it.parent_run_id.as_deref()).collect();
    assert_eq!(parents, [None, Some("run-1"), Some("run-2"), None]);
    let statuses: Vec<_> = listed.iter().map(|it| it.status).collect();
    let crashed = RunStatus::CrashedRecovered;
    assert_eq!(statuses, [crashed, crashed, RunStatus::Ended, RunStatus::Ended]);
}

#[test]
fn run_id_that_was_used_is_refused_by_the_opener() {
    let dir = tempfile::tempdir().unwrap();
    let runs = RunStore::open(dir.path().join("ledger")).unwrap();
    open(&runs, dir.path(), "run-1").unwrap().close(9.into()).unwrap();
    let again = open(&runs, dir.path(), "run-1");
    assert!(matches!(again, Err(BootError::EventStore(_))), "{again:?}");
    let mut backend = runs.open_sealed(INSTANCE, "run-1").unwrap();
    assert!(backend.append_batch(&plain(3..=3)).is_err());
}
