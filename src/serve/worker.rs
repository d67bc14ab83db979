//! A thread of the recognizer. It owns some of the streams, and runs the network for all that are ready in
//! one batch.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::Receiver;
use tokio::sync::mpsc;

use crate::engine::{SharedScratch, TensorData};
use crate::error::Result;
use crate::recognizer::{Event, Recognizer, Stream, StreamOptions, step_batch};

use super::metrics::Metrics;
use super::protocol::{RecognizerOutput, TraceSnapshot};
use super::stream_queue::{Backlog, Command, Item, StreamSettings};

/// Maximum number of ready steps of a stream; while it is reached, no more audio of the stream is
/// processed, so that a stream faster than real time delays the others by no more than these steps.
const MAX_READY: usize = 10;
/// Maximum number of state values in a trace.
const MAX_TRACED_VALUES: usize = 4096;

/// The streams of one thread.
pub(super) struct Worker {
    streams: StreamSource,
    slots: HashMap<u64, Box<Slot>>,
    /// Ids of the streams that have work, each once; the others cost nothing.
    awake: Vec<u64>,
    commands: Receiver<Command>,
    batch: usize,
    scratch: SharedScratch,
    metrics: Arc<Metrics>,
}

impl Worker {
    /// Creates a worker without streams that receives `commands` and opens streams by `streams`; `batch` is
    /// the maximum number of streams in one call of the network.
    pub(super) fn new(
        streams: StreamSource,
        batch: usize,
        commands: Receiver<Command>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            streams,
            slots: HashMap::new(),
            awake: Vec::new(),
            commands,
            batch: batch.max(1),
            scratch: SharedScratch::default(),
            metrics: Arc::clone(metrics),
        }
    }

    /// Runs until the batcher and all handles are dropped.
    pub(super) fn run(&mut self) {
        while let Ok(command) = self.commands.recv() {
            self.apply(command);
            loop {
                while let Ok(command) = self.commands.try_recv() {
                    self.apply(command);
                }
                if self.awake.is_empty() {
                    break;
                }
                self.round();
            }
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Open { id, settings, outputs, backlog } => {
                match self.streams.open(&settings) {
                    Ok(stream) => {
                        self.slots.insert(id, Box::new(Slot::new(stream, settings, outputs, backlog)));
                    }
                    Err(error) => {
                        // Fails only if the session has ended.
                        let _ = outputs.try_send(vec![RecognizerOutput::Failed(error.to_string())]);
                    }
                }
            }
            Command::Item { id, item, arrived } => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.queue.push_back((item, arrived));
                    self.wake(id);
                }
            }
            Command::Wake { id } => self.wake(id),
            Command::Close { id } => drop(self.slots.remove(&id)),
        }
    }

    fn wake(&mut self, id: u64) {
        if let Some(slot) = self.slots.get_mut(&id)
            && !std::mem::replace(&mut slot.awake, true)
        {
            self.awake.push(id);
        }
    }

    /// Feeds every stream that has work, runs one step of all that are ready, and sends their outputs.
    fn round(&mut self) {
        let begun = Instant::now();
        let ids = std::mem::take(&mut self.awake);
        let mut slots: Vec<(u64, Box<Slot>)> =
            ids.into_iter().filter_map(|id| self.slots.remove_entry(&id)).collect();
        let mut samples = 0;
        for (_, slot) in &mut slots {
            slot.feed(&self.streams);
            samples += std::mem::take(&mut slot.samples);
        }
        self.step(&mut slots);
        for (_, slot) in &mut slots {
            slot.settle(&self.metrics);
        }
        for (id, mut slot) in slots {
            slot.awake = slot.has_work();
            if slot.awake {
                self.awake.push(id);
            }
            self.slots.insert(id, slot);
        }
        let seconds = samples as f64 / f64::from(self.streams.recognizer.sample_rate());
        self.metrics.add_processed(seconds, begun.elapsed());
    }

    /// Runs one step of all streams that are ready.
    fn step(&mut self, slots: &mut [(u64, Box<Slot>)]) {
        let mut ready: Vec<&mut Slot> = slots
            .iter_mut()
            .map(|(_, slot)| &mut **slot)
            .filter(|s| !s.failed && !s.is_stalled() && s.stream.num_steps_ready() > 0)
            .collect();
        for group in ready.chunks_mut(self.batch) {
            self.metrics.batches_total.fetch_add(1, Ordering::Relaxed);
            self.metrics.batched_total.fetch_add(group.len() as u64, Ordering::Relaxed);
            let mut streams: Vec<&mut Stream> = group.iter_mut().map(|slot| &mut slot.stream).collect();
            streams[0].swap_scratch(&mut self.scratch);
            let result = step_batch(&mut streams);
            streams[0].swap_scratch(&mut self.scratch);
            if let Err(error) = result {
                // The states may be changed in part: none of these streams can continue.
                for slot in group {
                    slot.fail(error.to_string());
                }
            }
        }
    }
}

