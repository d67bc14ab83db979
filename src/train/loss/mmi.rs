//! Maximum mutual information: the loss is how much probability goes to everything that could have been
//! said instead of what was said.
//!
//! L = ln Σ p(anything) - ln Σ p(what was said), each a sum over all paths through a graph in the CTC
//! topology (Bahl et al. 1986; Povey et al. 2016, "Purely sequence-trained neural networks for ASR based
//! on lattice-free MMI"; Xiang, Ou 2019, "CRF-based single-stage acoustic modeling with CTC topology",
//! arXiv:1904.05169). Anything is either
//!
//! - any phones, at the costs of an n-gram ([`super::phone_ngram`]): lattice-free MMI. What was said is
//!   then every way to pronounce the transcript, at the same costs; or
//! - the words of a lexicon and other speech, which is the filler of [`crate::decode::lexicon`], at the
//!   decoder's costs, so that the network learns to keep words apart from it where the search will
//!   have to.
//!
//! Silence is the blank in both, and may stand between any two labels.

use super::graph::{BEGINNING, Builder, Exit, Graph};
use super::passes::{LANES, Passes};
use super::phone_ngram::Acceptor;
use crate::model::Real;
use crate::onnx::DecoderOptions;
use crate::text::TokenTable;

/// The ways to pronounce a word.
pub type Ways = Vec<Vec<u32>>;

/// What was said, word by word; `None` for other speech than the lexicon's. Where there is no word it
/// may be noise or silence as well.
pub type Said = Vec<Option<Ways>>;

/// What the costs of a path come from.
#[derive(Clone, Debug)]
enum Costs {
    Words { word: f64, filler_entry: f64, filler_label: f64 },
    Phones(Acceptor),
}

/// The criterion; T is what the sum over anything is computed in.
#[derive(Clone, Debug)]
pub struct Mmi<T> {
    costs: Costs,
    blank: u32,
    num_tokens: usize,
    /// The share of a frame's paths that go on from anywhere in the graph of anything.
    leak: f64,
    anything: Graph<T>,
}

/// A stream whose loss is wanted.
#[derive(Debug)]
pub struct Stream<'a, T> {
    /// `[U, V]`.
    pub log_probs: &'a [T],
    pub said: &'a [Option<Ways>],
    /// What the gradient is multiplied by.
    pub scale: f64,
    /// The gradient with respect to the *logits* is added to it, `[U, V]`.
    pub gradient: &'a mut [T],
    /// The loss, never below 0; `None`, and nothing added, where no path says it: the words do not fit,
    /// or the log-probabilities are no numbers.
    pub loss: Option<f64>,
}

impl<T: Real> Mmi<T> {
    /// Against the words of a decoder's lexicon and other speech; `None` without a lexicon.
    pub fn of_words(tokens: &TokenTable, options: &DecoderOptions) -> Option<Self> {
        let id = |name: &String| tokens.tokens().iter().position(|token| token == name).map(|id| id as u32);
        let ways = options.lexicon.iter().map(|entry| entry.tokens.iter().map(id).collect());
        let ways: Ways = ways.collect::<Option<_>>()?;
        if ways.is_empty() {
            return None;
        }
        let (word, filler_entry) = (f64::from(options.word_cost), f64::from(options.filler_entry_cost));
        let filler_label = f64::from(options.filler_label_cost);
        let mut mmi = Self {
            costs: Costs::Words { word, filler_entry, filler_label },
            blank: tokens.blank(),
            num_tokens: tokens.len(),
            leak: 0.0,
            anything: Graph::default(),
        };
        mmi.anything = mmi.any_of(&ways, word, filler_entry);
        Some(mmi)
    }

    /// Against any phones, at the costs of an n-gram; `leak` is the share of each frame's paths that go
    /// on from anywhere, which keeps all sums in range.
    pub fn of_phones(acceptor: Acceptor, num_tokens: usize, blank: u32, leak: f64) -> Self {
        let anything = any_phones(&acceptor, blank);
        Self { costs: Costs::Phones(acceptor), blank, num_tokens, leak, anything }
    }

    /// States and arcs of the graph of anything.
    pub fn size(&self) -> (usize, usize) {
        (self.anything.num_states(), self.anything.num_arcs())
    }

