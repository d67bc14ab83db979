//! From a model file to a recogniser.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use crate::decode::DecoderFactory;
use crate::engine::{self, Engine, EngineKind, EngineOptions};
use crate::error::{Error, Result, Stage};
use crate::features::Fbank;
use crate::onnx::{self, Metadata};

use super::embedded;
use super::front_end::FrontEnd;
use super::segments::SegmentDecoder;
use super::stepper::Stepper;
use super::stream::{Stream, StreamOptions};
use super::transcript::Event;
use super::words::{FrameClock, WordBuilder};

/// A model that is ready to hear. Immutable, cheap to clone and to share between threads.
#[derive(Clone)]
pub struct Recognizer {
    engine: Arc<dyn Engine>,
    metadata: Arc<Metadata>,
    decoders: DecoderFactory,
    clock: FrameClock,
}

impl Recognizer {
    /// A recogniser of an engine and what its model says about itself.
    ///
    /// # Errors
    /// When the two do not fit: features, tokens, or impossible feature settings.
    pub fn new(engine: Arc<dyn Engine>, metadata: Metadata) -> Result<Self> {
        let spec = engine.spec();
        let fbank = Fbank::new(&metadata.features)?;
        for (what, expected, found) in [
            ("features a frame", spec.num_features, fbank.num_mel_bins()),
            ("tokens", spec.num_tokens, metadata.tokens.len()),
        ] {
            if expected != found {
                let problem = format!("the network has {expected} {what}, the metadata {found}");
                return Err(Error::new(Stage::Model, problem));
            }
        }
        if spec.subsampling == 0 || spec.shift == 0 || spec.window == 0 || spec.num_features == 0 {
            return Err(Error::new(Stage::Model, "the network takes steps of no frames"));
        }
        let clock = FrameClock {
            step_samples: (spec.subsampling * fbank.frame_shift_samples()) as u64,
            sample_rate: metadata.features.sample_rate,
        };
        let decoders = DecoderFactory::new(&metadata.tokens, &metadata.decoder, clock.seconds(1))?;
        Ok(Self { engine, metadata: Arc::new(metadata), decoders, clock })
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
        let bytes = onnx::load::read_bytes(path)?;
        Self::from_bytes(&bytes, kind, options).map_err(|e| match e.stage() {
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
        let path = path.as_ref();
        // Not before it is needed: it loads onnxruntime's library.
        let chosen = OnceCell::new();
        let graphs = || {
            let choose = || kind.map_or_else(|| engine::graph::default_kind(options), |kind| (kind, None));
            chosen.get_or_init(choose).0
        };
        let unused = |option: &str, what: &str| {
            Error::new(Stage::Usage, format!("`{option}` has no effect: {what}")).in_file(path)
        };
        let named = |e: Error| {
            let e = match chosen.get() {
                Some((_, Some(missing))) if e.stage() == Stage::Engine => {
                    e.hint(format!("tract was tried: {missing}"))
                }
                _ => e,
            };
            if e.stage() == Stage::Usage { e } else { e.in_file(path) }
        };
        if path.is_dir() {
            if tokens.is_some() {
                return Err(unused("--tokens", "a folder of sherpa-onnx has its own tokens.txt"));
            }
            let (engine, metadata) = engine::sherpa::open(path, graphs(), options).map_err(named)?;
            return Self::new(Arc::from(engine), metadata).map_err(named);
        }
        let bytes = onnx::load::read_bytes(path)?;
        let own = onnx::read(&bytes);
        let exported = engine::sherpa::exported_metadata(&bytes);
        if own.is_ok() || exported.is_some() {
            let what = "the file is hearken's and says its own";
            for (option, is_given) in
                [("--tokens", tokens.is_some()), ("--state", !options.states.is_empty())]
            {
                if is_given {
                    return Err(unused(option, what));
                }
            }
        }
        let beside = path.with_file_name("tokens.txt");
        let tokens = tokens.or_else(|| beside.is_file().then_some(beside.as_path()));
        let error = match own {
            Ok((network, metadata)) => {
                let kind = kind.unwrap_or_default();
                let engine = engine::load(kind, &bytes, network, options)?;
                return Self::new(Arc::from(engine), metadata).map_err(named);
            }
            Err(error) => error,
        };
        let (engine, metadata) = match (exported, tokens) {
            (Some(metadata), _) => {
                engine::sherpa::open_exported(&bytes, metadata, graphs(), options).map_err(named)?
            }
            (None, Some(path)) => {
                let tokens = (engine::sherpa::read_tokens(path)?, path);
                engine::sherpa::open_file(&bytes, tokens, graphs(), options).map_err(named)?
            }
            (None, None) if is_ours(&bytes) => return Err(named(error)),
            (None, None) => {
                let problem = "the file is not hearken's, and its tokens are not known";
                let hint = "give `--tokens FILE`, or make it a model by `hearken import`";
                return Err(named(Error::new(Stage::Model, problem).hint(hint)));
            }
        };
        Self::new(Arc::from(engine), metadata).map_err(named)
    }

    /// A recogniser of a model file's bytes.
    ///
    /// # Errors
    /// As [`Recognizer::open_with`].
    pub fn from_bytes(bytes: &[u8], kind: EngineKind, options: &EngineOptions) -> Result<Self> {
        let (network, metadata) = onnx::read(bytes)?;
        Self::new(Arc::from(engine::load(kind, bytes, network, options)?), metadata)
    }

    /// The recogniser of the model inside the program.
    ///
    /// # Errors
    /// When there is none in this build, or the engine is not there.
    pub fn embedded(kind: EngineKind, options: &EngineOptions) -> Result<Self> {
        Self::from_bytes(embedded::digits()?, kind, options)
    }

    /// The same network with another search.
    pub(super) fn with_decoders(self, metadata: Metadata, decoders: DecoderFactory) -> Self {
        Self { metadata: Arc::new(metadata), decoders, ..self }
    }

    /// Whether it can write a word (in lower case): by its lexicon, else by its tokens.
    pub fn writes(&self, word: &str) -> bool {
        let words = self.decoders.words();
        if words.is_empty() { self.metadata.writes(word) } else { words.iter().any(|known| known == word) }
    }

    /// A new stream.
    ///
    /// # Errors
    /// When the feature settings are impossible, which [`Recognizer::new`] has ruled out.
    pub fn stream(&self) -> Result<Stream> {
        Stream::new(self, &StreamOptions::default())
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
        Stream::new(self, options)
    }

    /// The text of a whole recording, full scale ±1, at [`Recognizer::sample_rate`].
    ///
    /// # Errors
    /// As [`Stream::push`].
    pub fn transcribe(&self, samples: &[f32]) -> Result<String> {
        let mut stream = self.stream()?;
        let mut events = stream.push(samples)?;
        events.extend(stream.finish()?);
        Ok(final_text(&events))
    }

    /// What runs the network.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// What the model says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The rate at which samples are taken, Hz.
    pub fn sample_rate(&self) -> u32 {
        self.metadata.features.sample_rate
    }

    /// How output frames become seconds.
    pub fn clock(&self) -> FrameClock {
        self.clock
    }
}

/// Whether a file has metadata of hearken's, whole or not, or is no ONNX file at all.
fn is_ours(bytes: &[u8]) -> bool {
    let is_ours = |key: &str| key.starts_with("hearken.");
    onnx::proto::decode(bytes).map_or(true, |m| m.metadata_props.iter().any(|entry| is_ours(&entry.key)))
}

/// The text of the segments that are final, joined by spaces.
pub fn final_text(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        if let Event::Final(segment) = event {
            if !text.is_empty() && !segment.text.is_empty() {
                text.push(' ');
            }
            text.push_str(&segment.text);
        }
    }
    text
}

/// The three stages of a stream of this recogniser.
pub(super) fn stages(
    recognizer: &Recognizer,
    options: &StreamOptions,
) -> Result<(FrontEnd, Stepper, SegmentDecoder)> {
    let metadata = recognizer.metadata();
    let Metadata { tokens, decoder, .. } = metadata;
    let words = WordBuilder::new(tokens, decoder, recognizer.clock()).with_words(recognizer.decoders.words());
    let spec = recognizer.engine.spec();
    let mut segments = SegmentDecoder::new(recognizer.decoders.decoder(), words, spec.num_tokens)
        .with_reset_after_other_speech(decoder.reset_after_other_speech_ms);
    if !options.partials {
        segments = segments.without_partials();
    }
    let mut speech = None;
    if let Some(endpoint) = &options.endpoint {
        endpoint.check()?;
        segments = segments.with_endpoints(endpoint, decoder.reset_at_endpoint);
        if let Some(detector) = &options.detector {
            speech = Some(detector.frames(recognizer.clock().step_samples)?);
        }
    }
    let front_end = FrontEnd::new(metadata)?.with_speech(speech);
    let stepper =
        Stepper::new(Arc::clone(recognizer.engine()), metadata).remembering(segments.resets_state());
    Ok((front_end, stepper, segments))
}
