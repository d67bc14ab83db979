//! The likeliest sequence of a lexicon's words: Viterbi search over all their pronunciations in a
//! loop, with a filler that takes everything else (a keyword search in the manner of Rose, Paul
//! 1990, on CTC posteriors).
//!
//! A word is a chain of labels, with optional blanks between them. From the root, where blanks
//! wait, lead all words and the filler; from their ends back to the root. The filler follows the
//! best path of the network, whatever that spells, and pays for it: once when it is entered, and
//! for each label. So a word wins where the network hears its labels, or nearly so, and the filler
//! where it hears others.

use std::collections::{HashMap, HashSet};

use super::{Decoder, DecoderOptions, Token};
use crate::error::{Error, Result, Stage};
use crate::text::TokenTable;

/// A word whose end is this close (in nats) behind a path that waits in the middle of a word is
/// taken when a segment ends.
const UNFINISHED_MARGIN: f32 = 4.0;
/// The history is compacted when it has grown by this many nodes beyond twice what was of use.
const COMPACT_AT: usize = 4096;
/// Output frames of silence after which other speech has ended: what follows is judged anew.
pub(crate) const FILLER_SILENCE: u32 = 50;
const NOTHING: u32 = u32::MAX;

/// A word that ended, and those before it.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    token: Token,
}

/// The best path that ends in a state.
#[derive(Clone, Copy, Debug)]
struct Path {
    score: f32,
    /// The last word that ended, or [`NOTHING`].
    history: u32,
    /// The frame of the first label of the word that is under way.
    start: u64,
    /// Log-probabilities of its labels so far, each at its peak; and of the label of the moment.
    sum: f32,
    peak: f32,
}

const DEAD: Path =
    Path { score: f32::NEG_INFINITY, history: NOTHING, start: 0, sum: 0.0, peak: f32::NEG_INFINITY };

impl Path {
    fn better(self, other: Path) -> Path {
        if other.score > self.score { other } else { self }
    }
}

/// One pronunciation.
#[derive(Clone, Debug)]
struct Word {
    id: u32,
    labels: Vec<u32>,
    /// Index of its first state: label k has the states `first + 2 k` (the label) and
    /// `first + 2 k + 1` (a blank behind it; behind the last label it is the root that waits).
    first: usize,
}

/// The words that can be written, in the order of their first pronunciations.
pub fn words(options: &DecoderOptions) -> Vec<String> {
    let mut known = HashSet::new();
    let words = options.lexicon.iter().map(|entry| &entry.word);
    words.filter(|word| known.insert(word.as_str())).cloned().collect()
}

/// Lexicon search over one stream. Its [`Token`]s are whole words, numbered as in [`words`].
#[derive(Clone, Debug)]
pub struct Lexicon {
    vocabulary: Vec<Word>,
    num_tokens: usize,
    blank: u32,
    blank_bias: f32,
    word_cost: f32,
    filler_entry_cost: f32,
    filler_label_cost: f32,
    states: Vec<Path>,
    previous: Vec<Path>,
    /// After a blank; and after the last label of a word or filler, with that label.
    root: Path,
    root_behind: (Path, u32),
    filler: Path,
    /// The likeliest label of the last frame.
    likeliest: u32,
    /// Frames since the last label.
    silence: u32,
    /// What is heard in place of a frame that is no numbers.
    nothing: Vec<f32>,
    nodes: Vec<Node>,
    /// Nodes at which the history is compacted.
    compact_at: usize,
    frames: u64,
    revision: u64,
    /// The history that [`Decoder::best`] gives.
    shown: u32,
}

