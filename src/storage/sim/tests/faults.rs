//! Tests of operations that fail, and of syncs that succeed without effect.

use super::*;

#[test]
fn nth_operation_fails_and_later_ones_succeed() {
    let (sim, file) = disk_with(&[1; 100]);
    sim.inject(Fault::Fail { operation: Operation::Sync, nth: 2 });
    sim.inject(Fault::Fail { operation: Operation::Read, nth: 1 });
    file.sync_data().unwrap();
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    assert!(file.read_at(&mut [0], 0).is_err());
    assert_eq!(file.read_at(&mut [0], 0).unwrap(), 1);
    assert_eq!(sim.stats().faults, 2);
}

const ALL: [Operation; 13] = [
    Operation::Open,
    Operation::ReadDir,
    Operation::Read,
    Operation::Map,
    Operation::Write,
    Operation::SetLen,
    Operation::Allocate,
    Operation::Sync,
    Operation::SyncDir,
    Operation::CreateDir,
    Operation::Rename,
    Operation::Remove,
    Operation::Stat,
];

/// Performs an operation of this kind on a disk that has `/a` and `PATH`.
fn run(sim: &SimStorage, file: &dyn File, operation: Operation) -> io::Result<()> {
    let (a, b) = (Path::new("/a"), Path::new("/b"));
    match operation {
        Operation::Open => sim.open(Path::new(PATH), OpenMode::Read).map(drop),
        Operation::ReadDir => sim.read_dir(Path::new("/")).map(drop),
        Operation::Read => file.read_at(&mut [0], 0).map(drop),
        Operation::Map => file.map(1, false).map(drop),
        Operation::Write => file.write_at(&[1], 0).map(drop),
        Operation::SetLen => file.set_len(100),
        Operation::Allocate => file.allocate(100),
        Operation::Sync => file.sync_data(),
        Operation::SyncDir => sim.sync_dir(Path::new("/")),
        Operation::CreateDir => sim.create_dir(Path::new("/d")),
        Operation::Rename => sim.rename(a, b),
        Operation::Remove => sim.remove_file(a),
        Operation::Stat => file.len().map(drop),
    }
}

#[test]
fn every_operation_can_fail() {
    for operation in ALL {
        let (sim, file) = disk_with(&[1; 100]);
        sim.write_file("/a", b"").unwrap();
        sim.inject(Fault::FailFrom { operation, nth: 1 });
        assert!(run(&sim, &*file, operation).is_err(), "{operation:?}");
        assert!(run(&sim, &*file, operation).is_err(), "{operation:?} again");
        sim.clear_faults();
        sim.inject(Fault::Interrupt { operation, nth: 1 });
        let interrupted = run(&sim, &*file, operation).unwrap_err();
        assert_eq!(interrupted.kind(), ErrorKind::Interrupted);
        sim.inject(Fault::Full { operation, nth: 1 });
        let full = run(&sim, &*file, operation).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{operation:?}");
        run(&sim, &*file, operation).unwrap();
        let stats = sim.stats();
        assert_eq!((stats.io_errors, stats.interrupts, stats.full, stats.faults), (2, 1, 1, 4));
    }
}

#[test]
fn stat_of_a_path_can_fail() {
    let sim = SimStorage::new(1);
    let path = Path::new("/a");
    sim.inject(Fault::FailFrom { operation: Operation::Stat, nth: 1 });
    assert!(sim.entry_kind(path).is_err());
    assert!(sim.is_locked(path).is_err());
}

#[test]
fn sync_can_fail_for_want_of_space() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..20 {
        let sim = SimStorage::new(seed);
        sim.write_file(PATH, &[1]).unwrap();
        let file = open(&sim, PATH);
        write_all_at(&*file, &[2], 0).unwrap();
        sim.inject(Fault::Full { operation: Operation::Sync, nth: 1 });
        assert_eq!(file.sync_data().unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(sim.read_durable(PATH).unwrap(), [1]);
        file.sync_data().unwrap();
        match sim.read_durable(PATH).unwrap()[0] {
            2 => kept += 1,
            _ => lost += 1,
        }
    }
    assert!(kept > 0 && lost > 0, "{kept} kept, {lost} lost");
}

