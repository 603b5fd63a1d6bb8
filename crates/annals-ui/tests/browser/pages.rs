//! What a person sees and does.

use std::time::Duration;

use annals::consumer_group::{ConsumerGroup, Retry};

use crate::chrome::Page;
use crate::site::Site;

#[test]
fn start_page_is_complete_in_light_and_dark() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    page.open(&site.at("/"));
    page.until("document.querySelectorAll('h2').length >= 6");
    let text = page.text();
    for part in ["Events over time", "Newest events", "Largest streams", "Placed", "customer"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = page.eval(ground);
    page.screenshot("start");
    page.dark(true);
    assert_ne!(page.eval(ground), light);
    page.screenshot("start-dark");
    // Each bar goes to the events of its time.
    page.eval("document.querySelector('.bars a').dispatchEvent(new MouseEvent('click', { bubbles: true }))");
    page.until(
        "location.pathname === '/search' && document.querySelectorAll('[data-row]').length > 0",
    );
    page.is_clean(&site.address);
}

#[test]
fn keys_reach_everything() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    page.open(&site.at("/stream?name=order-1"));
    page.press("Tab");
    assert_eq!(page.eval("document.activeElement.textContent"), "Skip to the content");
    page.press("Enter");
    page.until("document.activeElement.id === 'main'");
    page.press("/");
    assert_eq!(page.eval("document.activeElement.name"), "to");
    page.eval("document.activeElement.blur()");
    page.press("j");
    page.press("j");
    let second = "document.activeElement.closest('tr').rowIndex";
    assert_eq!(page.eval(second), 2);
    let outline = "getComputedStyle(document.activeElement.closest('tr')).outlineStyle";
    assert_eq!(page.eval(outline), "solid", "the row with the focus is marked");
    page.press("k");
    page.press("ArrowDown");
    assert_eq!(page.eval(second), 2);
    page.press("Enter");
    page.until("location.pathname === '/event'");
    page.until("document.readyState === 'complete'");
    let before = page.eval("location.search");
    page.press("p");
    page.until(&format!("location.search !== {before} && document.readyState === 'complete'"));
    page.press("n");
    page.until(&format!("location.search === {before}"));
    page.is_clean(&site.address);
}

#[test]
fn times_are_local_on_request_and_remembered() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    page.open(&site.at("/event?at=1"));
    let time = "document.querySelector('main time').textContent";
    let utc = page.eval(time);
    let utc = utc.as_str().unwrap();
    assert!(utc.starts_with("2026-11-23 08:") && utc.ends_with(" UTC"), "{utc}");
    page.eval("document.querySelector('#clock').click()");
    let local = page.eval(time);
    assert!(local.as_str().unwrap().starts_with("2026-11-23 17:"), "{local}");
    page.open(&site.at("/event?at=2"));
    assert!(page.eval(time).as_str().unwrap().starts_with("2026-11-23 17:"));
    page.press("t");
    assert!(page.eval(time).as_str().unwrap().ends_with(" UTC"));
    page.is_clean(&site.address);
}

#[test]
fn pages_are_complete_without_scripts() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    page.scripts(false);
    for (path, parts) in [
        ("/", &["Newest events", "Show them alone"][..]),
        ("/lists", &["Largest streams", "Placed"]),
        ("/stream?name=order-1", &["order-1", "Differences"]),
        ("/search?q=type:Paid", &["Paid", "Count the matches"]),
        ("/tail", &["Load the page again"]),
        ("/consumers", &["emailer", "search-index"]),
        ("/cursor?name=billing", &["At position", "Lag after each"]),
        ("/status", &["Verify now", "Checkpoints"]),
    ] {
        page.open(&site.at(path));
        let text = page.text();
        for part in parts {
            // The lists of the start page may be there at once.
            assert!(
                text.contains(part) || path == "/" && text.contains("Largest streams"),
                "{path}: {part}"
            );
        }
    }
    page.is_clean(&site.address);
}

