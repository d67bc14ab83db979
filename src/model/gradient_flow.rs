//! Gradient through time: how much of the gradient of one step's loss reaches the states of earlier steps.
//!
//! In a recurrent network dL_t/ds_(t-k) is a product of k Jacobians ds_i/ds_(i-1). If it becomes small, the network
//! cannot learn that s_(t-k) matters at step t (vanishing gradient); if it becomes large, an update destroys what
//! was learned (exploding gradient). (Hochreiter 1991; Bengio, Simard, Frasconi 1994; Pascanu, Mikolov, Bengio 2013.)

use super::forward::{PackedWeights, States, Workspace, log_softmax};
use super::kernels::Kernels;
use super::network::Network;
use super::packed::{Precision, Purpose};
use super::packed_sequence::PackedSequence;

/// Norms of the gradient of a step's loss with respect to earlier states.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientFlow {
    /// For each layer, the norm of dL_t/ds_(t-k) for k = 1, 2, …; the geometric mean over all measured steps t.
    pub layers: Vec<Vec<f64>>,
    /// Number of steps t that were measured.
    pub measured: usize,
}

/// The rate at which a gradient changes over the steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    /// Factor per step, from a straight line through the logarithms of the norms (least squares).
    pub factor: f64,
    /// The first k at which less than 1 % of the norm at k = 1 is left; `None` if more is left at the last.
    pub one_percent: Option<usize>,
}

impl Decay {
    /// Determines the rate for the norms of one layer. `None` for fewer than two positive norms.
    pub fn of(norms: &[f64]) -> Option<Self> {
        // Norms that are zero, or nearly so, would only show the precision of the numbers.
        let first = *norms.first().filter(|&&norm| norm > 0.0)?;
        let used: Vec<f64> =
            norms.iter().take_while(|&&norm| norm > first * 1e-12).map(|norm| norm.ln()).collect();
        if used.len() < 2 {
            return None;
        }
        let middle = (used.len() - 1) as f64 / 2.0;
        let mean = used.iter().sum::<f64>() / used.len() as f64;
        let (mut above, mut below) = (0.0, 0.0);
        for (k, log) in used.iter().enumerate() {
            above += (k as f64 - middle) * (log - mean);
            below += (k as f64 - middle).powi(2);
        }
        let one_percent = norms.iter().position(|&norm| norm < first * 0.01).map(|k| k + 1);
        Some(Self { factor: (above / below).exp(), one_percent })
    }

    /// Number of steps over which the gradient becomes half; negative if it grows, infinite if it stays.
    pub fn half_life(&self) -> f64 {
        -std::f64::consts::LN_2 / self.factor.ln()
    }
}

/// Measures the gradient flow of `network` over `x [R, S * F]`, stacked features before normalization, for k = 1 to
/// `reach`. The steps are divided into stretches of `reach + 1`; the loss is that of the last step of each stretch,
/// the cross entropy with the uniform distribution over all tokens (that with the right token would have no
/// gradient where the network is sure). States are carried from stretch to stretch. `None` if there are fewer than
/// `reach + 1` steps, or a parameter is missing.
pub fn gradient_flow<T: Kernels>(network: &Network<T>, x: &[T], reach: usize) -> Option<GradientFlow> {
    let weights = PackedWeights::new(network, Purpose::Training(Precision::Fp32))?;
    let width = network.config.subsampling * network.config.num_features;
    let stretches: Vec<&[T]> = x.chunks_exact(width.checked_mul(reach + 1).filter(|&n| n > 0)?).collect();
    if stretches.is_empty() || reach == 0 {
        return None;
    }
    let mut states = weights.zero_states(1);
    let mut logs = vec![vec![0.0; reach]; network.config.layers.len()];
    for stretch in &stretches {
        let norms = norms_of(&weights, network, stretch, &mut states);
        for (sum, norm) in logs.iter_mut().flatten().zip(norms.iter().flatten()) {
            *sum += norm.max(f64::MIN_POSITIVE).ln();
        }
    }
    let measured = stretches.len();
    let mean = |sum: f64| (sum / measured as f64).exp();
    let layers = logs.into_iter().map(|layer| layer.into_iter().map(mean).collect()).collect();
    Some(GradientFlow { layers, measured })
}

