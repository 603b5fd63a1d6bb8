//! The page under a prefix of a service.

use annals_ui::Options;
use axum::Router;

use crate::support::{ledger, page};

#[tokio::test(flavor = "multi_thread")]
async fn links_have_the_prefix() {
    let (_dir, store) = ledger();
    let nested =
        Router::new().nest("/admin/events", annals_ui::router(store.clone(), Options::new()));
    let proxied = annals_ui::router(store, Options::new().base_path("/admin/events/"));
    for (router, prefix) in [(&nested, "/admin/events"), (&proxied, "")] {
        let start = if prefix.is_empty() { "/" } else { prefix };
        for path in [start.to_owned(), format!("{prefix}/streams"), format!("{prefix}/event?at=1")]
        {
            let answer = page(router, &path).await;
            let mut links = 0;
            for part in
                answer.text().split(&["href=\"", "src=\"", "action=\""][..1].concat()).skip(1)
            {
                let link = part.split('"').next().unwrap();
                assert!(link.starts_with("/admin/events") || link == "#main", "{path}: {link}");
                links += 1;
            }
            assert!(links > 5, "{path}");
        }
    }
    page(&nested, "/admin/events/assets/style.css").await;
}
