//! Word and character error rates: (S + D + I) / N over an alignment of minimum edit distance (Levenshtein 1966;
//! Wagner and Fischer 1974), where N is the length of the reference.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, Result, Stage};
use crate::text::normalize;

/// Maximum number of cells of an alignment. For longer utterances edits are counted, but confusions are not collected.
const MAX_CELLS: usize = 1 << 26;

/// Number of edits, in words or characters, from a reference to a hypothesis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// S, units replaced by another.
    pub substitutions: u64,
    /// D, units of the reference missing in the hypothesis.
    pub deletions: u64,
    /// I, units of the hypothesis missing in the reference.
    pub insertions: u64,
    /// N, the number of units in the reference.
    pub reference: u64,
}

impl Edits {
    /// S + D + I, the number of errors.
    pub fn errors(&self) -> u64 {
        self.substitutions + self.deletions + self.insertions
    }

    /// The error rate (S + D + I) / N, which may exceed 1; `None` if the reference is empty.
    pub fn rate(&self) -> Option<f64> {
        (self.reference > 0).then(|| self.errors() as f64 / self.reference as f64)
    }

    /// The number of units in the hypothesis.
    pub fn hypothesis(&self) -> u64 {
        self.reference + self.insertions - self.deletions
    }

    /// S + I, the number of wrong units in the hypothesis.
    pub fn false_units(&self) -> u64 {
        self.substitutions + self.insertions
    }

    /// Adds another utterance's edits.
    pub fn merge(&mut self, other: &Edits) {
        self.substitutions += other.substitutions;
        self.deletions += other.deletions;
        self.insertions += other.insertions;
        self.reference += other.reference;
    }
}

/// The order of utterances by their errors, the worst first: by error rate (without reference words by their number of
/// errors), then by the number of errors.
pub fn worst_first(a: &Edits, b: &Edits) -> Ordering {
    let rate = |edits: &Edits| edits.rate().unwrap_or(edits.errors() as f64);
    rate(b).total_cmp(&rate(a)).then_with(|| b.errors().cmp(&a.errors()))
}

/// A step of an alignment, with indices into reference and hypothesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Equal units of reference and hypothesis.
    Match(usize, usize),
    /// Different units of reference and hypothesis.
    Substitution(usize, usize),
    /// A unit of the reference without a counterpart.
    Deletion(usize),
    /// A unit of the hypothesis without a counterpart.
    Insertion(usize),
}

/// Counts the edits of the alignment that `align` finds, in memory linear in the length of the hypothesis.
pub fn count_edits<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Edits {
    let edits = |s, d, i| Edits { substitutions: s, deletions: d, insertions: i, reference: 0 };
    // row[j]: edits from the first i units of the reference to the first j units of the hypothesis.
    let mut row: Vec<Edits> = (0..=hypothesis.len() as u64).map(|j| edits(0, 0, j)).collect();
    for (i, r) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = edits(0, i as u64 + 1, 0);
        for (j, h) in hypothesis.iter().enumerate() {
            let mut best = diagonal;
            best.substitutions += u64::from(r != h);
            let (up, left) = (row[j + 1], row[j]);
            for other in [
                edits(up.substitutions, up.deletions + 1, up.insertions),
                edits(left.substitutions, left.deletions, left.insertions + 1),
            ] {
                if (other.errors(), other.substitutions) < (best.errors(), best.substitutions) {
                    best = other;
                }
            }
            diagonal = up;
            row[j + 1] = best;
        }
    }
    Edits { reference: reference.len() as u64, ..row[hypothesis.len()] }
}

/// An alignment of minimum edit distance, first to last; among these one with the fewest substitutions, which
/// maximizes the matches. Takes (N + 1) × (M + 1) bytes for M units in the hypothesis.
pub fn align<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Vec<Step> {
    let (n, m) = (reference.len(), hypothesis.len());
    let width = m + 1;
    // 0: match or substitution, 1: deletion, 2: insertion.
    let mut from = vec![0u8; (n + 1) * width];
    from[1..width].fill(2);
    // (errors, substitutions): ties in errors are broken by substitutions.
    let mut row: Vec<(usize, usize)> = (0..=m).map(|j| (j, 0)).collect();
    for i in 1..=n {
        let mut diagonal = row[0];
        row[0] = (i, 0);
        from[i * width] = 1;
        for j in 1..=m {
            let differs = usize::from(reference[i - 1] != hypothesis[j - 1]);
            let mut best = ((diagonal.0 + differs, diagonal.1 + differs), 0);
            for (from, way) in [(row[j], 1), (row[j - 1], 2)] {
                if (from.0 + 1, from.1) < best.0 {
                    best = ((from.0 + 1, from.1), way);
                }
            }
            diagonal = row[j];
            (row[j], from[i * width + j]) = best;
        }
    }
    let (mut i, mut j) = (n, m);
    let mut steps = Vec::with_capacity(n.max(m));
    while i > 0 || j > 0 {
        match from[i * width + j] {
            0 => {
                (i, j) = (i - 1, j - 1);
                let same = reference[i] == hypothesis[j];
                steps.push(if same { Step::Match(i, j) } else { Step::Substitution(i, j) });
            }
            1 => {
                i -= 1;
                steps.push(Step::Deletion(i));
            }
            _ => {
                j -= 1;
                steps.push(Step::Insertion(j));
            }
        }
    }
    steps.reverse();
    steps
}

