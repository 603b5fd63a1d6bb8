//! From recorded events to events of the application.
//!
//! Owns the check that every earlier version has a path to a present one, and the application of that path.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

use super::codec::Named;
use super::upcast::{Action, Data, Step, StepError};
use super::{Codec, CodecError, Event, Json, RawEvent, Schema, Unknown, Upcasters};
use crate::store::{Cause, ContentType, EventRef, Position, Query, StreamName, Version};

/// The schemas of a type of events, checked: reads recorded events of any version.
pub struct Schemas<E> {
    upcasters: Upcasters<E>,
}

/// A recorded event that could not be read as an event of the application.
#[derive(Debug, thiserror::Error)]
#[error(
    "event {event_type:?} version {schema_version}, at version {version} of stream {stream:?} \
    (position {position}): {cause}"
)]
#[non_exhaustive]
pub struct EventError {
    /// The event's stream.
    pub stream: StreamName,
    /// The event's place in its stream.
    pub version: Version,
    /// The event's place in the store.
    pub position: Position,
    /// The name of its type.
    pub event_type: String,
    /// The version of its schema, as recorded.
    pub schema_version: u16,
    /// Why it could not be read.
    #[source]
    pub cause: Box<EventCause>,
}

/// Why an event could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventCause {
    /// The program has no event with this name, and no step from it.
    #[error(
        "the program does not know this type; add it, or a step from it, or choose `Unknown::Skip`"
    )]
    UnknownType,
    /// The version is newer than that of the program.
    #[error("the program knows versions up to {known}; a newer program recorded the event")]
    NewerVersion {
        /// The present version of the program.
        known: u16,
    },
    /// The data does not have the form of the schema.
    #[error(transparent)]
    Data(#[from] CodecError),
    /// A step refused the event.
    #[error("the step from {from} failed: {source}")]
    Step {
        /// Where the step begins.
        from: Schema,
        /// The error of the step.
        source: Cause,
    },
    /// A step made an event of a schema that it had not declared.
    #[error("the step from {from} made an event of {to}, which it does not declare")]
    Undeclared {
        /// Where the step begins.
        from: Schema,
        /// The schema of the event.
        to: Schema,
    },
}

/// Schemas and upcasters that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", list(problems))]
pub struct SchemaError {
    /// Everything that was found; at least one.
    pub problems: Vec<SchemaProblem>,
}

/// A fault of schemas and upcasters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaProblem {
    /// An earlier version has no step.
    #[error("{0} has no step to a later version; add one, or state the first recorded version")]
    NoPath(Schema),
    /// Two events have the same name.
    #[error("two events have the name {0:?}")]
    SameName(String),
    /// Two steps begin at the same version.
    #[error("two steps begin at {0}")]
    SameStep(Schema),
    /// A step begins at a present version, and would never be used.
    #[error("a step begins at {0}, which is the present version")]
    StepFromPresent(Schema),
    /// A step ends at a version that is not present and has no step.
    #[error("the step from {from} ends at {to}, which is neither present nor the start of a step")]
    LeadsNowhere {
        /// Where the step begins.
        from: Schema,
        /// Where it ends.
        to: Schema,
    },
    /// Steps lead from a version back to it.
    #[error("the steps from {0} lead back to it")]
    Circle(Schema),
    /// A step works on JSON values, and the codec has none.
    #[error("the step from {from} works on values, and {codec} has none; use `typed`")]
    NoValues {
        /// Where the step begins.
        from: Schema,
        /// The codec.
        codec: &'static str,
    },
    /// Unknown events are to be kept, and no variant is marked `#[event(unknown)]`.
    #[error("unknown events are to be kept, and no variant is marked `#[event(unknown)]`")]
    NoPlaceForUnknown,
}

