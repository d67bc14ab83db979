//! From a model file to a recognizer.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::decode::DecoderFactory;
use crate::engine::{self, Engine, EngineKind, EngineOptions};
use crate::error::{Result, Stage};
use crate::onnx::{self, Metadata, OnnxFile};
use crate::text::numbers::Numbers;
use crate::text::phrases::Phrases;

use super::embedded;
use super::load::{Loaded, Loader};
use super::loaded_model::LoadedModel;
use super::stream::{Stream, StreamOptions};
use super::transcript::final_text;
use super::words::FrameClock;

/// A model that is ready to hear. Immutable, cheap to clone and to share between threads.
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
    /// A recognizer of an engine and what its model says about itself.
    ///
    /// # Errors
    /// When the two do not fit: features, tokens, or impossible feature settings.
    pub fn new(engine: Arc<dyn Engine>, metadata: Metadata) -> Result<Self> {
        Ok(Self { model: LoadedModel::new(engine, metadata)?, notes: Arc::new([]) })
    }

    /// Opens a model file with the native engine.
    ///
    /// # Errors
    /// When the file cannot be read, or is no model of ours; names file and place.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, EngineKind::Native, &EngineOptions::default())
    }

    /// Opens a model file with an engine of choice.
    ///
    /// # Errors
    /// As [`Recognizer::open`]; when the engine is not there.
    pub fn open_with(path: impl AsRef<Path>, kind: EngineKind, options: &EngineOptions) -> Result<Self> {
        let path = path.as_ref();
        let file = OnnxFile::read(path)?;
        Self::from_file(&file, kind, options).map_err(|e| match e.stage() {
            Stage::Usage | Stage::Engine => e,
            _ => e.in_file(path),
        })
    }

    /// Opens whatever carries a model: a file of hearken's, for any system that it was exported
    /// for; a folder of sherpa-onnx; a foreign ONNX file with states, beside which `tokens.txt`
    /// stands or whose tokens are given. Without `kind` hearken's own files run natively, all
    /// others on what this build has for them.
    ///
    /// # Errors
    /// When it is none of these, or the engine cannot run it; names file and place.
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

    /// A recognizer of a model file's bytes.
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

    /// The recognizer of the model inside the program.
    ///
    /// # Errors
    /// When there is none in this build, or the engine is not there.
    pub fn embedded(kind: EngineKind, options: &EngineOptions) -> Result<Self> {
        Self::from_bytes(embedded::digits()?, kind, options)
    }

    /// A new stream.
    ///
    /// # Errors
    /// When the feature settings are impossible, which [`Recognizer::new`] has ruled out.
    pub fn stream(&self) -> Result<Stream> {
        Stream::new(&self.model, &StreamOptions::default())
    }

    /// A new stream that ends segments by itself.
    ///
    /// # Errors
    /// When an endpoint rule is impossible, or the speech detector cannot be made or takes samples of
    /// another rate.
    pub fn stream_with(&self, options: &StreamOptions) -> Result<Stream> {
        if let Some(detector) = &options.detector {
            detector.check_rate(self.sample_rate())?;
        }
        Stream::new(&self.model, options)
    }

    /// The text of a whole recording, full scale ±1, at [`Recognizer::sample_rate`].
    ///
    /// # Errors
    /// As [`Stream::accept_waveform`].
    pub fn transcribe(&self, samples: &[f32]) -> Result<String> {
        let mut stream = self.stream()?;
        let mut events = stream.accept_waveform(samples)?;
        events.extend(stream.finish()?);
        Ok(final_text(&events))
    }

    /// What runs the network.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.model.engine
    }

    /// What the model says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.model.metadata
    }

    /// The rate at which samples are taken, Hz.
    pub fn sample_rate(&self) -> u32 {
        self.metadata().features.sample_rate
    }

    /// What its user should know of how it was opened: which engine stands in for another, what was
    /// guessed.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How output frames become seconds.
    pub fn clock(&self) -> FrameClock {
        self.model.clock
    }

    /// The same network with another search.
    pub(super) fn with_decoders(self, metadata: Metadata, decoders: DecoderFactory) -> Self {
        let model = LoadedModel { metadata: Arc::new(metadata), decoders, ..self.model };
        Self { model, ..self }
    }

    /// With the meaning of what is said.
    pub(super) fn with_phrase_graph(mut self, phrases: Arc<Phrases>) -> Self {
        self.model.phrases = Some(phrases);
        self
    }

    /// The same recognizer, which writes numbers in digits in `Final` events (`twenty five` as `25`), as English
    /// says them; partial ones have the words as they are said. Phrases are written as their file says, whatever
    /// is chosen here.
    #[must_use]
    pub fn with_numbers(mut self, numbers: Numbers) -> Self {
        self.model.numbers = numbers;
        self
    }

    /// With something more that its user should know.
    pub(super) fn with_note(mut self, note: Option<String>) -> Self {
        self.notes = self.notes.iter().cloned().chain(note).collect();
        self
    }

    /// Whether it can write a word (in lower case): by its lexicon, else by its tokens.
    pub fn writes(&self, word: &str) -> bool {
        let words = self.model.decoders.words();
        if words.is_empty() { self.metadata().writes(word) } else { words.iter().any(|known| known == word) }
    }

    pub(super) fn model(&self) -> &LoadedModel {
        &self.model
    }
}
