//! Assembles the stages of a foreign graph into a [`Network`]. Consecutive linear layers are multiplied
//! into one, a linear layer before a cell is folded into the cell's input weights, and a missing input
//! layer becomes the identity.

use super::value::{CellWeights, Operation, StageOf};
use crate::error::{Error, Result, Stage};
use crate::model::network::parameter_shapes;
use crate::model::{LayerConfig, Network, NetworkConfig, Parameter, Recurrence};

/// An affine map y = weight · x + bias, in f64 so that folding costs no accuracy; no weight means the
/// identity.
#[derive(Clone)]
struct Map {
    inner: usize,
    weight: Option<Vec<f64>>,
    bias: Vec<f64>,
}

impl Map {
    fn identity(width: usize) -> Self {
        Self { inner: width, weight: None, bias: vec![0.0; width] }
    }

    fn is_identity(&self) -> bool {
        self.weight.is_none() && self.bias.iter().all(|&b| b == 0.0)
    }

    fn weight(&self) -> Vec<f64> {
        self.weight.clone().unwrap_or_else(|| {
            let mut weight = vec![0.0; self.inner * self.inner];
            weight.iter_mut().step_by(self.inner + 1).for_each(|v| *v = 1.0);
            weight
        })
    }

    /// Composes this map with a following one, `outer [rows, width]`.
    fn then(&mut self, outer: &[f32], rows: usize) {
        let width = self.bias.len();
        let row = |r: usize| &outer[r * width..(r + 1) * width];
        let dot = |r: usize, column: &dyn Fn(usize) -> f64| -> f64 {
            row(r).iter().enumerate().map(|(k, &w)| f64::from(w) * column(k)).sum()
        };
        let bias = (0..rows).map(|r| dot(r, &|k| self.bias[k])).collect();
        let weight = match &self.weight {
            None => outer.iter().map(|&w| f64::from(w)).collect(),
            Some(own) => {
                let inner = self.inner;
                let mut product = Vec::with_capacity(rows * inner);
                for r in 0..rows {
                    product.extend((0..inner).map(|i| dot(r, &|k| own[k * inner + i])));
                }
                product
            }
        };
        (self.weight, self.bias) = (Some(weight), bias);
    }

    fn scaled(&mut self, scale: &[f32], shift: &[f32]) {
        if scale.iter().any(|&s| s != 1.0) {
            let mut weight = self.weight();
            for (row, &s) in weight.chunks_exact_mut(self.inner.max(1)).zip(scale) {
                row.iter_mut().for_each(|w| *w *= f64::from(s));
            }
            self.weight = Some(weight);
        }
        for ((b, &s), &t) in self.bias.iter_mut().zip(scale).zip(shift) {
            *b = *b * f64::from(s) + f64::from(t);
        }
    }

    fn weight_f32(&self) -> Vec<f32> {
        self.weight().into_iter().map(|v| v as f32).collect()
    }

    fn bias_f32(&self) -> Vec<f32> {
        self.bias.iter().map(|&v| v as f32).collect()
    }
}

struct Layer {
    cell: CellWeights,
    norm: Option<(Vec<f32>, Vec<f32>)>,
    residual: bool,
    /// The stage below, and its width.
    input: (usize, usize),
    place: String,
}

/// A network under assembly, stage by stage from the features upward.
struct Assembly {
    mean: Vec<f64>,
    scale: Vec<f64>,
    subsampling: usize,
    /// The affine map since the last cell, norm or residual.
    pending: Map,
    input: Option<Map>,
    input_norm: Option<(Vec<f32>, Vec<f32>)>,
    layers: Vec<Layer>,
    /// The stage that is the next cell's input if nothing lies between.
    top: usize,
    /// Whether the previous stage was a normalization, whose gain and bias may follow as separate nodes.
    after_norm: bool,
    softmax: bool,
}

/// Assembles a network from the stages between the features and stage `output`. What differs from the graph
/// is reported in `notes`.
///
/// # Errors
/// Names the node that does not fit into hearken's network.
pub(super) fn assemble(
    stages: &[StageOf],
    output: usize,
    subsampling: usize,
    notes: &mut Vec<String>,
) -> Result<Network<f32>> {
    let mut chain = vec![output];
    while let Some(&last) = chain.last().filter(|&&s| s != 0) {
        let source = stages[last].source;
        if source >= last {
            return Err(Error::new(Stage::Model, "the stages of the graph are not in topological order"));
        }
        chain.push(source);
    }
    let frames = stages[0].width;
    let mut assembly = Assembly {
        mean: vec![0.0; frames],
        scale: vec![1.0; frames],
        subsampling: 1,
        pending: Map::identity(frames),
        input: None,
        input_norm: None,
        layers: Vec::new(),
        top: 0,
        after_norm: false,
        softmax: false,
    };
    for &index in chain.iter().rev().skip(1) {
        let stage = &stages[index];
        assembly.add(stage, index, stages).map_err(|e| e.at(stage.place.clone()))?;
    }
    if let Some(note) = match stages[output].operation {
        Operation::LogSoftmax => None,
        Operation::Softmax => Some("the graph outputs probabilities; the model outputs their logarithms"),
        _ => Some("the graph ends without log-softmax; the model ends with one"),
    } {
        notes.push(note.into());
    }
    assembly.finish(frames, subsampling)
}

