//! A stream on threads: reading, features, network and decoding each on its own, joined by
//! bounded channels. A stage waits when the next one is behind; all of them end when the audio
//! does, at an error, or when nobody listens any more.
//!
//! ```text
//! Source ─[chunks]─► FrontEnd ─[frames]─► Stepper ─[log-probs]─► SegmentDecoder ─[events]─► caller
//! ```
//!
//! Where an endpoint resets the network's state, what is heard decides what is computed next, and
//! Stepper and SegmentDecoder share a thread.

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
use super::stepper::{Stepper, run_batch};
use super::stream::{StreamOptions, stages};
use super::transcript::Event;

/// Messages that wait between two stages at the most.
const CHANNEL: usize = 8;
/// Milliseconds of audio in a message unless it is said otherwise.
pub const DEFAULT_CHUNK_MS: u32 = 100;

/// What goes from stage to stage.
enum Message {
    Data(Vec<f32>),
    /// What the detector says of output frames, before their data.
    Speech(Vec<bool>),
    /// The audio is this long, seconds; data behind it is the closing silence.
    Ending(f64),
}

type Outlet = Sender<Result<Message>>;
type Inlet = Receiver<Result<Message>>;

/// A recording on its way through the recognizer; an iterator of what is heard. It ends after
/// the last `Final`, or after an error. Dropping it stops the threads.
pub struct Pipeline {
    /// `None` once the end was seen.
    events: Option<Receiver<Result<Event>>>,
    reader: Option<JoinHandle<Problems>>,
    stages: Vec<JoinHandle<()>>,
    /// The last event was sent.
    complete: Arc<AtomicBool>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("ended", &self.events.is_none()).finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Starts the threads; `chunk_samples` (at least 1) are read at a time.
    ///
    /// # Errors
    /// When a thread cannot be started, or the source's rate is not the model's.
    pub fn start(recognizer: &Recognizer, source: Box<dyn Source>, chunk_samples: usize) -> Result<Self> {
        Self::start_with(recognizer, source, chunk_samples, &StreamOptions::default())
    }

    /// As [`Pipeline::start`], with segments that end by themselves.
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
        let (front_end, stepper, segments) = stages(recognizer.model(), options)?;
        let complete = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&complete);
        let (chunks_out, chunks_in) = bounded(CHANNEL);
        let (frames_out, frames_in) = bounded(CHANNEL);
        let (log_probs_out, log_probs_in) = bounded(CHANNEL);
        let (events_out, events_in) = bounded(CHANNEL);
        let reader = spawn("hearken-audio", move || read(source, chunk_samples.max(1), &chunks_out))?;
        let mut stages =
            vec![spawn("hearken-features", move || features(front_end, &chunks_in, &frames_out))?];
        if segments.resets_state() {
            let hear = move || hear(stepper, segments, &frames_in, &events_out, &done);
            stages.push(spawn("hearken-network", hear)?);
        } else {
            let decode = move || decode(segments, &log_probs_in, &events_out, &done);
            stages.push(spawn("hearken-network", move || network(stepper, &frames_in, &log_probs_out))?);
            stages.push(spawn("hearken-decoder", decode)?);
        }
        Ok(Self { events: Some(events_in), reader: Some(reader), stages, complete })
    }

    /// Waits for the threads; gives what the source read past.
    pub fn join(mut self) -> Problems {
        self.stop()
    }

    fn stop(&mut self) -> Problems {
        self.events = None;
        for stage in self.stages.drain(..) {
            // A stage that panicked closed its channel, and the iterator has told so.
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
                let lost = Error::new(Stage::Engine, "a stage of the recognizer stopped before its end");
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
        .map_err(|e| Error::new(Stage::Engine, format!("a thread could not be started: {e}")).caused_by(e))
}

// Each stage returns early when the next one is gone: a failed `send` says so.

fn read(mut source: Box<dyn Source>, chunk_samples: usize, out: &Outlet) -> Problems {
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
    // The front end knows how much there was.
    let _ = out.send(Ok(Message::Ending(0.0)));
    source.problems()
}

fn features(mut front_end: FrontEnd, chunks: &Inlet, out: &Outlet) {
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
        if !pass_on(result, frames, out) {
            return;
        }
    }
}

