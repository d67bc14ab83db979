//! The search for a lexicon's words as transducers that sherpa-onnx takes: a decoding graph, which
//! turns the network's labels into words, and a rule that turns the text of the labels into text of
//! words.
//!
//! The graph is the search of [`crate::decode::lexicon`] written out: CTC's topology over a loop of
//! words, beside which other speech takes any labels, pays once when it begins and for each label, and
//! is no word. A state is a place (between words, in the middle of some, in other speech) and the label
//! that was read last, or none after a blank: a label goes on as long as it is repeated, and the same
//! label again needs a blank between.
//!
//! ```text
//!            ┌── blank ──┐                     ┌─ label k ─┐        labels are read as id + 1
//!            ▼           │                     ▼           │        a word is written by its last label
//!          root ──── first label ───► prefix of words ──── last label: word ───► root behind the label
//!            │ entry + label cost                                        ▲
//!            └──► other speech, any labels at a cost each ───────────────┘ (by the first label of a word)
//! ```

use std::collections::HashMap;

use super::fst::{Arc, EPSILON, Fst};
use crate::decode::DecoderOptions;
use crate::decode::lexicon::words;
use crate::decode::search::pause_frames;
use crate::error::{Error, Result, Stage};
use crate::text::TokenTable;
use crate::text::tokens::WORD_START;

/// What a word costs where the text of labels is read again: of two ways to read it, the one in fewer
/// words.
const WORD_OF_TEXT_COST: f32 = 1.0;

/// Where in the search a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// Between words.
    Root,
    /// Behind the labels of this node of the tree of pronunciations.
    Prefix(usize),
    /// In other speech, after so many blanks.
    Other(u32),
}

/// A node of the tree in which pronunciations that begin alike share their beginnings.
#[derive(Clone, Debug, Default)]
struct TreeNode {
    /// Label and node.
    children: Vec<(u32, usize)>,
    /// Words (by number) that end here.
    words: Vec<u32>,
}

/// The tree of a lexicon; node 0 is its root. Words are numbered as by [`words`].
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
    /// Blanks that make a pause.
    pause: u32,
}

