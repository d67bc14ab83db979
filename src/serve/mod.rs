//! The server: websocket and HTTP on one port. vosk-server's protocol, sherpa-onnx's, and our
//! own; whole recordings by POST; health, metrics and a page. See docs/serve.md.
//!
//! ```text
//! socket ─► http (token, origin) ─► session ─► machine (own, vosk, sherpa: pure)
//!                                      │ ▲
//!                        audio, marks  ▼ │  what was heard
//!                                   batcher (threads; streams step together)
//! ```
//!
//! Only here is tokio.

pub mod auth;
pub mod batcher;
pub mod http;
pub mod limits;
pub mod machine;
pub mod metrics;
mod page;
pub mod protocol;
mod session;
pub mod sherpa;
mod tls;
mod transcription;
pub mod vosk;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::decode::EndpointOptions;
use crate::error::Result;
use crate::recognizer::{Recognizer, StreamOptions};

pub use auth::Access;
pub use limits::Limits;
pub use sherpa::Ending;

use batcher::{BatchOptions, Batcher};
use http::{App, Held};
use limits::RateLimit;
use machine::ModelInfo;
use metrics::{Gauge, Metrics};
use session::Shared;

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct Options {
    pub limits: Limits,
    pub access: Access,
    /// Certificate and key, PEM files.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The recogniser's threads.
    pub threads: usize,
    /// Streams in one step of the network at the most.
    pub batch: usize,
    /// Where utterances end.
    pub stream: StreamOptions,
    /// How a sherpa client that came without a path is answered.
    pub ending: Ending,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            access: Access::default(),
            tls: None,
            threads: 1,
            batch: 64,
            stream: StreamOptions { endpoint: Some(EndpointOptions::default()), detector: None },
            ending: Ending::default(),
        }
    }
}

/// Serves until `shutdown` is done, then lets the open streams end, and returns.
///
/// # Errors
/// When the certificate is no good or a thread cannot be started. Clients' errors are the
/// clients'.
pub async fn run(
    listener: TcpListener,
    recognizer: Recognizer,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let tls = options.tls.as_ref().map(|(certificate, key)| tls::acceptor(certificate, key)).transpose()?;
    let metrics = Arc::new(Metrics::default());
    let (drain, draining) = watch::channel(false);
    let shared = Arc::new(shared(&recognizer, &options, &metrics, draining.clone())?);
    let app = App { shared, access: Arc::new(options.access.clone()), ending: options.ending };
    let door = Door {
        router: http::router(app),
        tls,
        limits: options.limits.clone(),
        connections: Arc::new(Semaphore::new(options.limits.connections)),
        metrics,
        draining,
    };
    let mut rate = RateLimit::new(options.limits.connections_per_second);
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => door.admit(stream, &mut rate, &mut open),
                // Out of file descriptors, most likely: some will be free soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = open.join_next() => {}
        }
    }
    drop(listener);
    // Whoever listens is told; that nobody does is no error.
    let _ = drain.send(true);
    let most = u32::try_from(options.limits.connections).unwrap_or(u32::MAX);
    // All permits are back when all connections, and the sessions that they became, have ended.
    let _ = timeout(options.limits.drain, door.connections.acquire_many(most)).await;
    Ok(())
}

fn shared(
    recognizer: &Recognizer,
    options: &Options,
    metrics: &Arc<Metrics>,
    draining: watch::Receiver<bool>,
) -> Result<Shared> {
    let sample_rate = recognizer.sample_rate();
    let tokens = &recognizer.metadata().tokens;
    let states = recognizer.engine().spec().states.iter().map(|state| state.shape.clone()).collect();
    let buffer = (options.limits.buffered_seconds.clamp(0.1, 3600.0) * f64::from(sample_rate)) as usize;
    let stream = options.stream.clone();
    let batch = BatchOptions { threads: options.threads, batch: options.batch, buffer, stream };
    Ok(Shared {
        batcher: Batcher::start(recognizer, &batch, metrics)?,
        limits: options.limits.clone(),
        metrics: Arc::clone(metrics),
        model: ModelInfo { sample_rate, tokens: tokens.tokens().to_vec(), blank: tokens.blank(), states },
        streams: Arc::new(Semaphore::new(options.limits.streams)),
        uploads: Arc::new(Semaphore::new(options.limits.uploads)),
        traces: Arc::new(Semaphore::new(options.limits.traces)),
        draining,
    })
}

/// Lets connections in.
struct Door {
    router: axum::Router,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    connections: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    draining: watch::Receiver<bool>,
}

impl Door {
    fn admit(&self, stream: TcpStream, rate: &mut RateLimit, open: &mut JoinSet<()>) {
        if !rate.admit(Instant::now()) {
            self.metrics.refuse("rate");
            return turn_away(&stream);
        }
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.metrics.refuse("connections");
            return turn_away(&stream);
        };
        let held = Held(Arc::new((permit, Gauge::up(&self.metrics, |m| &m.connections))));
        // Small messages must not wait for each other; a socket that cannot do it still works.
        let _ = stream.set_nodelay(true);
        let (router, draining, limits) = (self.router.clone(), self.draining.clone(), self.limits.clone());
        match self.tls.clone() {
            None => drop(open.spawn(serve(stream, router, held, draining, limits))),
            Some(tls) => {
                open.spawn(async move {
                    if let Ok(Ok(stream)) = timeout(limits.handshake, tls.accept(stream)).await {
                        serve(stream, router, held, draining, limits).await;
                    }
                });
            }
        }
    }
}

/// Says that there is no room, as far as that can be said without waiting.
fn turn_away(stream: &TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
                            content-length: 26\r\n\r\ntoo many, try again later\n";
    let _ = stream.try_write(ANSWER);
}

/// One connection, to its end or until it has become a websocket.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: axum::Router,
    held: Held,
    mut draining: watch::Receiver<bool>,
    limits: Limits,
) {
    let service = router.layer(axum::Extension(held));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(limits.handshake)
        .max_buf_size(64 << 10)
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
