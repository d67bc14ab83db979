//! What all connections share, and the streams that they open.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::batcher::{Batcher, StreamHandle};
use super::limits::Limits;
use super::metrics::{Gauge, Metrics};
use super::protocol::{ModelInfo, RecognizerOutput};

/// What all connections share.
pub struct Shared {
    pub batcher: Batcher,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub model: ModelInfo,
    /// A permit for each stream that may be open.
    pub streams: Arc<Semaphore>,
    /// A permit for each recording that may be transcribed at a time.
    pub uploads: Arc<Semaphore>,
    /// The memory for recordings on their way in, as [`super::form::memory_for`] counts it.
    pub upload_memory: Arc<Semaphore>,
    /// A permit for each stream that may be traced.
    pub traces: Arc<Semaphore>,
    /// Turns true when the server shuts down.
    pub draining: watch::Receiver<bool>,
}

/// An open stream of the recognizer; dropping it frees everything that it took.
pub struct OpenStream {
    pub handle: StreamHandle,
    pub outputs: mpsc::Receiver<Vec<RecognizerOutput>>,
    /// Whether its outputs have traces.
    pub traced: bool,
    _permits: Vec<OwnedSemaphorePermit>,
    _gauge: Gauge,
}

impl Shared {
    /// Opens a stream, whose utterances end after so many seconds of `silence` where that is set; `None`
    /// when all are taken.
    pub fn open_stream(&self, protocol: &str, trace: bool, silence: Option<f64>) -> Option<OpenStream> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok();
        if permit.is_none() {
            self.metrics.refuse("streams");
        }
        let mut permits = vec![permit?];
        let traced = trace
            .then(|| Arc::clone(&self.traces).try_acquire_owned().ok())
            .flatten()
            .map(|permit| permits.push(permit))
            .is_some();
        let (handle, outputs) = self.batcher.open(traced, silence)?;
        self.metrics.begin(protocol);
        let gauge = Gauge::up(&self.metrics, |m| &m.streams);
        Some(OpenStream { handle, outputs, traced, _permits: permits, _gauge: gauge })
    }

    /// Whether the server shuts down.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}