/// The decoding graph of a model with a lexicon. Input labels are ids of tokens plus 1, output labels
/// numbers of words from 1 on, in the order of [`words_txt`].
///
/// # Errors
/// When a pronunciation has a token that the model does not have.
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
    /// The state's number; it is made when it is first asked for.
    fn state(&mut self, place: Place, last: Option<u32>) -> usize {
        if let Some(&state) = self.states.get(&(place, last)) {
            return state;
        }
        // A word may end the stream, and so may other speech.
        let state = self.fst.add_state(!matches!(place, Place::Prefix(_)));
        self.states.insert((place, last), state);
        self.unfinished.push((place, last));
        state
    }

    fn read(&mut self, from: usize, label: u32, output: i32, cost: f32, (place, last): (Place, Option<u32>)) {
        let next = self.state(place, last);
        self.fst.add_arc(from, Arc { input: label as i32 + 1, output, cost, next });
    }

    /// Adds all ways out of a state.
    fn leave(&mut self, place: Place, last: Option<u32>) {
        let from = self.state(place, last);
        let blank = self.tokens.blank();
        let behind_blank = match place {
            // What follows a pause is judged anew.
            Place::Other(blanks) if blanks + 1 >= self.pause => Place::Root,
            Place::Other(blanks) => Place::Other(blanks + 1),
            other => other,
        };
        self.read(from, blank, EPSILON, 0.0, (behind_blank, None));
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

/// The words and their numbers, a word a line, as Kaldi's `words.txt` has them.
pub(super) fn words_txt(options: &DecoderOptions) -> Vec<u8> {
    let mut text = String::from("<eps> 0\n");
    for (i, word) in words(options).iter().enumerate() {
        text.push_str(&format!("{word} {}\n", i + 1));
    }
    text.into_bytes()
}

/// The rule that turns the text of labels (`TUWSIHKS`) into text of words (`two six`): a transducer
/// over bytes. Of other texts it makes nothing.
pub(super) fn text_rule(options: &DecoderOptions) -> Fst {
    let mut fst = Fst::default();
    // Before the first word, and behind a word, where a space goes before the next.
    let (start, behind) = (fst.add_state(true), fst.add_state(true));
    for entry in &options.lexicon {
        // sherpa-onnx writes the mark of a word's beginning as a space.
        let labels: String = entry.tokens.concat().replace(WORD_START, " ");
        for (from, space) in [(start, ""), (behind, " ")] {
            // The text's first space is left out.
            let labels = if space.is_empty() { labels.trim_start() } else { labels.as_str() };
            let written = format!("{space}{}", entry.word);
            let length = labels.len().max(written.len());
            let mut at = from;
            for i in 0..length {
                let byte = |text: &str| text.as_bytes().get(i).map_or(EPSILON, |&byte| i32::from(byte));
                let next = if i + 1 == length { behind } else { fst.add_state(false) };
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

    /// The best sequence of words of all with as many labels as there are frames at most.
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
            // No other speech.
            let options = DecoderOptions { filler_entry_cost: 1e6, ..options(&LEXICON) };
            let graph = decoding_graph(&tokens(), &options, 0.04).expect("a graph");
            let (score, _) = best(&graph, &log_probs);
            prop_assert!((score - exhaustive(options.word_cost, &log_probs)).abs() < 1e-4);
        }
    }

    /// Frames that give 0.91 to one label each.
    fn sure(labels: &[usize]) -> Vec<[f32; 4]> {
        let row =
            |&best: &usize| std::array::from_fn(|i| if i == best { 0.91f32.ln() } else { 0.03f32.ln() });
        labels.iter().map(row).collect()
    }

    #[test]
    fn words_have_their_numbers_and_other_speech_is_none() {
        let options = options(&LEXICON);
        let graph = decoding_graph(&tokens(), &options, 0.04).expect("a graph");
        let words = |labels: &[usize]| best(&graph, &sure(labels)).1;
        assert_eq!(words_txt(&options), b"<eps> 0\nab 1\na 2\nbb 3\n");
        assert_eq!(words(&[0, 1, 1, 2, 0]), [1]);
        assert_eq!(words(&[1, 0, 1, 2, 0]), [2, 1]);
        assert_eq!(words(&[2, 0, 2, 0]), [3]);
        assert_eq!(words(&[0, 3, 0, 3, 0, 3, 3, 0]), [0i32; 0]);
        assert_eq!(words(&[1, 3, 2, 0, 3, 0, 3]), [1], "other speech behind a word");
    }

    #[test]
    fn other_speech_pays_anew_after_a_long_silence() {
        let graph = decoding_graph(&tokens(), &options(&LEXICON), 0.04).expect("a graph");
        let score = |silence: usize| {
            let labels = [vec![3], vec![0; silence], vec![3]].concat();
            best(&graph, &sure(&labels)).0 - labels.len() as f32 * 0.91f32.ln()
        };
        assert!((score(10) - -4.0).abs() < 1e-3, "once the entry, twice a label: {}", score(10));
        assert!(
            (score(pause_frames(&DecoderOptions::default(), 0.04) as usize + 1) - -6.0).abs() < 1e-3,
            "twice the entry"
        );
    }

    #[test]
    fn unknown_tokens_are_refused() {
        let error = decoding_graph(&tokens(), &options(&[("w", &["a", "x"])]), 0.04).expect_err("no token x");
        assert!(error.to_string().contains("`w`") && error.to_string().contains("`x`"), "{error}");
    }

    /// What the rule makes of a text: the cheapest way through it.
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
        assert_eq!(rewritten(&rule, "TUWAH"), None, "other speech");
        // Of two readings the one in fewer words.
        let rule = text_rule(&options(&[("a", &["A"]), ("b", &["B"]), ("ab", &["A", "B"])]));
        assert_eq!(rewritten(&rule, "ABA").as_deref(), Some("ab a"));
    }
}
