//! Deterministic minimal automaton of all sentences that phrases allow, for the search.

use std::collections::{BTreeMap, HashMap};

use super::fault::{Fault, Parsed, Place};
use super::network::{NO_WORD, Network};

/// The final cost of a state that is not final.
const NO_END: u32 = u32::MAX;

/// A state of an [`Automaton`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State(pub u32);

/// An arc of an [`Automaton`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arc {
    /// Index of the word.
    pub word: u32,
    /// Cost of the word, thousandths of a nat.
    pub cost: u32,
    /// The next state.
    pub to: State,
}

/// Deterministic minimal weighted automaton of all sentences that phrases allow.
#[derive(Clone, Debug, PartialEq)]
pub struct Automaton {
    /// Index of the first arc of each state, followed by the number of arcs.
    first: Vec<u32>,
    /// Arcs, sorted by state and word.
    arcs: Vec<Arc>,
    /// Final cost of each state, thousandths of a nat, or [`NO_END`].
    ends: Vec<u32>,
}

impl Automaton {
    /// The initial state.
    pub fn start(&self) -> State {
        State(0)
    }

    /// The cost of a word after a state, in nats, and the next state; `None` if the word cannot follow.
    pub fn next(&self, state: State, word: u32) -> Option<(f32, State)> {
        let arcs = self.arcs(state);
        let arc = arcs[arcs.binary_search_by_key(&word, |arc| arc.word).ok()?];
        Some((nats(arc.cost), arc.to))
    }

    /// The final cost of a state, in nats; `None` if the state is not final.
    pub fn end(&self, state: State) -> Option<f32> {
        self.ends.get(state.0 as usize).filter(|&&cost| cost != NO_END).map(|&cost| nats(cost))
    }

    /// The arcs of a state, sorted by word.
    pub fn arcs(&self, state: State) -> &[Arc] {
        let at = state.0 as usize;
        match (self.first.get(at), self.first.get(at + 1)) {
            (Some(&begin), Some(&end)) => &self.arcs[begin as usize..end as usize],
            _ => &[],
        }
    }

    /// The number of states.
    pub fn num_states(&self) -> usize {
        self.ends.len()
    }

    /// The number of arcs.
    pub fn num_arcs(&self) -> usize {
        self.arcs.len()
    }

    /// The states in topological order; `None` if the automaton has a cycle.
    pub fn in_order(&self) -> Option<Vec<State>> {
        let mut entering = vec![0_u32; self.num_states()];
        self.arcs.iter().for_each(|arc| entering[arc.to.0 as usize] += 1);
        let mut order: Vec<State> =
            (0..self.num_states() as u32).filter(|&s| entering[s as usize] == 0).map(State).collect();
        let mut at = 0;
        while at < order.len() {
            for arc in self.arcs(order[at]) {
                entering[arc.to.0 as usize] -= 1;
                if entering[arc.to.0 as usize] == 0 {
                    order.push(arc.to);
                }
            }
            at += 1;
        }
        (order.len() == self.num_states()).then_some(order)
    }

    /// The number of different sentences, rounded if it is above 2^53; `None` if the automaton has a cycle.
    pub fn num_sentences(&self) -> Option<f64> {
        let mut counts = vec![0.0; self.num_states()];
        for state in self.in_order()?.into_iter().rev() {
            let more: f64 = self.arcs(state).iter().map(|arc| counts[arc.to.0 as usize]).sum();
            counts[state.0 as usize] = more + f64::from(u8::from(self.end(state).is_some()));
        }
        counts.first().copied()
    }

    /// Creates the automaton of a network. The empty sentence is excluded.
    ///
    /// # Errors
    /// When the automaton would have more than `max_states` states, or ten times as many arcs.
    pub fn from_network(network: &Network, max_states: usize) -> Parsed<Automaton> {
        let mut automaton = determinized(network, max_states)?;
        automaton.ends[0] = NO_END;
        Ok(automaton.minimized())
    }

    /// The equivalent automaton with the minimum number of states.
    fn minimized(&self) -> Automaton {
        let classes = match self.in_order() {
            Some(order) => self.classes_without_cycles(&order),
            None => self.classes(),
        };
        // Classes are numbered in the order of their first states, so that the initial state is 0 again.
        let mut numbers = HashMap::new();
        let mut firsts = Vec::new();
        for (state, &class) in classes.iter().enumerate() {
            let next = numbers.len() as u32;
            if *numbers.entry(class).or_insert(next) == next {
                firsts.push(state);
            }
        }
        let mut minimal = Automaton { first: vec![0], arcs: Vec::new(), ends: Vec::new() };
        for state in firsts {
            let target = |arc: &Arc| Arc { to: State(numbers[&classes[arc.to.0 as usize]]), ..*arc };
            minimal.arcs.extend(self.arcs(State(state as u32)).iter().map(target));
            minimal.first.push(minimal.arcs.len() as u32);
            minimal.ends.push(self.ends[state]);
        }
        minimal
    }

    /// The equivalence class of each state of an automaton without cycles, whose states are `order` in topological order
    /// (Revuz 1992): those of the states after it are known when a state is reached.
    fn classes_without_cycles(&self, order: &[State]) -> Vec<u32> {
        let mut classes = vec![0; self.num_states()];
        let mut ids: HashMap<(u32, Vec<Arc>), u32> = HashMap::new();
        for &state in order.iter().rev() {
            let next = ids.len() as u32;
            let key = (self.ends[state.0 as usize], self.arcs_to_classes(state, &classes));
            classes[state.0 as usize] = *ids.entry(key).or_insert(next);
        }
        classes
    }

