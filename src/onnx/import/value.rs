//! The importer's interpretation of the values of a foreign graph.

use std::fmt;
use std::rc::Rc;

use super::constant::Constant;
use crate::error::Error;
use crate::model::CellKind;

/// An axis of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// The first (0) or second (1) axis of the graph's input that is not the feature axis. The first
    /// recurrent node determines which of them is time.
    Outer(usize),
    Features,
    /// An axis of length 1 (such as directions), which is squeezed later.
    One,
    /// Both outer axes merged into one; `first` is the outer (slower) one.
    Rows {
        first: usize,
    },
}

/// The length of an axis, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(i64),
    /// The length of an outer axis of the input, divided by `over`.
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
            Length::Outer { axis, over } => write!(f, "that of outer axis {axis} divided by {over}"),
            Length::Unknown => f.write_str("?"),
        }
    }
}

/// Formats a list in brackets, for error messages.
pub(super) fn listed<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    format!("[{}]", items.join(", "))
}

/// A value for each stream and step: the output of a stage of the network, with its axes in some order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sequence {
    /// Index into the walker's stages.
    pub stage: usize,
    pub axes: Vec<Axis>,
    pub width: usize,
    /// The factor by which stacking shortened each outer axis.
    pub over: [i64; 2],
}

/// The intermediate values of a layer normalization composed of basic operators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Moment {
    Mean,
    /// x - mean.
    Centered,
    /// (x - mean)².
    Square,
    Variance,
    /// variance + epsilon.
    Stabilized(f32),
    /// sqrt(variance + epsilon).
    Deviation(f32),
    /// 1 / sqrt(variance + epsilon).
    Inverse(f32),
}

/// An intermediate value of an unrolled recurrence.
#[derive(Clone, Debug)]
pub(super) enum Unrolled {
    /// A sequence at one step of its outer axis `axis`.
    Step { sequence: Sequence, axis: usize, at: i64 },
    /// W s (+ bias), where s is the state after `at` steps of the stage `run` (`None`: the initial state).
    Recurrent { run: Option<usize>, at: i64, weight: Rc<Constant>, bias: Option<Rc<Constant>> },
    /// [`Unrolled::Recurrent`] plus a step of the input.
    Sum {
        run: Option<usize>,
        at: i64,
        weight: Rc<Constant>,
        bias: Option<Rc<Constant>>,
        input: Sequence,
        axis: usize,
    },
    /// The state after `at` steps, at least 1.
    State { run: usize, at: i64 },
}

/// An intermediate value of a linear layer that is computed in integers.
#[derive(Clone, Debug)]
pub(super) enum Quantized {
    /// A sequence quantized to bytes.
    Bytes(Sequence),
    /// The scale of those bytes, times a scale of the weights; `of` is the stage that was quantized.
    Scale { of: usize, times: Option<Rc<Constant>> },
    /// The zero point of those bytes.
    Zero { of: usize },
    /// The product of the bytes with constant integers: a linear layer without its scale.
    Product { sequence: Sequence, of: usize },
}

/// A value of the graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Constant(Rc<Constant>),
    /// A vector (or, if `scalar`, one) of axis lengths, some known only when the graph runs.
    Lengths {
        lengths: Vec<Length>,
        scalar: bool,
    },
    /// A tensor filled with one length.
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
    /// The final state of a layer or of several; `of` lists their stages.
    Last {
        of: Vec<usize>,
    },
    Unrolled(Unrolled),
    Quantized(Quantized),
    /// A value that is not understood, which is an error only if it is used.
    Refused(Error),
}

/// The weights of a recurrent layer, in ONNX's gate order.
#[derive(Clone, Debug)]
pub(super) struct CellWeights {
    pub kind: CellKind,
    pub hidden: usize,
    /// `[kH, in]`
    pub w: Vec<f32>,
    /// `[kH, H]`; empty for a cell without it.
    pub r: Vec<f32>,
    /// `[2kH]`; `[kH]` for a cell without R.
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
    /// Stacks `factor` frames.
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

/// An operation on the output of the stage `source`.
#[derive(Clone, Debug)]
pub(super) struct StageOf {
    pub operation: Operation,
    pub source: usize,
    pub width: usize,
    /// `node …`, for errors.
    pub place: String,
}
