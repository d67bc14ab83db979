//! The options for the model, its words, the engine and the chunk length, shared by all commands.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::pronounce;
use crate::decode::{Beam, NgramWeights};
use crate::engine::{EngineKind, EngineOptions, LibrarySearch};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::fs::quoted;
use crate::model::Network;
use crate::onnx::{self, Metadata, OnnxFile};
use crate::recognizer::pipeline::DEFAULT_CHUNK_MS;
use crate::recognizer::{
    Embedded, HotwordOptions, LanguageOptions, PhraseOptions, Recognizer, WakeWordOptions,
};
use crate::text::numbers::Numbers;
use crate::text::phrases::Phrases;
use crate::text::pronunciation::Pronouncer;
use crate::units::ms_to_samples;

/// Where a model comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum ModelSource<'a> {
    /// A model inside the program.
    Embedded(Embedded),
    /// A file or a folder.
    Path(&'a Path),
}

impl<'a> ModelSource<'a> {
    /// The model of a path, or the embedded model of that name unless a file (not a folder) has the name.
    pub fn new(model: Option<&'a Path>, default: Embedded) -> Self {
        let Some(path) = model else { return Self::Embedded(default) };
        Embedded::named(path).map_or(Self::Path(path), Self::Embedded)
    }

    /// Whether it is the embedded model of English, which comes with a language model.
    fn is_english(self) -> bool {
        matches!(self, Self::Embedded(Embedded::English))
    }
}

/// The options for the network and the engine.
#[derive(Debug, clap::Args)]
pub(super) struct NetworkChoice {
    /// Model file of hearken, foreign ONNX file with states, folder of a sherpa-onnx model, or the embedded model
    /// `digits` or `english` [default: english with `--phrases`, `--lm` or `--wake-word`, else digits].
    #[arg(long, value_name = "MODEL")]
    pub model: Option<PathBuf>,

    /// Engine that runs the network [default: native for hearken's own models, ort or tract for foreign ones].
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<EngineKind>,

    /// Tokens of a foreign model [default: `tokens.txt` in the folder of the model].
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,

    /// Input and output of a state of a foreign model; may be repeated [default: found in the file].
    #[arg(long = "state", value_name = "IN=OUT", value_parser = state_pair)]
    pub states: Vec<(String, String)>,
}

/// The options for the model and its words.
#[derive(Debug, clap::Args)]
pub(super) struct ModelChoice {
    #[command(flatten)]
    pub network: NetworkChoice,

    #[command(flatten)]
    language: LanguageChoice,

    #[command(flatten)]
    wake_word: WakeWordChoice,

    /// How numbers are written in final results, in English: `twenty five` or 25. A joined number is one word from
    /// the start of its first word to the end of its last. Phrases are written as in their file.
    #[arg(long, value_name = "HOW", default_value = "words", conflicts_with = "phrases")]
    pub numbers: Numbers,
}

/// The options for the words that are recognized in place of the model's own.
#[derive(Debug, clap::Args)]
struct LanguageChoice {
    /// N-gram language model, of `hearken lm` or in ARPA format, or the embedded one, `english`: its words are
    /// recognized, in place of the model's own; requires a model whose tokens are phones [default with --model
    /// english: english].
    #[arg(long, value_name = "FILE")]
    lm: Option<PathBuf>,

    /// File of phrases (docs/words.md): only these are recognized, in place of the model's own words; with `--lm`, these
    /// and all words of the language model. Requires a model whose tokens are the phones of English.
    #[arg(long, value_name = "FILE")]
    phrases: Option<PathBuf>,

    /// With `--phrases` and `--lm`: words outside phrases are left out. The language model is only the background that the
    /// phrases compete with, which keeps short phrases from being recognized in other speech (docs/words.md).
    #[arg(long, requires_all = ["phrases", "lm"], conflicts_with = "hotwords")]
    only_phrases: bool,

    /// File of words and phrases to prefer (docs/words.md), with `--lm` or the words of the model itself. A file of
    /// `--phrases` alone has weights instead.
    #[arg(long, value_name = "FILE")]
    hotwords: Option<PathBuf>,

    /// Reward of each word of the hotwords, nats: a larger value finds them more often, also where they were not spoken.
    #[arg(long, value_name = "NATS", requires = "hotwords", default_value_t = HotwordOptions::SCORE)]
    hotwords_score: f32,

    /// File of pronunciations, a line each: `WORD  P R O N`, as in the CMU Pronouncing Dictionary. It takes precedence
    /// over the embedded English.
    #[arg(long, value_name = "FILE")]
    lexicon: Option<PathBuf>,

