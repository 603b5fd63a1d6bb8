//! Limits that the system sets a process: the size of a file, the number of open files.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use annals::testing::random::Random;
use annals::{Durability, Error, ExpectedVersion, Maintenance, Options, Result, Store};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::life::child::{Running, arrange, command};
use super::life::commits::{Commit, Key, Planned};
use super::life::ledger::Ledger;
use super::life::writer::{Life, say};

const SEGMENT: u64 = 128 << 10;

fn options() -> Options {
    Options::new().segment_size(SEGMENT)
}

/// Lowers a limit, or with `None` puts it back to the most that is allowed.
fn limit(what: Resource, to: Option<u64>) {
    let maximum = getrlimit(what).maximum;
    setrlimit(what, Rlimit { current: to.or(maximum), maximum }).unwrap();
}

/// Appends one commit, mostly without a sync, and says what became of it.
fn append(store: &Store, key: Key) -> Result<()> {
    let mut transaction = store.transaction();
    for (stream, events) in Commit::of(key).operations {
        let events: Vec<_> = events.iter().map(Planned::event).collect();
        transaction = transaction.append(stream, ExpectedVersion::Any, events);
    }
    if !key.count().is_multiple_of(4) {
        transaction = transaction.durability(Durability::BUFFERED);
    }
    match transaction.commit() {
        Ok(done) => {
            say(&format!("ack {} {} {}", key.0, done.first_position, done.last_position));
            Ok(())
        }
        Err(error) => {
            if !matches!(error, Error::OutcomeUnknown { .. }) {
                say(&format!("no {}", key.0));
            }
            Err(error)
        }
    }
}

fn is_io(error: &Error, kind: ErrorKind) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == kind)
}

/// What a child does: appends until a file may grow no further. The segment in use may be longer
/// than what is allowed (then a write fails, and its outcome is unknown), or the next one may not
/// be created (then nothing is written, and it goes on as soon as that is allowed).
pub(crate) fn write_up_to_a_file_size(path: &Path, life: Life) {
    let mut random = Random::new(life.seed);
    let store = options().open(path).unwrap();
    let mut keys = (1..).map(|count| Key::new(life.number, 0, count));
    for key in keys.by_ref().take(5) {
        append(&store, key).unwrap();
    }
    let allowed = if life.seed.is_multiple_of(2) {
        SEGMENT - 1 - random.below(40)
    } else {
        20_000 + random.below(SEGMENT - 30_000)
    };
    limit(Resource::Fsize, Some(allowed));
    let error = loop {
        if let Err(error) = append(&store, keys.next().unwrap()) {
            break error;
        }
    };
    match error {
        Error::OutcomeUnknown { .. } => {
            let next = append(&store, keys.next().unwrap());
            assert!(matches!(next, Err(Error::WriterPoisoned { .. })), "{next:?}");
            say("end unknown");
        }
        error if is_io(&error, ErrorKind::FileTooLarge) => {
            let again = append(&store, keys.next().unwrap());
            assert!(again.is_err_and(|error| is_io(&error, ErrorKind::FileTooLarge)));
            limit(Resource::Fsize, None);
            for key in keys.take(100) {
                append(&store, key).unwrap();
            }
            say("end refused");
        }
        error => panic!("{allowed} bytes allowed: {error:?}"),
    }
    if let Err(error) = store.close() {
        assert!(matches!(error, Error::WriterPoisoned { .. }), "{error:?}");
    }
}

/// The lowest number that a new file would get: this many are open.
fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1
}

