//! The part common to all exported graphs: normalization, frame stacking, recurrent layers, softmax. Each
//! target adds its own inputs and handling of states.

use half::f16;

use super::cells::{Hold, operator};
use super::graph::{Dim, GraphBuilder, float, int, ints};
use super::mingru;
use crate::model::network::{LAYER_NORM_EPSILON, parameter_shapes};
use crate::model::{CellKind, Network, NetworkConfig};
use crate::onnx::precision::{Precision, quantize_rows};
use crate::onnx::proto::FLOAT;
use crate::onnx::states::{is_stacked, state_places};

/// Largest integer of weights that are dequantized before use: they lie in -127..=127.
const MAX_LEVEL: f32 = 127.0;
/// Largest integer of weights that `MatMulInteger` multiplies with unsigned bytes. The sum of two such
/// products must fit into 16 bits, because processors without VNNI add them in 16 bits and saturate.
const MAX_PRODUCT_LEVEL: f32 = 63.0;

/// A graph under construction, with the configuration and weights that it is built from.
pub(in crate::onnx) struct Body<'a> {
    pub config: &'a NetworkConfig,
    pub graph: GraphBuilder,
    pub precision: Precision,
    /// Name of a tensor `[U, N, 1]` that is 1 at steps before the stream's first sample. There the cells
    /// keep their initial state, which must be zero.
    pub hold: Option<String>,
    weights: Option<&'a Network<f32>>,
}

/// The lengths of the axes of input frames and of output frames: `S*U` and `U`, or `T` for both without
/// subsampling. They are written as a multiple, not as `T` and `T/S`, because tract parses the symbols and
/// rejects a division that it cannot prove to be exact.
pub(in crate::onnx) fn frames(config: &NetworkConfig) -> (Dim, Dim) {
    match config.subsampling {
        1 => (Dim::symbol("T"), Dim::symbol("T")),
        s => (Dim::Symbol(format!("{s}*U")), Dim::symbol("U")),
    }
}

impl<'a> Body<'a> {
    /// An empty graph. Without weights the initializers stay empty.
    pub fn new(config: &'a NetworkConfig, weights: Option<&'a Network<f32>>) -> Self {
        let graph = GraphBuilder::new("hearken");
        Self { config, graph, precision: Precision::Float32, hold: None, weights }
    }

    /// Adds the normalization `(x - mean) * scale`, `[N, T, F]` to `[N, T, F]`.
    pub fn normalize(&mut self, x: &str) -> String {
        let f = [self.config.num_features];
        let (mean, scale) = self.weights.map_or((&[][..], &[][..]), |w| (&w.mean, &w.scale));
        self.graph.f32s("mean", &f, mean);
        self.graph.f32s("scale", &f, scale);
        self.graph.chain("Sub", "centred", &[x, "mean"], vec![]);
        self.graph.chain("Mul", "normalised", &["centred", "scale"], vec![])
    }

    /// Adds frame stacking and moves time to the first axis: `[N, S*U, F]` to `[U, N, S*F]`. A reshape is
    /// enough, because the frames of a stream are contiguous.
    pub fn stack(&mut self, x: &str) -> String {
        let config = self.config;
        let mut x = x.to_string();
        if config.subsampling > 1 {
            let stacked = (config.subsampling * config.num_features) as i64;
            self.graph.i64s("stacked_shape", &[3], &[0, -1, stacked]);
            x = self.graph.chain("Reshape", "stacked", &[&x, "stacked_shape"], vec![]);
        }
        self.graph.chain("Transpose", "time_first", &[&x], vec![ints("perm", &[1, 0, 2])])
    }

    /// Adds the linear layer before the cells, `[U, N, S*F]` to `[U, N, D]`.
    pub fn input_layer(&mut self, x: &str) -> String {
        let x = self.linear("input", x);
        self.norm("input_norm", x)
    }

    /// Adds the layer before the cells for token ids, `[N, T]` to `[T, N, D]`: a column of `input.weight` is the
    /// embedding of a token.
    pub fn embedding(&mut self, tokens: &str) -> String {
        self.parameter("input.weight", false);
        self.parameter("input.bias", false);
        let transpose = || vec![ints("perm", &[1, 0])];
        self.graph.chain("Transpose", "embeddings", &["input.weight"], transpose());
        self.graph.chain("Transpose", "time_first", &[tokens], transpose());
        self.graph.chain("Gather", "embedded", &["embeddings", "time_first"], vec![int("axis", 0)]);
        let x = self.graph.chain("Add", "input.sum", &["embedded", "input.bias"], vec![]);
        self.norm("input_norm", x)
    }

