//! One JSON object's keys with the exact source text of their values.
//!
//! Owns the reading of a line into keys and raw values, and the conversions whose errors name
//! the key. Must never drop a key: one is taken out, or is left over and found.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Standard alphabet; written with padding, read with or without.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The keys of an object that were not taken yet.
pub(crate) struct Object<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Object<'a> {
    /// Reads one JSON object; a key that occurs twice is an error.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line)
            .map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to() + 1))?;
        serde_json::from_str(text).map_err(|e| describe(&e))
    }

    /// Removes a key and returns its raw value.
    pub(crate) fn take(&mut self, key: &str) -> Option<&'a RawValue> {
        self.0.remove(key)
    }

    /// Removes a key and returns its raw value; `null` counts as absent.
    pub(crate) fn take_set(&mut self, key: &str) -> Option<&'a RawValue> {
        self.take(key).filter(|raw| raw.get() != "null")
    }

    /// Removes a key and returns it as a value of type `T`; absent and `null` are `None`.
    pub(crate) fn value<T: DeserializeOwned>(
        &mut self,
        key: &str,
        expected: &str,
    ) -> Result<Option<T>, String> {
        let Some(raw) = self.take_set(key) else {
            return Ok(None);
        };
        match serde_json::from_str(raw.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("\"{key}\" must be {expected}, found {}", excerpt(raw.get()))),
        }
    }

    /// Removes a key that must be a string, and returns the string.
    pub(crate) fn required(&mut self, key: &str) -> Result<String, String> {
        self.value(key, "a string")?.ok_or_else(|| format!("\"{key}\" is missing"))
    }

    /// Removes a key and returns the bytes that its value holds as base64.
    pub(crate) fn base64(&mut self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(text) = self.value::<String>(key, "a base64 string")? else {
            return Ok(None);
        };
        BASE64.decode(text).map(Some).map_err(|e| format!("\"{key}\" is not base64: {e}"))
    }

    /// The keys that were not taken, with their values.
    pub(crate) fn rest(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(key, raw)| (key.as_ref(), *raw))
    }
}

/// The start of a value, for a message.
fn excerpt(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(40) {
        Some((end, _)) => Cow::Owned(format!("{}…", &raw[..end])),
        None => Cow::Borrowed(raw),
    }
}

/// The message of a parse error with its column; the line is always the caller's own.
pub(crate) fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = BTreeMap::new();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            if keys.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} occurs twice")));
            }
            keys.insert(key, map.next_value::<&'de RawValue>()?);
        }
        Ok(Object(keys))
    }
}
