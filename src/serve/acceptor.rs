//! Accepts connections within the limits, with TLS if it is configured. When the server is full or shutting
//! down, a connection may only request `/health` or `/metrics`, once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::client_stream::{ClientStream, ConnectionGuard};
use super::http::{self, App, Busy};
use super::limits::{Limits, RateLimit};
use super::metrics::Metrics;
use super::protocol::choose::Opening;
use super::session;
use super::shared::Shared;
use super::tls::Tls;
use super::wyoming::{self, WyomingTransport};

/// Maximum number of open connections beyond the limits, for requests to `/health` and `/metrics`.
const RESERVE: usize = 64;
/// Time that such a connection has for its request, and for its TLS handshake.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The first byte of a TLS handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// Maximum size of a request's head (request line and headers), bytes.
const MAX_HEAD: usize = 64 << 10;

/// Starts a task for each new connection.
pub struct Acceptor {
    router: Router,
    busy_router: Router,
    tls: Option<Tls>,
    limits: Limits,
    rate: RateLimit,
    connections: Arc<Semaphore>,
    /// The connections beyond the limits, oldest first.
    reserve: VecDeque<AbortHandle>,
    metrics: Arc<Metrics>,
    draining: watch::Receiver<bool>,
    shared: Arc<Shared>,
}

impl Acceptor {
    /// Creates an acceptor with the limits of `app`.
    pub fn new(app: App, tls: Option<Tls>) -> Self {
        let shared = Arc::clone(&app.shared);
        Self {
            tls,
            limits: shared.limits.clone(),
            rate: RateLimit::new(shared.limits.connections_per_second),
            connections: Arc::new(Semaphore::new(shared.limits.connections)),
            reserve: VecDeque::new(),
            metrics: Arc::clone(&shared.metrics),
            draining: shared.draining.clone(),
            busy_router: http::busy_router(app.clone()),
            router: http::router(app),
            shared,
        }
    }

    /// Serves a connection to the HTTP port in a task of `open`.
    pub fn admit(&mut self, tcp: TcpStream, open: &mut JoinSet<()>) {
        // Nagle's algorithm would delay small messages; a socket without the option still works.
        let _ = tcp.set_nodelay(true);
        let guard = match self.acquire() {
            Ok(guard) => guard,
            Err(busy) => return self.serve_health(tcp, busy, open),
        };
        let (router, draining, limits) = (self.router.clone(), self.draining.clone(), self.limits.clone());
        let metrics = Arc::clone(&self.metrics);
        match self.tls.clone() {
            None => {
                let stream = ClientStream::new(tcp, Some(guard), limits.write, metrics);
                open.spawn(serve(stream, router, draining, limits));
            }
            Some(tls) => {
                open.spawn(async move {
                    let client = |tcp| ClientStream::new(tcp, Some(guard), limits.write, metrics);
                    let accepted = timeout(limits.handshake, accept_tls(tls, tcp, client)).await;
                    if let Ok(Some(stream)) = accepted {
                        serve(stream, router, draining, limits).await;
                    }
                });
            }
        }
    }

    /// Serves a connection to the Wyoming port in a task of `open`.
    pub fn admit_wyoming(&mut self, tcp: TcpStream, open: &mut JoinSet<()>) {
        const FULL: &str =
            r#"{"type":"error","data":{"text":"too many clients: try again later","code":"busy"}}"#;
        // Nagle's algorithm would delay small messages; a socket without the option still works.
        let _ = tcp.set_nodelay(true);
        let guard = match self.acquire() {
            Ok(guard) => guard,
            Err(busy) => {
                if let Busy::Limit(reason) = busy {
                    self.metrics.refuse(reason);
                }
                // Sent only if the socket takes it at once: a refusal must not block the loop.
                let _ = tcp.try_write(&wyoming::event_bytes(FULL));
                return;
            }
        };
        let stream = ClientStream::new(tcp, Some(guard), self.limits.write, Arc::clone(&self.metrics));
        let transport = WyomingTransport::new(stream, self.limits.message_bytes);
        open.spawn(session::run(transport, Opening::Wyoming, Arc::clone(&self.shared)));
    }