    /// Adds a linear layer. `prefix.weight` is stored as `[out, in]`, as it is trained; runtimes fold the
    /// `Transpose`.
    pub fn linear(&mut self, prefix: &str, x: &str) -> String {
        let (weight, bias) = (format!("{prefix}.weight"), format!("{prefix}.bias"));
        let product = match self.precision {
            Precision::Int8Dynamic => self.integer_product(prefix, x),
            _ => {
                self.parameter(&weight, false);
                let transposed = format!("{weight}_transposed");
                self.graph.chain("Transpose", &transposed, &[&weight], vec![ints("perm", &[1, 0])]);
                self.graph.chain("MatMul", &format!("{prefix}.product"), &[x, &transposed], vec![])
            }
        };
        self.parameter(&bias, false);
        self.graph.chain("Add", &format!("{prefix}.sum"), &[&product, &bias], vec![])
    }

    /// Adds the product of `x` and the weight, computed in integers with dynamic quantization.
    fn integer_product(&mut self, prefix: &str, x: &str) -> String {
        let name = |part: &str| format!("{prefix}.{part}");
        let Some((shape, data)) = self.values(&name("weight")) else { return name("product") };
        let (integers, scales) = quantize_rows(data, shape[1], MAX_PRODUCT_LEVEL);
        let transposed: Vec<i8> =
            (0..integers.len()).map(|i| integers[i % shape[0] * shape[1] + i / shape[0]]).collect();
        self.graph.i8s(&name("weight.int8"), &[shape[1], shape[0]], &transposed);
        self.graph.f32s(&name("weight.scale"), &[shape[0]], &scales);
        let [bytes, scale, zero] = ["bytes", "bytes_scale", "bytes_zero"].map(name);
        self.graph.node("DynamicQuantizeLinear", &bytes, &[x], &[&bytes, &scale, &zero], vec![]);
        let inputs = [bytes.as_str(), &name("weight.int8"), &zero];
        self.graph.chain("MatMulInteger", &name("integers"), &inputs, vec![]);
        let cast = vec![int("to", FLOAT.into())];
        self.graph.chain("Cast", &name("integers_as_float"), &[&name("integers")], cast);
        self.graph.chain("Mul", &name("scales"), &[&scale, &name("weight.scale")], vec![]);
        self.graph.chain("Mul", &name("product"), &[&name("integers_as_float"), &name("scales")], vec![])
    }

    fn norm(&mut self, prefix: &str, x: String) -> String {
        if !self.config.layer_norm {
            return x;
        }
        let (gain, bias) = (format!("{prefix}.gain"), format!("{prefix}.bias"));
        self.parameter(&gain, false);
        self.parameter(&bias, false);
        let attributes = vec![int("axis", -1), float("epsilon", LAYER_NORM_EPSILON)];
        self.graph.chain("LayerNormalization", &format!("{prefix}.output"), &[&x, &gain, &bias], attributes)
    }

    /// Adds the cells, each with its layer norm and residual connection: `[U, N, D]` to `[U, N, H]`.
    /// `initial[i]` names the initial states of layer i, `[1, N, H]`; `next` names the outputs for the
    /// final states, one for each of [`crate::onnx::states::state_specs`].
    pub fn recurrent_layers(&mut self, mut x: String, initial: &[Vec<String>], next: &[String]) -> String {
        let mut last = Vec::new();
        let mut width = self.config.input_size;
        for (i, states) in initial.iter().enumerate() {
            let (y, outputs) = self.cell(i, &x, states, next);
            let y = self.norm(&format!("layers.{i}.norm"), y);
            let hidden = self.config.layers[i].hidden;
            x = if self.config.residual && hidden == width {
                self.graph.chain("Add", &format!("layers.{i}.residual"), &[&y, &x], vec![])
            } else {
                y
            };
            width = hidden;
            last.push(outputs);
        }
        self.join_states(&last, next);
        x
    }

