//! Interpretation of the values inside one step of a `Loop`, and the rules by which operators combine them.

use std::rc::Rc;

use super::constant::Constant;
use super::node::{Node, unsupported};
use super::value::{CellWeights, Value};
use crate::error::Result;
use crate::model::CellKind;

/// The sum x W + h R + b, in which the products are optional.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    /// `[F, n]`
    pub x: Option<Rc<Constant>>,
    /// `[H, n]`
    pub h: Option<Rc<Constant>>,
    /// `[n]`
    pub bias: Vec<f32>,
}

impl Sum {
    /// n, the number of columns.
    pub fn width(&self) -> usize {
        self.bias.len()
    }

    /// `count` of the columns from `start`.
    fn columns(&self, start: usize, count: usize) -> Self {
        let some =
            |m: &Option<Rc<Constant>>| m.as_ref().map(|m| Rc::new(m.sliced(1, start as i64, 1, count)));
        Self { x: some(&self.x), h: some(&self.h), bias: self.bias[start..start + count].to_vec() }
    }

    /// The sum of both; `None` if both have a product with x, or both with h.
    fn plus(&self, other: &Self) -> Option<Self> {
        let twice = self.x.is_some() && other.x.is_some() || self.h.is_some() && other.h.is_some();
        if twice || self.width() != other.width() {
            return None;
        }
        let bias = self.bias.iter().zip(&other.bias).map(|(a, b)| a + b).collect();
        Some(Self { x: self.x.clone().or(other.x.clone()), h: self.h.clone().or(other.h.clone()), bias })
    }

    fn plus_bias(&self, bias: &Constant) -> Option<Self> {
        if bias.len() != self.width() || bias.shape.last() != Some(&self.width()) {
            return None;
        }
        let bias = self.bias.iter().zip(bias.to_f32()).map(|(a, b)| a + b).collect();
        Some(Self { bias, ..self.clone() })
    }

    fn is_of_state(&self) -> bool {
        self.x.is_none() && self.h.is_some()
    }
}

/// The candidate state of a GRU: tanh of `input` + reset ⊙ `state` if the reset gate is applied `after` the
/// product with R, else of `input` + (reset ⊙ h) R.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub input: Sum,
    pub reset: Rc<Sum>,
    pub state: Sum,
    pub after: bool,
}

/// The meaning of a value within one step.
#[derive(Clone, Debug)]
pub(super) enum Term {
    /// A value from outside the loop, the same at every step.
    LoopInvariant(Value),
    /// The iteration number.
    Counter,
    /// The number of the next iteration.
    NextCounter,
    /// The loop condition, computed from counters and lengths only.
    Condition,
    /// The current step of the sequence.
    Input { width: usize },
    /// The state h before this step.
    State,
    /// x W + h R + b.
    Sum(Rc<Sum>),
    /// σ(sum).
    Gate(Rc<Sum>),
    /// 1 - σ(sum).
    OneMinusGate(Rc<Sum>),
    /// gate ⊙ h.
    GatedState(Rc<Sum>),
    /// The sum of a candidate before its tanh; the input's product may still be missing.
    CandidateSum(Rc<Candidate>),
    /// The candidate, after its tanh.
    Candidate(Rc<Candidate>),
    /// (1 - gate) ⊙ candidate.
    GatedCandidate(Rc<Sum>, Rc<Candidate>),
    /// The state after this step.
    Next(Next),
}

impl Term {
    /// Number of elements allocated for it: the bias, and the matrices if they were sliced or transposed
    /// (`copied`).
    pub fn numbers(&self, copied: bool) -> usize {
        let matrix = |m: &Option<Rc<Constant>>| m.as_ref().filter(|_| copied).map_or(0, |m| m.len());
        let of = |sum: &Sum| sum.width() + matrix(&sum.x) + matrix(&sum.h);
        match self {
            Term::Sum(sum) | Term::Gate(sum) => of(sum),
            Term::CandidateSum(share) => of(&share.input) + of(&share.state),
            _ => 0,
        }
    }
}

/// The terms that a node computes from the terms of its inputs.
///
/// # Errors
/// When the result is not part of a cell that hearken supports.
pub(super) fn apply(node: &Node, inputs: &[Option<Term>]) -> Result<Vec<Term>> {
    let given: Vec<&Term> = inputs.iter().flatten().collect();
    let made = match (node.proto.op_type.as_str(), &given[..]) {
        ("Identity" | "Cast", [term]) => Some((*term).clone()),
        ("Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And", [a, b]) => {
            (counts(a) && counts(b)).then_some(Term::Condition)
        }
        ("MatMul", [a, Term::LoopInvariant(Value::Constant(matrix))]) => product(a, matrix),
        ("Gemm", [a, Term::LoopInvariant(Value::Constant(matrix)), rest @ ..]) => gemm(node, a, matrix, rest),
        ("Add", [a, b]) => add(a, b).or_else(|| add(b, a)),
        ("Sub", [Term::LoopInvariant(Value::Constant(one)), Term::Gate(gate)]) => {
            (one.len() == 1 && one.to_f32() == [1.0]).then(|| Term::OneMinusGate(gate.clone()))
        }
        ("Mul", [a, b]) => multiply(a, b).or_else(|| multiply(b, a)),
        ("Sigmoid", [Term::Sum(sum)]) => Some(Term::Gate(sum.clone())),
        ("Tanh", [Term::CandidateSum(candidate)]) if candidate.input.x.is_some() => {
            Some(Term::Candidate(candidate.clone()))
        }
        ("Tanh", [Term::Sum(sum)]) => {
            Some(Term::Next(Next::Rnn { kind: CellKind::RnnTanh, sum: sum.clone() }))
        }
        ("Relu", [Term::Sum(sum)]) => {
            Some(Term::Next(Next::Rnn { kind: CellKind::RnnRelu, sum: sum.clone() }))
        }
        ("Split", [Term::Sum(_) | Term::Gate(_), ..]) => return split(node, &given),
        ("Slice", [Term::Sum(_) | Term::Gate(_), ..]) => slice(&given),
        _ => None,
    };
    made.map(|term| vec![term]).ok_or_else(|| unsupported(node))
}

