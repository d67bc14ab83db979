//! Forced alignment: finds the output frames of the labels of a known text.
//!
//! The Viterbi algorithm finds the best path through the CTC topology of a text's words (A. Graves et al.,
//! "Connectionist temporal classification", ICML 2006). The search is exact: if every word has one pronunciation,
//! path and score are those of `torchaudio.functional.forced_align`. The pronunciations of a word are parallel
//! branches, of which the path takes one. Blanks, which are also silence, may precede and follow every word.
//!
//! With U output frames and S states (about twice the number of labels of all pronunciations), the search takes
//! O(U × S) time and O(S × √U) memory: the scores of every √U-th frame are kept, and the back pointers of the
//! frames between two of them, a byte each, are computed again from these scores.

mod graph;

use std::ops::Range;

use graph::{BLANK, Graph, NO_WORD};

use super::TokenId;
use crate::error::{Error, Result, Stage};

/// Maximum U × S of an alignment, which is that of about 40 minutes of continuous speech in frames of 40 ms. Aligning
/// these takes a minute on one core and 200 MB; ten minutes of speech take three seconds and 30 MB.
pub const MAX_CELLS: u64 = 1 << 32;
/// Maximum number of log-probabilities that are kept: U × number of different tokens of the text.
const MAX_VALUES: usize = 1 << 27;
/// Minimum number of frames between two labels in which the blank is unlikely, from which on the gap counts as speech
/// that is not in the text.
const MIN_UNMATCHED_FRAMES: usize = 4;

/// A word of the text with its pronunciations as labels of the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceWord {
    /// Spelling of the word, for error messages.
    pub text: String,
    /// One or more label sequences, which are not empty and do not contain the blank.
    pub pronunciations: Vec<Vec<TokenId>>,
}

/// A label of the text with the frames that emit it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelSpan {
    /// The label.
    pub token: TokenId,
    /// Index of its word in the text.
    pub word: usize,
    /// First output frame of the label.
    pub start: u64,
    /// One past its last output frame.
    pub end: u64,
    /// Mean log-probability of the label over these frames, as the score of torchaudio's `TokenSpan`.
    pub log_prob: f32,
    /// Mean posterior of the label over these frames, 0 to 1.
    pub posterior: f32,
}

/// The best path of a text through the output frames of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignedPath {
    /// Log-probability of the path, including blanks.
    pub log_prob: f64,
    /// Labels on the path, in order.
    pub labels: Vec<LabelSpan>,
    /// Ranges of frames between labels that contain speech which is not in the text.
    pub unmatched: Vec<Range<u64>>,
}

/// Aligner of one text with one recording.
#[derive(Clone, Debug)]
pub struct Aligner {
    graph: Graph,
    /// Log-probabilities of the graph's columns, `[U, C]`.
    values: Vec<f32>,
}

impl Aligner {
    /// Creates an aligner for a text; `blank` is the model's CTC blank.
    ///
    /// # Errors
    /// When the text has no words, or a word has no pronunciation, more than 64 pronunciations, or one that is empty
    /// or contains the blank; names the word.
    pub fn new(words: &[ReferenceWord], blank: TokenId) -> Result<Self> {
        Ok(Self { graph: Graph::new(words, blank)?, values: Vec::new() })
    }

    /// Number of output frames received so far.
    pub fn num_frames(&self) -> usize {
        self.values.len() / self.graph.columns.len()
    }

