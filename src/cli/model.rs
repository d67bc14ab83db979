//! The options that choose model, engine and chunk, alike in all commands.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::pronounce;
use crate::decode::{Beam, NgramWeights};
use crate::engine::{EngineKind, EngineOptions, LibrarySearch};
use crate::error::{Error, Result, Stage};
use crate::fs::quoted;
use crate::model::Network;
use crate::onnx::{self, Metadata, OnnxFile};
use crate::recognizer::pipeline::DEFAULT_CHUNK_MS;
use crate::recognizer::{LanguageOptions, PhraseOptions, Recognizer};
use crate::text::numbers::Numbers;
use crate::text::phrases::Phrases;
use crate::units::ms_to_samples;

/// Which network, and what runs it.
#[derive(Debug, clap::Args)]
pub(super) struct NetworkChoice {
    /// The model: hearken's own, a folder of sherpa-onnx, or a foreign ONNX file with
    /// states; without it the digits model inside the program.
    #[arg(long, value_name = "MODEL")]
    pub model: Option<PathBuf>,

    /// What runs the network; without it hearken's own models run natively, foreign ones on ort or
    /// tract.
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<EngineKind>,

    /// The tokens of a foreign model; without it `tokens.txt` beside it.
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,

    /// A state of a foreign model: its input and the output that answers it. Several may be given.
    #[arg(long = "state", value_name = "IN=OUT", value_parser = state_pair)]
    pub states: Vec<(String, String)>,
}

/// Which model, and for which words.
#[derive(Debug, clap::Args)]
pub(super) struct ModelChoice {
    #[command(flatten)]
    pub network: NetworkChoice,

    #[command(flatten)]
    language: LanguageChoice,

    /// How numbers are written in final results, in English: `twenty five` or 25. A joined number is one word from
    /// the start of its first word to the end of its last. Phrases are written as in their file.
    #[arg(long, value_name = "HOW", default_value = "words", conflicts_with = "phrases")]
    pub numbers: Numbers,
}

/// Which words are recognized in place of the model's own.
#[derive(Debug, clap::Args)]
struct LanguageChoice {
    /// An n-gram language model, of `hearken lm` or in ARPA format: its words are recognized, in place of the
    /// model's own; with `--lexicon`, and a model whose tokens are phones.
    #[arg(long, value_name = "FILE", requires = "lexicon", group = "vocabulary")]
    lm: Option<PathBuf>,

    /// Phrases, a line each (docs/words.md): they are recognized, in place of the model's own words, and nothing
    /// else; with a model whose tokens are the phones of English.
    #[arg(long, value_name = "FILE", group = "vocabulary")]
    phrases: Option<PathBuf>,

    /// How the words of `--lm` are said, a line each: `WORD  P R O N`, as in the CMU Pronouncing
    /// Dictionary. With `--phrases`: your own words, which go before the English inside the program.
    #[arg(long, value_name = "FILE", requires = "vocabulary")]
    lexicon: Option<PathBuf>,

    /// How much the language model counts beside the network.
    #[arg(long, value_name = "NUMBER", requires = "lm", allow_hyphen_values = true)]
    lm_scale: Option<f32>,

    /// What each word costs beside what the language model says, nats; below 0 there are more words.
    #[arg(long, value_name = "NATS", requires = "vocabulary", allow_hyphen_values = true)]
    word_cost: Option<f32>,

    /// What is added to the log-probability of the blank, nats; below 0 less is left out.
    #[arg(long, value_name = "NATS", requires = "vocabulary", allow_hyphen_values = true)]
    blank_bias: Option<f32>,

    /// How far behind the best way to read the sound others are followed, nats: more finds more, and takes longer.
    #[arg(long, value_name = "NATS", requires = "vocabulary")]
    beam: Option<f32>,

    /// How many ways to read the sound are followed at most.
    #[arg(long, value_name = "N", requires = "vocabulary", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_active: Option<u32>,

