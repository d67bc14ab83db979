//! Products of Jacobians: how a change of a layer's state reaches its state k steps later.
//!
//! ds_t/ds_(t-k) = ds_t/ds_(t-1) · … · ds_(t-k+1)/ds_(t-k). Its singular values are the factors by which changes grow
//! or shrink in k steps: where the largest is small, every gradient vanishes; where it is large, some explode.

use super::cells::CellForm;
use super::forward::{PackedWeights, States, Workspace};
use super::kernels::Kernels;
use super::network::Network;
use super::packed::{Precision, Purpose};
use super::packed_sequence::PackedSequence;
use super::real::Real;

/// Widest state that is measured: time and memory grow with its square.
const MAX_STATE: usize = 640;
/// Rows of the Jacobian that are computed together.
const ROWS: usize = 32;
/// Maximum number of steps t that are measured.
const MAX_MEASURED: usize = 3;
/// Maximum number of iterations for the largest singular value, and the relative change at which they end.
const MAX_ITERATIONS: usize = 200;
const CONVERGED: f64 = 1e-9;

/// Singular values of ds_t/ds_(t-k) of one layer for k = 1, 2, …; geometric means over the measured steps t.
#[derive(Clone, Debug, PartialEq)]
pub struct JacobianValues {
    /// The largest.
    pub largest: Vec<f64>,
    /// The root mean square of all: what is left of a change in a random direction, on average.
    pub mean: Vec<f64>,
}

/// Measures the Jacobians of `network` over `x [R, S * F]`, divided as for the gradient flow, for k = 1 to `reach`, at up
/// to three of its steps. For each layer; `None` for layers that keep earlier steps instead of a recurrent state, and
/// for states of more than 640 values. The state of an LSTM is s_t with its cell. Empty if there are
/// fewer than `reach + 1` steps, or a parameter is missing.
pub fn jacobian_values<T: Kernels>(
    network: &Network<T>,
    x: &[T],
    reach: usize,
) -> Vec<Option<JacobianValues>> {
    let Some(weights) = PackedWeights::new(network, Purpose::Training(Precision::Fp32)) else {
        return Vec::new();
    };
    let width = network.config.subsampling * network.config.num_features;
    let stretches: Vec<&[T]> = x.chunks_exact((width * (reach + 1)).max(1)).collect();
    if stretches.is_empty() || reach == 0 {
        return Vec::new();
    }
    let mut sums: Vec<Option<JacobianValues>> = network.config.layers.iter().map(|_| None).collect();
    let every = stretches.len().div_ceil(MAX_MEASURED);
    let mut measured = 0u32;
    let (mut states, mut workspace) = (weights.zero_states(1), Workspace::default());
    for (number, stretch) in stretches.iter().enumerate() {
        if number % every == 0 {
            measured += 1;
            for (layer, sum) in sums.iter_mut().enumerate() {
                let Some(found) = of_layer(&weights, network, stretch, &states, layer) else { continue };
                let zeros = || JacobianValues { largest: vec![0.0; reach], mean: vec![0.0; reach] };
                let sum = sum.get_or_insert_with(zeros);
                let add = |(sum, x): (&mut f64, &f64)| *sum += x.max(f64::MIN_POSITIVE).ln();
                sum.largest.iter_mut().zip(&found.largest).for_each(add);
                sum.mean.iter_mut().zip(&found.mean).for_each(add);
            }
        }
        let steps = PackedSequence::uniform(1, reach + 1);
        weights.forward(stretch, &steps, &mut states, &mut workspace, None);
    }
    let mean = |sums: Vec<f64>| sums.into_iter().map(|sum| (sum / f64::from(measured)).exp()).collect();
    let of = |sum: JacobianValues| JacobianValues { largest: mean(sum.largest), mean: mean(sum.mean) };
    sums.into_iter().map(|sum| sum.map(of)).collect()
}

