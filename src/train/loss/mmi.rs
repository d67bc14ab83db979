//! Maximum mutual information (MMI): the loss compares the probability of the transcript with that of
//! everything that could have been said.
//!
//! L = ln Σ p(denominator) - ln Σ p(numerator), each a sum over all paths through a graph in the CTC
//! topology (Bahl et al., 1986; Povey et al., 2016, "Purely sequence-trained neural networks for ASR
//! based on lattice-free MMI"; Xiang and Ou, 2019, "CRF-based single-stage acoustic modeling with CTC
//! topology", arXiv:1904.05169). The denominator is either
//!
//! - any phones, at the costs of an n-gram ([`super::phone_ngram`]): lattice-free MMI. The numerator is
//!   then all pronunciations of the transcript, at the same costs; or
//! - the words of a lexicon and out-of-vocabulary speech, which is the filler of
//!   [`crate::decode::lexicon`], at the decoder's costs, so that the network learns to separate words
//!   from other speech as the search needs it.
//!
//! Silence is the blank in both, and is optional between any two labels.

use super::graph::{Builder, Exit, Graph, START};
use super::passes::{ForwardBackward, LANES};
use super::phone_ngram::Acceptor;
use crate::model::Real;
use crate::onnx::DecoderOptions;
use crate::text::TokenTable;

/// The pronunciations of a word, as token ids.
pub type LabelSequences = Vec<Vec<u32>>;

/// A transcript, word by word; `None` is speech outside the lexicon. A transcript without lexicon words may
/// also be noise or silence.
pub type Transcript = Vec<Option<LabelSequences>>;

/// The source of the costs of a path.
#[derive(Clone, Debug)]
enum Costs {
    Words { word: f64, filler_entry: f64, filler_label: f64 },
    Phones(Acceptor),
}

/// The criterion; the sum over the denominator is computed in T.
#[derive(Clone, Debug)]
pub struct Mmi<T> {
    costs: Costs,
    blank: u32,
    num_tokens: usize,
    /// Fraction of each frame's probability that leaks into any state of the denominator.
    leak: f64,
    denominator: Graph<T>,
}

/// An utterance, with its loss and gradient.
#[derive(Debug)]
pub struct Stream<'a, T> {
    /// Log-probabilities `[U, V]`.
    pub log_probs: &'a [T],
    /// The pronunciations of the transcript, word by word.
    pub transcript: &'a [Option<LabelSequences>],
    /// Factor of the gradient.
    pub scale: f64,
    /// Gradient with respect to the *logits*, `[U, V]`, to which this loss's is added.
    pub gradient: &'a mut [T],
    /// The loss, at least 0. `None`, with no gradient added, if no path matches: the words do not fit into
    /// the utterance, or the log-probabilities are not finite.
    pub loss: Option<f64>,
}

impl<T: Real> Mmi<T> {
    /// The criterion with a decoder's lexicon and filler as denominator; `None` without a lexicon.
    pub fn from_words(tokens: &TokenTable, options: &DecoderOptions) -> Option<Self> {
        let id = |name: &String| tokens.tokens().iter().position(|token| token == name).map(|id| id as u32);
        let pronunciations = options.lexicon.iter().map(|entry| entry.tokens.iter().map(id).collect());
        let pronunciations: LabelSequences = pronunciations.collect::<Option<_>>()?;
        if pronunciations.is_empty() {
            return None;
        }
        let (word, filler_entry) = (f64::from(options.word_cost), f64::from(options.filler_entry_cost));
        let filler_label = f64::from(options.filler_label_cost);
        let mut mmi = Self {
            costs: Costs::Words { word, filler_entry, filler_label },
            blank: tokens.blank(),
            num_tokens: tokens.len(),
            leak: 0.0,
            denominator: Graph::default(),
        };
        mmi.denominator = mmi.word_denominator(&pronunciations, word, filler_entry);
        Some(mmi)
    }