    /// With `--phrases`: what it costs to take a stretch of speech for something else, nats.
    #[arg(long, value_name = "NATS", requires = "phrases", allow_hyphen_values = true)]
    other_speech_cost: Option<f32>,

    /// With `--phrases`: what each phone of such speech costs, nats; more takes more for phrases.
    #[arg(long, value_name = "NATS", requires = "phrases", allow_hyphen_values = true)]
    other_phone_cost: Option<f32>,
}

impl LanguageChoice {
    /// The recognizer for the words that were chosen, if they were.
    fn apply(&self, recognizer: Recognizer) -> Result<Recognizer> {
        if let Some(language) = self.options() {
            return recognizer.with_language_model(&language);
        }
        let Some(path) = &self.phrases else { return Ok(recognizer) };
        let phrases = Phrases::read(path)?;
        phrases.warnings().iter().for_each(|warning| super::say(&format!("warning: {warning}")));
        let pronouncer = pronounce::open(None, self.lexicon.as_deref())?;
        recognizer.with_phrases(phrases, &pronouncer, &self.phrase_options())
    }

    fn phrase_options(&self) -> PhraseOptions {
        let defaults = PhraseOptions::default();
        PhraseOptions {
            word_cost: self.word_cost.unwrap_or(defaults.word_cost),
            other_speech_cost: self.other_speech_cost.unwrap_or(defaults.other_speech_cost),
            other_phone_cost: self.other_phone_cost.unwrap_or(defaults.other_phone_cost),
            blank_bias: self.blank_bias.unwrap_or(defaults.blank_bias),
            beam: self.beam(defaults.beam),
        }
    }

    fn beam(&self, defaults: Beam) -> Beam {
        Beam {
            margin: self.beam.unwrap_or(defaults.margin),
            max_active: self.max_active.map_or(defaults.max_active, |n| n as usize),
        }
    }

