//! Items that a session sends to its stream, and the fill levels of the queues between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};

use super::protocol::RecognizerOutput;
use super::words::Words;

/// Minimum number of samples that an item counts as in its stream's buffer, so that empty ones are limited.
pub(super) const MIN_COST: usize = 160;

/// An item for a stream; items are processed in order.
#[derive(Debug)]
pub enum Item {
    /// Samples at the model's rate.
    Audio(Vec<f32>),
    /// Requests `RecognizerOutput::Mark` when everything before it was processed.
    Mark,
    /// Ends the utterance and begins another one.
    Restart,
    /// Like `Restart`, with a new trailing silence of endpoint rule 2, seconds.
    Silence(f64),
    /// The words from the next utterance on; `None` for those of the server.
    Words(Option<Words>),
    /// The end of the audio.
    Finish,
}

impl Item {
    /// Number of samples that the item counts as in its stream's buffer.
    pub(super) fn cost(&self) -> usize {
        if let Item::Audio(samples) = self { samples.len().max(MIN_COST) } else { MIN_COST }
    }
}

/// The settings of a stream in which it differs from others.
#[derive(Clone, Debug, Default)]
pub struct StreamSettings {
    /// Whether the outputs include traces.
    pub traced: bool,
    /// Trailing silence of endpoint rule 2, seconds; `None` is the server's setting.
    pub silence: Option<f64>,
    /// Number of alternatives of each final result; `None` is the server's setting. 1 if the words are not those of
    /// a lexicon.
    pub nbest: Option<usize>,
    /// The words; `None` for those of the server.
    pub words: Option<Words>,
}

/// A message to a worker about the stream with this `id`.
pub(super) enum Command {
    Open {
        id: u64,
        settings: StreamSettings,
        outputs: mpsc::Sender<Vec<RecognizerOutput>>,
        backlog: Arc<Backlog>,
    },
    Item {
        id: u64,
        item: Item,
        arrived: Instant,
    },
    /// The client has received outputs: a stalled stream can continue.
    Wake {
        id: u64,
    },
    Close {
        id: u64,
    },
}

/// Fill levels of a stream's queues, shared by its session and its worker.
pub(super) struct Backlog {
    /// Number of samples that wait for the recognizer.
    pub(super) queued: AtomicUsize,
    /// The stream is stalled because its queue of outputs is full.
    pub(super) stalled: AtomicBool,
    /// Notified when `queued` decreases.
    pub(super) changed: Notify,
}

impl Backlog {
    /// Subtracts samples that the worker has removed from the queue.
    pub(super) fn release(&self, samples: usize) {
        self.queued.fetch_sub(samples, Ordering::AcqRel);
        self.changed.notify_one();
    }
}