    /// Those pronunciations in a loop, and the filler.
    fn any_of<G: Real>(&self, ways: &[Vec<u32>], word_cost: f64, filler_entry_cost: f64) -> Graph<G> {
        let mut graph = Builder::default();
        let root = graph.state(self.blank);
        let filler = graph.state(self.num_tokens as u32);
        let waits = Exit { state: Some(root), label: None };
        let mut exits = vec![BEGINNING, waits, Exit { state: Some(filler), label: None }];
        let mut firsts = Vec::new();
        for labels in ways {
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

    /// The graph of what was said.
    fn right(&self, said: &[Option<Ways>]) -> Graph<f64> {
        match &self.costs {
            Costs::Words { word, filler_entry, .. } if said.iter().any(Option::is_some) => {
                self.words_and_others(said, *word, *filler_entry)
            }
            Costs::Words { filler_entry, .. } => self.any_of(&[], 0.0, *filler_entry),
            Costs::Phones(acceptor) => self.pronounced(said, acceptor),
        }
    }

    /// The words in their order, silence between them, other speech where it was.
    fn words_and_others(&self, said: &[Option<Ways>], word_cost: f64, filler_entry_cost: f64) -> Graph<f64> {
        let mut graph = Builder::default();
        let mut exits = vec![BEGINNING, graph.pause(&[BEGINNING], self.blank)];
        for (i, word) in said.iter().enumerate() {
            let mut next: Vec<Exit> = match word {
                Some(ways) => {
                    let cost = |k| if k == 0 { word_cost } else { 0.0 };
                    ways.iter().map(|labels| graph.chain(&exits, labels, self.blank, cost)).collect()
                }
                None if i > 0 && said[i - 1].is_none() => continue,
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

    /// Every way to pronounce the words, at the n-gram's costs: exits are kept apart by its states.
    fn pronounced(&self, said: &[Option<Ways>], acceptor: &Acceptor) -> Graph<f64> {
        let mut graph = Builder::default();
        let mut places = vec![(0u32, vec![BEGINNING, graph.pause(&[BEGINNING], self.blank)])];
        for ways in said.iter().flatten() {
            let mut next: Vec<(u32, Vec<Exit>)> = Vec::new();
            for (state, exits) in &places {
                for labels in ways.iter().filter(|labels| !labels.is_empty()) {
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
                let waits = graph.pause(exits, self.blank);
                exits.push(waits);
            }
            places = next;
        }
        for (state, exits) in &places {
            graph.end(exits, acceptor.states.get(*state as usize).map_or(0.0, |state| state.end));
        }
        graph.finish()
    }

    /// Losses and gradients of at most [`LANES`] streams.
    pub fn run(&self, streams: &mut [Stream<'_, T>], workspace: &mut MmiWorkspace<T>) {
        let label_cost = match &self.costs {
            Costs::Words { filler_label, .. } => *filler_label,
            Costs::Phones(_) => 0.0,
        };
        let MmiWorkspace { one, many } = workspace;
        let rows: Vec<&[T]> = streams.iter().map(|stream| stream.log_probs).collect();
        many.take(&rows, self.num_tokens, self.blank, label_cost);
        let anything = many.run(&self.anything, self.leak);
        for (lane, (stream, anything)) in streams.iter_mut().zip(anything).enumerate() {
            one.take(&[stream.log_probs], self.num_tokens, self.blank, label_cost);
            let [said] = one.run(&self.right(stream.said), 0.0);
            let fits = !stream.log_probs.is_empty() && said.is_finite() && anything.is_finite();
            stream.loss = fits.then_some(anything - said);
            if fits {
                one.add_posteriors(0, -stream.scale, stream.gradient);
                many.add_posteriors(lane, stream.scale, stream.gradient);
            }
        }
    }
}

/// An n-gram in the CTC topology: each history a state that emits its last label, and one of blanks.
fn any_phones<T: Real>(acceptor: &Acceptor, blank: u32) -> Graph<T> {
    let mut graph = Builder::default();
    // What leads out of each history.
    let mut exits = vec![vec![BEGINNING, graph.pause(&[BEGINNING], blank)]];
    for state in acceptor.states.iter().skip(1) {
        let spoken = graph.state(state.last.unwrap_or(blank));
        let spoken = Exit { state: Some(spoken), label: state.last };
        exits.push(vec![spoken, graph.pause(&[spoken], blank)]);
    }
    for (state, exits) in acceptor.states.iter().zip(&exits) {
        for &(_, to, probability) in &state.next {
            // The spoken state of a history is two behind that of the one before it; the first is at 1.
            graph.link(exits, (2 * to).saturating_sub(1) as usize, -probability.ln());
        }
        graph.end(exits, state.end);
    }
    let mut leaks = vec![T::ZERO; graph.num_states()];
    for (history, state) in acceptor.states.iter().enumerate() {
        leaks[(2 * history).saturating_sub(1)] = T::from_f64(state.share);
    }
    Graph { leaks, ..graph.finish() }
}

/// Room for the passes, reused from call to call.
#[derive(Clone, Debug, Default)]
pub struct MmiWorkspace<T> {
    one: Passes<f64, 1>,
    many: Passes<T, LANES>,
}

#[cfg(test)]
mod tests {
    use super::super::phone_ngram::{self, Options};
    use super::*;
    use crate::model::forward::log_softmax;
    use crate::onnx::Pronunciation;
    use rand::{RngExt, SeedableRng};

    /// The words of the tests by number: "ab" (or "b"), "a", "cc".
    const WORDS: [&[&[u32]]; 3] = [&[&[1, 2], &[2]], &[&[1]], &[&[3, 3]]];

    fn said(words: &[Option<usize>]) -> Said {
        let ways = |word: usize| WORDS[word].iter().map(|labels| labels.to_vec()).collect();
        words.iter().map(|word| word.map(ways)).collect()
    }

    /// Tokens: blank, a, b, c.
    fn of_words<T: Real>(filler_entry_cost: f32) -> Mmi<T> {
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
        Mmi::of_words(&table.expect("a good table"), &options).expect("a lexicon")
    }

    fn acceptor() -> Acceptor {
        let sequences: [&[u32]; 4] = [&[1, 2, 1, 2, 3, 3], &[1, 2, 3], &[3, 1, 1, 2], &[]];
        let options = Options { order: 3, most_states: 9 };
        phone_ngram::estimate(sequences.into_iter().map(|s| (s, 1.0)), 3, options)
    }

    fn of_phones<T: Real>(leak: f64) -> Mmi<T> {
        Mmi::of_phones(acceptor(), 4, 0, leak)
    }

    fn random_logits(steps: usize, seed: u64) -> Vec<f64> {
        let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
        (0..steps * 4).map(|_| rng.random_range(-3.0..3.0)).collect()
    }

    fn loss<T: Real>(mmi: &Mmi<T>, logits: &[f64], said: &Said, gradient: &mut [T]) -> Option<f64> {
        let mut log_probs: Vec<T> = logits.iter().map(|&x| T::from_f64(x)).collect();
        log_softmax(&mut log_probs, 4);
        let mut streams = [Stream { log_probs: &log_probs, said, scale: 1.0, gradient, loss: None }];
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

    /// Every way to read a collapsed path as words.
    fn readings(labels: &[u32]) -> Vec<Vec<usize>> {
        if labels.is_empty() {
            return vec![Vec::new()];
        }
        let ways = WORDS.iter().enumerate().flat_map(|(word, ways)| ways.iter().map(move |way| (word, way)));
        let mut all = Vec::new();
        for (word, way) in ways {
            let Some(rest) = labels.strip_prefix(*way) else { continue };
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
    fn without_other_speech_it_is_the_sum_over_all_paths_of_words() {
        let mmi = of_words(f32::INFINITY);
        let cost = |words: &[usize]| (-f64::from(0.3f32) * words.len() as f64).exp();
        for (seed, words) in [(1, vec![0]), (2, vec![1, 0]), (3, vec![2]), (4, vec![1, 1]), (5, vec![0, 1])] {
            let logits = random_logits(6, seed);
            let sum = |wanted: &dyn Fn(&[usize]) -> bool| {
                let readings_of = |labels: &[u32]| readings(labels).into_iter().filter(|words| wanted(words));
                brute_force(&logits, |labels| readings_of(labels).map(|words| cost(&words)).sum())
            };
            let expected = sum(&|_| true) - sum(&|found| *found == words);
            let said = said(&words.iter().map(|&word| Some(word)).collect::<Vec<_>>());
            let found = loss(&mmi, &logits, &said, &mut [0.0; 24]).expect("it fits");
            assert!((found - expected).abs() < 1e-9, "{words:?}: {found}, expected {expected}");
        }
    }

    #[test]
    fn lattice_free_it_is_the_sum_over_all_paths_at_the_costs_of_the_n_gram() {
        let (mmi, acceptor) = (of_phones(0.0), acceptor());
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
            let said = said(&words.iter().map(|&word| Some(word)).collect::<Vec<_>>());
            let found = loss(&mmi, &logits, &said, &mut [0.0; 24]).expect("it fits");
            assert!((found - expected).abs() < 1e-9, "{words:?}: {found}, expected {expected}");
        }
    }

    #[test]
    fn gradient_equals_finite_differences() {
        let of_words = of_words(1.5);
        let words = [
            vec![Some(0), Some(1)],
            vec![],
            vec![None],
            vec![Some(1), None, Some(0)],
            vec![None, None, Some(1)],
        ];
        let (tight, leaky) = (of_phones(0.0), of_phones(0.05));
        let phones = [vec![Some(0), Some(1)], vec![], vec![Some(2), Some(0)]];
        let with = |mmi, all: &[Vec<Option<usize>>]| all.iter().map(|s| (mmi, said(s))).collect::<Vec<_>>();
        let cases = [with(&of_words, &words), with(&tight, &phones), with(&leaky, &phones)].concat();
        for (mmi, said) in cases {
            let mut logits = random_logits(7, 9);
            let mut gradient = vec![0.0; logits.len()];
            let value = loss(mmi, &logits, &said, &mut gradient).expect("it fits");
            assert!(value >= 0.0, "what was said is one of the things that can be: {value}");
            for i in 0..logits.len() {
                let at = logits[i];
                let mut near = |x: f64| {
                    logits[i] = x;
                    loss(mmi, &logits, &said, &mut [0.0; 28]).expect("it fits")
                };
                let slope = (near(at + 1e-5) - near(at - 1e-5)) / 2e-5;
                logits[i] = at;
                assert!((gradient[i] - slope).abs() < 1e-8, "{said:?}, logit {i}: {} {slope}", gradient[i]);
            }
        }
    }

    #[test]
    fn streams_side_by_side_are_as_alone_in_both_kinds_of_numbers() {
        let steps = [9, 0, 7, 7, 1, 30];
        let words = [vec![Some(0), Some(1)], vec![], vec![Some(2)], vec![], vec![Some(1)], vec![Some(1)]];
        let all: Vec<Vec<f64>> = (0..6).map(|i| random_logits(steps[i], i as u64)).collect();
        let (exact, quick) = (of_phones::<f64>(1e-3), of_phones::<f32>(1e-3));
        let log_probs: Vec<Vec<f32>> = all
            .iter()
            .map(|logits| {
                let mut rows: Vec<f32> = logits.iter().map(|&x| x as f32).collect();
                log_softmax(&mut rows, 4);
                rows
            })
            .collect();
        let mut gradients: Vec<Vec<f32>> = log_probs.iter().map(|rows| vec![0.0; rows.len()]).collect();
        let saids: Vec<Said> = words.iter().map(|words| said(words)).collect();
        let mut streams: Vec<_> = (log_probs.iter().zip(&saids).zip(&mut gradients))
            .map(|((log_probs, said), gradient)| Stream { log_probs, said, scale: 1.0, gradient, loss: None })
            .collect();
        quick.run(&mut streams, &mut MmiWorkspace::default());
        let losses: Vec<_> = streams.iter().map(|stream| stream.loss).collect();
        for (i, logits) in all.iter().enumerate() {
            let mut gradient = vec![0.0; logits.len()];
            let alone = loss(&exact, logits, &saids[i], &mut gradient);
            assert_eq!(alone.is_some(), losses[i].is_some(), "stream {i}");
            let (alone, beside) = (alone.unwrap_or(0.0), losses[i].unwrap_or(0.0));
            assert!((alone - beside).abs() < 1e-4, "stream {i}: {beside}, alone {alone}");
            for (a, b) in gradient.iter().zip(&gradients[i]) {
                assert!((a - f64::from(*b)).abs() < 1e-5, "stream {i}: {b}, alone {a}");
            }
        }
    }

    #[test]
    fn words_that_stand_out_cost_nothing_and_wrong_ones_much() {
        let mmi = of_words(5.0);
        let clear: Vec<f64> = [0, 1, 2, 0, 1, 0]
            .iter()
            .flat_map(|&best| (0..4).map(move |id| if id == best { 12.0 } else { 0.0 }))
            .collect();
        let of = |words: &[Option<usize>]| loss(&mmi, &clear, &said(words), &mut [0.0; 24]).expect("it fits");
        let (right, wrong) = (of(&[Some(0), Some(1)]), of(&[Some(0), Some(0)]));
        let nothing = of(&[None]);
        // "a", "b", "a" are three words, at the cost of one more; then there is the filler.
        assert!(right < 0.8 && wrong > 10.0, "{right}, {wrong}");
        assert!((3.0..6.0).contains(&nothing), "the filler's costs less that of two words: {nothing}");
    }

    #[test]
    fn what_does_not_fit_adds_nothing() {
        for mmi in [of_words(1.0), of_phones(1e-5)] {
            let mut gradient = vec![0.0; 8];
            assert_eq!(loss(&mmi, &random_logits(2, 1), &said(&[Some(2)]), &mut gradient), None);
            assert_eq!(loss(&mmi, &[f64::NAN; 8], &said(&[Some(1)]), &mut gradient), None);
            assert!(gradient.iter().all(|&g| g == 0.0));
            assert_eq!(loss(&mmi, &[], &Vec::new(), &mut []), None);
        }
    }
}