fn counts(term: &Term) -> bool {
    matches!(
        term,
        Term::Counter
            | Term::NextCounter
            | Term::Condition
            | Term::LoopInvariant(Value::Lengths { .. } | Value::Constant(_))
    )
}

fn product(a: &Term, matrix: &Rc<Constant>) -> Option<Term> {
    let [rows, columns] = matrix.shape[..] else { return None };
    let bias = vec![0.0; columns];
    match a {
        Term::Input { width } if *width == rows => {
            Some(Term::Sum(Rc::new(Sum { x: Some(matrix.clone()), h: None, bias })))
        }
        Term::State => Some(Term::Sum(Rc::new(Sum { x: None, h: Some(matrix.clone()), bias }))),
        Term::GatedState(gate) => Some(Term::CandidateSum(Rc::new(Candidate {
            input: Sum { x: None, h: None, bias: bias.clone() },
            reset: gate.clone(),
            state: Sum { x: None, h: Some(matrix.clone()), bias },
            after: false,
        }))),
        _ => None,
    }
}

/// a · matrix + bias; products with a scale are not supported.
fn gemm(node: &Node, a: &Term, matrix: &Rc<Constant>, rest: &[&Term]) -> Option<Term> {
    let plain = [node.float("alpha"), node.float("beta")].iter().all(|f| f.is_none_or(|f| f == 1.0));
    if !plain || node.int("transA").unwrap_or(0) != 0 || matrix.shape.len() != 2 {
        return None;
    }
    let made = match node.int("transB").unwrap_or(0) {
        0 => product(a, matrix)?,
        _ => product(a, &Rc::new(matrix.transposed(&[1, 0])))?,
    };
    match rest {
        [] => Some(made),
        [bias] => add(&made, bias),
        _ => None,
    }
}

fn add(a: &Term, b: &Term) -> Option<Term> {
    match (a, b) {
        (Term::Counter, Term::LoopInvariant(Value::Constant(one))) => {
            (one.as_i64() == Some(&[1])).then_some(Term::NextCounter)
        }
        (Term::Sum(a), Term::Sum(b)) => Some(Term::Sum(Rc::new(a.plus(b)?))),
        (Term::Sum(sum), Term::LoopInvariant(Value::Constant(bias))) => {
            Some(Term::Sum(Rc::new(sum.plus_bias(bias)?)))
        }
        // A bias added to a gated product with R is the input's bias: it is added after the gate.
        (Term::CandidateSum(share), Term::LoopInvariant(Value::Constant(bias))) => {
            let input = share.input.plus_bias(bias)?;
            Some(Term::CandidateSum(Rc::new(Candidate { input, ..(**share).clone() })))
        }
        (Term::CandidateSum(share), Term::Sum(sum)) if sum.h.is_none() => {
            let input = share.input.plus(sum)?;
            Some(Term::CandidateSum(Rc::new(Candidate { input, ..(**share).clone() })))
        }
        (Term::GatedState(gate), Term::GatedCandidate(rest, candidate)) if Rc::ptr_eq(gate, rest) => {
            Some(Term::Next(Next::Gru { update: gate.clone(), candidate: candidate.clone() }))
        }
        _ => None,
    }
}

fn multiply(a: &Term, b: &Term) -> Option<Term> {
    match (a, b) {
        (Term::Gate(gate), Term::State) => Some(Term::GatedState(gate.clone())),
        (Term::Gate(gate), Term::Sum(sum)) if sum.is_of_state() && sum.width() == gate.width() => {
            Some(Term::CandidateSum(Rc::new(Candidate {
                input: Sum { x: None, h: None, bias: vec![0.0; sum.width()] },
                reset: gate.clone(),
                state: (**sum).clone(),
                after: true,
            })))
        }
        (Term::OneMinusGate(gate), Term::Candidate(candidate)) => {
            Some(Term::GatedCandidate(gate.clone(), candidate.clone()))
        }
        _ => None,
    }
}

