//! The states of the graphs that hearken writes: names, shapes, and the position of each layer's state in
//! them.

use super::interface::StatePort;
use crate::model::{LayerConfig, NetworkConfig};

/// The position of one state vector of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatePlace {
    /// Index into [`state_specs`].
    pub tensor: usize,
    /// Row on axis 0, in states of the layer's own number of rows.
    pub row: usize,
}

/// Whether all layers share one tensor for each kind of state: they have the same family of cells and the
/// same width, and a state of one row each; or there is only one layer.
pub fn is_stacked(config: &NetworkConfig) -> bool {
    let equal = |l: &[LayerConfig]| {
        l[0].hidden == l[1].hidden && l[0].cell.family() == l[1].cell.family() && l[0].cell.shape().is_some()
    };
    config.layers.windows(2).all(equal)
}

/// The state tensors of a network, in the order of the graph's inputs: `state.0 [L, N, H]` (and `state.1`
/// for the c of LSTM) if the layers share tensors, else `[1, N, H]` for each layer, h before c. A layer that keeps the
/// values of earlier steps has `[rows, N, width]`.
pub fn state_specs(config: &NetworkConfig) -> Vec<StatePort> {
    let mut shapes = Vec::new();
    match config.layers.first() {
        Some(first) if is_stacked(config) => {
            let layers = config.layers.len();
            shapes
                .extend(first.state_shapes().into_iter().map(|[rows, width]| vec![layers * rows, 1, width]));
        }
        _ => {
            let all = config.layers.iter().flat_map(LayerConfig::state_shapes);
            shapes.extend(all.map(|[rows, width]| vec![rows, 1, width]));
        }
    }
    let spec = |(i, shape)| StatePort {
        input: format!("state.{i}"),
        output: format!("next_state.{i}"),
        shape,
        batch_axis: 1,
        is_i64: false,
    };
    shapes.into_iter().enumerate().map(spec).collect()
}

/// The positions of each layer's state vectors: `places[layer][0]` is h, `places[layer][1]` is c.
pub fn state_places(config: &NetworkConfig) -> Vec<Vec<StatePlace>> {
    let stacked = is_stacked(config);
    let mut next = 0;
    let mut places = Vec::with_capacity(config.layers.len());
    for (row, layer) in config.layers.iter().enumerate() {
        let states = 0..layer.cell.states();
        if stacked {
            places.push(states.map(|tensor| StatePlace { tensor, row }).collect());
        } else {
            places.push(states.map(|k| StatePlace { tensor: next + k, row: 0 }).collect());
            next += layer.cell.states();
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CellKind;

    fn config(layers: &[(CellKind, usize)]) -> NetworkConfig {
        NetworkConfig {
            auxiliary: None,
            num_features: 4,
            subsampling: 2,
            input_size: 3,
            layers: layers.iter().map(|&(cell, hidden)| LayerConfig::new(cell, hidden)).collect(),
            layer_norm: false,
            residual: false,
            num_tokens: 5,
        }
    }

    #[test]
    fn equal_layers_share_a_tensor_and_others_do_not() {
        let stacked = config(&[(CellKind::Lstm, 7), (CellKind::Lstm, 7)]);
        let shapes: Vec<_> = state_specs(&stacked).into_iter().map(|s| s.shape).collect();
        assert_eq!(shapes, [[2, 1, 7], [2, 1, 7]]);
        assert_eq!(
            state_places(&stacked)[1],
            [StatePlace { tensor: 0, row: 1 }, StatePlace { tensor: 1, row: 1 }]
        );
        let mixed = config(&[(CellKind::Gru, 7), (CellKind::Lstm, 7), (CellKind::RnnRelu, 6)]);
        let specs = state_specs(&mixed);
        assert_eq!(specs.len(), 4);
        assert_eq!(specs[3].shape, [1, 1, 6]);
        assert_eq!(state_places(&mixed)[2], [StatePlace { tensor: 3, row: 0 }]);
        assert_eq!(state_places(&mixed)[1][1], StatePlace { tensor: 2, row: 0 });
        let shapes = |layers: &[(CellKind, usize)]| -> Vec<Vec<usize>> {
            state_specs(&config(layers)).into_iter().map(|s| s.shape).collect()
        };
        assert_eq!(shapes(&[(CellKind::Conv, 7)]), [[4, 1, 7]]);
        assert_eq!(shapes(&[(CellKind::Conv, 7), (CellKind::Conv, 7)]), [[4, 1, 7], [4, 1, 7]]);
        assert_eq!(shapes(&[(CellKind::Attention, 7), (CellKind::Gru, 7)]), [[50, 1, 14], [1, 1, 7]]);
    }
}