/// The values of one layer for the last step of `x`, which follows `states`.
fn of_layer<T: Kernels>(
    weights: &PackedWeights<T>,
    network: &Network<T>,
    x: &[T],
    states: &States<T>,
    layer: usize,
) -> Option<JacobianValues> {
    let is_recurrent = matches!(network.config.layers[layer].cell.form::<T>(), CellForm::Recurrent { .. });
    let (hidden, cell) = (states.hidden[layer].len(), states.cell[layer].len());
    let size = hidden + cell;
    if !is_recurrent || size > MAX_STATE {
        return None;
    }
    // Equal streams, one for each row of the Jacobian, and a pass for each step.
    let streams = PackedSequence::uniform(ROWS, 1);
    let mut states = States {
        hidden: states.hidden.iter().map(|state| state.repeat(ROWS)).collect(),
        cell: states.cell.iter().map(|state| state.repeat(ROWS)).collect(),
    };
    let width = network.config.subsampling * network.config.num_features;
    let mut passes: Vec<Workspace<T>> = Vec::new();
    for frame in x.chunks_exact(width) {
        let mut workspace = Workspace::default();
        weights.forward(&frame.repeat(ROWS), &streams, &mut states, &mut workspace, None);
        passes.push(workspace);
    }
    // The first step is not passed: its states belong to the stretch before.
    let reach = passes.len() - 1;
    let mut products: Vec<Vec<T>> = vec![Vec::with_capacity(size * size); reach];
    let mut gradients: Vec<Vec<T>> = network.parameters.iter().map(|p| vec![T::ZERO; p.data.len()]).collect();
    for begin in (0..size).step_by(ROWS) {
        let rows = ROWS.min(size - begin);
        let mut dstates = weights.zero_states(ROWS);
        for row in 0..rows {
            match begin + row {
                at if at < hidden => dstates.hidden[layer][row * hidden + at] = T::from_f64(1.0),
                at => dstates.cell[layer][row * cell + at - hidden] = T::from_f64(1.0),
            }
        }
        for (workspace, product) in passes.iter_mut().rev().zip(&mut products) {
            weights.state_backward(layer, &streams, &mut dstates, workspace, &mut gradients);
            for row in 0..rows {
                product.extend(&dstates.hidden[layer][row * hidden..(row + 1) * hidden]);
                product.extend(&dstates.cell[layer][row * cell..(row + 1) * cell]);
            }
        }
    }
    let squares = |m: &Vec<T>| m.iter().map(|x| x.to_f64().powi(2)).sum::<f64>();
    Some(JacobianValues {
        largest: products.iter().map(|product| largest_singular_value(product, size)).collect(),
        mean: products.iter().map(|product| (squares(product) / size as f64).sqrt()).collect(),
    })
}

