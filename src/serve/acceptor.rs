//! How connections are let in: by the limits, by TLS where it is wanted, and, when there is no room or
//! the server ends, as far as `/health` and `/metrics` only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::http::{self, App, Busy, Held};
use super::limits::{Limits, RateLimit};
use super::metrics::{Gauge, Metrics};
use super::tls::Tls;

/// Connections at a time beyond the limits, for a look at the server's health.
const RESERVE: usize = 16;
/// What one of them gets for its request (and for its handshake).
const GLANCE: Duration = Duration::from_secs(2);
/// The first byte of a TLS handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Lets connections in.
pub struct Door {
    router: Router,
    busy_router: Router,
    tls: Option<Tls>,
    limits: Limits,
    rate: RateLimit,
    connections: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    draining: watch::Receiver<bool>,
}

impl Door {
    /// Open.
    pub fn new(app: App, tls: Option<Tls>) -> Self {
        let shared = &app.shared;
        Self {
            tls,
            limits: shared.limits.clone(),
            rate: RateLimit::new(shared.limits.connections_per_second),
            connections: Arc::new(Semaphore::new(shared.limits.connections)),
            reserve: Arc::new(Semaphore::new(RESERVE)),
            metrics: Arc::clone(&shared.metrics),
            draining: shared.draining.clone(),
            busy_router: http::busy_router(app.clone()),
            router: http::router(app),
        }
    }

    /// One more connection.
    pub fn admit(&mut self, stream: TcpStream, open: &mut JoinSet<()>) {
        // Small messages must not wait for each other; a socket that cannot do it still works.
        let _ = stream.set_nodelay(true);
        if *self.draining.borrow() {
            return self.glance(stream, Busy::Draining, open);
        }
        if !self.rate.admit(Instant::now()) {
            return self.glance(stream, Busy::Limit("rate"), open);
        }
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            return self.glance(stream, Busy::Limit("connections"), open);
        };
        let held = Held(Arc::new((permit, Gauge::up(&self.metrics, |m| &m.connections))));
        let (router, draining, limits) = (self.router.clone(), self.draining.clone(), self.limits.clone());
        match self.tls.clone() {
            None => drop(open.spawn(serve(stream, router, held, draining, limits))),
            Some(tls) => {
                open.spawn(async move {
                    let accepted = timeout(limits.handshake, accept(tls, stream)).await;
                    if let Ok(Some(stream)) = accepted {
                        serve(stream, router, held, draining, limits).await;
                    }
                });
            }
        }
    }

    /// Answers one request, if it is about the server's health, and refuses any other.
    fn glance(&self, stream: TcpStream, busy: Busy, open: &mut JoinSet<()>) {
        let Ok(permit) = Arc::clone(&self.reserve).try_acquire_owned() else {
            if let Busy::Limit(reason) = busy {
                self.metrics.refuse(reason);
            }
            return self.turn_away(&stream);
        };
        let (router, tls) = (self.busy_router.clone(), self.tls.clone());
        open.spawn(async move {
            match tls {
                None => answer_once(stream, router, busy, permit).await,
                Some(tls) => {
                    if let Ok(Some(stream)) = timeout(GLANCE, accept(tls, stream)).await {
                        answer_once(stream, router, busy, permit).await;
                    }
                }
            }
        });
    }

    /// Says that there is no room, as far as that can be said without waiting; by TLS it cannot.
    fn turn_away(&self, stream: &TcpStream) {
        const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
                                content-length: 26\r\n\r\ntoo many, try again later\n";
        if self.tls.is_none() {
            let _ = stream.try_write(ANSWER);
        }
    }

    /// Waits until all connections, and the sessions that they became, have ended.
    pub async fn all_gone(connections: Arc<Semaphore>, most: usize) {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let _ = connections.acquire_many(most).await;
    }

    /// A permit for each connection that may be open.
    pub fn connections(&self) -> Arc<Semaphore> {
        Arc::clone(&self.connections)
    }
}

/// The handshake; who does not speak TLS is told so.
async fn accept(tls: Tls, mut stream: TcpStream) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
                            connection: close\r\ncontent-length: 45\r\n\r\n\
                            this port speaks TLS: say https:// or wss://\n";
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] == HANDSHAKE {
        return tls.0.accept(stream).await.ok();
    }
    // With something unread a close would take the answer back.
    let _ = timeout(GLANCE, async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        for _ in 0..64 {
            if stream.read(&mut rest).await? == 0 {
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
    builder.timer(hyper_util::rt::TokioTimer::new()).max_buf_size(64 << 10);
    builder
}

/// A connection that gets one answer, of [`http::busy_router`].
async fn answer_once<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    busy: Busy,
    permit: OwnedSemaphorePermit,
) {
    let service = router.layer(Extension(busy));
    let connection = http1()
        .header_read_timeout(GLANCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // How a client broke off is the client's. A body that it sends is thrown away meanwhile.
    let _ = timeout(4 * GLANCE, connection).await;
    drop(permit);
}

/// One connection, to its end or until it has become a websocket.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    held: Held,
    mut draining: watch::Receiver<bool>,
    limits: Limits,
) {
    let service = router.layer(Extension(held));
    let connection = http1()
        .header_read_timeout(limits.handshake)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::pin!(connection);
    let mut going = false;
    let ended = timeout(limits.total, async {
        loop {
            tokio::select! {
                result = connection.as_mut() => return result,
                _ = draining.wait_for(|d| *d), if !going => {
                    going = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    });
    // How a client broke off is the client's.
    let _ = ended.await;
}