fn wrong<T>(problem: impl Into<String>) -> Result<T> {
    Err(Error::new(Stage::Model, problem))
}

impl Assembly {
    fn add(&mut self, stage: &StageOf, index: usize, stages: &[StageOf]) -> Result<()> {
        if self.softmax {
            return wrong("expected the softmax to be the last operation");
        }
        let after_norm = std::mem::take(&mut self.after_norm);
        match &stage.operation {
            Operation::Input => return wrong("expected the features to be the first stage"),
            Operation::Affine { scale, shift } => {
                // Gain and bias of a normalization are often separate nodes, `Mul` and `Add`.
                self.affine(scale, shift, after_norm);
                self.after_norm = after_norm;
                if after_norm {
                    self.top = index;
                }
            }
            Operation::Stack { factor } => {
                if self.input.is_some() || !self.pending.is_identity() || self.subsampling != 1 {
                    return wrong("expected frames to be stacked before all other operations");
                }
                self.subsampling = *factor;
                self.pending = Map::identity(stage.width);
                self.top = index;
            }
            Operation::Linear { weight } => self.pending.then(weight, stage.width),
            Operation::Norm { gain, bias } => {
                self.norm(gain, bias, stage.width)?;
                self.top = index;
                self.after_norm = true;
            }
            Operation::Cell(cell) => {
                self.cell(cell, stage)?;
                self.top = index;
            }
            Operation::Residual { skip } => {
                let Some(layer) = self.layers.last_mut().filter(|_| self.pending.is_identity()) else {
                    return wrong("expected a residual connection only around a recurrent layer");
                };
                if layer.residual || layer.input.0 != *skip {
                    let found = &stages[*skip].place;
                    return wrong(format!(
                        "expected the input of the recurrent layer to be added to its output, found the output of {found}"
                    ));
                }
                layer.residual = true;
                self.top = index;
            }
            Operation::Softmax | Operation::LogSoftmax => self.softmax = true,
        }
        Ok(())
    }

    fn affine(&mut self, scale: &[f32], shift: &[f32], after_norm: bool) {
        let untouched = self.input.is_none() && self.subsampling == 1 && self.pending.is_identity();
        let norm = match self.layers.last_mut() {
            Some(layer) => layer.norm.as_mut(),
            None => self.input_norm.as_mut(),
        };
        match norm {
            Some((gain, bias)) if after_norm => {
                for (((g, b), &s), &t) in gain.iter_mut().zip(bias.iter_mut()).zip(scale).zip(shift) {
                    (*g, *b) = (*g * s, *b * s + t);
                }
            }
            // Normalization of the features: mean and scale are kept exact rather than folded into the
            // input layer.
            _ if untouched && scale.iter().all(|&s| s != 0.0) => {
                for (((m, k), &s), &t) in self.mean.iter_mut().zip(&mut self.scale).zip(scale).zip(shift) {
                    *k *= f64::from(s);
                    *m -= f64::from(t) / *k;
                }
            }
            _ => self.pending.scaled(scale, shift),
        }
    }

    fn norm(&mut self, gain: &[f32], bias: &[f32], width: usize) -> Result<()> {
        let norm = Some((gain.to_vec(), bias.to_vec()));
        match self.layers.last_mut() {
            None if self.input_norm.is_none() => {
                self.input = Some(std::mem::replace(&mut self.pending, Map::identity(width)));
                self.input_norm = norm;
                Ok(())
            }
            Some(layer) if layer.norm.is_none() && !layer.residual && self.pending.is_identity() => {
                layer.norm = norm;
                Ok(())
            }
            _ => wrong(
                "expected layer normalization once after the input layer and right after each recurrent layer",
            ),
        }
    }