    /// The criterion with any phones, at the costs of an n-gram, as denominator (lattice-free MMI). `leak`
    /// is the fraction of each frame's probability that leaks into any state, which keeps all sums in
    /// range.
    pub fn from_phones(acceptor: Acceptor, num_tokens: usize, blank: u32, leak: f64) -> Self {
        let denominator = phone_denominator(&acceptor, blank);
        Self { costs: Costs::Phones(acceptor), blank, num_tokens, leak, denominator }
    }

    /// Number of states and arcs of the denominator.
    pub fn size(&self) -> (usize, usize) {
        (self.denominator.num_states(), self.denominator.num_arcs())
    }

    /// A loop of these pronunciations and the filler.
    fn word_denominator<G: Real>(
        &self,
        pronunciations: &[Vec<u32>],
        word_cost: f64,
        filler_entry_cost: f64,
    ) -> Graph<G> {
        let mut graph = Builder::default();
        let root = graph.state(self.blank);
        let filler = graph.state(self.num_tokens as u32);
        let blank_state = Exit { state: Some(root), label: None };
        let mut exits = vec![START, blank_state, Exit { state: Some(filler), label: None }];
        let mut firsts = Vec::new();
        for labels in pronunciations {
            firsts.push(graph.num_states());
            exits.push(graph.chain(&[], labels, self.blank, |_| 0.0));
        }
        for first in firsts {
            graph.link(&exits, first, word_cost);
        }
        let others = |exits: &[Exit], state| -> Vec<Exit> {
            exits.iter().copied().filter(|exit| exit.state != Some(state)).collect()
        };
        graph.link(&others(&exits, root), root, 0.0);
        graph.link(&others(&exits, filler), filler, filler_entry_cost);
        graph.end(&exits, 1.0);
        graph.finish()
    }

    /// The numerator's graph.
    fn numerator(&self, transcript: &[Option<LabelSequences>]) -> Graph<f64> {
        match &self.costs {
            Costs::Words { word, filler_entry, .. } if transcript.iter().any(Option::is_some) => {
                self.word_numerator(transcript, *word, *filler_entry)
            }
            Costs::Words { filler_entry, .. } => self.word_denominator(&[], 0.0, *filler_entry),
            Costs::Phones(acceptor) => self.phone_numerator(transcript, acceptor),
        }
    }

    /// The words in order, with optional silence between them, and the filler where other speech was.
    fn word_numerator(
        &self,
        transcript: &[Option<LabelSequences>],
        word_cost: f64,
        filler_entry_cost: f64,
    ) -> Graph<f64> {
        let mut graph = Builder::default();
        let mut exits = vec![START, graph.pause(&[START], self.blank)];
        for (i, word) in transcript.iter().enumerate() {
            let mut next: Vec<Exit> = match word {
                Some(pronunciations) => {
                    let cost = |k| if k == 0 { word_cost } else { 0.0 };
                    pronunciations
                        .iter()
                        .map(|labels| graph.chain(&exits, labels, self.blank, cost))
                        .collect()
                }
                None if i > 0 && transcript[i - 1].is_none() => continue,
                None => {
                    let filler = graph.state(self.num_tokens as u32);
                    graph.link(&exits, filler, filler_entry_cost);
                    vec![Exit { state: Some(filler), label: None }]
                }
            };
            next.push(graph.pause(&next, self.blank));
            exits = next;
        }
        graph.end(&exits, 1.0);
        graph.finish()
    }

