//! Effects of a power loss on the contents of files.

use super::*;

/// The first byte of each sector.
fn heads(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(SECTOR).map(|sector| sector[0]).collect()
}

#[test]
fn synced_data_survives_a_crash_and_unsynced_data_may_not() {
    let (sim, file) = disk_with(&[1; 2000]);
    write_all_at(&*file, &[2; 100], 50).unwrap();
    file.sync_data().unwrap();
    write_all_at(&*file, &[3; 100], 1000).unwrap();
    assert_eq!(sim.unsynced_sectors(), 2);

    let lost = sim.fork();
    lost.crash(Crash::new(0).keep(Keep::Nothing));
    let bytes = lost.read_file(PATH).unwrap();
    assert_eq!((bytes[49], bytes[50], bytes[149], bytes[150], bytes[1000]), (1, 2, 2, 1, 1));

    let kept = sim.fork();
    kept.crash(Crash::new(0).keep(Keep::Everything));
    assert_eq!(kept.read_durable(PATH).unwrap()[1000..1100], [3; 100]);
    assert_eq!(kept.unsynced_sectors(), 0);
}

#[test]
fn kill_keeps_all_data_and_makes_none_durable() {
    let (sim, file) = disk_with(&[1; 10]);
    write_all_at(&*file, &[2; 10], 0).unwrap();
    sim.kill();
    assert_eq!(sim.read_file(PATH).unwrap(), [2; 10]);
    assert_eq!(sim.read_durable(PATH).unwrap(), [1; 10]);
    assert!(outcomes(&sim, Crash::new).contains(&vec![1; 10]));
}

#[test]
fn sectors_of_one_write_survive_in_any_combination() {
    let (sim, file) = disk_with(&[0; 3 * SECTOR]);
    write_all_at(&*file, &[1; 3 * SECTOR], 0).unwrap();
    let found = outcomes(&sim, Crash::new);
    assert_eq!(found.len(), 8);
    for bytes in &found {
        for sector in bytes.chunks(SECTOR) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "no sector is torn");
        }
    }
}

#[test]
fn any_version_since_the_last_sync_survives() {
    let (sim, file) = disk_with(&[0; SECTOR]);
    write_all_at(&*file, &[9; SECTOR], 0).unwrap();
    write_all_at(&*file, &[1; SECTOR], 0).unwrap();
    file.sync_data().unwrap();
    for version in 2..=4 {
        write_all_at(&*file, &[version; SECTOR], 0).unwrap();
    }
    let found: Vec<u8> = outcomes(&sim, Crash::new).iter().map(|bytes| bytes[0]).collect();
    assert_eq!(found, [1, 2, 3, 4]);
}

#[test]
fn large_sector_survives_whole_or_not_at_all() {
    let (sim, file) = disk_with(&[0; 8192]);
    write_all_at(&*file, &[1; SECTOR], 0).unwrap();
    write_all_at(&*file, &[2; SECTOR], 1024).unwrap();
    write_all_at(&*file, &[3; SECTOR], 4096).unwrap();
    let found = outcomes(&sim, |seed| Crash::new(seed).sector_size(4096));
    let mut seen: Vec<_> = found.iter().map(|bytes| heads(bytes)).collect();
    for heads in &mut seen {
        assert_ne!((heads[0], heads[2]), (0, 2), "the later write without the earlier one");
        heads.retain(|head| *head != 0);
    }
    seen.sort();
    let expected: [&[u8]; 6] = [&[], &[1], &[1, 2], &[1, 2, 3], &[1, 3], &[3]];
    assert_eq!(seen, expected);
    assert!(outcomes(&sim, Crash::new).iter().any(|bytes| (bytes[0], bytes[1024]) == (0, 2)));
}

#[test]
fn sector_is_torn_only_if_the_crash_asks_for_it() {
    let (sim, file) = disk_with(&[1; SECTOR]);
    write_all_at(&*file, &[2; SECTOR], 0).unwrap();
    assert_eq!(outcomes(&sim, Crash::new).len(), 2);
    let torn = outcomes(&sim, |seed| Crash::new(seed).tear_bytes());
    assert!(torn.len() > 50, "{} ways", torn.len());
    let seams = |bytes: &Vec<u8>| bytes.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(torn.iter().all(|bytes| seams(bytes) <= 1));
    assert!(torn.iter().any(|bytes| (bytes[0], bytes[SECTOR - 1]) == (1, 2)));
    assert!(torn.iter().any(|bytes| (bytes[0], bytes[SECTOR - 1]) == (2, 1)));
}

#[test]
fn length_and_data_survive_apart() {
    let (sim, file) = disk_with(&[1; SECTOR]);
    write_all_at(&*file, &[2; SECTOR], SECTOR as u64).unwrap();
    let found: Vec<_> = outcomes(&sim, Crash::new).iter().map(|bytes| heads(bytes)).collect();
    assert_eq!(found, [vec![1], vec![1, 0], vec![1, 2]]);
}

