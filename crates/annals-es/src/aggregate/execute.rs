//! The execution of commands: load, decide, append, and again if another commit came first.
//!
//! Owns the idempotency of commands. A state is in its slot only while it agrees with what the store has recorded:
//! it is taken out before anything that may fail or be cancelled half way.

use std::fmt;

use uuid::Uuid;

use super::error::{ExecuteError, LoadError};
use super::load::Hot;
use super::repository::Repository;
use super::{Aggregate, Context, Executed};
use crate::event::{CodecError, Events, encode};
use crate::metadata::derived_id;
use crate::store::{
    AppendError, Commit, Committed, EventStore, Expected, NewEvent, ReadStream, StreamName,
    Version, next,
};

type Outcome<A> = Result<Executed<<A as Aggregate>::Event>, ExecuteError<<A as Aggregate>::Error>>;

/// The result of one attempt that did not end the command.
enum Lost {
    /// Another commit came first.
    Conflict(crate::store::Conflict),
    /// The ids of the command's events are recorded, with other contents.
    Repeated,
}

impl<A: Aggregate, S: EventStore> Repository<A, S> {
    /// Executes a command on an aggregate: decides on its present state, and records the events at the version that
    /// was decided on.
    ///
    /// If another commit comes first, the command is decided again on the state after it, a bounded number of
    /// times. Tasks that use one aggregate of one repository wait for each other. A command that decides nothing
    /// succeeds, and records nothing.
    ///
    /// # Errors
    ///
    /// [`ExecuteError::Refused`] with the aggregate's own error, and the other variants of [`ExecuteError`].
    pub async fn execute(&self, id: impl fmt::Display, command: &A::Command) -> Outcome<A> {
        self.execute_with(id, command, &Context::new()).await
    }

    /// Executes a command with an id, for a version that its sender saw, or with metadata: see [`Context`].
    ///
    /// A command with an id is executed once. Repeated, also after an error of unknown outcome, it returns the
    /// events of the first execution. A command that was refused or decided nothing has recorded nothing, and is
    /// decided again.
    ///
    /// # Errors
    ///
    /// Those of [`Repository::execute`], and [`ExecuteError::VersionMismatch`].
    pub async fn execute_with(
        &self,
        id: impl fmt::Display,
        command: &A::Command,
        context: &Context,
    ) -> Outcome<A> {
        let stream = self.stream(id);
        let slot = self.slot(&stream);
        let mut slot = slot.lock().await;
        let mut state = self.first_state(&stream, slot.take(), context).await?;
        let mut attempts = 0;
        loop {
            // Looked up after the state was read: a first execution that the state does not contain makes the
            // append fail.
            if let Some(id) = context.command_id
                && let Some(first) = self.first_outcome(&stream, id).await?
            {
                *slot = Some(state.hot);
                return Ok(first);
            }
            attempts += u32::from(state.is_present);
            let events = match judge(&stream, &state.hot, command, context) {
                Verdict::Record(events) => events,
                Verdict::Answer(answer) if state.is_present => {
                    *slot = Some(state.hot);
                    return answer;
                }
                Verdict::Answer(_) => {
                    state = self.present(&stream, Some(state.hot)).await?;
                    continue;
                }
            };
            let lost = match self.record(&stream, state.hot, events, context, &mut slot).await? {
                Ok(done) => return Ok(done),
                Err(lost) => lost,
            };
            match lost {
                Lost::Conflict(conflict) if attempts >= self.most_attempts() => {
                    return Err(ExecuteError::Contended { attempts, conflict });
                }
                Lost::Repeated if attempts >= self.most_attempts().max(2) => {
                    return Err(ExecuteError::CommandIdReused);
                }
                // The store returns a conflict once reads show what it lost to.
                Lost::Conflict(_) | Lost::Repeated => {}
            }
            state = self.present(&stream, slot.take()).await?;
        }
    }

