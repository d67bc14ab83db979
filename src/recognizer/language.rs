//! Recognizers for dictation, whose vocabulary is that of a language model instead of the model's own lexicon.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use super::confidence::Calibration;
use super::embedded::Embedded;
use super::hotwords::{HotwordList, HotwordOptions};
use super::open::Recognizer;
use super::pronunciations::{PronunciationTable, english};
use super::reference::has_phones;
use crate::decode::{
    Beam, ContextGraph, DecoderFactory, DecoderOptions, HotwordModel, LanguageModel, Lexicon,
    NgramLanguageModel, NgramWeights, Vocabulary, WordId,
};
use crate::error::{Error, Result, Stage};
use crate::fs::quoted;
use crate::onnx::Metadata;
use crate::text::ngram::{self, NgramModel};

/// Files and weights of dictation with a language model.
#[derive(Clone, Debug)]
pub struct LanguageOptions {
    /// The n-gram model: a file of `hearken lm` or in ARPA format; `None` for the embedded model of English. Its words
    /// are the vocabulary of the recognizer.
    pub language_model: Option<PathBuf>,
    /// File of pronunciations in the format of the CMU Pronouncing Dictionary: a word and its phones per line. It has
    /// priority over the English dictionary inside the program.
    pub lexicon: Option<PathBuf>,
    /// Words and phrases that are boosted.
    pub hotwords: Option<HotwordOptions>,
    /// Scale of the language model and word insertion penalty.
    pub weights: NgramWeights,
    /// Bias that is added to the blank's log-probability in the search, nats.
    pub blank_bias: f32,
    /// Pruning thresholds of the search.
    pub beam: Beam,
    /// Least confidence of the most certain word of an utterance, 0 to 1, for networks with the phones of English. An
    /// utterance with a lower confidence, such as noise, gives no text. 0 turns it off.
    pub least_confidence: f32,
}

impl LanguageOptions {
    /// Creates options with a language model and default weights, which were tuned on read and on freely spoken English
    /// for a network whose tokens are English phones. `english` is the embedded language model unless a file has this
    /// name.
    pub fn new(language_model: impl Into<PathBuf>) -> Self {
        let path = language_model.into();
        let language_model = (Embedded::named(&path) != Some(Embedded::English)).then_some(path);
        Self { language_model, ..Self::english() }
    }

    /// Creates options with the embedded language model of English (feature `english`) and the same weights.
    pub fn english() -> Self {
        Self {
            language_model: None,
            lexicon: None,
            hotwords: None,
            weights: NgramWeights { scale: 0.75, word_cost: 1.0 },
            blank_bias: -0.5,
            beam: Beam { margin: 10.0, max_active: 2000 },
            least_confidence: 0.3,
        }
    }

    /// Sets the weights for a language model that is only the background of phrases ([`PhraseOptions::with_background`]).
    /// The bias of the blank is that of phrases alone, no confidence is required, and the beam is wider: a phrase is worth
    /// less than the words before its end.
    ///
    /// [`PhraseOptions::with_background`]: super::PhraseOptions::with_background
    pub fn background(self) -> Self {
        let beam = Beam { margin: 14.0, ..self.beam };
        Self { blank_bias: -2.0, least_confidence: 0.0, beam, ..self }
    }

    /// Sets the file of pronunciations. It is required if the tokens of the network are not English phones.
    pub fn lexicon(mut self, path: impl Into<PathBuf>) -> Self {
        self.lexicon = Some(path.into());
        self
    }

    /// Sets the hotwords.
    pub fn hotwords(mut self, options: HotwordOptions) -> Self {
        self.hotwords = Some(options);
        self
    }

    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// When one is not; names the first.
    fn validate(&self) -> Result<()> {
        let numbers = [
            ("scale of the language model", self.weights.scale, 0.0..=100.0),
            ("cost of a word", self.weights.word_cost, -100.0..=100.0),
            ("bias of the blank", self.blank_bias, -100.0..=100.0),
            ("beam", self.beam.margin, 0.0..=1000.0),
            ("least confidence", self.least_confidence, 0.0..=1.0),
        ];
        check_ranges(numbers)
    }
}

