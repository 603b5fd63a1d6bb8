//! A full file system: a small tmpfs, and an ext2, which does not reserve space.

use std::path::Path;
use std::thread;
use std::time::Duration;

use annals::testing::random::Random;
use annals::{Durability, Error, ExpectedVersion, Options, Result, Store, snapshot::Snapshot};

use super::life::commits::{Commit, Key, Planned, state_of};
use super::life::ledger::Ledger;
use super::life::rounds::{Lives, Tally};
use super::life::writer::only_work_beside_was_refused;
use super::namespace::{Ballast, inside, skipped, tmpfs, try_mount};

fn options() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
}

/// The outcomes of a full file system, over all states.
#[derive(Debug, Default)]
struct Seen {
    states: u64,
    refused: u64,
    unknown: u64,
    snapshots_refused: u64,
    maintenance_failed: u64,
    closed_full: u64,
    opened_full: u64,
    refused_to_open_full: u64,
}

struct Filler {
    ledger: Ledger,
    count: u64,
    life: u64,
}

impl Filler {
    fn append(&mut self, store: &Store) -> Result<()> {
        self.count += 1;
        let commit = Commit::of(Key::new(self.life, 0, self.count));
        let mut transaction = store.transaction();
        for (stream, events) in &commit.operations {
            let events = events.iter().map(Planned::event);
            transaction = transaction.append(stream, ExpectedVersion::Any, events);
        }
        // Most commits are not synced, to keep the test short.
        if !self.count.is_multiple_of(4) {
            transaction = transaction.durability(Durability::BUFFERED);
        }
        match transaction.commit() {
            Ok(done) => {
                let (first, last) = (done.first_position.get(), done.last_position.get());
                self.ledger.note(commit.key, first, last);
                Ok(())
            }
            Err(error) => {
                if !matches!(error, Error::OutcomeUnknown { .. }) {
                    self.ledger.refuse(commit.key);
                }
                Err(error)
            }
        }
    }
}

/// Fills the file system at `on` except for `left` bytes under an open store, appends until a few
/// appends are refused, and checks the store: open, reopened while it is full, and when there is
/// room again.
fn fill(on: &Path, left: u64, life: u64, seen: &mut Seen) {
    let path = on.join(format!("store-{life}"));
    let mut random = Random::new(life);
    let mut filler = Filler { ledger: Ledger::default(), count: 0, life };
    filler.ledger.disk_fills_up = true;
    // Commits of a buffered store are copied into a mapping.
    let buffered = life.is_multiple_of(2);
    let durability = if buffered { Durability::BUFFERED } else { Durability::Sync };
    let options = || options().durability(durability);
    let store = options().open(&path).unwrap();
    for _ in 0..=random.below(60) {
        filler.append(&store).unwrap();
    }
    let ballast = Ballast::leaving(left, on);
    let (mut refusals, mut unknown) = (0, false);
    for _ in 0..2_000 {
        match filler.append(&store) {
            Ok(()) => {}
            Err(Error::DiskFull { .. }) => refusals += 1,
            Err(Error::OutcomeUnknown { .. }) => unknown = true,
            Err(Error::WriterPoisoned { .. }) if unknown => break,
            Err(error) => panic!("{left} bytes left: {error:?}"),
        }
        if random.percent(5)
            && !unknown
            && let Some(head) = store.stream_head("own-0").unwrap()
        {
            let state = state_of("own-0", head.version);
            match store.snapshots().save(&Snapshot::new("own-0", head.version, state)) {
                Ok(()) => filler.ledger.hear(&format!("snap own-0 {}", head.version)),
                Err(Error::DiskFull { .. }) => seen.snapshots_refused += 1,
                Err(error) => panic!("{left} bytes left: {error:?}"),
            }
        }
        if refusals == 3 {
            break;
        }
    }
    assert!(refusals == 3 || unknown, "{left} bytes left: not full");
    seen.states += 1;
    seen.refused += refusals;
    seen.unknown += u64::from(unknown);
    if !unknown {
        store.sync().unwrap();
    }
    filler.ledger.check(&store, left);
    seen.maintenance_failed += store.stats().maintenance_failures;
    assert_eq!(annals::verify(&path, |_| {}).unwrap().faults, [], "{left} bytes left");
    let mut store = Some(store);
    if unknown || random.percent(50) {
        // Maintenance that failed is no failure here: everything acknowledged is durable.
        let closed = store.take().unwrap().close();
        match closed {
            Ok(()) => {}
            Err(Error::DiskFull { .. }) => seen.closed_full += 1,
            Err(error) if only_work_beside_was_refused(&error) => seen.closed_full += 1,
            Err(Error::WriterPoisoned { .. }) if unknown => {}
            Err(error) => panic!("{left} bytes left: {error:?}"),
        }
        let reader = options().read_only(true).open(&path).unwrap();
        filler.ledger.check(&reader, left);
        match options().open(&path) {
            Ok(store) => {
                seen.opened_full += 1;
                filler.ledger.check(&store, left);
            }
            Err(Error::DiskFull { .. }) => seen.refused_to_open_full += 1,
            Err(error) => panic!("{left} bytes left: {error:?}"),
        }
    }
    drop(ballast);
    let store = store.unwrap_or_else(|| options().open(&path).unwrap());
    for _ in 0..40 {
        filler.append(&store).unwrap();
    }
    store.sync().unwrap();
    filler.ledger.check(&store, left);
    store.close().unwrap();
    let store = options().open(&path).unwrap();
    filler.ledger.check(&store, left);
    drop(store);
    assert_eq!(annals::verify(&path, |_| {}).unwrap().faults, [], "{left} bytes left");
    std::fs::remove_dir_all(&path).unwrap();
}

