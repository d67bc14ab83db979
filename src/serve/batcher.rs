//! The recogniser's threads. Each owns a share of the streams; those that are ready together
//! take their step of the network as one batch.
//!
//! Nothing here waits for a client: what a client has not taken yet waits in its own short
//! queue, and while that is full its stream stands still, its audio stays where it is, and its
//! socket is not read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::{Notify, mpsc};

use crate::engine::{SharedScratch, TensorData};
use crate::error::{Error, Result, Stage};
use crate::recognizer::{Event, Recognizer, Stream, StreamOptions, step_batch};

use super::machine::{Glimpse, Heard};
use super::metrics::Metrics;

/// Batches of what was heard that wait for a client.
const OUTPUTS: usize = 64;
/// Steps that one stream may have ready before its next audio is taken. A stream that comes as fast
/// as it can makes those beside it wait for no more than that.
const MOST_READY: usize = 10;
/// What an item counts at the least against its stream's buffer, samples.
const LEAST_COST: usize = 160;
/// Samples that a watched stream takes at a time, so that its steps are seen one by one.
const WATCHED_PIECE: usize = 640;
/// State values that are shown at the most.
const MOST_SHOWN: usize = 4096;

/// What goes into a stream, in its order.
#[derive(Debug)]
pub enum Item {
    /// At the model's rate.
    Audio(Vec<f32>),
    Mark,
    Restart,
    Finish,
}

impl Item {
    fn cost(&self) -> usize {
        if let Item::Audio(samples) = self { samples.len().max(LEAST_COST) } else { LEAST_COST }
    }
}

enum Command {
    Open {
        id: u64,
        watched: bool,
        outputs: mpsc::Sender<Vec<Heard>>,
        room: Arc<Room>,
    },
    Item {
        id: u64,
        item: Item,
        arrived: Instant,
    },
    /// The client has taken something.
    Wake {
        id: u64,
    },
    Close {
        id: u64,
    },
}

/// The room in one stream's buffer.
struct Room {
    /// Samples that wait.
    queued: AtomicUsize,
    /// The stream stands still because its client takes nothing.
    stalled: AtomicBool,
    changed: Notify,
}

/// The threads.
pub struct Batcher {
    workers: Vec<Worker>,
    next_id: AtomicU64,
    buffer: usize,
}

struct Worker {
    commands: Sender<Command>,
    streams: Arc<AtomicUsize>,
}

/// Options of the threads.
#[derive(Clone, Debug)]
pub struct BatchOptions {
    /// Threads, at least one.
    pub threads: usize,
    /// Streams in one call of the network at the most; 1 means one by one.
    pub batch: usize,
    /// Samples that may wait in one stream's buffer.
    pub buffer: usize,
    /// Where utterances end.
    pub stream: StreamOptions,
}

impl Batcher {
    /// Starts the threads; they end when the batcher and all feeds are gone.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(recognizer: &Recognizer, options: &BatchOptions, metrics: &Arc<Metrics>) -> Result<Self> {
        let workers = (0..options.threads.max(1)).map(|i| {
            let (commands, inlet) = unbounded();
            let mut share = Share {
                recognizer: recognizer.clone(),
                options: options.stream.clone(),
                slots: HashMap::new(),
                awake: Vec::new(),
                commands: inlet,
                batch: options.batch.max(1),
                scratch: SharedScratch::default(),
                metrics: Arc::clone(metrics),
            };
            thread::Builder::new()
                .name(format!("hearken-serve-{i}"))
                .spawn(move || share.run())
                .map_err(|e| Error::new(Stage::Serve, format!("cannot start a thread: {e}")))?;
            Ok(Worker { commands, streams: Arc::new(AtomicUsize::new(0)) })
        });
        let buffer = options.buffer.max(LEAST_COST);
        Ok(Self { workers: workers.collect::<Result<_>>()?, next_id: AtomicU64::new(0), buffer })
    }

    /// A new stream, on the thread that has the fewest. `watched` streams tell of the network's
    /// insides. Its output ends without a word when its thread is gone.
    pub fn open(&self, watched: bool) -> Option<(Feed, mpsc::Receiver<Vec<Heard>>)> {
        let worker = self.workers.iter().min_by_key(|w| w.streams.load(Ordering::Relaxed))?;
        worker.streams.fetch_add(1, Ordering::Relaxed);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (outputs, receiver) = mpsc::channel(OUTPUTS);
        let room = Arc::new(Room {
            queued: AtomicUsize::new(0),
            stalled: AtomicBool::new(false),
            changed: Notify::new(),
        });
        let feed = Feed {
            id,
            commands: worker.commands.clone(),
            room: Arc::clone(&room),
            buffer: self.buffer,
            streams: Arc::clone(&worker.streams),
        };
        // A thread that is gone shows in the outputs.
        let _ = worker.commands.send(Command::Open { id, watched, outputs, room });
        Some((feed, receiver))
    }
}