    /// All pronunciations of the words at the n-gram's costs; exits are grouped by the n-gram's states.
    fn phone_numerator(&self, transcript: &[Option<LabelSequences>], acceptor: &Acceptor) -> Graph<f64> {
        let mut graph = Builder::default();
        let mut places = vec![(0u32, vec![START, graph.pause(&[START], self.blank)])];
        for pronunciations in transcript.iter().flatten() {
            let mut next: Vec<(u32, Vec<Exit>)> = Vec::new();
            for (state, exits) in &places {
                for labels in pronunciations.iter().filter(|labels| !labels.is_empty()) {
                    let mut state = *state;
                    let costs: Option<Vec<f64>> = labels
                        .iter()
                        .map(|&label| {
                            let (to, probability) = acceptor.step(state, label)?;
                            state = to;
                            Some(-probability.ln())
                        })
                        .collect();
                    let Some(costs) = costs else { continue };
                    let exit = graph.chain(exits, labels, self.blank, |k| costs[k]);
                    match next.iter_mut().find(|(known, _)| *known == state) {
                        Some((_, exits)) => exits.push(exit),
                        None => next.push((state, vec![exit])),
                    }
                }
            }
            for (_, exits) in &mut next {
                let blank_state = graph.pause(exits, self.blank);
                exits.push(blank_state);
            }
            places = next;
        }
        for (state, exits) in &places {
            graph.end(exits, acceptor.states.get(*state as usize).map_or(0.0, |state| state.end));
        }
        graph.finish()
    }

    /// Computes losses and gradients of at most [`LANES`] streams.
    pub fn run(&self, streams: &mut [Stream<'_, T>], workspace: &mut MmiWorkspace<T>) {
        let label_cost = match &self.costs {
            Costs::Words { filler_label, .. } => *filler_label,
            Costs::Phones(_) => 0.0,
        };
        let MmiWorkspace { single, batched } = workspace;
        let rows: Vec<&[T]> = streams.iter().map(|stream| stream.log_probs).collect();
        batched.take(&rows, self.num_tokens, self.blank, label_cost);
        let denominator = batched.run(&self.denominator, self.leak);
        for (lane, (stream, denominator)) in streams.iter_mut().zip(denominator).enumerate() {
            single.take(&[stream.log_probs], self.num_tokens, self.blank, label_cost);
            let [numerator] = single.run(&self.numerator(stream.transcript), 0.0);
            let fits = !stream.log_probs.is_empty() && numerator.is_finite() && denominator.is_finite();
            stream.loss = fits.then_some(denominator - numerator);
            if fits {
                single.add_posteriors(0, -stream.scale, stream.gradient);
                batched.add_posteriors(lane, stream.scale, stream.gradient);
            }
        }
    }
}

/// An n-gram in the CTC topology: each history has a state that emits its last label, and one that emits
/// blanks.
fn phone_denominator<T: Real>(acceptor: &Acceptor, blank: u32) -> Graph<T> {
    let mut graph = Builder::default();
    // The exits of each history.
    let mut exits = vec![vec![START, graph.pause(&[START], blank)]];
    for state in acceptor.states.iter().skip(1) {
        let end_state = graph.state(state.last.unwrap_or(blank));
        let end_state = Exit { state: Some(end_state), label: state.last };
        exits.push(vec![end_state, graph.pause(&[end_state], blank)]);
    }
    for (state, exits) in acceptor.states.iter().zip(&exits) {
        for &(_, to, probability) in &state.next {
            // History `to` has the states 2 to - 1 (its label) and 2 to (blank); history 0 has only state
            // 0.
            graph.link(exits, (2 * to).saturating_sub(1) as usize, -probability.ln());
        }
        graph.end(exits, state.end);
    }
    let mut leaky_weights = vec![T::ZERO; graph.num_states()];
    for (history, state) in acceptor.states.iter().enumerate() {
        leaky_weights[(2 * history).saturating_sub(1)] = T::from_f64(state.share);
    }
    Graph { leaky_weights, ..graph.finish() }
}

/// Scratch buffers of the passes, reused from call to call.
#[derive(Clone, Debug, Default)]
pub struct MmiWorkspace<T> {
    single: ForwardBackward<f64, 1>,
    batched: ForwardBackward<T, LANES>,
}

#[cfg(test)]
mod tests {
    use super::super::phone_ngram::{self, Options};
    use super::*;
    use crate::model::forward::log_softmax;
    use crate::onnx::Pronunciation;
    use rand::{RngExt, SeedableRng};