/// Errors in one or several utterances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Edits of words.
    pub words: Edits,
    /// Edits of characters, where words are joined by single spaces.
    pub chars: Edits,
    /// Number of utterances.
    pub utterances: u64,
    /// Number of utterances without errors.
    pub correct: u64,
    /// Counts of confused words: (reference word, recognized word). One of them is empty for deletions and insertions.
    /// Correct words are not included.
    pub confusions: BTreeMap<(String, String), u64>,
}

impl Score {
    /// Word error rate as a fraction; `None` if the references have no words.
    pub fn wer(&self) -> Option<f64> {
        self.words.rate()
    }

    /// Character error rate as a fraction; `None` if the references have no words.
    pub fn cer(&self) -> Option<f64> {
        self.chars.rate()
    }

    /// Adds another score.
    pub fn merge(&mut self, other: &Score) {
        self.words.merge(&other.words);
        self.chars.merge(&other.chars);
        self.utterances += other.utterances;
        self.correct += other.correct;
        for (pair, count) in &other.confusions {
            *self.confusions.entry(pair.clone()).or_insert(0) += count;
        }
    }

    /// The confusions, most frequent first.
    pub fn most_confused(&self) -> Vec<(&str, &str, u64)> {
        let mut list: Vec<_> =
            self.confusions.iter().map(|((r, h), count)| (r.as_str(), h.as_str(), *count)).collect();
        list.sort_by(|a, b| b.2.cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
        list
    }
}

/// Compares transcripts after normalization by [`normalize::words`], which ignores case and punctuation.
#[derive(Clone, Debug, Default)]
pub struct Scorer {
    /// Words and the words that replace them before the comparison.
    equal: HashMap<String, String>,
}

impl Scorer {
    /// Creates a scorer with pairs of words that are considered equal, such as `oh=zero`.
    ///
    /// # Errors
    /// When a rule is not two words separated by `=`.
    pub fn new<S: AsRef<str>>(equal: &[S]) -> Result<Self> {
        let mut map = HashMap::new();
        for rule in equal {
            let rule = rule.as_ref();
            match rule.split_once('=').map(|(a, b)| (normalize::words(a), normalize::words(b))) {
                Some((mut a, mut b)) if a.len() == 1 && b.len() == 1 && rule.matches('=').count() == 1 => {
                    map.insert(a.remove(0), b.remove(0))
                }
                _ => {
                    let text = format!("expected two words as in `oh=zero`, found `{rule}`");
                    return Err(Error::new(Stage::Usage, text));
                }
            };
        }
        Ok(Self { equal: map })
    }

    /// The normalized words of a transcript, as they are compared.
    pub fn words(&self, text: &str) -> Vec<String> {
        let words = normalize::words(text).into_iter();
        words.map(|word| self.equal.get(&word).cloned().unwrap_or(word)).collect()
    }

    /// Scores one utterance.
    pub fn score(&self, reference: &str, hypothesis: &str) -> Score {
        let (r, h) = (self.words(reference), self.words(hypothesis));
        let mut score = Score { utterances: 1, words: count_edits(&r, &h), ..Score::default() };
        score.correct = u64::from(score.words.errors() == 0);
        let chars = |words: &[String]| words.join(" ").chars().collect::<Vec<_>>();
        score.chars = count_edits(&chars(&r), &chars(&h));
        if score.correct == 0 {
            for pair in aligned(&r, &h).into_iter().filter(|(said, found)| said != found) {
                *score.confusions.entry(pair).or_insert(0) += 1;
            }
        }
        score
    }