/// `count` of the columns of a sum or a gate from `start`.
fn columns(term: &Term, start: usize, count: usize) -> Option<Term> {
    let some = |sum: &Sum| {
        let end = start.checked_add(count)?;
        (count > 0 && end <= sum.width()).then(|| Rc::new(sum.columns(start, count)))
    };
    match term {
        Term::Sum(sum) => some(sum).map(Term::Sum),
        Term::Gate(sum) => some(sum).map(Term::Gate),
        _ => None,
    }
}

fn width(term: &Term) -> usize {
    match term {
        Term::Sum(sum) | Term::Gate(sum) => sum.width(),
        _ => 0,
    }
}

/// `Split` along the last of two axes.
fn split(node: &Node, given: &[&Term]) -> Result<Vec<Term>> {
    if !matches!(node.int("axis").unwrap_or(0), 1 | -1) {
        return Err(unsupported(node));
    }
    let (whole, parts) = (width(given[0]), node.proto.output.len());
    let sizes: Vec<i64> = match (given.get(1), node.ints("split")) {
        (Some(Term::LoopInvariant(Value::Constant(sizes))), _) => sizes.as_i64().unwrap_or(&[]).to_vec(),
        (None, Some(sizes)) if !sizes.is_empty() => sizes.to_vec(),
        _ => vec![(whole / parts.max(1)) as i64; parts],
    };
    let mut start = 0;
    let mut made = Vec::with_capacity(parts);
    for size in sizes {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        made.push(columns(given[0], start, size).ok_or_else(|| unsupported(node))?);
        start = start.saturating_add(size);
    }
    if made.len() != parts || start != whole {
        return Err(node.error("it does not split the whole width"));
    }
    Ok(made)
}

/// `Slice` of columns with a step of one, over the whole batch.
fn slice(given: &[&Term]) -> Option<Term> {
    let numbers = |k: usize| match given.get(k) {
        Some(Term::LoopInvariant(Value::Constant(c))) => c.as_i64().map(<[i64]>::to_vec),
        _ => None,
    };
    let (starts, ends) = (numbers(1)?, numbers(2)?);
    let axes = numbers(3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = numbers(4).unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.iter().any(|&s| s != 1) {
        return None;
    }
    let mut term = given[0].clone();
    for (k, axis) in axes.iter().enumerate() {
        match axis {
            0 | -2 if starts[k] == 0 && ends[k] >= i64::from(i32::MAX) => {}
            1 | -1 => {
                let whole = width(&term) as i64;
                let bound = |v: i64| (if v < 0 { v.saturating_add(whole) } else { v }).clamp(0, whole);
                let (start, end) = (bound(starts[k]), bound(ends[k]));
                term = columns(&term, start as usize, (end - start).max(0) as usize)?;
            }
            _ => return None,
        }
    }
    Some(term)
}

/// The state after a step, whose form determines the cell.
#[derive(Clone, Debug)]
pub(super) enum Next {
    Rnn { kind: CellKind, sum: Rc<Sum> },
    Gru { update: Rc<Sum>, candidate: Rc<Candidate> },
}

impl Next {
    /// The weights of the cell for an input of `width` features; the error says what does not fit.
    pub fn weights(&self, width: usize) -> std::result::Result<CellWeights, String> {
        match self {
            Next::Rnn { kind, sum } => {
                let hidden = sum.width();
                let (w, r) = both(sum, width, hidden)?;
                let b = [sum.bias.clone(), vec![0.0; hidden]].concat();
                Ok(CellWeights { kind: *kind, hidden, w, r, b })
            }
            Next::Gru { update, candidate } => {
                let hidden = update.width();
                let (z, r) = (both(update, width, hidden)?, both(&candidate.reset, width, hidden)?);
                let input = part(&candidate.input.x, width, hidden)?;
                let state = part(&candidate.state.h, hidden, hidden)?;
                let biases = [&update.bias, &candidate.reset.bias, &candidate.input.bias];
                let kind = if candidate.after { CellKind::Gru } else { CellKind::GruResetBefore };
                Ok(CellWeights {
                    kind,
                    hidden,
                    w: [z.0, r.0, input].concat(),
                    r: [z.1, r.1, state].concat(),
                    b: [biases[0], biases[1], biases[2], &vec![0.0; 2 * hidden], &candidate.state.bias]
                        .map(Vec::as_slice)
                        .concat(),
                })
            }
        }
    }
}

/// The matrices of input and state of a sum, `[hidden, width]` and `[hidden, hidden]`.
fn both(sum: &Sum, width: usize, hidden: usize) -> std::result::Result<(Vec<f32>, Vec<f32>), String> {
    Ok((part(&sum.x, width, hidden)?, part(&sum.h, hidden, hidden)?))
}

/// A matrix, checked to be `[rows, columns]` and transposed.
fn part(matrix: &Option<Rc<Constant>>, rows: usize, columns: usize) -> std::result::Result<Vec<f32>, String> {
    match matrix {
        Some(matrix) if matrix.shape == [rows, columns] => Ok(matrix.transposed(&[1, 0]).to_f32()),
        Some(matrix) => Err(format!("expected weights [{rows}, {columns}], found {:?}", matrix.shape)),
        None => Err("expected weights for both the input and the state, found only one of them".into()),
    }
}
