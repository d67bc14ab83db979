use proptest::prelude::*;

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use super::*;
use crate::decode::language_model::{LanguageModel, LmState};
use crate::decode::vocabulary::Costs;
use crate::decode::{
    ContextGraph, DecoderOptions, DictationModel, HotwordModel, Lexicon, NgramLanguageModel, NgramWeights,
    PhraseCosts, Pronunciation, RejectionOptions, WordId, WordLoop,
};
use crate::text::TokenTable;
use crate::text::ngram::{EstimateOptions, NgramModel, Text, TrieBuilder, VocabularyLimit};
use crate::text::phrases::{Format, Phrases};

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
    let words = vocabulary(&lexicon(words), Arc::new(WordLoop { word_cost: 0.0 }), &options, Beam::default());
    Search::new(words)
}

/// Frames with a probability of 0.9 for one token each.
fn log_probs_of(path: &[usize]) -> Vec<f32> {
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
fn words_have_times_and_repeats_are_separate_words() {
    let mut search = search(&[("ab", "ab"), ("b", "b")]);
    search.push(&log_probs_of(&[0, 1, 0, 2, 2, 0, 0, 1, 2, 1, 2, 0, 2, 0, 2, 2, 0]));
    let words = search.end_segment();
    assert_eq!(ids(&words), [0, 0, 0, 1, 1], "{words:?}");
    let spans: Vec<_> = words.iter().map(|t| (t.start, t.end)).collect();
    assert_eq!(spans, [(1, 5), (7, 9), (9, 11), (12, 13), (14, 16)]);
    assert!((words[0].log_prob - 0.9f32.ln()).abs() < 1e-5);
}

#[test]
fn other_labels_go_to_the_filler_and_near_misses_to_the_word() {
    let mut search = search(&[("abc", "abc"), ("dab", "dab")]);
    search.push(&log_probs_of(&[0, 3, 0, 4, 0, 3, 2, 0, 4, 3, 0]));
    assert_eq!(ids(&search.end_segment()), [0u32; 0]);
    // A pause ends the out-of-vocabulary speech.
    search.push(&log_probs_of(&[0; 60]));
    search.push(&log_probs_of(&[0, 1, 0, 2, 0, 4, 0, 0]));
    assert_eq!(ids(&search.end_segment()), [0], "one label of three is another");
}

#[test]
fn a_cut_within_a_word_moves_it_to_the_next_segment() {
    let mut search = search(&[("ab", "ab"), ("cd", "cd")]);
    search.push(&log_probs_of(&[1, 2, 0, 3, 3]));
    assert_eq!(ids(&search.end_segment()), [0]);
    search.push(&log_probs_of(&[3, 4, 0]));
    let words = search.end_segment();
    assert_eq!((ids(&words), words[0].start), (vec![1], 3));
    search.push(&log_probs_of(&[0, 0]));
    assert!(search.likeliest().is_none() && search.end_segment().is_empty());
}

#[test]
fn a_cut_before_a_word_returns_the_words_before_it_once() {
    let mut search = search(&[("ab", "ab"), ("cd", "cd")]);
    search.push(&log_probs_of(&[1, 2, 0, 3, 4, 0, 1, 2, 0]));
    let best = search.best();
    assert_eq!(ids(&best), [0, 1, 0]);
    assert_eq!(ids(&search.end_segment_before(best[2].start)), [0, 1]);
    assert_eq!(search.best(), best[2..]);
    assert!(search.end_segment_before(best[2].start).is_empty(), "there is nothing in front");
    search.push(&log_probs_of(&[3, 4, 0]));
    assert_eq!(ids(&search.end_segment()), [0, 1]);
}

#[test]
fn open_since_is_the_start_of_the_first_word_that_may_change() {
    let mut search = search(&[("ab", "ab"), ("abc", "abc"), ("d", "d")]);
    search.push(&log_probs_of(&[0, 1, 2]));
    assert_eq!(ids(&search.best()), [0]);
    assert!(search.open_since() <= Some(1), "a `c` may follow");
    // After twenty words, paths with out-of-vocabulary speech in place of the first words are pruned.
    search.push(&log_probs_of(&[0, 4].repeat(20)));
    let open = search.open_since().expect("the last words may still be other speech");
    assert!(open > 10 && open < search.num_frames(), "{open}");
    let settled = ids(&search.end_segment_before(open));
    assert!(settled.len() > 3 && settled[0] == 0, "{settled:?}");
}

#[test]
fn long_streams_keep_only_reachable_history() {
    let mut search = search(&[("ab", "ab"), ("b", "b")]);
    for _ in 0..5000 {
        search.push(&log_probs_of(&[0, 1, 2, 0]));
    }
    assert!(search.arena.history.len() <= 3 * 5000 + 4096 + 16, "{}", search.arena.history.len());
    assert_eq!(search.best().len(), 5000);
    assert!(ids(&search.best()).iter().all(|&id| id == 0));
}

#[test]
fn frames_with_nan_or_infinity_lose_no_words() {
    let mut search = search(&[("a", "a")]);
    search.push(&log_probs_of(&[0, 1, 0]));
    search.push(&[f32::NAN; 10]);
    search.push(&[f32::INFINITY; 5]);
    search.push(&[f32::NEG_INFINITY; 5]);
    search.push(&log_probs_of(&[0, 1, 0]));
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

    fn num_states(&self) -> u64 {
        8
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

/// A language model with the phrases `p` and `q`, whose words follow those of the tests, and dictation in one of them.
fn phrases_in_dictation() -> Arc<dyn LanguageModel> {
    let phrases = Phrases::parse("q p\np\np <dictation> q\n", Format::Lines, None).expect("phrases");
    let model = DictationModel::new(
        Arc::new(ngrams()),
        Arc::new(phrases),
        WordId(4),
        &[(vec![TokenId(1); 3], WordId(4)), (vec![TokenId(2); 5], WordId(5))],
        PhraseCosts { phrase: 0.5, word: 0.2 },
    );
    Arc::new(model.expect("few states"))
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
        model in 0..6, entry in 0.0f32..2.0, label in 0.0f32..1.0
    ) {
        let mut entries = vec![("ab", "ab"), ("a", "a"), ("bb", "bb"), ("abc", "ac"), ("ab", "b")];
        if model == 5 {
            // The word for dictation has no pronunciation; this one is too long for the frames.
            entries.extend([("<dictation>", "dddddd"), ("p", "ab"), ("q", "a")]);
        }
        let words = lexicon(&entries);
        let options = DecoderOptions {
            rejection, filler_entry_cost: entry, filler_label_cost: label, ..Default::default()
        };
        let model: Arc<dyn LanguageModel> = match model {
            0 => Arc::new(Pairs),
            1 => Arc::new(WordLoop { word_cost: 0.4 }),
            2 => Arc::new(ngrams()),
            3 => hotwords(Arc::new(ngrams())),
            4 => hotwords(Arc::new(Pairs)),
            _ => phrases_in_dictation(),
        };
        let mut exhaustive = Exhaustive {
            lexicon: &words,
            ids: [0, 1, 2, 3, 0, 4, 5, 6].map(WordId).to_vec(),
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
                let score = score + search.subtracted;
                prop_assert!((score - best).abs() < 1e-3, "{at}: {score} {expected:?}");
                let alone = expected.iter().filter(|(other, _)| (other - best).abs() < 2e-3).count() == 1;
                let found = ids(&search.arena.history.words(history));
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

/// The words of flashlight-text's decoder and of an exhaustive search, with their scores (`tools/goldens/decoder.py`).
#[test]
fn the_best_words_are_those_of_flashlight() {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoder");
    let golden = std::fs::read_to_string(folder.join("flashlight.json")).expect("a file of the repository");
    let golden: serde_json::Value = serde_json::from_str(&golden).expect("JSON");
    let number = |value: &serde_json::Value| value.as_f64().expect("a number") as f32;
    let texts = |value: &serde_json::Value| -> Vec<String> {
        let all = value.as_array().expect("a list").iter();
        all.map(|text| text.as_str().expect("a text").to_string()).collect()
    };
    let mut words = Vec::new();
    for (word, spellings) in golden["lexicon"].as_object().expect("words") {
        words.extend(texts(spellings).into_iter().map(|spelling| Pronunciation {
            word: word.clone(),
            tokens: spelling.chars().map(String::from).collect(),
        }));
    }
    let tokens = TokenTable::new(["<blk>", "a", "b", "c", "d", "e"].map(String::from).to_vec(), 0);
    let tokens = tokens.expect("a good table");
    let emission = crate::decode::align::tests::emission(14, 6);
    let emission: Vec<f32> = emission.into_iter().map(|p| p as f32).collect();
    let model = NgramModel::read(&folder.join("words.arpa")).expect("a model");
    for case in golden["cases"].as_array().expect("cases") {
        let tree = Lexicon::new(&tokens, &words).expect("a good lexicon");
        let names = Arc::clone(tree.names());
        // flashlight's weight is that of log10 probabilities.
        let scale = number(&case["lm_weight"]) / std::f32::consts::LN_10;
        let weights = NgramWeights { scale, word_cost: -number(&case["word_score"]) };
        let model = NgramLanguageModel::new(model.clone(), names.iter().map(String::as_str), weights);
        let options = DecoderOptions::default();
        let vocabulary = Vocabulary::new(&tokens, tree, Arc::new(model), &options, 0.04, Beam::EXACT);
        let mut search = Search::new(Arc::new(vocabulary.without_filler())).with_nbest(3);
        search.push(&emission);
        let best = search.best_path(true);
        let found: Vec<(f32, Vec<String>)> = search
            .best_sequences(true, best.history)
            .into_iter()
            .map(|(score, last)| {
                let spelled = ids(&search.arena.history.words(last)).into_iter();
                (score + search.subtracted, spelled.map(|id| names[id as usize].clone()).collect())
            })
            .collect();
        let expected = case["exhaustive"].as_array().expect("the three best").iter();
        let expected: Vec<_> = expected.map(|one| (number(&one["score"]), texts(&one["words"]))).collect();
        assert_eq!(expected[0].1, texts(&case["flashlight"]["words"]));
        assert!((expected[0].0 - number(&case["flashlight"]["score"])).abs() < 2e-3);
        assert_eq!(found.len(), expected.len());
        for ((score, words), (golden, golden_words)) in found.iter().zip(&expected) {
            assert!((score - golden).abs() < 2e-3 && words == golden_words, "{found:?} {expected:?}");
        }
    }
}
