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

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::history::{History, NOTHING};
use super::language_model::{LanguageModel, LmState};
use super::lexicon::Lexicon;
use super::nbest::{OtherLists, Others, Sequences};
use super::{Decoder, DecoderOptions, Hypothesis, TokenBias, TokenId, Unit, UnitSpan};
use crate::text::TokenTable;

/// Margin in nats with which a path outside words is preferred to a better one inside a word when a segment ends.
const UNFINISHED_MARGIN: f32 = 4.0;

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
    lexicon: Lexicon,
    language_model: Arc<dyn LanguageModel>,
    /// For each node, the minimum look-ahead cost of the words at or below it.
    look_ahead: Vec<f32>,
    bias: TokenBias,
    costs: Costs,
    beam: Beam,
}

/// Costs of out-of-vocabulary speech, nats.
#[derive(Clone, Copy, Debug)]
struct Costs {
    filler_entry: f32,
    filler_label: f32,
    /// Number of successive blanks that form a pause, at least 1.
    pause: u32,
}

impl Costs {
    fn new(options: &DecoderOptions, frame_seconds: f64) -> Self {
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

/// The place of a path, which determines its possible continuations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// The label of a node.
    Label(u32),
    /// The blank after a node's label.
    Blank(u32),
    /// The end of a word whose last label is this.
    End(TokenId),
    /// Between words, after a blank or at the beginning.
    Gap,
    /// Out-of-vocabulary speech, followed by this number of blanks.
    Filler(u32),
}

/// The best path to a place with a state of the language model.
#[derive(Clone, Copy, Debug)]
struct Path {
    place: Place,
    lm: LmState,
    score: f32,
    /// History node of the last complete word, or [`NOTHING`].
    history: u32,
    /// The next best word sequences, if more than one hypothesis is requested.
    others: Others,
    /// The word that the path is inside of.
    word: Draft,
}

impl Path {
    /// A new path after the words of `history`.
    fn start(lm: LmState, history: u32) -> Self {
        Self { place: Place::Gap, lm, score: 0.0, history, others: Others::default(), word: NO_WORD }
    }

    fn is_within_word(&self) -> bool {
        matches!(self.place, Place::Label(_) | Place::Blank(_))
    }

    fn sequences(&self) -> Sequences {
        Sequences { history: self.history, others: self.others }
    }
}

/// The words of all paths.
#[derive(Clone, Debug, Default)]
struct Words {
    history: History,
    others: OtherLists,
}

impl Words {
    /// Merges two paths with the same place and state: the better one (the first if they are equal), with the word
    /// sequences of both.
    fn merged(&mut self, a: Path, b: Path) -> Path {
        let (better, worse) = if b.score > a.score { (b, a) } else { (a, b) };
        if !self.others.wanted() {
            return better;
        }
        let behind = better.score - worse.score;
        let (history, others) = (&self.history, &mut self.others);
        let others = others.merge(history, better.sequences(), worse.sequences(), behind);
        Path { others, ..better }
    }

    /// The path after `word`, which ends here.
    fn with_word(&mut self, path: Path, word: UnitSpan) -> Path {
        let history = self.history.push(path.history, word);
        let others = self.others.moved(path.others, |other| Some(self.history.push(other, word)));
        Path { history, others, word: NO_WORD, ..path }
    }

    /// Removes all words.
    fn clear(&mut self) {
        self.history.clear();
        self.others.clear();
    }

    /// Removes words that are neither on one of the paths nor before `shown`, if there are many of them.
    fn compact(&mut self, paths: &mut [Path], shown: &mut u32) {
        self.others.compact(paths.iter_mut().map(|path| &mut path.others));
        if self.history.wants_compaction() {
            let histories = paths.iter_mut().map(|path| &mut path.history).chain([shown]);
            self.history.compact(histories.chain(self.others.histories()));
        }
    }
}

/// A word that has begun and has not ended.
#[derive(Clone, Copy, Debug)]
struct Draft {
    /// First frame of the first label.
    start: u64,
    /// Sum of the maximum log-probabilities of the labels before the current one.
    sum: f32,
    /// Maximum log-probability of the current label so far.
    peak: f32,
}

const NO_WORD: Draft = Draft { start: 0, sum: 0.0, peak: f32::NEG_INFINITY };

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

/// The paths at a frame: the best one for each place and state.
#[derive(Clone, Debug, Default)]
struct Paths {
    list: Vec<Path>,
    index: HashMap<(Place, LmState), u32, BuildHasherDefault<PlaceHasher>>,
    best: f32,
}

impl Paths {
    fn clear(&mut self) {
        self.list.clear();
        self.index.clear();
        self.best = f32::NEG_INFINITY;
    }

