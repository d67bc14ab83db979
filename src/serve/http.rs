//! The HTTP side: paths, and the answers that are not of a session or a transcription.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use serde_json::{Value, json};

use super::api_error::{ApiError, json_response};
use super::auth::{Access, Refusal};
use super::drain_body;
use super::page;
use super::protocol::choose::Opening;
use super::protocol::sherpa::SherpaFlavor;
use super::session;
use super::shared::Shared;
use super::transcription::transcribe;

/// The name of the one model.
const MODEL: &str = "hearken";

/// What the handlers share.
#[derive(Clone)]
pub struct App {
    pub shared: Arc<Shared>,
    pub access: Arc<Access>,
    /// How a sherpa-onnx client on `/` is answered.
    pub flavor: SherpaFlavor,
}

/// All paths.
pub fn router(app: App) -> Router {
    // The form around the recording counts too.
    let max_body = app.shared.limits.upload_bytes.saturating_add(64 << 10);
    Router::new()
        .route("/", get(root))
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

/// Why a connection may only look at the server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// A limit is reached, of this name in the metrics.
    Limit(&'static str),
    /// The server shuts down.
    Draining,
}

/// The paths that are answered when the server is full or shuts down.
pub fn busy_router(app: App) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(turned_away)
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

async fn turned_away(State(app): State<App>, Extension(busy): Extension<Busy>) -> ApiError {
    match busy {
        Busy::Limit(reason) => {
            app.shared.metrics.refuse(reason);
            ApiError::busy("too many connections, try again later")
        }
        Busy::Draining => ApiError::busy("the server shuts down"),
    }
}

/// The page's files, and paths that are none.
async fn other(method: Method, uri: Uri) -> Result<Response, ApiError> {
    let file = uri.path().strip_prefix('/').and_then(page::file).filter(|_| method == Method::GET);
    if let Some(file) = file {
        return Ok(file);
    }
    let path: String = uri.path().chars().take(100).collect();
    Err(ApiError::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}")).named("unknown_url"))
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let problem = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, problem).named("method_not_supported")
}

/// Whether a request needs no token: the page asks for it itself, and `/health` tells nothing.
fn is_public(method: &Method, uri: &Uri, upgrade: bool) -> bool {
    let path = uri.path();
    let is_public = ["/", "/health"].contains(&path) || path.strip_prefix('/').is_some_and(page::is_file);
    method == Method::GET && !upgrade && is_public
}

/// Checks token, origin and host, and sets the headers that every answer has.
async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let request = drain_body::drained(request);
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let checked = app.access.check(request.headers(), request.uri());
    let page = app.access.foreign_page(request.headers()).cloned();
    let asks_first = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match checked {
        _ if page.is_some() && asks_first => may_ask(),
        Err(refusal) if !is_public(request.method(), request.uri(), upgrade) => refuse(&app, refusal),
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

/// The answer to a browser that asks whether a page of an allowed origin may send requests (CORS).
fn may_ask() -> Response {
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
                ApiError::new(StatusCode::UNAUTHORIZED, "a bearer token is needed").into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        Refusal::Origin => {
            app.shared.metrics.refuse("origin");
            ApiError::new(StatusCode::FORBIDDEN, "pages of this origin are not allowed").into_response()
        }
        Refusal::Host => {
            app.shared.metrics.refuse("origin");
            let problem = "this server does not answer to the name in `Host`; its operator can allow it, as \
                           the origin of a page";
            ApiError::new(StatusCode::FORBIDDEN, problem).into_response()
        }
    }
}

async fn root(State(app): State<App>, request: Request) -> Response {
    if request.headers().contains_key(header::UPGRADE) {
        let flavor = app.flavor;
        return stream(State(app), request, Opening::Detect(flavor)).await;
    }
    page::index()
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
        return ApiError::busy("the server shuts down").into_response();
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
        return Err(ApiError::busy("the server shuts down"));
    }
    transcribe(app.shared, request).await
}

/// Clients of OpenAI's interface ask which models there are.
async fn models(State(app): State<App>) -> Response {
    let list = json!({"object": "list", "data": [model_card(&app)]});
    json_response(StatusCode::OK, &list)
}

async fn model(State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    if id == MODEL {
        return Ok(json_response(StatusCode::OK, &model_card(&app)));
    }
    let id: String = id.chars().take(100).collect();
    let problem = format!("the model `{id}` does not exist; there is `{MODEL}`");
    Err(ApiError::new(StatusCode::NOT_FOUND, problem).of("model").named("model_not_found"))
}

fn model_card(app: &App) -> Value {
    let Shared { model, limits, .. } = &*app.shared;
    let mut card = json!({"id": MODEL, "object": "model", "created": 0, "owned_by": "hearken",
                          "sample_rate": model.sample_rate, "max_upload_bytes": limits.upload_bytes});
    if model.words.is_empty() {
        card["tokens"] = json!(model.tokens);
    } else {
        card["words"] = json!(model.words);
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
