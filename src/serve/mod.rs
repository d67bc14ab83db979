//! The server. One port serves websockets (the protocols of vosk-server, sherpa-onnx and OpenAI's
//! realtime interface, and hearken's own), uploads of whole recordings, health, metrics and a web page; a
//! second port serves the Wyoming protocol. docs/serve.md describes all of them.
//!
//! ```text
//! socket ─► acceptor (limits, TLS) ─► http (token, origin) ─► session ─► session_state ─► protocol
//!                                                              │ ▲         (pure)          (pure)
//!                                        audio, marks, chunks  ▼ │ recognizer's output
//!                                                             batcher (threads; streams step together)
//! ```
//!
//! No other module of the library uses tokio.

mod acceptor;
mod api_error;
pub mod audio_queue;
mod auth;
pub mod batcher;
mod client_stream;
mod drain_body;
mod form;
mod form_body;
pub mod http;
pub mod input;
pub mod limits;
pub mod metrics;
mod offline;
pub mod origin;
mod page;
pub mod protocol;
mod recording;
mod session;
pub mod session_event;
mod session_state;
mod shared;
mod stream_queue;
mod tls;
mod transcription;
mod websocket;
mod words;
mod worker;
pub mod wyoming;

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::decode::EndpointOptions;
use crate::error::Result;
use crate::onnx::Metadata;
use crate::recognizer::{Recognizer, StreamOptions};
use crate::text::tokens::WORD_START;

pub use auth::Access;
pub use limits::Limits;
pub use offline::OfflinePage;
pub use protocol::sherpa::SherpaFlavor;
pub use tls::Tls;
pub use words::WordOptions;

use acceptor::Acceptor;
use batcher::{BatchOptions, Batcher};
use http::App;
use metrics::Metrics;
use protocol::ModelInfo;
use shared::Shared;
use words::WordLists;

/// The options of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Limits on connections, streams, sizes and times.
    pub limits: Limits,
    /// The token, and the origins of web pages that may connect.
    pub access: Access,
    /// Certificate and key, for https and wss.
    pub tls: Option<Tls>,
    /// Number of threads that run the network.
    pub threads: usize,
    /// Maximum number of streams in one call of the network.
    pub batch: usize,
    /// Options of every stream: its endpoint rules. The number of alternatives is that of hearken's own protocol.
    pub stream: StreamOptions,
    /// How the lists of words of clients are used.
    pub words: WordOptions,
    /// The sherpa-onnx server that is imitated for clients on `/`.
    pub flavor: SherpaFlavor,
    /// The model's languages as BCP 47 tags; empty if they are unknown.
    pub languages: Vec<String>,
    /// The page that recognizes in the browser, for `/offline/`.
    pub offline: Option<OfflinePage>,
    /// Called with each log line.
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
            words: WordOptions::default(),
            flavor: SherpaFlavor::default(),
            languages: Vec::new(),
            offline: None,
            log: |_| {},
        }
    }
}

/// The sockets that a server accepts connections on.
#[derive(Debug)]
pub struct Listeners {
    /// HTTP and websockets.
    pub http: TcpListener,
    /// The Wyoming protocol.
    pub wyoming: Option<TcpListener>,
}

