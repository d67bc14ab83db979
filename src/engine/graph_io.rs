//! Where x, the states and the log-probabilities stand among a graph's inputs and outputs, for
//! the engines that run graphs.

use super::EngineSpec;
use crate::error::{Error, Result, Stage};
use crate::onnx::proto::{self, INT64};

/// Positions and names of a graph's inputs and outputs.
pub(super) struct GraphIo {
    /// All inputs that are not constants, in the graph's order.
    pub inputs: Vec<String>,
    /// All outputs, in the graph's order.
    pub outputs: Vec<String>,
    /// Index of the features among the inputs.
    pub x: usize,
    /// Index of the log-probabilities among the outputs.
    pub log_probs: usize,
    /// Index of each state's input and output.
    pub states: Vec<(usize, usize)>,
    /// Which states are integers.
    pub is_i64: Vec<bool>,
}

impl GraphIo {
    /// Finds them by the names in `spec`: x is the first input that is no state, the
    /// log-probabilities are the first output that is none.
    pub(super) fn find(bytes: &[u8], spec: &EngineSpec) -> Result<Self> {
        let model = proto::decode(bytes)?;
        let graph = model.graph.unwrap_or_default();
        let is_constant = |name: &str| graph.initializer.iter().any(|t| t.name == name);
        let declared: Vec<_> = graph.input.iter().filter(|i| !is_constant(&i.name)).collect();
        let inputs: Vec<String> = declared.iter().map(|i| i.name.clone()).collect();
        let outputs: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
        let index = |names: &[String], name: &str, kind: &str| {
            let missing = || Error::new(Stage::Engine, format!("the graph has no {kind} `{name}`"));
            names.iter().position(|n| n == name).ok_or_else(missing)
        };
        let states = spec
            .states
            .iter()
            .map(|s| Ok((index(&inputs, &s.input, "input")?, index(&outputs, &s.output, "output")?)))
            .collect::<Result<Vec<_>>>()?;
        let rest = |n: usize, used: Vec<usize>, kind: &str| {
            let none = || Error::new(Stage::Engine, format!("the graph has no {kind} beside its states"));
            (0..n).find(|i| !used.contains(i)).ok_or_else(none)
        };
        let x = rest(inputs.len(), states.iter().map(|s| s.0).collect(), "input")?;
        let log_probs = rest(outputs.len(), states.iter().map(|s| s.1).collect(), "output")?;
        if inputs.len() != states.len() + 1 {
            let names = inputs.join(", ");
            return Err(Error::new(
                Stage::Engine,
                format!("expected x and the states as inputs, found {names}"),
            ));
        }
        let is_i64 = states.iter().map(|s| declared[s.0].tensor().is_some_and(|t| t.0 == INT64)).collect();
        Ok(Self { inputs, outputs, x, log_probs, states, is_i64 })
    }
}
