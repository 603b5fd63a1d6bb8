//! Suggestions for the field of a query.
//!
//! Owns their number. Must never collect more names than it returns.

use std::sync::Arc;

use annals::{Store, TermCounts};
use axum::extract::State;
use axum::response::Response;

use crate::app::{App, json_response, respond};
use crate::context::{Context, condition_text};
use crate::fault::Fault;
use crate::overview::Lists;

/// Names that continue a beginning.
const CONTINUED: u64 = 20;
const KINDS: [&str; 4] = ["type", "category", "tag", "stream"];

/// Conditions on the most frequent types and categories, for browsers without scripts. Costs nothing: they are those of
/// the start page, if it has been computed.
pub(crate) fn frequent(lists: Option<&Lists>) -> Vec<String> {
    let Some(lists) = lists else { return Vec::new() };
    let types = lists.types.iter().map(|term| condition_text("type", &term.name));
    let categories = lists.categories.iter().map(|term| condition_text("category", &term.name));
    types.chain(categories).collect()
}

/// Conditions that continue the beginning of one, such as `type:Dep`.
fn continued(store: &Store, beginning: &str) -> Result<Vec<String>, Fault> {
    let Some((kind, value)) = beginning.split_once(':') else {
        let kinds = KINDS.iter().filter(|kind| kind.starts_with(beginning));
        return Ok(kinds.map(|kind| format!("{kind}:")).collect());
    };
    let prefix = value.strip_prefix('"').unwrap_or(value);
    let terms = match kind {
        "type" => store.event_types(),
        "category" => store.categories(),
        "tag" => store.tags(),
        "stream" => {
            let streams = store.streams().prefix(prefix).limit(CONTINUED).into_iter();
            let texts = streams.map(|stream| Ok(condition_text(kind, &stream?.name)));
            return texts.collect();
        }
        _ => return Ok(Vec::new()),
    };
    names(kind, terms.prefix(prefix).limit(CONTINUED))
}

fn names(kind: &str, terms: TermCounts) -> Result<Vec<String>, Fault> {
    terms.into_iter().map(|term| Ok(condition_text(kind, &term?.name))).collect()
}

/// `/suggest`: a list of conditions that continue the parameter `q`.
pub(crate) async fn suggest(State(app): State<Arc<App>>, cx: Context) -> Response {
    let beginning = cx.param("q").unwrap_or_default().to_owned();
    match app.read(move |store| continued(store, &beginning)).await {
        Ok(found) => json_response(&found.into()),
        Err(fault) => respond(fault.status(), "text/plain; charset=utf-8", fault.message()),
    }
}