    /// The state for the first decision. One that is kept in memory is not compared with the store: if events are
    /// decided on it and it is old, their append fails, and any other answer is not given before it is compared.
    async fn first_state(
        &self,
        stream: &StreamName,
        kept: Option<Hot<A>>,
        context: &Context,
    ) -> Result<Known<A>, LoadError> {
        match kept {
            Some(hot) if context.command_id.is_none() => Ok(Known { hot, is_present: false }),
            kept => self.present(stream, kept).await,
        }
    }

    async fn present(
        &self,
        stream: &StreamName,
        kept: Option<Hot<A>>,
    ) -> Result<Known<A>, LoadError> {
        Ok(Known { hot: self.refreshed(stream, kept).await?, is_present: true })
    }

    /// Reads the present state of an aggregate, from memory if it is kept there.
    ///
    /// # Errors
    ///
    /// Those of [`Repository::load`].
    pub async fn view<T>(
        &self,
        id: impl fmt::Display,
        read: impl FnOnce(&A, Version) -> T,
    ) -> Result<T, LoadError> {
        let stream = self.stream(id);
        let slot = self.slot(&stream);
        let mut slot = slot.lock().await;
        let hot = self.refreshed(&stream, slot.take()).await?;
        let hot = slot.insert(hot);
        Ok(read(&hot.state, hot.version))
    }

    /// Appends events at the version that was decided on. A state that is not put into the slot is read again.
    async fn record(
        &self,
        stream: &StreamName,
        hot: Hot<A>,
        events: Events<A::Event>,
        context: &Context,
        slot: &mut Option<Hot<A>>,
    ) -> Result<Result<Executed<A::Event>, Lost>, ExecuteError<A::Error>> {
        let before = hot.version;
        let new = new_events(stream, &events, context)?;
        let (count, bytes) = (new.len(), new.iter().map(|it| it.data.len() as u64).sum::<u64>());
        let commit = Commit::to(stream, Expected::Exact(before), new);
        let mut state = Evolving { hot, is_evolved: false };
        let commit = self.with_snapshot(commit, stream, &mut state, &events, bytes);
        let done = match self.store().append(commit).await {
            Ok(done) => done,
            Err(AppendError::Conflict(conflict)) => {
                state.put_back(slot);
                return Ok(Err(Lost::Conflict(conflict)));
            }
            Err(AppendError::IdReused { .. }) if context.command_id.is_some() => {
                state.put_back(slot);
                return Ok(Err(Lost::Repeated));
            }
            Err(AppendError::TooLarge { what, size, max, .. }) => {
                state.put_back(slot);
                return Err(ExecuteError::TooLarge { events: count, what, size, max });
            }
            Err(error) => return Err(ExecuteError::Append(error)),
        };
        Ok(Ok(recorded(state, &done, events, bytes, slot)))
    }

    /// Adds the snapshot of the state after the commit, if one is due.
    fn with_snapshot(
        &self,
        commit: Commit<S>,
        stream: &StreamName,
        state: &mut Evolving<A>,
        events: &Events<A::Event>,
        bytes: u64,
    ) -> Commit<S> {
        let Some(snapshots) = self.snapshot_rules() else { return commit };
        let mut since = state.hot.since;
        let now = self.now();
        since.add(events.len() as u64, bytes, now);
        if !snapshots.policy.is_due(&since, now) {
            return commit;
        }
        state.evolve(events);
        match snapshots.snapshot(stream, &state.hot) {
            Some(snapshot) => {
                state.hot.since = super::snapshots::Since::default();
                commit.snapshot(snapshot)
            }
            None => {
                self.count_snapshot_failure();
                commit
            }
        }
    }

    /// The events that a command with this id has recorded, if it was executed.
    async fn first_outcome(
        &self,
        stream: &StreamName,
        command: Uuid,
    ) -> Result<Option<Executed<A::Event>>, LoadError> {
        let first = event_id(stream, command, 0);
        let Some(first) = self.store().find_event(stream, first).await? else { return Ok(None) };
        let mut events = Events::none();
        self.schemas().decode(&first, |event| events.push(event))?;
        let (mut version, mut position) = (first.version(), first.position());
        let mut read = self.store().read_stream(ReadStream::of(stream).from(version.next()));
        let mut index = 1;
        while let Some(event) = next(&mut read).await.transpose()? {
            if event.id() != event_id(stream, command, index) {
                break;
            }
            self.schemas().decode(&event, |event| events.push(event))?;
            (version, position) = (event.version(), event.position());
            index += 1;
        }
        let position = Some(position);
        Ok(Some(Executed { events, version, position, already_recorded: true }))
    }
}

