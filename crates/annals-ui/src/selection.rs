//! Which events a page is about: a query, a period, hidden events or not.
//!
//! Owns the parameters `q`, `since`, `until` and `hidden`, and the mark at the place of a malformed query.

use annals::{ParseQueryError, Position, Query, ReadAll, Store, Timestamp};
use maud::{Markup, html};

use crate::context::Context;
use crate::fault::Fault;
use crate::text;

/// Which events a page is about.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// `None`: every event.
    pub(crate) query: Option<Query>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    pub(crate) include_hidden: bool,
}

/// The parameters are not a selection.
#[derive(Debug)]
pub(crate) enum Malformed {
    Query { text: String, error: ParseQueryError },
    Time { name: &'static str, text: String },
}

impl Selection {
    pub(crate) fn of(cx: &Context) -> Result<Self, Malformed> {
        let query = match cx.param("q").map(str::trim) {
            None | Some("" | "all") => None,
            Some(text) => Some(
                text.parse().map_err(|error| Malformed::Query { text: text.to_owned(), error })?,
            ),
        };
        let (since, until) = (time(cx, "since")?, time(cx, "until")?);
        Ok(Self { query, since, until, include_hidden: cx.flag("hidden") })
    }

    /// The read of all selected events, oldest first.
    pub(crate) fn read(&self, store: &Store) -> annals::Result<ReadAll> {
        let mut read = store.read_all();
        if let Some(since) = self.since.and_then(|since| since.as_micros().checked_sub(1)) {
            read = read.after(store.position_at(Timestamp::from_micros(since))?);
        }
        if let Some(until) = self.until {
            read = read.up_to(store.position_at(until)?);
        }
        Ok(self.filtered(read))
    }

    /// The selected events up to a position, or up to the end of the period if that is earlier.
    pub(crate) fn read_up_to(&self, store: &Store, last: u64) -> annals::Result<ReadAll> {
        let end =
            self.until.map_or(Ok(Position::new(u64::MAX)), |until| store.position_at(until))?;
        Ok(self.read(store)?.up_to(end.get().min(last)))
    }

    /// A read with the query, for any period.
    pub(crate) fn filtered(&self, mut read: ReadAll) -> ReadAll {
        if let Some(query) = &self.query {
            read = read.matching(query.clone());
        }
        if self.include_hidden { read.include_hidden() } else { read }
    }
}

fn time(cx: &Context, name: &'static str) -> Result<Option<Timestamp>, Malformed> {
    let Some(text) = cx.param(name) else { return Ok(None) };
    let time = text::parse_time(text);
    time.map(Some).ok_or_else(|| Malformed::Time { name, text: text.to_owned() })
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::BadRequest(malformed.message())
    }
}

impl Malformed {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Query { error, .. } => format!("The query is malformed {error}."),
            Self::Time { name, text } => format!(
                "The time {text:?} of the field {name} is malformed: give 2026-11-25, 2026-11-25 10:05 or RFC 3339."
            ),
        }
    }

    /// The reason, with the place in the query marked.
    pub(crate) fn markup(&self) -> Markup {
        html! {
            div.fault role="alert" #wrong {
                p { (text::visible(&self.message())) }
                @if let Self::Query { text, error } = self { (marked(text, error)) }
            }
        }
    }
}

/// The query with the character at the place of the error marked, and the place pointed at in the line below.
fn marked(query: &str, error: &ParseQueryError) -> Markup {
    let mut at = error.at.min(query.len());
    while !query.is_char_boundary(at) {
        at -= 1;
    }
    let (before, rest) = query.split_at(at);
    let end = rest.chars().next().map_or(0, char::len_utf8);
    let (wrong, after) = rest.split_at(end);
    let shown = text::plain(before);
    html! {
        pre.wrong {
            (shown) mark { @if wrong.is_empty() { "␠" } @else { (text::visible(wrong)) } } (text::visible(after))
            "\n" (" ".repeat(shown.chars().count())) "^ " (error.why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(query: &str) -> String {
        let error = query.parse::<Query>().unwrap_err();
        marked(query, &error).into_string()
    }

    #[test]
    fn place_of_an_error_is_marked_at_any_character() {
        assert!(wrong("type:A colour:red").contains("type:A <mark>c</mark>olour:red\n       ^ "));
        assert!(wrong("type:é ü:x").contains("type:é <mark>ü</mark>:x"));
        assert!(wrong("type:A or").contains("<mark>"));
        assert!(!wrong("<script>:x").contains("<script>"));
        assert!(wrong("").contains("<mark>␠</mark>"));
    }
}
