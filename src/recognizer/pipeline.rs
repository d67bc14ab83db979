//! A stream with a thread for each stage: reading, features, network and decoding, connected by bounded channels.
//! A stage blocks while the next one is behind. All threads end at the end of the audio, at an error, or when the
//! receiver is dropped.
//!
//! ```text
//! Source ─[chunks]─► FrontEnd ─[frames]─► StreamingNetwork ─[log-probs]─► SegmentDecoder ─[events]─► caller
//! ```
//!
//! If endpoints reset the network's state, the output of the decoder affects the next call of the network, so
//! StreamingNetwork and SegmentDecoder share a thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::audio::{Problems, Source};
use crate::error::{Error, Result, Stage};

use super::front_end::FrontEnd;
use super::open::Recognizer;
use super::segments::{SegmentDecoder, decode_steps};
use super::stream::{StreamOptions, stages};
use super::streaming_network::{StreamingNetwork, run_batch};
use super::transcript::Event;

/// Maximum number of messages between two stages.
const CHANNEL_CAPACITY: usize = 8;
/// Default length of a chunk of audio, milliseconds.
pub const DEFAULT_CHUNK_MS: u32 = 100;

/// A message between two stages.
enum Message {
    /// Samples, features or log-probabilities.
    Data(Vec<f32>),
    /// The voice activity detector's decisions on output frames, sent before their data.
    Speech(Vec<bool>),
    /// The end of the audio, with its duration in seconds. Data after this belongs to the appended silence.
    Ending(f64),
}

type MessageSender = Sender<Result<Message>>;
type MessageReceiver = Receiver<Result<Message>>;

/// A running recognition of a source, as an iterator of events. It ends after the last `Final` or an error.
/// Dropping it stops the threads.
pub struct Pipeline {
    /// `None` after the end.
    events: Option<Receiver<Result<Event>>>,
    reader: Option<JoinHandle<Problems>>,
    stages: Vec<JoinHandle<()>>,
    /// Whether the last event was sent.
    complete: Arc<AtomicBool>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("ended", &self.events.is_none()).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Starts the threads; the source is read in chunks of `chunk_samples` (at least 1).
    ///
    /// # Errors
    /// When a thread cannot be started, or the source's rate is not the model's.
    pub fn start(recognizer: &Recognizer, source: Box<dyn Source>, chunk_samples: usize) -> Result<Self> {
        Self::start_with(recognizer, source, chunk_samples, &StreamOptions::default())
    }