impl Lexicon {
    /// A search for one stream of a model.
    ///
    /// # Errors
    /// When a pronunciation is empty or has a token that the model does not have.
    pub fn new(tokens: &TokenTable, options: &DecoderOptions) -> Result<Self> {
        let names = words(options);
        let by_name: HashMap<&str, u32> =
            names.iter().enumerate().map(|(i, name)| (name.as_str(), i as u32)).collect();
        let ids: HashMap<&str, u32> =
            tokens.tokens().iter().enumerate().map(|(i, token)| (token.as_str(), i as u32)).collect();
        let mut vocabulary = Vec::with_capacity(options.lexicon.len());
        let mut first = 0;
        for entry in &options.lexicon {
            let wrong =
                |problem: String| Error::new(Stage::Model, problem).at(format!("lexicon: `{}`", entry.word));
            let labels = entry
                .tokens
                .iter()
                .map(|token| {
                    let id = ids.get(token.as_str()).filter(|&&id| id != tokens.blank());
                    id.copied().ok_or_else(|| wrong(format!("the model has no token `{token}`")))
                })
                .collect::<Result<Vec<_>>>()?;
            if labels.is_empty() {
                return Err(wrong("expected the tokens of the word, found none".into()));
            }
            let word = Word { id: by_name[entry.word.as_str()], labels, first };
            first += 2 * word.labels.len();
            vocabulary.push(word);
        }
        let mut search = Self {
            vocabulary,
            num_tokens: tokens.len(),
            blank: tokens.blank(),
            blank_bias: options.blank_bias,
            word_cost: options.word_cost,
            filler_entry_cost: options.filler_entry_cost,
            filler_label_cost: options.filler_label_cost,
            states: vec![DEAD; first],
            previous: vec![DEAD; first],
            root: DEAD,
            root_behind: (DEAD, NOTHING),
            filler: DEAD,
            likeliest: NOTHING,
            silence: 0,
            nothing: (0..tokens.len())
                .map(|id| if id as u32 == tokens.blank() { 0.0 } else { -30.0 })
                .collect(),
            nodes: Vec::new(),
            compact_at: COMPACT_AT,
            frames: 0,
            revision: 0,
            shown: NOTHING,
        };
        search.reset();
        Ok(search)
    }

    fn push_frame(&mut self, frame: &[f32]) {
        if frame.iter().any(|&log_prob| log_prob.is_nan() || log_prob == f32::INFINITY) {
            let nothing = std::mem::take(&mut self.nothing);
            self.push_numbers(&nothing);
            self.nothing = nothing;
        } else {
            self.push_numbers(frame);
        }
    }

    fn push_numbers(&mut self, frame: &[f32]) {
        let blank = frame[self.blank as usize] + self.blank_bias;
        let mut likeliest = (self.blank, blank);
        for (id, &log_prob) in frame.iter().enumerate() {
            if id as u32 != self.blank && log_prob > likeliest.1 {
                likeliest = (id as u32, log_prob);
            }
        }
        self.words(frame, blank);
        let filler = self.filler(likeliest);
        let (ended, label) = self.ends(likeliest, filler);
        let mut root = self.root.better(self.root_behind.0);
        root.score += blank;
        if likeliest.0 == self.blank {
            root = root.better(filler);
        }
        self.root = root;
        self.root_behind = (ended, label);
        self.silence = if likeliest.0 == self.blank { self.silence.saturating_add(1) } else { 0 };
        self.filler = if self.silence < FILLER_SILENCE { filler } else { DEAD };
        self.likeliest = likeliest.0;
        self.frames += 1;
        self.normalise();
        let best = self.best_path(false).history;
        if best != self.shown {
            self.shown = best;
            self.revision += 1;
        }
        if self.nodes.len() > self.compact_at {
            self.compact();
        }
    }

    /// Moves the paths within words on by a frame.
    fn words(&mut self, frame: &[f32], blank: f32) {
        std::mem::swap(&mut self.states, &mut self.previous);
        let (at, cost) = (self.frames, self.word_cost);
        for word in &self.vocabulary {
            for (k, &label) in word.labels.iter().enumerate() {
                let log_prob = frame[label as usize];
                let here = word.first + 2 * k;
                let mut stay = self.previous[here];
                stay.peak = stay.peak.max(log_prob);
                let come = |path: Path| Path { sum: path.sum + path.peak, peak: log_prob, ..path };
                let fresh = |path: Path| Path {
                    score: path.score - cost,
                    start: at,
                    sum: 0.0,
                    peak: log_prob,
                    ..path
                };
                let mut path = if k == 0 {
                    let behind = self.root_behind;
                    let entry = if behind.1 == label { self.root } else { self.root.better(behind.0) };
                    stay.better(fresh(entry))
                } else {
                    let mut path = stay.better(come(self.previous[here - 1]));
                    if word.labels[k - 1] != label {
                        path = path.better(come(self.previous[here - 2]));
                    }
                    path
                };
                path.score += log_prob;
                self.states[here] = path;
                if k + 1 < word.labels.len() {
                    let mut pause = self.previous[here + 1].better(self.previous[here]);
                    pause.score += blank;
                    self.states[here + 1] = pause;
                }
            }
        }
    }