    /// Appends log-probabilities (natural logarithm) `[U, V]`, with V = `num_tokens`.
    ///
    /// # Errors
    /// When a label of the text is not among the V tokens, a log-probability is NaN, or recording and text together
    /// are too long ([`MAX_CELLS`]).
    pub fn push(&mut self, log_probs: &[f32], num_tokens: usize) -> Result<()> {
        let columns = &self.graph.columns;
        if let Some(token) = columns.iter().find(|token| token.index() >= num_tokens) {
            let problem = format!("the text has the label {}, the model {num_tokens} tokens", token.0);
            return Err(Error::new(Stage::Model, problem));
        }
        for frame in log_probs.chunks_exact(num_tokens) {
            self.values.extend(columns.iter().map(|token| frame[token.index()]));
        }
        let frames = self.num_frames();
        let first = frames - log_probs.len() / num_tokens;
        if let Some(at) = self.values[first * columns.len()..].iter().position(|value| value.is_nan()) {
            let problem = format!("output frame {} is not a number", first + at / columns.len());
            return Err(Error::new(Stage::Engine, problem));
        }
        let cells = frames as u64 * self.graph.num_states() as u64;
        if cells > MAX_CELLS || self.values.len() > MAX_VALUES {
            let problem = format!(
                "recording and text are too long to be aligned as one: {frames} output frames and {} states",
                self.graph.num_states()
            );
            let hint =
                "align parts of half an hour at most: a manifest names them by `offset` and `duration`";
            return Err(Error::new(Stage::Corpus, problem).hint(hint));
        }
        Ok(())
    }

    /// Finds the best path through all frames.
    ///
    /// # Errors
    /// When there are more labels than fit into the frames (each takes at least one, and equal successive labels need
    /// a blank between them), in which case the first word that does not fit is named, or every path has
    /// probability 0.
    pub fn finish(&self) -> Result<AlignedPath> {
        let frames = self.num_frames();
        if let Some(word) = self.graph.min_frames.iter().position(|&least| least > frames) {
            let (needed, words) = (self.graph.min_frames.last().copied(), self.graph.words.len());
            let problem = format!(
                "the text does not fit into the recording: its labels take {} output frames or more, and there are \
                 {frames}; `{}` (word {} of {words}) is the first that does not fit",
                needed.unwrap_or_default(),
                self.graph.words[word],
                word + 1,
            );
            return Err(Error::new(Stage::Corpus, problem));
        }
        let (log_prob, path) = self.best_path();
        if log_prob == f64::NEG_INFINITY {
            let problem = "the text does not fit into the recording: by the model its probability is 0";
            return Err(Error::new(Stage::Corpus, problem));
        }
        let labels = self.labels(&path);
        let unmatched = self.unmatched(&labels);
        Ok(AlignedPath { log_prob, labels, unmatched })
    }

    fn frame(&self, frame: usize) -> &[f32] {
        let columns = self.graph.columns.len();
        &self.values[frame * columns..(frame + 1) * columns]
    }

    /// Log-probability of the best path and its state in each frame; there must be at least one frame.
    fn best_path(&self) -> (f64, Vec<u32>) {
        let (frames, states) = (self.num_frames(), self.graph.num_states());
        let block = frames.isqrt().max(1);
        let mut back = vec![0; block * states];
        // Scores at every frame whose index is a multiple of `block`.
        let mut kept = Vec::with_capacity(frames / block + 1);
        let (mut before, mut now) = (vec![f64::NEG_INFINITY; states], self.graph.first_scores(self.frame(0)));
        for frame in 0..frames {
            if frame > 0 {
                std::mem::swap(&mut before, &mut now);
                self.graph.step(self.frame(frame), &before, &mut now, &mut back[..states]);
            }
            if frame % block == 0 {
                kept.push(now.clone());
            }
        }
        let mut best = (f64::NEG_INFINITY, self.graph.final_states[0]);
        for &state in &self.graph.final_states {
            if now[state as usize] > best.0 {
                best = (now[state as usize], state);
            }
        }
        let mut path = vec![best.1; frames];
        for (number, scores) in kept.into_iter().enumerate().rev() {
            let first = number * block;
            let last = (first + block).min(frames - 1);
            before = scores;
            for (frame, back) in (first + 1..=last).zip(back.chunks_exact_mut(states)) {
                self.graph.step(self.frame(frame), &before, &mut now, back);
                std::mem::swap(&mut before, &mut now);
            }
            for frame in (first + 1..=last).rev() {
                let state = path[frame];
                let arc = back[(frame - first - 1) * states + state as usize];
                path[frame - 1] = self.graph.predecessor(state, arc);
            }
        }
        (best.0, path)
    }

