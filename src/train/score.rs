//! Scoring of the dev sets, decoded as in a stream, during training.

use std::sync::Arc;

use super::recipe::{Dev, Measure, Recipe};
use super::threads::in_threads;
use crate::decode::{DecoderFactory, DecoderOptions, Onsets, Rejection, RejectionContext, Unit, lexicon};
use crate::error::Result;
use crate::eval::{Score, Scorer};
use crate::model::forward::log_softmax;
use crate::model::{PackedSequence, PackedWeights, Workspace};
use crate::text::TokenTable;
use crate::text::tokens::WORD_START;

/// A dev set in memory: features and reference transcripts.
pub struct DevSet {
    /// The recipe's table.
    pub dev: Dev,
    scorer: Scorer,
    utterances: Vec<(Arc<[f32]>, String)>,
    seconds: f64,
}

/// The score of a dev set.
#[derive(Clone, Debug)]
pub struct DevScore {
    /// The manifest, as named in the recipe.
    pub manifest: String,
    /// Word and character errors.
    pub score: Score,
    /// Recognized words that were not said, per hour; `None` for an empty set.
    pub false_words_per_hour: Option<f64>,
    /// Its part of the sum that determines the best weights; `None` if it measures nothing or has weight 0.
    pub weighted: Option<f64>,
}

impl DevSet {
    /// An empty set.
    ///
    /// # Errors
    /// When an item of `equal` is not a pair of words.
    pub fn new(dev: &Dev) -> Result<Self> {
        let scorer = Scorer::new(&dev.equal).map_err(|e| e.at("data.dev: equal"))?;
        Ok(Self { dev: dev.clone(), scorer, utterances: Vec::new(), seconds: 0.0 })
    }

    /// Adds an utterance: features `[U * S, F]`, reference transcript, and duration in seconds.
    pub fn push(&mut self, features: Arc<[f32]>, text: String, seconds: f64) {
        self.utterances.push((features, text));
        self.seconds += seconds;
    }

    /// Whether the set has no score: an error rate over no words, or false words in no time.
    pub fn has_no_score(&self) -> bool {
        match self.dev.measure {
            Measure::Error => self.utterances.iter().all(|(_, text)| text.is_empty()),
            Measure::Rejection => self.seconds == 0.0,
        }
    }

    /// Scores the set on `threads` threads.
    ///
    /// # Errors
    /// When the decoder's options are invalid, or a thread panics.
    pub fn score(
        &self,
        weights: &PackedWeights<f32>,
        recipe: &Recipe,
        tokens: &TokenTable,
        options: &DecoderOptions,
        threads: usize,
    ) -> Result<DevScore> {
        let share = self.utterances.len().div_ceil(threads.max(1)).max(1);
        let score_part = |part| self.score_part(part, weights, recipe, tokens, options);
        let mut score = Score::default();
        for part in in_threads(self.utterances.chunks(share), score_part)? {
            score.merge(&part?);
        }
        let false_words_per_hour =
            (self.seconds > 0.0).then(|| score.words.false_units() as f64 / (self.seconds / 3600.0));
        let measure = match self.dev.measure {
            Measure::Error => score.wer(),
            Measure::Rejection => false_words_per_hour.map(|rate| rate / 100.0),
        };
        let weighted = measure.filter(|_| self.dev.weight > 0.0).map(|measure| self.dev.weight * measure);
        Ok(DevScore { manifest: self.dev.manifest.clone(), score, false_words_per_hour, weighted })
    }

    fn score_part(
        &self,
        part: &[(Arc<[f32]>, String)],
        weights: &PackedWeights<f32>,
        recipe: &Recipe,
        tokens: &TokenTable,
        options: &DecoderOptions,
    ) -> Result<Score> {
        let width = recipe.network.subsampling * recipe.features.num_mel_bins;
        let frame_ms = recipe.network.subsampling as f64 * f64::from(recipe.features.frame_shift_ms);
        let written = lexicon::words(options);
        let decoders = DecoderFactory::new(tokens, options, frame_ms / 1000.0)?;
        let text_of = |unit: Unit| match unit {
            Unit::Token(id) => tokens.token(id.0).unwrap_or_default().replace(WORD_START, " "),
            Unit::Word(id) => format!(" {}", written[id.0 as usize]),
        };
        let rejection = options.rejection.map(|r| Rejection::new(&r, frame_ms / 1000.0));
        let (mut workspace, mut logits, mut score) = (Workspace::default(), Vec::new(), Score::default());
        for (features, text) in part {
            let steps = PackedSequence::uniform(1, features.len() / width);
            let mut states = weights.zero_states(1);
            weights.forward(features, &steps, &mut states, &mut workspace, None);
            weights.logits(&workspace, 0, &mut logits);
            log_softmax(&mut logits, tokens.len());
            let (mut decoder, mut onsets) = (decoders.decoder(), Onsets::default());
            for frame in logits.chunks_exact(tokens.len()) {
                decoder.push(frame);
                onsets.push(decoder.likeliest());
            }
            let mut words = decoder.end_segment();
            if let Some(rejection) = rejection {
                let kept = rejection
                    .accepted(&words, RejectionContext { preceding: &[], following: &[], onsets: &onsets });
                words = words.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(word, _)| word).collect();
            }
            let decoded: String = words.iter().map(|span| text_of(span.unit)).collect();
            score.merge(&self.scorer.score(text, &decoded));
        }
        Ok(score)
    }
}
