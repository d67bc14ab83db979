//! Recognizers for the phrases of a grammar, alone or in dictation with a language model.

use std::sync::Arc;

use super::confidence::Calibration;
use super::language::{LanguageOptions, check_ranges};
use super::meaning::{InDictation, PhraseGraph};
use super::open::Recognizer;
use super::pronunciations::{Labels, guesses_note, label};
use crate::decode::{
    Beam, DecoderFactory, DecoderOptions, DictationModel, LanguageModel, Lexicon, PhraseCosts, PhraseModel,
    PhraseModelCosts, Pronunciation, Vocabulary, WordId,
};
use crate::error::{Error, Result, Stage};
use crate::onnx::Metadata;
use crate::text::TokenTable;
use crate::text::phrases::Phrases;
use crate::text::pronunciation::{ARPABET, Pronouncer, Source};

/// Costs of phrases and of out-of-vocabulary speech in the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhraseOptions {
    /// Word insertion penalty, nats.
    pub word_cost: f32,
    /// Cost of each stretch of out-of-vocabulary speech, nats. Beside a phrase of n < 12 phones only n/12 of it counts.
    pub other_speech_cost: f32,
    /// Cost of each phone of out-of-vocabulary speech, nats. With a higher cost, more speech is recognized as phrases.
    pub other_phone_cost: f32,
    /// Bias that is added to the blank's log-probability in the search, nats.
    pub blank_bias: f32,
    /// Pruning thresholds of the search.
    pub beam: Beam,
    /// Cost of a phrase in dictation with a language model, nats: of one of n < 12 phones 1 - n/12 of it. The word insertion penalty, the bias and the beam are
    /// those of the language model there.
    pub phrase_cost: f32,
    /// Whether words outside phrases are left out in dictation: the language model is then only the background that the phrases
    /// compete with.
    pub only_phrases: bool,
}

impl Default for PhraseOptions {
    fn default() -> Self {
        Self {
            word_cost: 0.0,
            other_speech_cost: 8.0,
            other_phone_cost: 1.45,
            blank_bias: -2.0,
            beam: Beam { margin: 40.0, max_active: 5000 },
            phrase_cost: 8.5,
            only_phrases: false,
        }
    }
}

impl Recognizer {
    /// Creates a recognizer with the same network for phrases. These replace the model's own lexicon and its rejection
    /// of words. [`Recognizer::notes`] names the words whose pronunciations are guessed.
    ///
    /// # Errors
    /// When a word has no pronunciation, the model has no token for a phone, a phrase contains `<dictation>`, or a cost is out
    /// of range.
    pub fn with_phrases(
        self,
        phrases: impl Into<Arc<Phrases>>,
        pronouncer: &Pronouncer,
        options: &PhraseOptions,
    ) -> Result<Self> {
        options.validate()?;
        let phrases = phrases.into();
        check_no_dictation(&phrases)?;
        let (pronunciations, note) = pronunciations(&self.metadata().tokens, &phrases, pronouncer, 0)?;
        let num_tokens = self.metadata().tokens.len();
        let costs = PhraseModelCosts { word: options.word_cost, short_phrase: options.short_phrase_cost() };
        let model = PhraseModel::new(Arc::clone(&phrases), &pronunciations, costs);
        let lexicon = Lexicon::from_pronunciations(phrases.words().to_vec(), pronunciations, num_tokens);
        let decoder = options.search(&self.metadata().decoder);
        let metadata = Metadata { decoder, ..self.metadata().clone() };
        let frame_seconds = self.clock().seconds(1);
        let (tokens, decoder) = (&metadata.tokens, &metadata.decoder);
        let search = Vocabulary::new(tokens, lexicon, Arc::new(model), decoder, frame_seconds, options.beam);
        let decoders = DecoderFactory::Search(Arc::new(search));
        let graph = PhraseGraph { phrases, in_dictation: None };
        let recognizer =
            self.with_decoders(metadata, decoders).with_calibration(Some(Calibration::PHRASES), 0.0);
        Ok(recognizer.with_phrase_graph(Some(graph)).with_note(note))
    }

