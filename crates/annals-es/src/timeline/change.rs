//! What has changed between two points of the past.
//!
//! Owns the comparison of states as JSON values. Must never read events itself.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::Past;
use crate::aggregate::Loaded;
use crate::event::{CodecError, Json};

/// Two states of the past, and what happened between them.
#[non_exhaustive]
pub struct Change<P, Ev> {
    /// The earlier state.
    pub before: P,
    /// The later state.
    pub after: P,
    /// The events after the earlier point, up to the later one: a stream, for [`next`](crate::next) or
    /// [`blocking::iter`](crate::blocking::iter), which reads them when it is polled.
    pub events: Ev,
}

impl<P, Ev> Change<P, Ev> {
    pub(crate) fn new(before: P, after: P, events: Ev) -> Self {
        Self { before, after, events }
    }
}

impl<T: Serialize, Ev> Change<Past<T>, Ev> {
    /// Where the states differ as JSON; see [`difference`].
    ///
    /// # Errors
    ///
    /// [`CodecError`] if a state has no form in JSON.
    pub fn difference(&self) -> Result<Vec<Difference>, CodecError> {
        difference(&self.before.state, &self.after.state)
    }
}

impl<A: Serialize, Ev> Change<Loaded<A>, Ev> {
    /// Where the states differ as JSON; see [`difference`].
    ///
    /// # Errors
    ///
    /// [`CodecError`] if a state has no form in JSON.
    pub fn difference(&self) -> Result<Vec<Difference>, CodecError> {
        difference(&self.before.state, &self.after.state)
    }
}

impl<P: fmt::Debug, Ev> fmt::Debug for Change<P, Ev> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("before", &self.before)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

/// A place at which two states differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The place as a JSON Pointer (RFC 6901): `/lines/2/price`; empty for the state as a whole.
    pub path: String,
    /// The earlier value; `None` if there was none.
    pub before: Option<Value>,
    /// The later value; `None` if there is none.
    pub after: Option<Value>,
}

impl fmt::Display for Difference {
    /// `/balance: 5 -> 21`, with `nothing` for a value that is missing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        write!(f, "{}: {} -> {}", self.path, text(&self.before), text(&self.after))
    }
}

/// Where two states differ as JSON: fields of objects by name, in order of names, and elements of arrays by index. An
/// element that is inserted into an array differs from the one that was at its place, and so do all after it.
///
/// ```
/// use annals_es::difference;
/// use serde_json::json;
///
/// let before = json!({"open": true, "lines": [1, 2]});
/// let after = json!({"open": true, "lines": [1, 3], "owner": "ann"});
/// let differences = difference(&before, &after)?;
/// let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
/// assert_eq!(texts, ["/lines/1: 2 -> 3", "/owner: nothing -> \"ann\""]);
/// # Ok::<(), annals_es::CodecError>(())
/// ```
///
/// # Errors
///
/// [`CodecError`] if a state has no form in JSON, for example because the keys of a map are not texts.
pub fn difference<T: Serialize + ?Sized>(
    before: &T,
    after: &T,
) -> Result<Vec<Difference>, CodecError> {
    let value = |state: &T| serde_json::to_value(state).map_err(CodecError::new::<Json>);
    let mut found = Vec::new();
    compare(&mut String::new(), Some(&value(before)?), Some(&value(after)?), &mut found);
    Ok(found)
}

fn compare(
    path: &mut String,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                // `~` and `/` are written as the standard says.
                let part = name.replace('~', "~0").replace('/', "~1");
                below(path, &part, before.get(name), after.get(name), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                let part = index.to_string();
                below(path, &part, before.get(index), after.get(index), found);
            }
        }
        _ if before == after => {}
        _ => found.push(Difference {
            path: path.clone(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

fn below(
    path: &mut String,
    part: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    let length = path.len();
    path.push('/');
    path.push_str(part);
    compare(path, before, after, found);
    path.truncate(length);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn differences_name_places_and_both_values() {
        let of = |before: Value, after: Value| {
            let found = difference(&before, &after).expect("JSON");
            for it in &found {
                assert_eq!(before.pointer(&it.path), it.before.as_ref(), "{it}");
                assert_eq!(after.pointer(&it.path), it.after.as_ref(), "{it}");
            }
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(of(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 2}]})), [""; 0]);
        assert_eq!(of(json!(1), json!("1")), [": 1 -> \"1\""]);
        assert_eq!(of(json!({"a/b": {"~": 1}}), json!({"a/b": {"~": 2}})), ["/a~1b/~0: 1 -> 2"]);
        assert_eq!(
            of(json!({"a": [1, 2, 3], "b": {}}), json!({"a": [4], "c": null})),
            [
                "/a/0: 1 -> 4",
                "/a/1: 2 -> nothing",
                "/a/2: 3 -> nothing",
                "/b: {} -> nothing",
                "/c: nothing -> null"
            ]
        );
        assert_eq!(of(json!({"a": []}), json!({"a": {}})), ["/a: [] -> {}"]);
    }

    #[test]
    fn state_without_a_form_in_json_is_an_error() {
        let state = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert!(difference(&state, &state).is_err());
    }
}
