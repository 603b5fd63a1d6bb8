//! The list of runs, and the recovery of runs that were left open; each in four ways.

use adapter_tests::in_every_way;
use annals_nautilus::RunStore;
use annals_nautilus::annals::Store;
use annals_nautilus::nautilus_event_store::{
    AppendEntry, EntryHash, EventStore, Headers, RunManifest, RunStatus,
};

use crate::support::{INSTANCE, attach_to, entry_of, manifest, plain};

fn begin(store: &Store, run_id: &str, start: u64, instance: &str) -> RunManifest {
    let mut manifest = manifest(run_id);
    manifest.start_ts_init = start.into();
    instance.clone_into(&mut manifest.instance_id);
    RunStore::new(store.clone()).backend().open_run(manifest.clone()).unwrap();
    manifest
}

#[test]
fn runs_of_an_instance_are_listed_by_start_and_id() {
    in_every_way(|life| {
        for (run_id, start, instance) in [
            ("d", 9, INSTANCE),
            ("b", 3, INSTANCE),
            ("a", 9, INSTANCE),
            ("x", 1, "trader"),
            ("y", 1, "trader-70"),
        ] {
            life.step(|store| begin(store, run_id, start, instance));
        }
        let ids = |instance: &'static str| {
            move |store: &Store| {
                let runs = RunStore::new(store.clone()).list_runs(instance).unwrap();
                runs.into_iter().map(|it| it.run_id).collect::<Vec<_>>()
            }
        };
        assert_eq!(life.step(ids(INSTANCE)), ["b", "a", "d"]);
        assert_eq!(life.step(ids("trader")), ["x"]);
        assert!(life.step(ids("none")).is_empty());
    });
}

#[test]
fn runs_that_were_left_open_are_sealed_by_what_they_hold() {
    in_every_way(|life| {
        let last = |seq| {
            let ended = ("run.lifecycle.RunEnded", "RunEnded");
            let entry = entry_of(seq, 500, Headers::empty(), ended.0, ended.1, b"");
            AppendEntry::without_indices(entry)
        };
        let mut damaged = plain(1..=2);
        damaged[0].entry.entry_hash = EntryHash([1; 32]);
        let mut ended = plain(1..=2);
        ended.push(last(3));
        // An entry after it: no end.
        let mut crashed = vec![last(1)];
        crashed.extend(plain(2..=2));
        for (run_id, start, batch) in [
            ("empty", 1, vec![]),
            ("crashed", 2, crashed),
            ("ended", 3, ended),
            ("damaged", 4, damaged),
        ] {
            life.step(|store| begin(store, run_id, start, INSTANCE));
            life.step(|store| attach_to(store, run_id).append_batch(&batch).unwrap());
        }
        let outcome = life.step(|store| RunStore::new(store.clone()).recover(INSTANCE).unwrap());
        let recovered: Vec<_> =
            outcome.recovered.iter().map(|it| (it.run_id.as_str(), it.status)).collect();
        let expected = [
            ("empty", RunStatus::CrashedRecovered),
            ("crashed", RunStatus::CrashedRecovered),
            ("ended", RunStatus::Ended),
            ("damaged", RunStatus::Quarantined),
        ];
        assert_eq!(recovered, expected);
        assert_eq!(outcome.parent_run_id.as_deref(), Some("crashed"));
        let listed = life.step(|store| RunStore::new(store.clone()).list_runs(INSTANCE).unwrap());
        let listed: Vec<_> = listed.iter().map(|it| (it.run_id.as_str(), it.status)).collect();
        assert_eq!(listed, expected);
        let again = life.step(|store| RunStore::new(store.clone()).recover(INSTANCE).unwrap());
        assert!(again.recovered.is_empty() && again.parent_run_id.is_none());
    });
}

#[test]
fn recovery_of_an_instance_leaves_others_alone() {
    in_every_way(|life| {
        life.step(|store| begin(store, "x", 1, "trader-8"));
        let outcome = life.step(|store| RunStore::new(store.clone()).recover(INSTANCE).unwrap());
        assert!(outcome.recovered.is_empty());
        let other = life.step(|store| RunStore::new(store.clone()).list_runs("trader-8").unwrap());
        assert_eq!(other[0].status, RunStatus::Running);
    });
}
