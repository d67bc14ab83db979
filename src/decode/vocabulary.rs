//! What the searches of all streams of a model share: lexicon tree, language model, costs and beam.

use std::sync::Arc;

use super::hotwords::{ContextGraph, HotwordModel};
use super::language_model::LanguageModel;
use super::lexicon::Lexicon;
use super::{DecoderOptions, TokenBias, TokenId, WordId};
use crate::text::TokenTable;

/// Pruning thresholds of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beam {
    /// Difference from the best score beyond which a path is pruned, nats.
    pub margin: f32,
    /// Maximum number of paths that are kept after a frame (histogram pruning).
    pub max_active: usize,
}

impl Default for Beam {
    fn default() -> Self {
        Self { margin: 24.0, max_active: 4000 }
    }
}

impl Beam {
    /// A beam without pruning.
    pub const EXACT: Self = Self { margin: f32::INFINITY, max_active: usize::MAX };
}

/// The parts that the searches of all streams of a model share: lexicon tree, language model and costs.
pub struct Vocabulary {
    pub(super) lexicon: Arc<Lexicon>,
    pub(super) language_model: Arc<dyn LanguageModel>,
    /// For each node, the minimum look-ahead cost of the words at or below it.
    pub(super) look_ahead: Vec<f32>,
    pub(super) bias: TokenBias,
    pub(super) costs: Costs,
    pub(super) beam: Beam,
}

/// Costs of out-of-vocabulary speech, nats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Costs {
    pub filler_entry: f32,
    pub filler_label: f32,
    /// Number of successive blanks that form a pause, at least 1.
    pub pause: u32,
}

impl Costs {
    pub fn new(options: &DecoderOptions, frame_seconds: f64) -> Self {
        Self {
            filler_entry: options.filler_entry_cost,
            filler_label: options.filler_label_cost,
            pause: pause_frames(options, frame_seconds),
        }
    }
}

/// Number of output frames of `frame_seconds` in a pause, which ends a stretch of out-of-vocabulary speech.
pub(crate) fn pause_frames(options: &DecoderOptions, frame_seconds: f64) -> u32 {
    let ms = options.rejection.unwrap_or_default().pause_ms;
    // Bounded, since each number of blanks is a separate place of the search.
    (f64::from(ms) / 1000.0 / frame_seconds.max(1e-6)).round().clamp(1.0, 250.0) as u32
}

impl Vocabulary {
    /// Creates the shared parts of a search over `lexicon`, with a model's options and output frames of
    /// `frame_seconds`.
    pub fn new(
        tokens: &TokenTable,
        lexicon: Lexicon,
        language_model: Arc<dyn LanguageModel>,
        options: &DecoderOptions,
        frame_seconds: f64,
        beam: Beam,
    ) -> Self {
        let look_ahead = lexicon.min_costs(|word| language_model.look_ahead(word));
        let bias = TokenBias::new(tokens, options);
        let (lexicon, costs) = (Arc::new(lexicon), Costs::new(options, frame_seconds));
        Self { lexicon, language_model, look_ahead, bias, costs, beam }
    }

    /// Creates the parts of the same search with hotwords, which replace those that it has. `names` and
    /// `pronunciations` are words to be added to the lexicon; their ids follow those of its words.
    pub fn with_hotwords(
        &self,
        names: &[String],
        pronunciations: Vec<(Vec<TokenId>, WordId)>,
        graph: ContextGraph,
    ) -> Self {
        let inner = self.language_model.without_hotwords();
        let inner = inner.unwrap_or_else(|| Arc::clone(&self.language_model));
        self.with_words(names, pronunciations, Arc::new(HotwordModel::new(inner, graph)))
    }

    /// Creates the parts of a search with more words and another language model. `names` and `pronunciations` are the words
    /// to be added to the lexicon; their ids follow those of its words.
    pub fn with_words(
        &self,
        names: &[String],
        pronunciations: Vec<(Vec<TokenId>, WordId)>,
        language_model: Arc<dyn LanguageModel>,
    ) -> Self {
        let lexicon = match names {
            [] => Arc::clone(&self.lexicon),
            names => Arc::new(self.lexicon.with_words(names, pronunciations)),
        };
        let look_ahead = lexicon.min_costs(|word| language_model.look_ahead(word));
        Self { lexicon, language_model, look_ahead, bias: self.bias.clone(), ..*self }
    }

    /// Disables the filler, so that all speech is recognized as words.
    pub fn without_filler(mut self) -> Self {
        self.costs.filler_entry = f32::INFINITY;
        self
    }

    /// The language model.
    pub fn language_model(&self) -> &Arc<dyn LanguageModel> {
        &self.language_model
    }

    /// The lexicon tree.
    pub fn lexicon(&self) -> &Lexicon {
        &self.lexicon
    }
}
