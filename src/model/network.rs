//! A stacked recurrent network as a list of named parameters.

use rand::{RngExt, SeedableRng};

use super::config::NetworkConfig;
use super::real::Real;

/// The ε added to the variance in layer normalization, also in model files.
pub const LAYER_NORM_EPSILON: f32 = 1e-5;

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
/// order (`{cell}` is `rnn`, `gru` or `lstm`; rows of W, R and B are in ONNX gate order):
///
/// | name | shape |
/// | --- | --- |
/// | `input.weight`, `input.bias` | `[D, S * F]`, `[D]` |
/// | `input_norm.gain`, `input_norm.bias` (with layer norm) | `[D]` |
/// | `layers.{i}.{cell}.W`, `.R`, `.B` | `[k * H, in]`, `[k * H, H]`, `[2 * k * H]` (input, then recurrent biases) |
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
        let (h, rows) = (layer.hidden, layer.cell.gates() * layer.hidden);
        let name = format!("layers.{i}.{}", layer.cell.family());
        shapes.push((format!("{name}.W"), vec![rows, width]));
        shapes.push((format!("{name}.R"), vec![rows, h]));
        shapes.push((format!("{name}.B"), vec![2 * rows]));
        norm(format!("layers.{i}.norm"), h, &mut shapes);
        width = h;
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

/// A network with random weights, reproducible from `seed`: uniform in ±1/sqrt(H) for the cells, as in PyTorch,
/// uniform in ±sqrt(3/in) for linear layers; biases are 0, gains of the normalization 1.
pub fn initialize<T: Real>(config: &NetworkConfig, seed: u64) -> Network<T> {
    let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
    let parameters = parameter_shapes(config)
        .into_iter()
        .map(|(name, shape)| {
            let bound = match name.rsplit('.').next() {
                Some("W" | "R") => 1.0 / ((shape[0] / gates_of(config, &name)) as f64).sqrt(),
                Some("weight") => (3.0 / shape[1] as f64).sqrt(),
                _ => 0.0,
            };
            let count = shape.iter().product();
            let data = if name.ends_with(".gain") {
                vec![T::ONE; count]
            } else {
                (0..count).map(|_| T::from_f64(rng.random_range(-1.0..1.0) * bound)).collect()
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

fn gates_of(config: &NetworkConfig, name: &str) -> usize {
    let index = name.split('.').nth(1).and_then(|i| i.parse::<usize>().ok());
    index.and_then(|i| config.layers.get(i)).map_or(1, |layer| layer.cell.gates())
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
