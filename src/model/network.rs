//! A stacked network as a list of named parameters.

use rand::{RngExt, SeedableRng};

use super::cells::first_lambda;
use super::config::{LayerConfig, NetworkConfig};
use super::real::Real;

pub use super::norm::LAYER_NORM_EPSILON;

/// A named tensor of weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter<T> {
    /// Name, such as `layers.0.gru.R` or `output.weight`.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values in row-major order.
    pub data: Vec<T>,
}

/// A network: its architecture, the normalization of the features, and the parameters.
///
/// With F features, subsampling S, input width D, hidden width H, k gates and V tokens, the parameters are, in this
/// order (`{cell}` is `rnn`, `gru` or `lstm`; rows of W, R and B are in ONNX gate order, those of `mingru` in the order
/// z, c):
///
/// | name | shape |
/// | --- | --- |
/// | `input.weight`, `input.bias` | `[D, S * F]`, `[D]` |
/// | `input_norm.gain`, `input_norm.bias` (with layer norm) | `[D]` |
/// | `layers.{i}.{cell}.W`, `.R`, `.B` | `[k * H, in]`, `[k * H, H]`, `[2 * k * H]` (input, then recurrent biases) |
/// | `layers.{i}.mingru.W`, `.B` | `[2 * H, in]`, `[2 * H]` |
/// | `layers.{i}.rglru.linear.weight`, `.bias`; `.Lambda` | `[H, in]`, `[H]`; `[H]` |
/// | `layers.{i}.rglru.gates.weight`, `.bias` | `[n, 2 * H/n, H/n]`, `[2 * H]` (of each head r, then i) with n = num_heads |
/// | `layers.{i}.conv.norm1.gain`, `.bias`; `.pointwise1.weight`, `.bias` | `[in]` each; `[2 * H, in]`, `[2 * H]` |
/// | `layers.{i}.conv.depthwise.kernel`, `.bias`; `.norm2.gain`, `.bias` | `[K, H]`, `[H]`; `[H]` each |
/// | `layers.{i}.conv.pointwise2.weight`, `.bias` | `[H, H]`, `[H]` |
/// | `layers.{i}.attention.norm1.gain`, `.bias`; `.in_proj.weight`, `.bias` | `[in]` each; `[3 * H, in]`, `[3 * H]` (q, k, v) |
/// | `layers.{i}.attention.out_proj.weight`, `.bias`; `.norm2.gain`, `.bias` | `[H, H]`, `[H]`; `[H]` each |
/// | `layers.{i}.attention.linear1.weight`, `.bias` | `[dim_feedforward, H]`, `[dim_feedforward]` |
/// | `layers.{i}.attention.linear2.weight`, `.bias` | `[H, dim_feedforward]`, `[H]` |
/// | `layers.{i}.tdnnf.linear.weight`; `.affine.weight`, `.bias` | `[2 * bottleneck_dim, in]`; `[H, 2 * bottleneck_dim]`, `[H]` |
/// | `layers.{i}.lstmp.W`, `.R`, `.B`; `.projection.weight` | `[4 * M, in]`, `[4 * M, H]`, `[8 * M]`; `[H, M]` with M = cell_dim |
/// | `layers.{i}.norm.gain`, `layers.{i}.norm.bias` (with layer norm) | `[H]` |
/// | `output.weight`, `output.bias` | `[V, H]`, `[V]` |
/// | `auxiliary.weight`, `auxiliary.bias` (in training, with an auxiliary output) | `[A, H]`, `[A]` |
#[derive(Clone, Debug, PartialEq)]
pub struct Network<T> {
    /// The architecture.
    pub config: NetworkConfig,
    /// Mean subtracted from each feature, `[F]`.
    pub mean: Vec<T>,
    /// Factor by which each feature is then multiplied, `[F]`.
    pub scale: Vec<T>,
    /// The parameters, in the order of the table above.
    pub parameters: Vec<Parameter<T>>,
}