/// Recognizer and options from which streams are opened.
pub(super) struct StreamSource {
    pub recognizer: Recognizer,
    pub options: StreamOptions,
}

impl StreamSource {
    /// The recognizer of a stream's words.
    fn recognizer<'a>(&'a self, settings: &'a StreamSettings) -> &'a Recognizer {
        settings.words.as_ref().map_or(&self.recognizer, |words| &words.recognizer)
    }

    /// Opens a stream.
    fn open(&self, settings: &StreamSettings) -> Result<Stream> {
        let recognizer = self.recognizer(settings);
        let mut options = self.options.clone();
        let nbest = settings.nbest.unwrap_or(options.nbest);
        options.nbest = if recognizer.finds_alternatives() { nbest } else { 1 };
        if let Some(silence) = settings.silence {
            let endpoint = options.endpoint.get_or_insert_default();
            endpoint.rule2_min_trailing_silence = silence;
        }
        let mut stream = recognizer.stream_with(&options)?;
        if settings.traced {
            stream.observe();
        }
        Ok(stream)
    }
}

/// A stream and its queues.
struct Slot {
    stream: Stream,
    settings: StreamSettings,
    /// The stream is in its worker's list of streams with work.
    awake: bool,
    queue: VecDeque<(Item, Instant)>,
    /// Number of samples processed in this round.
    samples: usize,
    /// When the audio that is not fully processed was queued.
    arrivals: Vec<Instant>,
    outputs: mpsc::Sender<Vec<RecognizerOutput>>,
    backlog: Arc<Backlog>,
    /// Outputs that were not sent yet.
    pending: Vec<RecognizerOutput>,
    /// Length of the audio before the stream's last restart, seconds.
    base: f64,
    ending: bool,
    failed: bool,
}

impl Slot {
    fn new(
        stream: Stream,
        settings: StreamSettings,
        outputs: mpsc::Sender<Vec<RecognizerOutput>>,
        backlog: Arc<Backlog>,
    ) -> Self {
        Self {
            stream,
            settings,
            awake: false,
            queue: VecDeque::new(),
            samples: 0,
            arrivals: Vec::new(),
            outputs,
            backlog,
            pending: Vec::new(),
            base: 0.0,
            ending: false,
            failed: false,
        }
    }

    /// Whether the queue of outputs is full.
    fn is_stalled(&self) -> bool {
        if self.outputs.capacity() > 0 {
            return false;
        }
        self.backlog.stalled.store(true, Ordering::Release);
        // The client may have received some just before the flag was set.
        self.outputs.capacity() == 0
    }

    /// Whether there is work that can be done now. A stalled stream has none until its handle wakes it.
    fn has_work(&self) -> bool {
        let waits = !self.failed && (!self.queue.is_empty() || self.stream.num_steps_ready() > 0);
        (waits || !self.pending.is_empty()) && !self.is_stalled()
    }

    /// Processes the items of the queue up to the first that needs a step of the network before it.
    fn feed(&mut self, streams: &StreamSource) {
        while !self.failed && !self.is_stalled() && self.can_take_next() {
            let Some((item, arrived)) = self.queue.pop_front() else { return };
            self.backlog.release(item.cost());
            self.take(item, arrived, streams);
        }
    }

