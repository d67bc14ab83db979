//! The recognizer's threads, seen from sessions: a stream is opened on the thread with the fewest, and
//! is reached through its handle.
//!
//! No thread waits for a client: outputs that a client has not taken wait in its own short queue, and
//! while that is full its stream stalls, its audio stays where it is, and its socket is not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};
use tokio::sync::{Notify, mpsc};

use crate::error::{Error, Result, Stage};
use crate::recognizer::{Recognizer, StreamOptions};

use super::metrics::Metrics;
use super::protocol::RecognizerOutput;
use super::stream_queue::{Backlog, Command, Item, MIN_COST};
use super::worker::{StreamSource, Worker};

/// Batches of outputs that may wait for a client.
const MAX_OUTPUTS: usize = 64;
/// The recognizer's threads.
pub struct Batcher {
    workers: Vec<WorkerHandle>,
    next_id: AtomicU64,
    buffer: usize,
}

struct WorkerHandle {
    commands: Sender<Command>,
    streams: Arc<AtomicUsize>,
}

/// Options of the threads.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// Threads, at least one.
    pub threads: usize,
    /// The largest number of streams in one call of the network; 1 means one by one.
    pub batch: usize,
    /// Samples that may wait in one stream's buffer.
    pub buffer: usize,
    /// Where utterances end.
    pub stream: StreamOptions,
}

impl Batcher {
    /// Starts the threads; they end when the batcher and all handles are dropped.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(recognizer: &Recognizer, options: &BatchOptions, metrics: &Arc<Metrics>) -> Result<Self> {
        let workers = (0..options.threads.max(1)).map(|i| {
            let (commands, inlet) = unbounded();
            let streams = StreamSource { recognizer: recognizer.clone(), options: options.stream.clone() };
            let mut worker = Worker::new(streams, options.batch, inlet, metrics);
            thread::Builder::new()
                .name(format!("hearken-serve-{i}"))
                .spawn(move || worker.run())
                .map_err(|e| Error::new(Stage::Serve, format!("cannot start a thread: {e}")).caused_by(e))?;
            Ok(WorkerHandle { commands, streams: Arc::new(AtomicUsize::new(0)) })
        });
        let buffer = options.buffer.max(MIN_COST);
        Ok(Self { workers: workers.collect::<Result<_>>()?, next_id: AtomicU64::new(0), buffer })
    }

    /// Opens a stream on the thread that has the fewest. The outputs of `traced` streams have traces;
    /// so many seconds of `silence` end an utterance, where that is set.
    /// The outputs end without [`RecognizerOutput::Finished`] when the thread is gone.
    pub fn open(
        &self,
        traced: bool,
        silence: Option<f64>,
    ) -> Option<(StreamHandle, mpsc::Receiver<Vec<RecognizerOutput>>)> {
        let worker = self.workers.iter().min_by_key(|w| w.streams.load(Ordering::Relaxed))?;
        worker.streams.fetch_add(1, Ordering::Relaxed);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (outputs, receiver) = mpsc::channel(MAX_OUTPUTS);
        let backlog = Arc::new(Backlog {
            queued: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            changed: Notify::new(),
        });
        let handle = StreamHandle {
            id,
            commands: worker.commands.clone(),
            backlog: Arc::clone(&backlog),
            buffer: self.buffer,
            streams: Arc::clone(&worker.streams),
        };
        // That the thread is gone shows in the outputs.
        let _ = worker.commands.send(Command::Open { id, traced, silence, outputs, backlog });
        Some((handle, receiver))
    }
}

/// One stream, as its session holds it. Dropping it closes the stream at once.
pub struct StreamHandle {
    id: u64,
    commands: Sender<Command>,
    backlog: Arc<Backlog>,
    buffer: usize,
    streams: Arc<AtomicUsize>,
}

impl StreamHandle {
    /// Waits until the stream's buffer has room.
    pub async fn room(&self) {
        loop {
            let changed = self.backlog.changed.notified();
            if self.has_room() {
                return;
            }
            changed.await;
        }
    }

    /// Whether the stream's buffer has room now.
    pub fn has_room(&self) -> bool {
        self.backlog.queued.load(Ordering::Acquire) < self.buffer
    }

    /// Puts an item into the buffer; to be called when there is [`room`](Self::room).
    pub fn put(&self, item: Item) {
        self.backlog.queued.fetch_add(item.cost(), Ordering::AcqRel);
        let _ = self.commands.send(Command::Item { id: self.id, item, arrived: Instant::now() });
    }

    /// Notes that outputs were taken, so that a stream that stalled goes on.
    pub fn taken(&self) {
        if self.backlog.stalled.swap(false, Ordering::AcqRel) {
            let _ = self.commands.send(Command::Wake { id: self.id });
        }
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
        let _ = self.commands.send(Command::Close { id: self.id });
    }
}