#[test]
fn faults_can_be_aimed_at_paths() {
    let sim = SimStorage::new(1);
    sim.inject_at(".idx", Fault::Fail { operation: Operation::Sync, nth: 2 });
    let (log, index) = (create(&sim, "/1.seg"), create(&sim, "/1.idx"));
    index.sync_data().unwrap();
    log.sync_data().unwrap();
    log.sync_data().unwrap();
    assert!(index.sync_data().is_err());
}

#[test]
fn short_and_interrupted_transfers_are_completed_by_their_callers() {
    let (sim, file) = disk_with(&[1; 100]);
    sim.inject(Fault::Short { operation: Operation::Write, nth: 1, len: 30 });
    sim.inject(Fault::Interrupt { operation: Operation::Write, nth: 2 });
    sim.inject(Fault::Short { operation: Operation::Read, nth: 1, len: 1 });
    sim.inject(Fault::Interrupt { operation: Operation::Read, nth: 2 });
    assert_eq!(sim.fork().stats().faults, 0);
    write_all_at(&*file, &[2; 100], 0).unwrap();
    let mut buf = [0; 100];
    read_exact_at(&*file, &mut buf, 0).unwrap();
    assert_eq!(buf, [2; 100]);
    assert_eq!(sim.stats().faults, 4);
    sim.inject(Fault::Short { operation: Operation::Write, nth: 1, len: 0 });
    assert_eq!(write_all_at(&*file, &[3], 0).unwrap_err().kind(), ErrorKind::WriteZero);
}

#[test]
fn failed_write_leaves_any_part_written() {
    let mut written = Vec::new();
    for seed in 0..50 {
        let sim = SimStorage::new(seed);
        let file = create(&sim, PATH);
        sim.inject(Fault::Fail { operation: Operation::Write, nth: 1 });
        assert!(file.write_at(&[1; 4], 0).is_err());
        written.push(file.len().unwrap());
    }
    written.sort_unstable();
    written.dedup();
    assert_eq!(written, [0, 1, 2, 3, 4]);
}

