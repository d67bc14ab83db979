//! A stream: samples in, events out.

use std::fmt;
use std::sync::Arc;

use crate::decode::EndpointOptions;
use crate::engine::{SharedScratch, State};
use crate::error::{Error, Result, Stage};
use crate::onnx::Metadata;

use super::detector::DetectorFactory;
use super::front_end::FrontEnd;
use super::loaded_model::LoadedModel;
use super::segments::{NextWords, SegmentDecoder, decode_steps};
use super::streaming_network::{StreamingNetwork, run_batch};
use super::transcript::Event;
use super::words::WordBuilder;

/// Options of a stream: how it is divided into segments, and which events it creates.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// Rules for the ends of segments; without them a stream is one segment.
    pub endpoint: Option<EndpointOptions>,
    /// Voice activity detector, used only by the endpoint rules.
    pub detector: Option<DetectorFactory>,
    /// Whether `Partial` events are created.
    pub partials: bool,
    /// Texts of each final segment that are given as alternatives, the best first; 1 for the best alone, without
    /// alternatives.
    pub nbest: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { endpoint: None, detector: None, partials: true, nbest: 1 }
    }
}

/// The state of one audio stream. It shares the model with other streams and uses neither threads nor files.
///
/// There are two ways to use it:
/// - [`Stream::accept_waveform`] and [`Stream::finish`] run all stages;
/// - [`Stream::compute_features`] and [`Stream::input_finished`] only compute features, [`step_batch`] runs the
///   network and the decoders of several streams as a batch, and [`Stream::take_events`] returns their events.
pub struct Stream {
    front_end: FrontEnd,
    network: StreamingNetwork,
    segments: SegmentDecoder,
    /// Buffer for the log-probabilities of a call.
    log_probs: Vec<f32>,
    events: Vec<Event>,
    /// Log-probabilities of the last output frame, if observed.
    observed: Option<Vec<f32>>,
    nbest: usize,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Samples are accepted.
    Open,
    /// The input has ended; frames may wait for the network.
    Ended,
    /// The last event was created.
    Done,
}

/// Number of samples after which the network is run, one second. It bounds the memory of a call with many samples.
const CHUNK_SAMPLES: usize = 16_000;

/// Creates the three stages of a stream.
pub(super) fn stages(
    model: &LoadedModel,
    options: &StreamOptions,
) -> Result<(FrontEnd, StreamingNetwork, SegmentDecoder)> {
    let metadata = &*model.metadata;
    let decoder = &metadata.decoder;
    let words = word_builder(model);
    let spec = model.engine.spec();
    let mut segments =
        SegmentDecoder::new(model.decoders.nbest_decoder(options.nbest)?, words, spec.num_tokens)
            .with_reset_after_other_speech(decoder.reset_after_other_speech_ms)
            .with_phrases(model.phrases.clone())
            .with_numbers(model.numbers);
    if !options.partials {
        segments = segments.without_partials();
    }
    let mut speech = None;
    if let Some(endpoint) = &options.endpoint {
        endpoint.validate()?;
        segments = segments.with_endpoints(endpoint, decoder.reset_at_endpoint);
        if let Some(detector) = &options.detector {
            speech = Some(detector.frames(model.clock.step_samples)?);
        }
    }
    let front_end = FrontEnd::new(metadata)?.with_speech(speech);
    let network =
        StreamingNetwork::new(Arc::clone(&model.engine), metadata).with_replay(segments.resets_state());
    Ok((front_end, network, segments))
}

