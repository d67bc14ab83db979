//! HTTP: the routes, access checks, and the handlers other than those of streams and transcriptions.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use serde_json::{Value, json};

use super::api_error::{ApiError, json_response};
use super::auth::{Access, Refusal};
use super::drain_body;
use super::offline::OfflinePage;
use super::page;
use super::protocol::choose::Opening;
use super::protocol::sherpa::SherpaFlavor;
use super::session;
use super::shared::Shared;
use super::transcription::transcribe;

/// The id of the one model in `/v1/models`.
const MODEL: &str = "hearken";

/// The state that all handlers share.
#[derive(Clone)]
pub struct App {
    /// The recognizer, limits, metrics and the shutdown flag.
    pub shared: Arc<Shared>,
    /// The access rules.
    pub access: Arc<Access>,
    /// The sherpa-onnx server that is imitated for clients on `/`.
    pub flavor: SherpaFlavor,
    /// The page that recognizes in the browser.
    pub offline: Option<Arc<OfflinePage>>,
}

/// The router of all paths.
pub fn router(app: App) -> Router {
    // 64 KiB for the other fields and the boundaries of the form.
    let max_body = app.shared.limits.upload_bytes.saturating_add(64 << 10);
    Router::new()
        .route("/", get(root))
        .route("/captions", get(async || page::captions()))
        .route("/offline", get(async || Redirect::permanent("offline/")))
        .route("/offline/", get(offline))
        .route("/offline/{*path}", get(offline))
        .route("/v1/stream", any(|s: State<App>, r: Request| stream(s, r, Opening::Hearken)))
        .route("/vosk", any(|s: State<App>, r: Request| stream(s, r, Opening::Vosk)))
        .route("/sherpa", any(|s: State<App>, r: Request| stream(s, r, Opening::Sherpa(SherpaFlavor::Cpp))))
        .route(
            "/sherpa/python",
            any(|s: State<App>, r: Request| stream(s, r, Opening::Sherpa(SherpaFlavor::Python))),
        )
        .route("/v1/realtime", any(|s: State<App>, r: Request| stream(s, r, Opening::Realtime)))
        .route("/v1/audio/transcriptions", post(transcriptions))
        .route("/v1/models", get(models))
        .route("/v1/models/{id}", get(model))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(other)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(max_body))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// The reason why a connection may only request `/health` or `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The limit with this name in the metrics is reached.
    Limit(&'static str),
    /// The server is shutting down.
    Draining,
}

/// The router of connections beyond the limits, and of all connections during the shutdown.
pub fn busy_router(app: App) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(reject)
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

async fn reject(State(app): State<App>, Extension(busy): Extension<Busy>) -> ApiError {
    match busy {
        Busy::Limit(reason) => {
            app.shared.metrics.refuse(reason);
            ApiError::busy("too many connections: try again later")
        }
        Busy::Draining => ApiError::busy("the server is shutting down"),
    }
}

/// The file that a path names on the page that recognizes in the browser.
fn offline_name(path: &str) -> Option<&str> {
    path.strip_prefix("/offline/").map(|name| if name.is_empty() { "index.html" } else { name })
}

/// The files of the page that recognizes in the browser.
async fn offline(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let Some(page) = &app.offline else {
        let problem = "this server has no page that works offline; its operator can add it by --offline-page";
        return Err(ApiError::new(StatusCode::NOT_FOUND, problem).named("unknown_url"));
    };
    let name = offline_name(request.uri().path());
    name.and_then(|name| page.file(name, request.headers())).ok_or_else(|| no_such_path(request.uri()))
}

/// The files of the web page, and 404 for all other paths.
async fn other(method: Method, uri: Uri) -> Result<Response, ApiError> {
    let file = uri.path().strip_prefix('/').and_then(page::file).filter(|_| method == Method::GET);
    if let Some(file) = file {
        return Ok(file);
    }
    Err(no_such_path(&uri))
}

