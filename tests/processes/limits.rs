//! Limits of the system for a process: the size of a file, the number of open files.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use annals::testing::random::Random;
use annals::{Durability, Error, ExpectedVersion, NewEvent, Options, Result, Store};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::life::child::{Running, arrange, command};
use super::life::commits::{Commit, Key, Planned};
use super::life::ledger::Ledger;
use super::life::writer::{Life, say};

const SEGMENT: u64 = 128 << 10;

fn options() -> Options {
    Options::new().segment_size(SEGMENT)
}

/// Lowers a limit, or resets it to the maximum with `None`.
fn limit(what: Resource, to: Option<u64>) {
    let maximum = getrlimit(what).maximum;
    setrlimit(what, Rlimit { current: to.or(maximum), maximum }).unwrap();
}

/// Appends one commit, mostly without a sync, and prints its outcome.
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

/// The child appends until a file may not grow. If the active segment is longer than the limit, a
/// write fails and its outcome is unknown; if the next segment cannot be created, nothing is
/// written, and the store goes on when that is permitted again.
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

/// The number of open files of this process.
fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1
}

/// Four of these fill the smallest segment.
const LARGE: usize = 15_000;
const MAPPINGS: usize = 48;

fn small_segments() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE).max_mappings(MAPPINGS)
}

/// Number of files of a store that this process has mapped.
fn mapped_files(path: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(path.to_str().unwrap())).count()
}

/// The bounds of open files and mappings, which do not depend on the number of segments.
struct Bounds<'a> {
    path: &'a Path,
    before: u64,
    limit: u64,
}

impl Bounds<'_> {
    fn check(&self, when: &str) {
        // Besides the files of segments and indexes: the root and its parts, LOCK, STATUS, the
        // checkpoint, the active segment and the next one, and temporarily the file that is read.
        let most = (self.limit / 4).max(Options::MIN_OPEN_FILES as u64) + 16;
        let open = open_files() - self.before;
        assert!(open <= most, "{when}: {open} files are open, the limit is {}", self.limit);
        // Unsealed segments and those that a thread is reading are mapped as well.
        let mapped = mapped_files(self.path);
        assert!(mapped <= MAPPINGS + MAPPINGS / 2, "{when}: {mapped} files are mapped");
    }
}

fn large(number: u64) -> NewEvent {
    let event = NewEvent::new("Large", vec![(number % 251) as u8; LARGE]);
    event.id(uuid::Uuid::from_u128(u128::from(number) + 1)).tag(format!("of-{}", number % 10))
}

/// The child fills a store of many segments with few descriptors, and ends without a close.
pub(crate) fn write_with_few_descriptors(path: &Path, life: Life) {
    let bounds = Bounds { path, before: open_files(), limit: 64 + 32 * life.seed };
    limit(Resource::Nofile, Some(bounds.limit));
    let store = small_segments().durability(Durability::BUFFERED).open(path).unwrap();
    for number in 0..life.number {
        store.append(format!("s-{}", number % 7), ExpectedVersion::Any, [large(number)]).unwrap();
        if number % 100 == 99 {
            // Gives segments time to be sealed.
            store.sync().unwrap();
            let open = open_files() - bounds.before;
            assert!(open < bounds.limit, "{open} files are open");
        }
    }
    store.sync().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while store.stats().sealed_segments + 1 < store.stats().segments {
        assert!(std::time::Instant::now() < until, "{:?}", store.stats());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    bounds.check("filled");
    say("end");
    std::process::exit(0);
}

/// The child opens that store, reads it in every way, verifies it and merges its indexes.
pub(crate) fn read_with_few_descriptors(path: &Path, life: Life) {
    let bounds = Bounds { path, before: open_files(), limit: 64 + 32 * life.seed };
    limit(Resource::Nofile, Some(bounds.limit));
    for read_only in [true, false, false] {
        let store = small_segments().read_only(read_only).open(path).unwrap();
        bounds.check("opened");
        let events = store.read_all().start().unwrap().map(Result::unwrap);
        let (mut seen, mut kept) = (0, Vec::new());
        for event in events {
            assert!(event.data().iter().all(|&byte| byte == (seen % 251) as u8));
            seen += 1;
            if seen % 100 == 0 {
                bounds.check("reading");
            }
            if seen % 200 == 0 {
                kept.push((seen - 1, event));
            }
        }
        assert_eq!(seen, life.number);
        for number in (0..life.number).step_by(37) {
            let event = store.event(uuid::Uuid::from_u128(u128::from(number) + 1)).unwrap();
            assert_eq!(event.unwrap().position().get(), number + 1);
            bounds.check("looking up ids");
        }
        let tagged = store.read_all().matching(annals::Query::tagged(["of-3"])).backwards();
        assert_eq!(tagged.start().unwrap().map(Result::unwrap).count() as u64, life.number / 10);
        let stream = store.read_stream("s-3").start().unwrap().map(Result::unwrap).count() as u64;
        assert_eq!(stream, life.number / 7);
        bounds.check("read");
        // Events stay valid when their files are closed.
        for (number, event) in kept {
            assert_eq!(event.data()[0], (number % 251) as u8);
        }
        assert_eq!(annals::verify(path, |_| {}).unwrap().faults, []);
        bounds.check("verified");
        if !read_only {
            store.compact().unwrap();
            bounds.check("compacted");
        }
        store.close().unwrap();
    }
    say("end");
}

fn check(path: &Path, ledger: &mut Ledger, seed: u64) {
    let store = options().open(path).unwrap();
    ledger.check(&store, seed);
    drop(store);
    assert_eq!(annals::verify(path, |_| {}).unwrap().faults, [], "seed {seed}");
}

/// A shell that ignores `SIGXFSZ` before it executes the child, so that a write fails instead.
fn ignoring_the_signal(role: &str, store: &Path, life: Life) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    command.arg(std::env::current_exe().unwrap());
    arrange(&mut command, role, store, life);
    command
}

/// At the limit, the error is typed or the outcome unknown, nothing acknowledged is lost, and if
/// nothing was written, the store goes on when the limit is raised.
#[test]
fn write_over_the_file_size_limit_is_a_typed_error_and_loses_nothing() {
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

/// A process that does not ignore the signal is killed by it, and loses nothing acknowledged.
#[test]
fn writer_killed_by_the_file_size_limit_loses_nothing_acknowledged() {
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

/// A few descriptors and mappings suffice to fill a store of many segments, to open it after a
/// kill, to read, verify and compact it.
#[test]
fn open_files_and_mappings_of_many_segments_stay_within_their_limits() {
    for (seed, events) in [(0, 1_400), (2, 700)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let life = Life { seed, number: events, synced: true };
        for role in ["open-files", "open-files-again"] {
            let child = Running::start(command(role, &path, life));
            let mut ended = false;
            let status = child.wait(|line| ended |= line == "end");
            assert!(status.success() && ended, "{role}, seed {seed}: {status}");
        }
        let segments = std::fs::read_dir(path.join("log")).unwrap().count() as u64;
        assert!(segments > events / 5, "{segments} segments");
    }
}
