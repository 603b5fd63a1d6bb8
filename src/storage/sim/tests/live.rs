//! Tests of processes, locks, the clock and random numbers, and of changes to files at rest.

use super::*;
use crate::storage::WriteMapping;

#[test]
fn handles_die_with_their_process() {
    let (sim, _) = disk_with(&[1; 10]);
    for crash in [true, false] {
        let process = sim.process();
        let file = open(&process, PATH);
        let _guard = process.try_lock(Path::new("/LOCK")).unwrap().unwrap();
        if crash {
            sim.crash(Crash::new(0));
        } else {
            sim.kill();
        }
        assert!(file.read_at(&mut [0], 0).is_err());
        assert!(file.write_at(&[0], 0).is_err());
        assert!(file.sync_data().is_err());
        assert!(file.len().is_err());
        assert!(file.set_len(1).is_err());
        assert!(file.map(1, false).is_err());
        assert!(file.map_for_writes(1, false).is_err());
        assert!(!sim.is_locked(Path::new("/LOCK")).unwrap());
        assert!(process.remove_file(Path::new(PATH)).is_err());
        assert!(process.open(Path::new(PATH), OpenMode::Read).is_err());
        assert_eq!(open(&sim.process(), PATH).len().unwrap(), 10);
    }
}

#[test]
fn lock_is_released_by_its_holder_or_a_crash() {
    let sim = SimStorage::new(1);
    let path = Path::new("/LOCK");
    assert!(!sim.is_locked(path).unwrap());
    let first = sim.try_lock(path).unwrap().unwrap();
    assert!(sim.try_lock(path).unwrap().is_none());
    assert!(sim.is_locked(path).unwrap());
    assert!(!sim.fork().is_locked(path).unwrap());
    sim.kill();
    assert!(!sim.is_locked(path).unwrap());
    let second = sim.try_lock(path).unwrap().unwrap();
    drop(first);
    assert!(sim.is_locked(path).unwrap(), "the dead process's guard holds nothing");
    drop(second);
    assert!(!sim.is_locked(path).unwrap());
}

#[test]
fn simulated_clock_goes_where_it_is_set() {
    let sim = SimStorage::new(1);
    sim.set_clock(1000);
    assert_eq!((sim.now_micros(), sim.now_micros()), (1000, 1001));
    sim.advance_clock(-502);
    assert_eq!(sim.now_micros(), 500);
    sim.advance_clock(1 << 20);
    assert_eq!(sim.now_micros(), 501 + (1 << 20));
}

#[test]
fn random_numbers_follow_from_the_seed() {
    let take = |seed| {
        let sim = SimStorage::new(seed);
        (sim.random_u64(), sim.random_u64())
    };
    assert_eq!(take(5), take(5));
    assert_ne!(take(5), take(6));
    assert_ne!(take(5).0, take(5).1);
}

