//! A stream on threads: reading, features, network and decoding each on its own, joined by
//! bounded channels. A stage waits when the next one is behind; all of them end when the audio
//! does, at an error, or when nobody listens any more.
//!
//! ```text
//! Source ─[chunks]─► FrontEnd ─[frames]─► Stepper ─[log-probs]─► SegmentDecoder ─[events]─► caller
//! ```

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::audio::{Problems, Source};
use crate::error::{Error, Result, Stage};

use super::front_end::FrontEnd;
use super::open::{Recognizer, segment_decoder};
use super::segments::SegmentDecoder;
use super::stepper::Stepper;
use super::transcript::Event;

/// Messages that wait between two stages at the most.
const CHANNEL: usize = 8;
/// Milliseconds of audio in a message unless it is said otherwise.
pub const DEFAULT_CHUNK_MS: u32 = 100;

/// What goes from stage to stage.
enum Message {
    Data(Vec<f32>),
    /// The audio is this long, seconds; data behind it is the closing silence.
    Ending(f64),
}

type Outlet = Sender<Result<Message>>;
type Inlet = Receiver<Result<Message>>;

/// A recording on its way through the recogniser; an iterator of what is heard. It ends after
/// the last `Final`, or after an error. Dropping it stops the threads.
pub struct Pipeline {
    /// `None` once the end was seen.
    events: Option<Receiver<Result<Event>>>,
    reader: Option<JoinHandle<Problems>>,
    stages: Vec<JoinHandle<()>>,
    complete: bool,
}

impl Pipeline {
    /// Starts the threads; `chunk_samples` (at least 1) are read at a time.
    ///
    /// # Errors
    /// When a thread cannot be started, or the source's rate is not the model's.
    pub fn start(recognizer: &Recognizer, source: Box<dyn Source>, chunk_samples: usize) -> Result<Self> {
        let (expected, found) = (recognizer.sample_rate(), source.sample_rate());
        if expected != found {
            let problem = format!("expected audio at {expected} Hz, found {found} Hz");
            return Err(Error::new(Stage::Audio, problem));
        }
        let front_end = FrontEnd::new(recognizer.metadata())?;
        let stepper = Stepper::new(Arc::clone(recognizer.engine()), recognizer.metadata());
        let segments = segment_decoder(recognizer);
        let (chunks_out, chunks_in) = bounded(CHANNEL);
        let (frames_out, frames_in) = bounded(CHANNEL);
        let (log_probs_out, log_probs_in) = bounded(CHANNEL);
        let (events_out, events_in) = bounded(CHANNEL);
        let reader = spawn("hearken-audio", move || read(source, chunk_samples.max(1), &chunks_out))?;
        let stages = vec![
            spawn("hearken-features", move || features(front_end, &chunks_in, &frames_out))?,
            spawn("hearken-network", move || network(stepper, &frames_in, &log_probs_out))?,
            spawn("hearken-decoder", move || decode(segments, &log_probs_in, &events_out))?,
        ];
        Ok(Self { events: Some(events_in), reader: Some(reader), stages, complete: false })
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
            Ok(Ok(event)) => {
                self.complete = matches!(event, Event::Final(_));
                Some(Ok(event))
            }
            Ok(Err(error)) => {
                self.events = None;
                Some(Err(error))
            }
            Err(_) => {
                self.events = None;
                let lost = Error::new(Stage::Engine, "a stage of the recogniser stopped before its end");
                (!self.complete).then_some(Err(lost))
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
        .map_err(|e| Error::new(Stage::Engine, format!("a thread could not be started: {e}")))
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
            Ok(Message::Ending(_)) => {
                if out.send(Ok(Message::Ending(front_end.seconds()))).is_ok() {
                    front_end.finish(&mut frames);
                    let _ = out.send(Ok(Message::Data(frames)));
                }
                return;
            }
            Err(error) => Err(error),
        };
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
            Ok(Message::Ending(seconds)) => {
                ending = true;
                if out.send(Ok(Message::Ending(seconds))).is_err() {
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

fn decode(mut segments: SegmentDecoder, log_probs: &Inlet, out: &Sender<Result<Event>>) {
    let mut ending = false;
    for message in log_probs {
        let event = match message {
            Ok(Message::Data(log_probs)) => segments.push(&log_probs).map(Ok),
            Ok(Message::Ending(seconds)) => {
                ending = true;
                segments.set_duration(seconds);
                None
            }
            Err(error) => Some(Err(error)),
        };
        let failed = matches!(event, Some(Err(_)));
        if event.is_some_and(|event| out.send(event).is_err()) || failed {
            return;
        }
    }
    if ending {
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