/// Every append is refused as `DiskFull`: space is reserved a segment ahead, so the rollover finds
/// none. Nothing acknowledged is lost, seals, indexes, checkpoints and snapshots without room have
/// no effect, and the open store goes on when there is room again.
#[test]
fn full_tmpfs_refuses_appends_and_loses_nothing_acknowledged() {
    inside("full_file_system::full_tmpfs_refuses_appends_and_loses_nothing_acknowledged", || {
        let dir = tempfile::tempdir().unwrap();
        tmpfs(dir.path(), 2_048);
        let mut seen = Seen::default();
        for (life, left) in (0..400 << 10).step_by(10 << 10).enumerate() {
            fill(dir.path(), left, life as u64 + 1, &mut seen);
        }
        println!("{seen:?}");
        assert_eq!(seen.states, 40);
        assert_eq!(seen.unknown, 0, "{seen:?}");
        assert!(seen.maintenance_failed > 10 && seen.opened_full > 5, "{seen:?}");
    });
}

/// Without reservation, the write itself finds no space. It is taken back, and the store goes on;
/// no outcome is unknown.
#[test]
fn full_disk_without_reservation_takes_writes_back_and_loses_nothing() {
    let test =
        "full_file_system::full_disk_without_reservation_takes_writes_back_and_loses_nothing";
    inside(test, || {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("ext2"));
        std::fs::create_dir(&at).unwrap();
        std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
        let mut made = std::process::Command::new("mkfs.ext2");
        made.args(["-q", "-m", "0"]).arg(&image);
        let made = made.output().is_ok_and(|output| output.status.success());
        let source = image.to_str().unwrap();
        if !made || !try_mount(&["-t", "ext2", "-o", "loop", source], &at) {
            return skipped(test, "an ext2 in a file can be made and mounted by root alone");
        }
        let mut seen = Seen::default();
        for (life, left) in (0..240 << 10).step_by(24 << 10).enumerate() {
            fill(&at, left, life as u64 + 1_000, &mut seen);
        }
        println!("{seen:?}");
        assert_eq!(seen.states, 10);
        assert_eq!(seen.unknown, 0, "{seen:?}");
    });
}

/// A store cannot be created on a full file system; what the attempt leaves does not prevent a
/// later one.
#[test]
fn store_creation_on_a_full_file_system_can_be_repeated() {
    inside("full_file_system::store_creation_on_a_full_file_system_can_be_repeated", || {
        let dir = tempfile::tempdir().unwrap();
        tmpfs(dir.path(), 256);
        let path = dir.path().join("store");
        for left in (0..64 << 10).step_by(8 << 10) {
            let ballast = Ballast::leaving(left, dir.path());
            let opened = options().open(&path);
            assert!(matches!(opened, Err(Error::DiskFull { .. })), "{left} bytes left: {opened:?}");
            drop(ballast);
        }
        let store = options().open(&path).unwrap();
        let event = annals::NewEvent::new("T", "");
        store.append("s", ExpectedVersion::NoStream, [event]).unwrap();
    });
}

/// Writers are killed while the file system fills up and is emptied.
#[test]
fn killed_writers_on_a_full_disk_lose_nothing_acknowledged() {
    inside("full_file_system::killed_writers_on_a_full_disk_lose_nothing_acknowledged", || {
        println!("seed 5");
        let dir = tempfile::tempdir().unwrap();
        tmpfs(dir.path(), 24 << 10);
        let mut lives = Lives::new(dir.path().join("store"), 5);
        lives.ledger.disk_fills_up = true;
        let mut tally = Tally::default();
        lives.round(&mut tally);
        for round in 0..10 {
            let left = lives.random.below(500 << 10);
            let ballast = Ballast::leaving(left, dir.path());
            let running = lives.start(false);
            let until = lives.ledger.disk_was_full + 1 + lives.random.below(10);
            let patience = std::time::Instant::now() + Duration::from_secs(20);
            // An opening without room fails; then there is no line to wait for.
            while lives.ledger.disk_was_full < until && std::time::Instant::now() < patience {
                match running.hear(Duration::from_secs(5)) {
                    Some(line) if line == "full" => break,
                    Some(line) => lives.ledger.hear(&line),
                    None => panic!("round {round}: silence"),
                }
            }
            if round % 2 == 0 {
                drop(ballast);
                thread::sleep(Duration::from_millis(lives.random.below(15)));
                running.kill(|line| lives.ledger.hear(line));
            } else {
                running.kill(|line| lives.ledger.hear(line));
                let reader = options().read_only(true).open(&lives.path).unwrap();
                lives.ledger.check(&reader, left);
                match options().open(&lives.path) {
                    Ok(store) => lives.ledger.check(&store, left),
                    Err(error) => assert!(matches!(error, Error::DiskFull { .. }), "{error:?}"),
                }
                drop(ballast);
            }
            tally.kills += 1;
            lives.look(&mut tally);
        }
        println!("{} refusals, {:?}", lives.ledger.disk_was_full, lives.ledger.opened);
        assert!(lives.ledger.disk_was_full > 10);
        lives.end(&mut tally);
        println!("{tally}");
    });
}
