//! What follows from an event or a deadline, as a process states it.
//!
//! Owns the list of effects, in order. Must never carry one out.

use std::fmt;
use std::time::Duration;

use super::ProcessManager;
use super::command::{AnyCommand, Command, OnRefusal};
use crate::aggregate::{Aggregate, Repository};
use crate::store::{EventStore, Timestamp};

/// What follows from an event or a deadline: events of the process, commands, and deadlines. Effects are carried out
/// in the order in which they were added, all in one commit.
pub struct Reaction<M: ProcessManager<S>, S: EventStore> {
    at: Timestamp,
    pub(super) effects: Vec<Effect<M, S>>,
}

pub(super) enum Effect<M: ProcessManager<S>, S: EventStore> {
    Record(M::Event),
    Command(Box<dyn AnyCommand<M, S>>),
    Deadline { name: String, at: Timestamp },
    Cancel { name: String },
}

impl<M: ProcessManager<S>, S: EventStore> Reaction<M, S> {
    /// A reaction without effects, to something of this time.
    pub fn new(at: Timestamp) -> Self {
        Self { at, effects: Vec::new() }
    }

    /// When the event was recorded, or the time of the deadline. It is the same in each repetition.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Records an event of the process.
    pub fn record(&mut self, event: M::Event) {
        self.effects.push(Effect::Record(event));
    }

    /// Sends a command to an aggregate. If the aggregate refuses it, the reaction fails, and nothing of it is
    /// recorded.
    pub fn command<A>(&mut self, to: &Repository<A, S>, id: impl fmt::Display, command: A::Command)
    where
        A: Aggregate,
        A::Command: Send + 'static,
    {
        self.send(to, id, command, OnRefusal::Fail);
    }

    /// Sends a command to an aggregate. If the aggregate refuses it, `refused` adds what follows from that instead:
    /// nothing, or events, further commands and deadlines.
    pub fn command_or<A>(
        &mut self,
        to: &Repository<A, S>,
        id: impl fmt::Display,
        command: A::Command,
        refused: impl FnOnce(&A::Error, &mut Self) + Send + 'static,
    ) where
        A: Aggregate,
        A::Command: Send + 'static,
    {
        self.send(to, id, command, OnRefusal::Then(Box::new(refused)));
    }

    /// Sets a deadline of the process, which passes a time after [`Reaction::at`]. A deadline that is set under
    /// the same name is replaced.
    pub fn deadline(&mut self, name: impl Into<String>, after: Duration) {
        self.deadline_at(name, self.at.plus(after));
    }

    /// Sets a deadline of the process, which passes at a time; see [`Reaction::deadline`].
    pub fn deadline_at(&mut self, name: impl Into<String>, at: Timestamp) {
        self.effects.push(Effect::Deadline { name: name.into(), at });
    }

    /// Cancels a deadline of the process. Without a deadline of that name, nothing happens.
    pub fn cancel(&mut self, name: impl Into<String>) {
        self.effects.push(Effect::Cancel { name: name.into() });
    }

    /// Whether there are no effects.
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// The events of the process, for tests.
    pub fn recorded(&self) -> impl Iterator<Item = &M::Event> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Record(event) => Some(event),
            _ => None,
        })
    }

    /// The commands to aggregates of a type, each with the id of its aggregate, for tests.
    pub fn sent<A: Aggregate>(&self) -> impl Iterator<Item = (&str, &A::Command)>
    where
        A::Command: 'static,
    {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Command(command) => {
                let (id, any) = command.sent(A::CATEGORY)?;
                Some((id, any.downcast_ref()?))
            }
            _ => None,
        })
    }

    /// The deadlines that are set, with their times, for tests.
    pub fn deadlines(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Deadline { name, at } => Some((name.as_str(), *at)),
            _ => None,
        })
    }

    /// The names of the deadlines that are cancelled, for tests.
    pub fn cancelled(&self) -> impl Iterator<Item = &str> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Cancel { name } => Some(name.as_str()),
            _ => None,
        })
    }

    fn send<A>(
        &mut self,
        to: &Repository<A, S>,
        id: impl fmt::Display,
        command: A::Command,
        on_refusal: OnRefusal<A, M, S>,
    ) where
        A: Aggregate,
        A::Command: Send + 'static,
    {
        let command = Command { to: to.clone(), id: id.to_string(), asked: command, on_refusal };
        self.effects.push(Effect::Command(Box::new(command)));
    }
}

impl<M: ProcessManager<S>, S: EventStore> fmt::Debug for Reaction<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for effect in &self.effects {
            match effect {
                Effect::Record(_) => list.entry(&"record"),
                Effect::Command(command) => {
                    list.entry(&format_args!("command to {}", command.stream()))
                }
                Effect::Deadline { name, at } => {
                    list.entry(&format_args!("deadline {name:?} at {at:?}"))
                }
                Effect::Cancel { name } => list.entry(&format_args!("cancel {name:?}")),
            };
        }
        list.finish()
    }
}
