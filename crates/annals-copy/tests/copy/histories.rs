//! Histories to copy, and what has to be equal afterwards.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use annals::{
    ContentType, ExpectedRecord, ExpectedVersion, NewEvent, Options, Store, StreamMetadata,
    Timestamp, Uuid,
};
use annals_copy::{Directory, Error, Report, Settings, Step, copy};

/// Two directories that live as long as the test.
pub(crate) struct Places {
    dir: tempfile::TempDir,
}

impl Places {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn old(&self) -> PathBuf {
        self.dir.path().join("old")
    }

    pub(crate) fn new_place(&self) -> PathBuf {
        self.dir.path().join("new")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn copy(&self, settings: &Settings) -> Result<Report, Error> {
        self.copy_telling(settings, &mut |_| ControlFlow::Continue(()))
    }

    pub(crate) fn copy_telling(
        &self,
        settings: &Settings,
        tell: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> Result<Report, Error> {
        let mut source = Directory::source(self.old())?;
        let mut target = target(&self.new_place())?;
        let report = copy(&mut source, &mut target, settings, tell);
        annals_copy::Target::close(&mut target)?;
        report
    }
}

pub(crate) fn small() -> Options {
    Options::new().segment_size(Options::MIN_SEGMENT_SIZE)
}

pub(crate) fn target(path: &Path) -> Result<Directory, Error> {
    Directory::target_with(path, small())
}

/// A clock at which every change has the time of the one before: commits with earlier times can follow.
pub(crate) fn long_ago() -> Options {
    small().clock(|| Timestamp::from_micros(1_600_000_000_000_000))
}

/// A store whose commits have one to five events in one to three streams, at times that were long ago. Kinds of events,
/// tags and sizes vary.
pub(crate) fn fill(path: &Path, commits: std::ops::Range<u64>) {
    let store = small().open(path).unwrap();
    for number in commits {
        commit(&store, number);
    }
    store.close().unwrap();
}

pub(crate) fn commit(store: &Store, number: u64) {
    let mut transaction = store.transaction();
    for part in 0..=number % 3 {
        let stream = format!("category{}-{}", part, (number * 7 + part) % 11);
        let events = (0..=(number + part) % 2).map(|index| {
            let data = vec![b'x'; usize::try_from(number * 37 % 300).unwrap()];
            let mut event = NewEvent::new(format!("Type{}", number % 4), data);
            if number.is_multiple_of(2) {
                event =
                    event.content_type(ContentType::Json).metadata(format!("{{\"n\":{number}}}"));
            }
            if number.is_multiple_of(5) {
                let id = (u128::from(number) << 32) + (u128::from(part) << 8) + u128::from(index);
                event = event.id(Uuid::from_u128(id + (1 << 100)));
            }
            event
                .tags((0..number % 3).map(|tag| format!("tag:{tag}")))
                .schema_version(u16::try_from(number % 3).unwrap())
        });
        transaction = transaction.append(stream, ExpectedVersion::Any, events);
    }
    // A stream that comes twice in one commit, around another.
    if number.is_multiple_of(9) {
        for stream in ["twice-1", "twice-2", "twice-1"] {
            let event = NewEvent::new("Twice", "");
            transaction = transaction.append(stream, ExpectedVersion::Any, [event]);
        }
    }
    let time = Timestamp::from_micros(1_600_000_000_000_000 + number / 3 * 1_000_003);
    transaction.recorded_at(time).commit().unwrap();
}

/// Everything that reads show of a store, hidden events included, one line an event.
pub(crate) fn contents(path: &Path) -> Vec<String> {
    let store = Options::new().read_only(true).open(path).unwrap();
    let events = store.read_all().include_hidden().start().unwrap();
    let line = |event: annals::Event| {
        let tags: Vec<&str> = event.tags().collect();
        let (time, last) = (event.recorded_at().as_micros(), event.is_last_in_commit());
        format!(
            "{} {} {}@{} {} {:?} {} {} {tags:?} {time} {last} {:?} {:?}",
            event.position(),
            event.id(),
            event.stream(),
            event.version(),
            event.event_type(),
            event.content_type(),
            event.schema_version(),
            event.commit(),
            event.data(),
            event.metadata(),
        )
    };
    let mut lines: Vec<String> = events.map(|event| line(event.unwrap())).collect();
    for cursor in store.cursors().list().unwrap() {
        lines.push(format!("cursor {} {}", cursor.name, cursor.position));
    }
    for stream in store.streams().include_hidden() {
        lines.push(format!("{:?}", stream.unwrap()));
    }
    for record in store.records().list() {
        let record = record.unwrap();
        lines.push(format!("record {} {:?}", record.key, record.value));
    }
    lines
}

/// Gives a store checkpoints, records, and streams that hide events.
pub(crate) fn furnish(path: &Path) {
    let store = long_ago().open(path).unwrap();
    store.cursors().advance("mailer", 40).unwrap();
    store.cursors().reset("idle", 0).unwrap();
    store.truncate_before("category0-1", 2).unwrap();
    store.archive("category0-3").unwrap();
    let limits = StreamMetadata::new().max_count(1).max_age(std::time::Duration::from_secs(5));
    store.set_stream_metadata("category0-4", limits).unwrap();
    store.set_stream_metadata("twice-1", StreamMetadata::new().max_count(2)).unwrap();
    for key in ["a", "b", "c"] {
        store.records().put(key, format!("value of {key}"), ExpectedRecord::Any).unwrap();
    }
    store.close().unwrap();
}
