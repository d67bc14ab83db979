//! What a value of a foreign graph is to the importer.

use std::fmt;
use std::rc::Rc;

use super::constant::Constant;
use crate::error::Error;
use crate::model::CellKind;

/// An axis of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// The first (0) or second (1) axis of the graph's input that is not the features' one. Which
    /// of them is time shows at the first recurrent node.
    Outer(usize),
    Features,
    /// Of length 1 (directions; squeezed away sooner or later).
    One,
    /// Both outer axes as one; `first` is the slower.
    Rows {
        first: usize,
    },
}

/// The length of an axis, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(i64),
    /// That of an outer axis of the input, divided.
    Outer {
        axis: usize,
        over: i64,
    },
    Unknown,
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Axis::Outer(axis) => write!(f, "outer axis {axis} of the input"),
            Axis::Features => f.write_str("features"),
            Axis::One => f.write_str("1"),
            Axis::Rows { .. } => f.write_str("both outer axes as one"),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Length::Known(n) => write!(f, "{n}"),
            Length::Outer { axis, over: 1 } => write!(f, "that of outer axis {axis}"),
            Length::Outer { axis, over } => write!(f, "that of outer axis {axis} by {over}"),
            Length::Unknown => f.write_str("?"),
        }
    }
}

/// A list in brackets, for messages.
pub(super) fn listed<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    format!("[{}]", items.join(", "))
}

/// A value per stream and step: `stage` of the network, its axes in some order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sequence {
    /// Index into the walker's stages.
    pub stage: usize,
    pub axes: Vec<Axis>,
    pub width: usize,
    /// By how much each outer axis was shortened by stacking.
    pub over: [i64; 2],
}

/// The parts of a layer normalization that is written out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Moment {
    Mean,
    /// x - mean.
    Centred,
    /// (x - mean)².
    Square,
    Variance,
    /// variance + epsilon.
    Stabilised(f32),
    /// sqrt(variance + epsilon).
    Deviation(f32),
    /// 1 / sqrt(variance + epsilon).
    Inverse(f32),
}

/// A piece of a recurrence that is written out step by step.
#[derive(Clone, Debug)]
pub(super) enum Unrolled {
    /// A sequence at one step of its outer axis `axis`.
    Step { sequence: Sequence, axis: usize, at: i64 },
    /// W s (+ bias), s being the state after `at` steps of `run`.
    Recurrent { run: Option<usize>, at: i64, weight: Rc<Constant>, bias: Option<Rc<Constant>> },
    /// The above with a step of the input added.
    Sum {
        run: Option<usize>,
        at: i64,
        weight: Rc<Constant>,
        bias: Option<Rc<Constant>>,
        input: Sequence,
        axis: usize,
    },
    /// The state after `at` steps (1 at the least).
    State { run: usize, at: i64 },
}

/// A piece of a linear layer that is computed in integers.
#[derive(Clone, Debug)]
pub(super) enum Rounded {
    /// A sequence as bytes.
    Bytes(Sequence),
    /// What a step of those bytes is worth, times a scale of the weights; `of` is the stage that was
    /// rounded.
    Scale { of: usize, times: Option<Rc<Constant>> },
    /// The byte that stands for zero.
    Zero { of: usize },
    /// The product of the bytes with integers: a linear layer that lacks its scale.
    Product { sequence: Sequence, of: usize },
}

/// A value of the graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Constant(Rc<Constant>),
    /// A vector (or, if `scalar`, one) of lengths that are known when the graph runs only.
    Lengths {
        lengths: Vec<Length>,
        scalar: bool,
    },
    /// A tensor full of one length.
    Filled(Length),
    Sequence(Sequence),
    Moment {
        of: Sequence,
        kind: Moment,
    },
    /// Zeros of some shape.
    Zeros,
    /// An input of the graph that may be an initial state, or a part of it.
    Initial,
    /// The last state of a layer, or several; `of` are the stages.
    Last {
        of: Vec<usize>,
    },
    Unrolled(Unrolled),
    Rounded(Rounded),
    /// Not understood; an error only for who needs it.
    Refused(Error),
}

/// The weights of a recurrent layer, in ONNX's gate order.
#[derive(Clone, Debug)]
pub(super) struct CellWeights {
    pub kind: CellKind,
    pub hidden: usize,
    /// `[kH, in]`
    pub w: Vec<f32>,
    /// `[kH, H]`
    pub r: Vec<f32>,
    /// `[2kH]`
    pub b: Vec<f32>,
}

/// A step of the computation from features to log-probabilities.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Input,
    /// x · scale + shift, feature by feature.
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    /// Frames put side by side.
    Stack {
        factor: usize,
    },
    /// `weight [out, in]`
    Linear {
        weight: Vec<f32>,
    },
    Norm {
        gain: Vec<f32>,
        bias: Vec<f32>,
    },
    Cell(CellWeights),
    /// Adds the output of an earlier stage.
    Residual {
        skip: usize,
    },
    Softmax,
    LogSoftmax,
}

/// An operation on the output of the stage `below`.
#[derive(Clone, Debug)]
pub(super) struct StageOf {
    pub operation: Operation,
    pub below: usize,
    pub width: usize,
    /// `node …`, for errors.
    pub place: String,
}