    /// The filler's path after a frame whose likeliest label this is.
    fn filler(&self, (label, log_prob): (u32, f32)) -> Path {
        let mut entry = self.root.better(self.root_behind.0);
        entry.score -= self.filler_entry_cost;
        let mut path = self.filler.better(entry);
        path.score += log_prob;
        if label != self.blank && label != self.likeliest {
            path.score -= self.filler_label_cost;
        }
        path
    }

    /// The best path that has ended a word, or the filler, with this frame; and its last label.
    fn ends(&mut self, (likeliest, _): (u32, f32), filler: Path) -> (Path, u32) {
        let mut best = (DEAD, NOTHING, None);
        for word in &self.vocabulary {
            let last = word.labels.len() - 1;
            let path = self.states[word.first + 2 * last];
            if path.score > best.0.score {
                best = (path, word.labels[last], Some((word.id, word.labels.len())));
            }
        }
        if likeliest != self.blank && filler.score > best.0.score {
            return (filler, likeliest);
        }
        let (mut path, label, Some((id, labels))) = best else { return (DEAD, NOTHING) };
        let log_prob = (path.sum + path.peak) / labels as f32;
        let token = Token { id, start: path.start, peak: self.frames, end: self.frames + 1, log_prob };
        self.nodes.push(Node { parent: path.history, token });
        path.history = (self.nodes.len() - 1) as u32;
        (path, label)
    }

    /// Keeps the scores near zero, so that they lose no precision over hours. Where every path has
    /// died (a model may call all labels impossible) the search goes on behind what was found.
    fn normalise(&mut self) {
        let best = self.best_path(false).score;
        if !best.is_finite() {
            self.root = Path { score: 0.0, history: self.shown, ..DEAD };
            return;
        }
        for path in self.states.iter_mut() {
            path.score -= best;
        }
        for path in [&mut self.root, &mut self.root_behind.0, &mut self.filler] {
            path.score -= best;
        }
    }

    /// The best path; of those outside words only, when they `must_end`.
    fn best_path(&self, must_end: bool) -> Path {
        let best = self.root.better(self.root_behind.0).better(self.filler);
        if must_end { best } else { self.states.iter().fold(best, |best, &path| best.better(path)) }
    }

    /// The words up to a node that begin at frame `first` or later.
    fn tokens(&self, mut node: u32, first: u64) -> Vec<Token> {
        let mut tokens = Vec::new();
        while let Some(found) = self.nodes.get(node as usize).filter(|found| found.token.start >= first) {
            tokens.push(found.token);
            node = found.parent;
        }
        tokens.reverse();
        tokens
    }

    /// Every path, for changing them all.
    fn paths_mut(&mut self) -> impl Iterator<Item = &mut Path> {
        let Self { states, root, root_behind, filler, .. } = self;
        states.iter_mut().chain([root, &mut root_behind.0, filler])
    }

    /// Forgets the nodes that no path leads to.
    fn compact(&mut self) {
        let mut used = vec![false; self.nodes.len()];
        let shown = self.shown;
        let ends: Vec<u32> = self.paths_mut().map(|p| p.history).chain([shown]).collect();
        for mut at in ends {
            while at != NOTHING && !std::mem::replace(&mut used[at as usize], true) {
                at = self.nodes[at as usize].parent;
            }
        }
        let mut moved = vec![NOTHING; self.nodes.len()];
        let mut nodes: Vec<Node> = Vec::new();
        for (at, node) in self.nodes.iter().enumerate().filter(|(at, _)| used[*at]) {
            moved[at] = nodes.len() as u32;
            let parent = if node.parent == NOTHING { NOTHING } else { moved[node.parent as usize] };
            nodes.push(Node { parent, token: node.token });
        }
        let place = |at: u32| if at == NOTHING { NOTHING } else { moved[at as usize] };
        for path in self.paths_mut() {
            path.history = place(path.history);
        }
        self.shown = place(self.shown);
        self.compact_at = 2 * nodes.len() + COMPACT_AT;
        self.nodes = nodes;
    }
}

impl Decoder for Lexicon {
    fn push(&mut self, log_probs: &[f32]) {
        for frame in log_probs.chunks_exact(self.num_tokens) {
            self.push_frame(frame);
        }
    }

    fn best(&self) -> Vec<Token> {
        self.tokens(self.shown, 0)
    }

