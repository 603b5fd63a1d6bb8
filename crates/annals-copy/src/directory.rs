//! A store in a directory, as a source and as a target.
//!
//! Owns the clock of a target: everything in it is recorded at the time of the last copied commit, also checkpoints,
//! because times in a store never decrease and the next commit may be older than now.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::{
    Durability, ExpectedRecord, ExpectedVersion, NewEvent, Opened, Options, Store, StreamMetadata,
    Timestamp, fence,
};
use annals_es::{ContentType, Position, RecordedEvent};

use crate::place::HiddenStream;
use crate::{Error, Events, Fence, Rest, Source, Target};

/// Bytes of records that are written in one commit.
const RECORDS: usize = 1 << 20;

/// A store in a directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    name: String,
    store: Store,
    /// The time of the last commit, in µs: what the clock of a target shows.
    time: Arc<AtomicU64>,
}

impl Directory {
    /// Opens a store to copy from it, also beside the program that writes it.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] if there is no store, or if it is damaged.
    pub fn source(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let name = name_of(path);
        let failed = |error| Error::failed(&name, error);
        let store = Options::new().read_only(true).open(path).map_err(failed)?;
        if let Opened::Damaged { file, offset, .. } = store.opened() {
            let what = format!("{} is damaged at offset {offset}; repair it first", file.display());
            return Err(Error::failed(&name, what));
        }
        Ok(Self { path: path.into(), name, store, time: Arc::default() })
    }

    /// Opens a store to copy to it, and creates it if it is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] if it cannot be opened for writing.
    pub fn target(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::target_with(path, Options::new())
    }

    /// Like [`Directory::target`], with settings such as the size of segments. Durability, the clock and the size of
    /// events are those of a copy.
    ///
    /// # Errors
    ///
    /// Those of [`Directory::target`].
    pub fn target_with(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path = path.as_ref();
        let time: Arc<AtomicU64> = Arc::default();
        let clock = Arc::clone(&time);
        // Whole batches are synced.
        let store = options
            .durability(Durability::BUFFERED)
            .max_event_size(Options::MAX_EVENT_SIZE)
            .clock(move || Timestamp::from_micros(clock.load(Ordering::Relaxed)))
            .open(path)
            .map_err(|error| Error::failed(&name_of(path), error))?;
        if let Some(last) = store.stats().last_recorded_at {
            time.store(last.as_micros(), Ordering::Relaxed);
        }
        // The path of a store that was just created can be resolved now.
        Ok(Self { path: path.into(), name: name_of(path), store, time })
    }

    fn failed(&self, error: annals::Error) -> Error {
        Error::failed(&self.name, error)
    }

    /// Submits a commit. Returns whether its time was raised, and the ticket.
    fn submit(&self, commit: &[RecordedEvent]) -> Result<(bool, annals::Ticket), Error> {
        let given = commit.first().map_or(0, |event| event.recorded_at().as_micros());
        let before = self.time.fetch_max(given, Ordering::Relaxed);
        let mut transaction = self.store.transaction();
        for run in commit.chunk_by(|one, next| one.stream() == next.stream()) {
            let Some(first) = run.first() else { continue };
            let expected = ExpectedVersion::Exact(first.version().get().saturating_sub(1));
            transaction = transaction.append(first.stream(), expected, run.iter().map(new_event));
        }
        let time = Timestamp::from_micros(before.max(given));
        let ticket = transaction.recorded_at(time).submit().map_err(|error| self.failed(error))?;
        Ok((given < before, ticket))
    }

    /// The streams that hide something.
    fn hidden(&self) -> annals::Result<Vec<HiddenStream>> {
        let mut found = Vec::new();
        for stream in self.store.streams().include_hidden() {
            let stream = stream?;
            // The first version that the count alone leaves visible.
            let by_count =
                stream.metadata.max_count.map_or(1, |most| stream.version.saturating_sub(most) + 1);
            let is_truncated = stream.first_version > by_count;
            if stream.archived || is_truncated || stream.metadata != StreamMetadata::new() {
                let truncated_before = if is_truncated { stream.first_version } else { 0 };
                let (name, archived, limits) = (stream.name, stream.archived, stream.metadata);
                found.push(HiddenStream { name, archived, truncated_before, limits });
            }
        }
        Ok(found)
    }