    /// Adds cell `i` over all steps. Returns the name of its outputs `[U, N, H]` and the names of its final
    /// states.
    fn cell(&mut self, i: usize, x: &str, states: &[String], next: &[String]) -> (String, Vec<String>) {
        let layer = self.config.layers[i];
        let prefix = self.cell_prefix(i);
        let operator = operator(layer.cell);
        let has_direction = operator.has_direction_axis();
        let [w, r, b] = ["W", "R", "B"].map(|s| format!("{prefix}.{s}"));
        let x = match self.hold.clone() {
            Some(hold) => self.held_input(i, x, &hold),
            None => {
                self.parameter(&w, has_direction);
                x.to_string()
            }
        };
        for name in [&r, &b] {
            self.parameter(name, has_direction);
        }
        let y = format!("{prefix}.Y");
        let last: Vec<String> = if self.has_joined_states() {
            ["Y_h", "Y_c"].iter().take(states.len()).map(|s| format!("{prefix}.{s}")).collect()
        } else {
            state_places(self.config)[i].iter().map(|p| next[p.tensor].clone()).collect()
        };
        if layer.cell == CellKind::MinGru {
            let ends = mingru::Ends { x: &x, state: &states[0], last: &last[0] };
            return (mingru::add(&mut self.graph, &prefix, layer.hidden, &ends), last);
        }
        let mut inputs = vec![x.as_str(), &w, &r, &b, ""];
        inputs.extend(states.iter().map(String::as_str));
        let mut outputs = vec![y.as_str()];
        outputs.extend(last.iter().map(String::as_str));
        self.graph.node(operator.op_type, &prefix, &inputs, &outputs, operator.attributes(layer.hidden));
        let squeezed =
            self.graph.chain("Squeeze", &format!("{prefix}.output"), &[&y, "direction_axis"], vec![]);
        (squeezed, last)
    }

    /// Appends the feature `hold` to the input of cell `i` and a column for it to W: at steps where it is
    /// 1, a zero state remains zero whatever the other features are.
    fn held_input(&mut self, i: usize, x: &str, hold: &str) -> String {
        let layer = self.config.layers[i];
        let (prefix, h) = (self.cell_prefix(i), layer.hidden);
        let biases = self.values(&format!("{prefix}.B")).map_or(&[][..], |b| b.1);
        let operator = operator(layer.cell);
        let column = |row: usize| match operator.hold {
            Hold::Gates(sums) => sums.get(row / h).copied().unwrap_or(0.0),
            Hold::Input => -(biases.get(row).unwrap_or(&0.0) + biases.get(h + row).unwrap_or(&0.0)),
        };
        let [plain, held, w] = ["plain.W", "hold", "W"].map(|part| format!("{prefix}.{part}"));
        if let Some((shape, data)) = self.values(&w) {
            let direction: &[usize] = if operator.has_direction_axis() { &[1] } else { &[] };
            self.store(&plain, &[direction, shape].concat(), data);
            let column: Vec<f32> = (0..shape[0]).map(column).collect();
            self.graph.f32s(&held, &[direction, &[shape[0], 1]].concat(), &column);
            self.graph.chain("Concat", &w, &[&plain, &held], vec![int("axis", -1)]);
        }
        let x = if operator.hold == Hold::Input {
            let unheld = format!("{prefix}.heard");
            if !self.graph.has_node("not_held") {
                self.graph.scalar("one", 1.0);
                self.graph.chain("Sub", "not_held", &["one", hold], vec![]);
            }
            self.graph.chain("Mul", &unheld, &[x, "not_held"], vec![])
        } else {
            x.to_string()
        };
        self.graph.chain("Concat", &format!("{prefix}.held_input"), &[&x, hold], vec![int("axis", -1)])
    }

    /// The part of names common to the parameters and values of cell `i`.
    fn cell_prefix(&self, i: usize) -> String {
        format!("layers.{i}.{}", self.config.layers[i].cell.family())
    }

    /// Adds the constant by which the outputs of ONNX's recurrent operators lose their axis of directions.
    pub fn direction_axis(&mut self) {
        if self.config.layers.iter().any(|layer| operator(layer.cell).has_direction_axis()) {
            self.graph.i64s("direction_axis", &[1], &[1]);
        }
    }

    fn has_joined_states(&self) -> bool {
        is_stacked(self.config) && self.config.layers.len() > 1
    }

