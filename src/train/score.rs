//! The dev sets of a recipe, scored with the weights of the moment as a stream would hear them.

use std::path::Path;

use super::example::Maker;
use super::recipe::{Dev, Measure, Recipe};
use crate::audio;
use crate::corpus::manifest::{self, ReadOptions};
use crate::decode::{DecoderFactory, Unit, lexicon};
use crate::error::{Error, Result, Stage};
use crate::eval::{Score, Scorer};
use crate::model::forward::log_softmax;
use crate::model::{Steps, Weights, Workspace};
use crate::onnx::DecoderOptions;
use crate::text::TokenTable;
use crate::text::tokens::WORD_START;
use crate::units::SAMPLE_RATE;

/// A dev set in memory: features and what was said.
pub struct DevSet {
    pub dev: Dev,
    scorer: Scorer,
    utterances: Vec<(Vec<f32>, String)>,
    seconds: f64,
}

/// What a dev set says of the weights.
#[derive(Clone, Debug)]
pub struct DevScore {
    pub manifest: String,
    pub score: Score,
    /// Words written that were not said, an hour.
    pub false_words_per_hour: f64,
    /// What it adds to the score that chooses.
    pub weighted: f64,
}

impl DevSet {
    /// Reads a dev set and computes its features.
    ///
    /// # Errors
    /// Bad manifests and audio.
    pub fn load(dev: &Dev, data: &Path, recipe: &Recipe, maker: &mut Maker<'_>) -> Result<Self> {
        let options = ReadOptions { allow_empty_text: true, ..ReadOptions::default() };
        let entries = manifest::read_with(Recipe::manifest(data, &dev.manifest), options)?;
        let every = if dev.most == 0 { 1 } else { entries.len().div_ceil(dev.most).max(1) };
        let tokens = recipe.tokens()?;
        let mut set =
            Self { dev: dev.clone(), scorer: Scorer::new(&dev.equal)?, utterances: Vec::new(), seconds: 0.0 };
        for entry in entries.iter().step_by(every) {
            let duration = entry.offset.and(entry.duration);
            let mut samples = audio::read_span(&entry.audio, SAMPLE_RATE, entry.offset, duration)?;
            set.seconds += samples.len() as f64 / f64::from(SAMPLE_RATE);
            let text = entry.text.to_lowercase();
            let words = &recipe.data.words;
            let known = |w: &&str| match recipe.data.pronunciations.is_empty() {
                true => !recipe.data.ignore_other_words || tokens.encode(w).is_ok(),
                false => words.iter().any(|word| word == w),
            };
            let text = text.split_whitespace().filter(known).collect::<Vec<_>>().join(" ");
            set.utterances.push((maker.features(&mut samples), text));
        }
        Ok(set)
    }

    /// Scores the set on `threads` threads.
    pub fn score(
        &self,
        weights: &Weights<f32>,
        recipe: &Recipe,
        tokens: &TokenTable,
        options: &DecoderOptions,
        threads: usize,
    ) -> Result<DevScore> {
        let share = self.utterances.len().div_ceil(threads.max(1)).max(1);
        let mut score = Score::default();
        std::thread::scope(|scope| -> Result<()> {
            let parts: Vec<_> = self
                .utterances
                .chunks(share)
                .map(|part| scope.spawn(move || self.score_part(part, weights, recipe, tokens, options)))
                .collect();
            for part in parts {
                let part = part.join();
                score.merge(&part.unwrap_or_else(|_| Err(Error::new(Stage::Train, "scoring failed")))?);
            }
            Ok(())
        })?;
        let false_words =
            (score.words.insertions + score.words.substitutions) as f64 / (self.seconds / 3600.0).max(1e-9);
        let weighted = self.dev.weight
            * match self.dev.measure {
                Measure::Error => score.wer(),
                Measure::Rejection => false_words / 100.0,
            };
        let manifest = self.dev.manifest.clone();
        Ok(DevScore { manifest, score, false_words_per_hour: false_words, weighted })
    }

    fn score_part(
        &self,
        part: &[(Vec<f32>, String)],
        weights: &Weights<f32>,
        recipe: &Recipe,
        tokens: &TokenTable,
        options: &DecoderOptions,
    ) -> Result<Score> {
        let width = recipe.network.subsampling * recipe.features.num_mel_bins;
        let frame_ms = recipe.network.subsampling as f64 * f64::from(recipe.features.frame_shift_ms);
        let written = lexicon::words(options);
        let decoders = DecoderFactory::new(tokens, options, frame_ms / 1000.0)?;
        let (mut workspace, mut logits, mut score) = (Workspace::default(), Vec::new(), Score::default());
        for (features, text) in part {
            let steps = Steps::uniform(1, features.len() / width);
            let mut states = weights.zero_states(1);
            weights.forward(features, &steps, &mut states, &mut workspace, None);
            weights.logits(&workspace, 0, &mut logits);
            log_softmax(&mut logits, tokens.len());
            let mut decoder = decoders.decoder();
            decoder.push(&logits);
            let text_of = |unit: Unit| match unit {
                Unit::Token(id) => tokens.token(id.0).unwrap_or_default().replace(WORD_START, " "),
                Unit::Word(id) => format!(" {}", written[id.0 as usize]),
            };
            let heard: String = decoder.end_segment().iter().map(|span| text_of(span.unit)).collect();
            score.merge(&self.scorer.score(text, &heard));
        }
        Ok(score)
    }
}
