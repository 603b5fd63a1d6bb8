//! Facts: the small projections that a decision is made on.

use std::fmt;
use std::ops::Deref;

use crate::aggregate::LoadError;
use crate::event::{Event, Schemas};
use crate::store::{Query, RecordedEvent};

/// A small projection: what a decision needs to know, and which events tell it.
pub trait Fact: Send {
    /// The events.
    type Event: Event;

    /// The events that the fact follows from. It has to be as narrow as possible: each event that it selects and
    /// that is recorded between the read and the commit makes the decision be made again.
    fn query(&self) -> Query;

    /// Changes the fact by an event that the query has selected.
    fn apply(&mut self, event: &Self::Event);
}

/// A fact, or a tuple of up to eight.
pub trait Facts<E>: Send {
    /// The query of each fact.
    fn queries(&self) -> Vec<Query>;

    /// Changes the fact with an index by an event.
    fn apply(&mut self, fact: usize, event: &E);
}

impl<F: Fact> Facts<F::Event> for F {
    fn queries(&self) -> Vec<Query> {
        vec![self.query()]
    }

    fn apply(&mut self, _: usize, event: &F::Event) {
        Fact::apply(self, event);
    }
}

macro_rules! tuple_of_facts {
    ($($fact:ident $index:tt),*) => {
        impl<E: Event, $($fact: Fact<Event = E>),*> Facts<E> for ($($fact,)*) {
            fn queries(&self) -> Vec<Query> {
                vec![$(self.$index.query()),*]
            }

            fn apply(&mut self, fact: usize, event: &E) {
                match fact {
                    $($index => self.$index.apply(event),)*
                    _ => {}
                }
            }
        }
    };
}

tuple_of_facts!(A 0);
tuple_of_facts!(A 0, B 1);
tuple_of_facts!(A 0, B 1, C 2);
tuple_of_facts!(A 0, B 1, C 2, D 3);
tuple_of_facts!(A 0, B 1, C 2, D 3, F 4);
tuple_of_facts!(A 0, B 1, C 2, D 3, F 4, G 5);
tuple_of_facts!(A 0, B 1, C 2, D 3, F 4, G 5, H 6);
tuple_of_facts!(A 0, B 1, C 2, D 3, F 4, G 5, H 6, I 7);

/// A fact that a closure computes: the value that it dereferences to.
///
/// ```
/// # use annals_es::Event;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, Event)]
/// # enum SchoolEvent { Enrolled { #[tag] course: u32 }, Left { #[tag] course: u32 } }
/// use annals_es::{Fold, Query, Tag};
///
/// let enrolled = Fold::new(
///     Query::types(["Enrolled", "Left"]).and_tag(Tag::new("course", 7)),
///     |enrolled: &mut u32, event: &SchoolEvent| match event {
///         SchoolEvent::Enrolled { .. } => *enrolled += 1,
///         SchoolEvent::Left { .. } => *enrolled -= 1,
///     },
/// );
/// assert_eq!(*enrolled, 0);
/// ```
pub struct Fold<E, T> {
    query: Query,
    value: T,
    apply: Box<Apply<E, T>>,
}

type Apply<E, T> = dyn Fn(&mut T, &E) + Send + Sync;

impl<E, T> Fold<E, T> {
    /// A fact that begins with the default of its type.
    pub fn new(query: Query, apply: impl Fn(&mut T, &E) + Send + Sync + 'static) -> Self
    where
        T: Default,
    {
        Self::from(T::default(), query, apply)
    }

    /// A fact that begins with a value.
    pub fn from(
        value: T,
        query: Query,
        apply: impl Fn(&mut T, &E) + Send + Sync + 'static,
    ) -> Self {
        Self { query, value, apply: Box::new(apply) }
    }
}

impl<E: Event, T: Send> Fact for Fold<E, T> {
    type Event = E;

    fn query(&self) -> Query {
        self.query.clone()
    }

    fn apply(&mut self, event: &E) {
        (self.apply)(&mut self.value, event);
    }
}

impl<E, T> Deref for Fold<E, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<E, T: fmt::Debug> fmt::Debug for Fold<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fold").field("value", &self.value).finish_non_exhaustive()
    }
}

/// The queries of facts: what is read for them, and what each of them receives.
pub(crate) struct Selection {
    facts: Vec<FactQuery>,
}

struct FactQuery {
    /// As the fact states it: names of present types.
    stated: Query,
    /// With the earlier names of the types, item by item.
    recorded: Query,
}

impl Selection {
    pub(crate) fn of<E: Event>(
        facts: &impl Facts<E>,
        schemas: &Schemas<E>,
    ) -> Result<Self, LoadError> {
        let with_earlier_names = |stated: Query| match schemas.with_earlier_names(&stated) {
            Ok(recorded) => Ok(FactQuery { stated, recorded }),
            Err(event_type) => Err(LoadError::UnknownType { event_type }),
        };
        let facts =
            facts.queries().into_iter().map(with_earlier_names).collect::<Result<_, _>>()?;
        Ok(Self { facts })
    }

    /// The events of all facts, as they are recorded.
    pub(crate) fn union(&self) -> Query {
        self.facts.iter().fold(Query::none(), |all, fact| all.union(fact.recorded.clone()))
    }

    /// Changes facts by what a recorded event is now.
    pub(crate) fn apply<E: Event>(
        &self,
        facts: &mut impl Facts<E>,
        recorded: &RecordedEvent,
        event: &E,
    ) {
        let event_type = event.schema().event_type;
        for (index, fact) in self.facts.iter().enumerate() {
            let mut items = fact.stated.items().iter().zip(fact.recorded.items());
            let is_selected = items.any(|(stated, item)| {
                let is_of_type =
                    stated.types.is_empty() || stated.types.iter().any(|it| *it == event_type);
                is_of_type && item.matches(recorded)
            });
            if is_selected {
                facts.apply(index, event);
            }
        }
    }
}