#[test]
fn cut_bytes_do_not_come_back_with_later_writes() {
    let (sim, file) = disk_with(&[b'A'; 4 * SECTOR]);
    file.set_len(100).unwrap();
    file.set_len(4 * SECTOR as u64).unwrap();
    write_all_at(&*file, &[b'B'; 2 * SECTOR], SECTOR as u64).unwrap();
    let found = outcomes(&sim, Crash::new);
    for bytes in &found {
        let old = bytes.iter().skip(100).any(|byte| *byte == b'A');
        let new = bytes.iter().skip(100).any(|byte| *byte != b'A');
        assert!(!(old && new), "{:?}", heads(bytes));
    }
    assert!(found.contains(&vec![b'A'; 4 * SECTOR]), "the cut can be lost");
    assert!(found.contains(&vec![b'A'; 100]), "what came after it can be lost");
    assert!(found.iter().any(|bytes| heads(bytes) == [b'A', b'B', 0, 0]));
}

#[test]
fn in_order_crash_keeps_a_prefix_of_the_writes() {
    let (sim, file) = disk_with(&[0; 20 * SECTOR]);
    for step in 0..20_u8 {
        write_all_at(&*file, &[step + 1; SECTOR], u64::from(step) * SECTOR as u64).unwrap();
    }
    let found = outcomes(&sim, |seed| Crash::new(seed).keep(Keep::InOrder));
    assert_eq!(found.len(), 21);
    for bytes in &found {
        let mut heads = heads(bytes);
        heads.retain(|head| *head != 0);
        assert!(bytes[..heads.len() * SECTOR].iter().all(|byte| *byte != 0));
    }
}

#[test]
fn same_crash_leaves_the_same_bytes() {
    let (sim, file) = disk_with(&vec![0; 100 * SECTOR]);
    write_all_at(&*file, &vec![1; 90 * SECTOR + 7], 3).unwrap();
    let (one, other) = (sim.fork(), sim.fork());
    one.crash(Crash::new(77).tear_bytes());
    other.crash(Crash::new(77).tear_bytes());
    assert_eq!(one.read_file(PATH).unwrap(), other.read_file(PATH).unwrap());
    assert!(outcomes(&sim, Crash::new).len() > 100);
}

#[test]
fn fork_does_not_share_later_changes() {
    let (sim, file) = disk_with(&[1; 10_000]);
    write_all_at(&*file, &[2; 10], 0).unwrap();
    let fork = sim.fork();
    write_all_at(&*file, &[3; 10], 20).unwrap();
    write_all_at(&*open(&fork, PATH), &[4; 10], 40).unwrap();
    let (one, other) = (sim.read_file(PATH).unwrap(), fork.read_file(PATH).unwrap());
    assert_eq!((one[0], one[20], one[40]), (2, 3, 1));
    assert_eq!((other[0], other[20], other[40]), (2, 1, 4));
    fork.crash(Crash::new(0).keep(Keep::Nothing));
    assert_eq!(fork.read_file(PATH).unwrap(), [1; 10_000]);
    assert_eq!(sim.read_file(PATH).unwrap(), one);
}

#[test]
fn sync_applies_to_one_file() {
    let (sim, file) = disk_with(&[1]);
    sim.write_file("/other", &[1]).unwrap();
    let other = open(&sim, "/other");
    write_all_at(&*file, &[2], 0).unwrap();
    write_all_at(&*other, &[2], 0).unwrap();
    other.sync_data().unwrap();
    sim.crash(Crash::new(0).keep(Keep::Nothing));
    assert_eq!(sim.read_file(PATH).unwrap(), [1]);
    assert_eq!(sim.read_file("/other").unwrap(), [2]);
}

/// Compares any sequence of operations with a plain vector; synced data must survive crashes.
#[test]
fn simulated_file_agrees_with_a_plain_file() {
    for seed in 0..60 {
        let mut chance = chance::Chance::new(seed);
        let (sim, mut file) = disk_with(&[]);
        let (mut live, mut durable): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        for step in 0..80_u64 {
            let offset = chance.index(12_000);
            match chance.below(10) {
                0..=4 => {
                    let bytes = vec![chance.next().to_le_bytes()[0] | 1; chance.index(3000)];
                    write_all_at(&*file, &bytes, offset as u64).unwrap();
                    if !bytes.is_empty() {
                        live.resize(live.len().max(offset + bytes.len()), 0);
                        live[offset..offset + bytes.len()].copy_from_slice(&bytes);
                    }
                }
                5 => {
                    file.set_len(offset as u64).unwrap();
                    live.resize(offset, 0);
                }
                6 => {
                    file.allocate(offset as u64).unwrap();
                    live.resize(live.len().max(offset), 0);
                }
                7 => {
                    file.sync_data().unwrap();
                    durable.clone_from(&live);
                    let fork = sim.fork();
                    fork.crash(Crash::new(step).tear_bytes());
                    assert_eq!(fork.read_file(PATH).unwrap(), live);
                }
                8 => {
                    sim.crash(Crash::new(step).keep(Keep::Nothing));
                    file = open(&sim, PATH);
                    live.clone_from(&durable);
                }
                _ => {
                    sim.crash(Crash::new(step).keep(Keep::Everything));
                    file = open(&sim, PATH);
                    durable.clone_from(&live);
                }
            }
            assert_eq!(sim.read_file(PATH).unwrap(), live, "seed {seed}, step {step}");
            assert_eq!(sim.read_durable(PATH).unwrap(), durable, "seed {seed}, step {step}");
            assert_eq!(file.len().unwrap(), live.len() as u64);
        }
    }
}