    /// Whether there is an item that can be processed before the next step of the network.
    fn can_take_next(&mut self) -> bool {
        let Some((item, _)) = self.queue.front() else { return false };
        match item {
            // Every step of a traced stream is reported.
            Item::Audio(_) => {
                self.stream.num_steps_ready() < if self.settings.traced { 1 } else { MAX_READY }
            }
            Item::Mark | Item::Words(_) => self.stream.num_steps_ready() == 0,
            Item::Restart | Item::Silence(_) | Item::Finish => {
                if !std::mem::replace(&mut self.ending, true) {
                    self.stream.input_finished();
                }
                self.stream.num_steps_ready() == 0
            }
        }
    }

    fn take(&mut self, item: Item, arrived: Instant, streams: &StreamSource) {
        match item {
            Item::Audio(samples) => {
                self.accept(&samples);
                self.arrivals.push(arrived);
            }
            Item::Mark => {
                self.events();
                self.pending.push(RecognizerOutput::Mark);
            }
            Item::Restart => {
                self.events();
                self.base += self.stream.seconds();
                self.stream.reset();
                self.ending = false;
                self.pending.push(RecognizerOutput::Restarted);
            }
            Item::Silence(seconds) => {
                self.events();
                self.base += self.stream.seconds();
                self.settings.silence = Some(seconds);
                match streams.open(&self.settings) {
                    Ok(stream) => self.stream = stream,
                    Err(error) => return self.fail(error.to_string()),
                }
                self.ending = false;
                self.pending.push(RecognizerOutput::Restarted);
            }
            Item::Words(words) => {
                self.settings.words = words;
                let changed = streams.recognizer(&self.settings).change_words(&mut self.stream);
                if let Err(error) = changed {
                    self.fail(error.to_string());
                }
            }
            Item::Finish => {
                self.events();
                self.pending.push(RecognizerOutput::Finished { seconds: self.base + self.stream.seconds() });
            }
        }
    }

    fn accept(&mut self, samples: &[f32]) {
        self.samples += samples.len();
        if let Err(error) = self.stream.compute_features(samples) {
            self.fail(error.to_string());
        }
    }

    fn fail(&mut self, problem: String) {
        self.failed = true;
        self.pending.push(RecognizerOutput::Failed(problem));
    }

    /// Collects the stream's events; their times count from the beginning of the session's audio.
    fn events(&mut self) {
        if self.failed {
            return;
        }
        for mut event in self.stream.take_events() {
            let (Event::Partial(segment) | Event::Final(segment)) = &mut event;
            segment.start += self.base;
            segment.end += self.base;
            for word in &mut segment.words {
                word.start += self.base;
                word.end += self.base;
            }
            self.pending.push(RecognizerOutput::Event(event));
        }
        if let Some(log_probs) = self.stream.take_observed() {
            let mut state = Vec::new();
            for tensor in &self.stream.state().tensors {
                if let TensorData::F32(values) = &tensor.data {
                    state.extend_from_slice(&values[..values.len().min(MAX_TRACED_VALUES - state.len())]);
                }
            }
            let time = self.base + self.stream.seconds();
            self.pending.push(RecognizerOutput::Trace(TraceSnapshot { time, log_probs, state }));
        }
    }

    /// Sends the outputs after a step, and records their lag.
    fn settle(&mut self, metrics: &Metrics) {
        // The last events of an ending stream are collected with the item that ends it.
        if !self.ending || self.stream.num_steps_ready() > 0 {
            self.events();
        }
        if self.stream.num_steps_ready() == 0 || self.failed {
            for arrived in self.arrivals.drain(..) {
                metrics.lag(arrived.elapsed());
            }
        }
        if !self.pending.is_empty() && self.outputs.capacity() > 0 {
            // Fails only if the session has ended.
            let _ = self.outputs.try_send(std::mem::take(&mut self.pending));
        }
    }
}