    fn keep_hidden(&self, wanted: &[HiddenStream]) -> annals::Result<()> {
        let present = self.hidden()?;
        for stream in &present {
            if !wanted.iter().any(|it| it.name == stream.name) {
                self.hide(stream, &shown(&stream.name))?;
            }
        }
        for stream in wanted {
            let found = present.iter().find(|it| it.name == stream.name);
            self.hide(found.unwrap_or(&shown(&stream.name)), stream)?;
        }
        Ok(())
    }

    fn hide(&self, from: &HiddenStream, to: &HiddenStream) -> annals::Result<()> {
        if from.truncated_before != to.truncated_before {
            self.store.truncate_before(&to.name, to.truncated_before)?;
        }
        if from.limits != to.limits {
            self.store.set_stream_metadata(&to.name, to.limits)?;
        }
        match (from.archived, to.archived) {
            (false, true) => self.store.archive(&to.name),
            (true, false) => self.store.unarchive(&to.name),
            _ => Ok(()),
        }
    }

    fn keep_records(&self, rest: &Rest) -> annals::Result<()> {
        let records = self.store.records();
        let mut wanted = rest.records.iter().peekable();
        let mut left = RECORDS;
        let mut transaction = self.store.transaction();
        let mut is_empty = true;
        // Both are sorted by key.
        for present in records.list() {
            let present = present?;
            while wanted.peek().is_some_and(|(key, _)| *key < present.key) {
                let Some((key, value)) = wanted.next() else { break };
                transaction = transaction.put(key, value.clone(), ExpectedRecord::Any);
                (left, is_empty) = (left.saturating_sub(key.len() + value.len()), false);
            }
            match wanted.next_if(|(key, _)| *key == present.key) {
                Some((_, value)) if *value == present.value => continue,
                Some((key, value)) => {
                    transaction = transaction.put(key, value.clone(), ExpectedRecord::Any);
                    left = left.saturating_sub(key.len() + value.len());
                }
                None => transaction = transaction.delete_record(&present.key, ExpectedRecord::Any),
            }
            is_empty = false;
            if left == 0 {
                transaction.commit()?;
                (transaction, left, is_empty) = (self.store.transaction(), RECORDS, true);
            }
        }
        for (key, value) in wanted {
            transaction = transaction.put(key, value.clone(), ExpectedRecord::Any);
            (left, is_empty) = (left.saturating_sub(key.len() + value.len()), false);
            if left == 0 {
                transaction.commit()?;
                (transaction, left, is_empty) = (self.store.transaction(), RECORDS, true);
            }
        }
        if is_empty { Ok(()) } else { transaction.commit().map(drop) }
    }
}

/// A stream that hides nothing.
fn shown(name: &str) -> HiddenStream {
    let (name, limits) = (name.to_owned(), StreamMetadata::new());
    HiddenStream { name, archived: false, truncated_before: 0, limits }
}

/// The absolute path, as far as it can be resolved.
fn name_of(path: &Path) -> String {
    let absolute = path.canonicalize().or_else(|_| std::path::absolute(path));
    absolute.unwrap_or_else(|_| path.into()).display().to_string()
}

fn new_event(event: &RecordedEvent) -> NewEvent {
    NewEvent::new(event.event_type(), event.data_bytes())
        .id(event.id())
        .content_type(match event.content_type() {
            ContentType::Json => annals::ContentType::Json,
            _ => annals::ContentType::Binary,
        })
        .metadata(event.metadata().to_vec())
        .tags(event.tags())
        .schema_version(event.schema_version())
}