    /// Language-model scale: weight of the language model relative to the acoustic scores [default: 0.75].
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    lm_scale: Option<f32>,

    /// Word insertion penalty, nats: a negative value favors more words [default: 1 with --lm, 0 with --phrases].
    #[arg(long, value_name = "NATS", allow_hyphen_values = true)]
    word_cost: Option<f32>,

    /// Bias added to the log-probability of the blank, nats: a negative value, a blank penalty, reduces deletions
    /// [default: -0.5 with --lm, -2 with --phrases or --only-phrases].
    #[arg(long, value_name = "NATS", allow_hyphen_values = true)]
    blank_bias: Option<f32>,

    /// Beam width, nats: hypotheses whose score is worse than the best one's by more than this are pruned; a wider
    /// beam is more accurate and slower [default: 10 with --lm, 14 with --only-phrases, 40 with --phrases].
    #[arg(long, value_name = "NATS")]
    beam: Option<f32>,

    /// Maximum number of active hypotheses [default: 2000 with --lm, 5000 with --phrases].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_active: Option<u32>,

    /// Least confidence, 0 to 1, of the most certain word of an utterance, with `--lm`: an utterance with a lower one, such as
    /// noise, gives no text; 0 accepts all [default: 0.3, 0 with --only-phrases].
    #[arg(long, value_name = "NUMBER")]
    least_confidence: Option<f32>,

    /// With `--phrases`: penalty for recognizing a stretch of speech as other than the phrases, nats; beside a phrase of fewer
    /// than 12 phones a part of it [default: 8].
    #[arg(long, value_name = "NATS", requires = "phrases", allow_hyphen_values = true)]
    other_speech_cost: Option<f32>,

    /// With `--phrases`: penalty for each phone of other speech, nats; a larger value accepts more speech as phrases
    /// [default: 1.45].
    #[arg(long, value_name = "NATS", requires = "phrases", allow_hyphen_values = true)]
    other_phone_cost: Option<f32>,

    /// With `--phrases` and `--lm`: penalty for recognizing words as a phrase, nats; with a larger value, fewer words are. Of a
    /// phrase of n < 12 phones 1 - n/12 of it counts, and nothing of longer ones [default: 8.5, 6.5 with --only-phrases].
    #[arg(long, value_name = "NATS", requires_all = ["phrases", "lm"], allow_hyphen_values = true)]
    phrase_cost: Option<f32>,
}

/// Who chooses the words that are recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Users {
    /// The options alone.
    Program,
    /// Clients of a server too, who bring lists of words.
    #[cfg_attr(not(feature = "serve"), allow(dead_code))]
    Clients,
}

