//! The lexicon search as finite-state transducers for sherpa-onnx: a decoding graph that maps the network's
//! labels to words, and a rule that rewrites the text of the labels as the text of the words.
//!
//! The graph expresses the search of [`crate::decode::search`]: the CTC topology over a loop of words, or over the sentences
//! of phrases, in parallel with out-of-vocabulary speech ("filler"), which accepts any labels at an entry cost and a cost
//! for each label, and outputs no word. A state is a place (between words, inside some words, in filler)
//! and the last label read, or none after a blank: a label may be repeated, and the same label again needs
//! a blank in between.
//!
//! ```text
//!            ┌── blank ──┐                     ┌─ label k ─┐        input labels are id + 1
//!            ▼           │                     ▼           │        a word is output at its last label
//!          root ──── first label ───► prefix of words ──── last label: word ───► root after the label
//!            │ entry + label cost                                        ▲
//!            └──► other speech, any labels at a cost each ───────────────┘ (by the first label of a word)
//! ```

use std::collections::HashMap;
use std::sync::Arc as Shared;

use super::fst::{Arc, EPSILON, Fst};
use crate::decode::DecoderOptions;
use crate::decode::lexicon::words;
use crate::decode::vocabulary::pause_frames;
use crate::error::{Error, Result, Stage};
use crate::text::TokenTable;
use crate::text::phrases::{Phrases, State};
use crate::text::tokens::WORD_START;

/// Cost of a word in the text rule, so that of two readings of a text the one with fewer words is chosen.
const WORD_OF_TEXT_COST: f32 = 1.0;
/// Maximum number of arcs of a graph or a rule.
const MAX_ARCS: usize = 20_000_000;

/// A word that may follow.
#[derive(Clone, Copy, Debug)]
struct NextWord {
    /// Index of the word, in the order of [`words`].
    word: usize,
    /// Cost, nats.
    cost: f32,
    /// The state of the sentences after it.
    to: u32,
}

