//! The difference of two JSON texts as JSON Patch (RFC 6902).
//!
//! Owns the choice of operations. Must never round a number: values are compared and kept as source text, so that `1.50`
//! and `1.5`, or two integers of 30 digits, are different.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

/// Deeper values are compared as whole texts, so that nesting costs bounded time and stack.
const MAX_DEPTH: usize = 64;

/// One operation of a patch, with the value that it replaces or removes for people to read.
#[derive(Debug, Serialize)]
pub(crate) struct Operation {
    /// What is done.
    pub(crate) op: Kind,
    /// Where it is done, as a JSON Pointer (RFC 6901); empty: the whole document.
    pub(crate) path: String,
    /// The new value without white space between tokens; `None` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Box<RawValue>>,
    /// The old value without white space between tokens; not part of the patch.
    #[serde(skip)]
    pub(crate) old: Option<Box<RawValue>>,
}

/// What an [`Operation`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A key or an element that the old text lacks.
    Add,
    /// A key or an element that the new text lacks.
    Remove,
    /// Another value.
    Replace,
}

/// The operations that make `new` out of `old`, in the order in which they apply; `None` if either text is not JSON.
///
/// The order of keys and white space make no difference. Of arrays, the common start and end are kept, and the elements
/// between them are compared in pairs.
pub(crate) fn diff(old: &[u8], new: &[u8]) -> Option<Vec<Operation>> {
    let (old, new) = (compact(old)?, compact(new)?);
    let mut operations = Vec::new();
    compare(&old, &new, &mut String::new(), 0, &mut operations);
    Some(operations)
}

/// The operation that adds a whole document; `None` if it is not JSON.
pub(crate) fn added(new: &[u8]) -> Option<Operation> {
    let value = Some(compact(new)?);
    Some(Operation { op: Kind::Add, path: String::new(), value, old: None })
}

/// The text without white space between its tokens; `None` if it is not JSON.
pub(crate) fn compact(json: &[u8]) -> Option<Box<RawValue>> {
    let raw: &RawValue = serde_json::from_slice(json).ok()?;
    let (mut text, mut in_string, mut escaped) = (String::with_capacity(json.len()), false, false);
    for c in raw.get().chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        text.push(c);
    }
    RawValue::from_string(text).ok()
}

fn compare(
    old: &RawValue,
    new: &RawValue,
    path: &mut String,
    depth: usize,
    operations: &mut Vec<Operation>,
) {
    if old.get() == new.get() {
        return;
    }
    if depth < MAX_DEPTH {
        type Keys<'a> = BTreeMap<String, &'a RawValue>;
        let keys = |raw: &RawValue| raw.get().starts_with('{');
        if keys(old)
            && keys(new)
            && let (Ok(old), Ok(new)) = (
                serde_json::from_str::<Keys<'_>>(old.get()),
                serde_json::from_str::<Keys<'_>>(new.get()),
            )
        {
            return objects(&old, &new, path, depth, operations);
        }
        let list = |raw: &RawValue| raw.get().starts_with('[');
        if list(old)
            && list(new)
            && let (Ok(old), Ok(new)) = (
                serde_json::from_str::<Vec<&RawValue>>(old.get()),
                serde_json::from_str::<Vec<&RawValue>>(new.get()),
            )
        {
            return arrays(&old, &new, path, depth, operations);
        }
    }
    if !is_same_text(old, new) {
        operations.push(operation(Kind::Replace, path, Some(old), Some(new)));
    }
}

/// Whether both are strings that differ in their escapes alone.
fn is_same_text(old: &RawValue, new: &RawValue) -> bool {
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    text(old).is_some_and(|old| Some(old) == text(new))
}

fn objects(
    old: &BTreeMap<String, &RawValue>,
    new: &BTreeMap<String, &RawValue>,
    path: &mut String,
    depth: usize,
    operations: &mut Vec<Operation>,
) {
    for (key, &was) in old {
        at(path, key, |path| match new.get(key) {
            Some(is) => compare(was, is, path, depth + 1, operations),
            None => operations.push(operation(Kind::Remove, path, Some(was), None)),
        });
    }
    for (key, &is) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        at(path, key, |path| operations.push(operation(Kind::Add, path, None, Some(is))));
    }
}

fn arrays(
    old: &[&RawValue],
    new: &[&RawValue],
    path: &mut String,
    depth: usize,
    operations: &mut Vec<Operation>,
) {
    let is_same = |(old, new): &(&&RawValue, &&RawValue)| old.get() == new.get();
    let start = old.iter().zip(new).take_while(is_same).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(is_same).count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    for (number, (was, is)) in (start..).zip(old.iter().zip(new)) {
        at(path, &number.to_string(), |path| compare(was, is, path, depth + 1, operations));
    }
    let both = old.len().min(new.len());
    // From the last one, so that the numbers of the others stay as they are.
    for (number, was) in old.iter().enumerate().skip(both).rev() {
        at(path, &(start + number).to_string(), |path| {
            operations.push(operation(Kind::Remove, path, Some(was), None));
        });
    }
    for (number, is) in (start..).zip(new).skip(both) {
        at(path, &number.to_string(), |path| {
            operations.push(operation(Kind::Add, path, None, Some(is)));
        });
    }
}