    /// Creates a recognizer with the same network for dictation with a language model, in which phrases may stand at any
    /// place. In phrases, `<dictation>` stands for one or more words of the language model. Of the options of phrases only
    /// `phrase_cost` and `only_phrases` have an effect.
    ///
    /// # Errors
    /// As [`Recognizer::with_language_model`] and [`Recognizer::with_phrases`]; when the cost is out of range.
    pub fn with_phrases_in_dictation(
        self,
        language: &LanguageOptions,
        phrases: impl Into<Arc<Phrases>>,
        pronouncer: &Pronouncer,
        options: &PhraseOptions,
    ) -> Result<Self> {
        // Hotwords are added last, since their model wraps the others.
        let recognizer = self.with_language_model(&LanguageOptions { hotwords: None, ..language.clone() })?;
        let costs = PhraseCosts { phrase: options.phrase_cost, word: language.weights.word_cost };
        let recognizer = recognizer.with_phrases_added(phrases, pronouncer, costs, options.only_phrases)?;
        match &language.hotwords {
            Some(hotwords) => recognizer.with_hotwords(hotwords, language.lexicon.as_deref()),
            None => Ok(recognizer),
        }
    }

    /// Adds phrases to a recognizer for dictation, which was made by [`Recognizer::with_language_model`], as
    /// [`Recognizer::with_phrases_in_dictation`] does; with `only_phrases`, other words are left out.
    ///
    /// # Errors
    /// As [`Recognizer::with_phrases`]; when a cost is out of range.
    pub(crate) fn with_phrases_added(
        self,
        phrases: impl Into<Arc<Phrases>>,
        pronouncer: &Pronouncer,
        costs: PhraseCosts,
        only_phrases: bool,
    ) -> Result<Self> {
        check_ranges([("cost of a phrase", costs.phrase, -1000.0..=1000.0)])?;
        let phrases = phrases.into();
        let DecoderFactory::Search(search) = self.model().decoders.clone() else {
            return Err(Error::new(Stage::Usage, "phrases need a search for words"));
        };
        let first_word = WordId(search.lexicon().names().len() as u32);
        let (pronunciations, note) =
            pronunciations(&self.metadata().tokens, &phrases, pronouncer, first_word.0)?;
        let inner = Arc::clone(search.language_model());
        let model = DictationModel::new(inner, Arc::clone(&phrases), first_word, &pronunciations, costs)?;
        let model: Arc<dyn LanguageModel> = Arc::new(model);
        let search = search.with_words(phrases.words(), pronunciations, model);
        let graph = PhraseGraph { phrases, in_dictation: Some(InDictation { first_word, only_phrases }) };
        let metadata = self.metadata().clone();
        let recognizer = self.with_decoders(metadata, DecoderFactory::Search(Arc::new(search)));
        Ok(recognizer.with_phrase_graph(Some(graph)).with_note(note))
    }
}

impl PhraseOptions {
    /// Creates options for phrases alone with a language model as their background, which knows other speech better than
    /// [`PhraseOptions::other_phone_cost`] does; with [`LanguageOptions::background`].
    pub fn with_background() -> Self {
        Self { phrase_cost: 6.5, only_phrases: true, ..Self::default() }
    }

    /// Checks that every number is in its range. Costs of other speech may be infinite: then there is none.
    ///
    /// # Errors
    /// When one is not; names the first.
    fn validate(&self) -> Result<()> {
        check_ranges([
            ("cost of a word", self.word_cost, -100.0..=100.0),
            ("cost of other speech", self.other_speech_cost, -1000.0..=f32::INFINITY),
            ("cost of a phone of other speech", self.other_phone_cost, -1000.0..=f32::INFINITY),
            ("bias of the blank", self.blank_bias, -100.0..=100.0),
            ("beam", self.beam.margin, 0.0..=1000.0),
        ])
    }