/// The sentences of a graph.
pub(super) struct Sentences<'a> {
    /// Spellings of the words.
    names: Vec<String>,
    /// Pronunciations of each word, as labels and as tokens.
    pronunciations: Vec<Vec<(Vec<u32>, Vec<&'a str>)>>,
    /// The phrases, and the index in [`words`] of each of their words; without them, all words follow each other.
    phrases: Option<(&'a Phrases, Vec<usize>)>,
    word_cost: f32,
}

impl<'a> Sentences<'a> {
    /// Creates the sentences of a lexicon: all sequences of its words or, if there are phrases, all sequences of phrases.
    ///
    /// # Errors
    /// When a pronunciation contains a token that the model does not have, or a word of the phrases has no pronunciation.
    pub fn new(
        tokens: &TokenTable,
        options: &'a DecoderOptions,
        phrases: Option<&'a Phrases>,
    ) -> Result<Self> {
        let names = words(options);
        let numbers: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
        let mut pronunciations = vec![Vec::new(); names.len()];
        for entry in &options.lexicon {
            let label = |token: &String| {
                let known = tokens.id(token).filter(|&id| id != tokens.blank());
                known.ok_or_else(|| {
                    Error::new(Stage::Model, format!("the model has no token `{token}`"))
                        .at(format!("lexicon: `{}`", entry.word))
                })
            };
            let labels = entry.tokens.iter().map(label).collect::<Result<Vec<u32>>>()?;
            if !labels.is_empty() {
                let spelled = entry.tokens.iter().map(String::as_str).collect();
                pronunciations[numbers[entry.word.as_str()]].push((labels, spelled));
            }
        }
        let phrases = match phrases {
            None => None,
            Some(phrases) => {
                let number = |word: &String| {
                    let missing = || Error::new(Stage::Text, format!("no pronunciation for `{word}`"));
                    numbers.get(word.as_str()).copied().ok_or_else(missing)
                };
                Some((phrases, phrases.words().iter().map(number).collect::<Result<_>>()?))
            }
        };
        Ok(Self { names, pronunciations, phrases, word_cost: options.word_cost })
    }

    fn start(&self) -> u32 {
        self.phrases.as_ref().map_or(0, |(phrases, _)| phrases.automaton().start().0)
    }

    /// The cost of an end after a state; `None` inside a phrase.
    fn end(&self, state: u32) -> Option<f32> {
        match &self.phrases {
            Some((phrases, _)) if state != self.start() => phrases.automaton().end(State(state)),
            _ => Some(0.0),
        }
    }

    /// The words that may follow a state. Words that do not continue a phrase begin another one, if it is complete.
    fn after(&self, state: u32) -> Vec<NextWord> {
        let Some((phrases, numbers)) = &self.phrases else {
            let all = 0..self.names.len();
            return all.map(|word| NextWord { word, cost: self.word_cost, to: state }).collect();
        };
        let arcs = phrases.automaton().arcs(State(state));
        let next = |arc: &crate::text::phrases::Arc, cost: f32| NextWord {
            word: numbers[arc.word as usize],
            cost: cost + arc.cost as f32 / 1000.0 + self.word_cost,
            to: arc.to.0,
        };
        let mut after: Vec<NextWord> = arcs.iter().map(|arc| next(arc, 0.0)).collect();
        if let Some(end) = self.end(state).filter(|_| state != self.start()) {
            let continues = |word: u32| {
                arcs.binary_search_by_key(&word, |arc: &crate::text::phrases::Arc| arc.word).is_ok()
            };
            let first = phrases.automaton().arcs(State(self.start())).iter();
            after.extend(first.filter(|arc| !continues(arc.word)).map(|arc| next(arc, end)));
        }
        after
    }

    /// The prefix tree of the words that may follow a state; node 0 is its root.
    fn tree(&self, state: u32) -> Vec<TreeNode> {
        let mut nodes = vec![TreeNode::default()];
        for next in self.after(state) {
            for (labels, _) in &self.pronunciations[next.word] {
                let mut at = 0;
                for &label in labels {
                    at = match nodes[at].children.iter().find(|child| child.0 == label) {
                        Some(&(_, child)) => child,
                        None => {
                            let child = nodes.len();
                            nodes.push(TreeNode::default());
                            nodes[at].children.push((label, child));
                            child
                        }
                    };
                }
                if nodes[at].words.iter().all(|known| known.word != next.word) {
                    nodes[at].words.push(next);
                }
            }
        }
        nodes
    }
}

/// A node of the prefix tree of pronunciations.
#[derive(Clone, Debug, Default)]
struct TreeNode {
    /// Label and index of each child.
    children: Vec<(u32, usize)>,
    /// The words that end here.
    words: Vec<NextWord>,
}

/// The place of a state in the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// Between words, after this state of the sentences.
    Root(u32),
    /// After a state of the sentences and the labels of this node of its pronunciation tree.
    Prefix(u32, usize),
    /// In filler, after this number of consecutive blanks.
    Other(u32),
}

/// The graph under construction.
struct Builder<'a> {
    fst: Fst,
    states: HashMap<(Place, Option<u32>), usize>,
    unfinished: Vec<(Place, Option<u32>)>,
    /// The pronunciation trees of states of the sentences.
    trees: HashMap<u32, Shared<Vec<TreeNode>>>,
    sentences: &'a Sentences<'a>,
    tokens: &'a TokenTable,
    options: &'a DecoderOptions,
    /// Number of consecutive blanks that end a filler.
    pause: u32,
}

/// Builds the decoding graph of sentences. Input labels are token ids plus 1, output labels the numbers of words from 1, in
/// the order of [`words_txt`].
///
/// # Errors
/// When the graph is too large.
pub(super) fn decoding_graph(
    tokens: &TokenTable,
    options: &DecoderOptions,
    sentences: &Sentences<'_>,
    frame_seconds: f64,
) -> Result<Fst> {
    let pause = pause_frames(options, frame_seconds);
    let (fst, states, unfinished, trees) = Default::default();
    let mut builder = Builder { fst, states, unfinished, trees, sentences, tokens, options, pause };
    builder.state(Place::Root(sentences.start()), None);
    let mut arcs = 0;
    while let Some((place, last)) = builder.unfinished.pop() {
        arcs += builder.leave(place, last);
        check_size(arcs)?;
    }
    Ok(builder.fst)
}

fn check_size(num_arcs: usize) -> Result<()> {
    if num_arcs <= MAX_ARCS {
        return Ok(());
    }
    let problem = format!("the decoding graph of the phrases has more than {MAX_ARCS} arcs");
    Err(Error::new(Stage::Text, problem).hint("use large lists and permutations in fewer phrases"))
}

