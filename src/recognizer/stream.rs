//! One speaker's stream: samples in, events out.

use std::fmt;
use std::sync::Arc;

use crate::decode::EndpointOptions;
use crate::engine::{SharedScratch, State};
use crate::error::{Error, Result, Stage};
use crate::onnx::Metadata;

use super::detector::DetectorFactory;
use super::front_end::FrontEnd;
use super::loaded_model::LoadedModel;
use super::segments::{SegmentDecoder, decode_steps};
use super::stepper::{Stepper, run_batch};
use super::transcript::Event;
use super::words::WordBuilder;

/// How a stream is cut into segments, and what it tells of them.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// The rules by which segments end; without them a stream is one segment.
    pub endpoint: Option<EndpointOptions>,
    /// Hears whether someone talks, beside the recognizer itself; used by the rules only.
    pub detector: Option<DetectorFactory>,
    /// Whether there are `Partial` events.
    pub partials: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { endpoint: None, detector: None, partials: true }
    }
}

/// All that changes while one speaker is heard. Owns everything it needs but the network, which
/// it shares; has neither threads nor files.
///
/// Two ways of use:
/// - [`Stream::accept_waveform`] and [`Stream::finish`] do everything at once;
/// - [`Stream::compute_features`] and [`Stream::input_finished`] only compute features, [`step_batch`] runs the
///   network for several streams together, and [`Stream::take_events`] gives what they said.
pub struct Stream {
    front_end: FrontEnd,
    stepper: Stepper,
    segments: SegmentDecoder,
    /// Room for the log-probabilities of a call.
    log_probs: Vec<f32>,
    events: Vec<Event>,
    /// The last output frame, where it is asked for.
    observed: Option<Vec<f32>>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Samples may come.
    Open,
    /// No more samples; frames may wait for the network.
    Ended,
    /// The last event was made.
    Done,
}

/// Samples that are turned into features before the network has its turn: one second. It bounds
/// the memory of a push, however long.
const PIECE_SAMPLES: usize = 16_000;

