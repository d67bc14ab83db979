//! A graph under construction and the parts that several layers have: parameters at the chosen precision, linear layers,
//! layer normalization.

use half::f16;

use super::graph::{GraphBuilder, float, int, ints};
use crate::model::network::{LAYER_NORM_EPSILON, parameter_shapes};
use crate::model::{Network, NetworkConfig};
use crate::onnx::precision::{Precision, quantize_rows};
use crate::onnx::proto::FLOAT;

/// Largest integer of weights that are dequantized before use: they lie in -127..=127.
const MAX_LEVEL: f32 = 127.0;
/// Largest integer of weights that `MatMulInteger` multiplies with unsigned bytes. The sum of two such
/// products must fit into 16 bits, because processors without VNNI add them in 16 bits and saturate.
const MAX_PRODUCT_LEVEL: f32 = 63.0;

/// Added to a gate's sum to close (-) or open (+) it completely: sigmoid(±100) is 0 or 1 in float32.
pub(super) const SATURATED: f32 = 100.0;

/// A graph under construction, with the configuration and weights that it is built from.
pub(in crate::onnx) struct Body<'a> {
    pub config: &'a NetworkConfig,
    pub graph: GraphBuilder,
    pub precision: Precision,
    /// Name of a tensor `[U, N, 1]` that is 1 at steps before the stream's first sample. There the cells
    /// keep their initial state, which must be zero.
    pub hold: Option<String>,
    /// Whether the graph is for whole recordings: then all steps of a stream are in one call.
    pub is_whole: bool,
    pub(super) weights: Option<&'a Network<f32>>,
}

/// The names that the nodes of a layer's cell are connected to.
pub(in crate::onnx) struct Ends<'a> {
    /// The inputs of all steps, `[U, N, in]`.
    pub x: &'a str,
    /// The width of the inputs.
    pub inputs: usize,
    /// The initial state, `[rows, N, width]`.
    pub state: &'a str,
    /// The final state, of the same shape.
    pub last: &'a str,
}

impl<'a> Body<'a> {
    /// An empty graph. Without weights the initializers stay empty.
    pub fn new(config: &'a NetworkConfig, weights: Option<&'a Network<f32>>) -> Self {
        let graph = GraphBuilder::new("hearken");
        Self { config, graph, precision: Precision::Float32, hold: None, is_whole: false, weights }
    }

    /// Adds a linear layer. `prefix.weight` is stored as `[out, in]`, as it is trained; runtimes fold the
    /// `Transpose`.
    pub fn linear(&mut self, prefix: &str, x: &str) -> String {
        let product = self.product(prefix, x);
        let bias = format!("{prefix}.bias");
        self.parameter(&bias, false);
        self.graph.chain("Add", &format!("{prefix}.sum"), &[&product, &bias], vec![])
    }

    /// Adds a linear layer without a bias.
    pub fn product(&mut self, prefix: &str, x: &str) -> String {
        if self.precision == Precision::Int8Dynamic {
            return self.integer_product(prefix, x);
        }
        let weight = format!("{prefix}.weight");
        self.parameter(&weight, false);
        let transposed = format!("{weight}_transposed");
        self.graph.chain("Transpose", &transposed, &[&weight], vec![ints("perm", &[1, 0])]);
        self.graph.chain("MatMul", &format!("{prefix}.product"), &[x, &transposed], vec![])
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

    /// Adds a layer normalization with the parameters `prefix.gain` and `prefix.bias`.
    pub fn layer_norm(&mut self, prefix: &str, x: &str) -> String {
        let (gain, bias) = (format!("{prefix}.gain"), format!("{prefix}.bias"));
        self.parameter(&gain, false);
        self.parameter(&bias, false);
        let attributes = vec![int("axis", -1), float("epsilon", LAYER_NORM_EPSILON)];
        self.graph.chain("LayerNormalization", &format!("{prefix}.output"), &[x, &gain, &bias], attributes)
    }

    /// The name of the constant `[1]` with this value, for positions and axes.
    pub fn index(&mut self, value: i64) -> String {
        let name = format!("index.{value}");
        if !self.graph.has_tensor(&name) {
            self.graph.i64s(&name, &[1], &[value]);
        }
        name
    }

    /// Adds the slice of `x` from `start` to `end` on axis 0.
    pub fn slice(&mut self, name: &str, x: &str, start: i64, end: i64) -> String {
        let [start, end, axis] = [start, end, 0].map(|value| self.index(value));
        self.graph.chain("Slice", name, &[x, &start, &end, &axis], vec![])
    }

    /// Adds the state in front of the values of a call, `[rows + U, N, width]`, and the last rows as the final state.
    /// The values are replaced by zeros where the initial state is held.
    pub fn history(&mut self, prefix: &str, values: &str, rows: usize, ends: &Ends<'_>) -> String {
        let values = self.unless_held(&format!("{prefix}.held"), values);
        let history = format!("{prefix}.history");
        self.graph.node("Concat", prefix, &[ends.state, &values], &[&history], vec![int("axis", 0)]);
        self.slice(ends.last, &history, -(rows as i64), i64::MAX);
        history
    }

    /// Replaces values by zeros where the initial state is held; `name` is that of the result if it is held anywhere.
    pub fn unless_held(&mut self, name: &str, values: &str) -> String {
        match self.not_held() {
            Some(not_held) => self.graph.chain("Mul", name, &[values, &not_held], vec![]),
            None => values.to_string(),
        }
    }

    /// The name of a tensor `[U, N, 1]` that is 0 where the initial state is held and 1 elsewhere; `None` if it is held
    /// nowhere.
    pub fn not_held(&mut self) -> Option<String> {
        let hold = self.hold.clone()?;
        if !self.graph.has_node("not_held") {
            self.graph.scalar("one", 1.0);
            self.graph.chain("Sub", "not_held", &["one", &hold], vec![]);
        }
        Some("not_held".into())
    }

    /// Shape and values of a parameter; `None` without weights.
    pub fn values(&self, name: &str) -> Option<(&'a [usize], &'a [f32])> {
        let parameter = self.weights?.parameter(name)?;
        Some((&parameter.shape, &parameter.data))
    }

    /// Adds the parameter called `name`, with an axis of directions in front if `direction_axis`.
    pub fn parameter(&mut self, name: &str, direction_axis: bool) {
        let shapes = parameter_shapes(self.config);
        let Some((_, shape)) = shapes.into_iter().find(|(n, _)| n == name) else { return };
        let shape = if direction_axis { [&[1], shape.as_slice()].concat() } else { shape };
        let data = self.weights.and_then(|w| w.parameter(name)).map_or(&[][..], |p| &p.data);
        self.store(name, &shape, data);
    }

    /// Adds a constant stored at the chosen precision; the value called `name` is float32.
    pub fn store(&mut self, name: &str, shape: &[usize], data: &[f32]) {
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
