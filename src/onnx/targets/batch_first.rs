//! Graphs whose states count streams on their first axis.

use super::ExportState;
use crate::model::NetworkConfig;
use crate::onnx::body::Body;
use crate::onnx::graph::ints;
use crate::onnx::states::{StateSpec, state_specs};

/// hearken's states with the axes of layers and streams exchanged.
pub(super) fn batch_first_states(config: &NetworkConfig) -> Vec<ExportState> {
    let first = |s: StateSpec| StateSpec { shape: vec![1, s.shape[0], s.shape[2]], batch_axis: 0, ..s };
    let states = state_specs(config).into_iter().map(first);
    states.map(|spec| ExportState { spec, is_i64: false }).collect()
}

/// The cells between states whose first axis counts streams; declares these too.
pub(super) fn batch_first_layers(body: &mut Body, x: String, states: &[ExportState]) -> String {
    let swap = || vec![ints("perm", &[1, 0, 2])];
    let layers_first = |name: &str| format!("{name}.layers_first");
    let mut inputs = Vec::new();
    for state in states {
        let StateSpec { input, output, .. } = &state.spec;
        body.graph.input(input, &state.dims());
        body.graph.output(output, &state.dims());
        inputs.push(body.graph.chain("Transpose", &layers_first(input), &[input], swap()));
    }
    let outputs: Vec<String> = states.iter().map(|s| layers_first(&s.spec.output)).collect();
    let initial = body.split_states(&inputs);
    let x = body.recurrent_layers(x, &initial, &outputs);
    for (state, last) in states.iter().zip(&outputs) {
        body.graph.chain("Transpose", &state.spec.output, &[last], swap());
    }
    x
}