/// Checks that every number is in its range.
///
/// # Errors
/// When one is not; names the first.
pub(super) fn check_ranges<const N: usize>(numbers: [(&str, f32, RangeInclusive<f32>); N]) -> Result<()> {
    match numbers.into_iter().find(|(_, value, range)| !range.contains(value)) {
        None => Ok(()),
        Some((name, value, range)) => {
            let (least, most) = (range.start(), range.end());
            let problem = format!("{name}: expected a number from {least} to {most}, found {value}");
            Err(Error::new(Stage::Usage, problem))
        }
    }
}

/// The vocabulary of a recognizer: words of the language model and of hotwords.
struct SearchVocabulary {
    lexicon: Lexicon,
    hotwords: Option<ContextGraph>,
    /// Words of the language model without a pronunciation.
    unknown: Vec<String>,
    guesses: Option<String>,
    /// Note about hotwords with symbols.
    symbols: Option<String>,
}

impl Recognizer {
    /// Creates a recognizer with the same network for the words of a language model. These replace the model's own
    /// lexicon and its rejection of words. Words of the language model without a pronunciation are never recognized;
    /// [`Recognizer::notes`] reports their number.
    ///
    /// # Errors
    /// When a file cannot be read, the phones of the lexicon or of English are not tokens of the network, no word of
    /// the language model has a pronunciation, or a hotword has none.
    pub fn with_language_model(self, options: &LanguageOptions) -> Result<Self> {
        options.validate()?;
        // The lexicon is built while the n-grams are read, which both take about the same time.
        let build = |words: &ngram::Vocabulary| self.search_vocabulary(options, words);
        let (model, vocabulary) = match &options.language_model {
            Some(path) => NgramModel::read_while(path, build)?,
            None => NgramModel::from_bytes_while(Embedded::English.language_model()?, build)?,
        };
        let SearchVocabulary { lexicon, hotwords, unknown, guesses, symbols } = vocabulary?;
        let names = Arc::clone(lexicon.names());
        let ngrams = NgramLanguageModel::new(model, names.iter().map(String::as_str), options.weights);
        let mut language_model: Arc<dyn LanguageModel> = Arc::new(ngrams);
        if let Some(graph) = hotwords {
            language_model = Arc::new(HotwordModel::new(language_model, graph));
        }
        let decoder = DecoderOptions {
            blank_bias: options.blank_bias,
            lexicon: Vec::new(),
            rejection: None,
            reset_after_other_speech_ms: 0,
            ..self.metadata().decoder.clone()
        };
        let metadata = Metadata { decoder, ..self.metadata().clone() };
        let (tokens, frame_seconds) = (&metadata.tokens, self.clock().seconds(1));
        let search =
            Vocabulary::new(tokens, lexicon, language_model, &metadata.decoder, frame_seconds, options.beam);
        let decoders = DecoderFactory::Search(Arc::new(search.without_filler()));
        let note = unknown_note(options, names.len(), &unknown);
        let calibration = has_phones(&metadata).then_some(Calibration::LANGUAGE_MODEL);
        // Without a calibration, confidences are no probabilities.
        let least_confidence = calibration.map_or(0.0, |_| options.least_confidence);
        let recognizer =
            self.with_decoders(metadata, decoders).with_calibration(calibration, least_confidence);
        let recognizer = recognizer.with_phrase_graph(None);
        Ok(recognizer.with_note(note).with_note(guesses).with_note(symbols))
    }