#[test]
fn search_suggests_and_counts() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    page.open(&site.at("/search?q=type:Paid"));
    page.until("/^\\d+ events/.test(document.querySelector('main p').innerText)");
    page.screenshot("search");
    page.eval(
        "{ const field = document.querySelector('[name=q]'); field.value = 'type:Paid tag:customer:3'; \
         field.dispatchEvent(new Event('input')); }",
    );
    page.until("[...document.querySelector('[name=q]').list.options].some((it) => it.value === 'type:Paid tag:customer:31')");
    page.is_clean(&site.address);
}

#[test]
fn live_tail_shows_pauses_and_continues() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    page.open(&site.at("/tail?q=category:live"));
    page.until("document.querySelector('#tail-state').textContent.startsWith('Live')");
    site.append("other-1", "Unseen");
    site.append("live-1", "First");
    page.until("document.body.innerText.includes('First')");
    assert!(!page.text().contains("Unseen"));
    page.eval("document.querySelector('#pause').click()");
    site.append("live-1", "Second");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!page.text().contains("Second") && page.text().contains("Paused"));
    page.eval("document.querySelector('#pause').click()");
    page.until("document.body.innerText.includes('Second')");
    let first = page.eval("document.querySelector('#events tr td:nth-child(5)').innerText");
    assert_eq!(first, "Second", "the newest is on top");
    page.is_clean(&site.address);
}

#[test]
fn consumers_have_trends_and_parked_events_are_discarded() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    let retry = Retry::new().attempts(1).first_delay(Duration::from_millis(1));
    let group = ConsumerGroup::new(&site.store, "mailing")
        .retry(retry)
        .begin_after(site.store.head().get() - 3);
    let running = group.clone().start(|_| Err("no <b>address</b>")).unwrap();
    assert!(running.wait_for(site.store.head().get() - 1, Duration::from_secs(60)));
    running.stop().unwrap();
    page.open(&site.at("/consumers"));
    page.until(
        "/\\/s$/.test(document.querySelector('[data-cursor=billing] [data-rate]').textContent)",
    );
    site.store.cursors().advance("billing", site.store.head().get() - 1).unwrap();
    page.until(
        "document.querySelector('[data-cursor=billing] [data-trend]').textContent.includes('less')",
    );
    assert!(page.text().contains("no <b>address</b>"));
    page.screenshot("consumers");
    page.open(&site.at("/cursor?name=billing"));
    assert!(page.text().contains("Since the move before"));
    page.screenshot("cursor");
    page.open(&site.at("/consumers"));
    let parked = group.parked().unwrap().len();
    page.eval("document.querySelector('form[method=post] button').click()");
    page.until("document.body.innerText.includes('was discarded')");
    assert_eq!(group.parked().unwrap().len(), parked - 1);
    page.is_clean(&site.address);
}

#[test]
fn correlation_is_drawn_and_leads_to_its_events() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    page.open(&site.at("/search?q=type:HandedOver"));
    page.eval("document.querySelector('[data-row] a').click()");
    page.until("location.pathname === '/event' && document.readyState === 'complete'");
    page.eval(
        "[...document.querySelectorAll('dd a')].find((it) => it.href.includes('/trace')).click()",
    );
    page.until("location.pathname === '/trace' && document.readyState === 'complete'");
    assert_eq!(page.eval("document.querySelectorAll('.cause').length"), 8);
    assert_eq!(page.eval("document.querySelectorAll('.dot').length"), 9);
    page.screenshot("correlation");
    page.is_clean(&site.address);
}

#[test]
fn sliders_compare_two_moments() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    page.open(&site.at("/diff?stream=customer-3"));
    page.eval(
        "{ const range = document.querySelector('#from'); range.value = 1; \
         range.dispatchEvent(new Event('input')); range.dispatchEvent(new Event('change')); }",
    );
    page.until("location.search.includes('from=1') && document.readyState === 'complete'");
    assert!(page.text().contains("/limit") && page.text().contains("version 1 "));
    page.screenshot("differences");
    page.is_clean(&site.address);
}

#[test]
fn verify_runs_to_its_end() {
    let Some(mut page) = Page::start() else { return };
    let site = Site::shop();
    page.open(&site.at("/status"));
    page.eval("document.querySelector('form[method=post] button').click()");
    page.until("document.body.innerText.includes('No fault found')");
    page.is_clean(&site.address);
}
