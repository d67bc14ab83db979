//! Maximum mutual information between recordings and the words of a lexicon: the loss is how much
//! probability the decoder's search gives to all it could write instead of what was said.
//!
//! L = ln Σ p(any words and other speech) - ln Σ p(what was said), each a sum over all paths
//! through a graph of the lexicon in the CTC topology (Bahl et al. 1986; Povey et al. 2016,
//! "Purely sequence-trained neural networks for ASR based on lattice-free MMI"; Xiang, Ou 2019,
//! "CRF-based single-stage acoustic modeling with CTC topology", arXiv:1904.05169). Other speech is
//! the filler of [`crate::decode::lexicon`], at the same costs, so that the network learns to keep
//! words apart from it where the search will have to.

use crate::decode::DecoderOptions;
use crate::model::Real;
use crate::text::TokenTable;

/// What was said: words of the lexicon by their number in the recipe, `None` for other speech. Where
/// there is no word it may be noise or silence as well.
pub type Said = Vec<Option<u32>>;

/// What a state emits, a frame at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Emission {
    Token(u32),
    /// The likeliest token, whatever it is.
    Likeliest,
}

/// A way into a state, and exp(-cost) of taking it.
#[derive(Clone, Copy, Debug)]
struct Arc {
    from: u32,
    weight: f64,
}

/// A hidden Markov model whose states emit tokens.
#[derive(Clone, Debug, Default)]
struct Graph {
    emissions: Vec<Emission>,
    /// `arcs[first[s]..first[s + 1]]` lead into state s, those from itself among them.
    arcs: Vec<Arc>,
    first: Vec<usize>,
    /// exp(-cost) of beginning in each state; 0 where no path begins.
    begins: Vec<f64>,
    ends: Vec<bool>,
}

impl Graph {
    fn arcs_into(&self, state: usize) -> &[Arc] {
        &self.arcs[self.first[state]..self.first[state + 1]]
    }
}

/// Where a word may begin: a state that a path comes from (`None`: the beginning), and the label
/// that it emitted, which may not follow itself without a blank.
#[derive(Clone, Copy, Debug)]
struct Exit {
    state: Option<usize>,
    label: Option<u32>,
}

const BEGINNING: Exit = Exit { state: None, label: None };

/// A graph under construction: states with the arcs into them.
#[derive(Debug, Default)]
struct Builder {
    states: Vec<(Emission, Vec<Arc>)>,
    begins: Vec<f64>,
}

impl Builder {
    /// A state that may be stayed in.
    fn state(&mut self, emission: Emission) -> usize {
        let at = self.states.len();
        self.states.push((emission, vec![Arc { from: at as u32, weight: 1.0 }]));
        self.begins.push(0.0);
        at
    }

    fn link(&mut self, from: &[Exit], to: usize, cost: f64) {
        let Emission::Token(label) = self.states[to].0 else {
            return from.iter().for_each(|exit| self.arc(exit.state, to, cost));
        };
        from.iter().filter(|exit| exit.label != Some(label)).for_each(|exit| self.arc(exit.state, to, cost));
    }

    fn arc(&mut self, from: Option<usize>, to: usize, cost: f64) {
        match from {
            Some(from) => self.states[to].1.push(Arc { from: from as u32, weight: (-cost).exp() }),
            None => self.begins[to] = (-cost).exp(),
        }
    }

    /// The states of one pronunciation behind those exits; gives its own exit.
    fn pronunciation(&mut self, from: &[Exit], labels: &[u32], blank: u32, cost: f64) -> Exit {
        let mut before = from.to_vec();
        let mut cost = cost;
        for (k, &label) in labels.iter().enumerate() {
            let here = self.state(Emission::Token(label));
            self.link(&before, here, cost);
            let exit = Exit { state: Some(here), label: Some(label) };
            before = vec![exit];
            if k + 1 < labels.len() {
                let pause = self.state(Emission::Token(blank));
                self.link(&before, pause, 0.0);
                before.push(Exit { state: Some(pause), label: None });
            }
            cost = 0.0;
        }
        before[0]
    }