fn no_such_path(uri: &Uri) -> ApiError {
    let path: String = uri.path().chars().take(100).collect();
    ApiError::new(StatusCode::NOT_FOUND, format!("the path {path} does not exist")).named("unknown_url")
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let problem = format!("{} does not support the method {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, problem).named("method_not_supported")
}

/// Whether a request needs no token: the web pages, which ask the user for the token or have it in their address, and
/// `/health`, whose response contains nothing confidential.
fn is_public(app: &App, method: &Method, uri: &Uri, upgrade: bool) -> bool {
    let path = uri.path();
    let is_offline =
        || app.offline.as_ref().zip(offline_name(path)).is_some_and(|(page, name)| page.is_file(name));
    let is_public = ["/", "/captions", "/health", "/offline"].contains(&path)
        || path.strip_prefix('/').is_some_and(page::is_file)
        || is_offline();
    [Method::GET, Method::HEAD].contains(method) && !upgrade && is_public
}

/// Middleware that checks token, origin and host, and sets the headers of every response.
async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let request = drain_body::drained(request);
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let checked = app.access.check(request.headers(), request.uri());
    let page = app.access.foreign_page(request.headers()).cloned();
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match checked {
        _ if page.is_some() && is_preflight => preflight_response(),
        Err(refusal) if !is_public(&app, request.method(), request.uri(), upgrade) => refuse(&app, refusal),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Some(page) = page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    response
}

/// The response to a CORS preflight request from a page of an allowed origin.
fn preflight_response() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn refuse(app: &App, refusal: Refusal) -> Response {
    match refusal {
        Refusal::Token => {
            app.shared.metrics.refuse("token");
            let mut response =
                ApiError::new(StatusCode::UNAUTHORIZED, "a bearer token is required").into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        Refusal::Origin => {
            app.shared.metrics.refuse("origin");
            ApiError::new(StatusCode::FORBIDDEN, "pages of this origin are not allowed").into_response()
        }
        Refusal::Host => {
            app.shared.metrics.refuse("origin");
            let problem = "the host name in `Host` is not allowed; the server's operator can allow it by \
                           --allow-origin";
            ApiError::new(StatusCode::FORBIDDEN, problem).into_response()
        }
    }
}

async fn root(State(app): State<App>, request: Request) -> Response {
    if request.headers().contains_key(header::UPGRADE) {
        let flavor = app.flavor;
        return stream(State(app), request, Opening::Detect(flavor)).await;
    }
    page::index(app.offline.is_some())
}

async fn stream(State(app): State<App>, request: Request, opening: Opening) -> Response {
    let upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection> =
        WebSocketUpgrade::from_request(request, &()).await;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return ApiError::new(rejection.status(), rejection.body_text()).into_response(),
    };
    let shared = app.shared;
    if shared.is_draining() {
        return ApiError::busy("the server is shutting down").into_response();
    }
    let max_message = shared.limits.message_bytes;
    upgrade
        .protocols(["hearken", "realtime"])
        .max_message_size(max_message)
        .max_frame_size(max_message)
        .read_buffer_size(8 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(256 << 10)
        .on_upgrade(move |socket| session::run(socket, opening, shared))
}

async fn transcriptions(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    if app.shared.is_draining() {
        return Err(ApiError::busy("the server is shutting down"));
    }
    transcribe(app.shared, request).await
}

/// The list of models, which clients of OpenAI's API request.
async fn models(State(app): State<App>) -> Response {
    let list = json!({"object": "list", "data": [model_card(&app)]});
    json_response(StatusCode::OK, &list)
}

async fn model(State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    if id == MODEL {
        return Ok(json_response(StatusCode::OK, &model_card(&app)));
    }
    let id: String = id.chars().take(100).collect();
    let problem = format!("the model `{id}` does not exist; the only model is `{MODEL}`");
    Err(ApiError::new(StatusCode::NOT_FOUND, problem).of("model").named("model_not_found"))
}

fn model_card(app: &App) -> Value {
    let Shared { model, limits, .. } = &*app.shared;
    let mut card = json!({"id": MODEL, "object": "model", "created": 0, "owned_by": "hearken",
                          "sample_rate": model.sample_rate, "max_upload_bytes": limits.upload_bytes});
    if !model.words.is_empty() {
        card["words"] = json!(model.words);
    } else if !model.alternatives {
        // Without a search for words, the tokens themselves are the output.
        card["tokens"] = json!(model.tokens);
    }
    card
}

async fn health(State(app): State<App>) -> Response {
    let draining = app.shared.is_draining();
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    json_response(status, &json!({"status": if draining { "draining" } else { "ok" }}))
}

async fn metrics(State(app): State<App>) -> Response {
    let text = app.shared.metrics.text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
