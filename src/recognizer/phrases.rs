//! Recognizers for the phrases of a grammar, which replace the model's own lexicon.

use std::sync::Arc;

use super::confidence::Calibration;
use super::open::Recognizer;
use super::pronunciations::{guesses_note, label};
use crate::decode::{Beam, DecoderFactory, DecoderOptions, Lexicon, PhraseModel, Vocabulary, WordId};
use crate::error::Result;
use crate::onnx::Metadata;
use crate::text::phrases::Phrases;
use crate::text::pronunciation::{ARPABET, Pronouncer, Source};

/// Costs of phrases and of out-of-vocabulary speech in the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhraseOptions {
    /// Word insertion penalty, nats.
    pub word_cost: f32,
    /// Cost of each stretch of out-of-vocabulary speech, nats.
    pub other_speech_cost: f32,
    /// Cost of each phone of out-of-vocabulary speech, nats. With a higher cost, more speech is recognized as phrases.
    pub other_phone_cost: f32,
    /// Bias that is added to the blank's log-probability in the search, nats.
    pub blank_bias: f32,
    /// Pruning thresholds of the search.
    pub beam: Beam,
}

impl Default for PhraseOptions {
    fn default() -> Self {
        Self {
            word_cost: 0.0,
            other_speech_cost: 8.0,
            other_phone_cost: 1.45,
            blank_bias: -2.0,
            beam: Beam { margin: 40.0, max_active: 5000 },
        }
    }
}

impl Recognizer {
    /// Creates a recognizer with the same network for phrases. These replace the model's own lexicon and its rejection
    /// of words. [`Recognizer::notes`] names the words whose pronunciations are guessed.
    ///
    /// # Errors
    /// When a word has no pronunciation, or the model has no token for a phone.
    pub fn with_phrases(
        self,
        phrases: impl Into<Arc<Phrases>>,
        pronouncer: &Pronouncer,
        options: &PhraseOptions,
    ) -> Result<Self> {
        let phrases = phrases.into();
        let pronounced = phrases.pronounce(pronouncer);
        if let Some(error) = pronounced.missing.into_iter().next() {
            return Err(error);
        }
        let tokens = &self.metadata().tokens;
        let mut pronunciations = Vec::new();
        let mut guessed = Vec::new();
        for ((id, word), variants) in (0..).zip(phrases.words()).zip(&pronounced.pronunciations) {
            if variants.first().is_some_and(|variant| variant.source == Source::Guessed) {
                guessed.push(format!("`{word}` as {}", variants[0].phones_text()));
            }
            for variant in variants {
                let labels = variant.phones.iter().map(|&phone| label(ARPABET[phone as usize - 1], tokens));
                pronunciations.push((labels.collect::<Result<Vec<_>>>()?, WordId(id)));
            }
        }
        let note = guesses_note(&guessed);
        let lexicon = Lexicon::from_pronunciations(phrases.words().to_vec(), pronunciations, tokens.len());
        let model = PhraseModel::new(Arc::clone(&phrases), options.word_cost);
        let decoder = DecoderOptions {
            blank_bias: options.blank_bias,
            filler_entry_cost: options.other_speech_cost,
            filler_label_cost: options.other_phone_cost,
            lexicon: Vec::new(),
            rejection: None,
            reset_after_other_speech_ms: 0,
            ..self.metadata().decoder.clone()
        };
        let metadata = Metadata { decoder, ..self.metadata().clone() };
        let frame_seconds = self.clock().seconds(1);
        let (tokens, decoder) = (&metadata.tokens, &metadata.decoder);
        let search = Vocabulary::new(tokens, lexicon, Arc::new(model), decoder, frame_seconds, options.beam);
        let decoders = DecoderFactory::Search(Arc::new(search));
        let recognizer = self.with_decoders(metadata, decoders).with_calibration(Some(Calibration::PHRASES));
        Ok(recognizer.with_phrase_graph(phrases).with_note(note))
    }
}