    /// The vocabulary of the recognizer: words of the language model and of hotwords with their pronunciations.
    fn search_vocabulary(
        &self,
        options: &LanguageOptions,
        vocabulary: &ngram::Vocabulary,
    ) -> Result<SearchVocabulary> {
        let tokens = &self.metadata().tokens;
        let mut words: Vec<String> = vocabulary.ordinary_words().map(String::from).collect();
        let num_words = words.len();
        let hotwords = options.hotwords.as_ref().map(HotwordOptions::read).transpose()?;
        let hotword_list = match (&hotwords, &options.hotwords) {
            (Some(hotwords), Some(HotwordOptions { score, .. })) => {
                Some(HotwordList::new(hotwords, *score, &mut words)?)
            }
            _ => None,
        };
        let mut table = PronunciationTable::new(&words, tokens);
        match &options.lexicon {
            Some(path) => table.add_lexicon(path)?,
            None if !table.has_english_phones() => {
                let problem =
                    "the tokens of the model are not the phones of English, for which words are known";
                return Err(Error::new(Stage::Usage, problem)
                    .hint("give the words and their phones in these tokens")
                    .remedy("lexicon"));
            }
            None => {}
        }
        if table.pronunciations.iter().any(Vec::is_empty) && table.has_english_phones() {
            add_english(&mut table, options, hotword_list.as_ref())?;
        }
        if let Some(hotword_list) = &hotword_list {
            hotword_list.check_pronunciations(&words, |at| !table.pronunciations[at].is_empty())?;
        }
        let mut lexicon = Vec::new();
        let (mut names, mut unknown, mut ids) = (Vec::new(), Vec::new(), vec![None; words.len()]);
        for (at, pronunciations) in std::mem::take(&mut table.pronunciations).into_iter().enumerate() {
            let id = WordId(names.len() as u32);
            if pronunciations.is_empty() {
                unknown.push(words[at].clone());
                continue;
            }
            names.push(words[at].clone());
            ids[at] = Some(id);
            lexicon.extend(pronunciations.into_iter().map(|labels| (labels, id)));
        }
        if unknown.len() == num_words {
            let problem = format!("none of the {num_words} words of the language model has a pronunciation");
            let error = Error::new(Stage::Text, problem);
            return Err(match &options.language_model {
                Some(path) => error.in_file(path),
                None => error,
            });
        }
        // All words of hotwords have pronunciations, which was checked above.
        let graph = hotword_list
            .as_ref()
            .map(|hotword_list| hotword_list.graph(|at| ids[at].unwrap_or(WordId(u32::MAX))));
        let guesses = table.guesses_note();
        Ok(SearchVocabulary {
            lexicon: Lexicon::from_pronunciations(names, lexicon, tokens.len()),
            hotwords: graph,
            unknown,
            guesses,
            symbols: hotword_list.as_ref().and_then(HotwordList::symbols_note),
        })
    }
}

/// Adds English pronunciations for words without one; those of hotwords are guessed if necessary. A build without
/// English is an error only if there is no lexicon.
fn add_english(
    table: &mut PronunciationTable,
    options: &LanguageOptions,
    hotword_list: Option<&HotwordList>,
) -> Result<()> {
    let english = match english("give the words and their phones").map_err(|e| e.remedy("lexicon")) {
        Err(_) if options.lexicon.is_some() => return Ok(()),
        english => english?,
    };
    let required = |at| hotword_list.is_some_and(|hotword_list| hotword_list.contains(at));
    let missing = |at, error: Error| {
        Err(match hotword_list {
            Some(hotword_list) => hotword_list.missing_pronunciation(at, error.problem()),
            None => error,
        })
    };
    table.add_english(&english, required, missing)
}

/// Note about the words of a language model file that have no pronunciation.
fn unknown_note(options: &LanguageOptions, known: usize, unknown: &[String]) -> Option<String> {
    let path = options.language_model.as_deref()?;
    let some = unknown.iter().take(5).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let note = || {
        format!(
            "{} of the {} words of {} have no pronunciation and cannot be recognized: {some}{}",
            unknown.len(),
            known + unknown.len(),
            quoted(path),
            if unknown.len() > 5 { ", …" } else { "" }
        )
    };
    (!unknown.is_empty()).then(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_named() {
        let good = LanguageOptions::new("a.lm").lexicon("b.txt");
        assert!(good.validate().is_ok());
        let beam = Beam { margin: f32::NAN, ..good.beam };
        let error = LanguageOptions { beam, ..good }.validate().expect_err("no number").to_string();
        assert!(error.contains("beam"), "{error}");
    }

    #[test]
    fn the_embedded_language_model_has_a_name() {
        assert_eq!(LanguageOptions::new("english").language_model, None);
        assert_eq!(LanguageOptions::new("digits").language_model, Some("digits".into()));
    }
}
