//! Style, script and icon, embedded in the program.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::app::respond;

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/app.js");
const ICON: &str = include_str!("assets/icon.svg");

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let mut response = respond(StatusCode::OK, content_type, text);
    let age = HeaderValue::from_static("private, max-age=300");
    response.headers_mut().insert(header::CACHE_CONTROL, age);
    response
}

pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

pub(crate) async fn icon() -> Response {
    asset("image/svg+xml", ICON)
}
