//! The lexicon search as finite-state transducers for sherpa-onnx: a decoding graph that maps the network's
//! labels to words, and a rule that rewrites the text of the labels as the text of the words.
//!
//! The graph expresses the search of [`crate::decode::lexicon`]: the CTC topology over a loop of words, in
//! parallel with out-of-vocabulary speech ("filler"), which accepts any labels at an entry cost and a cost
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

use super::fst::{Arc, EPSILON, Fst};
use crate::decode::DecoderOptions;
use crate::decode::lexicon::words;
use crate::decode::vocabulary::pause_frames;
use crate::error::{Error, Result, Stage};
use crate::text::TokenTable;
use crate::text::tokens::WORD_START;

/// Cost of a word in the text rule, so that of two readings of a text the one with fewer words is chosen.
const WORD_OF_TEXT_COST: f32 = 1.0;

/// The place of a state in the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// Between words.
    Root,
    /// After the labels of this node of the pronunciation tree.
    Prefix(usize),
    /// In filler, after this number of consecutive blanks.
    Other(u32),
}

/// A node of the prefix tree of pronunciations.
#[derive(Clone, Debug, Default)]
struct TreeNode {
    /// Label and index of each child.
    children: Vec<(u32, usize)>,
    /// Numbers of the words that end here.
    words: Vec<u32>,
}

/// The prefix tree of a lexicon; node 0 is its root. Words are numbered as by [`words`].
fn tree(tokens: &TokenTable, options: &DecoderOptions) -> Result<Vec<TreeNode>> {
    let names = words(options);
    let numbers: HashMap<&str, u32> = names.iter().map(String::as_str).zip(0..).collect();
    let mut nodes = vec![TreeNode::default()];
    for entry in &options.lexicon {
        let mut at = 0;
        for token in &entry.tokens {
            let unknown = || {
                Error::new(Stage::Model, format!("the model has no token `{token}`"))
                    .at(format!("lexicon: `{}`", entry.word))
            };
            let label = tokens.id(token).filter(|&id| id != tokens.blank()).ok_or_else(unknown)?;
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
        let word = numbers[entry.word.as_str()];
        if at > 0 && !nodes[at].words.contains(&word) {
            nodes[at].words.push(word);
        }
    }
    Ok(nodes)
}

/// The graph under construction.
struct Builder<'a> {
    fst: Fst,
    states: HashMap<(Place, Option<u32>), usize>,
    unfinished: Vec<(Place, Option<u32>)>,
    tree: Vec<TreeNode>,
    tokens: &'a TokenTable,
    options: &'a DecoderOptions,
    /// Number of consecutive blanks that end a filler.
    pause: u32,
}

/// Builds the decoding graph of a model with a lexicon. Input labels are token ids plus 1, output labels
/// the numbers of words from 1, in the order of [`words_txt`].
///
/// # Errors
/// When a pronunciation contains a token that the model does not have.
pub(super) fn decoding_graph(
    tokens: &TokenTable,
    options: &DecoderOptions,
    frame_seconds: f64,
) -> Result<Fst> {
    let mut builder = Builder {
        fst: Fst::default(),
        states: HashMap::new(),
        unfinished: Vec::new(),
        tree: tree(tokens, options)?,
        tokens,
        options,
        pause: pause_frames(options, frame_seconds),
    };
    builder.state(Place::Root, None);
    while let Some((place, last)) = builder.unfinished.pop() {
        builder.leave(place, last);
    }
    Ok(builder.fst)
}

impl Builder<'_> {
    /// The number of a state, which is added on first use.
    fn state(&mut self, place: Place, last: Option<u32>) -> usize {
        if let Some(&state) = self.states.get(&(place, last)) {
            return state;
        }
        // The stream may end after a word or in filler, but not inside a word.
        let state = self.fst.add_state(!matches!(place, Place::Prefix(_)));
        self.states.insert((place, last), state);
        self.unfinished.push((place, last));
        state
    }

    /// Adds an arc that reads `label`.
    fn read(&mut self, from: usize, label: u32, output: i32, cost: f32, (place, last): (Place, Option<u32>)) {
        let next = self.state(place, last);
        self.fst.add_arc(from, Arc { input: label as i32 + 1, output, cost, next });
    }

    /// Adds all arcs that leave a state.
    fn leave(&mut self, place: Place, last: Option<u32>) {
        let from = self.state(place, last);
        let blank = self.tokens.blank();
        let after_blank = match place {
            // After a pause the entry cost is due again.
            Place::Other(blanks) if blanks + 1 >= self.pause => Place::Root,
            Place::Other(blanks) => Place::Other(blanks + 1),
            other => other,
        };
        self.read(from, blank, EPSILON, 0.0, (after_blank, None));
        if let Some(label) = last {
            self.read(from, label, EPSILON, 0.0, (place, last));
        }
        let (node, word_cost) = match place {
            Place::Prefix(node) => (node, 0.0),
            _ => (0, self.options.word_cost),
        };
        for (label, child) in self.tree[node].children.clone() {
            if Some(label) == last {
                continue;
            }
            for word in self.tree[child].words.clone() {
                self.read(from, label, word as i32 + 1, word_cost, (Place::Root, Some(label)));
            }
            if !self.tree[child].children.is_empty() {
                self.read(from, label, EPSILON, word_cost, (Place::Prefix(child), Some(label)));
            }
        }
        let entry_cost = match place {
            Place::Prefix(_) => return,
            Place::Root => self.options.filler_entry_cost,
            Place::Other(_) => 0.0,
        };
        let cost = entry_cost + self.options.filler_label_cost;
        for label in (0..self.tokens.len() as u32).filter(|&label| label != blank && Some(label) != last) {
            self.read(from, label, EPSILON, cost, (Place::Other(0), Some(label)));
        }
    }
}