impl Source for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn last(&mut self) -> Result<Option<RecordedEvent>, Error> {
        self.at_or_before(Position::MAX)
    }

    fn read(&mut self, after: Position, up_to: Position) -> Result<Events<'_>, Error> {
        let read = self.store.read_all().after(after.get()).up_to(up_to.get()).include_hidden();
        let events = read.start().map_err(|error| self.failed(error))?;
        let name = &self.name;
        Ok(Box::new(events.map(move |event| match event {
            Ok(event) => Ok(event.into()),
            Err(error) => Err(Error::failed(name, error)),
        })))
    }

    fn same(&mut self, other: &RecordedEvent) -> Result<Option<RecordedEvent>, Error> {
        Ok(self
            .store
            .event(other.id())
            .map_err(|error| self.failed(error))?
            .map(RecordedEvent::from))
    }

    fn at_or_before(&mut self, position: Position) -> Result<Option<RecordedEvent>, Error> {
        // A reader beside a writer looks for news with each read, and not when it is asked for its head.
        let read =
            self.store.read_all().up_to(position.get()).include_hidden().backwards().limit(1);
        let mut events = read.start().map_err(|error| self.failed(error))?;
        let last = events.next().transpose().map_err(|error| self.failed(error))?;
        Ok(last.map(RecordedEvent::from))
    }

    fn checkpoints(&mut self) -> Result<Vec<(String, Position)>, Error> {
        let cursors = self.store.cursors().list().map_err(|error| self.failed(error))?;
        let pair = |it: annals::CursorInfo| (it.name, Position::new(it.position.get()));
        Ok(cursors.into_iter().map(pair).collect())
    }

    fn rest(&mut self) -> Result<Rest, Error> {
        let streams = self.hidden().map_err(|error| self.failed(error))?;
        let pair = |record: annals::Record| (record.key, record.value);
        let records = self.store.records().list().map(|record| record.map(pair));
        let records = records.collect::<annals::Result<_>>().map_err(|error| self.failed(error))?;
        Ok(Rest { streams, records })
    }

    fn find_fence(&mut self) -> Result<Option<Fence>, Error> {
        let found = fence::find(&self.path).map_err(|error| self.failed(error))?;
        Ok(found.map(|fence| Fence::new(fence.to, fence.is_complete)))
    }

    fn raise_fence(&mut self, to: &str, wait: Duration) -> Result<(), Error> {
        fence::raise(&self.path, to, wait).map_err(|error| self.failed(error))
    }

    fn lift_fence(&mut self) -> Result<Option<String>, Error> {
        fence::lift(&self.path).map_err(|error| self.failed(error))
    }

    fn wait(&mut self, after: Position, at_most: Duration) -> Result<(), Error> {
        let next = annals::Position::new(after.get() + 1);
        self.store.wait_for(next, at_most).map(drop).map_err(|error| self.failed(error))
    }
}

impl Target for Directory {
    fn append(&mut self, commits: &[Vec<RecordedEvent>]) -> Result<u64, Error> {
        let mut raised = 0;
        let mut tickets = Vec::with_capacity(commits.len());
        let mut submitted = Ok(());
        for commit in commits {
            match self.submit(commit) {
                Ok((is_raised, ticket)) => {
                    raised += u64::from(is_raised);
                    tickets.push(ticket);
                }
                Err(error) => {
                    submitted = Err(error);
                    break;
                }
            }
        }
        for ticket in tickets {
            ticket.wait().map_err(|error| self.failed(error))?;
        }
        self.store.sync().map_err(|error| self.failed(error))?;
        submitted.map(|()| raised)
    }

    fn set_checkpoint(&mut self, name: &str, to: Position) -> Result<(), Error> {
        let cursors = self.store.cursors();
        let set = cursors.get(name).and_then(|found| {
            if found.is_some_and(|found| found.get() == to.get()) {
                return Ok(());
            }
            cursors.reset(name, to.get()).and_then(|()| self.store.sync())
        });
        set.map_err(|error| self.failed(error))
    }

    fn keeps_rest(&self) -> bool {
        true
    }

    fn keep(&mut self, rest: &Rest) -> Result<(), Error> {
        let kept = self.keep_hidden(&rest.streams).and_then(|()| self.keep_records(rest));
        kept.and_then(|()| self.store.sync()).map_err(|error| self.failed(error))
    }

    fn close(&mut self) -> Result<(), Error> {
        self.store.clone().close().map_err(|error| self.failed(error))
    }
}