    /// As [`Pipeline::start`], with options such as endpoint rules.
    ///
    /// # Errors
    /// As [`Pipeline::start`] and [`Recognizer::stream_with`].
    pub fn start_with(
        recognizer: &Recognizer,
        source: Box<dyn Source>,
        chunk_samples: usize,
        options: &StreamOptions,
    ) -> Result<Self> {
        let (expected, found) = (recognizer.sample_rate(), source.sample_rate());
        if expected != found {
            let problem = format!("expected audio at {expected} Hz, found {found} Hz");
            return Err(Error::new(Stage::Audio, problem));
        }
        let (front_end, network, segments) = stages(recognizer.model(), options)?;
        let complete = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&complete);
        let (chunks_out, chunks_in) = bounded(CHANNEL_CAPACITY);
        let (frames_out, frames_in) = bounded(CHANNEL_CAPACITY);
        let (log_probs_out, log_probs_in) = bounded(CHANNEL_CAPACITY);
        let (events_out, events_in) = bounded(CHANNEL_CAPACITY);
        let reader = spawn("hearken-audio", move || read(source, chunk_samples.max(1), &chunks_out))?;
        let mut stages =
            vec![spawn("hearken-features", move || features(front_end, &chunks_in, &frames_out))?];
        if segments.resets_state() {
            let recognize = move || recognize(network, segments, &frames_in, &events_out, &done);
            stages.push(spawn("hearken-network", recognize)?);
        } else {
            let decode = move || decode(segments, &log_probs_in, &events_out, &done);
            stages.push(spawn("hearken-network", move || run_network(network, &frames_in, &log_probs_out))?);
            stages.push(spawn("hearken-decoder", decode)?);
        }
        Ok(Self { events: Some(events_in), reader: Some(reader), stages, complete })
    }

    /// Stops the threads and waits for them; returns the damage that the source read past.
    pub fn join(mut self) -> Problems {
        self.stop()
    }

    fn stop(&mut self) -> Problems {
        self.events = None;
        for stage in self.stages.drain(..) {
            // If a stage panicked, its channel closed early, which the iterator has reported as an error.
            let _ = stage.join();
        }
        self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Iterator for Pipeline {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.events.as_ref()?.recv() {
            Ok(Ok(event)) => Some(Ok(event)),
            Ok(Err(error)) => {
                self.events = None;
                Some(Err(error))
            }
            Err(_) => {
                self.events = None;
                let lost = Error::new(Stage::Engine, "a thread of the recognizer stopped unexpectedly");
                (!self.complete.load(Ordering::Acquire)).then_some(Err(lost))
            }
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(|e| Error::new(Stage::Engine, format!("cannot start a thread: {e}")).caused_by(e))
}

// Each stage returns early when `send` fails, which means that the next stage has ended.

fn read(mut source: Box<dyn Source>, chunk_samples: usize, out: &MessageSender) -> Problems {
    loop {
        let mut chunk = Vec::with_capacity(chunk_samples.min(1 << 16));
        let more = match source.read(&mut chunk, chunk_samples) {
            Ok(0) => break,
            Ok(_) => out.send(Ok(Message::Data(chunk))).is_ok(),
            Err(error) => {
                let _ = out.send(Err(error));
                false
            }
        };
        if !more {
            return source.problems();
        }
    }
    // The features stage replaces the duration.
    let _ = out.send(Ok(Message::Ending(0.0)));
    source.problems()
}

fn features(mut front_end: FrontEnd, chunks: &MessageReceiver, out: &MessageSender) {
    for message in chunks {
        let mut frames = Vec::new();
        let result = match message {
            Ok(Message::Data(samples)) => front_end.push(&samples, &mut frames),
            Ok(Message::Speech(_)) => Ok(()),
            Ok(Message::Ending(_)) => {
                if out.send(Ok(Message::Ending(front_end.seconds()))).is_ok() {
                    front_end.finish(&mut frames);
                    let _ = out.send(Ok(Message::Data(frames)));
                }
                return;
            }
            Err(error) => Err(error),
        };
        let speech = front_end.take_speech();
        if !speech.is_empty() && out.send(Ok(Message::Speech(speech))).is_err() {
            return;
        }
        if !send_data(result, frames, out) {
            return;
        }
    }
}

fn run_network(mut network: StreamingNetwork, frames: &MessageReceiver, out: &MessageSender) {
    let mut ending = false;
    for message in frames {
        let mut log_probs = Vec::new();
        let result = match message {
            Ok(Message::Data(frames)) => {
                network.frames_mut().extend_from_slice(&frames);
                if ending {
                    network.finish();
                }
                network.run(&mut log_probs)
            }
            Ok(other) => {
                ending |= matches!(other, Message::Ending(_));
                if out.send(Ok(other)).is_err() {
                    return;
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        if !send_data(result, log_probs, out) {
            return;
        }
    }
}

fn decode(
    mut segments: SegmentDecoder,
    log_probs: &MessageReceiver,
    out: &Sender<Result<Event>>,
    done: &AtomicBool,
) {
    let mut ending = false;
    let mut events = Vec::new();
    for message in log_probs {
        let result = match message {
            Ok(Message::Data(log_probs)) => {
                segments.push(&log_probs, &mut events);
                Ok(())
            }
            Ok(other) => {
                handle_control(&mut segments, other, &mut ending);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if !send_events(result, &mut events, out) {
            return;
        }
    }
    finish(segments, ending, out, done);
}

/// Network and decoder in one thread.
fn recognize(
    mut network: StreamingNetwork,
    mut segments: SegmentDecoder,
    frames: &MessageReceiver,
    out: &Sender<Result<Event>>,
    done: &AtomicBool,
) {
    let mut ending = false;
    let mut events = Vec::new();
    for message in frames {
        let result = match message {
            Ok(Message::Data(frames)) => {
                network.frames_mut().extend_from_slice(&frames);
                if ending {
                    network.finish();
                }
                run(&mut network, &mut segments, &mut events)
            }
            Ok(other) => {
                handle_control(&mut segments, other, &mut ending);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if !send_events(result, &mut events, out) {
            return;
        }
    }
    finish(segments, ending, out, done);
}

/// Runs the network and the decoder on all waiting frames.
fn run(network: &mut StreamingNetwork, segments: &mut SegmentDecoder, events: &mut Vec<Event>) -> Result<()> {
    let mut log_probs = Vec::new();
    while network.num_steps_ready() > 0 {
        log_probs.clear();
        let steps = run_batch(&mut [network], &mut [&mut log_probs])?;
        decode_steps(network, segments, &log_probs, steps, events);
    }
    Ok(())
}

/// Applies a message other than data to the decoder.
fn handle_control(segments: &mut SegmentDecoder, message: Message, ending: &mut bool) {
    match message {
        Message::Speech(speech) => segments.push_speech(&speech),
        Message::Ending(seconds) => {
            *ending = true;
            segments.set_duration(seconds);
        }
        Message::Data(_) => {}
    }
}

/// Sends events, then an error if there is one; returns whether the stage should continue.
fn send_events(result: Result<()>, events: &mut Vec<Event>, out: &Sender<Result<Event>>) -> bool {
    let sent = events.drain(..).all(|event| out.send(Ok(event)).is_ok());
    match result {
        Ok(()) => sent,
        Err(error) => {
            let _ = out.send(Err(error));
            false
        }
    }
}

/// Sends the last event if the audio has ended.
fn finish(mut segments: SegmentDecoder, ending: bool, out: &Sender<Result<Event>>, done: &AtomicBool) {
    if ending {
        done.store(true, Ordering::Release);
        let _ = out.send(Ok(segments.end_segment()));
    }
}

/// Sends a stage's output, if there is any, or its error; returns whether the stage should continue.
fn send_data(result: Result<()>, data: Vec<f32>, out: &MessageSender) -> bool {
    match result {
        Ok(()) => data.is_empty() || out.send(Ok(Message::Data(data))).is_ok(),
        Err(error) => {
            let _ = out.send(Err(error));
            false
        }
    }
}