impl Builder<'_> {
    /// The number of a state, which is added on first use.
    fn state(&mut self, place: Place, last: Option<u32>) -> usize {
        if let Some(&state) = self.states.get(&(place, last)) {
            return state;
        }
        // The stream may end after a complete phrase or in filler, but not inside a word.
        let final_cost = match place {
            Place::Root(state) => self.sentences.end(state),
            Place::Prefix(..) => None,
            Place::Other(_) => Some(0.0),
        };
        let state = self.fst.add_state(final_cost);
        self.states.insert((place, last), state);
        self.unfinished.push((place, last));
        state
    }

    fn tree(&mut self, state: u32) -> Shared<Vec<TreeNode>> {
        let sentences = self.sentences;
        Shared::clone(self.trees.entry(state).or_insert_with(|| Shared::new(sentences.tree(state))))
    }

    /// Adds an arc that reads `label`.
    fn read(&mut self, from: usize, label: u32, output: i32, cost: f32, (place, last): (Place, Option<u32>)) {
        let next = self.state(place, last);
        self.fst.add_arc(from, Arc { input: label as i32 + 1, output, cost, next });
    }

    /// Adds all arcs that leave a state; returns their number.
    fn leave(&mut self, place: Place, last: Option<u32>) -> usize {
        let from = self.state(place, last);
        let blank = self.tokens.blank();
        let start = self.sentences.start();
        let after_blank = match place {
            // After a pause the entry cost is due again.
            Place::Other(blanks) if blanks + 1 >= self.pause => Place::Root(start),
            Place::Other(blanks) => Place::Other(blanks + 1),
            other => other,
        };
        self.read(from, blank, EPSILON, 0.0, (after_blank, None));
        let mut arcs = 1;
        if let Some(label) = last {
            self.read(from, label, EPSILON, 0.0, (place, last));
            arcs += 1;
        }
        let (state, node) = match place {
            Place::Root(state) => (state, 0),
            Place::Prefix(state, node) => (state, node),
            Place::Other(_) => (start, 0),
        };
        let tree = self.tree(state);
        for &(label, child) in tree[node].children.iter().filter(|(label, _)| Some(*label) != last) {
            for next in &tree[child].words {
                let output = next.word as i32 + 1;
                self.read(from, label, output, next.cost, (Place::Root(next.to), Some(label)));
                arcs += 1;
            }
            if !tree[child].children.is_empty() {
                self.read(from, label, EPSILON, 0.0, (Place::Prefix(state, child), Some(label)));
                arcs += 1;
            }
        }
        let entry_cost = match place {
            Place::Prefix(..) => return arcs,
            Place::Root(state) => match self.sentences.end(state) {
                Some(end) => end + self.options.filler_entry_cost,
                None => return arcs,
            },
            Place::Other(_) => 0.0,
        };
        let cost = entry_cost + self.options.filler_label_cost;
        for label in (0..self.tokens.len() as u32).filter(|&label| label != blank && Some(label) != last) {
            self.read(from, label, EPSILON, cost, (Place::Other(0), Some(label)));
            arcs += 1;
        }
        arcs
    }
}

/// The words and their numbers, one word per line, in the format of Kaldi's `words.txt`.
pub(super) fn words_txt(sentences: &Sentences<'_>) -> Vec<u8> {
    let mut text = String::from("<eps> 0\n");
    for (i, word) in sentences.names.iter().enumerate() {
        text.push_str(&format!("{word} {}\n", i + 1));
    }
    text.into_bytes()
}

