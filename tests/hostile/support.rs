//! Helpers of these tests: a store on a real disk, and checks of it.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use annals::{Error, ExpectedVersion, NewEvent, Options, Result, Store, snapshot::Snapshot};

pub(crate) use crate::shared::Place;
use crate::shared::small_segments;

/// Number of events in the store of [`Place::filled`]: several segments, all but the last sealed.
pub(crate) const EVENTS: u64 = 40;

impl Place {
    /// A place with a closed store that has every kind of file.
    pub(crate) fn filled() -> Self {
        count();
        let place = Self::new();
        let store = place.open().unwrap();
        for number in 1..=EVENTS {
            append(&store, number).unwrap();
        }
        // One in a file of its own, and one in a pack.
        store.snapshots().save(&Snapshot::new("stream-1", 1, "state".repeat(200))).unwrap();
        store.snapshots().save(&Snapshot::new("stream-2", 1, "state")).unwrap();
        store.close().unwrap();
        for path in ["LOCK", "STATUS", SEALED, INDEX, ACTIVE, SPARE] {
            assert!(place.at(path).exists(), "{path}");
        }
        assert!(place.checkpoint().exists() && place.snapshot().exists() && place.pack().exists());
        place
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// The newest checkpoint.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        files_in(&self.at("checkpoints")).pop().unwrap()
    }

    /// A snapshot in a file of its own.
    pub(crate) fn snapshot(&self) -> PathBuf {
        let mut entries = files_in(&self.at("snapshots")).into_iter();
        let fan_out = entries.find(|path| path.extension().is_none()).unwrap();
        files_in(&fan_out).pop().unwrap()
    }

    /// The pack of the other snapshot.
    pub(crate) fn pack(&self) -> PathBuf {
        self.at("snapshots/00000000000000000001.pack")
    }

    pub(crate) fn open(&self) -> Result<Store> {
        options().open(self.path())
    }

    pub(crate) fn read(&self) -> Result<Store> {
        options().read_only(true).open(self.path())
    }
}

thread_local! {
    static FILLED: Count = const { Count(Cell::new(0)) };
}

/// With `ANNALS_COUNT_STATES=1` each test prints the number of stores that it has changed.
struct Count(Cell<u64>);

impl Drop for Count {
    fn drop(&mut self) {
        if std::env::var_os("ANNALS_COUNT_STATES").is_some() {
            let test = std::thread::current();
            eprintln!("states {} {}", self.0.get(), test.name().unwrap_or("main"));
        }
    }
}

fn count() {
    FILLED.with(|count| count.0.set(count.0.get() + 1));
}

/// A sealed segment and its index.
pub(crate) const SEALED: &str = "log/00000000000000000001.seg";
pub(crate) const INDEX: &str = "index/00000000000000000001.idx";
/// The last segment with events, and the prepared one after it.
pub(crate) const ACTIVE: &str = "log/00000000000000000007.seg";
pub(crate) const SPARE: &str = "log/00000000000000000008.seg";

pub(crate) fn options() -> Options {
    // Without threads, background work has succeeded or failed when an append returns.
    small_segments().background(false)
}

pub(crate) fn append(store: &Store, number: u64) -> Result<u64> {
    let event = NewEvent::new("Happened", vec![u8::try_from(number % 251).unwrap(); 9_000]);
    let stream = format!("stream-{}", number % 3);
    Ok(store.append(stream, ExpectedVersion::Any, [event])?.last_position.get())
}

/// Reads every event, and asserts that it is the one that [`append`] wrote.
pub(crate) fn read_back(store: &Store) -> Result<u64> {
    let mut next = 0;
    for event in store.read_all() {
        let event = event?;
        next += 1;
        assert_eq!(event.position().get(), next);
        let byte = u8::try_from(next % 251).unwrap();
        assert!(event.data().len() == 9_000 && event.data().iter().all(|it| *it == byte));
    }
    Ok(next)
}

/// Asserts that the store opens for reading and writing, has every event, accepts more, and keeps
/// them.
pub(crate) fn goes_on(name: &str, place: &Place) {
    closes_and_goes_on(name, place).unwrap_or_else(|error| panic!("{name}: {error:?}"));
}

/// Like [`goes_on`], and returns what the close reported.
pub(crate) fn closes_and_goes_on(name: &str, place: &Place) -> annals::Result<()> {
    let reader = place.read().unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(read_back(&reader).unwrap(), EVENTS, "{name}");
    drop(reader);
    let store = place.open().unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(read_back(&store).unwrap(), EVENTS, "{name}");
    assert_eq!(append(&store, EVENTS + 1).unwrap(), EVENTS + 1, "{name}");
    let closed = store.close();
    let store = place.open().unwrap();
    assert_eq!(read_back(&store).unwrap(), EVENTS + 1, "{name}");
    closed
}

/// The entries of a directory, sorted.
pub(crate) fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Every file below a directory with its contents; for a link, the path that it leads to.
pub(crate) fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for path in files_in(directory) {
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            all.extend(contents(&path));
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            all.push((path, target.into_os_string().into_encoded_bytes()));
        } else if metadata.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            all.push((path, bytes));
        }
    }
    all
}

/// The path of an I/O error that the operating system or the engine returned.
pub(crate) fn refused_as_io<T: std::fmt::Debug>(name: &str, result: Result<T>) -> PathBuf {
    match result {
        Err(Error::Io { path, .. }) => path,
        other => panic!("{name}: {other:?}"),
    }
}

/// Runs a function that must not block, as the open of a pipe without a writer would.
pub(crate) fn without_waiting<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    // The thread has the name of the test, for its count.
    let test = std::thread::current().name().unwrap_or("main").to_owned();
    let spawned = std::thread::Builder::new().name(test).spawn(move || {
        let _ = sender.send(run());
    });
    match receiver.recv_timeout(Duration::from_secs(300)) {
        Ok(result) => {
            spawned.unwrap().join().unwrap();
            result
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name}: it waits for something"),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{name}: it panicked, see above"),
    }
}
