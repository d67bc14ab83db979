//! Scoring of the dev sets, decoded as in a stream, during training.

use std::path::PathBuf;
use std::sync::Arc;

use super::recipe::{Dev, Measure, Recipe};
use super::threads::in_threads;
use crate::decode::{DecoderFactory, DecoderOptions, Onsets, Rejection, RejectionContext, Unit, lexicon};
use crate::error::Result;
use crate::eval::{Edits, Score, Scorer, worst_first};
use crate::model::forward::log_softmax;
use crate::model::{PackedSequence, PackedWeights, Workspace};
use crate::text::TokenTable;
use crate::text::tokens::WORD_START;

/// Number of utterances with errors that a score describes.
const WORST: usize = 10;
/// Maximum number of steps that the network runs at once, so that the activations of a long recording need not be in memory.
const MAX_STEPS: usize = 4096;

/// A dev set in memory: features and reference transcripts.
pub struct DevSet {
    /// The recipe's table.
    pub dev: Dev,
    scorer: Scorer,
    utterances: Vec<DevUtterance>,
    seconds: f64,
}

/// An utterance of a dev set.
pub struct DevUtterance {
    /// Features, `[U * S, F]`, with the silence at the end.
    pub features: Arc<[f32]>,
    /// Reference transcript.
    pub text: String,
    /// The recording.
    pub audio: PathBuf,
    /// Begin of the utterance in the recording, seconds.
    pub offset: Option<f64>,
    /// Its duration according to the manifest, seconds.
    pub duration: Option<f64>,
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
    /// The utterances with the highest error rates, the worst first.
    pub worst: Vec<ScoredUtterance>,
}

/// An utterance that was recognized with errors.
#[derive(Clone, Debug)]
pub struct ScoredUtterance {
    /// Its number in the dev set, from 0.
    pub number: usize,
    /// The recording.
    pub audio: PathBuf,
    /// Begin of the utterance in the recording, seconds.
    pub offset: Option<f64>,
    /// Its duration according to the manifest, seconds.
    pub duration: Option<f64>,
    /// Edits of words.
    pub words: Edits,
    /// Pairs of reference and recognized words; one of them is empty for deletions and insertions.
    pub alignment: Vec<(String, String)>,
    /// The recognized units (words, or tokens of a model without a lexicon) with begin and end, seconds.
    pub times: Vec<(String, f64, f64)>,
}

/// The score of a part of a dev set.
#[derive(Default)]
struct PartScore {
    score: Score,
    worst: Vec<ScoredUtterance>,
}

impl PartScore {
    fn add(&mut self, other: PartScore) {
        self.score.merge(&other.score);
        self.worst.extend(other.worst);
        self.worst.sort_by(|a, b| worst_first(&a.words, &b.words).then(a.number.cmp(&b.number)));
        self.worst.truncate(WORST);
    }
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

    /// Adds an utterance of this duration in seconds.
    pub fn push(&mut self, utterance: DevUtterance, seconds: f64) {
        self.utterances.push(utterance);
        self.seconds += seconds;
    }

    /// The features of an utterance, `[U * S, F]`.
    pub fn features(&self, number: usize) -> Option<&[f32]> {
        self.utterances.get(number).map(|utterance| &*utterance.features)
    }

    /// Whether the set has no score: an error rate over no words, or false words in no time.
    pub fn has_no_score(&self) -> bool {
        match self.dev.measure {
            Measure::Error => self.utterances.iter().all(|utterance| utterance.text.is_empty()),
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
        let score_part = |(at, part): (usize, &[DevUtterance])| {
            self.score_part(at * share, part, weights, recipe, tokens, options)
        };
        let mut all = PartScore::default();
        for part in in_threads(self.utterances.chunks(share).enumerate(), score_part)? {
            all.add(part?);
        }
        let PartScore { score, worst } = all;
        let false_words_per_hour =
            (self.seconds > 0.0).then(|| score.words.false_units() as f64 / (self.seconds / 3600.0));
        let measure = match self.dev.measure {
            Measure::Error => score.wer(),
            Measure::Rejection => false_words_per_hour.map(|rate| rate / 100.0),
        };
        let weighted = measure.filter(|_| self.dev.weight > 0.0).map(|measure| self.dev.weight * measure);
        Ok(DevScore { manifest: self.dev.manifest.clone(), score, false_words_per_hour, weighted, worst })
    }

    /// Scores the utterances of `part`, which begins with number `first`.
    fn score_part(
        &self,
        first: usize,
        part: &[DevUtterance],
        weights: &PackedWeights<f32>,
        recipe: &Recipe,
        tokens: &TokenTable,
        options: &DecoderOptions,
    ) -> Result<PartScore> {
        let width = recipe.network.subsampling * recipe.features.num_mel_bins;
        let frame_ms = recipe.network.subsampling as f64 * f64::from(recipe.features.frame_shift_ms);
        let written = lexicon::words(options);
        let decoders = DecoderFactory::new(tokens, options, frame_ms / 1000.0)?;
        let text_of = |unit: Unit| match unit {
            Unit::Token(id) => tokens.token(id.0).unwrap_or_default().replace(WORD_START, " "),
            Unit::Word(id) => format!(" {}", written[id.0 as usize]),
        };
        let rejection = options.rejection.map(|r| Rejection::new(&r, frame_ms / 1000.0));
        let (mut workspace, mut logits, mut sum) = (Workspace::default(), Vec::new(), PartScore::default());
        for (number, utterance) in part.iter().enumerate() {
            let DevUtterance { features, text, audio, offset, duration } = utterance;
            let mut states = weights.zero_states(1);
            let (mut decoder, mut onsets) = (decoders.decoder(), Onsets::default());
            for features in features.chunks(MAX_STEPS * width) {
                let steps = PackedSequence::uniform(1, features.len() / width);
                weights.forward(features, &steps, &mut states, &mut workspace, None);
                weights.logits(&workspace, 0, &mut logits);
                log_softmax(&mut logits, tokens.len());
                for frame in logits.chunks_exact(tokens.len()) {
                    decoder.push(frame);
                    onsets.push(decoder.likeliest());
                }
            }
            let mut words = decoder.end_segment();
            if let Some(rejection) = rejection {
                let kept = rejection
                    .accepted(&words, RejectionContext { preceding: &[], following: &[], onsets: &onsets });
                words = words.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(word, _)| word).collect();
            }
            let decoded: String = words.iter().map(|span| text_of(span.unit)).collect();
            let score = self.scorer.score(text, &decoded);
            let is_wrong = score.words.errors() > 0;
            let seconds = |frame: u64| frame as f64 * frame_ms / 1000.0;
            let scored = || ScoredUtterance {
                number: first + number,
                audio: audio.clone(),
                offset: *offset,
                duration: *duration,
                words: score.words,
                alignment: self.scorer.alignment(text, &decoded),
                times: words.iter().map(|w| (text_of(w.unit), seconds(w.start), seconds(w.end))).collect(),
            };
            let worst = is_wrong.then(scored).into_iter().collect();
            sum.add(PartScore { score, worst });
        }
        Ok(sum)
    }
}