fn list(problems: &[SchemaProblem]) -> String {
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl<E: Event> Schemas<E> {
    /// The schemas of the type, and its upcasters.
    ///
    /// # Errors
    ///
    /// All faults that would make an event unreadable: see [`SchemaProblem`].
    pub fn new() -> Result<Self, SchemaError> {
        Self::with(E::upcasters())
    }

    /// The schemas of the type, with these upcasters.
    ///
    /// # Errors
    ///
    /// Those of [`Schemas::new`].
    pub fn with(upcasters: Upcasters<E>) -> Result<Self, SchemaError> {
        let schemas = Self { upcasters };
        let problems = schemas.problems();
        if problems.is_empty() { Ok(schemas) } else { Err(SchemaError { problems }) }
    }

    /// Passes what a recorded event is now to `take`: one event, several, or none.
    ///
    /// An event that was recorded without a schema version (0) counts as version 1.
    ///
    /// # Errors
    ///
    /// [`EventError`], with the place of the event and the cause.
    pub fn decode<'e>(
        &self,
        event: impl Into<EventRef<'e>>,
        mut take: impl FnMut(E),
    ) -> Result<(), EventError> {
        let event = event.into();
        let (event_type, version) = (event.event_type(), event.schema_version().max(1));
        let decoded = if E::version_of(event_type) == Some(version) {
            decode_bytes::<E>(event_type, event.data(), event.content_type())
                .map(&mut take)
                .map_err(EventCause::from)
        } else {
            self.upcast(event, version, &mut take)
        };
        decoded.map_err(|cause| EventError {
            stream: event.stream().into(),
            version: event.version(),
            position: event.position(),
            event_type: event_type.to_owned(),
            schema_version: event.schema_version(),
            cause: Box::new(cause),
        })
    }

    /// Whether the type has an event of this name, now or earlier.
    pub fn knows(&self, event_type: &str) -> bool {
        E::version_of(event_type).is_some()
            || self.upcasters.steps.iter().any(|step| step.from.event_type == event_type)
    }

    /// The query with all earlier names of the types that it names: events that are recorded under them become
    /// events of these types. The error is a name that no event has.
    pub(crate) fn with_earlier_names(&self, query: &Query) -> Result<Query, String> {
        let mut all = Query::none();
        for item in query.items() {
            let mut item = item.clone();
            let mut index = 0;
            while let Some(event_type) = item.types.get(index).cloned() {
                if !self.knows(&event_type) {
                    return Err(event_type);
                }
                for step in &self.upcasters.steps {
                    // A step to present events does not state their types.
                    let may_lead = matches!(step.action, Action::Present(_))
                        || step.to.iter().any(|to| to.event_type == event_type);
                    let from = step.from.event_type.as_ref();
                    if may_lead && !item.types.iter().any(|it| it == from) {
                        item.types.push(from.to_owned());
                    }
                }
                index += 1;
            }
            all = all.or(item);
        }
        Ok(all)
    }

    fn upcast(
        &self,
        event: EventRef<'_>,
        version: u16,
        take: &mut impl FnMut(E),
    ) -> Result<(), EventCause> {
        let Some(step) = self.step(event.event_type(), version) else {
            return self.unknown(event, version, take);
        };
        let data = Data::Bytes(event.data(), event.content_type());
        self.apply(step, data, take)
    }

    /// Applies a step and those that follow. The check at the start has excluded circles.
    fn apply(
        &self,
        step: &Step<E>,
        data: Data<'_>,
        take: &mut impl FnMut(E),
    ) -> Result<(), EventCause> {
        let refused = |source| EventCause::Step { from: step.from.clone(), source };
        match &step.action {
            Action::Rename => match step.to.first() {
                Some(to) => self.go_on(to, data, take),
                None => Ok(()),
            },
            Action::Values(change) => {
                for made in change(to_value::<E>(data)?).map_err(refused)? {
                    if !step.to.contains(&made.schema) {
                        let (from, to) = (step.from.clone(), made.schema);
                        return Err(EventCause::Undeclared { from, to });
                    }
                    self.go_on(&made.schema, Data::Value(made.data), take)?;
                }
                Ok(())
            }
            Action::Present(make) => {
                let events = make(data).map_err(|error| match error {
                    StepError::Codec(error) => error.into(),
                    StepError::Refused(source) => refused(source),
                })?;
                events.into_iter().for_each(take);
                Ok(())
            }
        }
    }

    fn go_on(
        &self,
        schema: &Schema,
        data: Data<'_>,
        take: &mut impl FnMut(E),
    ) -> Result<(), EventCause> {
        let (event_type, version) = (&*schema.event_type, schema.version);
        if E::version_of(event_type) != Some(version) {
            return match self.step(event_type, version) {
                Some(step) => self.apply(step, data, take),
                None => Err(EventCause::UnknownType),
            };
        }
        take(match data {
            Data::Bytes(bytes, content_type) => decode_bytes(event_type, bytes, content_type)?,
            Data::Value(value) => {
                E::deserialize_event(event_type, value).map_err(CodecError::new::<Json>)?
            }
        });
        Ok(())
    }

    fn unknown(
        &self,
        event: EventRef<'_>,
        version: u16,
        take: &mut impl FnMut(E),
    ) -> Result<(), EventCause> {
        let known = E::version_of(event.event_type());
        let kept = match self.upcasters.unknown {
            Unknown::Fail => None,
            Unknown::Skip => return Ok(()),
            Unknown::Keep => E::from_unknown(RawEvent::from(event)),
        };
        match (kept, known) {
            (Some(event), _) => take(event),
            (None, Some(known)) if known < version => {
                return Err(EventCause::NewerVersion { known });
            }
            (None, _) => return Err(EventCause::UnknownType),
        }
        Ok(())
    }

    fn step(&self, event_type: &str, version: u16) -> Option<&Step<E>> {
        let mut steps = self.upcasters.steps.iter();
        steps.find(|step| step.from.version == version && step.from.event_type == event_type)
    }

    fn problems(&self) -> Vec<SchemaProblem> {
        let mut problems = Vec::new();
        let (present, steps) = (E::schemas(), &self.upcasters.steps);
        let mut names = HashSet::new();
        for schema in &present {
            if !names.insert(&schema.event_type) {
                problems.push(SchemaProblem::SameName(schema.event_type.to_string()));
            }
            let first = self.upcasters.first.iter().find(|it| it.event_type == schema.event_type);
            for version in first.map_or(1, |first| first.version)..schema.version {
                if self.step(&schema.event_type, version).is_none() {
                    let event_type = schema.event_type.clone();
                    problems.push(SchemaProblem::NoPath(Schema { event_type, version }));
                }
            }
        }
        for (index, step) in steps.iter().enumerate() {
            if steps[..index].iter().any(|other| other.from == step.from) {
                problems.push(SchemaProblem::SameStep(step.from.clone()));
            }
            if present.contains(&step.from) {
                problems.push(SchemaProblem::StepFromPresent(step.from.clone()));
            }
            if matches!(step.action, Action::Values(_)) && !E::Codec::HAS_VALUES {
                let (from, codec) = (step.from.clone(), E::Codec::NAME);
                problems.push(SchemaProblem::NoValues { from, codec });
            }
            for to in &step.to {
                let goes_on = present.contains(to) || steps.iter().any(|next| next.from == *to);
                if !goes_on {
                    let (from, to) = (step.from.clone(), to.clone());
                    problems.push(SchemaProblem::LeadsNowhere { from, to });
                }
            }
            if self.returns(step) {
                problems.push(SchemaProblem::Circle(step.from.clone()));
            }
        }
        if self.upcasters.unknown == Unknown::Keep && !E::KEEPS_UNKNOWN {
            problems.push(SchemaProblem::NoPlaceForUnknown);
        }
        problems
    }

    /// Whether the steps after this one lead back to its start.
    fn returns(&self, start: &Step<E>) -> bool {
        let (mut left, mut seen) = (vec![start], HashSet::new());
        while let Some(step) = left.pop() {
            for to in &step.to {
                if *to == start.from {
                    return true;
                }
                if seen.insert(to) {
                    left.extend(self.upcasters.steps.iter().filter(|next| next.from == *to));
                }
            }
        }
        false
    }
}

/// Reads data in the codec of the type, or in JSON if it is flagged as that.
fn decode_bytes<E: Event>(
    event_type: &str,
    data: &[u8],
    content_type: ContentType,
) -> Result<E, CodecError> {
    match content_type {
        ContentType::Json => Json::decode(Named::new(event_type), data),
        ContentType::Binary => E::Codec::decode(Named::new(event_type), data),
    }
}

fn to_value<E: Event>(data: Data<'_>) -> Result<Value, CodecError> {
    use std::marker::PhantomData;
    match data {
        Data::Value(value) => Ok(value),
        Data::Bytes(data, ContentType::Json) => Json::decode(PhantomData::<Value>, data),
        Data::Bytes(data, ContentType::Binary) => E::Codec::decode(PhantomData::<Value>, data),
    }
}

impl<E> fmt::Debug for Schemas<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schemas").field(&self.upcasters).finish()
    }
}
