//! Weighted finite-state transducers in OpenFst's binary format: type `vector`, arcs `standard` (tropical
//! weights: costs in nats), little-endian, without symbol tables.

/// The magic number of OpenFst files.
const MAGIC: i32 = 2_125_659_606;
/// The version of the type `vector`.
const VERSION: i32 = 2;
/// The properties of every `vector`: expanded and mutable.
const EXPANDED_MUTABLE: u64 = 3;
/// The empty label.
pub(super) const EPSILON: i32 = 0;

/// An arc to another state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Arc {
    pub input: i32,
    pub output: i32,
    pub cost: f32,
    pub next: usize,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Cost of an end in this state, nats; `None` if a path cannot end here.
    final_cost: Option<f32>,
    arcs: Vec<Arc>,
}

/// A transducer. The first state added is the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Fst {
    states: Vec<State>,
}

impl Fst {
    /// Adds a state and returns its number; `final_cost` is the cost of an end there, if a path can end there.
    pub fn add_state(&mut self, final_cost: Option<f32>) -> usize {
        self.states.push(State { final_cost, arcs: Vec::new() });
        self.states.len() - 1
    }

    /// Adds an arc that leaves a state.
    pub fn add_arc(&mut self, from: usize, arc: Arc) {
        self.states[from].arcs.push(arc);
    }

    /// Number of arcs.
    pub fn num_arcs(&self) -> usize {
        self.states.iter().map(|state| state.arcs.len()).sum()
    }

    /// The arcs that leave a state.
    #[cfg(test)]
    pub fn arcs(&self, state: usize) -> &[Arc] {
        &self.states[state].arcs
    }

    /// The cost of an end in a state; `None` if a path cannot end there.
    #[cfg(test)]
    pub fn final_cost(&self, state: usize) -> Option<f32> {
        self.states[state].final_cost
    }

    /// Encodes the transducer as the bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let num_arcs = self.num_arcs();
        let mut bytes = Vec::with_capacity(64 + 12 * self.states.len() + 16 * num_arcs);
        bytes.extend(MAGIC.to_le_bytes());
        for name in ["vector", "standard"] {
            bytes.extend((name.len() as i32).to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        bytes.extend(VERSION.to_le_bytes());
        // Flags: no symbol tables.
        bytes.extend(0i32.to_le_bytes());
        bytes.extend(EXPANDED_MUTABLE.to_le_bytes());
        let start = if self.states.is_empty() { -1i64 } else { 0 };
        for number in [start, self.states.len() as i64, num_arcs as i64] {
            bytes.extend(number.to_le_bytes());
        }
        for state in &self.states {
            bytes.extend(state.final_cost.unwrap_or(f32::INFINITY).to_le_bytes());
            bytes.extend((state.arcs.len() as i64).to_le_bytes());
            for arc in &state.arcs {
                bytes.extend(arc.input.to_le_bytes());
                bytes.extend(arc.output.to_le_bytes());
                bytes.extend(arc.cost.to_le_bytes());
                bytes.extend((arc.next as i32).to_le_bytes());
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_openfst() {
        let mut fst = Fst::default();
        let (a, b) = (fst.add_state(None), fst.add_state(Some(0.0)));
        fst.add_arc(a, Arc { input: 3, output: 7, cost: 0.5, next: b });
        let bytes = fst.to_bytes();
        // Expected bytes written by pywrapfst of OpenFst 1.8: `fstcompile` of "0 1 3 7 0.5" and "1".
        let header = b"\xd6\xfd\xb2\x7e\x06\0\0\0vector\x08\0\0\0standard\x02\0\0\0\0\0\0\0";
        assert_eq!(bytes[..header.len()], header[..]);
        assert_eq!(bytes.len(), header.len() + 32 + 2 * 12 + 16);
        let tail = &bytes[bytes.len() - 40..];
        assert_eq!(tail[..12], [&f32::INFINITY.to_le_bytes()[..], &1i64.to_le_bytes()].concat());
        assert_eq!(tail[12..28], [3, 7, 0.5f32.to_bits() as i32, 1].map(i32::to_le_bytes).concat());
    }
}