#[test]
fn failed_sync_can_drop_unsynced_pages() {
    let (sim, file) = disk_with(&[1; 2 * SECTOR]);
    write_all_at(&*file, &[2; SECTOR], 0).unwrap();
    sim.inject(Fault::SyncDropsPages { nth: 1 });
    assert!(file.sync_data().is_err());
    write_all_at(&*file, &[2; SECTOR], SECTOR as u64).unwrap();
    file.sync_data().unwrap();
    sim.kill();
    assert_eq!(sim.read_file(PATH).unwrap(), [2; 2 * SECTOR], "the cache shows it");

    let lost = sim.fork();
    lost.crash(Crash::new(0).keep(Keep::Everything));
    let bytes = lost.read_file(PATH).unwrap();
    assert_eq!((bytes[0], bytes[SECTOR]), (1, 2));

    let file = open(&sim, PATH);
    write_all_at(&*file, &[2; SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    sim.crash(Crash::new(0).keep(Keep::Nothing));
    assert_eq!(sim.read_file(PATH).unwrap(), [2; 2 * SECTOR], "written again, it is safe");
}

#[test]
fn failed_sync_does_not_bring_back_cut_bytes() {
    let (sim, file) = disk_with(&[1; 3 * SECTOR]);
    file.set_len(SECTOR as u64).unwrap();
    file.set_len(3 * SECTOR as u64).unwrap();
    write_all_at(&*file, &[2; SECTOR], SECTOR as u64).unwrap();
    sim.inject(Fault::SyncDropsPages { nth: 1 });
    assert!(file.sync_data().is_err());
    sim.crash(Crash::new(0).keep(Keep::Everything));
    let bytes = sim.read_file(PATH).unwrap();
    let heads: Vec<u8> = bytes.chunks(SECTOR).map(|sector| sector[0]).collect();
    assert_eq!(heads, [1, 0, 0]);
}

#[test]
fn failed_sync_without_loss_is_made_up_by_the_next_sync() {
    let (sim, file) = disk_with(&[1]);
    write_all_at(&*file, &[2], 0).unwrap();
    sim.inject(Fault::Fail { operation: Operation::Sync, nth: 1 });
    assert!(file.sync_data().is_err());
    assert_eq!(sim.read_durable(PATH).unwrap(), [1]);
    file.sync_data().unwrap();
    assert_eq!(sim.read_durable(PATH).unwrap(), [2]);
}

#[test]
fn lying_sync_makes_nothing_durable() {
    let (sim, file) = disk_with(&[1]);
    sim.inject(Fault::SyncLies { operation: Operation::Sync, nth: 1 });
    sim.inject(Fault::SyncLiesFrom { operation: Operation::SyncDir, nth: 2 });
    write_all_at(&*file, &[2], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(sim.read_durable(PATH).unwrap(), [1]);
    file.sync_data().unwrap();
    assert_eq!(sim.read_durable(PATH).unwrap(), [2]);
    for name in ["/a", "/b", "/c"] {
        create(&sim, name);
        sim.sync_dir(Path::new("/")).unwrap();
    }
    assert_eq!(sim.unsynced_names(), 2);
}

#[test]
fn full_disk_refuses_writes_until_space_returns() {
    let (sim, file) = disk_with(&[1; 100]);
    sim.set_free_space(Some(50));
    assert_eq!(file.write_at(&[2; 100], 0).unwrap(), 100, "what it has costs nothing");
    assert_eq!(file.write_at(&[3; 100], 80).unwrap(), 70);
    let full = write_all_at(&*file, &[3; 10], 150).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 150);
    assert_eq!(file.allocate(151).unwrap_err().kind(), ErrorKind::StorageFull);
    let refused = sim.open(Path::new("/b"), OpenMode::CreateNew).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert!(sim.create_dir(Path::new("/d")).is_err());

    file.set_len(120).unwrap();
    file.allocate(140).unwrap();
    assert_eq!(file.write_at(&[4; 20], 140).unwrap(), 10);
    sim.set_free_space(None);
    write_all_at(&*file, &[5; 1000], 0).unwrap();
    sim.set_free_space(Some(0));
    sim.remove_file(Path::new(PATH)).unwrap();
    assert_eq!(create(&sim, "/b").write_at(&[6; 2000], 0).unwrap(), 1000);
}

#[test]
fn every_operation_fails_after_a_chosen_one() {
    let run = |sim: &SimStorage| -> io::Result<()> {
        let file = sim.open(Path::new("/tmp"), OpenMode::CreateNew)?;
        file.allocate(1000)?;
        write_all_at(&*file, &[1; 1000], 0)?;
        file.sync_data()?;
        sim.rename(Path::new("/tmp"), Path::new("/done"))?;
        sim.sync_dir(Path::new("/"))?;
        sim.open(Path::new("/done"), OpenMode::Read)?;
        Ok(())
    };
    let whole = SimStorage::new(1);
    run(&whole).unwrap();
    assert_eq!(whole.op_count(), 6);
    for steps in 0..6 {
        let sim = SimStorage::new(1);
        sim.fail_after_ops(steps);
        assert!(run(&sim).is_err(), "{steps}");
        assert_eq!(sim.op_count(), steps);
        assert!(sim.is_stopped());
        assert!(sim.entry_kind(Path::new("/done")).is_err());
        assert!(sim.read_dir(Path::new("/")).is_err());
        sim.crash(Crash::new(steps));
        assert!(!sim.is_stopped());
        let done = sim.read_file("/done");
        assert!(done.is_err() || done.unwrap() == [1; 1000], "{steps}");
    }
    let sim = SimStorage::new(1);
    sim.fail_after_ops(6);
    run(&sim).unwrap();
    assert!(!sim.is_stopped());
}