/// The largest singular value of a matrix with `columns` columns, row by row, by power iteration.
fn largest_singular_value<T: Real>(matrix: &[T], columns: usize) -> f64 {
    let rows = matrix.chunks_exact(columns);
    // From the longest row, which is not orthogonal to what is looked for but by a rare chance.
    let squares = |row: &[T]| row.iter().map(|x| x.to_f64().powi(2)).sum::<f64>();
    let longest = rows.clone().max_by(|a, b| squares(a).total_cmp(&squares(b)));
    let mut vector: Vec<f64> = longest.unwrap_or(&[]).iter().map(|x| x.to_f64()).collect();
    let mut value = 0.0;
    for _ in 0..MAX_ITERATIONS {
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 || !norm.is_finite() {
            return norm;
        }
        vector.iter_mut().for_each(|x| *x /= norm);
        let mut next = vec![0.0; columns];
        let mut square = 0.0;
        for row in rows.clone() {
            let product: f64 = row.iter().zip(&vector).map(|(a, b)| a.to_f64() * b).sum();
            square += product * product;
            next.iter_mut().zip(row).for_each(|(sum, a)| *sum += product * a.to_f64());
        }
        let before = std::mem::replace(&mut value, square.sqrt());
        if (value - before).abs() <= CONVERGED * value {
            break;
        }
        vector = next;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cells::CellKind;
    use crate::model::config::{LayerConfig, NetworkConfig};
    use crate::model::network::initialize;
    use crate::model::singular_values;

    /// Wider than the rows that are computed together.
    const WIDTH: usize = ROWS + 3;

    fn network(cell: CellKind) -> Network<f64> {
        let config = NetworkConfig {
            num_features: 3,
            subsampling: 1,
            input_size: WIDTH,
            layers: vec![LayerConfig::new(cell, WIDTH); 2],
            layer_norm: true,
            residual: true,
            num_tokens: 5,
            auxiliary: None,
        };
        initialize(&config, 7)
    }

    fn frames(steps: usize) -> Vec<f64> {
        (0..steps * 3).map(|i| ((i * 29 + 7) % 23) as f64 / 11.0 - 1.0).collect()
    }

    /// The Jacobian from the states of `layer` after the first `before` steps to those at the end.
    fn by_finite_differences(
        weights: &PackedWeights<f64>,
        x: &[f64],
        before: usize,
        layer: usize,
    ) -> Vec<f64> {
        let run = |x: &[f64], states: &mut States<f64>| {
            let steps = PackedSequence::uniform(1, x.len() / 3);
            weights.forward(x, &steps, states, &mut Workspace::default(), None);
        };
        let of = |states: &States<f64>| [&states.hidden[layer][..], &states.cell[layer]].concat();
        let mut states = weights.zero_states(1);
        run(&x[..before * 3], &mut states);
        let hidden = states.hidden[layer].len();
        let mut columns = Vec::new();
        for at in 0..of(&states).len() {
            let moved = |by: f64| {
                let mut states = states.clone();
                match at < hidden {
                    true => states.hidden[layer][at] += by,
                    false => states.cell[layer][at - hidden] += by,
                }
                run(&x[before * 3..], &mut states);
                of(&states)
            };
            let (up, down) = (moved(1e-5), moved(-1e-5));
            columns.extend(up.iter().zip(&down).map(|(up, down)| (up - down) / 2e-5));
        }
        // The transpose, which has the same singular values.
        columns
    }

    #[test]
    fn values_are_those_of_finite_differences() {
        for cell in [CellKind::RnnTanh, CellKind::RnnRelu, CellKind::Gru, CellKind::Lstm, CellKind::MinGru] {
            let network = network(cell);
            let weights = PackedWeights::new(&network, Purpose::Training(Precision::Fp32)).expect("weights");
            let (reach, x) = (4, frames(5));
            let layers = jacobian_values(&network, &x, reach);
            for (layer, values) in layers.iter().enumerate() {
                let values = values.as_ref().expect("a recurrent layer");
                for k in 1..=reach {
                    let expected = by_finite_differences(&weights, &x, reach + 1 - k, layer);
                    let size = expected.len().isqrt();
                    let singular = singular_values(&expected, size);
                    let mean = (singular.iter().map(|x| x * x).sum::<f64>() / size as f64).sqrt();
                    for (found, expected) in
                        [(values.largest[k - 1], singular[0]), (values.mean[k - 1], mean)]
                    {
                        let error = (found - expected).abs() / expected;
                        assert!(error < 1e-5, "{cell:?}, layer {layer}, k = {k}: {found}, not {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn layers_without_a_recurrent_state_have_none() {
        let layers = jacobian_values(&network(CellKind::Conv), &frames(5), 4);
        assert_eq!(layers, [None, None]);
        assert!(jacobian_values(&network(CellKind::Gru), &frames(4), 4).is_empty());
    }

    #[test]
    fn the_largest_singular_value_is_found() {
        assert!((largest_singular_value(&[3.0, 0.0, 0.0, -2.0], 2) - 3.0).abs() < 1e-8);
        assert!((largest_singular_value(&[0.0, 2.0, 0.0, 0.0], 2) - 2.0).abs() < 1e-8);
        assert_eq!(largest_singular_value(&[0.0; 4], 2), 0.0);
    }
}