/// The entrance of one stream. Dropping it ends the stream at once.
pub struct Feed {
    id: u64,
    commands: Sender<Command>,
    room: Arc<Room>,
    buffer: usize,
    streams: Arc<AtomicUsize>,
}

impl Feed {
    /// Waits until something may be put in.
    pub async fn room(&self) {
        loop {
            let changed = self.room.changed.notified();
            if self.has_room() {
                return;
            }
            changed.await;
        }
    }

    /// Whether something may be put in now.
    pub fn has_room(&self) -> bool {
        self.room.queued.load(Ordering::Acquire) < self.buffer
    }

    /// Puts something in; to be called when there is [`room`](Self::room).
    pub fn put(&self, item: Item) {
        self.room.queued.fetch_add(item.cost(), Ordering::AcqRel);
        let _ = self.commands.send(Command::Item { id: self.id, item, arrived: Instant::now() });
    }

    /// Says that outputs were taken, so that a stream that stood still goes on.
    pub fn taken(&self) {
        if self.room.stalled.swap(false, Ordering::AcqRel) {
            let _ = self.commands.send(Command::Wake { id: self.id });
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
        let _ = self.commands.send(Command::Close { id: self.id });
    }
}

/// A thread's share of the streams.
struct Share {
    recognizer: Recognizer,
    options: StreamOptions,
    slots: HashMap<u64, Box<Slot>>,
    /// The streams that have something to do, each once; the others cost nothing.
    awake: Vec<u64>,
    commands: Receiver<Command>,
    batch: usize,
    scratch: SharedScratch,
    metrics: Arc<Metrics>,
}

impl Share {
    /// Until nobody can send anything any more.
    fn run(&mut self) {
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
            Command::Open { id, watched, outputs, room } => {
                match self.recognizer.stream_with(&self.options) {
                    Ok(mut stream) => {
                        if watched {
                            stream.observe();
                        }
                        self.slots.insert(id, Box::new(Slot::new(stream, watched, outputs, room)));
                    }
                    Err(error) => {
                        // The client may have left already.
                        let _ = outputs.try_send(vec![Heard::Failed(error.to_string())]);
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

    /// Everyone who is awake takes audio, then steps, then tells what was heard.
    fn round(&mut self) {
        let begun = Instant::now();
        let ids = std::mem::take(&mut self.awake);
        let mut slots: Vec<(u64, Box<Slot>)> =
            ids.into_iter().filter_map(|id| self.slots.remove_entry(&id)).collect();
        let mut samples = 0;
        for (_, slot) in &mut slots {
            slot.feed();
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
        let seconds = samples as f64 / f64::from(self.recognizer.sample_rate());
        self.metrics.heard(seconds, begun.elapsed());
    }

    /// One step of all streams that are ready.
    fn step(&mut self, slots: &mut [(u64, Box<Slot>)]) {
        let mut ready: Vec<&mut Slot> = slots
            .iter_mut()
            .map(|(_, slot)| &mut **slot)
            .filter(|s| !s.failed && !s.is_stalled() && s.stream.ready() > 0)
            .collect();
        for group in ready.chunks_mut(self.batch) {
            self.metrics.batches_total.fetch_add(1, Ordering::Relaxed);
            self.metrics.batched_total.fetch_add(group.len() as u64, Ordering::Relaxed);
            let mut streams: Vec<&mut Stream> = group.iter_mut().map(|slot| &mut slot.stream).collect();
            streams[0].swap_scratch(&mut self.scratch);
            let result = step_batch(&mut streams);
            streams[0].swap_scratch(&mut self.scratch);
            if let Err(error) = result {
                // Where the engine stopped is not known: none of them can go on.
                for slot in group {
                    slot.fail(error.to_string());
                }
            }
        }
    }
}

/// One stream on its thread.
struct Slot {
    stream: Stream,
    watched: bool,
    /// It is in its thread's list of those that have something to do.
    awake: bool,
    queue: VecDeque<(Item, Instant)>,
    /// Samples taken in this round.
    samples: usize,
    /// When audio came that is not heard yet.
    arrivals: Vec<Instant>,
    outputs: mpsc::Sender<Vec<Heard>>,
    room: Arc<Room>,
    heard: Vec<Heard>,
    /// Seconds before the stream's last restart.
    base: f64,
    ending: bool,
    failed: bool,
}

impl Slot {
    fn new(stream: Stream, watched: bool, outputs: mpsc::Sender<Vec<Heard>>, room: Arc<Room>) -> Self {
        Self {
            stream,
            watched,
            awake: false,
            queue: VecDeque::new(),
            samples: 0,
            arrivals: Vec::new(),
            outputs,
            room,
            heard: Vec::new(),
            base: 0.0,
            ending: false,
            failed: false,
        }
    }

    /// Whether the client has to take something first.
    fn is_stalled(&self) -> bool {
        if self.outputs.capacity() > 0 {
            return false;
        }
        self.room.stalled.store(true, Ordering::Release);
        // It may have taken something just before the mark was set.
        self.outputs.capacity() == 0
    }

    /// Whether there is something to do that need not wait for the client; it wakes us.
    fn has_work(&self) -> bool {
        let waits = !self.failed && (!self.queue.is_empty() || self.stream.ready() > 0);
        (waits || !self.heard.is_empty()) && !self.is_stalled()
    }

    /// Takes what waits, up to what needs a step of the network first.
    fn feed(&mut self) {
        while !self.failed && !self.is_stalled() {
            let Some((item, _)) = self.queue.front_mut() else { return };
            let ready = self.stream.ready();
            match item {
                Item::Audio(samples) if self.watched && samples.len() >= WATCHED_PIECE + LEAST_COST => {
                    if ready > 0 {
                        return;
                    }
                    let rest = samples.split_off(WATCHED_PIECE);
                    let piece = std::mem::replace(samples, rest);
                    // The rest counts as what it is when it is taken.
                    self.room.queued.fetch_sub(piece.len(), Ordering::AcqRel);
                    self.room.changed.notify_one();
                    self.accept(&piece);
                    continue;
                }
                Item::Audio(_) if ready >= if self.watched { 1 } else { MOST_READY } => return,
                Item::Audio(_) => {}
                Item::Mark if ready > 0 => return,
                Item::Mark => {}
                Item::Restart | Item::Finish => {
                    if !std::mem::replace(&mut self.ending, true) {
                        self.stream.end();
                    }
                    if self.stream.ready() > 0 {
                        return;
                    }
                }
            }
            let Some((item, arrived)) = self.queue.pop_front() else { return };
            self.room.queued.fetch_sub(item.cost(), Ordering::AcqRel);
            self.room.changed.notify_one();
            self.take(&item, arrived);
        }
    }

    fn take(&mut self, item: &Item, arrived: Instant) {
        match item {
            Item::Audio(samples) => {
                self.accept(samples);
                self.arrivals.push(arrived);
            }
            Item::Mark => {
                self.events();
                self.heard.push(Heard::Mark);
            }
            Item::Restart => {
                self.events();
                self.base += self.stream.seconds();
                self.stream.reset();
                self.ending = false;
                self.heard.push(Heard::Restarted);
            }
            Item::Finish => {
                self.events();
                self.heard.push(Heard::Finished { seconds: self.base + self.stream.seconds() });
            }
        }
    }

    fn accept(&mut self, samples: &[f32]) {
        self.samples += samples.len();
        if let Err(error) = self.stream.accept(samples) {
            self.fail(error.to_string());
        }
    }

    fn fail(&mut self, problem: String) {
        self.failed = true;
        self.heard.push(Heard::Failed(problem));
    }

    /// Collects what the stream said, in the whole conversation's time.
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
            self.heard.push(Heard::Event(event));
        }
        if let Some(log_probs) = self.stream.take_observed() {
            let mut state = Vec::new();
            for tensor in &self.stream.state().tensors {
                if let TensorData::F32(values) = &tensor.data {
                    state.extend_from_slice(&values[..values.len().min(MOST_SHOWN - state.len())]);
                }
            }
            let time = self.base + self.stream.seconds();
            self.heard.push(Heard::Glimpse(Glimpse { time, log_probs, state }));
        }
    }

    /// After a step: hands over what was heard, and notes how late it is.
    fn settle(&mut self, metrics: &Metrics) {
        // A stream that is ending gives its last event to the item that ended it.
        if !self.ending || self.stream.ready() > 0 {
            self.events();
        }
        if self.stream.ready() == 0 || self.failed {
            for arrived in self.arrivals.drain(..) {
                metrics.lag(arrived.elapsed());
            }
        }
        if !self.heard.is_empty() && self.outputs.capacity() > 0 {
            // The client may have left.
            let _ = self.outputs.try_send(std::mem::take(&mut self.heard));
        }
    }
}