/// For each layer, the norms of dL/ds_(t-k), where t is the last step of `x`.
fn norms_of<T: Kernels>(
    weights: &PackedWeights<T>,
    network: &Network<T>,
    x: &[T],
    states: &mut States<T>,
) -> Vec<Vec<f64>> {
    let config = &network.config;
    let (one, width, tokens) =
        (PackedSequence::uniform(1, 1), config.subsampling * config.num_features, config.num_tokens);
    // One pass per step, so that the gradients of all states between two steps are seen.
    let mut passes: Vec<Workspace<T>> = Vec::new();
    for frame in x.chunks_exact(width) {
        let mut workspace = Workspace::default();
        weights.forward(frame, &one, states, &mut workspace, None);
        passes.push(workspace);
    }
    let mut gradients: Vec<Vec<T>> = network.parameters.iter().map(|p| vec![T::ZERO; p.data.len()]).collect();
    let mut dlogits = Vec::new();
    if let Some(last) = passes.last() {
        weights.logits(last, 0, &mut dlogits);
    }
    log_softmax(&mut dlogits, tokens);
    // d/dz of -1/V Σ ln softmax(z) is softmax(z) - 1/V.
    let uniform = T::from_f64(1.0 / tokens as f64);
    dlogits.iter_mut().for_each(|p| *p = p.exp() - uniform);
    let zeros = vec![T::ZERO; tokens];
    let mut dstates = weights.zero_states(1);
    let mut norms = vec![Vec::new(); network.config.layers.len()];
    for (k, workspace) in passes.iter_mut().rev().enumerate() {
        // The first step is not passed: its states belong to the stretch before.
        if k == x.len() / width - 1 {
            break;
        }
        let d: &[T] = if k == 0 { &dlogits } else { &zeros };
        dstates = weights.backward(&one, &[d], dstates, workspace, &mut gradients);
        for (layer, norms) in norms.iter_mut().enumerate() {
            let all = dstates.hidden[layer].iter().chain(&dstates.cell[layer]);
            norms.push(all.map(|d| d.to_f64().powi(2)).sum::<f64>().sqrt());
        }
    }
    norms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cells::CellKind;
    use crate::model::config::{LayerConfig, NetworkConfig};
    use crate::model::network::initialize;

    fn network(cell: CellKind) -> Network<f64> {
        let layer = LayerConfig::new(cell, 4);
        // Fewer values to move.
        let layer = LayerConfig { left_context: layer.left_context.min(4), ..layer };
        let config = NetworkConfig {
            num_features: 3,
            subsampling: 1,
            input_size: 4,
            layers: vec![layer; 2],
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

    /// The loss of the last step of `x` for a network that starts from `states`.
    fn loss(weights: &PackedWeights<f64>, x: &[f64], mut states: States<f64>) -> f64 {
        let (mut workspace, mut logits) = (Workspace::default(), Vec::new());
        weights.forward(x, &PackedSequence::uniform(1, x.len() / 3), &mut states, &mut workspace, None);
        weights.logits(&workspace, 0, &mut logits);
        log_softmax(&mut logits, 5);
        let last = &logits[logits.len() - 5..];
        -last.iter().sum::<f64>() / 5.0
    }

    #[test]
    fn norms_are_those_of_finite_differences() {
        for cell in [
            CellKind::RnnTanh,
            CellKind::Gru,
            CellKind::Lstm,
            CellKind::MinGru,
            CellKind::RgLru,
            CellKind::Conv,
            CellKind::Attention,
            CellKind::Tdnnf,
            CellKind::Lstmp,
        ] {
            let network = network(cell);
            let weights = PackedWeights::new(&network, Purpose::Training(Precision::Fp32)).expect("weights");
            let (reach, x) = (6, frames(7));
            let flow = gradient_flow(&network, &x, reach).expect("enough steps");
            assert_eq!(flow.measured, 1);
            for k in 1..=reach {
                let (before, after) = x.split_at((reach + 1 - k) * 3);
                let mut states = weights.zero_states(1);
                let steps = PackedSequence::uniform(1, before.len() / 3);
                weights.forward(before, &steps, &mut states, &mut Workspace::default(), None);
                for layer in 0..2 {
                    let mut squares = 0.0;
                    let moved = |is_cell: bool, at: usize, by: f64| {
                        let mut states = states.clone();
                        let kind = if is_cell { &mut states.cell } else { &mut states.hidden };
                        kind[layer][at] += by;
                        loss(&weights, after, states)
                    };
                    for (is_cell, values) in [(false, &states.hidden), (true, &states.cell)] {
                        for at in 0..values[layer].len() {
                            let step = 1e-5;
                            let slope = moved(is_cell, at, step) - moved(is_cell, at, -step);
                            squares += (slope / (2.0 * step)).powi(2);
                        }
                    }
                    let (found, expected) = (flow.layers[layer][k - 1], squares.sqrt());
                    // Differences of the loss are not more exact than that.
                    let error = (found - expected).abs() / expected.max(1e-6);
                    assert!(error < 1e-4, "{cell:?}, layer {layer}, k = {k}: {found} instead of {expected}");
                }
            }
        }
    }

    #[test]
    fn too_few_steps_are_no_measurement() {
        let network = network(CellKind::Gru);
        assert_eq!(gradient_flow(&network, &frames(6), 6), None);
        assert_eq!(gradient_flow(&network, &frames(6), 0), None);
        assert_eq!(gradient_flow(&network, &frames(14), 6).map(|flow| flow.measured), Some(2));
    }

    #[test]
    fn the_decay_of_a_geometric_sequence_is_its_factor() {
        let norms: Vec<f64> = (0..20).map(|k| 3.0 * 0.5f64.powi(k)).collect();
        let decay = Decay::of(&norms).expect("a decay");
        assert!((decay.factor - 0.5).abs() < 1e-12);
        assert!((decay.half_life() - 1.0).abs() < 1e-9);
        assert_eq!(decay.one_percent, Some(8));
        let growing: Vec<f64> = (0..20).map(|k| 1.2f64.powi(k)).collect();
        let decay = Decay::of(&growing).expect("a decay");
        assert!(decay.half_life() < 0.0 && decay.one_percent.is_none());
        assert_eq!(Decay::of(&[1.0]), None);
        assert_eq!(Decay::of(&[0.0, 0.0]), None);
    }
}