    /// Acquires a permit for one more connection.
    ///
    /// # Errors
    /// The reason why there is none: a limit, or the shutdown.
    fn acquire(&mut self) -> Result<ConnectionGuard, Busy> {
        if *self.draining.borrow() {
            return Err(Busy::Draining);
        }
        if !self.rate.admit(Instant::now()) {
            return Err(Busy::Limit("rate"));
        }
        let permit = Arc::clone(&self.connections).try_acquire_owned();
        let permit = permit.map_err(|_| Busy::Limit("connections"))?;
        Ok(ConnectionGuard::new(permit, &self.metrics))
    }

    /// Answers one request to `/health` or `/metrics`, and refuses any other.
    fn serve_health(&mut self, tcp: TcpStream, busy: Busy, open: &mut JoinSet<()>) {
        self.reserve.retain(|task| !task.is_finished());
        if self.reserve.len() >= RESERVE
            && let Some(oldest) = self.reserve.pop_front()
        {
            // A client that wants an answer sends its request at once; the oldest one has sent none.
            oldest.abort();
        }
        let (router, tls) = (self.busy_router.clone(), self.tls.clone());
        let (write, metrics) = (self.limits.write, Arc::clone(&self.metrics));
        let client = move |tcp| ClientStream::new(tcp, None, write, metrics);
        let task = open.spawn(async move {
            match tls {
                None => answer_once(client(tcp), router, busy).await,
                Some(tls) => {
                    if let Ok(Some(stream)) = timeout(RESERVE_TIMEOUT, accept_tls(tls, tcp, client)).await {
                        answer_once(stream, router, busy).await;
                    }
                }
            }
        });
        self.reserve.push_back(task);
    }

    /// Waits until all connections and their sessions have ended.
    pub async fn all_closed(connections: Arc<Semaphore>, max: usize) {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let _ = connections.acquire_many(max).await;
    }

    /// The semaphore with one permit for each connection that may be open.
    pub fn connections(&self) -> Arc<Semaphore> {
        Arc::clone(&self.connections)
    }
}

/// Performs the TLS handshake; a client that sends plain HTTP gets status 400.
async fn accept_tls(
    tls: Tls,
    mut tcp: TcpStream,
    client: impl FnOnce(TcpStream) -> ClientStream,
) -> Option<TlsStream<ClientStream>> {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
                            connection: close\r\ncontent-length: 45\r\n\r\n\
                            this port speaks TLS: use https:// or wss://\n";
    let mut first = [0];
    if tcp.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] == HANDSHAKE {
        return tls.0.accept(client(tcp)).await.ok();
    }
    // Closing a socket with unread input resets the connection, which can discard the answer.
    let _ = timeout(RESERVE_TIMEOUT, async {
        tcp.write_all(ANSWER).await?;
        tcp.shutdown().await?;
        let mut rest = [0; 1024];
        for _ in 0..64 {
            if tcp.read(&mut rest).await? == 0 {
                break;
            }
        }
        Ok::<(), std::io::Error>(())
    })
    .await;
    None
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(hyper_util::rt::TokioTimer::new()).max_buf_size(MAX_HEAD).max_header_size(MAX_HEAD);
    builder
}

/// Answers one request of a connection by [`http::busy_router`], and closes it.
async fn answer_once<S>(stream: S, router: Router, busy: Busy)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.layer(Extension(busy));
    let connection = http1()
        .header_read_timeout(RESERVE_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // Connection errors are the client's problem. The time also covers reading a body that it sends.
    let _ = timeout(4 * RESERVE_TIMEOUT, connection).await;
}

/// Serves one connection until it ends or is upgraded to a websocket.
async fn serve<S>(stream: S, router: Router, mut draining: watch::Receiver<bool>, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1()
        .header_read_timeout(limits.handshake)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let mut is_draining = false;
    let ended = timeout(limits.total, async {
        loop {
            tokio::select! {
                result = connection.as_mut() => return result,
                _ = draining.wait_for(|d| *d), if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    });
    // Connection errors are the client's problem.
    let _ = ended.await;
}