/// The three stages of a stream of a model.
pub(super) fn stages(
    model: &LoadedModel,
    options: &StreamOptions,
) -> Result<(FrontEnd, Stepper, SegmentDecoder)> {
    let metadata = &*model.metadata;
    let Metadata { tokens, decoder, .. } = metadata;
    let words = WordBuilder::new(tokens, decoder, model.clock).with_words(model.decoders.words());
    let spec = model.engine.spec();
    let mut segments = SegmentDecoder::new(model.decoders.decoder(), words, spec.num_tokens)
        .with_reset_after_other_speech(decoder.reset_after_other_speech_ms)
        .with_phrases(model.phrases.clone())
        .with_numbers(model.numbers);
    if !options.partials {
        segments = segments.without_partials();
    }
    let mut speech = None;
    if let Some(endpoint) = &options.endpoint {
        endpoint.check()?;
        segments = segments.with_endpoints(endpoint, decoder.reset_at_endpoint);
        if let Some(detector) = &options.detector {
            speech = Some(detector.frames(model.clock.step_samples)?);
        }
    }
    let front_end = FrontEnd::new(metadata)?.with_speech(speech);
    let stepper = Stepper::new(Arc::clone(&model.engine), metadata).remembering(segments.resets_state());
    Ok((front_end, stepper, segments))
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("seconds", &self.seconds()).finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(model: &LoadedModel, options: &StreamOptions) -> Result<Self> {
        let (front_end, stepper, segments) = stages(model, options)?;
        Ok(Self {
            front_end,
            stepper,
            segments,
            log_probs: Vec::new(),
            events: Vec::new(),
            observed: None,
            phase: Phase::Open,
        })
    }

    /// Takes samples (full scale ±1, the model's rate, any number) and gives what changed.
    ///
    /// # Errors
    /// A sample that is no number (then none of its second's samples is taken); the engine's
    /// failure; samples after [`Stream::finish`].
    pub fn accept_waveform(&mut self, samples: &[f32]) -> Result<Vec<Event>> {
        for piece in samples.chunks(PIECE_SAMPLES) {
            self.compute_features(piece)?;
            self.run_alone()?;
        }
        Ok(self.take_events())
    }

    /// No more samples: hears what remains and gives the last events, of which the very last is
    /// a `Final`. Nothing, if it was finished before.
    ///
    /// # Errors
    /// The engine's failure.
    pub fn finish(&mut self) -> Result<Vec<Event>> {
        self.input_finished();
        self.run_alone()?;
        Ok(self.take_events())
    }

    /// Takes samples and computes their features; the network does not run.
    ///
    /// # Errors
    /// As [`Stream::accept_waveform`], the engine's excepted.
    pub fn compute_features(&mut self, samples: &[f32]) -> Result<()> {
        if self.phase != Phase::Open {
            return Err(Error::new(Stage::Audio, "the stream is finished").hint("reset it first"));
        }
        self.front_end.push(samples, self.stepper.frames_mut())?;
        self.segments.push_speech(&self.front_end.take_speech());
        Ok(())
    }

    /// Notes that no more samples will come; the network does not run.
    pub fn input_finished(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Ended;
            self.segments.set_duration(self.front_end.seconds());
            self.front_end.finish(self.stepper.frames_mut());
            self.stepper.finish();
        }
    }

    /// Steps of the network that could be run now.
    pub fn ready(&self) -> usize {
        self.stepper.ready()
    }

    /// Ends the segment here, with a `Final`; the stream goes on.
    pub fn end_segment(&mut self) {
        let event = self.segments.end_segment();
        self.events.push(event);
    }

    /// What was said since it was last asked. After [`Stream::input_finished`] the last one is a `Final`
    /// that comes when no step is ready any more.
    pub fn take_events(&mut self) -> Vec<Event> {
        if self.phase == Phase::Ended && self.ready() == 0 {
            self.phase = Phase::Done;
            self.end_segment();
        }
        std::mem::take(&mut self.events)
    }

    /// Keeps the log-probabilities of the last output frame for [`Stream::take_observed`].
    pub fn observe(&mut self) {
        self.observed = Some(Vec::new());
    }

    /// The log-probabilities `[V]` of the last output frame, if it was not taken yet.
    pub fn take_observed(&mut self) -> Option<Vec<f32>> {
        self.observed.as_mut().map(std::mem::take).filter(|frame| !frame.is_empty())
    }

    /// What the network carries from step to step.
    pub fn state(&self) -> &State {
        self.stepper.state()
    }

    /// Lends the room that calls compute in to the first of streams that step together, or takes it
    /// back.
    pub fn swap_scratch(&mut self, scratch: &mut SharedScratch) {
        self.stepper.swap_scratch(scratch);
    }

    /// Seconds of audio taken so far.
    pub fn seconds(&self) -> f64 {
        self.front_end.seconds()
    }

    /// Forgets everything: the next sample is a stream's first.
    pub fn reset(&mut self) {
        self.front_end.reset();
        self.stepper.reset();
        self.segments.reset();
        self.events.clear();
        self.phase = Phase::Open;
    }

    fn run_alone(&mut self) -> Result<()> {
        while self.ready() > 0 {
            step_batch(&mut [self])?;
        }
        Ok(())
    }
}

/// One call of the network for all of the streams (of one recognizer) that are ready, each going
/// on by as many steps as the least ready of them has. Gives the number of steps run; 0 when no
/// stream is ready.
///
/// # Errors
/// The engine's failure; then the state of the streams of this call is undefined.
pub fn step_batch(streams: &mut [&mut Stream]) -> Result<usize> {
    let mut steppers = Vec::with_capacity(streams.len());
    let mut log_probs = Vec::with_capacity(streams.len());
    for stream in streams.iter_mut().filter(|s| s.ready() > 0) {
        let Stream { stepper, log_probs: room, .. } = &mut **stream;
        steppers.push(stepper);
        log_probs.push(room);
    }
    let steps = run_batch(&mut steppers, &mut log_probs)?;
    for stream in streams {
        if !stream.log_probs.is_empty() {
            if let Some(observed) = &mut stream.observed {
                let tokens = stream.stepper.num_tokens().min(stream.log_probs.len());
                observed.clear();
                observed.extend_from_slice(&stream.log_probs[stream.log_probs.len() - tokens..]);
            }
            let Stream { stepper, segments, log_probs, events, .. } = &mut **stream;
            decode_steps(stepper, segments, log_probs, steps, events);
            log_probs.clear();
        }
    }
    Ok(steps)
}