    fn finish(self, exits: &[Exit]) -> Graph {
        let mut graph = Graph { begins: self.begins, ..Graph::default() };
        graph.ends = vec![false; self.states.len()];
        exits.iter().filter_map(|exit| exit.state).for_each(|s| graph.ends[s] = true);
        for (emission, arcs) in self.states {
            graph.emissions.push(emission);
            graph.first.push(graph.arcs.len());
            graph.arcs.extend(arcs);
        }
        graph.first.push(graph.arcs.len());
        graph
    }
}

/// The criterion for one lexicon.
#[derive(Clone, Debug)]
pub struct Mmi {
    /// Ways to say each word.
    words: Vec<Vec<Vec<u32>>>,
    blank: u32,
    word_cost: f64,
    filler_entry_cost: f64,
    filler_label_cost: f64,
    /// Everything that the search could write.
    anything: Graph,
    /// Silence and other speech.
    nothing: Graph,
}

impl Mmi {
    /// For the words (numbered in this order) of the lexicon of a decoder; `None` without one.
    pub fn new(words: &[String], tokens: &TokenTable, options: &DecoderOptions) -> Option<Self> {
        let id = |name: &String| tokens.tokens().iter().position(|token| token == name).map(|id| id as u32);
        let ways = |word: &String| -> Option<Vec<Vec<u32>>> {
            let ways = options.lexicon.iter().filter(|entry| entry.word == *word);
            ways.map(|entry| entry.tokens.iter().map(id).collect()).collect()
        };
        let words: Vec<Vec<Vec<u32>>> = words.iter().map(ways).collect::<Option<_>>()?;
        if words.iter().all(Vec::is_empty) {
            return None;
        }
        let mut mmi = Self {
            words,
            blank: tokens.blank(),
            word_cost: f64::from(options.word_cost),
            filler_entry_cost: f64::from(options.filler_entry_cost),
            filler_label_cost: f64::from(options.filler_label_cost),
            anything: Graph::default(),
            nothing: Graph::default(),
        };
        mmi.anything = mmi.any_of(mmi.words.iter().flatten());
        mmi.nothing = mmi.any_of([].iter());
        Some(mmi)
    }

    /// Those pronunciations in a loop, and the filler.
    fn any_of<'a>(&self, pronunciations: impl Iterator<Item = &'a Vec<u32>>) -> Graph {
        let mut graph = Builder::default();
        let root = graph.state(Emission::Token(self.blank));
        let filler = graph.state(Emission::Likeliest);
        let waits = Exit { state: Some(root), label: None };
        let mut exits = vec![BEGINNING, waits, Exit { state: Some(filler), label: None }];
        let mut firsts = Vec::new();
        for labels in pronunciations {
            firsts.push((graph.states.len(), labels[0]));
            exits.push(graph.pronunciation(&[], labels, self.blank, 0.0));
        }
        for (first, _) in firsts {
            graph.link(&exits, first, self.word_cost);
        }
        let others = |exits: &[Exit], state| -> Vec<Exit> {
            exits.iter().copied().filter(|exit| exit.state != Some(state)).collect()
        };
        graph.link(&others(&exits, root), root, 0.0);
        graph.link(&others(&exits, filler), filler, self.filler_entry_cost);
        graph.finish(&exits)
    }

    /// The words in their order, silence between them, other speech where it was.
    fn said(&self, said: &[Option<u32>]) -> Graph {
        let mut graph = Builder::default();
        let mut exits = self.silence(&mut graph, vec![BEGINNING]);
        for (i, word) in said.iter().enumerate() {
            let next = match word {
                Some(word) => {
                    let ways = self.words.get(*word as usize).map_or(&[][..], Vec::as_slice);
                    let way =
                        |labels: &Vec<u32>| graph.pronunciation(&exits, labels, self.blank, self.word_cost);
                    ways.iter().map(way).collect()
                }
                None if i > 0 && said[i - 1].is_none() => continue,
                None => {
                    let filler = graph.state(Emission::Likeliest);
                    graph.link(&exits, filler, self.filler_entry_cost);
                    vec![Exit { state: Some(filler), label: None }]
                }
            };
            exits = self.silence(&mut graph, next);
        }
        graph.finish(&exits)
    }

    /// Silence, or none, behind those exits.
    fn silence(&self, graph: &mut Builder, mut exits: Vec<Exit>) -> Vec<Exit> {
        let waits = graph.state(Emission::Token(self.blank));
        graph.link(&exits, waits, 0.0);
        exits.push(Exit { state: Some(waits), label: None });
        exits
    }

    /// The loss of `log_probs [U, V]` where this was said, never below 0; its gradient with respect
    /// to the *logits*, times `scale`, is added to `gradient [U, V]`.
    ///
    /// `None`, and nothing added, where no path says it: the words do not fit, or the
    /// log-probabilities are no numbers.
    pub fn loss_and_gradient<T: Real>(
        &self,
        log_probs: &[T],
        num_tokens: usize,
        said: &[Option<u32>],
        scale: f64,
        gradient: &mut [T],
        workspace: &mut MmiWorkspace,
    ) -> Option<f64> {
        workspace.take(log_probs, num_tokens, self.blank, self.filler_label_cost);
        let any_word = said.iter().any(Option::is_some);
        let right = if any_word { &self.said(said) } else { &self.nothing };
        let numerator = workspace.forward(right, num_tokens)?;
        workspace.backward(right, num_tokens, -scale, gradient);
        let denominator = workspace.forward(&self.anything, num_tokens)?;
        workspace.backward(&self.anything, num_tokens, scale, gradient);
        Some(denominator - numerator)
    }
}

