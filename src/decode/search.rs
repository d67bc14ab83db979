//! Token-passing beam search (Young, Russell, Thornton 1989) for the likeliest words, over the product of a
//! lexicon tree in CTC topology and a language model.
//!
//! A path is at one of these places and has a state of the language model:
//!
//! ```text
//!            ┌──────────── label ◄──► blank ────────────┐      within the tree of words
//!   gap ─────┤               │ word ends                ├───► next label …
//!    ▲ ▲     └───────────────▼──────────────────────────┘
//!    │ └──────────────────  end: the next word may begin without a blank, with another label
//!    │ pause
//!   filler    out-of-vocabulary speech, entered from gap or end at a cost; left by a word, or to gap by a pause
//! ```
//!
//! Out-of-vocabulary speech is modeled by a filler, which competes with the words. It takes the likeliest label of
//! each frame, at a cost for the entry and a cost per label. After a pause, a path is in the gap again, so that further
//! out-of-vocabulary speech costs another entry.
//!
//! Of several paths at the same place with the same state only the best is kept, since the cost of any continuation
//! is the same for all of them. Time and memory per frame do not grow with the length of the stream: scores are kept
//! near zero, and the words of all paths are a tree of back pointers, whose unused nodes are removed.

use std::collections::HashSet;
use std::sync::Arc;

use super::history::EMPTY_HISTORY;
use super::nbest::{AlternativeList, AlternativeLists};
use super::paths::{HistoryArena, PartialWord, Path, Paths, Place};
use super::vocabulary::{Beam, Vocabulary};
use super::{Decoder, Hypothesis, TokenId, Unit, UnitSpan};

/// Margin in nats with which a path outside words is preferred to a better one inside a word when a segment ends.
const UNFINISHED_MARGIN: f32 = 4.0;

/// An output frame of the network.
struct Frame<'a> {
    /// Log-probabilities without bias, `[V]`.
    log_probs: &'a [f32],
    bias: &'a [f32],
    blank: f32,
    /// Log-probability of the likeliest token, with bias.
    best: f32,
    /// Whether the likeliest token is not the blank.
    speech: bool,
    /// Whether the likeliest token is the same as in the previous frame.
    repeated: bool,
    /// Index of the frame in the stream.
    at: u64,
}

/// Decoder that searches one stream for words of a lexicon.
pub struct Search {
    vocabulary: Arc<Vocabulary>,
    paths: Paths,
    /// Buffer for the paths at the next frame.
    next: Paths,
    /// The likeliest token of the last frame.
    likeliest: TokenId,
    arena: HistoryArena,
    frames: u64,
    revision: u64,
    /// History node of the last word of [`Decoder::best`].
    best_history: u32,
    /// Log-probabilities that replace those of a frame with NaN or infinity.
    silence: Vec<f32>,
    /// Total of the best scores, which were subtracted from all scores.
    #[cfg(test)]
    subtracted: f32,
}

impl Search {
    /// Creates a search at the beginning of a stream.
    pub fn new(vocabulary: Arc<Vocabulary>) -> Self {
        let blank = vocabulary.bias.blank();
        let silence =
            (0..vocabulary.lexicon.num_tokens()).map(|id| if id == blank.index() { 0.0 } else { -30.0 });
        let mut search = Self {
            paths: Paths::default(),
            next: Paths::default(),
            likeliest: blank,
            arena: HistoryArena::default(),
            frames: 0,
            revision: 0,
            best_history: EMPTY_HISTORY,
            silence: silence.collect(),
            #[cfg(test)]
            subtracted: 0.0,
            vocabulary,
        };
        search.reset();
        search
    }

    /// Sets the number of different word sequences that [`Decoder::hypotheses`] returns.
    pub fn with_nbest(mut self, n: usize) -> Self {
        self.arena.alternatives = AlternativeLists::nbest(n);
        self
    }

    fn push_frame(&mut self, log_probs: &[f32]) {
        let vocabulary = Arc::clone(&self.vocabulary);
        let silence = std::mem::take(&mut self.silence);
        let no_numbers = log_probs.iter().any(|&p| p.is_nan() || p == f32::INFINITY);
        let log_probs = if no_numbers { &silence } else { log_probs };
        let (likeliest, best) = vocabulary.bias.likeliest(log_probs);
        let blank = vocabulary.bias.blank();
        let frame = Frame {
            log_probs,
            bias: vocabulary.bias.values(),
            blank: log_probs[blank.index()] + vocabulary.bias.values()[blank.index()],
            best,
            speech: likeliest != blank,
            repeated: likeliest == self.likeliest,
            at: self.frames,
        };
        self.advance(&vocabulary, &frame);
        self.likeliest = likeliest;
        self.silence = silence;
        self.frames += 1;
        self.restart_if_empty(&vocabulary);
        self.end_words(&vocabulary);
        self.update_best();
        self.arena.compact(&mut self.paths.list, &mut self.best_history);
    }

