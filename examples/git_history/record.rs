//! From git into the store.
//!
//! Owns how the store is opened, the versions that commits expect, the window of commits on their
//! way to disk, and the rule by which a store that holds the beginning of a history is continued.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use annals::{Error, ExpectedVersion, Options, Store, Ticket};

use crate::Result;
use crate::change::Metadata;
use crate::git::{Commit, Repository};

/// A commit takes at most a quarter of a segment, and a git commit is one commit: this leaves room
/// for some 300,000 changes at once. A larger one is refused with a message.
const SEGMENT_SIZE: u64 = 512 << 20;

/// The maximum number of commits in flight. They share syncs; a failure is noticed at most this
/// number of commits late.
const WINDOW_COMMITS: usize = 1_024;

/// The recorded part, and the time it took.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) events: u64,
    /// Commits with changes; others have no events.
    pub(crate) commits: usize,
    pub(crate) empty_commits: usize,
    /// The part of the history that an earlier run recorded.
    pub(crate) commits_before: usize,
    pub(crate) reading: Duration,
    pub(crate) recording: Duration,
}

/// Creates the store, or opens it to be continued.
pub(crate) fn open(directory: &Path) -> Result<Store> {
    let options = Options::new().segment_size(SEGMENT_SIZE).max_pending_bytes(SEGMENT_SIZE / 4);
    Ok(options.open(directory)?)
}

/// Records the part of `history` that the store does not have yet; `progress` gets the number of
/// finished commits.
pub(crate) fn record(
    repository: &Repository,
    history: &[String],
    store: &Store,
    mut progress: impl FnMut(usize),
) -> Result<Recorded> {
    let start = already_recorded(history, store)?;
    let mut recorded = Recorded { commits_before: start, ..Recorded::default() };
    let mut writer = Writer::new(store)?;

    let begin = Instant::now();
    let mut commits = repository.changes(history, start)?;
    recorded.reading += begin.elapsed();
    for done in start.. {
        progress(done);
        let begin = Instant::now();
        let commit = commits.next().transpose()?;
        recorded.reading += begin.elapsed();
        let Some(commit) = commit else { break };

        if commit.changes.is_empty() {
            recorded.empty_commits += 1;
            continue;
        }
        recorded.commits += 1;
        let begin = Instant::now();
        recorded.events += writer.append(commit)?;
        recorded.recording += begin.elapsed();
    }
    let begin = Instant::now();
    writer.finish()?;
    recorded.recording += begin.elapsed();
    Ok(recorded)
}

/// How much of `history` the store holds: everything up to the commit of its last event.
fn already_recorded(history: &[String], store: &Store) -> Result<usize> {
    let Some(last) = store.read_all().backwards().limit(1).into_iter().next().transpose()? else {
        return Ok(0);
    };
    let directory = store.path().display();
    let metadata = Metadata::from_json(last.metadata()).map_err(|error| {
        format!("the store {directory} holds other events than a git history's: {error}")
    })?;
    let index = history.iter().rposition(|commit| *commit == metadata.commit).ok_or_else(|| {
        format!(
            "the store {directory} ends at commit {}, which is not in the first-parent history \
             of HEAD: it holds another history, or this one was rewritten",
            metadata.commit
        )
    })?;
    Ok(index + 1)
}

struct Writer<'a> {
    store: &'a Store,
    versions: HashMap<String, u64>,
    on_their_way: VecDeque<Ticket>,
}

impl<'a> Writer<'a> {
    fn new(store: &'a Store) -> Result<Self> {
        let mut versions = HashMap::new();
        for stream in store.streams() {
            let stream = stream?;
            versions.insert(stream.name, stream.version);
        }
        Ok(Self { store, versions, on_their_way: VecDeque::with_capacity(WINDOW_COMMITS) })
    }

    /// One commit of git's is one of the store's. Returns the number of events.
    fn append(&mut self, commit: Commit) -> Result<u64> {
        let Commit { metadata: about, changes } = commit;
        let metadata = about.to_json()?;
        let mut events = 0;
        let mut transaction = self.store.transaction();
        for change in changes {
            let (stream, event) = change.into_event(metadata.clone())?;
            // A path that reappears continues its old stream: `Exact(0)` is for a new one.
            let version = self.versions.entry(stream.clone()).or_default();
            let expected = ExpectedVersion::Exact(*version);
            *version += 1;
            events += 1;
            transaction = transaction.append(stream, expected, [event]);
        }
        if self.on_their_way.len() == WINDOW_COMMITS
            && let Some(oldest) = self.on_their_way.pop_front()
        {
            oldest.wait()?;
        }
        let ticket = transaction.submit().map_err(|error| {
            let advice = match error {
                Error::LimitExceeded { .. } => "; try it with a larger SEGMENT_SIZE",
                _ => "",
            };
            format!("git commit {} with its {events} changes: {error}{advice}", about.commit)
        })?;
        self.on_their_way.push_back(ticket);
        Ok(events)
    }

    fn finish(self) -> Result<()> {
        for ticket in self.on_their_way {
            ticket.wait()?;
        }
        Ok(())
    }
}