    /// The equivalence class of each state (Moore's algorithm): classes are refined until their number does not change.
    fn classes(&self) -> Vec<u32> {
        let mut classes: Vec<u32> = vec![0; self.num_states()];
        let mut count = 1;
        loop {
            let mut ids: HashMap<(u32, Vec<Arc>), u32> = HashMap::new();
            let finer: Vec<u32> = (0..self.num_states())
                .map(|state| {
                    let next = ids.len() as u32;
                    let key = (self.ends[state], self.arcs_to_classes(State(state as u32), &classes));
                    *ids.entry(key).or_insert(next)
                })
                .collect();
            let finer_count = ids.len();
            classes = finer;
            if finer_count == count {
                return classes;
            }
            count = finer_count;
        }
    }

    /// The arcs of a state, with classes in place of states.
    fn arcs_to_classes(&self, state: State, classes: &[u32]) -> Vec<Arc> {
        let target = |arc: &Arc| Arc { to: State(classes[arc.to.0 as usize]), ..*arc };
        self.arcs(state).iter().map(target).collect()
    }
}

fn nats(cost: u32) -> f32 {
    cost as f32 / 1000.0
}

/// A subset of the network's states, reached by the same words; each with the difference of its cost from the minimum.
type Subset = Box<[(u32, u32)]>;

fn determinized(network: &Network, max_states: usize) -> Parsed<Automaton> {
    let mut closing = Closing { network, costs: vec![u32::MAX; network.arcs.len()], waiting: Vec::new() };
    let mut automaton = Automaton { first: vec![0], arcs: Vec::new(), ends: Vec::new() };
    let mut ids: HashMap<Subset, u32> = HashMap::new();
    let (start, _) = closing.close(vec![(0, 0)]);
    ids.insert(start.clone(), 0);
    let mut subsets = vec![start];
    let mut members = 0;
    let mut at = 0;
    while at < subsets.len() {
        let subset = subsets[at].clone();
        let ends = subset.iter().filter(|(state, _)| network.is_final[*state as usize]);
        automaton.ends.push(ends.map(|(_, cost)| *cost).min().unwrap_or(NO_END));
        let mut by_word: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for &(state, cost) in &subset {
            for arc in network.arcs[state as usize].iter().filter(|arc| arc.word != NO_WORD) {
                by_word.entry(arc.word).or_default().push((arc.to, cost.saturating_add(arc.cost)));
            }
        }
        for (word, reached) in by_word {
            let (subset, cost) = closing.close(reached);
            let next = subsets.len() as u32;
            let to = *ids.entry(subset.clone()).or_insert(next);
            if to == next {
                members += subset.len();
                subsets.push(subset);
            }
            automaton.arcs.push(Arc { word, cost, to: State(to) });
            // The elements of all subsets count as the arcs do.
            if subsets.len() > max_states || members.max(automaton.arcs.len()) > 10 * max_states {
                let place = Place { file: 0, line: 1, column: 1 };
                let problem = format!("the phrases make an automaton of more than {max_states} states");
                return Err(Fault::new(place, problem)
                    .hint("optional words in a row and permutations multiply: use fewer in one phrase"));
            }
        }
        automaton.first.push(automaton.arcs.len() as u32);
        at += 1;
    }
    Ok(automaton)
}

/// Computation of epsilon closures.
struct Closing<'a> {
    network: &'a Network,
    /// Minimum cost of each state so far, `u32::MAX` if it was not reached; reset after each call.
    costs: Vec<u32>,
    waiting: Vec<u32>,
}

impl Closing<'_> {
    /// The epsilon closure of states with their costs, and the minimum cost. The closure contains only final states and
    /// states with arcs that have a word.
    fn close(&mut self, states: Vec<(u32, u32)>) -> (Subset, u32) {
        let mut reached = Vec::new();
        for (state, cost) in states {
            self.reach(state, cost, &mut reached);
            while let Some(state) = self.waiting.pop() {
                let network = self.network;
                let cost = self.costs[state as usize];
                for arc in network.arcs[state as usize].iter().filter(|arc| arc.word == NO_WORD) {
                    self.reach(arc.to, cost.saturating_add(arc.cost), &mut reached);
                }
            }
        }
        let matters = |&state: &u32| {
            let arcs = &self.network.arcs[state as usize];
            self.network.is_final[state as usize] || arcs.iter().any(|arc| arc.word != NO_WORD)
        };
        reached.sort_unstable();
        reached.dedup();
        let mut subset: Vec<(u32, u32)> = reached
            .iter()
            .copied()
            .filter(matters)
            .map(|state| (state, self.costs[state as usize]))
            .collect();
        reached.iter().for_each(|&state| self.costs[state as usize] = u32::MAX);
        let least = subset.iter().map(|(_, cost)| *cost).min().unwrap_or(0);
        subset.iter_mut().for_each(|(_, cost)| *cost -= least);
        (subset.into(), least)
    }

    fn reach(&mut self, state: u32, cost: u32, reached: &mut Vec<u32>) {
        if cost < self.costs[state as usize] {
            self.costs[state as usize] = cost;
            reached.push(state);
            self.waiting.push(state);
        }
    }
}