/// Builds the rule that rewrites the text of labels (`TUWSIHKS`) as the text of words (`two six`): a
/// transducer over bytes. It rejects other texts.
///
/// # Errors
/// When the rule is too large.
pub(super) fn text_rule(sentences: &Sentences<'_>) -> Result<Fst> {
    let mut fst = Fst::default();
    let mut arcs = 0;
    // Before the first word there is no space; after each state of the sentences there is one.
    let begin = fst.add_state(Some(0.0));
    let mut states: HashMap<u32, usize> = HashMap::new();
    let mut waiting = vec![(begin, sentences.start(), "")];
    while let Some((from, state, space)) = waiting.pop() {
        for next in sentences.after(state) {
            let to = *states.entry(next.to).or_insert_with(|| {
                let to = fst.add_state(sentences.end(next.to));
                waiting.push((to, next.to, " "));
                to
            });
            for (_, tokens) in &sentences.pronunciations[next.word] {
                // sherpa-onnx prints the word-start mark as a space, but not at the beginning of a text.
                let labels = tokens.concat().replace(WORD_START, " ");
                let labels = if space.is_empty() { labels.trim_start() } else { labels.as_str() };
                let written = format!("{space}{}", sentences.names[next.word]);
                arcs += labels.len().max(written.len());
                check_size(arcs)?;
                add_rewriting(&mut fst, from, to, (labels, &written), WORD_OF_TEXT_COST + next.cost);
            }
        }
    }
    Ok(fst)
}