/// Does something with the path of a key or an element.
fn at(path: &mut String, key: &str, then: impl FnOnce(&mut String)) {
    let len = path.len();
    path.push('/');
    for c in key.chars() {
        match c {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            c => path.push(c),
        }
    }
    then(path);
    path.truncate(len);
}

fn operation(op: Kind, path: &str, old: Option<&RawValue>, new: Option<&RawValue>) -> Operation {
    Operation {
        op,
        path: path.to_owned(),
        value: new.map(ToOwned::to_owned),
        old: old.map(ToOwned::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn patch(old: &str, new: &str) -> String {
        serde_json::to_string(&diff(old.as_bytes(), new.as_bytes()).expect("JSON")).expect("JSON")
    }

    #[test]
    fn operations_name_the_smallest_values_that_differ() {
        for (old, new, expected) in [
            (r#"{"a":1, "b":[ ]}"#, r#"{"b":[],"a":1}"#, "[]"),
            (r#""A""#, r#""\u0041""#, "[]"),
            ("1.50", "1.5", r#"[{"op":"replace","path":"","value":1.5}]"#),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567891",
                r#"[{"op":"replace","path":"","value":123456789012345678901234567891}]"#,
            ),
            (
                r#"{"a/b":{"c~d":1},"x":1}"#,
                r#"{"a/b":{"c~d":2},"y":[1, 2]}"#,
                r#"[{"op":"replace","path":"/a~1b/c~0d","value":2},{"op":"remove","path":"/x"},{"op":"add","path":"/y","value":[1,2]}]"#,
            ),
            ("[1,2,3]", "[1,9,2,3]", r#"[{"op":"add","path":"/1","value":9}]"#),
            ("[1,2,3,4]", "[1,4]", r#"[{"op":"remove","path":"/2"},{"op":"remove","path":"/1"}]"#),
            (r#"[{"a":1}]"#, r#"[{"a":2}]"#, r#"[{"op":"replace","path":"/0/a","value":2}]"#),
            ("{}", "[]", r#"[{"op":"replace","path":"","value":[]}]"#),
        ] {
            assert_eq!(patch(old, new), expected, "{old} {new}");
        }
        assert!(diff(b"{", b"{}").is_none() && diff(b"1", b"\xff").is_none());
    }

    #[test]
    fn deep_nesting_is_compared_in_bounded_stack() {
        let deep = |value: u8| format!("{}{value}{}", "[".repeat(100_000), "]".repeat(100_000));
        // Deeper than the parser goes: not JSON for this purpose, or a difference.
        let found = diff(deep(1).as_bytes(), deep(2).as_bytes());
        assert!(found.is_none_or(|operations| operations.len() == 1));
        let deep = |value: u8| format!("{}{value}{}", "[".repeat(100), "]".repeat(100));
        let found = diff(deep(1).as_bytes(), deep(2).as_bytes()).expect("JSON");
        assert_eq!(found[0].path, "/0".repeat(MAX_DEPTH));
    }

    /// A value that a number decides.
    fn value(seed: &mut u64, depth: u32) -> Value {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let choice = (*seed >> 33) % if depth == 0 { 3 } else { 5 };
        let len = (*seed >> 40) % 5;
        match choice {
            0 => json!((*seed >> 50) % 3),
            1 => json!(["", "a", "b/~\n\"é"][usize::try_from(len % 3).unwrap()]),
            2 => Value::Null,
            3 => (0..len).map(|_| value(seed, depth - 1)).collect(),
            _ => Value::Object(
                (0..len)
                    .map(|n| {
                        (
                            ["a", "b/c", "~", "", "é"][usize::try_from(n).unwrap()].to_owned(),
                            value(seed, depth - 1),
                        )
                    })
                    .collect(),
            ),
        }
    }

    #[test]
    fn patches_make_the_new_value_out_of_the_old_one() {
        let mut seed = 7;
        let mut changed = 0;
        for round in 0..3000 {
            let (old, new) = (value(&mut seed, 4), value(&mut seed, 4));
            let operations = diff(old.to_string().as_bytes(), new.to_string().as_bytes());
            let text = serde_json::to_string(&operations.expect("JSON")).expect("JSON");
            let patch: json_patch::Patch = serde_json::from_str(&text).expect("a patch");
            let mut made = old.clone();
            json_patch::patch(&mut made, &patch).expect("it applies");
            assert_eq!(made, new, "round {round}: {old} {text}");
            changed += usize::from(patch.0.len() > 1);
        }
        assert!(changed > 100, "{changed}");
    }
}
