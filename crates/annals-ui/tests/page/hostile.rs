//! Events that try to become part of the page.

use annals::{ContentType, NewEvent, Options as StoreOptions};

use crate::support::{get, page, router, with_event};

const SCRIPT: &str = "\"'><script>alert(1)</script>";
/// Overrides the direction of text, moves the cursor, and hides characters.
const UNSEEN: &str = "a\u{202e}b\u{1b}[2Jc\u{200b}d\u{2066}e\nf";

#[tokio::test(flavor = "multi_thread")]
async fn names_are_text_and_never_markup() {
    for name in [SCRIPT, UNSEEN] {
        let event = NewEvent::new(name, name).metadata(name).tag(name);
        let (_dir, store) = with_event(name, event);
        let router = router(&store);
        let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        page(&router, "/lists").await;
        for path in [
            "/".to_owned(),
            "/streams".to_owned(),
            format!("/streams?prefix={encoded}"),
            format!("/stream?name={encoded}"),
            format!("/stream?name={encoded}{encoded}"),
            "/event?at=1".to_owned(),
            format!("/event?at={encoded}%401"),
            format!("/event?at={encoded}"),
            "/commit?at=1".to_owned(),
            format!("/{encoded}"),
            "/search?q=all".to_owned(),
            format!("/search?q={encoded}"),
            format!("/search?q=all&since={encoded}"),
            format!("/tail?q={encoded}"),
            format!("/tail?q=stream:%22{encoded}%22"),
            format!("/diff?stream={encoded}"),
            format!("/diff?stream={encoded}&type={encoded}"),
            format!("/trace?id={encoded}"),
            format!("/consumers?done={encoded}"),
            format!("/cursor?name={encoded}"),
        ] {
            let mut answer = get(&router, &path).await;
            // The value of a field stays as it is, so that it can be sent again.
            let shown = answer.text().replace(&format!("value=\"{UNSEEN}\""), "");
            answer.body =
                shown.replace(&format!("value=\"stream:&quot;{UNSEEN}&quot;\""), "").into_bytes();
            answer.lacks(&[
                "<script>",
                "alert(1)</script>\n",
                "\u{202e}",
                "\u{1b}",
                "\u{200b}",
                "\u{2066}",
            ]);
        }
        let shown = if name == SCRIPT { "&lt;script&gt;alert(1)" } else { "\\u{202e}" };
        page(&router, &format!("/stream?name={encoded}")).await.has(&[shown]);
        page(&router, "/event?at=1").await.has(&[shown]);
        page(&router, "/metrics").await.lacks(&["script", "\u{202e}"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_event_is_shown_in_part_and_downloaded_whole() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::new().max_event_size(16 << 20);
    let store = options.open(dir.path().join("ledger")).unwrap();
    let text = format!("\"{}\"", "<b>".repeat((10 << 20) / 3));
    let event = NewEvent::new("Large", text.clone()).content_type(ContentType::Json);
    store.append("s", annals::ExpectedVersion::Any, [event]).unwrap();
    let router = router(&store);
    for path in ["/event?at=1", "/stream?name=s", "/"] {
        let answer = page(&router, path).await;
        assert!(answer.body.len() < 100_000, "{path}: {} bytes", answer.body.len());
        answer.lacks(&["<b>"]);
    }
    page(&router, "/event?at=1").await.has(&["10.0 MiB", "Download the whole", "part=data"]);
    let whole = page(&router, "/data?at=1&part=data").await;
    assert_eq!(whole.body, text.as_bytes());
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert!(whole.header("content-disposition").starts_with("attachment;"));
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_data_is_a_dump() {
    let bytes: Vec<u8> = (0..=255).collect();
    let (_dir, store) = with_event("s", NewEvent::new("T", bytes.clone()).metadata(b"\xff\xfe"));
    let router = router(&store);
    page(&router, "/event?at=1").await.has(&["00000000  00 01 02", "f8 f9 fa fb", "ff fe"]);
    page(&router, "/stream?name=s").await.has(&["256 B binary"]);
    assert_eq!(page(&router, "/data?at=1&part=data").await.body, bytes);
    assert_eq!(page(&router, "/data?at=1&part=metadata").await.body, [0xff, 0xfe]);
}
