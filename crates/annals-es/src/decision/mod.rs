//! Decisions over dynamic consistency boundaries: about anything that a query selects, and not about one stream.

mod blocking;
mod execute;
mod facts;

use crate::event::{Event, Events};
use crate::store::StreamName;

pub use blocking::BlockingDecisions;
pub use execute::Decisions;
pub(crate) use facts::Selection;
pub use facts::{Fact, Facts, Fold};

/// A command that is decided on facts, which may concern any number of streams.
///
/// The facts are small projections, each with a query. The events that the decision makes are recorded only if no
/// query of its facts has matched an event since they were read: the queries are the boundary of the decision, and
/// decisions about other things do not conflict with it.
///
/// ```
/// use annals_es::{Decision, Decisions, Event, Events, Fact, MemoryStore, Query, Tag};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
/// enum UserEvent {
///     #[event(name = "UserRegistered")]
///     Registered {
///         #[tag]
///         username: String,
///     },
/// }
///
/// /// Whether a name is taken.
/// struct Taken {
///     username: String,
///     is_taken: bool,
/// }
///
/// impl Fact for Taken {
///     type Event = UserEvent;
///
///     fn query(&self) -> Query {
///         Query::types(["UserRegistered"]).and_tag(Tag::new("username", &self.username))
///     }
///
///     fn apply(&mut self, _: &UserEvent) {
///         self.is_taken = true;
///     }
/// }
///
/// struct Register {
///     username: String,
/// }
///
/// #[derive(Debug, PartialEq, thiserror::Error)]
/// #[error("the name is taken")]
/// struct NameTaken;
///
/// impl Decision for Register {
///     type Event = UserEvent;
///     type Facts = Taken;
///     type Error = NameTaken;
///     const CATEGORY: &'static str = "user";
///
///     fn facts(&self) -> Taken {
///         Taken { username: self.username.clone(), is_taken: false }
///     }
///
///     fn decide(&self, taken: &Taken) -> Result<Events<UserEvent>, NameTaken> {
///         if taken.is_taken {
///             return Err(NameTaken);
///         }
///         Ok(UserEvent::Registered { username: self.username.clone() }.into())
///     }
/// }
///
/// let users = Decisions::<UserEvent, _>::new(MemoryStore::new())?.blocking();
/// let register = Register { username: "ann".into() };
/// users.execute(&register)?;
/// assert_eq!(users.execute(&register).unwrap_err().refused(), Some(&NameTaken));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Decision: Sync {
    /// The events of the application's part that the decision belongs to.
    type Event: Event;
    /// What the decision needs to know: a [`Fact`], or a tuple of facts.
    type Facts: Facts<Self::Event>;
    /// Why the command is refused.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The category of the streams that the events are appended to. It is stored and must not change.
    const CATEGORY: &'static str;

    /// The facts before any event. What the command is about is part of them, so that they can state their query.
    fn facts(&self) -> Self::Facts;

    /// The events by which the facts answer the command; none if there is nothing to do.
    fn decide(&self, facts: &Self::Facts) -> Result<Events<Self::Event>, Self::Error>;

    /// The stream that an event is appended to, at any version. Default: one stream with the name of the category.
    fn stream(&self, _event: &Self::Event) -> StreamName {
        StreamName::escape(Self::CATEGORY).into_owned().into()
    }
}
