//! The health page: how the store was opened, its files, and a run of `verify`.
//!
//! Owns the view of the directory, which is described in the format specification. Must never open a file in it.

use std::path::Path;
use std::sync::Arc;

use annals::Store;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use maud::{Markup, html};

use crate::app::{App, html_response, json_response, respond};
use crate::context::Context;
use crate::fault::Fault;
use crate::verifying::Run;
use crate::{guard, page, start, text};

/// Files of a directory that are looked at, and that are shown.
const LOOKED_AT: usize = 20_000;
const SHOWN: usize = 200;
/// Faults and notes that are listed.
const LISTED: usize = 50;
const MAX_FORM: usize = 1 << 10;
/// The end of the name of what is left of a segment in cold storage.
const COLD: &str = ".cold";

/// A file of the store.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    name: String,
    bytes: u64,
}

/// `/status`
pub(crate) async fn show(State(app): State<Arc<App>>, cx: Context) -> Response {
    let shared = Arc::clone(&app);
    let asked = cx.clone();
    let shown = app.read(move |store| {
        let content = content(&shared, store, &asked)?;
        Ok(page::whole(&shared, &asked, Some(store), "Health", &content))
    });
    let fault = match shown.await {
        Ok(markup) => return html_response(StatusCode::OK, markup),
        Err(fault) => fault,
    };
    // A store that does not open can be verified all the same.
    let content = html! {
        (fault.markup())
        @if app.source.path().is_some() { h2 { "Verify" } (verification(&app, &cx)) }
    };
    html_response(fault.status(), page::whole(&app, &cx, None, fault.title(), &content))
}

fn content(app: &App, store: &Store, cx: &Context) -> Result<Markup, Fault> {
    // A reader beside a writer looks for new events first.
    store.event_at(store.head())?;
    let stats = store.stats();
    Ok(html! {
        h1 { "Health" }
        dl.figures {
            div { dt { "Opened" } dd { (start::opened(store.opened())) } }
            div { dt { "Head" } dd { (text::number(stats.head.get())) } }
            div { dt { "Log" } dd { (text::size(stats.log_bytes)) } }
            div { dt { "Allocated" } dd { (text::size(stats.allocated_bytes)) } }
            div { dt { "Indexes" } dd { (text::size(stats.index_bytes)) } }
            div { dt { "Segments" } dd { (stats.segments) } }
            div { dt { "Store id" } dd { code { (stats.store_id) } } }
        }
        h2 { "Verify" }
        (verification(app, cx))
        h2 { "Segments" }
        p.faint { "A double border marks the active segment; the others are sealed and never change. Of one with a dotted "
            "border, only a description is here: its events are in cold storage." }
        (segments(store.path(), stats.sealed_segments))
        h2 { "Indexes" }
        p.faint { "A dashed border marks the index of one segment, a round one a level file: the index of several." }
        (indexes(store.path()))
        h2 { "Checkpoints" }
        (checkpoints(store.path()))
    })
}

/// The files of a directory of the store with one of these endings, by name.
#[expect(clippy::disallowed_methods, reason = "the page shows the files; it opens none")]
fn files(directory: &Path, endings: &[&str]) -> Vec<File> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<File> = entries
        .take(LOOKED_AT)
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let is_named = endings.iter().any(|ending| name.ends_with(ending));
            is_named.then(|| Some(File { name, bytes: entry.metadata().ok()?.len() }))?
        })
        .collect();
    files.sort();
    files
}

/// A name as people read it: without leading zeros.
fn short(name: &str) -> String {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let numbers = stem.split('-').map(|number| match number.trim_start_matches('0') {
        "" => "0",
        short => short,
    });
    numbers.collect::<Vec<_>>().join("–")
}

fn strip(files: &[File], class: impl Fn(usize, &File) -> (&'static str, &'static str)) -> Markup {
    let first = files.len().saturating_sub(SHOWN);
    html! {
        @if first > 0 { p { "The last " (SHOWN) " of " (text::number(files.len() as u64)) " are shown." } }
        ul.strip {
            @for (at, file) in files.iter().enumerate().skip(first) {
                @let (class, kind) = class(at, file);
                li class=(class) title=(text::plain(&file.name)) {
                    span.unseen { (kind) " " } (text::visible(&short(&file.name))) " · " (text::size(file.bytes))
                }
            }
        }
        @if files.is_empty() { p { "None." } }
    }
}

