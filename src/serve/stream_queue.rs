//! What waits for a stream: its audio and requests on the way to its worker, and how much of them there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

use super::protocol::RecognizerOutput;

/// The least that an item counts against its stream's buffer, samples.
pub(super) const MIN_COST: usize = 160;

/// What goes into a stream, in its order.
#[derive(Debug)]
pub enum Item {
    /// At the model's rate.
    Audio(Vec<f32>),
    Mark,
    Restart,
    /// As `Restart`, and from then on so many seconds of silence end an utterance.
    Silence(f64),
    Finish,
}

impl Item {
    /// Samples that it counts against its stream's buffer.
    pub(super) fn cost(&self) -> usize {
        if let Item::Audio(samples) = self { samples.len().max(MIN_COST) } else { MIN_COST }
    }
}

/// A message to a worker about the stream `id`.
pub(super) enum Command {
    Open {
        id: u64,
        traced: bool,
        silence: Option<f64>,
        outputs: mpsc::Sender<Vec<RecognizerOutput>>,
        backlog: Arc<Backlog>,
    },
    Item {
        id: u64,
        item: Item,
        arrived: Instant,
    },
    /// The client has taken outputs.
    Wake {
        id: u64,
    },
    Close {
        id: u64,
    },
}

/// How much of a stream waits, on both sides.
pub(super) struct Backlog {
    /// Samples that wait for the recognizer.
    pub(super) queued: AtomicUsize,
    /// The stream stalls because its client takes no outputs.
    pub(super) stalled: AtomicBool,
    /// Told when `queued` gets less.
    pub(super) changed: Notify,
}

impl Backlog {
    /// Notes that samples were taken out of the queue.
    pub(super) fn release(&self, samples: usize) {
        self.queued.fetch_sub(samples, Ordering::AcqRel);
        self.changed.notify_one();
    }
}