    /// Cost of a phrase without phones, nats. What favors a phrase over other speech by a constant would favor the short ones,
    /// which other speech resembles most. Not more than by the default, so that with a larger cost of other speech more
    /// speech is still recognized as phrases.
    fn short_phrase_cost(&self) -> f32 {
        self.other_speech_cost.clamp(0.0, Self::default().other_speech_cost)
    }

    /// Decoder options of a search for phrases with a model, without a lexicon.
    fn search(&self, model: &DecoderOptions) -> DecoderOptions {
        DecoderOptions {
            blank_bias: self.blank_bias,
            filler_entry_cost: self.other_speech_cost,
            filler_label_cost: self.other_phone_cost,
            lexicon: Vec::new(),
            rejection: None,
            reset_after_other_speech_ms: 0,
            ..model.clone()
        }
    }

    /// Decoder options of a model for an export with phrases: the costs of these options, and the words of the phrases as
    /// the lexicon.
    ///
    /// # Errors
    /// As [`Recognizer::with_phrases`].
    pub fn decoder(
        &self,
        model: &Metadata,
        phrases: &Phrases,
        pronouncer: &Pronouncer,
    ) -> Result<DecoderOptions> {
        self.validate()?;
        check_no_dictation(phrases)?;
        let (pronunciations, _) = pronunciations(&model.tokens, phrases, pronouncer, 0)?;
        let entry = |(labels, word): (Labels, WordId)| Pronunciation {
            word: phrases.words()[word.0 as usize].clone(),
            tokens: labels.iter().map(|label| model.tokens.tokens()[label.index()].clone()).collect(),
        };
        let lexicon = pronunciations.into_iter().map(entry).collect();
        Ok(DecoderOptions { lexicon, word_cost: self.word_cost, ..self.search(&model.decoder) })
    }
}

/// Refuses phrases with words of a language model.
fn check_no_dictation(phrases: &Phrases) -> Result<()> {
    if phrases.dictation().is_none() {
        return Ok(());
    }
    let problem = "`<dictation>` in a phrase needs a language model, whose words it stands for";
    Err(Error::new(Stage::Usage, problem).hint("give one").remedy("language_model"))
}

/// Pronunciations with the ids of their words, and a note on those that are guessed.
type Pronunciations = (Vec<(Labels, WordId)>, Option<String>);

/// The pronunciations of the words of phrases, whose ids begin at `first`.
fn pronunciations(
    tokens: &TokenTable,
    phrases: &Phrases,
    pronouncer: &Pronouncer,
    first: u32,
) -> Result<Pronunciations> {
    let pronounced = phrases.pronounce(pronouncer);
    if let Some(error) = pronounced.missing.into_iter().next() {
        return Err(error);
    }
    let mut pronunciations = Vec::new();
    let mut guessed = Vec::new();
    for ((id, word), variants) in (first..).zip(phrases.words()).zip(&pronounced.pronunciations) {
        if variants.first().is_some_and(|variant| variant.source == Source::Guessed) {
            guessed.push(format!("`{word}` as {}", variants[0].phones_text()));
        }
        for variant in variants {
            let labels = variant.phones.iter().map(|&phone| label(ARPABET[phone as usize - 1], tokens));
            pronunciations.push((labels.collect::<Result<Vec<_>>>()?, WordId(id)));
        }
    }
    Ok((pronunciations, guesses_note(&guessed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_phrase_costs_at_most_what_it_does_by_default() {
        let cost_of = |other_speech_cost: f32| {
            let options = PhraseOptions { other_speech_cost, ..PhraseOptions::default() };
            options.validate().map(|()| options.short_phrase_cost())
        };
        for (other_speech_cost, expected) in
            [(-5.0, 0.0), (3.0, 3.0), (8.0, 8.0), (1e30, 8.0), (f32::INFINITY, 8.0)]
        {
            assert_eq!(cost_of(other_speech_cost).expect("in range"), expected, "{other_speech_cost}");
        }
        for wrong in [f32::NAN, f32::NEG_INFINITY] {
            let error = cost_of(wrong).expect_err("no cost").to_string();
            assert!(error.contains("cost of other speech: expected a number from -1000 to inf"), "{error}");
        }
    }
}
