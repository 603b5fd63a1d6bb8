//! The execution of decisions: read the facts, decide, append under their boundary, and again on a conflict.
//!
//! Owns the rule that what was read and what must not have changed are the same queries, up to the same position.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::{BlockingDecisions, Decision, Facts, Selection};
use crate::aggregate::{Context, ExecuteError, Executed, LoadError};
use crate::event::{CodecError, Event, Events, SchemaError, Schemas, encode};
use crate::metadata::derived_id;
use crate::store::{
    AppendError, Boundaries, Commit, Expected, NewEvent, Position, Query, ReadAll, SeveralStreams,
    StoreError, StreamName, Tag, next,
};

type Outcome<D> = Result<Executed<<D as Decision>::Event>, ExecuteError<<D as Decision>::Error>>;

/// Executes the decisions of one type of events in a store.
///
/// It is cheap to clone. The version of an [`Executed`] is that of the stream of the last event.
pub struct Decisions<E, S> {
    store: S,
    schemas: Arc<Schemas<E>>,
    attempts: u32,
}

impl<E: Event, S: Boundaries + SeveralStreams> Decisions<E, S> {
    /// The decisions in a store. By default a decision is made at most ten times.
    ///
    /// # Errors
    ///
    /// [`SchemaError`] if an earlier version of an event has no path to the present one.
    pub fn new(store: S) -> Result<Self, SchemaError> {
        Ok(Self { store, schemas: Arc::new(Schemas::new()?), attempts: 10 })
    }

    /// Sets how often a decision is made if other commits change its facts; 0 counts as 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Facts as they are, and the position up to which they were read.
    ///
    /// # Errors
    ///
    /// [`LoadError`]: an event that cannot be read is one, because the facts without it may be wrong.
    pub async fn facts<F: Facts<E>>(&self, mut facts: F) -> Result<(F, Position), LoadError> {
        let selection = Selection::of(&facts, &self.schemas)?;
        let head = self.read(&mut facts, &selection).await?;
        Ok((facts, head))
    }

    /// Makes a decision on the present facts, and records its events if the facts have not changed meanwhile.
    ///
    /// # Errors
    ///
    /// [`ExecuteError::Refused`] with the decision's own error, and the other variants of [`ExecuteError`].
    pub async fn execute<D: Decision<Event = E>>(&self, decision: &D) -> Outcome<D> {
        self.execute_with(decision, &Context::new()).await
    }

    /// Makes a decision with an id or with metadata: see [`Context`]. A decision with an id is executed once;
    /// repeated, it returns its first outcome. Its events have the tag `command:` and the id.
    ///
    /// # Errors
    ///
    /// Those of [`Decisions::execute`], and [`StoreError::InvalidArgument`] if the context has a version: a
    /// decision has none.
    pub async fn execute_with<D: Decision<Event = E>>(
        &self,
        decision: &D,
        context: &Context,
    ) -> Outcome<D> {
        if context.if_match.is_some() {
            let why = "a decision has no version; it is made on facts".to_owned();
            return Err(StoreError::InvalidArgument { what: "if_match", why }.into());
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut facts = decision.facts();
            let selection = Selection::of(&facts, &self.schemas)?;
            let head = self.read(&mut facts, &selection).await?;
            // Looked up after the facts were read: a first execution that they do not contain makes the commit fail.
            if let Some(id) = context.command_id
                && let Some(first) = self.first_outcome(id).await?
            {
                return Ok(first);
            }
            let events = decision.decide(&facts).map_err(ExecuteError::Refused)?;
            if events.is_empty() {
                let version = crate::store::Version::NONE;
                return Ok(Executed { events, version, position: None, already_recorded: false });
            }
            let commit = commit(decision, &events, context)?.fail_if(selection.union(), head);
            match self.store.append(commit).await {
                Ok(done) => {
                    let version = done.versions.last().copied().unwrap_or_default();
                    let (position, already_recorded) =
                        (Some(done.last_position), done.already_recorded);
                    return Ok(Executed { events, version, position, already_recorded });
                }
                // The store returns a conflict once reads show what it lost to.
                Err(AppendError::Conflict(conflict)) if attempts >= self.attempts => {
                    return Err(ExecuteError::Contended { attempts, conflict });
                }
                Err(AppendError::Conflict(_)) => {}
                Err(AppendError::IdReused { .. })
                    if context.command_id.is_some() && attempts < self.attempts.max(2) => {}
                Err(AppendError::IdReused { .. }) if context.command_id.is_some() => {
                    return Err(ExecuteError::CommandIdReused);
                }
                Err(AppendError::TooLarge { what, size, max, .. }) => {
                    return Err(ExecuteError::TooLarge { events: events.len(), what, size, max });
                }
                Err(error) => return Err(ExecuteError::Append(error)),
            }
        }
    }