/// What a child does: appends until the next segment cannot be opened; then opens the store anew
/// with any too small number of descriptors.
pub(crate) fn write_with_few_descriptors(path: &Path, life: Life) {
    let mut keys = (1..).map(|count| Key::new(life.number, 0, count));
    let before = open_files();
    let store = options().open(path).unwrap();
    append(&store, keys.next().unwrap()).unwrap();
    limit(Resource::Nofile, Some(open_files() + life.seed));
    let mut refused = 0;
    // With some to spare, rollovers work until those are used.
    for key in keys.by_ref().take(3_000) {
        match append(&store, key) {
            // Also in between: a smaller one that fits, or a descriptor that came free.
            Ok(()) => {}
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(24) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
        if refused == 3 {
            break;
        }
    }
    limit(Resource::Nofile, None);
    assert_eq!(refused, 3);
    for key in keys.take(400) {
        append(&store, key).unwrap();
    }
    // Compaction that was refused and has not been tried since is left to the next opening.
    let refused_alone = |error: &Error| {
        let Error::MaintenanceFailed { failed } = error else { return false };
        failed.iter().all(|it| {
            it.task == Maintenance::Compaction && matches!(&it.error, Error::Io { source, .. } if source.raw_os_error() == Some(24))
        })
    };
    let closed = store.close();
    assert!(closed.as_ref().err().is_none_or(refused_alone), "{closed:?}");
    for read_only in [false, true] {
        let (mut failed, mut opened) = (0, 0);
        for few in 0.. {
            limit(Resource::Nofile, Some(before + few));
            let store = options().read_only(read_only).open(path);
            limit(Resource::Nofile, None);
            match store {
                Ok(store) => {
                    opened += 1;
                    assert!(store.head().get() > 400);
                    if opened == 3 {
                        break;
                    }
                }
                Err(Error::Io { source, .. }) if source.raw_os_error() == Some(24) => failed += 1,
                Err(error) => panic!("{few} descriptors: {error:?}"),
            }
        }
        // After a close it needs but a few: sealed segments are opened when they are read.
        assert!(failed > 0);
        say(&format!("end {failed}"));
    }
}

fn check(path: &Path, ledger: &mut Ledger, seed: u64) {
    let store = options().open(path).unwrap();
    ledger.check(&store, seed);
    drop(store);
    assert_eq!(annals::verify(path, |_| {}).unwrap().faults, [], "seed {seed}");
}

/// A shell that leaves `SIGXFSZ` ignored for what it becomes, so that a write fails instead.
fn ignoring_the_signal(role: &str, store: &Path, life: Life) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().unwrap());
    arrange(&mut command, role, store, life);
    command
}

/// A file that may not grow: the error says so, or that the outcome is unknown; nothing
/// acknowledged is lost; and where nothing was written, the store goes on once it may.
#[test]
fn under_a_limit_on_the_size_of_files() {
    let (mut unknown, mut refused) = (0, 0);
    for seed in 0..16 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let life = Life { seed, number: 1, synced: true };
        let child = Running::start(ignoring_the_signal("file-size", &path, life));
        let mut ledger = Ledger::default();
        ledger.disk_fills_up = true;
        let status = child.wait(|line| {
            ledger.hear(line);
            unknown += u64::from(line == "end unknown");
            refused += u64::from(line == "end refused");
        });
        assert!(status.success(), "seed {seed}: {status}");
        assert!(ledger.acknowledged() > 5, "seed {seed}");
        check(&path, &mut ledger, seed);
    }
    println!("{unknown} ended with an unknown outcome, {refused} were refused and went on");
    assert!(unknown > 4 && refused > 4, "{unknown}, {refused}");
}

/// Whoever does not ignore the signal is killed by it, and loses nothing acknowledged either.
#[test]
fn killed_by_a_limit_on_the_size_of_files() {
    use std::os::unix::process::ExitStatusExt as _;
    for seed in [1, 3, 5, 7] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let life = Life { seed, number: 1, synced: true };
        let child = Running::start(command("file-size", &path, life));
        let mut ledger = Ledger::default();
        let status = child.wait(|line| ledger.hear(line));
        assert!(status.signal().is_some(), "seed {seed}: {status}");
        check(&path, &mut ledger, seed);
    }
}

/// No descriptor for the next segment: the append is refused with the system's error, and the
/// store goes on when there are some. Opened with too few, a store says so, and keeps no lock.
#[test]
fn under_a_limit_on_open_files() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let life = Life { seed, number: 1, synced: true };
        let child = Running::start(command("open-files", &path, life));
        let mut ledger = Ledger::default();
        ledger.disk_fills_up = true;
        let mut ends = Vec::new();
        let status = child.wait(|line| {
            ledger.hear(line);
            ends.extend(line.strip_prefix("end ").map(str::to_owned));
        });
        assert!(status.success(), "seed {seed}: {status}");
        println!("seed {seed}: refused to open {ends:?} times");
        check(&path, &mut ledger, seed);
    }
}
