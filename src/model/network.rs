//! A stacked recurrent network: its parameters by name.

use super::config::NetworkConfig;

/// Added to the variance in layer normalisation; in the model file too.
pub const LAYER_NORM_EPSILON: f32 = 1e-5;

/// One named tensor of weights, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter<T> {
    /// `layers.0.gru.R`, `output.weight` …
    pub name: String,
    pub shape: Vec<usize>,
    pub data: Vec<T>,
}

/// A network: architecture, normalisation of the features, parameters.
///
/// With F features, S subsampling, D input width, H hidden width, k gates and V tokens the
/// parameters are, in this order (`{cell}` is `rnn`, `gru` or `lstm`; rows of W, R and B are in
/// ONNX gate order):
///
/// | name | shape |
/// | --- | --- |
/// | `input.weight`, `input.bias` | `[D, S * F]`, `[D]` |
/// | `input_norm.gain`, `input_norm.bias` (with layer norm) | `[D]` |
/// | `layers.{i}.{cell}.W`, `.R`, `.B` | `[k * H, in]`, `[k * H, H]`, `[2 * k * H]` (input, then recurrent biases) |
/// | `layers.{i}.norm.gain`, `layers.{i}.norm.bias` (with layer norm) | `[H]` |
/// | `output.weight`, `output.bias` | `[V, H]`, `[V]` |
#[derive(Clone, Debug, PartialEq)]
pub struct Network<T> {
    pub config: NetworkConfig,
    /// Subtracted from each feature, `[F]`.
    pub mean: Vec<T>,
    /// Then multiplied, `[F]`.
    pub scale: Vec<T>,
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
    shapes
}

impl<T> Network<T> {
    /// How many numbers are learnt.
    pub fn num_parameters(&self) -> usize {
        self.parameters.iter().map(|p| p.data.len()).sum()
    }

    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter<T>> {
        self.parameters.iter().find(|p| p.name == name)
    }
}