    fn best_since(&self, first: u64) -> Vec<Token> {
        self.tokens(self.shown, first)
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn num_frames(&self) -> u64 {
        self.frames
    }

    /// A word that is under way stays for the next segment, unless one that has ended is nearly as
    /// good.
    fn end_segment(&mut self) -> Vec<Token> {
        let (whole, any) = (self.best_path(true), self.best_path(false));
        let best = if whole.score + UNFINISHED_MARGIN >= any.score { whole } else { any };
        let tokens = self.tokens(best.history, 0);
        for path in self.paths_mut() {
            *path = if path.history == best.history { Path { history: NOTHING, ..*path } } else { DEAD };
        }
        self.nodes.clear();
        self.shown = NOTHING;
        self.revision += 1;
        tokens
    }

    /// Paths that end otherwise than with the words that are given are given up.
    fn end_segment_before(&mut self, first: u64) -> Vec<Token> {
        let mut last = self.shown;
        while let Some(node) = self.nodes.get(last as usize).filter(|node| node.token.start >= first) {
            last = node.parent;
        }
        self.revision += 1;
        if last == NOTHING {
            return Vec::new();
        }
        let tokens = self.tokens(last, 0);
        let mut agrees: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for (at, node) in self.nodes.iter().enumerate() {
            agrees.push(at as u32 == last || agrees.get(node.parent as usize) == Some(&true));
        }
        for node in &mut self.nodes {
            node.parent = if node.parent == last { NOTHING } else { node.parent };
        }
        let behind = |at: u32| if at == last { NOTHING } else { at };
        for path in self.paths_mut() {
            let keeps = agrees.get(path.history as usize) == Some(&true);
            *path = if keeps { Path { history: behind(path.history), ..*path } } else { DEAD };
        }
        self.shown = behind(self.shown);
        self.compact();
        tokens
    }

    fn in_blank(&self) -> bool {
        self.likeliest == self.blank || self.likeliest == NOTHING
    }

    fn reset(&mut self) {
        self.states.fill(DEAD);
        self.root = Path { score: 0.0, ..DEAD };
        self.root_behind = (DEAD, NOTHING);
        self.filler = DEAD;
        self.likeliest = NOTHING;
        self.silence = 0;
        self.nodes.clear();
        self.frames = 0;
        self.shown = NOTHING;
        self.revision += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Pronunciation;

    /// Tokens: blank, a, b, c, d.
    fn search(lexicon: &[(&str, &[&str])]) -> Lexicon {
        let table = TokenTable::new(["<blk>", "a", "b", "c", "d"].map(String::from).to_vec(), 0);
        let entry = |&(word, tokens): &(&str, &[&str])| Pronunciation {
            word: word.into(),
            tokens: tokens.iter().map(|t| t.to_string()).collect(),
        };
        let options = DecoderOptions {
            lexicon: lexicon.iter().map(entry).collect(),
            filler_entry_cost: 2.0,
            filler_label_cost: 1.0,
            ..Default::default()
        };
        Lexicon::new(&table.expect("a good table"), &options).expect("a good lexicon")
    }

    /// Each frame gives 0.9 to a token.
    fn heard(path: &[usize]) -> Vec<f32> {
        path.iter()
            .flat_map(|&best| (0..5).map(move |i| if i == best { 0.9f32.ln() } else { 0.025f32.ln() }))
            .collect()
    }

    fn ids(tokens: &[Token]) -> Vec<u32> {
        tokens.iter().map(|t| t.id).collect()
    }

    #[test]
    fn words_are_found_with_times_and_repeats_are_told_apart() {
        let mut search = search(&[("ab", &["a", "b"]), ("b", &["b"])]);
        search.push(&heard(&[0, 1, 0, 2, 2, 0, 0, 1, 2, 1, 2, 0, 2, 0, 2, 2, 0]));
        let tokens = search.end_segment();
        assert_eq!(ids(&tokens), [0, 0, 0, 1, 1], "{tokens:?}");
        let spans: Vec<_> = tokens.iter().map(|t| (t.start, t.end)).collect();
        assert_eq!(spans, [(1, 5), (7, 9), (9, 11), (12, 13), (14, 16)]);
        assert!((tokens[0].log_prob - 0.9f32.ln()).abs() < 1e-5);
    }

    #[test]
    fn other_labels_go_to_the_filler_and_near_misses_to_the_word() {
        let mut search = search(&[("abc", &["a", "b", "c"]), ("dab", &["d", "a", "b"])]);
        search.push(&heard(&[0, 3, 0, 4, 0, 3, 2, 0, 4, 3, 0]));
        assert_eq!(ids(&search.end_segment()), [0u32; 0]);
        // A pause, and it is judged anew.
        search.push(&heard(&[0; 60]));
        search.push(&heard(&[0, 1, 0, 2, 0, 4, 0, 0]));
        assert_eq!(ids(&search.end_segment()), [0], "one label of three is another");
    }

    #[test]
    fn a_cut_within_a_word_keeps_it_whole_for_the_next_segment() {
        let mut search = search(&[("ab", &["a", "b"]), ("cd", &["c", "d"])]);
        search.push(&heard(&[1, 2, 0, 3, 3]));
        assert_eq!(ids(&search.end_segment()), [0]);
        search.push(&heard(&[3, 4, 0]));
        let tokens = search.end_segment();
        assert_eq!((ids(&tokens), tokens[0].start), (vec![1], 3));
        search.push(&heard(&[0, 0]));
        assert!(search.in_blank() && search.end_segment().is_empty());
    }

    #[test]
    fn a_cut_before_a_word_gives_what_stands_in_front_of_it_and_nothing_twice() {
        let mut search = search(&[("ab", &["a", "b"]), ("cd", &["c", "d"])]);
        search.push(&heard(&[1, 2, 0, 3, 4, 0, 1, 2, 0]));
        let best = search.best();
        assert_eq!(ids(&best), [0, 1, 0]);
        assert_eq!(ids(&search.end_segment_before(best[2].start)), [0, 1]);
        assert_eq!(search.best(), best[2..]);
        assert!(search.end_segment_before(best[2].start).is_empty(), "there is nothing in front");
        search.push(&heard(&[3, 4, 0]));
        assert_eq!(ids(&search.end_segment()), [0, 1]);
    }

    #[test]
    fn a_cut_does_not_give_a_string_up_for_the_filler() {
        let mut search = search(&[("ab", &["a", "b"]), ("cd", &["c", "d"])]);
        // Each word is somewhat less likely than what else may be said.
        let doubtful = |label: usize, other: usize| {
            let mut frame = heard(&[label]);
            frame[label] = 0.4f32.ln();
            frame[other] = 0.5f32.ln();
            frame
        };
        for _ in 0..3 {
            search.push(&[doubtful(1, 3), doubtful(2, 4), heard(&[0])].concat());
        }
        search.push(&heard(&[3]));
        let given = ids(&search.best());
        assert!(!given.is_empty());
        assert_eq!(ids(&search.end_segment_before(u64::MAX)), given);
        search.push(&heard(&[4, 0, 1, 2, 0, 3, 4, 0]));
        assert_eq!(ids(&search.end_segment()), [1, 0, 1]);
    }

    #[test]
    fn long_streams_keep_only_what_leads_somewhere() {
        let mut search = search(&[("ab", &["a", "b"]), ("b", &["b"])]);
        for _ in 0..5000 {
            search.push(&heard(&[0, 1, 2, 0]));
        }
        assert!(search.nodes.len() <= 2 * 5000 + 2 * COMPACT_AT, "{}", search.nodes.len());
        assert_eq!(search.best().len(), 5000);
        assert!(search.best().iter().all(|t| t.id == 0));
    }

    #[test]
    fn frames_that_are_no_probabilities_lose_nothing() {
        let mut search = search(&[("a", &["a"])]);
        search.push(&heard(&[0, 1, 0]));
        search.push(&[f32::NAN; 10]);
        search.push(&[f32::INFINITY; 5]);
        search.push(&[f32::NEG_INFINITY; 5]);
        search.push(&heard(&[0, 1, 0]));
        assert_eq!(ids(&search.end_segment()), [0, 0]);
    }

    #[test]
    fn unknown_tokens_are_refused() {
        let table = TokenTable::new(vec!["<blk>".into(), "a".into()], 0).expect("a good table");
        for tokens in [vec!["x".to_string()], vec![], vec!["<blk>".to_string()]] {
            let lexicon = vec![Pronunciation { word: "w".into(), tokens }];
            let options = DecoderOptions { lexicon, ..Default::default() };
            assert!(Lexicon::new(&table, &options).expect_err("bad").to_string().contains("`w`"));
        }
    }
}
