//! The subjects of a store, and the keys of its bucket.
//!
//! Owns the escaping of names. Every name has a token of its own: letters, digits, `_` and `-` stand for themselves, any
//! other byte is `=` and two hexadecimal digits, and `=` alone is the empty name.

use annals_es::{Query, QueryItem, StreamName};
use uuid::Uuid;

/// The token of the id of a stream whose name has no `-`.
const NO_ID: &str = "==";

/// The subjects of one store.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    name: String,
}

impl Subjects {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// The subjects that the stream of the server keeps.
    pub(crate) fn kept(&self) -> Vec<String> {
        let mut kept = self.kept_before();
        kept.push(format!("{}.checkpoint.*", self.name));
        kept
    }

    /// Those that it kept before checkpoints could move with a commit.
    pub(crate) fn kept_before(&self) -> Vec<String> {
        vec![self.events(), format!("{}.id.*", self.name), self.check()]
    }

    /// The subjects of all events.
    pub(crate) fn events(&self) -> String {
        format!("{}.event.>", self.name)
    }

    /// The subject of a stream of events: its category, and the rest of its name.
    pub(crate) fn stream(&self, stream: &StreamName) -> String {
        let (category, id) = match stream.as_str().split_once('-') {
            Some((category, id)) => (category, token(id)),
            None => (stream.as_str(), NO_ID.to_owned()),
        };
        format!("{}.event.{}.{id}", self.name, token(category))
    }

    /// The subject whose only message says where the event with an id is.
    pub(crate) fn id(&self, id: Uuid) -> String {
        format!("{}.id.{}", self.name, id.simple())
    }

    /// The subject of messages that carry the check of a stream to which a commit appends nothing.
    pub(crate) fn check(&self) -> String {
        format!("{}.check", self.name)
    }

    /// The only subject of a fenced stream.
    pub(crate) fn fence(&self) -> String {
        format!("{}.fence", self.name)
    }

    /// The only subject of the bucket of a fenced store.
    pub(crate) fn bucket_fence(&self) -> String {
        format!("$KV.{}.fence", self.name)
    }

    /// The subject of the notices that a commit was stored.
    pub(crate) fn news(&self) -> String {
        format!("{}.news", self.name)
    }

    /// The narrowest subject that has every event that a query selects.
    pub(crate) fn of_query(&self, query: &Query) -> String {
        let of_item = |item: &QueryItem| match (&item.stream, &item.category) {
            (Some(stream), _) => self.stream(stream),
            (None, Some(category)) => format!("{}.event.{}.*", self.name, token(category)),
            (None, None) => self.events(),
        };
        let mut subjects = query.items().iter().map(of_item);
        let Some(first) = subjects.next() else { return self.events() };
        if subjects.all(|subject| subject == first) { first } else { self.events() }
    }

    /// The subject of a checkpoint that has moved with a commit.
    pub(crate) fn checkpoint(&self, name: &str) -> String {
        format!("{}.checkpoint.{}", self.name, token(name))
    }

    /// The key of a checkpoint.
    pub(crate) fn checkpoint_key(&self, name: &str) -> String {
        format!("$KV.{}.checkpoint.{}", self.name, token(name))
    }

    /// The keys of all checkpoints.
    pub(crate) fn checkpoint_keys(&self) -> String {
        format!("$KV.{}.checkpoint.*", self.name)
    }

    /// The key of the list of a name's snapshots.
    pub(crate) fn snapshots(&self, key: &str) -> String {
        format!("$KV.{}.snapshots.{}", self.name, token(key))
    }

    /// The key of the state of one snapshot.
    pub(crate) fn state(&self, key: &str, kind: char, mark: u64) -> String {
        format!("$KV.{}.state.{}.{kind}.{mark}", self.name, token(key))
    }

    /// The subjects of the bucket.
    pub(crate) fn bucket(&self) -> String {
        format!("$KV.{}.>", self.name)
    }
}

/// The token of a name.
fn token(name: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if name.is_empty() {
        return "=".to_owned();
    }
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            token.push(char::from(byte));
        } else {
            token.push('=');
            token.push(char::from(DIGITS[usize::from(byte >> 4)]));
            token.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    token
}

/// The name of a token.
fn name(token: &str) -> Option<String> {
    if token == "=" {
        return Some(String::new());
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(token.len()), token.as_bytes());
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first != b'=' {
            bytes.push(*first);
            continue;
        }
        let (digits, others) = others.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = others;
    }
    String::from_utf8(bytes).ok()
}

/// The name of the checkpoint that has a key.
pub(crate) fn checkpoint_of(key: &str) -> Option<String> {
    name(key.rsplit('.').next()?)
}

/// The name of the stream whose events have a subject.
pub(crate) fn stream_of(subject: &str) -> Option<StreamName> {
    let mut tokens = subject.split('.').skip(2);
    let (category, id) = (name(tokens.next()?)?, tokens.next()?);
    if tokens.next().is_some() {
        return None;
    }
    Some(if id == NO_ID { category.into() } else { format!("{category}-{}", name(id)?).into() })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_have_subjects_of_their_own_without_reserved_characters() {
        let subjects = Subjects::new("annals");
        let names = [
            "a",
            "a-",
            "a-1",
            "a-=",
            "a-==",
            "a-=3D",
            "-",
            "-a",
            "--",
            "a.b",
            "a.b-1",
            "a-b.c",
            "a b-1",
            "*",
            ">",
            "a-*",
            "a->",
            "größe-🦀",
            "a=2Eb",
            "a%2Db-1",
            "a\0-\n",
            "$JS.API-x",
            "event-1",
            "A-1",
            "a_1",
            "=",
            "==",
        ];
        let mut seen = HashSet::new();
        for name in names {
            let subject = subjects.stream(&name.into());
            let tokens: Vec<&str> = subject.split('.').collect();
            assert_eq!(tokens.len(), 4, "{name:?}: {subject}");
            let is_plain = |it: char| it.is_ascii_alphanumeric() || "_-=".contains(it);
            assert!(
                tokens.iter().all(|it| !it.is_empty() && it.chars().all(is_plain)),
                "{subject}"
            );
            assert!(seen.insert(subject.clone()), "{name:?}: {subject} twice");
            assert_eq!(stream_of(&subject).as_ref().map(StreamName::as_str), Some(name));
        }
    }

    #[test]
    fn query_has_the_narrowest_subject() {
        let subjects = Subjects::new("s");
        let of = |query| subjects.of_query(&query);
        assert_eq!(of(Query::all()), "s.event.>");
        assert_eq!(of(Query::none()), "s.event.>");
        assert_eq!(of(Query::types(["T"])), "s.event.>");
        assert_eq!(of(Query::category("a")), "s.event.a.*");
        assert_eq!(of(Query::category("a-b")), "s.event.a=252Db.*");
        assert_eq!(of(Query::stream("a-1").and_tag("t")), "s.event.a.1");
        assert_eq!(
            of(Query::category("a").or(QueryItem::new().category("a").tag("t"))),
            "s.event.a.*"
        );
        assert_eq!(of(Query::category("a").or(QueryItem::new().category("b"))), "s.event.>");
    }
}
