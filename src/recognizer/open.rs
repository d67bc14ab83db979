//! The recognizer and its constructors.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::decode::DecoderFactory;
use crate::engine::{self, Engine, EngineKind, EngineOptions};
use crate::error::{Result, Stage};
use crate::onnx::{self, Metadata, OnnxFile};
use crate::text::numbers::Numbers;

use super::confidence::Calibration;
use super::embedded::Embedded;
use super::load::{Loaded, Loader};
use super::loaded_model::LoadedModel;
use super::meaning::PhraseGraph;
use super::stream::{Stream, StreamOptions};
use super::transcript::final_text;
use super::words::FrameClock;

/// A speech recognizer: a loaded model. Immutable, cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Recognizer {
    model: LoadedModel,
    notes: Arc<[String]>,
}

impl fmt::Debug for Recognizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = self.engine().spec();
        f.debug_struct("Recognizer")
            .field("engine", &engine.name)
            .field("tokens", &engine.num_tokens)
            .field("sample_rate", &self.sample_rate())
            .finish_non_exhaustive()
    }
}

impl Recognizer {
    /// Creates a recognizer from an engine and the metadata of its model.
    ///
    /// # Errors
    /// When their numbers of features or tokens differ, or a feature option is out of range.
    pub fn new(engine: Arc<dyn Engine>, metadata: Metadata) -> Result<Self> {
        Ok(Self { model: LoadedModel::new(engine, metadata)?, notes: Arc::new([]) })
    }

