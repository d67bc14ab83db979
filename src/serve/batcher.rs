//! The interface between sessions and the recognizer's threads: a stream is opened on the thread with the
//! fewest streams, and its session controls it through a handle.
//!
//! No thread waits for a client. Outputs wait for the client in a short queue of its stream; while that
//! queue is full the stream stalls, its audio is not processed, and the client's socket is not read.

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
use super::stream_queue::{Backlog, Command, Item, MIN_COST, StreamSettings};
use super::worker::{StreamSource, Worker};

/// Maximum number of output batches that wait for a client.
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

/// Options of the recognizer's threads.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// Number of threads; 0 counts as 1.
    pub threads: usize,
    /// Maximum number of streams in one call of the network.
    pub batch: usize,
    /// Capacity of one stream's buffer, samples at the model's rate.
    pub buffer: usize,
    /// Options of every stream: its endpoint rules, and the number of alternatives if a client does not set it.
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

    /// Opens a stream on the thread with the fewest streams. The channel of outputs is closed without
    /// [`RecognizerOutput::Finished`] if the thread has ended.
    pub fn open(
        &self,
        settings: StreamSettings,
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
        // If the thread has ended, the session notices it when the outputs are closed.
        let _ = worker.commands.send(Command::Open { id, settings, outputs, backlog });
        Some((handle, receiver))
    }
}

/// A session's handle of its stream. Dropping it closes the stream at once.
pub struct StreamHandle {
    id: u64,
    commands: Sender<Command>,
    backlog: Arc<Backlog>,
    buffer: usize,
    streams: Arc<AtomicUsize>,
}

impl StreamHandle {
    /// Waits until the stream's buffer has capacity for another item.
    pub async fn wait_for_capacity(&self) {
        loop {
            let changed = self.backlog.changed.notified();
            if self.has_capacity() {
                return;
            }
            changed.await;
        }
    }

    /// Whether the stream's buffer has capacity for another item.
    pub fn has_capacity(&self) -> bool {
        self.backlog.queued.load(Ordering::Acquire) < self.buffer
    }

    /// Appends an item to the buffer, which must have [capacity](Self::has_capacity).
    pub fn put(&self, item: Item) {
        self.backlog.queued.fetch_add(item.cost(), Ordering::AcqRel);
        let _ = self.commands.send(Command::Item { id: self.id, item, arrived: Instant::now() });
    }

    /// Resumes the stream if it was stalled; to be called after outputs were received.
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