    /// The decisions for programs without an executor.
    pub fn blocking(self) -> BlockingDecisions<E, S> {
        BlockingDecisions::new(self)
    }

    /// Changes the facts by all events of their queries; returns the position up to which they were read.
    async fn read<F: Facts<E>>(
        &self,
        facts: &mut F,
        selection: &Selection,
    ) -> Result<Position, LoadError> {
        let head = self.store.head().await?;
        let mut events = self.store.read_all(ReadAll::matching(selection.union()).up_to(head));
        while let Some(event) = next(&mut events).await {
            let recorded = event?;
            self.schemas.decode(&recorded, |event| selection.apply(facts, &recorded, &event))?;
        }
        Ok(head)
    }

    /// The events that a decision with this id has recorded, if it was executed.
    async fn first_outcome(&self, command: Uuid) -> Result<Option<Executed<E>>, LoadError> {
        let mut read = self.store.read_all(ReadAll::matching(of_command(command)));
        let (mut events, mut last) = (Events::none(), None);
        while let Some(event) = next(&mut read).await.transpose()? {
            self.schemas.decode(&event, |event| events.push(event))?;
            last = Some(event);
        }
        Ok(last.map(|last| Executed {
            events,
            version: last.version(),
            position: Some(last.position()),
            already_recorded: true,
        }))
    }
}

/// The query of the events of a command.
fn of_command(command: Uuid) -> Query {
    Query::tagged([Tag::new("command", command)])
}

/// The commit of the events of a decision: one part per stream, in the order of the events.
fn commit<D: Decision, S: SeveralStreams>(
    decision: &D,
    events: &Events<D::Event>,
    context: &Context,
) -> Result<Commit<S>, CodecError> {
    let metadata = context.event_metadata();
    let (bytes, correlation) = (metadata.encode()?, metadata.correlation_tag());
    let mut parts: Vec<(StreamName, Vec<NewEvent>)> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let mut new = encode(event)?;
        new.metadata = bytes.clone();
        new.tags.extend(correlation.clone());
        if let Some(command) = context.command_id {
            new.id = Some(derived_id(command, &index.to_string()));
            new.tags.push(Tag::new("command", command).into());
        }
        let stream = decision.stream(event);
        match parts.last_mut() {
            Some((last, events)) if *last == stream => events.push(new),
            _ => parts.push((stream, vec![new])),
        }
    }
    let mut parts = parts.into_iter();
    let Some((stream, events)) = parts.next() else {
        return Ok(Commit::to(D::CATEGORY, Expected::Any, []));
    };
    let commit = Commit::to(stream, Expected::Any, events);
    Ok(parts.fold(commit, |commit, (stream, events)| commit.and(stream, Expected::Any, events)))
}

impl<E, S: Clone> Clone for Decisions<E, S> {
    fn clone(&self) -> Self {
        let (store, schemas) = (self.store.clone(), Arc::clone(&self.schemas));
        Self { store, schemas, attempts: self.attempts }
    }
}

impl<E, S: fmt::Debug> fmt::Debug for Decisions<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").field("store", &self.store).finish_non_exhaustive()
    }
}