    /// Whether a score is at most `margin` below the best.
    fn admits(&self, score: f32, margin: f32) -> bool {
        score > f32::NEG_INFINITY && score >= self.best - margin
    }

    /// Adds a path, unless its score is more than `margin` below the best; merges it with the path of the same place
    /// and state, if there is one.
    fn offer(&mut self, path: Path, margin: f32, words: &mut Words) {
        if !self.admits(path.score, margin) {
            return;
        }
        self.best = self.best.max(path.score);
        match self.index.entry((path.place, path.lm)) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(self.list.len() as u32);
                self.list.push(path);
            }
            std::collections::hash_map::Entry::Occupied(taken) => {
                let there = &mut self.list[*taken.get() as usize];
                *there = words.merged(*there, path);
            }
        }
    }
}

/// Hasher for a few integers: multiplication by an odd constant (Knuth's multiplicative hashing).
#[derive(Clone, Default)]
struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
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
        let look_ahead = lexicon.least_costs(|word| language_model.look_ahead(word));
        let bias = TokenBias::new(tokens, options);
        Self { lexicon, language_model, look_ahead, bias, costs: Costs::new(options, frame_seconds), beam }
    }

    /// Disables the filler, so that all speech is recognized as words.
    pub fn without_filler(mut self) -> Self {
        self.costs.filler_entry = f32::INFINITY;
        self
    }

    /// The lexicon tree.
    pub fn lexicon(&self) -> &Lexicon {
        &self.lexicon
    }
}

/// Decoder that searches one stream for words of a lexicon.
pub struct Search {
    vocabulary: Arc<Vocabulary>,
    paths: Paths,
    /// Buffer for the paths at the next frame.
    next: Paths,
    /// The likeliest token of the last frame.
    likeliest: TokenId,
    words: Words,
    frames: u64,
    revision: u64,
    /// History node of the last word of [`Decoder::best`].
    shown: u32,
    /// Log-probabilities that replace those of a frame with NaN or infinity.
    silence: Vec<f32>,
    /// Total of the best scores, which were subtracted from all scores.
    #[cfg(test)]
    taken_off: f32,
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
            words: Words::default(),
            frames: 0,
            revision: 0,
            shown: NOTHING,
            silence: silence.collect(),
            #[cfg(test)]
            taken_off: 0.0,
            vocabulary,
        };
        search.reset();
        search
    }

    /// Sets the number of different word sequences that [`Decoder::hypotheses`] returns.
    pub fn with_nbest(mut self, n: usize) -> Self {
        self.words.others = OtherLists::of_best(n);
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
        self.revive(&vocabulary);
        self.end_words(&vocabulary);
        self.show();
        self.words.compact(&mut self.paths.list, &mut self.shown);
    }

    /// Extends every path by a frame.
    fn advance(&mut self, vocabulary: &Vocabulary, frame: &Frame<'_>) {
        self.next.clear();
        // All paths in out-of-vocabulary speech have the same state of the language model. The words that may follow
        // them cost the same, so that only the best of these paths begins words.
        let fillers = self.paths.list.iter().filter(|path| matches!(path.place, Place::Filler(_)));
        let filler = fillers.copied().reduce(|a, b| self.words.merged(a, b));
        let mut step = Step { vocabulary, frame, next: &mut self.next, words: &mut self.words };
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
            self.taken_off += *best;
        }
    }

    /// Begins a new path after the words found so far if there is no path, which happens if the network gives
    /// probability 0 to every label that could follow.
    fn revive(&mut self, vocabulary: &Vocabulary) {
        if self.paths.list.is_empty() {
            self.paths.list.push(Path::start(vocabulary.language_model.start(), self.shown));
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
                if ends.admits(score, vocabulary.beam.margin) {
                    let start = path.word.start;
                    let word = UnitSpan { unit: Unit::Word(id), start, end: self.frames, log_prob };
                    let place = Place::End(lexicon.node(node).token);
                    let path = self.words.with_word(Path { place, lm, score, ..*path }, word);
                    ends.offer(path, vocabulary.beam.margin, &mut self.words);
                }
            }
        }
        self.paths.list.append(&mut ends.list);
    }

    fn show(&mut self) {
        let best = self.best_path(false).history;
        if best != self.shown {
            self.shown = best;
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
        let nothing = Path { score: f32::NEG_INFINITY, ..Path::start(start, NOTHING) };
        best.map_or(nothing, |(_, _, path)| *path)
    }

    /// The path whose words a segment has if it ends here, and whether that path is outside words. An incomplete word
    /// belongs to the next segment, unless a path outside words is nearly as good ([`UNFINISHED_MARGIN`]).
    fn last_path(&self) -> (Path, bool) {
        let (whole, any) = (self.best_path(true), self.best_path(false));
        let is_whole = whole.score + UNFINISHED_MARGIN >= any.score;
        (if is_whole { whole } else { any }, is_whole)
    }

    /// Scores and last words of the n best word sequences, best first, compared as by [`Search::best_path`]. Among
    /// equal scores, `first` comes first.
    fn best_sequences(&self, must_end: bool, first: u32) -> Vec<(f32, u32)> {
        let Words { history, others } = &self.words;
        let mut found = Vec::new();
        for path in self.paths.list.iter().filter(|path| !must_end || !path.is_within_word()) {
            let end = if must_end { self.vocabulary.language_model.end(path.lm) } else { Some(0.0) };
            let Some(score) = end.map(|end| path.score - end) else { continue };
            found.push((score, path.history));
            found.extend(others.of(path.others).map(|(behind, words)| (score - behind, words)));
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then((b.1 == first).cmp(&(a.1 == first))));
        let mut known = HashSet::new();
        found.retain(|(_, words)| known.insert(history.sequence(*words)));
        found.truncate(others.most());
        found
    }
}