    /// Extends every path by a frame.
    fn advance(&mut self, vocabulary: &Vocabulary, frame: &Frame<'_>) {
        self.next.clear();
        // All paths in out-of-vocabulary speech have the same state of the language model. The words that may follow
        // them cost the same, so that only the best of these paths begins words.
        let fillers = self.paths.list.iter().filter(|path| matches!(path.place, Place::Filler(_)));
        let filler = fillers.copied().reduce(|a, b| self.arena.merged(a, b));
        let mut step = Step { vocabulary, frame, next: &mut self.next, arena: &mut self.arena };
        if let Some(path) = filler {
            step.enter_words(&path, None);
        }
        for path in &self.paths.list {
            match path.place {
                Place::Label(node) => step.leave_label(path, node),
                Place::Blank(node) => step.leave_blank(path, node),
                Place::End(label) => step.leave_gap(path, Some(label)),
                Place::Gap => step.leave_gap(path, None),
                Place::Filler(blanks) => step.leave_filler(path, blanks),
            }
        }
        std::mem::swap(&mut self.paths, &mut self.next);
        self.prune(vocabulary.beam);
    }

    /// Prunes paths, and subtracts the best score from all scores, so that these lose no precision in streams of
    /// hours.
    fn prune(&mut self, beam: Beam) {
        let Paths { list, best, .. } = &mut self.paths;
        list.retain(|path| path.score >= *best - beam.margin);
        if list.len() > beam.max_active {
            list.select_nth_unstable_by(beam.max_active, |a, b| b.score.total_cmp(&a.score));
            list.truncate(beam.max_active);
        }
        list.iter_mut().for_each(|path| path.score -= *best);
        // The best path is extended first, so that bad extensions of the others are rejected at once.
        if let Some(first) = list.iter().position(|path| path.score == 0.0) {
            list.swap(0, first);
        }
        #[cfg(test)]
        if best.is_finite() {
            self.subtracted += *best;
        }
    }

    /// Begins a new path after the words found so far if there is no path, which happens if the network gives
    /// probability 0 to every label that could follow.
    fn restart_if_empty(&mut self, vocabulary: &Vocabulary) {
        if self.paths.list.is_empty() {
            self.paths.list.push(Path::start(vocabulary.language_model.start(), self.best_history));
        }
    }

    /// Adds the paths whose words end with the label of this frame.
    fn end_words(&mut self, vocabulary: &Vocabulary) {
        let lexicon = &vocabulary.lexicon;
        let ends = &mut self.next;
        ends.clear();
        // The best score is 0 after pruning.
        ends.best = 0.0;
        for path in &self.paths.list {
            let Place::Label(node) = path.place else { continue };
            let log_prob = (path.word.sum + path.word.peak) / lexicon.node(node).depth as f32;
            for &id in lexicon.words_at(node) {
                let Some((cost, lm)) = vocabulary.language_model.next(path.lm, id) else { continue };
                let score = path.score - (cost - vocabulary.look_ahead[node as usize]);
                if ends.is_within_beam(score, vocabulary.beam.margin) {
                    let start = path.word.start;
                    let word = UnitSpan { unit: Unit::Word(id), start, end: self.frames, log_prob };
                    let place = Place::End(lexicon.node(node).token);
                    let path = self.arena.with_word(Path { place, lm, score, ..*path }, word);
                    ends.add(path, vocabulary.beam.margin, &mut self.arena);
                }
            }
        }
        self.paths.list.append(&mut ends.list);
    }

    fn update_best(&mut self) {
        let best = self.best_path(false).history;
        if best != self.best_history {
            self.best_history = best;
            self.revision += 1;
        }
    }

    /// The best path. With `must_end`, only paths outside words are compared, and their scores include the language
    /// model's cost of an end. Among paths with equal scores, one outside words is preferred.
    fn best_path(&self, must_end: bool) -> Path {
        let mut best: Option<(f32, bool, &Path)> = None;
        for path in &self.paths.list {
            let within = path.is_within_word();
            let end = match (must_end, within) {
                (false, _) => Some(0.0),
                (true, true) => None,
                (true, false) => self.vocabulary.language_model.end(path.lm),
            };
            let Some(end) = end else { continue };
            let score = path.score - end;
            let better = |(best, best_within, _): &(f32, bool, &Path)| {
                score > *best || (score == *best && *best_within && !within)
            };
            if best.as_ref().is_none_or(better) {
                best = Some((score, within, path));
            }
        }
        let start = self.vocabulary.language_model.start();
        let nothing = Path { score: f32::NEG_INFINITY, ..Path::start(start, EMPTY_HISTORY) };
        best.map_or(nothing, |(_, _, path)| *path)
    }