    /// The words of the tests by index: "ab" (or "b"), "a", "cc".
    const WORDS: [&[&[u32]]; 3] = [&[&[1, 2], &[2]], &[&[1]], &[&[3, 3]]];

    fn transcript(words: &[Option<usize>]) -> Transcript {
        let pronunciations = |word: usize| WORDS[word].iter().map(|labels| labels.to_vec()).collect();
        words.iter().map(|word| word.map(pronunciations)).collect()
    }

    /// Tokens: blank, a, b, c.
    fn from_words<T: Real>(filler_entry_cost: f32) -> Mmi<T> {
        let table = TokenTable::new(["<blk>", "a", "b", "c"].map(String::from).to_vec(), 0);
        let entry = |(word, tokens): (&str, &str)| Pronunciation {
            word: word.into(),
            tokens: tokens.chars().map(String::from).collect(),
        };
        let options = DecoderOptions {
            lexicon: [("ab", "ab"), ("ab", "b"), ("a", "a"), ("cc", "cc")].map(entry).to_vec(),
            filler_entry_cost,
            filler_label_cost: 0.2,
            word_cost: 0.3,
            ..Default::default()
        };
        Mmi::from_words(&table.expect("a good table"), &options).expect("a lexicon")
    }

    fn acceptor() -> Acceptor {
        let sequences: [&[u32]; 4] = [&[1, 2, 1, 2, 3, 3], &[1, 2, 3], &[3, 1, 1, 2], &[]];
        let options = Options { order: 3, max_states: 9 };
        phone_ngram::estimate(sequences.into_iter().map(|s| (s, 1.0)), 3, options)
    }

    fn from_phones<T: Real>(leak: f64) -> Mmi<T> {
        Mmi::from_phones(acceptor(), 4, 0, leak)
    }

    fn random_logits(steps: usize, seed: u64) -> Vec<f64> {
        let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
        (0..steps * 4).map(|_| rng.random_range(-3.0..3.0)).collect()
    }

    fn loss<T: Real>(
        mmi: &Mmi<T>,
        logits: &[f64],
        transcript: &Transcript,
        gradient: &mut [T],
    ) -> Option<f64> {
        let mut log_probs: Vec<T> = logits.iter().map(|&x| T::from_f64(x)).collect();
        log_softmax(&mut log_probs, 4);
        let mut streams = [Stream { log_probs: &log_probs, transcript, scale: 1.0, gradient, loss: None }];
        mmi.run(&mut streams, &mut MmiWorkspace::default());
        streams[0].loss
    }

    fn collapse(path: &[usize]) -> Vec<u32> {
        let mut labels = Vec::new();
        for (t, &k) in path.iter().enumerate() {
            if k != 0 && (t == 0 || path[t - 1] != k) {
                labels.push(k as u32);
            }
        }
        labels
    }

    /// All sequences of words that a collapsed path may be.
    fn readings(labels: &[u32]) -> Vec<Vec<usize>> {
        if labels.is_empty() {
            return vec![Vec::new()];
        }
        let pronunciations = WORDS.iter().enumerate().flat_map(|(word, pronunciations)| {
            pronunciations.iter().map(move |pronunciation| (word, pronunciation))
        });
        let mut all = Vec::new();
        for (word, pronunciation) in pronunciations {
            let Some(rest) = labels.strip_prefix(*pronunciation) else { continue };
            all.extend(readings(rest).into_iter().map(|rest| [vec![word], rest].concat()));
        }
        all
    }

    /// ln Σ over all V^U paths of p × `weight` of what they collapse to.
    fn brute_force(logits: &[f64], weight: impl Fn(&[u32]) -> f64) -> f64 {
        let mut log_probs = logits.to_vec();
        log_softmax(&mut log_probs, 4);
        let steps = logits.len() / 4;
        let mut total = 0.0;
        for code in 0..4usize.pow(steps as u32) {
            let path: Vec<usize> = (0..steps).map(|t| code / 4usize.pow(t as u32) % 4).collect();
            let p: f64 = path.iter().enumerate().map(|(t, &k)| log_probs[t * 4 + k]).sum();
            total += p.exp() * weight(&collapse(&path));
        }
        total.ln()
    }

