//! The server: websocket and HTTP on one port. vosk-server's protocol, sherpa-onnx's, and our
//! own; whole recordings by POST; health, metrics and a page. See docs/serve.md.
//!
//! ```text
//! socket ─► door (limits, TLS) ─► http (token, origin) ─► session ─► machine (own, vosk, sherpa: pure)
//!                                                             │ ▲
//!                                               audio, marks  ▼ │  what was heard
//!                                                          batcher (threads; streams step together)
//! ```
//!
//! Only here is tokio.

pub mod auth;
pub mod batcher;
mod captions;
mod door;
pub mod http;
pub mod limits;
pub mod machine;
pub mod metrics;
pub mod origin;
mod page;
mod problem;
pub mod protocol;
mod remains;
mod session;
pub mod sherpa;
mod tls;
mod transcription;
mod upload;
pub mod vosk;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::decode::EndpointOptions;
use crate::error::Result;
use crate::recognizer::{Recognizer, StreamOptions};

pub use auth::Access;
pub use limits::Limits;
pub use sherpa::Ending;
pub use tls::Tls;

use batcher::{BatchOptions, Batcher};
use door::Door;
use http::App;
use machine::ModelInfo;
use metrics::Metrics;
use session::Shared;

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct Options {
    pub limits: Limits,
    pub access: Access,
    /// Certificate and key, for https and wss.
    pub tls: Option<Tls>,
    /// The recogniser's threads.
    pub threads: usize,
    /// Streams in one step of the network at the most.
    pub batch: usize,
    /// Where utterances end.
    pub stream: StreamOptions,
    /// How a sherpa client that came without a path is answered.
    pub ending: Ending,
    /// Takes lines for whoever looks after the server: when it begins to end, and has ended.
    pub log: fn(&str),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            access: Access::default(),
            tls: None,
            threads: 1,
            batch: 64,
            stream: StreamOptions { endpoint: Some(EndpointOptions::default()), ..Default::default() },
            ending: Ending::default(),
            log: |_| {},
        }
    }
}

/// Serves until `shutdown` is done, then lets the open streams end, and returns. Meanwhile new
/// connections are told so; `/health` and `/metrics` are answered to the end.
///
/// # Errors
/// When a thread cannot be started. Clients' errors are the clients'.
pub async fn run(
    listener: TcpListener,
    recognizer: Recognizer,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let metrics = Arc::new(Metrics::default());
    let (drain, draining) = watch::channel(false);
    let shared = Arc::new(shared(&recognizer, &options, &metrics, draining)?);
    let app = App { shared, access: Arc::new(options.access.clone()), ending: options.ending };
    let mut door = Door::new(app, options.tls.clone());
    let mut open = JoinSet::new();
    let_in(&listener, &mut door, &mut open, shutdown).await;
    (options.log)(&format!("draining: {} streams", metrics.streams.load(Relaxed)));
    // Whoever listens is told; that nobody does is no error.
    let _ = drain.send(true);
    let gone = Door::all_gone(door.connections(), options.limits.connections);
    let gone = timeout(options.limits.drain, gone);
    let_in(&listener, &mut door, &mut open, async { drop(gone.await) }).await;
    drop(listener);
    (options.log)("stopped");
    Ok(())
}

/// Accepts connections until something is done.
async fn let_in(
    listener: &TcpListener,
    door: &mut Door,
    open: &mut JoinSet<()>,
    until: impl Future<Output = ()>,
) {
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => door.admit(stream, open),
                // Out of file descriptors, most likely: some will be free soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = open.join_next() => {}
        }
    }
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
