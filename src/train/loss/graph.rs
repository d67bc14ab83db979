//! Hidden Markov models in the CTC topology, the graphs that criteria sum over.

use crate::model::Real;

/// A transition between two states.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arc<T> {
    /// The state at the other end.
    pub state: u32,
    /// exp(-cost) of the transition.
    pub weight: T,
}

/// The arcs of a graph, grouped by the state that they lead into, or out of.
#[derive(Clone, Debug, Default)]
pub struct Arcs<T> {
    arcs: Vec<Arc<T>>,
    /// The arcs of state s are `arcs[first[s]..first[s + 1]]`.
    first: Vec<u32>,
}

impl<T> Arcs<T> {
    fn new(by_state: Vec<Vec<Arc<T>>>) -> Self {
        let mut all = Self { arcs: Vec::new(), first: vec![0] };
        for arcs in by_state {
            all.arcs.extend(arcs);
            all.first.push(all.arcs.len() as u32);
        }
        all
    }

    /// The arcs of a state.
    #[inline(always)]
    pub fn of_state(&self, state: usize) -> &[Arc<T>] {
        &self.arcs[self.first[state] as usize..self.first[state + 1] as usize]
    }
}

/// A hidden Markov model whose states emit one token per frame.
#[derive(Clone, Debug, Default)]
pub struct Graph<T> {
    /// The token that each state emits; the number of tokens stands for the most probable token of the
    /// frame.
    pub emissions: Vec<u32>,
    /// The arcs into each state.
    pub into: Arcs<T>,
    /// The arcs out of each state.
    pub out: Arcs<T>,
    /// exp(-cost) of starting in each state; 0 if no path starts there.
    pub initial_weights: Vec<T>,
    /// exp(-cost) of ending in each state; 0 if no path ends there.
    pub final_weights: Vec<T>,
    /// The probability that a leak leads into each state (leaky HMM as in Kaldi's chain training); empty if
    /// the graph does not leak.
    pub leaky_weights: Vec<T>,
}

impl<T> Graph<T> {
    /// The number of states.
    pub fn num_states(&self) -> usize {
        self.emissions.len()
    }

    /// The number of arcs.
    pub fn num_arcs(&self) -> usize {
        self.into.arcs.len()
    }
}

/// A place from which a path continues: a state (`None` at the start), and the label that it has just
/// emitted, which cannot follow itself without a blank.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// The state; `None` at the start.
    pub state: Option<usize>,
    /// The label just emitted; `None` after a blank or at the start.
    pub label: Option<u32>,
}

/// The start of all paths.
pub const START: Exit = Exit { state: None, label: None };

/// A graph under construction.
#[derive(Debug, Default)]
pub struct Builder {
    emissions: Vec<u32>,
    into: Vec<Vec<Arc<f64>>>,
    initial_weights: Vec<f64>,
    final_weights: Vec<f64>,
}

impl Builder {
    /// Adds a state with a self-loop; returns its number.
    pub fn state(&mut self, emission: u32) -> usize {
        let at = self.emissions.len();
        self.emissions.push(emission);
        self.into.push(vec![Arc { state: at as u32, weight: 1.0 }]);
        self.initial_weights.push(0.0);
        self.final_weights.push(0.0);
        at
    }

    /// The number of states so far.
    pub fn num_states(&self) -> usize {
        self.emissions.len()
    }

    /// Links exits to a state, except those whose label is the state's label.
    pub fn link(&mut self, from: &[Exit], to: usize, cost: f64) {
        let label = Some(self.emissions[to]);
        for exit in from.iter().filter(|exit| exit.label != label) {
            match exit.state {
                Some(from) => self.into[to].push(Arc { state: from as u32, weight: (-cost).exp() }),
                None => self.initial_weights[to] = (-cost).exp(),
            }
        }
    }

    /// Adds labels after the exits, each at its cost, with optional blanks between them; returns the exit
    /// after the last label.
    pub fn chain(&mut self, from: &[Exit], labels: &[u32], blank: u32, cost: impl Fn(usize) -> f64) -> Exit {
        let mut before = from.to_vec();
        let mut last = START;
        for (k, &label) in labels.iter().enumerate() {
            let here = self.state(label);
            self.link(&before, here, cost(k));
            last = Exit { state: Some(here), label: Some(label) };
            before = vec![last];
            if k + 1 < labels.len() {
                before.push(self.pause(&[last], blank));
            }
        }
        last
    }

    /// Adds a blank after the exits; returns its exit.
    pub fn pause(&mut self, from: &[Exit], blank: u32) -> Exit {
        let blank_state = self.state(blank);
        self.link(from, blank_state, 0.0);
        Exit { state: Some(blank_state), label: None }
    }

    /// Allows paths to end at the exits.
    pub fn end(&mut self, exits: &[Exit], probability: f64) {
        exits.iter().filter_map(|exit| exit.state).for_each(|s| self.final_weights[s] = probability);
    }

    /// Builds the graph in the number type that criteria compute with.
    pub fn finish<T: Real>(self) -> Graph<T> {
        let number = |values: Vec<f64>| values.into_iter().map(T::from_f64).collect();
        let mut out = vec![Vec::new(); self.emissions.len()];
        for (to, arcs) in self.into.iter().enumerate() {
            for arc in arcs {
                out[arc.state as usize].push(Arc { state: to as u32, weight: T::from_f64(arc.weight) });
            }
        }
        let arc = |arc: Arc<f64>| Arc { state: arc.state, weight: T::from_f64(arc.weight) };
        let into = self.into.into_iter().map(|arcs| arcs.into_iter().map(arc).collect()).collect();
        Graph {
            emissions: self.emissions,
            into: Arcs::new(into),
            out: Arcs::new(out),
            initial_weights: number(self.initial_weights),
            final_weights: number(self.final_weights),
            leaky_weights: Vec::new(),
        }
    }
}