    #[test]
    fn without_filler_it_is_the_sum_over_all_paths_of_words() {
        let mmi = from_words(f32::INFINITY);
        let cost = |words: &[usize]| (-f64::from(0.3f32) * words.len() as f64).exp();
        for (seed, words) in [(1, vec![0]), (2, vec![1, 0]), (3, vec![2]), (4, vec![1, 1]), (5, vec![0, 1])] {
            let logits = random_logits(6, seed);
            let sum = |wanted: &dyn Fn(&[usize]) -> bool| {
                let readings_of = |labels: &[u32]| readings(labels).into_iter().filter(|words| wanted(words));
                brute_force(&logits, |labels| readings_of(labels).map(|words| cost(&words)).sum())
            };
            let expected = sum(&|_| true) - sum(&|found| *found == words);
            let transcript = transcript(&words.iter().map(|&word| Some(word)).collect::<Vec<_>>());
            let found = loss(&mmi, &logits, &transcript, &mut [0.0; 24]).expect("it fits");
            assert!((found - expected).abs() < 1e-9, "{words:?}: {found}, expected {expected}");
        }
    }

    #[test]
    fn lattice_free_it_is_the_sum_over_all_paths_at_the_costs_of_the_n_gram() {
        let (mmi, acceptor) = (from_phones(0.0), acceptor());
        let probability = |labels: &[u32]| {
            let start = (0, 1.0);
            let (state, p) = labels.iter().fold(start, |(state, p), &label| {
                let (to, q) = acceptor.step(state, label).expect("any label");
                (to, p * q)
            });
            p * acceptor.states[state as usize].end
        };
        for (seed, words) in
            [(1, vec![0]), (2, vec![1, 0]), (3, vec![2]), (4, vec![1, 1]), (5, vec![0, 1, 0])]
        {
            let logits = random_logits(6, seed);
            let right =
                |labels: &[u32]| readings(labels).iter().filter(|found| **found == words).count() as f64;
            let expected = brute_force(&logits, probability)
                - brute_force(&logits, |labels| right(labels) * probability(labels));
            let transcript = transcript(&words.iter().map(|&word| Some(word)).collect::<Vec<_>>());
            let found = loss(&mmi, &logits, &transcript, &mut [0.0; 24]).expect("it fits");
            assert!((found - expected).abs() < 1e-9, "{words:?}: {found}, expected {expected}");
        }
    }

    #[test]
    fn gradient_equals_finite_differences() {
        let from_words = from_words(1.5);
        let words = [
            vec![Some(0), Some(1)],
            vec![],
            vec![None],
            vec![Some(1), None, Some(0)],
            vec![None, None, Some(1)],
        ];
        let (tight, leaky) = (from_phones(0.0), from_phones(0.05));
        let phones = [vec![Some(0), Some(1)], vec![], vec![Some(2), Some(0)]];
        let with =
            |mmi, all: &[Vec<Option<usize>>]| all.iter().map(|s| (mmi, transcript(s))).collect::<Vec<_>>();
        let cases = [with(&from_words, &words), with(&tight, &phones), with(&leaky, &phones)].concat();
        for (mmi, transcript) in cases {
            let mut logits = random_logits(7, 9);
            let mut gradient = vec![0.0; logits.len()];
            let value = loss(mmi, &logits, &transcript, &mut gradient).expect("it fits");
            assert!(value >= 0.0, "the numerator is part of the denominator: {value}");
            for i in 0..logits.len() {
                let at = logits[i];
                let mut near = |x: f64| {
                    logits[i] = x;
                    loss(mmi, &logits, &transcript, &mut [0.0; 28]).expect("it fits")
                };
                let slope = (near(at + 1e-5) - near(at - 1e-5)) / 2e-5;
                logits[i] = at;
                assert!(
                    (gradient[i] - slope).abs() < 1e-8,
                    "{transcript:?}, logit {i}: {} {slope}",
                    gradient[i]
                );
            }
        }
    }

