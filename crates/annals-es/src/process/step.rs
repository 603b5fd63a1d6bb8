//! One reaction: from an event or a deadline to a commit.
//!
//! Owns the order in which effects are carried out, and the ids of what follows from them. Must never commit an
//! effect without the progress that goes with it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use uuid::Uuid;

use super::deadlines::DeadlineEvent;
use super::error::ReactionError;
use super::instance::{Instance, OwnSchemas, load};
use super::plan::{Plan, Working};
use super::reaction::{Effect, Reaction};
use super::{ProcessManager, Trigger};
use crate::aggregate::{Context, new_events};
use crate::event::{Event, Schemas};
use crate::metadata::{Metadata, derived_id};
use crate::panics::text;
use crate::store::{EventStore, RecordedEvent, StreamName, Timestamp};

/// What a process needs to react.
pub(super) struct Reactor<M: ProcessManager<S>, S: EventStore> {
    pub(super) manager: M,
    pub(super) store: S,
    pub(super) inputs: Schemas<M::Input>,
    pub(super) own: OwnSchemas<M::Event>,
}

/// A process's own stream, what it reacts to, and the number of effects so far.
struct Cause<'a> {
    stream: StreamName,
    recorded: &'a RecordedEvent,
    metadata: Metadata,
    effects: u32,
}

impl<'a> Cause<'a> {
    fn new(stream: StreamName, recorded: &'a RecordedEvent) -> Self {
        // Other programs may store anything as metadata.
        let metadata = Metadata::caused_by(recorded).unwrap_or_else(|_| {
            Metadata::new().correlation_id(recorded.id()).causation_id(recorded.id())
        });
        Self { stream, recorded, metadata, effects: 0 }
    }

    /// The context of the next effect. Its id follows from the event, so a repetition is recognized.
    fn next(&mut self) -> Context {
        let id: Uuid = derived_id(self.recorded.id(), &format!("{}#{}", self.stream, self.effects));
        self.effects += 1;
        Context::new().command_id(id).metadata(self.metadata.clone())
    }
}

impl<M: ProcessManager<S>, S: EventStore> Reactor<M, S> {
    /// Reacts to an event. The plan has no events if nothing follows.
    pub(super) async fn react_to(&self, recorded: &RecordedEvent) -> Result<Plan, ReactionError> {
        let mut inputs = Vec::new();
        self.inputs.decode(recorded, |input| inputs.push(input))?;
        let (mut plan, at) = (Plan::default(), recorded.recorded_at());
        let mut effects = 0;
        for event in &inputs {
            let routed = caught(|| self.manager.route(event, recorded))?;
            let Some(id) = routed else { continue };
            let mut cause = Cause { effects, ..Cause::new(StreamName::new(M::NAME, id), recorded) };
            let own = self.own(&mut plan, &cause.stream).await?;
            let trigger = Trigger::Event { event, recorded };
            let reaction = self.reaction(own, trigger, at)?;
            self.carry_out(&mut plan, &mut cause, reaction).await?;
            effects = cause.effects;
        }
        Ok(plan)
    }

    /// Reacts to a deadline that `set` has set. `None`: it is not open any more, and need not be if `anyway`.
    pub(super) async fn react_to_deadline(
        &self,
        set: &RecordedEvent,
        anyway: bool,
    ) -> Result<Option<Plan>, ReactionError> {
        let mut deadlines = Vec::new();
        self.own.deadlines.decode(set, |deadline| deadlines.push(deadline))?;
        let Some(DeadlineEvent::Set { name, at }) = deadlines.pop() else { return Ok(None) };
        let mut plan = Plan::default();
        let mut cause = Cause::new(StreamName::from(set.stream()), set);
        let own = self.own(&mut plan, &cause.stream).await?;
        let open = &mut own.state::<Instance<M::State>>()?.open;
        let is_open =
            |open: &Option<RecordedEvent>| open.as_ref().is_some_and(|it| it.id() == set.id());
        if open.get(&name).is_some_and(is_open) {
            open.remove(&name);
            add(own, &DeadlineEvent::Passed { name: name.clone() }, &cause.next())?;
        } else if !anyway {
            return Ok(None);
        }
        let reaction = self.reaction(own, Trigger::Deadline { name: &name, at }, at)?;
        self.carry_out(&mut plan, &mut cause, reaction).await?;
        Ok(Some(plan))
    }

    /// The event that set an open deadline of a process.
    pub(super) async fn open_deadline(
        &self,
        stream: &StreamName,
        name: &str,
    ) -> Result<Option<RecordedEvent>, ReactionError> {
        let mut own = load::<M, S>(&self.store, &self.own, stream.clone()).await?;
        Ok(own.state::<Instance<M::State>>()?.open.remove(name).flatten())
    }

    /// The process itself, which is read if the plan does not have it.
    async fn own<'p>(
        &self,
        plan: &'p mut Plan,
        stream: &StreamName,
    ) -> Result<&'p mut Working, ReactionError> {
        let place =
            plan.place(stream, load::<M, S>(&self.store, &self.own, stream.clone())).await?;
        Ok(plan.at(place))
    }

    fn reaction(
        &self,
        own: &mut Working,
        trigger: Trigger<'_, M::Input>,
        at: Timestamp,
    ) -> Result<Reaction<M, S>, ReactionError> {
        let state = &own.state::<Instance<M::State>>()?.state;
        caught(|| {
            let mut reaction = Reaction::new(at);
            self.manager.react(state, trigger, &mut reaction);
            reaction
        })
    }

    async fn carry_out(
        &self,
        plan: &mut Plan,
        cause: &mut Cause<'_>,
        reaction: Reaction<M, S>,
    ) -> Result<(), ReactionError> {
        let at = reaction.at();
        let mut effects = VecDeque::from(reaction.effects);
        while let Some(effect) = effects.pop_front() {
            let context = cause.next();
            let command = match effect {
                Effect::Command(command) => command,
                effect => {
                    let own = self.own(plan, &cause.stream).await?;
                    caught(|| record::<M, S>(own, effect, &context))??;
                    continue;
                }
            };
            let stream = command.stream();
            let place = plan.place(&stream, command.load()).await?;
            let working = plan.at(place);
            let follows = caught(|| command.decide(working, &context, at))??;
            for effect in follows.effects.into_iter().rev() {
                effects.push_front(effect);
            }
        }
        Ok(())
    }
}

/// Adds the event of an effect on the process itself.
fn record<M: ProcessManager<S>, S: EventStore>(
    own: &mut Working,
    effect: Effect<M, S>,
    context: &Context,
) -> Result<(), ReactionError> {
    let instance = own.state::<Instance<M::State>>()?;
    match effect {
        Effect::Record(event) => {
            M::evolve(&mut instance.state, &event);
            add(own, &event, context)
        }
        Effect::Deadline { name, at } => {
            instance.open.insert(name.clone(), None);
            add(own, &DeadlineEvent::Set { name, at }, context)
        }
        Effect::Cancel { name } => match instance.open.remove(&name) {
            Some(_) => add(own, &DeadlineEvent::Cancelled { name }, context),
            None => Ok(()),
        },
        // Carried out by the caller.
        Effect::Command(_) => Ok(()),
    }
}

fn add<E: Event>(own: &mut Working, event: &E, context: &Context) -> Result<(), ReactionError> {
    let new = new_events(&own.stream, [event], context)?;
    own.events.extend(new);
    Ok(())
}

/// Calls code of the process, which may panic.
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, ReactionError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| ReactionError::Panic(text(&*panic)))
}
