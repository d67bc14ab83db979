//! The web page, embedded in the program. It loads nothing from other servers, and its
//! Content-Security-Policy forbids that.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const INDEX_HTML: &str = include_str!("page/index.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, media type and content of the page's files.
const FILES: [(&str, &str, &str); 10] = [
    ("page.js", SCRIPT, include_str!("page/page.js")),
    ("kept.js", SCRIPT, include_str!("page/kept.js")),
    ("microphone.js", SCRIPT, include_str!("page/microphone.js")),
    ("notices.js", SCRIPT, include_str!("page/notices.js")),
    ("pictures.js", SCRIPT, include_str!("page/pictures.js")),
    ("recordings.js", SCRIPT, include_str!("page/recordings.js")),
    ("server.js", SCRIPT, include_str!("page/server.js")),
    ("transcript.js", SCRIPT, include_str!("page/transcript.js")),
    // Runs on the browser's audio thread.
    ("worklet.js", SCRIPT, include_str!("page/worklet.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns the HTML document.
pub fn index() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, INDEX_HTML).into_response()
}

/// Whether the page has a file of this name.
pub fn is_file(name: &str) -> bool {
    FILES.iter().any(|(file, ..)| *file == name)
}

/// Returns the page's file with this name.
pub fn file(name: &str) -> Option<Response> {
    let (_, kind, text) = FILES.iter().find(|(file, ..)| *file == name)?;
    Some(([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *text).into_response())
}
