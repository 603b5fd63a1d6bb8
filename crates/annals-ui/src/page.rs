//! The frame of every page: head, navigation, notices, footer.
//!
//! Owns what all pages have in common. Must never contain a script or a style of its own: the policy refuses them.

use annals::{Opened, Store};
use maud::{DOCTYPE, Markup, html};

use crate::app::App;
use crate::context::Context;
use crate::text;

/// The pages of the navigation: path and name.
const PAGES: [(&str, &str); 6] = [
    ("", "Start"),
    ("streams", "Streams"),
    ("search", "Search"),
    ("tail", "Live"),
    ("consumers", "Consumers"),
    ("status", "Health"),
];

/// A whole page.
pub(crate) fn whole(
    app: &App,
    cx: &Context,
    store: Option<&Store>,
    title: &str,
    content: &Markup,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (text::plain(title)) " · annals" }
                link rel="stylesheet" href=(cx.link("assets/style.css", &[]));
                link rel="icon" href=(cx.link("assets/icon.svg", &[])) type="image/svg+xml";
                script src=(cx.link("assets/app.js", &[])) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (navigation(cx))
                main #main tabindex="-1" {
                    (notices(app, store))
                    (content)
                }
                (footer(store))
            }
        }
    }
}

fn navigation(cx: &Context) -> Markup {
    let here = cx.path.trim_matches('/');
    html! {
        header {
            nav aria-label="Pages" {
                @for (path, name) in PAGES {
                    a href=(cx.link(path, &[])) aria-current=[(here == path).then_some("page")] { (name) }
                }
            }
            form.find role="search" action=(cx.link("go", &[])) {
                label { span.unseen { "Position, id, stream or query" }
                    input type="search" name="to" size="28" placeholder="position, id, stream or query"
                        autocomplete="off" data-key="/"; }
                button { "Go" }
            }
            button #clock type="button" hidden { "Local time" }
        }
    }
}

fn notices(app: &App, store: Option<&Store>) -> Markup {
    html! {
        @if let Some(store) = store {
            @if let Opened::Damaged { file, offset, expected_position, evidence } = store.opened() {
                p.notice role="alert" {
                    strong { "The store is damaged. " }
                    "Only the events before position " (expected_position) " are shown: "
                    (text::visible(&file.display().to_string())) " at offset " (offset) "; "
                    (text::visible(evidence)) "."
                }
            }
            @if let Some(reopened) = app.source.reopened() {
                p.notice {
                    @if reopened.is_other {
                        strong { "Another store is in the place of the one that was served. " }
                    } @else {
                        strong { "The store was opened again. " }
                    }
                    (text::time(reopened.at)) ": " (text::visible(&reopened.why))
                }
            }
        }
    }
}

fn footer(store: Option<&Store>) -> Markup {
    html! {
        footer {
            @if let Some(store) = store {
                p {
                    code { (text::visible(&store.path().display().to_string())) }
                    " up to position " (text::number(store.head().get()))
                }
            }
            details {
                summary { "Keys" }
                ul {
                    li { kbd { "/" } " search field" }
                    li { kbd { "j" } " and " kbd { "k" } ", or the arrow keys on a row: next and previous row" }
                    li { kbd { "Enter" } " opens the row" }
                    li { kbd { "n" } " and " kbd { "p" } ": next and previous page, or event of the stream" }
                    li { kbd { "t" } " local time or UTC" }
                }
            }
        }
    }
}
