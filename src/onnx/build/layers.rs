//! The part common to all exported graphs: normalization, frame stacking, recurrent layers, softmax. Each
//! target adds its own inputs and handling of states.

use super::body::Ends;
pub(in crate::onnx) use super::body::{Body, half_name, is_matrix};
use super::cells::{CellNodes, CellOperator, Hold, nodes};
use super::graph::{Dim, int, ints};
use crate::model::NetworkConfig;
use crate::onnx::states::{is_stacked, state_places};

/// The lengths of the axes of input frames and of output frames: `S*U` and `U`, or `T` for both without
/// subsampling. They are written as a multiple, not as `T` and `T/S`, because tract parses the symbols and
/// rejects a division that it cannot prove to be exact.
pub(in crate::onnx) fn frames(config: &NetworkConfig) -> (Dim, Dim) {
    match config.subsampling {
        1 => (Dim::symbol("T"), Dim::symbol("T")),
        s => (Dim::Symbol(format!("{s}*U")), Dim::symbol("U")),
    }
}

impl Body<'_> {
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

    /// Adds the normalization after a layer, if the network has it.
    fn norm(&mut self, prefix: &str, x: String) -> String {
        if self.config.layer_norm { self.layer_norm(prefix, &x) } else { x }
    }

    /// Adds the cells, each with its layer norm and residual connection: `[U, N, D]` to `[U, N, H]`.
    /// `initial[i]` names the initial states of layer i, `[rows, N, width]`; `next` names the outputs for the
    /// final states, one for each of [`crate::onnx::states::state_specs`].
    pub fn recurrent_layers(&mut self, mut x: String, initial: &[Vec<String>], next: &[String]) -> String {
        let mut last = Vec::new();
        let mut width = self.config.input_size;
        for (i, states) in initial.iter().enumerate() {
            let (y, outputs) = self.cell(i, &x, states, next);
            let y = self.norm(&format!("layers.{i}.norm"), y);
            let hidden = self.config.layers[i].hidden;
            x = if self.config.residual && hidden == width { self.residual(i, &x, &y) } else { y };
            width = hidden;
            last.push(outputs);
        }
        self.join_states(&last, next);
        x
    }

    /// Adds the residual connection from `x` to `y` around cell `i`.
    fn residual(&mut self, i: usize, x: &str, y: &str) -> String {
        let name = format!("layers.{i}.residual");
        let scale = self.config.layers[i].cell.residual_scale();
        if scale == 1.0 {
            return self.graph.chain("Add", &name, &[y, x], vec![]);
        }
        let [factor, scaled] = ["scale", "scaled"].map(|part| format!("{name}_{part}"));
        self.graph.scalar(&factor, scale as f32);
        self.graph.chain("Mul", &scaled, &[x, &factor], vec![]);
        self.graph.chain("Add", &name, &[y, &scaled], vec![])
    }

    /// Adds cell `i` over all steps. Returns the name of its outputs `[U, N, H]` and the names of its final
    /// states.
    fn cell(&mut self, i: usize, x: &str, states: &[String], next: &[String]) -> (String, Vec<String>) {
        let layer = self.config.layers[i];
        let prefix = self.cell_prefix(i);
        let inputs = if i == 0 { self.config.input_size } else { self.config.layers[i - 1].hidden };
        let last = self.last_states(i, states.len(), next);
        let operator = match nodes(layer.cell) {
            CellNodes::Operator(operator) => operator,
            CellNodes::Block(block) => {
                let ends = Ends { x, inputs, state: &states[0], last: &last[0] };
                return ((block.add)(self, &layer, &prefix, &ends), last);
            }
        };
        let [w, r, b] = ["W", "R", "B"].map(|s| format!("{prefix}.{s}"));
        let others = layer.parameters(inputs).into_iter().map(|(name, _)| name).filter(|name| *name != "W");
        let x = match self.hold.clone() {
            Some(hold) => self.held_input(i, operator, x, &hold),
            None => {
                self.parameter(&w, true);
                x.to_string()
            }
        };
        for name in others {
            self.parameter(&format!("{prefix}.{name}"), true);
        }
        let y = format!("{prefix}.Y");
        let mut inputs = vec![x.as_str(), &w, &r, &b, ""];
        inputs.extend(states.iter().map(String::as_str));
        let mut outputs = vec![y.as_str()];
        outputs.extend(last.iter().map(String::as_str));
        self.graph.node(operator.op_type, &prefix, &inputs, &outputs, operator.attributes(layer.hidden));
        let squeezed =
            self.graph.chain("Squeeze", &format!("{prefix}.output"), &[&y, "direction_axis"], vec![]);
        (squeezed, last)
    }

    /// The names of the `count` final states of cell `i`, where `next` names the outputs for all final states.
    fn last_states(&self, i: usize, count: usize, next: &[String]) -> Vec<String> {
        if self.has_joined_states() {
            let prefix = self.cell_prefix(i);
            ["Y_h", "Y_c"].iter().take(count).map(|s| format!("{prefix}.{s}")).collect()
        } else {
            state_places(self.config)[i].iter().map(|p| next[p.tensor].clone()).collect()
        }
    }

    /// Appends the feature `hold` to the input of cell `i` and a column for it to W: at steps where it is
    /// 1, a zero state remains zero whatever the other features are.
    fn held_input(&mut self, i: usize, operator: &CellOperator, x: &str, hold: &str) -> String {
        let layer = self.config.layers[i];
        let (prefix, h) = (self.cell_prefix(i), layer.hidden);
        let biases = self.values(&format!("{prefix}.B")).map_or(&[][..], |b| b.1);
        let column = |row: usize| match operator.hold {
            Hold::Gates(sums) => sums.get(row / h).copied().unwrap_or(0.0),
            Hold::Input => -(biases.get(row).unwrap_or(&0.0) + biases.get(h + row).unwrap_or(&0.0)),
        };
        let [plain, held, w] = ["plain.W", "hold", "W"].map(|part| format!("{prefix}.{part}"));
        if let Some((shape, data)) = self.values(&w) {
            self.store(&plain, &[&[1], shape].concat(), data);
            let column: Vec<f32> = (0..shape[0]).map(column).collect();
            self.graph.f32s(&held, &[1, shape[0], 1], &column);
            self.graph.chain("Concat", &w, &[&plain, &held], vec![int("axis", -1)]);
        }
        let x = match self.not_held().filter(|_| operator.hold == Hold::Input) {
            Some(not_held) => self.graph.chain("Mul", &format!("{prefix}.heard"), &[x, &not_held], vec![]),
            None => x.to_string(),
        };
        self.graph.chain("Concat", &format!("{prefix}.held_input"), &[&x, hold], vec![int("axis", -1)])
    }

    /// The part of names common to the parameters and values of cell `i`.
    fn cell_prefix(&self, i: usize) -> String {
        format!("layers.{i}.{}", self.config.layers[i].cell.family())
    }

    /// Adds the constant by which the outputs of ONNX's recurrent operators lose their axis of directions.
    pub fn direction_axis(&mut self) {
        if self.config.layers.iter().any(|layer| nodes(layer.cell).is_operator()) {
            self.graph.i64s("direction_axis", &[1], &[1]);
        }
    }

    fn has_joined_states(&self) -> bool {
        is_stacked(self.config) && self.config.layers.len() > 1
    }

    /// Adds the split of the state tensors (one for each of [`crate::onnx::states::state_specs`], layers on
    /// axis 0) into layers. Returns the names of each layer's initial states, `[rows, N, width]`.
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
}