/// Room for the passes, reused from call to call.
#[derive(Clone, Debug, Default)]
pub struct MmiWorkspace {
    /// The likeliest token of each frame, and exp(-cost) of its beginning.
    likeliest: Vec<(u32, f64)>,
    /// Probabilities `[U, V]`.
    probabilities: Vec<f64>,
    /// α of every frame and state, each frame's divided by its sum, and the sums.
    alpha: Vec<f64>,
    sums: Vec<f64>,
    /// β of the frame and of the one before it, scaled by the same sums.
    beta: Vec<f64>,
    before: Vec<f64>,
}

/// Paths that are less likely than the frame's best by more than this are given up, so that
/// nothing leaves the range of f64: 640 nats.
const LEAST: f64 = 1e-280;

impl MmiWorkspace {
    fn take<T: Real>(&mut self, log_probs: &[T], num_tokens: usize, blank: u32, label_cost: f64) {
        self.probabilities.clear();
        self.probabilities.extend(log_probs.iter().map(|p| p.to_f64().exp()));
        self.likeliest.clear();
        let mut last = blank;
        for row in log_probs.chunks_exact(num_tokens) {
            let best = (0..num_tokens).fold(0, |best, id| if row[id] > row[best] { id } else { best }) as u32;
            let begins = best != blank && best != last;
            self.likeliest.push((best, if begins { (-label_cost).exp() } else { 1.0 }));
            last = best;
        }
    }

    /// ln of the probability of all paths, forward with scaling (Rabiner 1989); `None` where it is
    /// zero or no number. Leaves β of the last frame.
    fn forward(&mut self, graph: &Graph, num_tokens: usize) -> Option<f64> {
        let width = graph.emissions.len();
        let steps = self.likeliest.len();
        self.sums.clear();
        self.alpha.clear();
        self.alpha.resize(steps * width, 0.0);
        for t in 0..steps {
            let row = &self.probabilities[t * num_tokens..(t + 1) * num_tokens];
            let (done, now) = self.alpha.split_at_mut(t * width);
            let before = &done[t.saturating_sub(1) * width..];
            let now = &mut now[..width];
            for (s, alpha) in now.iter_mut().enumerate() {
                let come = match t {
                    0 => graph.begins[s],
                    _ => graph.arcs_into(s).iter().map(|arc| before[arc.from as usize] * arc.weight).sum(),
                };
                let (id, weight) = emitted(graph.emissions[s], self.likeliest[t]);
                *alpha = come * row[id] * weight;
            }
            let sum: f64 = now.iter().sum();
            for alpha in now {
                *alpha /= sum;
                *alpha = if *alpha < LEAST { 0.0 } else { *alpha };
            }
            self.sums.push(sum);
        }
        let last = self.alpha.get(steps.checked_sub(1)? * width..)?;
        let ended: f64 =
            last.iter().zip(&graph.ends).map(|(&alpha, &ends)| if ends { alpha } else { 0.0 }).sum();
        self.beta.clear();
        self.beta.extend(graph.ends.iter().map(|&ends| if ends { 1.0 / ended } else { 0.0 }));
        let total = self.sums.iter().map(|sum| sum.ln()).sum::<f64>() + ended.ln();
        total.is_finite().then_some(total)
    }