    /// The path whose words a segment has if it ends here, and whether that path is outside words. An incomplete word
    /// belongs to the next segment, unless a path outside words is nearly as good ([`UNFINISHED_MARGIN`]).
    fn last_path(&self) -> (Path, bool) {
        let (complete, any) = (self.best_path(true), self.best_path(false));
        let is_complete = complete.score + UNFINISHED_MARGIN >= any.score;
        (if is_complete { complete } else { any }, is_complete)
    }

    /// Scores and last words of the n best word sequences, best first, compared as by [`Search::best_path`]. Among
    /// equal scores, `first` comes first.
    fn best_sequences(&self, must_end: bool, first: u32) -> Vec<(f32, u32)> {
        let HistoryArena { history, alternatives } = &self.arena;
        let mut found = Vec::new();
        for path in self.paths.list.iter().filter(|path| !must_end || !path.is_within_word()) {
            let end = if must_end { self.vocabulary.language_model.end(path.lm) } else { Some(0.0) };
            let Some(score) = end.map(|end| path.score - end) else { continue };
            found.push((score, path.history));
            found.extend(alternatives.sequences_of(path.alternatives).map(|(gap, last)| (score - gap, last)));
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then((b.1 == first).cmp(&(a.1 == first))));
        let mut known = HashSet::new();
        found.retain(|(_, last)| known.insert(history.sequence(*last)));
        found.truncate(alternatives.max_sequences());
        found
    }
}

/// The transitions of the search in one frame.
struct Step<'a> {
    vocabulary: &'a Vocabulary,
    frame: &'a Frame<'a>,
    next: &'a mut Paths,
    arena: &'a mut HistoryArena,
}

impl Step<'_> {
    fn add(&mut self, path: Path) {
        self.next.add(path, self.vocabulary.beam.margin, self.arena);
    }

    /// Log-probability of a label in this frame, with bias.
    fn label(&self, token: TokenId) -> f32 {
        self.frame.log_probs[token.index()] + self.frame.bias[token.index()]
    }

    fn leave_label(&mut self, path: &Path, node: u32) {
        let lexicon = &self.vocabulary.lexicon;
        let here = lexicon.node(node);
        let log_prob = self.frame.log_probs[here.token.index()];
        let word = PartialWord { peak: path.word.peak.max(log_prob), ..path.word };
        self.add(Path { score: path.score + self.label(here.token), word, ..*path });
        if here.children.is_empty() {
            return;
        }
        self.blank_within(path, node);
        for child in here.children.clone() {
            if lexicon.node(child).token != here.token {
                self.enter_child(path, node, child);
            }
        }
    }

    fn leave_blank(&mut self, path: &Path, node: u32) {
        self.blank_within(path, node);
        for child in self.vocabulary.lexicon.node(node).children.clone() {
            self.enter_child(path, node, child);
        }
    }

    fn blank_within(&mut self, path: &Path, node: u32) {
        let score = path.score + self.frame.blank;
        self.add(Path { place: Place::Blank(node), score, ..*path });
    }

    fn enter_child(&mut self, path: &Path, node: u32, child: u32) {
        let Vocabulary { lexicon, look_ahead, .. } = self.vocabulary;
        let token = lexicon.node(child).token;
        let look_ahead_change = look_ahead[child as usize] - look_ahead[node as usize];
        let score = path.score - look_ahead_change + self.label(token);
        let log_prob = self.frame.log_probs[token.index()];
        let word = PartialWord { sum: path.word.sum + path.word.peak, peak: log_prob, ..path.word };
        self.add(Path { place: Place::Label(child), score, word, ..*path });
    }

    /// Begins words. Words that begin with the label `last` are skipped: without a blank between them, CTC would merge
    /// the two labels.
    fn enter_words(&mut self, path: &Path, last: Option<TokenId>) {
        let Vocabulary { lexicon, look_ahead, .. } = self.vocabulary;
        for root in lexicon.roots() {
            let token = lexicon.node(root).token;
            if Some(token) == last {
                continue;
            }
            let score = path.score - look_ahead[root as usize] + self.label(token);
            let log_prob = self.frame.log_probs[token.index()];
            let word = PartialWord { start: self.frame.at, sum: 0.0, peak: log_prob };
            self.add(Path { place: Place::Label(root), score, word, ..*path });
        }
    }

    fn leave_gap(&mut self, path: &Path, last: Option<TokenId>) {
        self.add(Path { place: Place::Gap, score: path.score + self.frame.blank, ..*path });
        self.enter_words(path, last);
        if self.frame.speech {
            self.enter_filler(path);
        }
    }

    /// Begins out-of-vocabulary speech with this frame.
    fn enter_filler(&mut self, path: &Path) {
        let Vocabulary { language_model, costs, .. } = self.vocabulary;
        if costs.filler_entry == f32::INFINITY {
            return;
        }
        let Some(end) = language_model.end(path.lm) else { return };
        let score = path.score - end - costs.filler_entry - costs.filler_label + self.frame.best;
        let (place, lm) = (Place::Filler(0), language_model.start());
        self.add(Path { place, lm, score, ..*path });
    }

    fn leave_filler(&mut self, path: &Path, blanks: u32) {
        let costs = &self.vocabulary.costs;
        if self.frame.speech {
            let goes_on = blanks == 0 && self.frame.repeated;
            let cost = if goes_on { 0.0 } else { costs.filler_label };
            let score = path.score + self.frame.best - cost;
            self.add(Path { place: Place::Filler(0), score, ..*path });
        } else {
            let place = if blanks + 1 < costs.pause { Place::Filler(blanks + 1) } else { Place::Gap };
            self.add(Path { place, score: path.score + self.frame.blank, ..*path });
        }
    }
}