#[test]
fn simulated_mappings_are_copies() {
    let (sim, file) = disk_with(&[1; 10]);
    assert!(file.map(10, true).unwrap().is_none());
    assert!(file.map(0, false).unwrap().is_none());
    assert_eq!(file.map(11, false).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let mapping = file.map(8, false).unwrap().unwrap();
    write_all_at(&*file, &[2; 10], 0).unwrap();
    sim.crash(Crash::new(0));
    assert_eq!(mapping.get(0, 8), Some(&[1; 8][..]));
}

#[test]
fn file_at_rest_can_be_damaged() {
    let (sim, file) = disk_with(&[0; 3 * SECTOR]);
    sim.flip_bit(PATH, 600, 3).unwrap();
    assert!(sim.flip_bit(PATH, 3 * SECTOR as u64, 0).is_err());
    assert!(sim.flip_bit(PATH, 0, 8).is_err());
    assert_eq!(sim.read_file(PATH).unwrap()[600], 8);
    assert_eq!(sim.read_durable(PATH).unwrap()[600], 8);

    assert!(!sim.revert_sector(PATH, 0).unwrap(), "nothing was synced over it");
    write_all_at(&*file, &[1; 3 * SECTOR], 0).unwrap();
    sim.flip_bit(PATH, 0, 7).unwrap();
    file.sync_data().unwrap();
    assert_eq!(sim.read_durable(PATH).unwrap()[..2], [129, 1], "flipped before it was synced");
    assert!(sim.revert_sector(PATH, 700).unwrap());
    for bytes in [sim.read_file(PATH).unwrap(), sim.read_durable(PATH).unwrap()] {
        assert_eq!((bytes[511], bytes[512], bytes[600], bytes[1024]), (1, 0, 8, 1));
    }

    write_all_at(&*file, &[5], 0).unwrap();
    sim.corrupt(PATH, |bytes| bytes.truncate(7)).unwrap();
    assert_eq!(sim.read_durable(PATH).unwrap(), [5, 1, 1, 1, 1, 1, 1]);
    assert_eq!(sim.unsynced_sectors(), 0);
    assert_eq!(file.len().unwrap(), 7);
}

#[test]
fn written_file_gets_its_directories() {
    let sim = SimStorage::new(1);
    sim.write_file("/x/y/z", b"1").unwrap();
    sim.write_file("/x/a", b"2").unwrap();
    sim.write_file("/x/y/z", b"3").unwrap();
    assert!(sim.write_file("/x/y", b"").is_err());
    assert!(sim.write_file("/x/a/b", b"").is_err());
    sim.crash(Crash::new(0).keep(Keep::Nothing));
    assert_eq!(sim.files(), [PathBuf::from("/x/a"), PathBuf::from("/x/y/z")]);
    assert_eq!(sim.read_file("/x/y/z").unwrap(), b"3");
}

#[test]
fn disk_contents_are_exported_to_a_directory_and_imported() {
    let sim = SimStorage::new(1);
    sim.write_file("/store/log/1.seg", &[7; 5000]).unwrap();
    sim.write_file("/store/LOCK", b"").unwrap();
    let real = tempfile::tempdir().unwrap();
    sim.export_dir("/store", &real.path().join("out")).unwrap();
    let other = SimStorage::new(2);
    other.import_dir(&real.path().join("out"), "/store").unwrap();
    assert_eq!(other.files(), sim.files());
    assert_eq!(other.read_durable("/store/log/1.seg").unwrap(), [7; 5000]);
}

#[test]
fn stats_count_operations_and_bytes() {
    let (sim, file) = disk_with(&[1; 10]);
    write_all_at(&*file, &[2; 4], 0).unwrap();
    file.sync_data().unwrap();
    read_exact_at(&*file, &mut [0; 6], 0).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    let expected = SimStats {
        opens: 1,
        reads: 1,
        bytes_read: 6,
        writes: 1,
        bytes_written: 4,
        syncs: 1,
        dir_syncs: 1,
        operations: 3,
        ..SimStats::default()
    };
    assert_eq!(sim.stats(), expected);
}

fn mapped(sim: &SimStorage, len: u64) -> (Arc<dyn File>, Box<dyn WriteMapping>) {
    let file = open(sim, PATH);
    let stores = file.map_for_writes(len, false).unwrap().unwrap();
    (file, stores)
}

#[test]
fn stores_are_read_at_once_and_survive_a_kill_and_only_a_synced_one_every_crash() {
    let (sim, _) = disk_with(&[0; 8192]);
    let (file, stores) = mapped(&sim.process(), 8192);
    stores.prepare(0, 8192).unwrap();
    stores.store(b"first", 4090);
    file.sync_data().unwrap();
    stores.store(b"second", 100);
    let read = |sim: &SimStorage, at: usize, len: usize| {
        sim.read_file(PATH).unwrap()[at..at + len].to_vec()
    };
    sim.kill();
    assert_eq!(read(&sim, 100, 6), b"second");
    stores.store(b"a dead process", 0);
    assert_eq!(read(&sim, 0, 4), [0; 4]);

    let (mut whole, mut none, mut torn) = (0, 0, 0);
    for seed in 0..300 {
        let sim = sim.fork();
        let (_file, stores) = mapped(&sim.process(), 8192);
        stores.prepare(0, 1).unwrap();
        stores.store(b"third", 200);
        sim.crash(Crash::new(seed));
        assert_eq!(read(&sim, 4090, 5), b"first");
        match &read(&sim, 200, 5)[..] {
            b"third" => whole += 1,
            [0, 0, 0, 0, 0] => none += 1,
            _ => torn += 1,
        }
    }
    assert!(whole > 20 && none > 20 && torn > 5, "{whole} {none} {torn}");
}

#[test]
#[should_panic(expected = "SIGBUS")]
fn store_into_a_page_that_was_not_prepared_panics() {
    let (sim, _) = disk_with(&[0; 8192]);
    let (_file, stores) = mapped(&sim, 8192);
    stores.prepare(0, 4096).unwrap();
    stores.store(b"ab", 4095);
}

#[test]
#[should_panic(expected = "SIGBUS")]
fn store_into_bytes_that_were_cut_panics() {
    let (sim, _) = disk_with(&[0; 8192]);
    let (file, stores) = mapped(&sim, 8192);
    stores.prepare(0, 8192).unwrap();
    file.set_len(4096).unwrap();
    stores.store(b"ab", 5000);
}

#[test]
fn mapping_for_writes_takes_space_that_is_free() {
    let sim = SimStorage::new(1);
    let file = sim.open(Path::new(PATH), OpenMode::CreateNew).unwrap();
    file.set_len(8192).unwrap();
    sim.set_free_space(Some(8191));
    assert!(file.map_for_writes(8192, false).unwrap().is_none());
    sim.set_free_space(Some(8192));
    assert!(file.map_for_writes(8192, false).unwrap().is_some());
    assert!(file.map_for_writes(8193, false).unwrap().is_none(), "the file is shorter");
}