    /// Opens a model file with the native engine.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a model of hearken; the error names file and place.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, EngineKind::Native, &EngineOptions::default())
    }

    /// Opens a model file with the given engine.
    ///
    /// # Errors
    /// As [`Recognizer::open`]; when the engine is not available.
    pub fn open_with(path: impl AsRef<Path>, kind: EngineKind, options: &EngineOptions) -> Result<Self> {
        let path = path.as_ref();
        let file = OnnxFile::read(path)?;
        Self::from_file(&file, kind, options).map_err(|e| match e.stage() {
            Stage::Usage | Stage::Engine => e,
            _ => e.in_file(path),
        })
    }

    /// Opens a model of any supported kind: a model file of hearken, a file that hearken exported, a folder of
    /// sherpa-onnx, or a foreign ONNX file with states, whose tokens are in `tokens` or in `tokens.txt` next to it.
    /// Without `kind`, models of hearken run on the native engine and others on onnxruntime or tract.
    ///
    /// # Errors
    /// When it is none of these, or the engine cannot run it; the error names file and place.
    pub fn open_any(
        path: impl AsRef<Path>,
        kind: Option<EngineKind>,
        tokens: Option<&Path>,
        options: &EngineOptions,
    ) -> Result<Self> {
        let loader = Loader::new(path.as_ref(), kind, tokens, options);
        let Loaded { engine, metadata, notes } = loader.load()?;
        let recognizer = Self::new(Arc::from(engine), metadata).map_err(|e| loader.named(e))?;
        Ok(Self { notes: notes.into(), ..recognizer })
    }

    /// Opens a model file in memory.
    ///
    /// # Errors
    /// As [`Recognizer::open_with`].
    pub fn from_bytes(bytes: &[u8], kind: EngineKind, options: &EngineOptions) -> Result<Self> {
        Self::from_file(&OnnxFile::from_bytes(bytes.to_vec())?, kind, options)
    }

    fn from_file(file: &OnnxFile, kind: EngineKind, options: &EngineOptions) -> Result<Self> {
        let (network, metadata) = onnx::load::read_model(file)?;
        Self::new(Arc::from(engine::load(kind, file, network, options)?), metadata)
    }

    /// Opens an embedded model.
    ///
    /// # Errors
    /// When the model or the engine is not in this build.
    pub fn embedded(model: Embedded, kind: EngineKind, options: &EngineOptions) -> Result<Self> {
        Self::from_bytes(model.model()?, kind, options)
    }

    /// Creates a stream of a single segment.
    ///
    /// # Errors
    /// When a feature option is out of range, which [`Recognizer::new`] has checked.
    pub fn stream(&self) -> Result<Stream> {
        Stream::new(&self.model, &StreamOptions::default())
    }

    /// Creates a stream with options, such as endpoint rules.
    ///
    /// # Errors
    /// When an endpoint rule is out of range, or the voice activity detector cannot be created or requires another
    /// sample rate.
    pub fn stream_with(&self, options: &StreamOptions) -> Result<Stream> {
        if let Some(detector) = &options.detector {
            detector.check_rate(self.sample_rate())?;
        }
        Stream::new(&self.model, options)
    }

    /// Recognizes a whole recording: mono samples, full scale ±1, at [`Recognizer::sample_rate`]. Returns the text.
    ///
    /// # Errors
    /// As [`Stream::accept_waveform`].
    pub fn transcribe(&self, samples: &[f32]) -> Result<String> {
        let mut stream = self.stream()?;
        let mut events = stream.accept_waveform(samples)?;
        events.extend(stream.finish()?);
        Ok(final_text(&events))
    }

    /// The engine that runs the network.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.model.engine
    }

    /// The model's metadata: features, tokens, decoder options, origin.
    pub fn metadata(&self) -> &Metadata {
        &self.model.metadata
    }

    /// The sample rate of the audio to be recognized, Hz.
    pub fn sample_rate(&self) -> u32 {
        self.metadata().features.sample_rate
    }

    /// Notes for the user on how the model was opened: the engine that is used as a fallback, guessed states.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Conversion of output frames to seconds.
    pub fn clock(&self) -> FrameClock {
        self.model.clock
    }

    /// Replaces metadata and decoders.
    pub(super) fn with_decoders(self, metadata: Metadata, decoders: DecoderFactory) -> Self {
        let model = LoadedModel { metadata: Arc::new(metadata), decoders, ..self.model };
        Self { model, ..self }
    }

    /// Sets the calibration of the confidence of words, and the least confidence of the most certain word of an utterance.
    pub(super) fn with_calibration(
        mut self,
        calibration: Option<Calibration>,
        least_confidence: f32,
    ) -> Self {
        self.model.calibration = calibration;
        self.model.least_confidence = least_confidence;
        self
    }

    /// Sets phrases, so that final segments contain intents and slots.
    pub(super) fn with_phrase_graph(mut self, phrases: Option<PhraseGraph>) -> Self {
        self.model.phrases = phrases;
        self
    }

    /// The same recognizer, which writes numbers in digits in `Final` events (`twenty five` as `25`), as English
    /// says them; partial results have the words as they are said. Phrases are written as in their file in any case.
    #[must_use]
    pub fn with_numbers(mut self, numbers: Numbers) -> Self {
        self.model.numbers = numbers;
        self
    }

    /// Adds a note for the user.
    pub(super) fn with_note(mut self, note: Option<String>) -> Self {
        self.notes = self.notes.iter().cloned().chain(note).collect();
        self
    }

    /// Whether the recognizer can produce a word (in lower case), by its lexicon or else by its tokens.
    pub fn writes(&self, word: &str) -> bool {
        let words = self.model.decoders.words();
        if words.is_empty() { self.metadata().writes(word) } else { words.iter().any(|known| known == word) }
    }

    /// Words that the recognizer can produce, if they are those of a lexicon; else empty.
    pub fn words(&self) -> Arc<[String]> {
        self.model.decoders.words()
    }

    /// Whether streams can have [alternatives](StreamOptions::nbest): the words are those of a lexicon.
    pub fn finds_alternatives(&self) -> bool {
        self.model.decoders.is_search()
    }

    /// Makes a stream use the words of this recognizer, which has the same network: from its next utterance on, or at
    /// once if nothing was said in the current one.
    ///
    /// # Errors
    /// When the network is another one.
    pub fn change_words(&self, stream: &mut Stream) -> Result<()> {
        stream.change_words(&self.model)
    }

    pub(super) fn model(&self) -> &LoadedModel {
        &self.model
    }
}
