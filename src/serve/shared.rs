//! State shared by all connections, and the streams that they open.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::batcher::{Batcher, StreamHandle};
use super::limits::Limits;
use super::metrics::{Gauge, Metrics};
use super::protocol::{ModelInfo, RecognizerOutput};
use super::stream_queue::StreamSettings;
use super::words::WordLists;

/// State shared by all connections.
pub struct Shared {
    /// The recognizer's threads.
    pub batcher: Batcher,
    /// The lists of words of clients.
    pub word_lists: Arc<WordLists>,
    /// The limits of the server.
    pub limits: Limits,
    /// The metrics of the server.
    pub metrics: Arc<Metrics>,
    /// The properties of the model that protocols report.
    pub model: ModelInfo,
    /// One permit for each stream that may be open.
    pub streams: Arc<Semaphore>,
    /// One permit for each recording that may be transcribed at the same time.
    pub uploads: Arc<Semaphore>,
    /// The memory for uploaded recordings, in the units of [`super::form::memory_for`].
    pub upload_memory: Arc<Semaphore>,
    /// One permit for each stream that may be traced.
    pub traces: Arc<Semaphore>,
    /// Becomes true when the server shuts down.
    pub draining: watch::Receiver<bool>,
}

/// An open stream of the recognizer; dropping it closes the stream and releases its permits.
pub struct OpenStream {
    /// The handle that audio is put into.
    pub handle: StreamHandle,
    /// The outputs of the recognizer, in order.
    pub outputs: mpsc::Receiver<Vec<RecognizerOutput>>,
    /// Whether the outputs include traces.
    pub traced: bool,
    _permits: Vec<OwnedSemaphorePermit>,
    _gauge: Gauge,
}

impl Shared {
    /// Opens a stream; `None` when all are in use. `protocol` is its name in the metrics. Traces are granted while
    /// permits are left.
    pub fn open_stream(&self, protocol: &str, settings: StreamSettings) -> Option<OpenStream> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok();
        if permit.is_none() {
            self.metrics.refuse("streams");
        }
        let mut permits = vec![permit?];
        let traced = settings
            .traced
            .then(|| Arc::clone(&self.traces).try_acquire_owned().ok())
            .flatten()
            .map(|permit| permits.push(permit))
            .is_some();
        let (handle, outputs) = self.batcher.open(StreamSettings { traced, ..settings })?;
        self.metrics.begin(protocol);
        let gauge = Gauge::up(&self.metrics, |m| &m.streams);
        Some(OpenStream { handle, outputs, traced, _permits: permits, _gauge: gauge })
    }

    /// Whether the server is shutting down.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}
