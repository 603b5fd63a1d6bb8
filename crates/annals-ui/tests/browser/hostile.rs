//! Events that try to run in the browser.

use annals::{ContentType, ExpectedVersion, NewEvent, Store};
use annals_ui::Options;

use crate::chrome::Page;
use crate::site::Site;

const SCRIPTS: [&str; 4] = [
    "<script>window.pwned = 1</script>",
    "\"><img src=x onerror=window.pwned=1>",
    "'-window.pwned=1-'",
    "javascript:window.pwned=1",
];

fn fill(store: &Store, at: &dyn Fn(u64)) {
    at(1);
    for text in SCRIPTS {
        let metadata =
            serde_json::json!({ "correlation_id": text, "causation_id": text }).to_string();
        let data = serde_json::json!({ text: [text, "\u{202e}"] });
        let event = NewEvent::json(text, &data).unwrap().metadata(metadata).tag(text);
        store
            .append(text, ExpectedVersion::Any, [event.tag(format!("correlation:{text}"))])
            .unwrap();
        store.cursors().advance(text, 1).unwrap();
    }
    let large = format!("[{}\"\"]", "\"<script>window.pwned=1</script>\",".repeat((10 << 20) / 36));
    let large = NewEvent::new("Large", large).content_type(ContentType::Json);
    let binary = NewEvent::new("Binary", (0..=255).collect::<Vec<u8>>());
    store.append("large", ExpectedVersion::Any, [large, binary]).unwrap();
}

#[test]
fn nothing_of_an_event_runs() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::of(fill, Options::new());
    let mut paths: Vec<String> =
        ["/", "/lists", "/streams", "/search?q=all", "/tail", "/consumers", "/status"]
            .map(str::to_owned)
            .to_vec();
    paths.extend((1..=6).map(|position| format!("/event?at={position}")));
    for text in SCRIPTS {
        let text: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        for path in
            ["stream?name=", "search?q=", "trace?id=", "diff?stream=", "tail?q=", "streams?prefix="]
        {
            paths.push(format!("/{path}{text}"));
        }
    }
    for path in paths {
        page.open(&site.at(&path));
        page.until("![...document.querySelectorAll('[data-load]')].some((it) => it.innerText.includes('Counting'))");
        assert!(page.eval("window.pwned").is_null(), "{path}");
        assert_eq!(
            page.eval("document.querySelectorAll('main script, main img').length"),
            0,
            "{path}"
        );
        assert_eq!(
            page.eval("document.querySelectorAll('a[href^=\"javascript:\"]').length"),
            0,
            "{path}"
        );
    }
    // Rows that a live tail adds are text too.
    page.open(&site.at("/tail"));
    page.until("document.querySelector('#tail-state').textContent.startsWith('Live')");
    site.append(SCRIPTS[1], "Added");
    page.until("document.body.innerText.includes('Added')");
    assert!(page.eval("window.pwned").is_null());
    // A page with a refused address is an error of the request, and none of the page.
    page.eval("1");
}
