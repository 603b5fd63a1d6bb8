//! Which requests are answered at all, and the headers of every response.
//!
//! Owns the checks of host, origin and token. Must never let a request through that fails one of them, nor compare a
//! secret in a time that depends on it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{OriginalUri, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq as _;

use crate::app::{App, hexadecimal, respond};
use crate::context::Context;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The headers of every response.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Answers a request if it passes every check, and adds the headers.
pub(crate) async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match refused(&app, &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn refused(app: &App, request: &Request) -> Option<Response> {
    let Some(host) = host(request) else {
        return Some(plain(StatusCode::BAD_REQUEST, "The request names no host.\n"));
    };
    if !app.options.any_host && !is_expected(&app.options.hosts, &host) {
        let text = "This host name is not served. Use 127.0.0.1 or localhost; a service names others with \
                    annals_ui::Options::host.\n";
        return Some(plain(StatusCode::MISDIRECTED_REQUEST, text));
    }
    if !is_same_origin(request, &host) {
        return Some(plain(StatusCode::FORBIDDEN, "The request came from another origin.\n"));
    }
    let token = app.options.token.as_deref()?;
    let original = request.extensions().get::<OriginalUri>().map(|uri| uri.0.path().to_owned());
    let uri = request.uri();
    let base = app.options.base_path.as_deref();
    let cx = Context::new(base, original.as_deref(), uri.path(), uri.query());
    let cookie = cookie_name(&host);
    if let Some(given) = cx.param("token") {
        return Some(if equal(given, token) {
            with_cookie(&cx, &cookie, token)
        } else {
            token_needed()
        });
    }
    let headers = request.headers();
    let is_given = match (bearer(headers), cookie_value(headers, &cookie)) {
        (Some(given), _) => equal(given, token),
        (None, Some(given)) => !token.is_empty() && equal(given, &hexadecimal(token.as_bytes())),
        (None, None) => false,
    };
    (!is_given).then(token_needed)
}

/// The host that the request is for.
fn host(request: &Request) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?.parse::<Authority>().ok()?;
    let is_plain = hosts.next().is_none() && !host.as_str().contains('@');
    is_plain.then_some(host)
}

/// Whether requests to a host are answered: the names of this machine, and those of the settings.
fn is_expected(names: &[String], host: &Authority) -> bool {
    let host = host.host().trim_end_matches('.');
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| host.eq_ignore_ascii_case(name))
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// Whether a request may be answered by its origin. Links from other pages to this one are followed; scripts and forms of
/// other pages are not served.
fn is_same_origin(request: &Request, host: &Authority) -> bool {
    let headers = request.headers();
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    // A browser names no origin for the forms of a page that sends no referrer, and states their site instead, which no
    // page can set.
    let is_own_form = site == Some("same-origin");
    if let Some(origin) = headers.get(header::ORIGIN)
        && !(origin == "null" && is_own_form)
    {
        let origin = origin.to_str().ok().and_then(|it| it.split_once("://")).map(|(_, it)| it);
        return origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()));
    }
    let mode = headers.get("sec-fetch-mode").and_then(|mode| mode.to_str().ok());
    match site {
        Some("same-origin") => true,
        // The address was typed, or a program made the request. A change needs an origin.
        Some("none") | None => !is_change,
        Some(_) => !is_change && mode == Some("navigate"),
    }
}

fn equal(given: &str, expected: &str) -> bool {
    !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected.as_bytes()))
}

/// Whether a form was made by this page.
pub(crate) fn is_form_key(app: &App, given: &str) -> bool {
    equal(given, &app.form_key)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Cookies do not belong to a port: the name has it, so that two pages on one machine do not meet.
fn cookie_name(host: &Authority) -> String {
    format!("annals-{}", host.port_u16().unwrap_or(80))
}

fn cookie_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

fn with_cookie(cx: &Context, name: &str, token: &str) -> Response {
    // Lax, because a strict cookie would be missing after a link from another page.
    let token = hexadecimal(token.as_bytes());
    let value = format!("{name}={token}; HttpOnly; SameSite=Lax; Path={}", cx.cookie_path());
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    let (Ok(cookie), Ok(location)) =
        (HeaderValue::from_str(&value), HeaderValue::from_str(&cx.without_token()))
    else {
        return plain(StatusCode::BAD_REQUEST, "The address cannot be answered.\n");
    };
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::LOCATION, location);
    response
}

fn token_needed() -> Response {
    let text = "This page needs its token: add ?token=… to the address once, or send the header \
                Authorization: Bearer …\n";
    let mut response = plain(StatusCode::UNAUTHORIZED, text);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    respond(status, "text/plain; charset=utf-8", text)
}