/// A state that a decision is made on.
struct Known<A> {
    hot: Hot<A>,
    /// Whether the store was asked since the state was last used.
    is_present: bool,
}

/// What a decision comes to.
enum Verdict<A: Aggregate> {
    Record(Events<A::Event>),
    /// Nothing is to be recorded.
    Answer(Outcome<A>),
}

fn judge<A: Aggregate>(
    stream: &StreamName,
    hot: &Hot<A>,
    command: &A::Command,
    context: &Context,
) -> Verdict<A> {
    if let Some(expected) = context.if_match
        && expected != hot.version
    {
        let (stream, actual) = (stream.clone(), hot.version);
        return Verdict::Answer(Err(ExecuteError::VersionMismatch { stream, expected, actual }));
    }
    match hot.state.decide(command) {
        Ok(events) if events.is_empty() => {
            let (version, already_recorded) = (hot.version, false);
            Verdict::Answer(Ok(Executed { events, version, position: None, already_recorded }))
        }
        Ok(events) => Verdict::Record(events),
        Err(refused) => Verdict::Answer(Err(ExecuteError::Refused(refused))),
    }
}

/// A state that may be ahead of what is recorded.
struct Evolving<A> {
    hot: Hot<A>,
    is_evolved: bool,
}

impl<A: Aggregate> Evolving<A> {
    fn evolve(&mut self, events: &Events<A::Event>) {
        if !std::mem::replace(&mut self.is_evolved, true) {
            events.iter().for_each(|event| self.hot.state.evolve(event));
            self.hot.version = Version::new(self.hot.version.get() + events.len() as u64);
        }
    }

    /// Keeps the state if it is that before the commit, which was not recorded.
    fn put_back(self, slot: &mut Option<Hot<A>>) {
        if !self.is_evolved {
            *slot = Some(self.hot);
        }
    }
}

/// The outcome of a commit that was recorded.
fn recorded<A: Aggregate>(
    mut state: Evolving<A>,
    done: &Committed,
    events: Events<A::Event>,
    bytes: u64,
    slot: &mut Option<Hot<A>>,
) -> Executed<A::Event> {
    let version = done.versions.first().copied().unwrap_or_default();
    if !done.already_recorded {
        if !state.is_evolved {
            state.evolve(&events);
            state.hot.since.add(events.len() as u64, bytes, done.recorded_at);
        }
        if state.hot.version == version {
            *slot = Some(state.hot);
        }
    }
    let (position, already_recorded) = (Some(done.last_position), done.already_recorded);
    Executed { events, version, position, already_recorded }
}

/// The events to append: with ids that follow from that of the command, and with its metadata.
pub(crate) fn new_events<'e, E: crate::event::Event>(
    stream: &StreamName,
    events: impl IntoIterator<Item = &'e E>,
    context: &Context,
) -> Result<Vec<NewEvent>, CodecError> {
    let metadata = context.event_metadata();
    let (bytes, correlation) = (metadata.encode()?, metadata.correlation_tag());
    let events = events.into_iter();
    let mut all = Vec::with_capacity(events.size_hint().0);
    for (index, event) in events.enumerate() {
        let mut new = encode(event)?;
        new.id = context.command_id.map(|command| event_id(stream, command, index));
        new.metadata = bytes.clone();
        new.tags.extend(correlation.clone());
        all.push(new);
    }
    Ok(all)
}

/// The id of an event that a command has recorded in a stream.
fn event_id(stream: &StreamName, command: Uuid, index: usize) -> Uuid {
    derived_id(command, &format!("{stream}/{index}"))
}