impl Decoder for Search {
    fn push(&mut self, log_probs: &[f32]) {
        for frame in log_probs.chunks_exact(self.vocabulary.lexicon.num_tokens()) {
            self.push_frame(frame);
        }
    }

    fn best(&self) -> Vec<UnitSpan> {
        self.arena.history.words(self.best_history)
    }

    fn open_since(&self) -> Option<u64> {
        self.arena.history.fork(self.paths.list.iter().map(|path| path.history))
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn num_frames(&self) -> u64 {
        self.frames
    }

    fn hypotheses(&self) -> Vec<Hypothesis> {
        if !self.arena.alternatives.is_enabled() {
            return Vec::new();
        }
        let (best, is_complete) = self.last_path();
        let found = self.best_sequences(is_complete, best.history);
        let first = found.first().map_or(0.0, |(score, _)| *score);
        let units = |last| self.arena.history.words(last);
        found
            .into_iter()
            .map(|(score, last)| Hypothesis { score: score - first, units: units(last) })
            .collect()
    }

    fn end_segment(&mut self) -> Vec<UnitSpan> {
        let (best, _) = self.last_path();
        let units = self.arena.history.words(best.history);
        self.paths.list.retain(|path| path.history == best.history);
        // A path between words begins a new sentence.
        let start = self.vocabulary.language_model.start();
        for path in &mut self.paths.list {
            (path.history, path.alternatives) = (EMPTY_HISTORY, AlternativeList::default());
            if !path.is_within_word() {
                path.lm = start;
            }
        }
        self.arena.clear();
        self.best_history = EMPTY_HISTORY;
        self.revision += 1;
        let vocabulary = Arc::clone(&self.vocabulary);
        self.restart_if_empty(&vocabulary);
        units
    }

    /// Prunes the paths whose first words differ from those that are returned.
    fn end_segment_before(&mut self, first: u64) -> Vec<UnitSpan> {
        let HistoryArena { history, alternatives } = &mut self.arena;
        let last = history.last_before(self.best_history, first);
        self.revision += 1;
        if last == EMPTY_HISTORY {
            return Vec::new();
        }
        let units = history.words(last);
        let agrees = history.cut(last);
        let agrees = |at: u32| agrees.get(at as usize) == Some(&true);
        let rebased = |at: u32| if at == last { EMPTY_HISTORY } else { at };
        self.paths.list.retain(|path| agrees(path.history));
        for path in &mut self.paths.list {
            path.history = rebased(path.history);
            path.alternatives =
                alternatives.map_histories(path.alternatives, |at| agrees(at).then(|| rebased(at)));
        }
        self.best_history = rebased(self.best_history);
        let histories = self.paths.list.iter_mut().map(|path| &mut path.history);
        history.compact(histories.chain([&mut self.best_history]).chain(alternatives.histories()));
        units
    }

    fn likeliest(&self) -> Option<TokenId> {
        Some(self.likeliest).filter(|&token| token != self.vocabulary.bias.blank())
    }

    fn follows_other_speech(&self) -> bool {
        let best = self.best_path(false);
        matches!(best.place, Place::Filler(_))
    }

    fn reset(&mut self) {
        self.paths.clear();
        self.arena.clear();
        self.likeliest = self.vocabulary.bias.blank();
        self.frames = 0;
        self.best_history = EMPTY_HISTORY;
        self.revision += 1;
        let vocabulary = Arc::clone(&self.vocabulary);
        self.restart_if_empty(&vocabulary);
    }

    fn begin_at(&mut self, frame: u64) {
        self.frames = frame;
    }
}

#[cfg(test)]
mod tests;
