//! Upcasters: the steps from earlier versions of events to later ones.
//!
//! Owns the declaration of the steps. What applies and checks them is [`Schemas`](super::Schemas).

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Codec, CodecError, Event, Events, Json, Schema};
use crate::store::{Cause, ContentType};

/// What becomes of events whose type, or whose version of the schema, the program does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Unknown {
    /// They are errors. The default, because a state computed without them may be wrong.
    #[default]
    Fail,
    /// They are left out.
    Skip,
    /// They become the variant with `#[event(unknown)]`.
    Keep,
}

/// An event that a step makes: a name, a version and data as a JSON value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Upcast {
    /// The schema that the data follows: a present one, or one with a step of its own.
    pub schema: Schema,
    /// The data.
    pub data: Value,
}

impl Upcast {
    /// An event of a step.
    pub const fn new(event_type: &'static str, version: u16, data: Value) -> Self {
        Self { schema: Schema::new(event_type, version), data }
    }
}

/// The steps by which events of earlier versions become present ones, and what becomes of unknown events.
///
/// Each step begins at one name and version. It ends at a present version, or where another step begins.
///
/// ```
/// use annals_es::{Event, Events, Schemas, Upcasters};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
/// #[event(upcasters = upcasters)]
/// enum AccountEvent {
///     #[event(name = "MoneyDeposited", version = 3)]
///     Deposited { cents: u64, currency: String },
/// }
///
/// /// Version 1, as it was recorded.
/// #[derive(Deserialize)]
/// struct DepositedV1 {
///     euros: u64,
/// }
///
/// fn upcasters() -> Upcasters<AccountEvent> {
///     Upcasters::new()
///         .typed("MoneyDeposited", 1, |old: DepositedV1| {
///             let currency = "EUR".to_owned();
///             Ok(AccountEvent::Deposited { cents: 100 * old.euros, currency }.into())
///         })
///         .fields("MoneyDeposited", 2, |fields| {
///             fields.insert("currency".into(), "EUR".into());
///             Ok(())
///         })
///         .ignore("InterestCalculated", 1)
/// }
///
/// // Reports a version without a path, before any event is read.
/// let schemas = Schemas::<AccountEvent>::new()?;
/// # let _ = schemas;
/// # Ok::<(), annals_es::SchemaError>(())
/// ```
pub struct Upcasters<E> {
    pub(super) steps: Vec<Step<E>>,
    pub(super) unknown: Unknown,
    /// The first versions that were ever recorded, where they are not 1.
    pub(super) first: Vec<Schema>,
}

pub(super) struct Step<E> {
    pub(super) from: Schema,
    /// Where the step ends; empty if it ends with present events or with none.
    pub(super) to: Vec<Schema>,
    pub(super) action: Action<E>,
}

