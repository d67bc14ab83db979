//! The page, as it is inside the program. Nothing in it is loaded from elsewhere, and its policy
//! forbids that anything ever is.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const INDEX_HTML: &str = include_str!("page/index.html");
/// The page's program.
pub const PAGE_JS: &str = include_str!("page/page.js");
/// What runs on the browser's audio thread.
pub const WORKLET_JS: &str = include_str!("page/worklet.js");
const STYLE_CSS: &str = include_str!("page/style.css");

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page itself.
pub fn index() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, INDEX_HTML).into_response()
}

/// A script.
pub fn script(text: &'static str) -> Response {
    file("text/javascript; charset=utf-8", text)
}

/// The style sheet.
pub fn style() -> Response {
    file("text/css; charset=utf-8", STYLE_CSS)
}

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}
