//! Hidden Markov models in the CTC topology, which criteria sum over.

use crate::model::Real;

/// A transition: the state at its other end, and exp(-cost) of taking it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arc<T> {
    pub state: u32,
    pub weight: T,
}

/// Arcs by the state that they lead into, or out of.
#[derive(Clone, Debug, Default)]
pub struct Arcs<T> {
    arcs: Vec<Arc<T>>,
    /// `arcs[first[s]..first[s + 1]]` are those of state s.
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

    /// Those of a state.
    #[inline(always)]
    pub fn of(&self, state: usize) -> &[Arc<T>] {
        &self.arcs[self.first[state] as usize..self.first[state + 1] as usize]
    }
}

/// A hidden Markov model whose states emit a token a frame.
#[derive(Clone, Debug, Default)]
pub struct Graph<T> {
    /// The token that each state emits; the number of tokens stands for the likeliest of the frame.
    pub emissions: Vec<u32>,
    pub into: Arcs<T>,
    pub out: Arcs<T>,
    /// exp(-cost) of beginning in each state; 0 where no path begins.
    pub begins: Vec<T>,
    /// exp(-cost) of ending behind each state; 0 where no path ends.
    pub ends: Vec<T>,
    /// How likely a leak is to lead into each state; nothing when the graph does not leak.
    pub leaks: Vec<T>,
}

impl<T> Graph<T> {
    pub fn num_states(&self) -> usize {
        self.emissions.len()
    }

    pub fn num_arcs(&self) -> usize {
        self.into.arcs.len()
    }
}

/// A place that a path goes on from (`state` is `None` at the beginning), and the label that it has
/// just emitted, which may not follow itself without a blank.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    pub state: Option<usize>,
    pub label: Option<u32>,
}

pub const BEGINNING: Exit = Exit { state: None, label: None };

/// A graph under construction.
#[derive(Debug, Default)]
pub struct Builder {
    emissions: Vec<u32>,
    into: Vec<Vec<Arc<f64>>>,
    begins: Vec<f64>,
    ends: Vec<f64>,
}

impl Builder {
    /// A further state, which may be stayed in.
    pub fn state(&mut self, emission: u32) -> usize {
        let at = self.emissions.len();
        self.emissions.push(emission);
        self.into.push(vec![Arc { state: at as u32, weight: 1.0 }]);
        self.begins.push(0.0);
        self.ends.push(0.0);
        at
    }

    /// How many states there are.
    pub fn num_states(&self) -> usize {
        self.emissions.len()
    }

    /// Leads those exits into a state, save those that its label may not follow at once.
    pub fn link(&mut self, from: &[Exit], to: usize, cost: f64) {
        let label = Some(self.emissions[to]);
        for exit in from.iter().filter(|exit| exit.label != label) {
            match exit.state {
                Some(from) => self.into[to].push(Arc { state: from as u32, weight: (-cost).exp() }),
                None => self.begins[to] = (-cost).exp(),
            }
        }
    }

    /// Labels behind those exits, each at its cost, with blanks between them where the path likes;
    /// returns the exit behind the last.
    pub fn chain(&mut self, from: &[Exit], labels: &[u32], blank: u32, cost: impl Fn(usize) -> f64) -> Exit {
        let mut before = from.to_vec();
        let mut last = BEGINNING;
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

    /// A blank behind those exits; returns its exit.
    pub fn pause(&mut self, from: &[Exit], blank: u32) -> Exit {
        let waits = self.state(blank);
        self.link(from, waits, 0.0);
        Exit { state: Some(waits), label: None }
    }

    /// Lets paths end behind those exits.
    pub fn end(&mut self, exits: &[Exit], probability: f64) {
        exits.iter().filter_map(|exit| exit.state).for_each(|s| self.ends[s] = probability);
    }

    /// The graph, in numbers of the kind that it is summed in.
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
            begins: number(self.begins),
            ends: number(self.ends),
            leaks: Vec::new(),
        }
    }
}