/// Builder of the words of a model.
fn word_builder(model: &LoadedModel) -> WordBuilder {
    let Metadata { tokens, decoder, .. } = &*model.metadata;
    WordBuilder::new(tokens, decoder, model.clock)
        .with_words(model.decoders.words())
        .with_calibration(model.calibration, model.decoders.num_words())
        .with_least_confidence(model.least_confidence)
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("seconds", &self.seconds()).finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(model: &LoadedModel, options: &StreamOptions) -> Result<Self> {
        let (front_end, network, segments) = stages(model, options)?;
        Ok(Self {
            front_end,
            network,
            segments,
            log_probs: Vec::new(),
            events: Vec::new(),
            observed: None,
            nbest: options.nbest,
            phase: Phase::Open,
        })
    }

    /// Accepts any number of samples (full scale ±1, at the model's rate) and returns the events that they cause.
    ///
    /// # Errors
    /// When a sample is not finite (then the samples of its second are not accepted), the engine fails, or the
    /// stream is finished.
    pub fn accept_waveform(&mut self, samples: &[f32]) -> Result<Vec<Event>> {
        for chunk in samples.chunks(CHUNK_SAMPLES) {
            self.compute_features(chunk)?;
            self.run_alone()?;
        }
        Ok(self.take_events())
    }

    /// Ends the input, processes what remains and returns the last events, of which the very last is a `Final`.
    /// Returns nothing if the stream was finished before.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn finish(&mut self) -> Result<Vec<Event>> {
        self.input_finished();
        self.run_alone()?;
        Ok(self.take_events())
    }

    /// Accepts samples and computes their features, without running the network.
    ///
    /// # Errors
    /// When a sample is not finite (then none is accepted), or the stream is finished.
    pub fn compute_features(&mut self, samples: &[f32]) -> Result<()> {
        if self.phase != Phase::Open {
            return Err(Error::new(Stage::Audio, "the stream is finished").hint("reset it first"));
        }
        self.front_end.push(samples, self.network.frames_mut())?;
        self.segments.push_speech(&self.front_end.take_speech());
        Ok(())
    }

    /// Ends the input, without running the network.
    pub fn input_finished(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Ended;
            self.segments.set_duration(self.front_end.seconds());
            self.front_end.finish(self.network.frames_mut());
            self.network.finish();
        }
    }

    /// Number of steps of the network that can be run.
    pub fn num_steps_ready(&self) -> usize {
        self.network.num_steps_ready()
    }

    /// Ends the segment with a `Final`; the stream continues.
    pub fn end_segment(&mut self) {
        let event = self.segments.end_segment();
        self.events.push(event);
    }

    /// Uses the words of another model with the same network from the next utterance on.
    pub(super) fn change_words(&mut self, model: &LoadedModel) -> Result<()> {
        if !self.network.runs(&model.engine) {
            return Err(Error::new(Stage::Usage, "the words of a stream belong to another network"));
        }
        let nbest = if model.decoders.is_search() { self.nbest } else { 1 };
        let decoder = model.decoders.nbest_decoder(nbest)?;
        let options = &model.metadata.decoder;
        self.segments.change_words(NextWords {
            decoder,
            words: word_builder(model),
            reset_after_other_speech_ms: options.reset_after_other_speech_ms,
            phrases: model.phrases.clone(),
            numbers: model.numbers,
        });
        if self.segments.resets_state() {
            self.network.keep_replay();
        }
        Ok(())
    }

    /// Returns and removes the events since the last call. After [`Stream::input_finished`] the last event is a
    /// `Final`, which is created when no step is ready any more.
    pub fn take_events(&mut self) -> Vec<Event> {
        if self.phase == Phase::Ended && self.num_steps_ready() == 0 {
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

    /// The network's state.
    pub fn state(&self) -> &State {
        self.network.state()
    }

    /// Swaps the stream's scratch buffers with shared ones. Called on the first stream of a batch before and after
    /// [`step_batch`], so that not every stream allocates its own.
    pub fn swap_scratch(&mut self, scratch: &mut SharedScratch) {
        self.network.swap_scratch(scratch);
    }

    /// Seconds of audio received so far.
    pub fn seconds(&self) -> f64 {
        self.front_end.seconds()
    }

    /// Resets all state: the next sample is the first of a new stream.
    pub fn reset(&mut self) {
        self.front_end.reset();
        self.network.reset();
        self.segments.reset();
        self.events.clear();
        self.phase = Phase::Open;
    }

    fn run_alone(&mut self) -> Result<()> {
        while self.num_steps_ready() > 0 {
            step_batch(&mut [self])?;
        }
        Ok(())
    }
}

/// Runs one call of the network for all streams (of one recognizer) that have ready steps: as many steps as all
/// of them have. Returns the number of steps; 0 if no stream is ready.
///
/// # Errors
/// When the engine fails; then the state of these streams is undefined.
pub fn step_batch(streams: &mut [&mut Stream]) -> Result<usize> {
    let mut networks = Vec::with_capacity(streams.len());
    let mut log_probs = Vec::with_capacity(streams.len());
    for stream in streams.iter_mut().filter(|s| s.num_steps_ready() > 0) {
        let Stream { network, log_probs: buffer, .. } = &mut **stream;
        networks.push(network);
        log_probs.push(buffer);
    }
    let steps = run_batch(&mut networks, &mut log_probs)?;
    for stream in streams {
        if !stream.log_probs.is_empty() {
            if let Some(observed) = &mut stream.observed {
                let tokens = stream.network.num_tokens().min(stream.log_probs.len());
                observed.clear();
                observed.extend_from_slice(&stream.log_probs[stream.log_probs.len() - tokens..]);
            }
            let Stream { network, segments, log_probs, events, .. } = &mut **stream;
            decode_steps(network, segments, log_probs, steps, events);
            log_probs.clear();
        }
    }
    Ok(steps)
}