/// The words and their numbers, one word per line, in the format of Kaldi's `words.txt`.
pub(super) fn words_txt(options: &DecoderOptions) -> Vec<u8> {
    let mut text = String::from("<eps> 0\n");
    for (i, word) in words(options).iter().enumerate() {
        text.push_str(&format!("{word} {}\n", i + 1));
    }
    text.into_bytes()
}

/// Builds the rule that rewrites the text of labels (`TUWSIHKS`) as the text of words (`two six`): a
/// transducer over bytes. It rejects other texts.
pub(super) fn text_rule(options: &DecoderOptions) -> Fst {
    let mut fst = Fst::default();
    // The states before the first word and after a word, where the next word needs a space.
    let (start, after_word) = (fst.add_state(true), fst.add_state(true));
    for entry in &options.lexicon {
        // sherpa-onnx prints the word-start mark as a space.
        let labels: String = entry.tokens.concat().replace(WORD_START, " ");
        for (from, space) in [(start, ""), (after_word, " ")] {
            // The text has no leading space.
            let labels = if space.is_empty() { labels.trim_start() } else { labels.as_str() };
            let written = format!("{space}{}", entry.word);
            let length = labels.len().max(written.len());
            let mut at = from;
            for i in 0..length {
                let byte = |text: &str| text.as_bytes().get(i).map_or(EPSILON, |&byte| i32::from(byte));
                let next = if i + 1 == length { after_word } else { fst.add_state(false) };
                let cost = if i == 0 { WORD_OF_TEXT_COST } else { 0.0 };
                fst.add_arc(at, Arc { input: byte(labels), output: byte(&written), cost, next });
                at = next;
            }
        }
    }
    fst
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::Pronunciation;

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
        let ended = paths.into_iter().filter(|(state, _)| fst.is_final(*state)).map(|(_, path)| path);
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
            let graph = decoding_graph(&tokens(), &options, 0.04).expect("a graph");
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
        let graph = decoding_graph(&tokens(), &options, 0.04).expect("a graph");
        let words = |labels: &[usize]| best(&graph, &sure(labels)).1;
        assert_eq!(words_txt(&options), b"<eps> 0\nab 1\na 2\nbb 3\n");
        assert_eq!(words(&[0, 1, 1, 2, 0]), [1]);
        assert_eq!(words(&[1, 0, 1, 2, 0]), [2, 1]);
        assert_eq!(words(&[2, 0, 2, 0]), [3]);
        assert_eq!(words(&[0, 3, 0, 3, 0, 3, 3, 0]), [0i32; 0]);
        assert_eq!(words(&[1, 3, 2, 0, 3, 0, 3]), [1], "filler after a word");
    }

    #[test]
    fn filler_pays_its_entry_cost_again_after_a_pause() {
        let graph = decoding_graph(&tokens(), &options(&LEXICON), 0.04).expect("a graph");
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
        let error = decoding_graph(&tokens(), &options(&[("w", &["a", "x"])]), 0.04).expect_err("no token x");
        assert!(error.to_string().contains("`w`") && error.to_string().contains("`x`"), "{error}");
    }

    /// The output of the rule for a text: its cheapest path.
    fn rewritten(fst: &Fst, text: &str) -> Option<String> {
        let mut found: Option<(f32, Vec<u8>)> = None;
        let mut paths = vec![(0, 0, 0.0, Vec::new())];
        while let Some((state, at, cost, written)) = paths.pop() {
            if at == text.len() && fst.is_final(state) && found.as_ref().is_none_or(|best| cost < best.0) {
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
        let digits = [("two", &["T", "UW"][..]), ("six", &["S", "IH", "K", "S"]), ("é", &["▁e"])];
        let rule = text_rule(&options(&digits));
        assert_eq!(rewritten(&rule, "TUWSIHKSTUW").as_deref(), Some("two six two"));
        assert_eq!(rewritten(&rule, "").as_deref(), Some(""));
        assert_eq!(rewritten(&rule, "e eTUW").as_deref(), Some("é é two"));
        assert_eq!(rewritten(&rule, "TUWAH"), None, "filler");
        // The reading with fewer words is chosen.
        let rule = text_rule(&options(&[("a", &["A"]), ("b", &["B"]), ("ab", &["A", "B"])]));
        assert_eq!(rewritten(&rule, "ABA").as_deref(), Some("ab a"));
    }
}
