//! Graphs whose states have the batch axis first.

use super::dims;
use crate::model::NetworkConfig;
use crate::onnx::build::graph::ints;
use crate::onnx::build::layers::Body;
use crate::onnx::interface::StatePort;
use crate::onnx::states::state_specs;

/// hearken's states with the layer axis and the batch axis exchanged.
pub(super) fn batch_first_states(config: &NetworkConfig) -> Vec<StatePort> {
    let first = |s: StatePort| StatePort { shape: vec![1, s.shape[0], s.shape[2]], batch_axis: 0, ..s };
    state_specs(config).into_iter().map(first).collect()
}

/// Adds the recurrent layers with states that have the batch axis first, and declares these states.
pub(super) fn batch_first_layers(body: &mut Body, x: String, states: &[StatePort]) -> String {
    let swap = || vec![ints("perm", &[1, 0, 2])];
    let layers_first = |name: &str| format!("{name}.layers_first");
    let mut inputs = Vec::new();
    for state in states {
        let StatePort { input, output, .. } = state;
        body.graph.input(input, &dims(state));
        body.graph.output(output, &dims(state));
        inputs.push(body.graph.chain("Transpose", &layers_first(input), &[input], swap()));
    }
    let outputs: Vec<String> = states.iter().map(|s| layers_first(&s.output)).collect();
    let initial = body.split_states(&inputs);
    let x = body.recurrent_layers(x, &initial, &outputs);
    for (state, last) in states.iter().zip(&outputs) {
        body.graph.chain("Transpose", &state.output, &[last], swap());
    }
    x
}