    /// Adds `scale` times the posterior of each frame's tokens; after [`Self::forward`].
    fn backward<T: Real>(&mut self, graph: &Graph, num_tokens: usize, scale: f64, gradient: &mut [T]) {
        let width = graph.emissions.len();
        for t in (0..self.likeliest.len()).rev() {
            let row = &self.probabilities[t * num_tokens..(t + 1) * num_tokens];
            let out = &mut gradient[t * num_tokens..(t + 1) * num_tokens];
            self.before.clear();
            self.before.resize(width, 0.0);
            for s in 0..width {
                let alpha = self.alpha[t * width + s];
                if alpha == 0.0 {
                    continue;
                }
                let (id, weight) = emitted(graph.emissions[s], self.likeliest[t]);
                out[id] += T::from_f64(scale * alpha * self.beta[s]);
                let own = self.beta[s] * row[id] * weight / self.sums[t];
                for arc in graph.arcs_into(s) {
                    self.before[arc.from as usize] += own * arc.weight;
                }
            }
            std::mem::swap(&mut self.beta, &mut self.before);
        }
    }
}

/// The token of a state, and exp(-cost) of emitting it.
fn emitted(emission: Emission, (likeliest, weight): (u32, f64)) -> (usize, f64) {
    match emission {
        Emission::Token(id) => (id as usize, 1.0),
        Emission::Likeliest => (likeliest as usize, weight),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Pronunciation;
    use crate::model::forward::log_softmax;
    use rand::{RngExt, SeedableRng};

    /// Tokens: blank, a, b, c. Words: "ab" (or "b"), "a", "cc".
    fn mmi(filler_entry_cost: f32) -> Mmi {
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
        let words = ["ab", "a", "cc"].map(String::from);
        Mmi::new(&words, &table.expect("a good table"), &options).expect("a lexicon")
    }

    fn random_logits(steps: usize, seed: u64) -> Vec<f64> {
        let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
        (0..steps * 4).map(|_| rng.random_range(-3.0..3.0)).collect()
    }

    fn loss(mmi: &Mmi, logits: &[f64], said: &[Option<u32>], gradient: &mut [f64]) -> Option<f64> {
        let mut log_probs = logits.to_vec();
        log_softmax(&mut log_probs, 4);
        mmi.loss_and_gradient(&log_probs, 4, said, 1.0, gradient, &mut MmiWorkspace::default())
    }

    /// Every way to read a collapsed path as words, each with its cost.
    fn readings(labels: &[u32]) -> Vec<Vec<u32>> {
        if labels.is_empty() {
            return vec![Vec::new()];
        }
        let ways: [(u32, &[u32]); 4] = [(0, &[1, 2]), (0, &[2]), (1, &[1]), (2, &[3, 3])];
        let mut all = Vec::new();
        for (word, way) in ways {
            let Some(rest) = labels.strip_prefix(way) else { continue };
            all.extend(readings(rest).into_iter().map(|rest| [vec![word], rest].concat()));
        }
        all
    }

    /// Σ over all V^U paths and their readings that are wanted, of p × exp(-cost).
    fn brute_force(logits: &[f64], wanted: impl Fn(&[u32]) -> bool) -> f64 {
        let mut log_probs = logits.to_vec();
        log_softmax(&mut log_probs, 4);
        let steps = logits.len() / 4;
        let mut total = 0.0;
        for code in 0..4usize.pow(steps as u32) {
            let path: Vec<usize> = (0..steps).map(|t| code / 4usize.pow(t as u32) % 4).collect();
            let mut labels: Vec<u32> = Vec::new();
            for (t, &k) in path.iter().enumerate() {
                if k != 0 && (t == 0 || path[t - 1] != k) {
                    labels.push(k as u32);
                }
            }
            let p: f64 = path.iter().enumerate().map(|(t, &k)| log_probs[t * 4 + k]).sum();
            let readings = readings(&labels);
            let wanted = readings.iter().filter(|words| wanted(words));
            total += wanted.map(|words| (p - f64::from(0.3f32) * words.len() as f64).exp()).sum::<f64>();
        }
        total.ln()
    }

    #[test]
    fn without_other_speech_it_is_the_sum_over_all_paths_of_words() {
        let mmi = mmi(f32::INFINITY);
        for (seed, said) in [(1, vec![0]), (2, vec![1, 0]), (3, vec![2]), (4, vec![1, 1]), (5, vec![0, 1])] {
            let logits = random_logits(6, seed);
            let expected = brute_force(&logits, |_| true) - brute_force(&logits, |words| *words == said);
            let said: Said = said.iter().map(|&w| Some(w)).collect();
            let found = loss(&mmi, &logits, &said, &mut [0.0; 24]).expect("it fits");
            assert!((found - expected).abs() < 1e-9, "{said:?}: {found}, expected {expected}");
        }
    }

    #[test]
    fn gradient_equals_finite_differences() {
        let mmi = mmi(1.5);
        for said in [
            vec![Some(0), Some(1)],
            vec![],
            vec![None],
            vec![Some(1), None, Some(0)],
            vec![None, None, Some(1)],
        ] {
            let mut logits = random_logits(7, 9);
            let mut gradient = vec![0.0; logits.len()];
            let value = loss(&mmi, &logits, &said, &mut gradient).expect("it fits");
            assert!(value >= 0.0, "what was said is one of the things that can be: {value}");
            for i in 0..logits.len() {
                let at = logits[i];
                let mut near = |x: f64| {
                    logits[i] = x;
                    loss(&mmi, &logits, &said, &mut [0.0; 28]).expect("it fits")
                };
                let slope = (near(at + 1e-5) - near(at - 1e-5)) / 2e-5;
                logits[i] = at;
                assert!((gradient[i] - slope).abs() < 1e-8, "{said:?}, logit {i}: {} {slope}", gradient[i]);
            }
        }
    }

    #[test]
    fn words_that_stand_out_cost_nothing_and_wrong_ones_much() {
        let mmi = mmi(5.0);
        let clear: Vec<f64> = [0, 1, 2, 0, 1, 0]
            .iter()
            .flat_map(|&best| (0..4).map(move |id| if id == best { 12.0 } else { 0.0 }))
            .collect();
        let of = |said: &[Option<u32>]| loss(&mmi, &clear, said, &mut [0.0; 24]).expect("it fits");
        let (right, wrong) = (of(&[Some(0), Some(1)]), of(&[Some(0), Some(0)]));
        let nothing = of(&[None]);
        // "a", "b", "a" are three words, at the cost of one more; then there is the filler.
        assert!(right < 0.8 && wrong > 10.0, "{right}, {wrong}");
        assert!((3.0..6.0).contains(&nothing), "the filler's costs less that of two words: {nothing}");
    }

    #[test]
    fn what_does_not_fit_adds_nothing() {
        let mut gradient = vec![0.0; 8];
        assert_eq!(loss(&mmi(1.0), &random_logits(2, 1), &[Some(2)], &mut gradient), None);
        assert_eq!(loss(&mmi(1.0), &[f64::NAN; 8], &[Some(1)], &mut gradient), None);
        assert!(gradient.iter().all(|&g| g == 0.0));
        assert_eq!(loss(&mmi(1.0), &[], &[], &mut []), None);
    }
}