fn network(mut stepper: Stepper, frames: &Inlet, out: &Outlet) {
    let mut ending = false;
    for message in frames {
        let mut log_probs = Vec::new();
        let result = match message {
            Ok(Message::Data(frames)) => {
                stepper.frames_mut().extend_from_slice(&frames);
                if ending {
                    stepper.finish();
                }
                stepper.run(&mut log_probs)
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
        if !pass_on(result, log_probs, out) {
            return;
        }
    }
}

fn decode(mut segments: SegmentDecoder, log_probs: &Inlet, out: &Sender<Result<Event>>, done: &AtomicBool) {
    let mut ending = false;
    let mut events = Vec::new();
    for message in log_probs {
        let result = match message {
            Ok(Message::Data(log_probs)) => {
                segments.push(&log_probs, &mut events);
                Ok(())
            }
            Ok(other) => {
                note(&mut segments, other, &mut ending);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if !tell(result, &mut events, out) {
            return;
        }
    }
    finish(segments, ending, out, done);
}

/// Network and decoder in one.
fn hear(
    mut stepper: Stepper,
    mut segments: SegmentDecoder,
    frames: &Inlet,
    out: &Sender<Result<Event>>,
    done: &AtomicBool,
) {
    let mut ending = false;
    let mut events = Vec::new();
    for message in frames {
        let result = match message {
            Ok(Message::Data(frames)) => {
                stepper.frames_mut().extend_from_slice(&frames);
                if ending {
                    stepper.finish();
                }
                run(&mut stepper, &mut segments, &mut events)
            }
            Ok(other) => {
                note(&mut segments, other, &mut ending);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if !tell(result, &mut events, out) {
            return;
        }
    }
    finish(segments, ending, out, done);
}

/// Runs the network as far as there are frames.
fn run(stepper: &mut Stepper, segments: &mut SegmentDecoder, events: &mut Vec<Event>) -> Result<()> {
    let mut log_probs = Vec::new();
    while stepper.ready() > 0 {
        log_probs.clear();
        let steps = run_batch(&mut [stepper], &mut [&mut log_probs])?;
        decode_steps(stepper, segments, &log_probs, steps, events);
    }
    Ok(())
}

/// Tells the decoder what is no data.
fn note(segments: &mut SegmentDecoder, message: Message, ending: &mut bool) {
    match message {
        Message::Speech(speech) => segments.push_speech(&speech),
        Message::Ending(seconds) => {
            *ending = true;
            segments.set_duration(seconds);
        }
        Message::Data(_) => {}
    }
}

/// Sends events, and an error behind them; whether the stage shall go on.
fn tell(result: Result<()>, events: &mut Vec<Event>, out: &Sender<Result<Event>>) -> bool {
    let heard = events.drain(..).all(|event| out.send(Ok(event)).is_ok());
    match result {
        Ok(()) => heard,
        Err(error) => {
            let _ = out.send(Err(error));
            false
        }
    }
}

/// The last event of all, when the audio came to its end.
fn finish(mut segments: SegmentDecoder, ending: bool, out: &Sender<Result<Event>>, done: &AtomicBool) {
    if ending {
        done.store(true, Ordering::Release);
        let _ = out.send(Ok(segments.end_segment()));
    }
}

/// Sends what a stage has made, if anything; whether the stage shall go on.
fn pass_on(result: Result<()>, data: Vec<f32>, out: &Outlet) -> bool {
    match result {
        Ok(()) => data.is_empty() || out.send(Ok(Message::Data(data))).is_ok(),
        Err(error) => {
            let _ = out.send(Err(error));
            false
        }
    }
}