impl LanguageChoice {
    /// Returns the recognizer with the words of the options, or unchanged if none is given. The embedded model of
    /// English has a language model too, which is used unless there are phrases.
    fn apply(&self, recognizer: Recognizer, source: ModelSource<'_>, users: Users) -> Result<Recognizer> {
        if let (Some(_), Some(path)) = (&self.lm, &self.phrases) {
            self.check_no_costs_of_other_speech()?;
            let (phrases, pronouncer) = self.read_phrases(path)?;
            let options = self.phrase_options();
            return recognizer.with_phrases_in_dictation(&self.options(), phrases, &pronouncer, &options);
        }
        if self.lm.is_some() || source.is_english() && self.phrases.is_none() {
            return recognizer.with_language_model(&self.options());
        }
        let Some(path) = &self.phrases else {
            self.check_unused(users)?;
            return match self.hotwords() {
                Some(hotwords) => recognizer.with_hotwords(&hotwords, self.lexicon.as_deref()),
                None => Ok(recognizer),
            };
        };
        let given = [
            ("--lm-scale", self.lm_scale.is_some()),
            ("--least-confidence", self.least_confidence.is_some()),
        ];
        if let Some((option, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
            let problem = format!("`{option}` has no effect with `--phrases`, which have no language model");
            return Err(Error::new(Stage::Usage, problem));
        }
        if self.hotwords.is_some() {
            let problem = "`--hotwords` has no effect with `--phrases` alone, whose file has weights instead";
            return Err(Error::new(Stage::Usage, problem).hint("add a language model: `--lm FILE`"));
        }
        let (phrases, pronouncer) = self.read_phrases(path)?;
        recognizer.with_phrases(phrases, &pronouncer, &self.phrase_options())
    }

    /// Reads a file of phrases and opens the pronunciations for them; prints the file's warnings.
    fn read_phrases(&self, path: &Path) -> Result<(Phrases, Pronouncer)> {
        let phrases = Phrases::read(path)?;
        phrases.warnings().iter().for_each(|warning| super::say(&format!("warning: {warning}")));
        Ok((phrases, pronounce::open(None, self.lexicon.as_deref())?))
    }

    /// Refuses the costs of other speech with a language model, whose words all speech consists of.
    fn check_no_costs_of_other_speech(&self) -> Result<()> {
        let given = [
            ("--other-speech-cost", self.other_speech_cost.is_some()),
            ("--other-phone-cost", self.other_phone_cost.is_some()),
        ];
        let Some((option, _)) = given.into_iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
        let problem =
            format!("`{option}` has no effect with `--lm`: all other speech is words of its language model");
        Err(Error::new(Stage::Usage, problem).hint("use `--phrase-cost`"))
    }

    /// Refuses options that have no effect with the words of the model itself.
    fn check_unused(&self, users: Users) -> Result<()> {
        let used = self.hotwords.is_some() || users == Users::Clients;
        if self.lexicon.is_some() && !used {
            return unused("--lexicon");
        }
        self.check_no_search_options()
    }

    /// Refuses options of a search for words that are not the model's own.
    fn check_no_search_options(&self) -> Result<()> {
        let given = [
            ("--lm-scale", self.lm_scale.is_some()),
            ("--word-cost", self.word_cost.is_some()),
            ("--least-confidence", self.least_confidence.is_some()),
            ("--blank-bias", self.blank_bias.is_some()),
            ("--beam", self.beam.is_some()),
            ("--max-active", self.max_active.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((option, _)) => unused(option),
        }
    }

    fn phrase_options(&self) -> PhraseOptions {
        let defaults =
            if self.only_phrases { PhraseOptions::with_background() } else { PhraseOptions::default() };
        PhraseOptions {
            word_cost: self.word_cost.unwrap_or(defaults.word_cost),
            other_speech_cost: self.other_speech_cost.unwrap_or(defaults.other_speech_cost),
            other_phone_cost: self.other_phone_cost.unwrap_or(defaults.other_phone_cost),
            blank_bias: self.blank_bias.unwrap_or(defaults.blank_bias),
            beam: self.beam(defaults.beam),
            phrase_cost: self.phrase_cost.unwrap_or(defaults.phrase_cost),
            only_phrases: self.only_phrases,
        }
    }

    fn beam(&self, defaults: Beam) -> Beam {
        Beam {
            margin: self.beam.unwrap_or(defaults.margin),
            max_active: self.max_active.map_or(defaults.max_active, |n| n as usize),
        }
    }

    fn options(&self) -> LanguageOptions {
        let defaults = self.lm.as_ref().map_or_else(LanguageOptions::english, LanguageOptions::new);
        let defaults = if self.only_phrases { defaults.background() } else { defaults };
        let weights = NgramWeights {
            scale: self.lm_scale.unwrap_or(defaults.weights.scale),
            word_cost: self.word_cost.unwrap_or(defaults.weights.word_cost),
        };
        let beam = self.beam(defaults.beam);
        let blank_bias = self.blank_bias.unwrap_or(defaults.blank_bias);
        let (lexicon, hotwords) = (self.lexicon.clone(), self.hotwords());
        let least_confidence = self.least_confidence.unwrap_or(defaults.least_confidence);
        LanguageOptions { lexicon, hotwords, weights, blank_bias, beam, least_confidence, ..defaults }
    }

    fn hotwords(&self) -> Option<HotwordOptions> {
        let score = self.hotwords_score;
        self.hotwords.as_ref().map(|file| HotwordOptions { score, ..HotwordOptions::new(file) })
    }
}

/// The error for an option that has no effect.
fn unused(option: &str) -> Result<()> {
    let problem = format!("`{option}` has no effect without `--lm`, `--phrases` or `--model english`");
    Err(Error::new(Stage::Usage, problem))
}

/// The options for wake words.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Wake word")]
struct WakeWordChoice {
    /// Wait for these words, such as `hey computer`. With `--lm`, `--phrases` or `--model english`, the speech after
    /// them is recognized up to the end of the utterance; without, only the wake word is. May be repeated. Requires a
    /// model whose tokens are the phones of English.
    #[arg(long = "wake-word", value_name = "WORDS")]
    wake_words: Vec<String>,

    /// Expected number of times in an hour of other speech at which a wake word is detected although it was not
    /// spoken; with a smaller number, wake words are missed more often.
    #[arg(long, value_name = "PER HOUR", requires = "wake_words", default_value_t = WakeWordOptions::FALSE_ACCEPTS_PER_HOUR)]
    wake_threshold: f32,
}

impl WakeWordChoice {
    /// Returns the recognizer with the wake words, or unchanged if there are none; `words_after` is whether words are
    /// recognized after them.
    fn apply(&self, recognizer: Recognizer, lexicon: Option<&Path>, words_after: bool) -> Result<Recognizer> {
        if self.wake_words.is_empty() {
            return Ok(recognizer);
        }
        let options = WakeWordOptions {
            false_accepts_per_hour: self.wake_threshold,
            words_after,
            ..WakeWordOptions::new(&self.wake_words)
        };
        recognizer.with_wake_words(&options, &pronounce::open(None, lexicon)?)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ModelArgs {
    #[command(flatten)]
    choice: ModelChoice,

    /// Length of the audio that is processed at a time, milliseconds.
    #[arg(long, default_value_t = DEFAULT_CHUNK_MS, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub chunk_ms: u32,
}

impl ModelChoice {
    /// Opens the model, with the words of the options.
    pub fn open(&self) -> Result<Recognizer> {
        self.open_for(Users::Program)
    }

    /// Opens the model for a server, whose clients bring words too.
    #[cfg(feature = "serve")]
    pub fn open_for_clients(&self) -> Result<Recognizer> {
        self.open_for(Users::Clients)
    }

    /// The options for words of clients.
    #[cfg(feature = "serve")]
    pub fn word_options(&self) -> crate::serve::WordOptions {
        crate::serve::WordOptions {
            lexicon: self.language.lexicon.clone(),
            // With a language model, weights and beam of the options are those of its search.
            phrases: match (&self.language.phrases, &self.language.lm) {
                (Some(_), None) => self.language.phrase_options(),
                _ => PhraseOptions::default(),
            },
            dictation: self.dictation_costs(),
            hotwords_score: self.language.hotwords_score,
        }
    }

    /// The costs of phrases of clients in dictation, if the words are those of a language model alone.
    #[cfg(feature = "serve")]
    fn dictation_costs(&self) -> Option<crate::decode::PhraseCosts> {
        let has_language_model = self.language.lm.is_some() || self.source().is_english();
        let word = self.language.options().weights.word_cost;
        let costs = crate::decode::PhraseCosts { phrase: PhraseOptions::default().phrase_cost, word };
        (has_language_model && self.language.phrases.is_none()).then_some(costs)
    }

    fn open_for(&self, users: Users) -> Result<Recognizer> {
        if self.has_wake_word() && users == Users::Clients {
            let problem = "`--wake-word`: the server does not wait for wake words";
            return Err(
                Error::new(Stage::Usage, problem).hint("use `hearken listen` or `hearken transcribe`")
            );
        }
        let (source, default) = (self.source(), self.default_model());
        let recognizer = self.network.open(default)?;
        let words_after = self.names_words();
        let recognizer = if self.has_wake_word() && !words_after {
            self.language.hotwords.as_ref().map_or(Ok(()), |_| unused("--hotwords"))?;
            self.language.check_no_search_options()?;
            recognizer
        } else {
            self.language.apply(recognizer, source, users)?
        };
        let lexicon = self.language.lexicon.as_deref();
        let recognizer = self.wake_word.apply(recognizer, lexicon, words_after)?.with_numbers(self.numbers);
        recognizer.notes().iter().for_each(|note| print_note(note));
        Ok(recognizer)
    }

    /// Where the model comes from.
    pub fn source(&self) -> ModelSource<'_> {
        ModelSource::new(self.network.model.as_deref(), self.default_model())
    }

    /// The embedded model unless a model is named: words that the user brings need a model of phones.
    fn default_model(&self) -> Embedded {
        let phones = self.brings_words() || self.has_wake_word();
        if phones { Embedded::English } else { Embedded::Digits }
    }

    fn has_wake_word(&self) -> bool {
        !self.wake_word.wake_words.is_empty()
    }

    fn brings_words(&self) -> bool {
        self.language.lm.is_some() || self.language.phrases.is_some()
    }

    /// Whether the options name words, besides a wake word, that are not a model's own.
    fn names_words(&self) -> bool {
        self.brings_words() || self.network.model.is_some() && self.source().is_english()
    }
}

impl NetworkChoice {
    /// Opens the model, for its own words.
    pub fn open(&self, default: Embedded) -> Result<Recognizer> {
        let kind = self.engine;
        let options = EngineOptions { states: self.states.clone(), ..engine_options() };
        match ModelSource::new(self.model.as_deref(), default) {
            ModelSource::Path(path) => {
                let opened = Recognizer::open_any(path, kind, self.tokens.as_deref(), &options);
                opened.map_err(|error| match error.kind() {
                    ErrorKind::Io(io::ErrorKind::NotFound) => {
                        error.hint_if_none("the embedded models are `digits` and `english`")
                    }
                    _ => error,
                })
            }
            ModelSource::Embedded(_) if self.tokens.is_some() || !self.states.is_empty() => {
                let option = if self.tokens.is_some() { "--tokens" } else { "--state" };
                let problem = format!("`{option}` has no effect without a foreign `--model`");
                Err(Error::new(Stage::Usage, problem))
            }
            ModelSource::Embedded(model) => Recognizer::embedded(model, kind.unwrap_or_default(), &options),
        }
    }
}

impl ModelArgs {
    /// Opens the model.
    pub fn open(&self) -> Result<Recognizer> {
        self.choice.open()
    }

    /// Whether there are phrases or a language model, besides which speech can be rejected.
    pub fn names_words(&self) -> bool {
        self.choice.names_words()
    }

    /// Whether a wake word is given.
    pub fn has_wake_word(&self) -> bool {
        self.choice.has_wake_word()
    }

    /// The settings that transcripts depend on, by option; the chunk length does not change them.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let ModelChoice { network, language, wake_word, numbers } = &self.choice;
        let NetworkChoice { model, engine, tokens, states } = network;
        let file = |path: &Option<PathBuf>| match path {
            None => "not given".into(),
            Some(path) => {
                // A file that was replaced under the same name is another model.
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
            ("--only-phrases".into(), language.only_phrases.to_string()),
            ("--lexicon".into(), file(&language.lexicon)),
            ("--numbers".into(), numbers.name().into()),
            ("--hotwords".into(), file(&language.hotwords)),
            ("--wake-word".into(), format!("{:?}", wake_word.wake_words)),
            ("--wake-threshold".into(), wake_word.wake_threshold.to_string()),
            ("--hotwords-score".into(), language.hotwords_score.to_string()),
            ("--other-speech-cost".into(), format!("{:?}", language.other_speech_cost)),
            ("--other-phone-cost".into(), format!("{:?}", language.other_phone_cost)),
            ("--phrase-cost".into(), format!("{:?}", language.phrase_cost)),
            ("--lm-scale".into(), format!("{:?}", language.lm_scale)),
            ("--word-cost".into(), format!("{:?}", language.word_cost)),
            ("--blank-bias".into(), format!("{:?}", language.blank_bias)),
            ("--beam".into(), format!("{:?}", language.beam)),
            ("--max-active".into(), format!("{:?}", language.max_active)),
            ("--least-confidence".into(), format!("{:?}", language.least_confidence)),
        ])
    }

    /// How numbers are written.
    pub fn numbers(&self) -> Numbers {
        self.choice.numbers
    }

    /// The name of the requested engine.
    pub fn engine_name(&self) -> &str {
        self.choice.network.engine.unwrap_or_default().name()
    }

    /// Number of samples in a chunk.
    pub fn chunk_samples(&self, recognizer: &Recognizer) -> usize {
        ms_to_samples(self.chunk_ms, recognizer.sample_rate()).max(1)
    }
}

/// Reads a model of hearken's own; the error for an exported file says how to import it.
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

/// Refuses `--nbest` if the recognizer finds no alternatives.
pub(super) fn check_nbest(nbest: usize, recognizer: &Recognizer) -> Result<()> {
    if nbest <= 1 || recognizer.finds_alternatives() {
        return Ok(());
    }
    let problem =
        "`--nbest` has no effect: alternatives need a search for words, and this model has no lexicon";
    Err(Error::new(Stage::Usage, problem).hint("give the words: `--lm FILE` or `--phrases FILE`"))
}

/// Prints a note on standard error.
pub(super) fn print_note(note: &str) {
    super::say(&format!("note: {note}"));
}

/// Parses `IN=OUT`.
pub(super) fn state_pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((input, output)) if !input.is_empty() && !output.is_empty() => Ok((input.into(), output.into())),
        _ => Err(format!("expected INPUT=OUTPUT, found `{text}`")),
    }
}

/// The options of engines, with the folders in which onnxruntime's library is searched.
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