    /// The pairs of reference and recognized words of an utterance; one of them is empty for deletions and insertions.
    /// No pairs for utterances that are too long to be aligned.
    pub fn alignment(&self, reference: &str, hypothesis: &str) -> Vec<(String, String)> {
        aligned(&self.words(reference), &self.words(hypothesis))
    }
}

/// The pairs of an alignment; none for sequences that are too long.
fn aligned(r: &[String], h: &[String]) -> Vec<(String, String)> {
    if (r.len() + 1).saturating_mul(h.len() + 1) > MAX_CELLS {
        return Vec::new();
    }
    let pair = |step| match step {
        Step::Match(i, j) | Step::Substitution(i, j) => (r[i].clone(), h[j].clone()),
        Step::Deletion(i) => (r[i].clone(), String::new()),
        Step::Insertion(j) => (String::new(), h[j].clone()),
    };
    align(r, h).into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn score(reference: &str, hypothesis: &str) -> Score {
        Scorer::default().score(reference, hypothesis)
    }

    #[test]
    fn each_kind_of_edit_is_counted_and_named() {
        let score = score("a two b three four", "a too b four five");
        let Edits { substitutions, deletions, insertions, reference } = score.words;
        assert_eq!((substitutions, deletions, insertions, reference), (1, 1, 1, 5));
        assert_eq!(score.wer(), Some(0.6));
        let pair = |a: &str, b: &str| score.confusions.get(&(a.to_string(), b.to_string())).copied();
        assert_eq!(pair("two", "too"), Some(1));
        assert_eq!(pair("three", ""), Some(1));
        assert_eq!(pair("", "five"), Some(1));
        assert_eq!(score.confusions.len(), 3);
    }

    #[test]
    fn characters_count_with_single_spaces() {
        let score = score("a  b", "a c");
        assert_eq!((score.chars.substitutions, score.chars.reference), (1, 3));
    }

    #[test]
    fn words_declared_equal_count_as_correct() {
        let scorer = Scorer::new(&["oh=zero"]).expect("a good rule");
        let score = scorer.score("oh one ZERO", "zero one oh");
        assert_eq!((score.words.errors(), score.chars.errors(), score.correct), (0, 0, 1));
        for bad in ["oh", "=zero", "oh=", "a b=c", "a=b=c"] {
            let error = Scorer::new(&[bad]).expect_err("a bad rule");
            assert_eq!(error.stage(), Stage::Usage, "{bad}");
        }
    }

    #[test]
    fn without_a_reference_there_is_no_rate() {
        assert_eq!((score("", "").wer(), score("", "").correct), (None, 1));
        let false_words = score("", "one two");
        assert_eq!((false_words.wer(), false_words.words.false_units()), (None, 2));
        assert_eq!(score("one", "").words.deletions, 1);
        assert_eq!(score("one two", "one one three").words.hypothesis(), 3);
    }

    #[test]
    fn punctuation_and_composition_do_not_count() {
        for (reference, hypothesis) in
            [("Stop, please!", "stop please"), ("cafe\u{301} twenty-one", "caf\u{e9} twenty one")]
        {
            let score = score(reference, hypothesis);
            assert_eq!((score.words.errors(), score.chars.errors()), (0, 0), "{reference}");
        }
    }

    /// The edit distance by its recursive definition.
    fn distance(a: &[u8], b: &[u8]) -> u64 {
        match (a, b) {
            ([], rest) | (rest, []) => rest.len() as u64,
            ([x, a1 @ ..], [y, b1 @ ..]) => {
                (distance(a1, b1) + u64::from(x != y)).min(distance(a1, b) + 1).min(distance(a, b1) + 1)
            }
        }
    }

    proptest! {
        #[test]
        fn alignments_have_the_minimum_number_of_edits(
            a in proptest::collection::vec(0u8..3, 0..7), b in proptest::collection::vec(0u8..3, 0..7)
        ) {
            let edits = count_edits(&a, &b);
            prop_assert_eq!(edits.errors(), distance(&a, &b));
            let mut counted = Edits { reference: a.len() as u64, ..Edits::default() };
            let (mut i, mut j) = (0, 0);
            for step in align(&a, &b) {
                match step {
                    Step::Match(x, y) => { prop_assert_eq!((x, y, a[x]), (i, j, b[y])); i += 1; j += 1; }
                    Step::Substitution(x, y) => {
                        prop_assert_eq!((x, y), (i, j));
                        prop_assert_ne!(a[x], b[y]);
                        counted.substitutions += 1; i += 1; j += 1;
                    }
                    Step::Deletion(x) => { prop_assert_eq!(x, i); counted.deletions += 1; i += 1; }
                    Step::Insertion(y) => { prop_assert_eq!(y, j); counted.insertions += 1; j += 1; }
                }
            }
            prop_assert_eq!((i, j), (a.len(), b.len()));
            prop_assert_eq!(counted, edits);
        }
    }
}