impl Listeners {
    /// Accepts the next connection; returns it, and whether it came to the Wyoming port.
    async fn accept(&self) -> std::io::Result<(TcpStream, bool)> {
        let wyoming = async {
            match &self.wyoming {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = self.http.accept() => Ok((accepted?.0, false)),
            accepted = wyoming => Ok((accepted?.0, true)),
        }
    }
}

impl From<TcpListener> for Listeners {
    fn from(http: TcpListener) -> Self {
        Self { http, wyoming: None }
    }
}

/// Runs a server until `shutdown` completes, then waits for the open streams to end, at most
/// [`Limits::drain`], and returns. While it waits it refuses new connections, except for requests to
/// `/health` and `/metrics`.
///
/// # Errors
/// When a thread cannot be started. Errors of a client end only that client's connection.
pub async fn run(
    listeners: impl Into<Listeners>,
    recognizer: Recognizer,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let metrics = Arc::new(Metrics::default());
    let (drain, draining) = watch::channel(false);
    let shared = Arc::new(shared(&recognizer, &options, &metrics, draining)?);
    let app = App {
        shared,
        access: Arc::new(options.access.clone()),
        flavor: options.flavor,
        offline: options.offline.clone().map(Arc::new),
    };
    let mut acceptor = Acceptor::new(app, options.tls.clone());
    let mut open = JoinSet::new();
    let mut accepting = Accepting { listeners: listeners.into(), log: options.log, last_logged: None };
    accepting.until(shutdown, &mut acceptor, &mut open).await;
    (options.log)(&format!("draining: {} streams", metrics.streams.load(Relaxed)));
    // `send` fails only if no connection is open, which is fine.
    let _ = drain.send(true);
    let all_closed = Acceptor::all_closed(acceptor.connections(), options.limits.connections);
    let all_closed = timeout(options.limits.drain, all_closed);
    accepting.until(async { drop(all_closed.await) }, &mut acceptor, &mut open).await;
    drop(accepting);
    (options.log)("stopped");
    Ok(())
}

/// Minimum time between two log lines about connections that cannot be accepted.
const MIN_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The loop that accepts connections.
struct Accepting {
    listeners: Listeners,
    log: fn(&str),
    /// When it was last logged that connections cannot be accepted.
    last_logged: Option<Instant>,
}

impl Accepting {
    /// Accepts connections until `done` completes.
    async fn until(
        &mut self,
        done: impl Future<Output = ()>,
        acceptor: &mut Acceptor,
        open: &mut JoinSet<()>,
    ) {
        tokio::pin!(done);
        loop {
            tokio::select! {
                () = &mut done => return,
                accepted = self.listeners.accept() => match accepted {
                    Ok((stream, false)) => acceptor.admit(stream, open),
                    Ok((stream, true)) => acceptor.admit_wyoming(stream, open),
                    Err(error) => {
                        self.log_failure(&error);
                        // Most likely the process is out of file descriptors: wait until some are free.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                Some(_) = open.join_next() => {}
            }
        }
    }

    fn log_failure(&mut self, error: &std::io::Error) {
        if self.last_logged.is_none_or(|at| at.elapsed() >= MIN_LOG_INTERVAL) {
            self.last_logged = Some(Instant::now());
            (self.log)(&format!("cannot accept new connections at the moment: {error}"));
        }
    }
}

/// The distinct words that are recognized: those of phrases, or of the model's own lexicon with hotwords, or the model's
/// tokens if each of them is a word; empty with a language model, whose words are too many to list, and for models that
/// output other units.
fn words(recognizer: &Recognizer) -> Vec<String> {
    let Metadata { tokens, decoder, .. } = recognizer.metadata();
    let has_language_model = decoder.lexicon.is_empty() && recognizer.uses_hotwords();
    let mut words = if has_language_model { Vec::new() } else { recognizer.words().to_vec() };
    if words.is_empty() && !has_language_model {
        let is_written = |(id, token): &(usize, &String)| {
            *id != tokens.blank() as usize && !decoder.filler.contains(token)
        };
        let written = tokens.tokens().iter().enumerate().filter(is_written);
        let whole = written.map(|(_, token)| token.strip_prefix(WORD_START).map(String::from));
        words = whole.collect::<Option<_>>().unwrap_or_default();
    }
    let mut seen = HashSet::new();
    words.retain(|word| seen.insert(word.clone()));
    words
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
        word_lists: Arc::new(WordLists::new(
            recognizer,
            options.words.clone(),
            // Within the range of tokio's semaphores.
            options.limits.word_lists.min(1 << 20),
            // Recordings are decoded on the same threads, of which there are at least two.
            std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2),
        )),
        limits: options.limits.clone(),
        metrics: Arc::clone(metrics),
        model: ModelInfo {
            sample_rate,
            tokens: tokens.tokens().to_vec(),
            blank: tokens.blank(),
            states,
            words: words(recognizer),
            languages: options.languages.clone(),
            silence: options.stream.endpoint.unwrap_or_default().rule2_min_trailing_silence,
            hotwords: recognizer.uses_hotwords(),
            alternatives: recognizer.finds_alternatives(),
        },
        streams: Arc::new(Semaphore::new(options.limits.streams)),
        uploads: Arc::new(Semaphore::new(options.limits.uploads)),
        upload_memory: form::memory_for(&options.limits),
        traces: Arc::new(Semaphore::new(options.limits.traces)),
        draining,
    })
}