    #[test]
    fn batched_streams_equal_single_ones_in_f32_and_f64() {
        let steps = [9, 0, 7, 7, 1, 30];
        let words = [vec![Some(0), Some(1)], vec![], vec![Some(2)], vec![], vec![Some(1)], vec![Some(1)]];
        let all: Vec<Vec<f64>> = (0..6).map(|i| random_logits(steps[i], i as u64)).collect();
        let (exact, quick) = (from_phones::<f64>(1e-3), from_phones::<f32>(1e-3));
        let log_probs: Vec<Vec<f32>> = all
            .iter()
            .map(|logits| {
                let mut rows: Vec<f32> = logits.iter().map(|&x| x as f32).collect();
                log_softmax(&mut rows, 4);
                rows
            })
            .collect();
        let mut gradients: Vec<Vec<f32>> = log_probs.iter().map(|rows| vec![0.0; rows.len()]).collect();
        let transcripts: Vec<Transcript> = words.iter().map(|words| transcript(words)).collect();
        let mut streams: Vec<_> = (log_probs.iter().zip(&transcripts).zip(&mut gradients))
            .map(|((log_probs, transcript), gradient)| Stream {
                log_probs,
                transcript,
                scale: 1.0,
                gradient,
                loss: None,
            })
            .collect();
        quick.run(&mut streams, &mut MmiWorkspace::default());
        let losses: Vec<_> = streams.iter().map(|stream| stream.loss).collect();
        for (i, logits) in all.iter().enumerate() {
            let mut gradient = vec![0.0; logits.len()];
            let alone = loss(&exact, logits, &transcripts[i], &mut gradient);
            assert_eq!(alone.is_some(), losses[i].is_some(), "stream {i}");
            let (alone, beside) = (alone.unwrap_or(0.0), losses[i].unwrap_or(0.0));
            assert!((alone - beside).abs() < 1e-4, "stream {i}: {beside}, alone {alone}");
            for (a, b) in gradient.iter().zip(&gradients[i]) {
                assert!((a - f64::from(*b)).abs() < 1e-5, "stream {i}: {b}, alone {a}");
            }
        }
    }

    #[test]
    fn clear_words_cost_little_and_wrong_ones_much() {
        let mmi = from_words(5.0);
        let clear: Vec<f64> = [0, 1, 2, 0, 1, 0]
            .iter()
            .flat_map(|&best| (0..4).map(move |id| if id == best { 12.0 } else { 0.0 }))
            .collect();
        let of = |words: &[Option<usize>]| {
            loss(&mmi, &clear, &transcript(words), &mut [0.0; 24]).expect("it fits")
        };
        let (right, wrong) = (of(&[Some(0), Some(1)]), of(&[Some(0), Some(0)]));
        let nothing = of(&[None]);
        // "a", "b", "a" are three words, at the cost of one more; then there is the filler.
        assert!(right < 0.8 && wrong > 10.0, "{right}, {wrong}");
        assert!((3.0..6.0).contains(&nothing), "the filler's costs less that of two words: {nothing}");
    }

    #[test]
    fn transcripts_that_do_not_fit_add_nothing() {
        for mmi in [from_words(1.0), from_phones(1e-5)] {
            let mut gradient = vec![0.0; 8];
            assert_eq!(loss(&mmi, &random_logits(2, 1), &transcript(&[Some(2)]), &mut gradient), None);
            assert_eq!(loss(&mmi, &[f64::NAN; 8], &transcript(&[Some(1)]), &mut gradient), None);
            assert!(gradient.iter().all(|&g| g == 0.0));
            assert_eq!(loss(&mmi, &[], &Vec::new(), &mut []), None);
        }
    }
}