/// Adds a path that rewrites one text as another.
fn add_rewriting(fst: &mut Fst, from: usize, to: usize, (text, written): (&str, &str), cost: f32) {
    let byte = |text: &str, i: usize| text.as_bytes().get(i).map_or(EPSILON, |&byte| i32::from(byte));
    let length = text.len().max(written.len());
    let mut at = from;
    for i in 0..length {
        let next = if i + 1 == length { to } else { fst.add_state(None) };
        let cost = if i == 0 { cost } else { 0.0 };
        fst.add_arc(at, Arc { input: byte(text, i), output: byte(written, i), cost, next });
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::Pronunciation;
    use crate::text::phrases::Format;

    fn tokens() -> TokenTable {
        TokenTable::new(["<blk>", "a", "b", "c"].map(String::from).to_vec(), 0).expect("a good table")
    }

    fn options(lexicon: &[(&str, &[&str])]) -> DecoderOptions {
        let entry = |&(word, tokens): &(&str, &[&str])| Pronunciation {
            word: word.into(),
            tokens: tokens.iter().map(|t| t.to_string()).collect(),
        };
        DecoderOptions {
            lexicon: lexicon.iter().map(entry).collect(),
            word_cost: 0.3,
            filler_entry_cost: 2.0,
            filler_label_cost: 1.0,
            ..Default::default()
        }
    }

    fn graph(options: &DecoderOptions, phrases: Option<&Phrases>) -> Fst {
        let sentences = Sentences::new(&tokens(), options, phrases).expect("a lexicon");
        decoding_graph(&tokens(), options, &sentences, 0.04).expect("a graph")
    }

    /// The best path of a graph through `[T, 4]` log-probabilities that ends in a final state: its score
    /// and its words.
    fn best(fst: &Fst, log_probs: &[[f32; 4]]) -> (f32, Vec<i32>) {
        let mut paths: HashMap<usize, (f32, Vec<i32>)> = HashMap::from([(0, (0.0, vec![]))]);
        for frame in log_probs {
            let mut next: HashMap<usize, (f32, Vec<i32>)> = HashMap::new();
            for (state, (score, words)) in paths {
                for arc in fst.arcs(state) {
                    let score = score + frame[arc.input as usize - 1] - arc.cost;
                    if next.get(&arc.next).is_none_or(|other| other.0 < score) {
                        let written = (arc.output != EPSILON).then_some(arc.output);
                        next.insert(arc.next, (score, words.iter().copied().chain(written).collect()));
                    }
                }
            }
            paths = next;
        }
        let ended = paths.into_iter().filter(|(state, _)| fst.final_cost(*state).is_some());
        let ended = ended.map(|(state, path)| (path.0 - fst.final_cost(state).unwrap_or(0.0), path.1));
        ended.max_by(|a, b| a.0.total_cmp(&b.0)).expect("blanks alone end")
    }

    /// The score of the best alignment of a sequence of labels (CTC, Viterbi).
    fn alignment(labels: &[usize], log_probs: &[[f32; 4]]) -> f32 {
        let extended: Vec<usize> = labels.iter().flat_map(|&label| [0, label]).chain([0]).collect();
        let mut scores = vec![f32::NEG_INFINITY; extended.len()];
        scores[0] = 0.0;
        for (t, frame) in log_probs.iter().enumerate() {
            let before = scores.clone();
            for s in 0..extended.len() {
                let mut score = before[s];
                if s > 0 && (t > 0 || s == 1) {
                    score = score.max(before[s - 1]);
                }
                if s > 1 && t > 0 && extended[s] != 0 && extended[s] != extended[s - 2] {
                    score = score.max(before[s - 2]);
                }
                scores[s] = score + frame[extended[s]];
            }
        }
        scores[extended.len() - 1].max(if extended.len() > 1 { scores[extended.len() - 2] } else { f32::MIN })
    }

    const LEXICON: [(&str, &[&str]); 4] =
        [("ab", &["a", "b"]), ("a", &["a"]), ("bb", &["b", "b"]), ("ab", &["a", "c", "b"])];

    /// The score of the best of all word sequences with at most as many labels as frames.
    fn exhaustive(word_cost: f32, log_probs: &[[f32; 4]]) -> f32 {
        let pronunciations: [&[usize]; 4] = [&[1, 2], &[1], &[2, 2], &[1, 3, 2]];
        let mut found = f32::NEG_INFINITY;
        let mut sequences: Vec<(usize, Vec<usize>)> = vec![(0, vec![])];
        while let Some((words, labels)) = sequences.pop() {
            found = found.max(alignment(&labels, log_probs) - word_cost * words as f32);
            for more in pronunciations {
                if labels.len() + more.len() <= log_probs.len() {
                    sequences.push((words + 1, [&labels[..], more].concat()));
                }
            }
        }
        found
    }

    fn frame(numbers: [f32; 4]) -> [f32; 4] {
        let sum: f32 = numbers.iter().map(|n| n.exp()).sum();
        numbers.map(|n| n - sum.ln())
    }

    proptest! {
        #[test]
        fn the_best_path_is_the_best_of_all_sequences_of_words(
            numbers in proptest::collection::vec(proptest::array::uniform4(-3f32..3.0), 1..7)
        ) {
            let log_probs: Vec<[f32; 4]> = numbers.into_iter().map(frame).collect();
            // Without filler.
            let options = DecoderOptions { filler_entry_cost: 1e6, ..options(&LEXICON) };
            let graph = graph(&options, None);
            let (score, _) = best(&graph, &log_probs);
            prop_assert!((score - exhaustive(options.word_cost, &log_probs)).abs() < 1e-4);
        }
    }

    /// Frames with a probability of 0.91 for one label each.
    fn sure(labels: &[usize]) -> Vec<[f32; 4]> {
        let row =
            |&best: &usize| std::array::from_fn(|i| if i == best { 0.91f32.ln() } else { 0.03f32.ln() });
        labels.iter().map(row).collect()
    }

    #[test]
    fn words_are_numbered_and_filler_is_not_a_word() {
        let options = options(&LEXICON);
        let graph = graph(&options, None);
        let words = |labels: &[usize]| best(&graph, &sure(labels)).1;
        assert_eq!(
            words_txt(&Sentences::new(&tokens(), &options, None).expect("a lexicon")),
            b"<eps> 0\nab 1\na 2\nbb 3\n"
        );
        assert_eq!(words(&[0, 1, 1, 2, 0]), [1]);
        assert_eq!(words(&[1, 0, 1, 2, 0]), [2, 1]);
        assert_eq!(words(&[2, 0, 2, 0]), [3]);
        assert_eq!(words(&[0, 3, 0, 3, 0, 3, 3, 0]), [0i32; 0]);
        assert_eq!(words(&[1, 3, 2, 0, 3, 0, 3]), [1], "filler after a word");
    }

    #[test]
    fn only_phrases_are_accepted_with_phrases() {
        let phrases = Phrases::parse("/2/ a bb\n/1/ bb [a a]\n", Format::Lines, None).expect("phrases");
        let lexicon: [(&str, &[&str]); 2] = [("a", &["a"]), ("bb", &["b", "b"])];
        let options = options(&lexicon);
        let graph = graph(&options, Some(&phrases));
        let words = |labels: &[usize]| best(&graph, &sure(labels));
        let (score, found) = words(&[1, 2, 0, 2, 0]);
        assert_eq!(found, [1, 2]);
        assert!((score - (5.0 * 0.91f32.ln() - 0.6)).abs() < 1e-3, "two words: {score}");
        let (score, found) = words(&[2, 0, 2, 1, 0, 1]);
        assert_eq!(found, [2, 1, 1]);
        let weight = (6.0 * 0.91f32.ln() - 0.9) - score;
        assert!((weight - 2f32.ln()).abs() < 2e-3, "half as likely as the likeliest phrase: {weight}");
        assert_eq!(words(&[1, 2, 0, 2, 0, 2, 0, 2]).1, [1, 2, 2], "two phrases");
        assert!(words(&[1, 0, 1, 0]).1.is_empty(), "no phrase");
    }

    #[test]
    fn filler_pays_its_entry_cost_again_after_a_pause() {
        let graph = graph(&options(&LEXICON), None);
        let score = |silence: usize| {
            let labels = [vec![3], vec![0; silence], vec![3]].concat();
            best(&graph, &sure(&labels)).0 - labels.len() as f32 * 0.91f32.ln()
        };
        assert!((score(10) - -4.0).abs() < 1e-3, "one entry cost, two label costs: {}", score(10));
        assert!(
            (score(pause_frames(&DecoderOptions::default(), 0.04) as usize + 1) - -6.0).abs() < 1e-3,
            "two entry costs"
        );
    }

    #[test]
    fn unknown_tokens_are_refused() {
        let error =
            Sentences::new(&tokens(), &options(&[("w", &["a", "x"])]), None).err().expect("no token x");
        assert!(error.to_string().contains("`w`") && error.to_string().contains("`x`"), "{error}");
    }

    /// The output of the rule for a text: its cheapest path.
    fn rewritten(fst: &Fst, text: &str) -> Option<String> {
        let mut found: Option<(f32, Vec<u8>)> = None;
        let mut paths = vec![(0, 0, 0.0, Vec::new())];
        while let Some((state, at, cost, written)) = paths.pop() {
            if at == text.len()
                && fst.final_cost(state).is_some()
                && found.as_ref().is_none_or(|best| cost < best.0)
            {
                found = Some((cost, written.clone()));
            }
            for arc in fst.arcs(state) {
                let reads = usize::from(arc.input != EPSILON);
                if reads == 1 && text.as_bytes().get(at).map(|&b| i32::from(b)) != Some(arc.input) {
                    continue;
                }
                let mut written = written.clone();
                written.extend(u8::try_from(arc.output).ok().filter(|&b| b != 0));
                paths.push((arc.next, at + reads, cost + arc.cost, written));
            }
        }
        found.map(|(_, written)| String::from_utf8(written).expect("UTF-8"))
    }

    #[test]
    fn the_text_of_labels_becomes_the_text_of_words() {
        let tokens: Vec<String> =
            ["<blk>", "T", "UW", "S", "IH", "K", "▁e", "A", "B"].map(String::from).to_vec();
        let tokens = TokenTable::new(tokens, 0).expect("a good table");
        let rule = |lexicon: &[(&str, &[&str])], phrases: Option<&Phrases>| {
            let options = options(lexicon);
            text_rule(&Sentences::new(&tokens, &options, phrases).expect("a lexicon")).expect("a rule")
        };
        let digits = [("two", &["T", "UW"][..]), ("six", &["S", "IH", "K", "S"]), ("é", &["▁e"])];
        let digits = rule(&digits, None);
        assert_eq!(rewritten(&digits, "TUWSIHKSTUW").as_deref(), Some("two six two"));
        assert_eq!(rewritten(&digits, "").as_deref(), Some(""));
        assert_eq!(rewritten(&digits, "e eTUW").as_deref(), Some("é é two"));
        assert_eq!(rewritten(&digits, "TUWAH"), None, "filler");
        // The reading with fewer words is chosen.
        let words: [(&str, &[&str]); 3] = [("a", &["A"]), ("b", &["B"]), ("ab", &["A", "B"])];
        assert_eq!(rewritten(&rule(&words, None), "ABA").as_deref(), Some("ab a"));
        // With phrases, only their sentences are read.
        let phrases = Phrases::parse("a b ab\n", Format::Lines, None).expect("phrases");
        let phrases = rule(&words, Some(&phrases));
        assert_eq!(rewritten(&phrases, "ABAB").as_deref(), Some("a b ab"));
        assert_eq!(rewritten(&phrases, "ABABABAB").as_deref(), Some("a b ab a b ab"));
        assert_eq!(rewritten(&phrases, "ABA"), None);
    }
}