    /// The labels on a path, with their frames.
    fn labels(&self, path: &[u32]) -> Vec<LabelSpan> {
        let mut labels = Vec::new();
        let mut start = 0;
        for run in path.chunk_by(|a, b| a == b) {
            let (end, state) = (start + run.len(), run[0] as usize);
            let (column, word) = (self.graph.emissions[state] as usize, self.graph.word_of[state]);
            if word != NO_WORD {
                let log_probs = (start..end).map(|frame| f64::from(self.frame(frame)[column]));
                let (mut log_prob, mut posterior) = (0.0, 0.0);
                for value in log_probs {
                    log_prob += value;
                    posterior += value.exp();
                }
                let frames = run.len() as f64;
                labels.push(LabelSpan {
                    token: self.graph.columns[column],
                    word: word as usize,
                    start: start as u64,
                    end: end as u64,
                    log_prob: (log_prob / frames) as f32,
                    posterior: (posterior / frames).clamp(0.0, 1.0) as f32,
                });
            }
            start = end;
        }
        labels
    }

    /// Ranges of frames between labels that contain speech: at least [`MIN_UNMATCHED_FRAMES`] frames with an unlikely
    /// blank, from the first of them to the last. A range may be inside a word, because the labels of a word can be
    /// aligned with distant parts of a recording.
    fn unmatched(&self, labels: &[LabelSpan]) -> Vec<Range<u64>> {
        let frames = self.num_frames() as u64;
        let bounds = labels.iter().flat_map(|label| [label.start, label.end]);
        let bounds: Vec<u64> = std::iter::once(0).chain(bounds).chain(std::iter::once(frames)).collect();
        let speech = |gap: &[u64]| {
            let is_speech = |&frame: &u64| self.frame(frame as usize)[BLANK as usize] < 0.5f32.ln();
            let found: Vec<u64> = (gap[0]..gap[1]).filter(is_speech).collect();
            let (first, last) = (found.first()?, found.last()?);
            (found.len() >= MIN_UNMATCHED_FRAMES).then_some(*first..*last + 1)
        };
        bounds.chunks_exact(2).filter_map(speech).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Log-probabilities `[U, V]` computed by a formula, for which goldens were generated with other programs.
    pub fn emission(frames: usize, tokens: usize) -> Vec<f64> {
        let mut all = Vec::new();
        for t in 0..frames {
            let logit = |v: usize| {
                let (time, token) = (t as f64, v as f64);
                2.0 * (0.7 * time + 1.3 * token + 0.05 * time * token).sin()
                    + 2.0 * (((7919 * (tokens * t + v)) % 1000) as f64 / 1000.0 - 0.5)
            };
            let sum: f64 = (0..tokens).map(|v| logit(v).exp()).sum();
            all.extend((0..tokens).map(|v| logit(v) - sum.ln()));
        }
        all
    }

    fn labels(ids: &[u32]) -> Vec<TokenId> {
        ids.iter().map(|&id| TokenId(id)).collect()
    }

    fn word(text: &str, pronunciations: &[&[u32]]) -> ReferenceWord {
        ReferenceWord {
            text: text.into(),
            pronunciations: pronunciations.iter().map(|p| labels(p)).collect(),
        }
    }

    fn align(words: &[ReferenceWord], frames: usize, tokens: usize) -> Result<AlignedPath> {
        let values: Vec<f32> = emission(frames, tokens).into_iter().map(|x| x as f32).collect();
        let mut aligner = Aligner::new(words, TokenId(0))?;
        // The sizes of the chunks do not affect the result.
        values.chunks(3 * tokens).try_for_each(|part| aligner.push(part, tokens))?;
        aligner.finish()
    }

    /// Results of torchaudio's `forced_align` and `merge_tokens`: the path's log-probability, and for each label its
    /// first frame, one past its last frame, and its mean log-probability.
    struct Golden {
        frames: usize,
        labels: &'static [u32],
        log_prob: f64,
        spans: &'static [(u64, u64, f32)],
    }

    const GOLDENS: [Golden; 8] = [
        Golden {
            frames: 20,
            labels: &[1, 2, 3],
            log_prob: -34.12290040703178,
            spans: &[(0, 3, -0.936182), (4, 9, -1.352001), (12, 17, -2.235389)],
        },
        Golden {
            frames: 20,
            labels: &[1, 1, 2],
            log_prob: -37.684742328319174,
            spans: &[(0, 3, -0.936182), (6, 10, -2.372377), (14, 17, -1.805154)],
        },
        Golden { frames: 20, labels: &[5], log_prob: -47.1758969058973, spans: &[(6, 17, -2.359806)] },
        Golden {
            frames: 20,
            labels: &[2, 2, 2, 2],
            log_prob: -34.57534965975718,
            spans: &[(0, 1, -1.482898), (4, 5, -3.017414), (6, 9, -0.722908), (14, 17, -1.805154)],
        },
        Golden {
            frames: 12,
            labels: &[1, 2, 3, 4, 5, 1],
            log_prob: -17.042958255312,
            spans: &[
                (0, 3, -0.936182),
                (4, 5, -3.017414),
                (5, 7, -0.960909),
                (7, 8, -4.481779),
                (8, 9, -0.614231),
                (9, 10, -0.60266),
            ],
        },
        Golden {
            frames: 6,
            labels: &[1, 1, 1],
            log_prob: -10.167984742694808,
            spans: &[(0, 1, -0.424784), (2, 3, -1.485067), (4, 5, -3.758542)],
        },
        Golden {
            frames: 5,
            labels: &[1, 1, 1],
            log_prob: -7.593466586936888,
            spans: &[(0, 1, -0.424784), (2, 3, -1.485067), (4, 5, -3.758542)],
        },
        Golden {
            frames: 60,
            labels: &[3, 1, 4, 1, 5, 2, 5, 3, 5],
            log_prob: -92.97807438942398,
            spans: &[
                (4, 7, -0.823718),
                (7, 10, -1.528063),
                (14, 19, -1.771365),
                (23, 28, -1.350988),
                (33, 36, -1.792384),
                (37, 40, -0.847823),
                (41, 44, -1.803361),
                (49, 52, -1.207647),
                (53, 56, -0.96505),
            ],
        },
    ];

    #[test]
    fn paths_are_those_of_torchaudio() {
        assert!((emission(1, 6)[1] - -0.4247844216404735).abs() < 1e-12);
        for golden in GOLDENS {
            // The result is the same whether all labels are one word or each is a word.
            let one = [word("all", &[golden.labels])];
            let each: Vec<_> = golden.labels.iter().map(|&label| word("one", &[&[label]])).collect();
            for words in [&one[..], &each] {
                let found = align(words, golden.frames, 6).expect("it fits");
                assert!((found.log_prob - golden.log_prob).abs() < 1e-4, "{:?}", golden.labels);
                let spans: Vec<_> = found.labels.iter().map(|l| (l.token.0, l.start, l.end)).collect();
                let expected = golden.labels.iter().zip(golden.spans);
                assert_eq!(spans, expected.map(|(&l, &(start, end, _))| (l, start, end)).collect::<Vec<_>>());
                for (label, golden) in found.labels.iter().zip(golden.spans) {
                    assert!((label.log_prob - golden.2).abs() < 1e-5, "{label:?}");
                }
            }
        }
    }

    /// Maximum log-probability of the V^U token sequences whose labels are one of `texts`.
    fn by_brute_force(texts: &[Vec<u32>], frames: usize, tokens: usize) -> f64 {
        let values = emission(frames, tokens);
        let mut best = f64::NEG_INFINITY;
        for number in 0..tokens.pow(frames as u32) {
            let path: Vec<usize> = (0..frames).map(|t| number / tokens.pow(t as u32) % tokens).collect();
            let runs = path.chunk_by(|a, b| a == b).map(|run| run[0] as u32);
            if texts.contains(&runs.filter(|&label| label != 0).collect()) {
                best = best.max(path.iter().enumerate().map(|(t, v)| values[t * tokens + v]).sum());
            }
        }
        best
    }

    #[test]
    fn pronunciations_compete_as_in_a_search_of_all_paths() {
        let texts: [&[&[&[u32]]]; 5] = [
            &[&[&[1]], &[&[1], &[2]]],
            &[&[&[1, 2], &[2]], &[&[2, 1], &[1]]],
            &[&[&[2, 2], &[1, 2, 1]], &[&[1]]],
            &[&[&[1]], &[&[1]], &[&[1], &[2, 1]]],
            &[&[&[1], &[2], &[3]], &[&[3, 3], &[3], &[1, 3]]],
        ];
        for text in texts {
            let words: Vec<_> = text.iter().map(|pronunciations| word("w", pronunciations)).collect();
            let mut all = vec![Vec::new()];
            for pronunciations in text {
                all = all
                    .iter()
                    .flat_map(|a: &Vec<u32>| pronunciations.iter().map(|p| [a, *p].concat()))
                    .collect();
            }
            for frames in 1..8 {
                let expected = by_brute_force(&all, frames, 4);
                match align(&words, frames, 4) {
                    Err(_) => assert_eq!(expected, f64::NEG_INFINITY, "{text:?} in {frames}"),
                    Ok(found) => {
                        assert!((found.log_prob - expected).abs() < 1e-5, "{text:?} in {frames}");
                        let labels: Vec<u32> = found.labels.iter().map(|label| label.token.0).collect();
                        assert!(all.contains(&labels), "{labels:?} are not a pronunciation of {text:?}");
                        assert!(
                            found.labels.windows(2).all(|l| l[0].end <= l[1].start && l[0].word <= l[1].word)
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn words_that_do_not_fit_are_named() {
        let words = [word("one", &[&[1, 2]]), word("two", &[&[2, 1, 3], &[2, 3]]), word("six", &[&[3]])];
        let error = align(&words, 5, 4).expect_err("6 frames are needed and more").to_string();
        assert!(error.contains("take 7 output frames") && error.contains("`six` (word 3 of 3)"), "{error}");
        let error = align(&words, 3, 4).expect_err("too short").to_string();
        assert!(error.contains("`two` (word 2 of 3)"), "{error}");
        assert!(align(&words, 0, 4).is_err());
        assert!(align(&words, 7, 4).is_ok());
    }

    #[test]
    fn texts_without_a_path_are_refused() {
        for (words, expected) in [
            (vec![], "no words"),
            (vec![word("x", &[])], "`x` has no pronunciation"),
            (vec![word("x", &[&[]])], "`x` has a pronunciation that is empty"),
            (vec![word("x", &[&[1, 0]])], "contains the blank"),
            (vec![word("x", &[&[7]])], "the label 7"),
        ] {
            let error = align(&words, 9, 4).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let many: Vec<Vec<u32>> = (1..70).map(|n| vec![n]).collect();
        let many: Vec<&[u32]> = many.iter().map(Vec::as_slice).collect();
        let error = Aligner::new(&[word("x", &many)], TokenId(0)).expect_err("too many").to_string();
        assert!(error.contains("69 pronunciations"), "{error}");
    }

    #[test]
    fn broken_and_impossible_numbers_are_named() {
        let mut aligner = Aligner::new(&[word("x", &[&[1]])], TokenId(0)).expect("a text");
        let error = aligner.push(&[0.0, 0.0, 0.0, f32::NAN], 2).expect_err("NaN").to_string();
        assert!(error.contains("output frame 1"), "{error}");
        let mut aligner = Aligner::new(&[word("x", &[&[1]])], TokenId(0)).expect("a text");
        aligner.push(&[0.0, f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY], 2).expect("numbers");
        assert!(aligner.finish().expect_err("impossible").to_string().contains("probability is 0"));
    }

    #[test]
    fn speech_without_text_is_reported() {
        // Blanks, except for token 2 in every other frame from 10 to 19.
        let frame = |t: usize| match t {
            3 => [0.05, 0.9, 0.05],
            10 | 12 | 14 | 16 | 18 => [0.05, 0.05, 0.9],
            _ => [0.9, 0.05, 0.05],
        };
        let values: Vec<f32> = (0..30).flat_map(frame).map(f32::ln).collect();
        let mut aligner = Aligner::new(&[word("x", &[&[1]])], TokenId(0)).expect("a text");
        aligner.push(&values, 3).expect("taken");
        let found = aligner.finish().expect("aligned");
        assert_eq!((found.labels[0].start, found.labels[0].end), (3, 4));
        assert!((found.labels[0].posterior - 0.9).abs() < 1e-6);
        assert_eq!(found.unmatched[0], 10..19);
    }
}