/// Names and shapes of the parameters of an architecture, in order.
pub fn parameter_shapes(config: &NetworkConfig) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Vec::new();
    let norm = |prefix: String, width: usize, shapes: &mut Vec<(String, Vec<usize>)>| {
        if config.layer_norm {
            shapes.push((format!("{prefix}.gain"), vec![width]));
            shapes.push((format!("{prefix}.bias"), vec![width]));
        }
    };
    let d = config.input_size;
    shapes.push(("input.weight".into(), vec![d, config.subsampling * config.num_features]));
    shapes.push(("input.bias".into(), vec![d]));
    norm("input_norm".into(), d, &mut shapes);
    let mut width = d;
    for (i, layer) in config.layers.iter().enumerate() {
        let own = layer.parameters(width).into_iter();
        shapes.extend(own.map(|(name, shape)| (format!("layers.{i}.{}.{name}", layer.cell.family()), shape)));
        norm(format!("layers.{i}.norm"), layer.hidden, &mut shapes);
        width = layer.hidden;
    }
    shapes.push(("output.weight".into(), vec![config.num_tokens, width]));
    shapes.push(("output.bias".into(), vec![config.num_tokens]));
    if let Some(auxiliary) = config.auxiliary {
        let hidden = config.layers.get(auxiliary.layer).map_or(0, |l| l.hidden);
        shapes.push(("auxiliary.weight".into(), vec![auxiliary.num_tokens, hidden]));
        shapes.push(("auxiliary.bias".into(), vec![auxiliary.num_tokens]));
    }
    shapes
}

/// A network with random weights, reproducible from `seed`: uniform in ±1/sqrt(H) for recurrent cells and in ±1/sqrt(K)
/// for kernels, as in PyTorch, uniform in ±sqrt(3/in) for linear layers; biases are 0, except those of cells that begin with a certain memory;
/// the decays of `rglru` are those of its authors; gains of the normalization are 1.
pub fn initialize<T: Real>(config: &NetworkConfig, seed: u64) -> Network<T> {
    let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
    let parameters = parameter_shapes(config)
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let mut uniform = || rng.random_range(-1.0..1.0);
            let mut within = |bound: f64| (0..count).map(|_| T::from_f64(uniform() * bound)).collect();
            let data = match (name.rsplit('.').next(), layer_of(config, &name)) {
                (Some("W" | "R"), Some(layer)) => within(1.0 / (layer.hidden as f64).sqrt()),
                (Some("B"), Some(LayerConfig { cell, hidden, .. })) => {
                    let shape = cell.shape();
                    let first = |row| shape.map_or(0.0, |s| s.first_bias(row, *hidden, uniform()));
                    (0..count).map(first).map(T::from_f64).collect()
                }
                (Some("Lambda"), _) => (0..count).map(|_| T::from_f64(first_lambda(uniform()))).collect(),
                (Some("kernel"), _) => within(1.0 / (shape[0] as f64).sqrt()),
                (Some("weight"), _) => within((3.0 / shape[shape.len() - 1] as f64).sqrt()),
                (Some("gain"), _) => vec![T::ONE; count],
                _ => within(0.0),
            };
            Parameter { name, shape, data }
        })
        .collect();
    let features = config.num_features;
    Network {
        config: config.clone(),
        mean: vec![T::ZERO; features],
        scale: vec![T::ONE; features],
        parameters,
    }
}

/// The layer that a parameter belongs to; `None` for one outside of the layers.
fn layer_of<'a>(config: &'a NetworkConfig, name: &str) -> Option<&'a LayerConfig> {
    let index = name.strip_prefix("layers.")?.split('.').next()?.parse::<usize>().ok()?;
    config.layers.get(index)
}

impl<T> Network<T> {
    /// The number of trainable values.
    pub fn num_parameters(&self) -> usize {
        self.parameters.iter().map(|p| p.data.len()).sum()
    }

    /// The network for inference: without the auxiliary output.
    pub fn without_auxiliary(mut self) -> Self {
        self.config.auxiliary = None;
        self.parameters.retain(|parameter| !parameter.name.starts_with("auxiliary."));
        self
    }

    /// The parameter called `name`.
    pub fn parameter(&self, name: &str) -> Option<&Parameter<T>> {
        self.parameters.iter().find(|p| p.name == name)
    }
}