/// The transitions of the search in one frame.
struct Step<'a> {
    vocabulary: &'a Vocabulary,
    frame: &'a Frame<'a>,
    next: &'a mut Paths,
    words: &'a mut Words,
}

impl Step<'_> {
    fn offer(&mut self, path: Path) {
        self.next.offer(path, self.vocabulary.beam.margin, self.words);
    }

    /// Log-probability of a label in this frame, with bias.
    fn label(&self, token: TokenId) -> f32 {
        self.frame.log_probs[token.index()] + self.frame.bias[token.index()]
    }

    fn leave_label(&mut self, path: &Path, node: u32) {
        let lexicon = &self.vocabulary.lexicon;
        let here = lexicon.node(node);
        let log_prob = self.frame.log_probs[here.token.index()];
        let word = Draft { peak: path.word.peak.max(log_prob), ..path.word };
        self.offer(Path { score: path.score + self.label(here.token), word, ..*path });
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
        self.offer(Path { place: Place::Blank(node), score, ..*path });
    }

    fn enter_child(&mut self, path: &Path, node: u32, child: u32) {
        let Vocabulary { lexicon, look_ahead, .. } = self.vocabulary;
        let token = lexicon.node(child).token;
        let foreseen = look_ahead[child as usize] - look_ahead[node as usize];
        let score = path.score - foreseen + self.label(token);
        let log_prob = self.frame.log_probs[token.index()];
        let word = Draft { sum: path.word.sum + path.word.peak, peak: log_prob, ..path.word };
        self.offer(Path { place: Place::Label(child), score, word, ..*path });
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
            let word = Draft { start: self.frame.at, sum: 0.0, peak: log_prob };
            self.offer(Path { place: Place::Label(root), score, word, ..*path });
        }
    }

    fn leave_gap(&mut self, path: &Path, last: Option<TokenId>) {
        self.offer(Path { place: Place::Gap, score: path.score + self.frame.blank, ..*path });
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
        self.offer(Path { place, lm, score, ..*path });
    }

    fn leave_filler(&mut self, path: &Path, blanks: u32) {
        let costs = &self.vocabulary.costs;
        if self.frame.speech {
            let goes_on = blanks == 0 && self.frame.repeated;
            let cost = if goes_on { 0.0 } else { costs.filler_label };
            let score = path.score + self.frame.best - cost;
            self.offer(Path { place: Place::Filler(0), score, ..*path });
        } else {
            let place = if blanks + 1 < costs.pause { Place::Filler(blanks + 1) } else { Place::Gap };
            self.offer(Path { place, score: path.score + self.frame.blank, ..*path });
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
        self.words.history.words(self.shown)
    }

    fn open_since(&self) -> Option<u64> {
        self.words.history.fork(self.paths.list.iter().map(|path| path.history))
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn num_frames(&self) -> u64 {
        self.frames
    }

    fn hypotheses(&self) -> Vec<Hypothesis> {
        if !self.words.others.wanted() {
            return Vec::new();
        }
        let (best, is_whole) = self.last_path();
        let found = self.best_sequences(is_whole, best.history);
        let first = found.first().map_or(0.0, |(score, _)| *score);
        let units = |words| self.words.history.words(words);
        found
            .into_iter()
            .map(|(score, words)| Hypothesis { score: score - first, units: units(words) })
            .collect()
    }

    fn end_segment(&mut self) -> Vec<UnitSpan> {
        let (best, _) = self.last_path();
        let words = self.words.history.words(best.history);
        self.paths.list.retain(|path| path.history == best.history);
        // A path between words begins a new sentence.
        let start = self.vocabulary.language_model.start();
        for path in &mut self.paths.list {
            (path.history, path.others) = (NOTHING, Others::default());
            if !path.is_within_word() {
                path.lm = start;
            }
        }
        self.words.clear();
        self.shown = NOTHING;
        self.revision += 1;
        let vocabulary = Arc::clone(&self.vocabulary);
        self.revive(&vocabulary);
        words
    }

    /// Prunes the paths whose first words differ from those that are returned.
    fn end_segment_before(&mut self, first: u64) -> Vec<UnitSpan> {
        let Words { history, others } = &mut self.words;
        let last = history.last_before(self.shown, first);
        self.revision += 1;
        if last == NOTHING {
            return Vec::new();
        }
        let words = history.words(last);
        let agrees = history.cut(last);
        let agrees = |at: u32| agrees.get(at as usize) == Some(&true);
        let behind = |at: u32| if at == last { NOTHING } else { at };
        self.paths.list.retain(|path| agrees(path.history));
        for path in &mut self.paths.list {
            path.history = behind(path.history);
            path.others = others.moved(path.others, |at| agrees(at).then(|| behind(at)));
        }
        self.shown = behind(self.shown);
        let histories = self.paths.list.iter_mut().map(|path| &mut path.history);
        history.compact(histories.chain([&mut self.shown]).chain(others.histories()));
        words
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
        self.words.clear();
        self.likeliest = self.vocabulary.bias.blank();
        self.frames = 0;
        self.shown = NOTHING;
        self.revision += 1;
        let vocabulary = Arc::clone(&self.vocabulary);
        self.revive(&vocabulary);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::collections::BTreeMap;
    use std::path::Path as FilePath;

    use super::super::{
        ContextGraph, HotwordModel, NgramLanguageModel, NgramWeights, Pronunciation, RejectionOptions,
        WordId, WordLoop,
    };
    use super::*;
    use crate::text::ngram::{EstimateOptions, NgramModel, Text, TrieBuilder, VocabularyLimit};

    /// A token table: blank, a, b, c, d.
    fn table() -> TokenTable {
        TokenTable::new(["<blk>", "a", "b", "c", "d"].map(String::from).to_vec(), 0).expect("a good table")
    }

    fn lexicon(words: &[(&str, &str)]) -> Vec<Pronunciation> {
        let entry = |&(word, tokens): &(&str, &str)| Pronunciation {
            word: word.into(),
            tokens: tokens.chars().map(String::from).collect(),
        };
        words.iter().map(entry).collect()
    }

    fn vocabulary(
        lexicon: &[Pronunciation],
        language_model: Arc<dyn LanguageModel>,
        options: &DecoderOptions,
        beam: Beam,
    ) -> Arc<Vocabulary> {
        let tree = Lexicon::new(&table(), lexicon).expect("a good lexicon");
        Arc::new(Vocabulary::new(&table(), tree, language_model, options, 0.04, beam))
    }

    fn search(words: &[(&str, &str)]) -> Search {
        let options = DecoderOptions { filler_entry_cost: 2.0, filler_label_cost: 1.0, ..Default::default() };
        let words =
            vocabulary(&lexicon(words), Arc::new(WordLoop { word_cost: 0.0 }), &options, Beam::default());
        Search::new(words)
    }

    /// Frames with a probability of 0.9 for one token each.
    fn said(path: &[usize]) -> Vec<f32> {
        path.iter()
            .flat_map(|&best| (0..5).map(move |i| if i == best { 0.9f32.ln() } else { 0.025f32.ln() }))
            .collect()
    }

    fn ids(words: &[UnitSpan]) -> Vec<u32> {
        let id = |span: &UnitSpan| match span.unit {
            Unit::Word(id) => id.0,
            Unit::Token(token) => panic!("a token: {token:?}"),
        };
        words.iter().map(id).collect()
    }

    #[test]
    fn words_are_found_with_times_and_repeats_are_told_apart() {
        let mut search = search(&[("ab", "ab"), ("b", "b")]);
        search.push(&said(&[0, 1, 0, 2, 2, 0, 0, 1, 2, 1, 2, 0, 2, 0, 2, 2, 0]));
        let words = search.end_segment();
        assert_eq!(ids(&words), [0, 0, 0, 1, 1], "{words:?}");
        let spans: Vec<_> = words.iter().map(|t| (t.start, t.end)).collect();
        assert_eq!(spans, [(1, 5), (7, 9), (9, 11), (12, 13), (14, 16)]);
        assert!((words[0].log_prob - 0.9f32.ln()).abs() < 1e-5);
    }

    #[test]
    fn other_labels_go_to_the_filler_and_near_misses_to_the_word() {
        let mut search = search(&[("abc", "abc"), ("dab", "dab")]);
        search.push(&said(&[0, 3, 0, 4, 0, 3, 2, 0, 4, 3, 0]));
        assert_eq!(ids(&search.end_segment()), [0u32; 0]);
        // A pause ends the out-of-vocabulary speech.
        search.push(&said(&[0; 60]));
        search.push(&said(&[0, 1, 0, 2, 0, 4, 0, 0]));
        assert_eq!(ids(&search.end_segment()), [0], "one label of three is another");
    }

    #[test]
    fn a_cut_within_a_word_keeps_it_whole_for_the_next_segment() {
        let mut search = search(&[("ab", "ab"), ("cd", "cd")]);
        search.push(&said(&[1, 2, 0, 3, 3]));
        assert_eq!(ids(&search.end_segment()), [0]);
        search.push(&said(&[3, 4, 0]));
        let words = search.end_segment();
        assert_eq!((ids(&words), words[0].start), (vec![1], 3));
        search.push(&said(&[0, 0]));
        assert!(search.likeliest().is_none() && search.end_segment().is_empty());
    }

    #[test]
    fn a_cut_before_a_word_gives_what_stands_in_front_of_it_and_nothing_twice() {
        let mut search = search(&[("ab", "ab"), ("cd", "cd")]);
        search.push(&said(&[1, 2, 0, 3, 4, 0, 1, 2, 0]));
        let best = search.best();
        assert_eq!(ids(&best), [0, 1, 0]);
        assert_eq!(ids(&search.end_segment_before(best[2].start)), [0, 1]);
        assert_eq!(search.best(), best[2..]);
        assert!(search.end_segment_before(best[2].start).is_empty(), "there is nothing in front");
        search.push(&said(&[3, 4, 0]));
        assert_eq!(ids(&search.end_segment()), [0, 1]);
    }

    #[test]
    fn what_may_still_change_is_known() {
        let mut search = search(&[("ab", "ab"), ("abc", "abc"), ("d", "d")]);
        search.push(&said(&[0, 1, 2]));
        assert_eq!(ids(&search.best()), [0]);
        assert!(search.open_since() <= Some(1), "a `c` may follow");
        // After twenty words, paths with out-of-vocabulary speech in place of the first words are pruned.
        search.push(&said(&[0, 4].repeat(20)));
        let open = search.open_since().expect("the last words may still be other speech");
        assert!(open > 10 && open < search.num_frames(), "{open}");
        let settled = ids(&search.end_segment_before(open));
        assert!(settled.len() > 3 && settled[0] == 0, "{settled:?}");
    }

    #[test]
    fn long_streams_keep_only_what_leads_somewhere() {
        let mut search = search(&[("ab", "ab"), ("b", "b")]);
        for _ in 0..5000 {
            search.push(&said(&[0, 1, 2, 0]));
        }
        assert!(search.words.history.len() <= 3 * 5000 + 4096 + 16, "{}", search.words.history.len());
        assert_eq!(search.best().len(), 5000);
        assert!(ids(&search.best()).iter().all(|&id| id == 0));
    }

    #[test]
    fn frames_that_are_no_probabilities_lose_nothing() {
        let mut search = search(&[("a", "a")]);
        search.push(&said(&[0, 1, 0]));
        search.push(&[f32::NAN; 10]);
        search.push(&[f32::INFINITY; 5]);
        search.push(&[f32::NEG_INFINITY; 5]);
        search.push(&said(&[0, 1, 0]));
        assert_eq!(ids(&search.end_segment()), [0, 0]);
    }

    /// A language model whose costs differ for each pair of words, some of which are forbidden. Some words cannot be
    /// the last of a sentence.
    struct Pairs;

    impl LanguageModel for Pairs {
        fn start(&self) -> LmState {
            LmState(7)
        }

        fn next(&self, LmState(state): LmState, WordId(word): WordId) -> Option<(f32, LmState)> {
            let word = u64::from(word);
            let cost = 0.3 * ((state * 5 + word * 3) % 7) as f32;
            ((state + 2 * word) % 5 != 3).then_some((cost, LmState(word)))
        }

        fn end(&self, LmState(state): LmState) -> Option<f32> {
            (state != 1).then_some(0.1 * state as f32)
        }

        fn look_ahead(&self, WordId(word): WordId) -> f32 {
            0.2 * word as f32
        }
    }

    /// A 3-gram model of a few sentences of the tests' words.
    fn ngrams() -> NgramLanguageModel {
        let mut text = Text::default();
        let sentences = "ab a ab bb\na a ab\nbb ab a\nabc a ab bb ab\na ab bb\n";
        text.read(FilePath::new("test"), sentences.as_bytes(), |_| ()).expect("good sentences");
        let options = EstimateOptions::default();
        let (vocabulary, estimator) = text.count(&VocabularyLimit::None, &options).expect("a vocabulary");
        let mut builder = TrieBuilder::default();
        estimator.finish(&mut builder).expect("a model");
        let model = NgramModel { vocabulary, trie: builder.finish() };
        let weights = NgramWeights { scale: 0.7, word_cost: -0.3 };
        NgramLanguageModel::new(model, ["ab", "a", "bb", "abc"], weights)
    }

    /// A language model with boosts for three phrases of the tests' words.
    fn hotwords(inner: Arc<dyn LanguageModel>) -> Arc<dyn LanguageModel> {
        let phrases = [(&[0, 2][..], 1.5), (&[1][..], 0.7), (&[1, 0, 1][..], 2.0)];
        let ids = |words: &[u32]| words.iter().copied().map(WordId).collect();
        let graph = ContextGraph::new(phrases.map(|(words, boost)| (ids(words), boost)));
        Arc::new(HotwordModel::new(inner, graph))
    }

    /// Exhaustive search as a reference: no tree, no merging of paths, no pruning.
    struct Exhaustive<'a> {
        lexicon: &'a [Pronunciation],
        ids: Vec<WordId>,
        language_model: &'a dyn LanguageModel,
        costs: Costs,
        frames: &'a [[f32; 5]],
        /// Best score of each word sequence.
        found: BTreeMap<Vec<u32>, f32>,
    }

    #[derive(Clone, Copy)]
    enum At {
        Gap(Option<usize>),
        Filler(u32),
        Word { entry: usize, label: usize, blank: bool },
    }

    impl Exhaustive<'_> {
        fn label(&self, entry: usize, label: usize) -> usize {
            "_abcd".find(self.lexicon[entry].tokens[label].as_str()).expect("a token")
        }

        fn likeliest(&self, t: usize) -> usize {
            (0..5).rev().max_by(|&a, &b| self.frames[t][a].total_cmp(&self.frames[t][b])).expect("tokens")
        }

        fn explore(&mut self, t: usize, at: At, lm: LmState, score: f32, words: &[WordId]) {
            if let At::Word { entry, label, blank: false } = at
                && label + 1 == self.lexicon[entry].tokens.len()
                && let Some((cost, lm)) = self.language_model.next(lm, self.ids[entry])
            {
                let last = Some(self.label(entry, label));
                let words = [words, &[self.ids[entry]]].concat();
                self.explore(t, At::Gap(last), lm, score - cost, &words);
            }
            if t == self.frames.len() {
                if !matches!(at, At::Word { .. })
                    && let Some(end) = self.language_model.end(lm)
                {
                    let words = words.iter().map(|id| id.0).collect();
                    let best = self.found.entry(words).or_insert(f32::NEG_INFINITY);
                    *best = best.max(score - end);
                }
                return;
            }
            let (x, likeliest, costs) = (self.frames[t], self.likeliest(t), self.costs);
            let filler = score + x[likeliest];
            match at {
                At::Gap(last) => {
                    self.explore(t + 1, At::Gap(None), lm, score + x[0], words);
                    self.enter(t, lm, score, last, words);
                    if let (true, Some(end)) = (likeliest != 0, self.language_model.end(lm)) {
                        let cost = costs.filler_entry + costs.filler_label + end;
                        self.explore(t + 1, At::Filler(0), self.language_model.start(), filler - cost, words);
                    }
                }
                At::Filler(blanks) => {
                    if likeliest != 0 {
                        let goes_on = blanks == 0 && likeliest == self.likeliest(t - 1);
                        let cost = if goes_on { 0.0 } else { costs.filler_label };
                        self.explore(t + 1, At::Filler(0), lm, filler - cost, words);
                    } else {
                        let pauses = blanks + 1 >= costs.pause;
                        let next = if pauses { At::Gap(None) } else { At::Filler(blanks + 1) };
                        self.explore(t + 1, next, lm, score + x[0], words);
                    }
                    self.enter(t, lm, score, None, words);
                }
                At::Word { entry, label, blank } => {
                    let (here, last) = (self.label(entry, label), self.lexicon[entry].tokens.len() - 1);
                    if !blank {
                        self.explore(t + 1, at, lm, score + x[here], words);
                    }
                    if label < last {
                        let pause = At::Word { entry, label, blank: true };
                        self.explore(t + 1, pause, lm, score + x[0], words);
                        let next = self.label(entry, label + 1);
                        if blank || next != here {
                            let on = At::Word { entry, label: label + 1, blank: false };
                            self.explore(t + 1, on, lm, score + x[next], words);
                        }
                    }
                }
            }
        }

        fn enter(&mut self, t: usize, lm: LmState, score: f32, last: Option<usize>, words: &[WordId]) {
            for entry in 0..self.lexicon.len() {
                let first = self.label(entry, 0);
                if Some(first) != last {
                    let score = score + self.frames[t][first];
                    self.explore(t + 1, At::Word { entry, label: 0, blank: false }, lm, score, words);
                }
            }
        }
    }

    fn frame() -> impl Strategy<Value = [f32; 5]> {
        prop::array::uniform5(0.01f32..1.0).prop_map(|weights| {
            let sum: f32 = weights.iter().map(|w| w * w).sum();
            weights.map(|w| (w * w / sum).ln())
        })
    }

    fn rejection() -> impl Strategy<Value = Option<RejectionOptions>> {
        let some = (40u32..130).prop_map(|pause_ms| RejectionOptions { pause_ms, ..Default::default() });
        prop::option::of(some)
    }

    proptest! {
        #[test]
        fn the_best_words_are_those_of_an_exhaustive_search(
            frames in prop::collection::vec(frame(), 1..6), rejection in rejection(),
            model in 0..5, entry in 0.0f32..2.0, label in 0.0f32..1.0
        ) {
            let words = lexicon(&[("ab", "ab"), ("a", "a"), ("bb", "bb"), ("abc", "ac"), ("ab", "b")]);
            let options = DecoderOptions {
                rejection, filler_entry_cost: entry, filler_label_cost: label, ..Default::default()
            };
            let model: Arc<dyn LanguageModel> = match model {
                0 => Arc::new(Pairs),
                1 => Arc::new(WordLoop { word_cost: 0.4 }),
                2 => Arc::new(ngrams()),
                3 => hotwords(Arc::new(ngrams())),
                _ => hotwords(Arc::new(Pairs)),
            };
            let mut exhaustive = Exhaustive {
                lexicon: &words,
                ids: [0, 1, 2, 3, 0].map(WordId).to_vec(),
                language_model: &*model,
                costs: Costs::new(&options, 0.04),
                frames: &frames,
                found: BTreeMap::new(),
            };
            exhaustive.explore(0, At::Gap(None), model.start(), 0.0, &[]);
            let mut expected: Vec<(f32, Vec<u32>)> =
                exhaustive.found.into_iter().map(|(words, score)| (score, words)).collect();
            expected.sort_by(|a, b| b.0.total_cmp(&a.0));
            for (margin, n) in [(f32::INFINITY, 1), (1e4, 1), (f32::INFINITY, 2), (f32::INFINITY, 20)] {
                let beam = Beam { margin, ..Beam::EXACT };
                let shared = vocabulary(&words, Arc::clone(&model), &options, beam);
                let mut search = Search::new(shared).with_nbest(n);
                search.push(&frames.concat());
                let best = search.best_path(true);
                let found = search.best_sequences(true, best.history);
                prop_assert_eq!(found[0].1, best.history);
                prop_assert_eq!(found.len(), n.min(expected.len()));
                for (at, ((score, history), (best, sequence))) in found.into_iter().zip(&expected).enumerate() {
                    let score = score + search.taken_off;
                    prop_assert!((score - best).abs() < 1e-3, "{at}: {score} {expected:?}");
                    let alone = expected.iter().filter(|(other, _)| (other - best).abs() < 2e-3).count() == 1;
                    let found = ids(&search.words.history.words(history));
                    prop_assert!(!alone || found == *sequence, "{at}: {found:?} {expected:?}");
                }
            }
        }

        #[test]
        fn any_chunking_and_any_cuts_give_the_same_words(
            frames in prop::collection::vec(frame(), 0..80), sizes in prop::collection::vec(1usize..9, 1..20),
            rejection in rejection(), model in 0..3, n in 1usize..4
        ) {
            let words = lexicon(&[("ab", "ab"), ("a", "a"), ("bb", "bb"), ("abc", "ac"), ("ab", "b")]);
            let options = DecoderOptions { rejection, ..Default::default() };
            let beam = Beam { margin: 6.0, ..Beam::EXACT };
            let model: Arc<dyn LanguageModel> = match model {
                0 => Arc::new(WordLoop { word_cost: 0.4 }),
                1 => Arc::new(ngrams()),
                _ => hotwords(Arc::new(ngrams())),
            };
            let shared = vocabulary(&words, model, &options, beam);
            let mut whole = Search::new(Arc::clone(&shared));
            whole.push(&frames.concat());
            let expected = whole.end_segment();
            let mut search = Search::new(Arc::clone(&shared)).with_nbest(n);
            let (mut given, mut rest) = (Vec::new(), &frames[..]);
            for size in sizes.iter().cycle() {
                let (now, later) = rest.split_at((*size).min(rest.len()));
                search.push(&now.concat());
                given.extend(search.end_segment_before(search.open_since().unwrap_or(u64::MAX)));
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let hypotheses = search.hypotheses();
            let last = search.end_segment();
            prop_assert_eq!(hypotheses.first().map(|best| &best.units), (n > 1).then_some(&last));
            given.extend(last);
            prop_assert_eq!(given, expected);
            // The n best hypotheses do not depend on the sizes of the chunks.
            let (mut once, mut pieces) = [(); 2].map(|()| Search::new(Arc::clone(&shared)).with_nbest(n)).into();
            once.push(&frames.concat());
            frames.chunks(sizes[0]).for_each(|piece| pieces.push(&piece.concat()));
            prop_assert_eq!(once.hypotheses(), pieces.hypotheses());
        }
    }
}