type Shared<F> = Arc<F>;
type ValueStep = dyn Fn(Value) -> Result<Vec<Upcast>, Cause> + Send + Sync;
type DataStep<E> = dyn Fn(Data<'_>) -> Result<Events<E>, StepError> + Send + Sync;

pub(super) enum Action<E> {
    /// The data stays as it is.
    Rename,
    /// Values become values.
    Values(Shared<ValueStep>),
    /// Data becomes present events.
    Present(Shared<DataStep<E>>),
}

/// The data that a step begins with.
pub(super) enum Data<'a> {
    Bytes(&'a [u8], ContentType),
    Value(Value),
}

/// Why a step failed.
pub(super) enum StepError {
    Codec(CodecError),
    Refused(Cause),
}

impl<E: Event> Upcasters<E> {
    /// No steps, and [`Unknown::Fail`].
    pub fn new() -> Self {
        Self { steps: Vec::new(), unknown: Unknown::default(), first: Vec::new() }
    }

    /// Sets what becomes of unknown events.
    #[must_use]
    pub fn unknown(mut self, unknown: Unknown) -> Self {
        self.unknown = unknown;
        self
    }

    /// States that no earlier version of an event was ever recorded, so that none needs a step.
    #[must_use]
    pub fn first_version(mut self, event_type: &'static str, version: u16) -> Self {
        self.first.push(Schema::new(event_type, version));
        self
    }

    /// Changes the fields of a version, which becomes the next version of the same name.
    #[must_use]
    pub fn fields(
        self,
        event_type: &'static str,
        version: u16,
        change: impl Fn(&mut Map<String, Value>) -> Result<(), Cause> + Send + Sync + 'static,
    ) -> Self {
        self.value(event_type, version, move |mut value| match value.as_object_mut() {
            Some(fields) => {
                change(fields)?;
                Ok(value)
            }
            None => Err(format!("the data is no object, but {value}").into()),
        })
    }

    /// Changes the data of a version, which becomes the next version of the same name.
    #[must_use]
    pub fn value(
        self,
        event_type: &'static str,
        version: u16,
        change: impl Fn(Value) -> Result<Value, Cause> + Send + Sync + 'static,
    ) -> Self {
        let next = Schema::new(event_type, version.saturating_add(1));
        let to = next.clone();
        let step = move |value| Ok(vec![Upcast { schema: to.clone(), data: change(value)? }]);
        self.step(event_type, version, [next], Action::Values(Arc::new(step)))
    }

    /// Gives a version another name, and leaves its data as it is.
    #[must_use]
    pub fn rename(self, event_type: &'static str, version: u16, to: Schema) -> Self {
        self.step(event_type, version, [to], Action::Rename)
    }

    /// Makes any number of events of one. `to` lists the schemas of the events that the step may make.
    #[must_use]
    pub fn split(
        self,
        event_type: &'static str,
        version: u16,
        to: impl IntoIterator<Item = Schema>,
        split: impl Fn(Value) -> Result<Vec<Upcast>, Cause> + Send + Sync + 'static,
    ) -> Self {
        self.step(event_type, version, to, Action::Values(Arc::new(split)))
    }

    /// Reads a version as a type of the program, and makes any number of present events of it.
    #[must_use]
    pub fn typed<Old: DeserializeOwned + 'static>(
        self,
        event_type: &'static str,
        version: u16,
        convert: impl Fn(Old) -> Result<Events<E>, Cause> + Send + Sync + 'static,
    ) -> Self {
        let step = move |data: Data<'_>| {
            let old = match data {
                Data::Bytes(bytes, ContentType::Json) => {
                    Json::decode(Typed::<Old>::default(), bytes)
                }
                Data::Bytes(bytes, _) => E::Codec::decode(Typed::<Old>::default(), bytes),
                Data::Value(value) => {
                    serde_json::from_value(value).map_err(CodecError::new::<Json>)
                }
            };
            convert(old.map_err(StepError::Codec)?).map_err(StepError::Refused)
        };
        self.step(event_type, version, [], Action::Present(Arc::new(step)))
    }

    /// Leaves events of a version out: what they record no longer matters.
    #[must_use]
    pub fn ignore(self, event_type: &'static str, version: u16) -> Self {
        self.step(event_type, version, [], Action::Present(Arc::new(|_| Ok(Events::none()))))
    }

    fn step(
        mut self,
        event_type: &'static str,
        version: u16,
        to: impl IntoIterator<Item = Schema>,
        action: Action<E>,
    ) -> Self {
        let from = Schema::new(event_type, version);
        self.steps.push(Step { from, to: to.into_iter().collect(), action });
        self
    }
}

impl<E: Event> Default for Upcasters<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for Upcasters<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<_> = self.steps.iter().map(|step| (&step.from, &step.to)).collect();
        f.debug_struct("Upcasters")
            .field("steps", &steps)
            .field("unknown", &self.unknown)
            .field("first", &self.first)
            .finish()
    }
}

struct Typed<T>(std::marker::PhantomData<fn() -> T>);

impl<T> Default for Typed<T> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<'de, T: DeserializeOwned> serde::de::DeserializeSeed<'de> for Typed<T> {
    type Value = T;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        T::deserialize(deserializer)
    }
}
