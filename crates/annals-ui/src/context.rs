//! One request: its parameters, and the prefix of its links.
//!
//! Owns the parsing of parameters and the building of addresses. Must never put a value into an address unescaped.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;

use crate::app::App;
use crate::fault::Fault;

/// What a browser reads as a slash in a path.
const SLASHES: [char; 2] = ['/', '\\'];

/// A request to a page.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// What precedes the path of each page; it does not end with a slash.
    base: Arc<str>,
    /// The path inside the router, such as `/stream`.
    pub(crate) path: Arc<str>,
    params: Arc<[(String, String)]>,
}

impl FromRequestParts<Arc<App>> for Context {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let original = parts.extensions.get::<OriginalUri>().map(|uri| uri.0.path().to_owned());
        Ok(Self::new(
            app.options.base_path.as_deref(),
            original.as_deref(),
            parts.uri.path(),
            parts.uri.query(),
        ))
    }
}

impl Context {
    /// `original` is the path before a router around this one took its prefix off.
    pub(crate) fn new(
        base: Option<&str>,
        original: Option<&str>,
        path: &str,
        query: Option<&str>,
    ) -> Self {
        let found = original.map(|original| match path {
            "/" => original,
            _ => original.strip_suffix(path).unwrap_or_default(),
        });
        let base = base.or(found).unwrap_or_default().trim_end_matches('/');
        // A path that begins with two slashes would be an address on another host.
        let base = match base.trim_start_matches(SLASHES) {
            "" => String::new(),
            inner => format!("/{inner}"),
        };
        let params = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let params = params.map(|(name, value)| (name.into_owned(), value.into_owned()));
        Self { base: base.into(), path: path.into(), params: params.collect() }
    }

    /// A parameter that is set and not empty.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter that must be set; an empty value counts.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Fault> {
        let found = self.params.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).ok_or_else(|| {
            Fault::BadRequest(format!(
                "The address has no parameter {name}. Start from a link of another page."
            ))
        })
    }

    /// A parameter that is a number, if it is set.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let Some(text) = self.param(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Fault::BadRequest(format!("The parameter {name} must be a number, and is {text:?}."))
        })
    }

    /// Whether a parameter is set to 1.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.param(name) == Some("1")
    }

    /// The address of a page, such as `stream`, with parameters.
    pub(crate) fn link(&self, page: &str, params: &[(&str, &str)]) -> String {
        let mut link = format!("{}/{page}", self.base);
        if !params.is_empty() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            link.push('?');
            link.push_str(&query.extend_pairs(params).finish());
        }
        link
    }

    /// The address of this page with one parameter changed.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        let others = self.params.iter().filter(|(key, _)| key != name);
        let mut params: Vec<_> =
            others.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if !value.is_empty() {
            params.push((name, value));
        }
        self.link(self.path.trim_start_matches(SLASHES), &params)
    }

    /// The address of this page without the token of the request.
    pub(crate) fn without_token(&self) -> String {
        self.with("token", "")
    }

    /// The path of cookies.
    pub(crate) fn cookie_path(&self) -> String {
        if self.base.is_empty() { "/".to_owned() } else { self.base.to_string() }
    }

    pub(crate) fn stream(&self, name: &str) -> String {
        self.link("stream", &[("name", name)])
    }

    pub(crate) fn event(&self, position: u64) -> String {
        self.link("event", &[("at", &position.to_string())])
    }

    /// The search for one condition, such as `tag` and its value.
    pub(crate) fn search(&self, condition: &str, value: &str) -> String {
        self.link("search", &[("q", &condition_text(condition, value))])
    }
}

/// A condition in the query language, in quotes where it needs them.
pub(crate) fn condition_text(condition: &str, value: &str) -> String {
    let is_plain =
        !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && c != ',' && c != '"');
    if is_plain {
        format!("{condition}:{value}")
    } else {
        format!("{condition}:\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals::{Query, QueryItem};

    fn base(option: Option<&str>, original: &str, path: &str) -> String {
        Context::new(option, Some(original), path, None).link("x", &[])
    }

    #[test]
    fn prefix_is_found_and_never_another_host() {
        assert_eq!(base(None, "/stream", "/stream"), "/x");
        assert_eq!(base(None, "/", "/"), "/x");
        assert_eq!(base(None, "/admin/stream", "/stream"), "/admin/x");
        assert_eq!(base(None, "/admin", "/"), "/admin/x");
        assert_eq!(base(None, "/admin/", "/"), "/admin/x");
        assert_eq!(base(Some("/a/b/"), "/stream", "/stream"), "/a/b/x");
        assert_eq!(base(None, "//evil.example/stream", "/stream"), "/evil.example/x");
        // Browsers read a backslash in a path as a slash.
        assert_eq!(base(None, "/\\evil.example/stream", "/stream"), "/evil.example/x");
        for path in ["/\\evil.example/", "/\\/evil.example/", "//evil.example/"] {
            let uri: axum::http::Uri = path.parse().expect("a path that a request can have");
            let cx = Context::new(None, Some(uri.path()), uri.path(), Some("a=1&token=t"));
            assert_eq!(cx.without_token(), "/evil.example/?a=1", "{path}");
        }
    }

    #[test]
    fn parameters_are_escaped_and_come_back() {
        let cx = Context::new(None, None, "/stream", Some("name=a%26b&before=7&token=t"));
        assert_eq!(cx.param("name"), Some("a&b"));
        assert_eq!(cx.number("before").unwrap(), Some(7));
        assert_eq!(cx.with("before", "3"), "/stream?name=a%26b&token=t&before=3");
        assert_eq!(cx.without_token(), "/stream?name=a%26b&before=7");
        assert_eq!(cx.stream("\"><script>"), "/stream?name=%22%3E%3Cscript%3E");
    }

    #[test]
    fn every_value_is_a_condition() {
        for value in ["a:b", "", "a b", "x,y", "say \"no\" \\", "\u{2028}", "or"] {
            let query: Query = condition_text("tag", value).parse().expect(value);
            assert_eq!(query, Query::from(QueryItem::new().tag(value)), "{value:?}");
        }
    }
}