    fn options(&self) -> Option<LanguageOptions> {
        let defaults = LanguageOptions::new(self.lm.as_ref()?, self.lexicon.as_ref()?);
        let weights = NgramWeights {
            scale: self.lm_scale.unwrap_or(defaults.weights.scale),
            word_cost: self.word_cost.unwrap_or(defaults.weights.word_cost),
        };
        let beam = self.beam(defaults.beam);
        let blank_bias = self.blank_bias.unwrap_or(defaults.blank_bias);
        Some(LanguageOptions { weights, blank_bias, beam, ..defaults })
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ModelArgs {
    #[command(flatten)]
    choice: ModelChoice,

    /// Milliseconds of audio that are processed at a time.
    #[arg(long, default_value_t = DEFAULT_CHUNK_MS, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub chunk_ms: u32,
}

impl ModelChoice {
    /// Opens the model, for the words of a language model where one is given.
    pub fn open(&self) -> Result<Recognizer> {
        let recognizer = self.language.apply(self.network.open()?)?.with_numbers(self.numbers);
        recognizer.notes().iter().for_each(|note| print_note(note));
        Ok(recognizer)
    }
}

impl NetworkChoice {
    /// Opens the model, for its own words.
    pub fn open(&self) -> Result<Recognizer> {
        let kind = self.engine;
        let options = EngineOptions { states: self.states.clone(), ..engine_options() };
        match &self.model {
            Some(path) => Recognizer::open_any(path, kind, self.tokens.as_deref(), &options),
            None if self.tokens.is_some() || !self.states.is_empty() => {
                let option = if self.tokens.is_some() { "--tokens" } else { "--state" };
                let problem = format!("`{option}` has no effect without a foreign `--model`");
                Err(Error::new(Stage::Usage, problem))
            }
            None => Recognizer::embedded(kind.unwrap_or_default(), &options),
        }
    }
}

impl ModelArgs {
    /// Opens the model.
    pub fn open(&self) -> Result<Recognizer> {
        self.choice.open()
    }

    /// What transcripts depend on, by option; chunks do not change them.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let ModelChoice { network: NetworkChoice { model, engine, tokens, states }, language, numbers } =
            &self.choice;
        let file = |path: &Option<PathBuf>| match path {
            None => "not given".into(),
            Some(path) => {
                // Another file under the same name is another model.
                let stamp = std::fs::metadata(path).ok().map(|m| (m.len(), m.modified().ok()));
                let changed =
                    stamp.and_then(|(bytes, time)| Some((bytes, time?.duration_since(UNIX_EPOCH).ok()?)));
                let (bytes, time) = changed.unwrap_or_default();
                format!("{} ({bytes} bytes of {}.{:09})", quoted(path), time.as_secs(), time.subsec_nanos())
            }
        };
        BTreeMap::from([
            ("--model".into(), file(model)),
            ("--engine".into(), engine.map_or("not given".into(), |engine| engine.name().into())),
            ("--tokens".into(), file(tokens)),
            ("--state".into(), format!("{states:?}")),
            ("--lm".into(), file(&language.lm)),
            ("--phrases".into(), file(&language.phrases)),
            ("--lexicon".into(), file(&language.lexicon)),
            ("--numbers".into(), numbers.name().into()),
            ("--other-speech-cost".into(), format!("{:?}", language.other_speech_cost)),
            ("--other-phone-cost".into(), format!("{:?}", language.other_phone_cost)),
            ("--lm-scale".into(), format!("{:?}", language.lm_scale)),
            ("--word-cost".into(), format!("{:?}", language.word_cost)),
            ("--blank-bias".into(), format!("{:?}", language.blank_bias)),
            ("--beam".into(), format!("{:?}", language.beam)),
            ("--max-active".into(), format!("{:?}", language.max_active)),
        ])
    }

    /// How numbers are written.
    pub fn numbers(&self) -> Numbers {
        self.choice.numbers
    }

    /// The name of the engine that was asked for.
    pub fn engine_name(&self) -> &str {
        self.choice.network.engine.unwrap_or_default().name()
    }

    /// Samples of a chunk.
    pub fn chunk_samples(&self, recognizer: &Recognizer) -> usize {
        ms_to_samples(self.chunk_ms, recognizer.sample_rate()).max(1)
    }
}

/// Reads a model of hearken's own; of what hearken exported for others it is told how to come back.
pub(super) fn read_own(path: &Path) -> Result<(Network<f32>, Metadata)> {
    let file = OnnxFile::read(path)?;
    onnx::load::read_model(&file).map_err(|error| match onnx::targets::target_of(&file) {
        Some(target) => {
            let problem = format!("the file is an export of hearken's for {target}, not a model");
            let hint = "import it first: `hearken import FILE -o MODEL.onnx`";
            Error::new(Stage::Model, problem).in_file(path).hint(hint)
        }
        None => error.in_file(path),
    })
}

/// Tells what a user should know, on standard error.
pub(super) fn print_note(note: &str) {
    super::say(&format!("note: {note}"));
}

/// Reads `IN=OUT`.
pub(super) fn state_pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((input, output)) if !input.is_empty() && !output.is_empty() => Ok((input.into(), output.into())),
        _ => Err(format!("expected INPUT=OUTPUT, found `{text}`")),
    }
}

/// Where the environment says that onnxruntime may be.
pub(super) fn engine_options() -> EngineOptions {
    let folder = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = folder("HOME").map(|home| home.join(".local"));
    let executable_dir = env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
    let places = [folder("VIRTUAL_ENV"), folder("CONDA_PREFIX"), home];
    let system = [PathBuf::from("/usr/local"), PathBuf::from("/usr")];
    let ort_library = LibrarySearch {
        explicit: folder("ORT_DYLIB_PATH"),
        executable_dir,
        python_roots: places.into_iter().flatten().chain(system).collect(),
    };
    EngineOptions { ort_library, ..EngineOptions::default() }
}
