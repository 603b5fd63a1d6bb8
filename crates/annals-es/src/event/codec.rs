//! Codecs: the bytes of an event's data.
//!
//! Owns the trait and the codecs of the crate's features. Must never know names or versions of events.

use std::fmt;

use serde::de::DeserializeSeed;
use serde::{Deserializer, Serialize};

use crate::store::{Cause, ContentType};

/// A format of data.
///
/// ```
/// use annals_es::{Codec, CodecError, ContentType, Json};
/// use serde::Serialize;
/// use serde::de::DeserializeSeed;
///
/// /// JSON that a person reads.
/// struct Pretty;
///
/// impl Codec for Pretty {
///     const NAME: &'static str = "pretty JSON";
///     const CONTENT_TYPE: ContentType = ContentType::Json;
///     const HAS_VALUES: bool = true;
///
///     fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
///         serde_json::to_vec_pretty(value).map_err(CodecError::new::<Self>)
///     }
///
///     fn decode<'de, T: DeserializeSeed<'de>>(
///         seed: T,
///         data: &'de [u8],
///     ) -> Result<T::Value, CodecError> {
///         Json::decode(seed, data)
///     }
/// }
/// ```
pub trait Codec: Send + Sync + 'static {
    /// The name of the format, for error texts.
    const NAME: &'static str;
    /// What the store is told about the data.
    const CONTENT_TYPE: ContentType;
    /// Whether data can be read as a [`serde_json::Value`]: the format describes itself.
    const HAS_VALUES: bool;

    /// The bytes of a value.
    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError>;

    /// The value of bytes. Bytes after the value are an error.
    fn decode<'de, T: DeserializeSeed<'de>>(
        seed: T,
        data: &'de [u8],
    ) -> Result<T::Value, CodecError>;
}

/// Data that a codec could not write or read.
#[derive(Debug, thiserror::Error)]
#[error("the data is not {codec} of the expected form: {source}")]
pub struct CodecError {
    codec: &'static str,
    source: Cause,
}

impl CodecError {
    /// The error of a codec.
    pub fn new<C: Codec>(source: impl Into<Cause>) -> Self {
        Self { codec: C::NAME, source: source.into() }
    }
}

/// JSON, by `serde_json`.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl Codec for Json {
    const NAME: &'static str = "JSON";
    const CONTENT_TYPE: ContentType = ContentType::Json;
    const HAS_VALUES: bool = true;

    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
        serde_json::to_vec(value).map_err(CodecError::new::<Self>)
    }

    fn decode<'de, T: DeserializeSeed<'de>>(
        seed: T,
        data: &'de [u8],
    ) -> Result<T::Value, CodecError> {
        let mut deserializer = serde_json::Deserializer::from_slice(data);
        let value = seed.deserialize(&mut deserializer).map_err(CodecError::new::<Self>)?;
        deserializer.end().map_err(CodecError::new::<Self>)?;
        Ok(value)
    }
}

/// The format `postcard`: the smallest data, readable only with the exact schema (feature `postcard`).
#[cfg(feature = "postcard")]
#[derive(Debug, Clone, Copy)]
pub struct Postcard;

#[cfg(feature = "postcard")]
impl Codec for Postcard {
    const NAME: &'static str = "postcard";
    const CONTENT_TYPE: ContentType = ContentType::Binary;
    const HAS_VALUES: bool = false;

    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
        postcard::to_stdvec(value).map_err(CodecError::new::<Self>)
    }

    fn decode<'de, T: DeserializeSeed<'de>>(
        seed: T,
        data: &'de [u8],
    ) -> Result<T::Value, CodecError> {
        let mut deserializer = postcard::Deserializer::from_bytes(data);
        let value = seed.deserialize(&mut deserializer).map_err(CodecError::new::<Self>)?;
        let rest = deserializer.finalize().map_err(CodecError::new::<Self>)?;
        nothing_after(rest.len()).map_err(CodecError::new::<Self>)?;
        Ok(value)
    }
}

/// CBOR, RFC 8949 (feature `cbor`).
#[cfg(feature = "cbor")]
#[derive(Debug, Clone, Copy)]
pub struct Cbor;

#[cfg(feature = "cbor")]
impl Codec for Cbor {
    const NAME: &'static str = "CBOR";
    const CONTENT_TYPE: ContentType = ContentType::Binary;
    const HAS_VALUES: bool = true;

    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
        cbor4ii::serde::to_vec(Vec::new(), &value)
            .map_err(|e| CodecError::new::<Self>(e.to_string()))
    }

    fn decode<'de, T: DeserializeSeed<'de>>(
        seed: T,
        data: &'de [u8],
    ) -> Result<T::Value, CodecError> {
        let reader = cbor4ii::core::utils::SliceReader::new(data);
        let mut deserializer = cbor4ii::serde::Deserializer::new(reader);
        let value = seed
            .deserialize(&mut deserializer)
            .map_err(|error| CodecError::new::<Self>(error.to_string()))?;
        let rest = cbor4ii::core::dec::Read::fill(&mut deserializer.into_inner(), 1)
            .map_or(0, |rest| rest.as_ref().len());
        nothing_after(rest).map_err(CodecError::new::<Self>)?;
        Ok(value)
    }
}

#[cfg(any(feature = "postcard", feature = "cbor"))]
fn nothing_after(rest: usize) -> Result<(), String> {
    if rest == 0 { Ok(()) } else { Err("there are bytes after the value".to_owned()) }
}

/// Serializes an event without its name.
pub(crate) struct DataOf<'a, E>(pub(crate) &'a E);

impl<E: super::Event> Serialize for DataOf<'_, E> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_event(serializer)
    }
}

/// Deserializes the data of an event with this name.
pub(crate) struct Named<'a, E> {
    event_type: &'a str,
    event: std::marker::PhantomData<fn() -> E>,
}

impl<'a, E> Named<'a, E> {
    pub(crate) fn new(event_type: &'a str) -> Self {
        Self { event_type, event: std::marker::PhantomData }
    }
}

impl<'de, E: super::Event> DeserializeSeed<'de> for Named<'_, E> {
    type Value = E;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<E, D::Error> {
        E::deserialize_event(self.event_type, deserializer)
    }
}

impl<E> fmt::Debug for Named<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Named").field(&self.event_type).finish()
    }
}