    fn cell(&mut self, cell: &CellWeights, stage: &StageOf) -> Result<()> {
        let mut cell = cell.clone();
        let pending = std::mem::replace(&mut self.pending, Map::identity(cell.hidden));
        let mut width = pending.bias.len();
        let mut on = self.top;
        if self.input.is_none() {
            self.input = Some(pending);
            on = stage.source;
        } else if !pending.is_identity() {
            // W (A x + a) + b = (W A) x + (W a + b)
            width = pending.inner;
            let (rows, mut folded) = (cell.kind.gates() * cell.hidden, pending);
            folded.then(&cell.w, rows);
            cell.w = folded.weight_f32();
            for (b, extra) in cell.b.iter_mut().zip(&folded.bias) {
                *b = (f64::from(*b) + extra) as f32;
            }
        }
        self.layers.push(Layer {
            cell,
            norm: None,
            residual: false,
            input: (on, width),
            place: stage.place.clone(),
        });
        Ok(())
    }

    fn finish(mut self, frames: usize, subsampling: usize) -> Result<Network<f32>> {
        if self.layers.is_empty() {
            return wrong("expected a recurrent layer between features and output, found none");
        }
        // hearken's configuration has one switch each for all normalizations and all residual connections.
        let norms =
            self.layers.iter().filter(|l| l.norm.is_some()).count() + usize::from(self.input_norm.is_some());
        if norms != 0 && norms != self.layers.len() + 1 {
            let which = if self.input_norm.is_none() {
                "the input layer".into()
            } else {
                self.layers.iter().find(|l| l.norm.is_none()).map_or_else(String::new, |l| l.place.clone())
            };
            return wrong(format!(
                "layer normalization follows some layers but not {which}; expected it after the input layer and every recurrent layer, or nowhere"
            ));
        }
        let can = |l: &&Layer| l.input.1 == l.cell.hidden;
        let residual = self.layers.iter().any(|l| l.residual);
        if let Some(layer) = self.layers.iter().filter(can).find(|l| l.residual != residual) {
            return Err(Error::new(
                Stage::Model,
                "some layers have a residual connection and this one has none",
            )
            .at(layer.place.clone()));
        }
        if subsampling > 1 && (self.subsampling != 1 || !frames.is_multiple_of(subsampling)) {
            return wrong(format!(
                "{frames} features cannot be {subsampling} stacked frames, or the graph stacks frames itself"
            ));
        }
        let input = self.input.take().unwrap_or_else(|| Map::identity(frames));
        let (features, input) =
            if subsampling > 1 { self.unstacked(input, frames / subsampling) } else { (frames, input) };
        let config = NetworkConfig {
            auxiliary: None,
            num_features: features,
            subsampling: self.subsampling * subsampling,
            input_size: input.bias.len(),
            layers: self.layers.iter().map(|l| LayerConfig::new(l.cell.kind, l.cell.hidden)).collect(),
            layer_norm: norms != 0,
            residual,
            num_tokens: self.pending.bias.len(),
        };
        // In the order of `parameter_shapes`.
        let mut data = vec![input.weight_f32(), input.bias_f32()];
        data.extend(self.input_norm.into_iter().flat_map(|(g, b)| [g, b]));
        for layer in self.layers {
            data.push(layer.cell.w);
            if layer.cell.kind.shape().is_some_and(|shape| shape.recurrence == Recurrence::Matrix) {
                data.push(layer.cell.r);
            }
            data.push(layer.cell.b);
            data.extend(layer.norm.into_iter().flat_map(|(g, b)| [g, b]));
        }
        data.extend([self.pending.weight_f32(), self.pending.bias_f32()]);
        let parameters = parameter_shapes(&config).into_iter().zip(data);
        let parameters = parameters.map(|((name, shape), data)| Parameter { name, shape, data }).collect();
        let to_f32 = |v: Vec<f64>| v.into_iter().map(|v| v as f32).collect();
        Ok(Network { mean: to_f32(self.mean), scale: to_f32(self.scale), parameters, config })
    }

    /// Handles features that are frames stacked outside of the graph: their normalization, which differs
    /// for each stacked frame, is folded into the input layer.
    fn unstacked(&mut self, input: Map, features: usize) -> (usize, Map) {
        let scale: Vec<f32> = self.scale.iter().map(|&v| v as f32).collect();
        let shift: Vec<f32> = self.mean.iter().zip(&self.scale).map(|(m, s)| (-m * s) as f32).collect();
        (self.mean, self.scale) = (vec![0.0; features], vec![1.0; features]);
        if scale.iter().all(|&s| s == 1.0) && shift.iter().all(|&s| s == 0.0) {
            return (features, input);
        }
        let mut map = Map::identity(scale.len());
        map.scaled(&scale, &shift);
        let (rows, bias) = (input.bias.len(), input.bias.clone());
        map.then(&input.weight_f32(), rows);
        map.bias.iter_mut().zip(bias).for_each(|(b, own)| *b += own);
        (features, map)
    }
}
