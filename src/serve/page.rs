//! The web pages, embedded in the program. They load nothing from other servers, and their
//! Content-Security-Policy forbids that.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const INDEX_HTML: &str = include_str!("page/index.html");
const CAPTIONS_HTML: &str = include_str!("page/captions.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Name, media type and content of the pages' files.
const FILES: [(&str, &str, &str); 12] = [
    ("captions.js", SCRIPT, include_str!("page/captions.js")),
    ("captions.css", STYLE, include_str!("page/captions.css")),
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
    ("style.css", STYLE, include_str!("page/style.css")),
];

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// As [`POLICY`], and with style sheets that the browser's user adds: OBS inserts them into the page.
const CAPTIONS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                               connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                               frame-ancestors 'none'";

/// Returns the HTML document of the page, with a link to the page that recognizes in the browser if there is one.
pub fn index(offline: bool) -> Response {
    if offline {
        return html(INDEX_HTML.replace("<p id=\"offline\" hidden>", "<p id=\"offline\">"), POLICY);
    }
    html(INDEX_HTML, POLICY)
}

/// Returns the HTML document of the captions.
pub fn captions() -> Response {
    html(CAPTIONS_HTML, CAPTIONS_POLICY)
}

fn html(text: impl IntoResponse, policy: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// Whether the pages have a file of this name.
pub fn is_file(name: &str) -> bool {
    FILES.iter().any(|(file, ..)| *file == name)
}

/// Returns the pages' file with this name.
pub fn file(name: &str) -> Option<Response> {
    let (_, kind, text) = FILES.iter().find(|(file, ..)| *file == name)?;
    Some(([(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "no-cache")], *text).into_response())
}