fn segments(root: &Path, sealed: u64) -> Markup {
    let mut numbered = files(&root.join("log"), &[COLD, ".seg"]);
    numbered.retain(|file| file.name.bytes().next().is_some_and(|b| b.is_ascii_digit()));
    // A segment that is on its way into cold storage, or back, has both files.
    numbered.dedup_by(|later, file| {
        let is_same = short(&file.name) == short(&later.name);
        if is_same {
            std::mem::swap(file, later);
        }
        is_same
    });
    strip(&numbered, |at, file| match (at as u64) < sealed {
        true if file.name.ends_with(COLD) => ("cold", "cold segment"),
        true => ("sealed", "sealed segment"),
        false if at + 1 == numbered.len() => ("active", "active segment"),
        false => ("full", "full segment"),
    })
}

fn indexes(root: &Path) -> Markup {
    strip(&files(&root.join("index"), &[".idx", ".lvl"]), |_, file| {
        let is_level = file.name.contains('-');
        if is_level { ("level", "level file") } else { ("index", "index file") }
    })
}

fn checkpoints(root: &Path) -> Markup {
    strip(&files(&root.join("checkpoints"), &[""]), |_, _| ("checkpoint", "checkpoint"))
}

/// The newest run, and the button that starts one.
fn verification(app: &App, cx: &Context) -> Markup {
    let run = app.verifying.newest();
    let is_running = run.as_ref().is_some_and(|run| run.result.is_none());
    html! {
        div data-verify=[is_running.then(|| cx.link("verify-state", &[]))] {
            @match &run {
                None => p { "Reads every byte of the store, and changes nothing." },
                Some(run) => (outcome(run)),
            }
        }
        @if !is_running {
            form method="post" action=(cx.link("verify", &[])) {
                input type="hidden" name="key" value=(app.form_key);
                button { "Verify now" }
            }
        }
    }
}

fn outcome(run: &Run) -> Markup {
    html! {
        @match &run.result {
            None => {
                p {
                    label { "Running since " (text::time(run.began)) " "
                        progress max="100" value=(run.percent()) { (run.percent()) " %" } }
                    " " span data-done { (text::size(run.done_bytes)) " of " (text::size(run.total_bytes)) }
                }
                noscript { p { "Load the page again to see the progress." } }
            },
            Some(Err(why)) => p.fault { "The store cannot be verified: " (text::visible(why)) },
            Some(Ok(report)) => {
                p {
                    @match report.faults.len() {
                        0 => strong { "No fault found" },
                        faults => strong { (text::counted(faults as u64, "fault")) " found" },
                    }
                    ": " (text::counted(report.events, "event")) " in " (text::counted(report.commits, "commit")) ", "
                    (text::size(report.bytes)) " read in " (text::duration(run.took)) ", begun " (text::time(run.began)) "."
                }
                @if !report.faults.is_empty() {
                    ul { @for fault in report.faults.iter().take(LISTED) {
                        li.fault { (text::visible(&fault.file.display().to_string())) " at offset " (fault.offset) ": "
                            (text::visible(&fault.what)) }
                    } }
                    p { code { "annals repair STORE --to NEWDIR" } " copies what is intact into a new store." }
                }
                @if !report.notes.is_empty() {
                    ul { @for note in report.notes.iter().take(LISTED) { li { (text::visible(note)) } } }
                }
            },
        }
    }
}

/// `/verify-state`: the progress of the newest run, for the script of the page.
pub(crate) async fn state(State(app): State<Arc<App>>) -> Response {
    let Some(run) = app.verifying.newest() else { return json_response(&serde_json::Value::Null) };
    json_response(&serde_json::json!({
        "percent": run.percent(),
        "done": format!("{} of {}", text::size(run.done_bytes), text::size(run.total_bytes)),
        "is_over": run.result.is_some(),
    }))
}

/// `POST /verify`: starts a run, unless one is running.
pub(crate) async fn verify(State(app): State<Arc<App>>, cx: Context, body: Body) -> Response {
    let form = to_bytes(body, MAX_FORM).await.unwrap_or_default();
    let has_key = form_urlencoded::parse(&form)
        .any(|(name, value)| name == "key" && guard::is_form_key(&app, &value));
    if !has_key {
        let text =
            "The form is not of this run of the server. Load the health page again, and repeat.";
        return app.fault(&cx, &Fault::Forbidden(text.to_owned()));
    }
    match app.read(|store| Ok(store.path().to_path_buf())).await {
        Ok(path) => app.verifying.start(path),
        // A store that cannot be opened can be verified all the same.
        Err(fault) => match app.source.path() {
            Some(path) => app.verifying.start(path),
            None => return app.fault(&cx, &fault),
        },
    }
    let mut response = respond(StatusCode::SEE_OTHER, "text/plain", Body::empty());
    if let Ok(place) = HeaderValue::from_str(&cx.link("status", &[])) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_short() {
        assert_eq!(short("00000000000000000012.seg"), "12");
        assert_eq!(short("00000000000000000001-00000000000000000008.lvl"), "1–8");
        assert_eq!(short("00000000000000000000.idx"), "0");
    }
}