    /// Adds the split of the state tensors (one for each of [`crate::onnx::states::state_specs`], layers on
    /// axis 0) into layers. Returns the names of each layer's initial states, `[1, N, H]`.
    pub fn split_states(&mut self, tensors: &[String]) -> Vec<Vec<String>> {
        self.direction_axis();
        let layers = self.config.layers.len();
        let joined = self.has_joined_states();
        if joined {
            self.graph.i64s("one_each", &[layers], &vec![1; layers]);
            for tensor in tensors {
                let parts: Vec<String> = (0..layers).map(|i| format!("{tensor}.layers.{i}")).collect();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let name = format!("{tensor}.split");
                self.graph.node("Split", &name, &[tensor, "one_each"], &parts, vec![int("axis", 0)]);
            }
        }
        let name = |tensor: usize, row: usize| match joined {
            true => format!("{}.layers.{row}", tensors[tensor]),
            false => tensors[tensor].clone(),
        };
        let places = state_places(self.config);
        places.iter().map(|layer| layer.iter().map(|p| name(p.tensor, p.row)).collect()).collect()
    }

    /// Concatenates the final states of the layers. Where states are not joined, the outputs of the cells
    /// have the final names already.
    fn join_states(&mut self, last: &[Vec<String>], next: &[String]) {
        if !self.has_joined_states() {
            return;
        }
        for (k, name) in next.iter().enumerate() {
            let parts: Vec<&str> = last.iter().map(|layer| layer[k].as_str()).collect();
            self.graph.chain("Concat", name, &parts, vec![int("axis", 0)]);
        }
    }

    /// Adds the softmax: logits `[U, N, V]` to the output `log_probs [N, U, V]`.
    pub fn log_probs(&mut self, logits: &str) {
        let logits = self.graph.chain("Transpose", "logits", &[logits], vec![ints("perm", &[1, 0, 2])]);
        self.graph.chain("LogSoftmax", "log_probs", &[&logits], vec![int("axis", -1)]);
    }

    /// Shape and values of a parameter; `None` without weights.
    fn values(&self, name: &str) -> Option<(&'a [usize], &'a [f32])> {
        let parameter = self.weights?.parameter(name)?;
        Some((&parameter.shape, &parameter.data))
    }

    fn parameter(&mut self, name: &str, direction_axis: bool) {
        let shapes = parameter_shapes(self.config);
        let Some((_, shape)) = shapes.into_iter().find(|(n, _)| n == name) else { return };
        let shape = if direction_axis { [&[1], shape.as_slice()].concat() } else { shape };
        let data = self.weights.and_then(|w| w.parameter(name)).map_or(&[][..], |p| &p.data);
        self.store(name, &shape, data);
    }

    /// Adds a constant stored at the chosen precision; the value called `name` is float32.
    fn store(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        let to_float = || vec![int("to", FLOAT.into())];
        match self.precision {
            Precision::Float16 if is_matrix(name) => {
                let bits: Vec<u16> = data.iter().map(|&v| f16::from_f32(v).to_bits()).collect();
                let stored = half_name(name);
                self.graph.f16s(&stored, shape, &bits);
                self.graph.chain("Cast", name, &[&stored], to_float());
            }
            Precision::Int8 | Precision::Int8Dynamic if is_matrix(name) => {
                let columns = shape.last().copied().unwrap_or(1);
                let (integers, scales) = quantize_rows(data, columns, MAX_LEVEL);
                let [stored, scale, cast] = ["int8", "scale", "float"].map(|s| format!("{name}.{s}"));
                self.graph.i8s(&stored, shape, &integers);
                let mut scale_shape = shape.to_vec();
                if let Some(last) = scale_shape.last_mut() {
                    *last = 1;
                }
                self.graph.f32s(&scale, &scale_shape, &scales);
                self.graph.chain("Cast", &cast, &[&stored], to_float());
                self.graph.chain("Mul", name, &[&cast, &scale], vec![]);
            }
            _ => self.graph.f32s(name, shape, data),
        }
    }
}

/// Whether a parameter is a matrix; only matrices are stored at a reduced precision.
pub(in crate::onnx) fn is_matrix(name: &str) -> bool {
    [".weight", ".W", ".R"].iter().any(|end| name.ends_with(end))
}

/// Name of the tensor that stores a parameter as 16-bit floats.
pub(in crate::onnx) fn half_name(name: &str) -> String {
    format!("{name}.fp16")
}
