//! Import of recurrences written as a `Loop`, as tf2onnx writes Keras' `SimpleRNN` and `GRU`.
//!
//! The body computes one step. Each of its values is interpreted as a [`Term`], up to the new state, whose
//! form determines the cell: `tanh(x W + h R + b)`, or `z h + (1 - z) c` with the candidate c of either
//! kind of GRU.

use std::collections::HashMap;
use std::rc::Rc;

use super::constant::{Constant, Numbers};
use super::node::{Node, unsupported};
use super::step::{Term, apply};
use super::value::{Axis, Length, Operation, Sequence, Value, listed};
use super::walk::Walker;
use crate::error::Result;
use crate::onnx::proto::{GraphProto, decode_graph};

/// The body's values by name. A value that is not understood is an error only where it is used.
type Terms = HashMap<String, Result<Term>>;

impl Walker {
    /// `Loop` over the steps of a sequence. Returns the final values of the loop-carried variables, then
    /// the scan outputs.
    ///
    /// # Errors
    /// When it is not a recurrence of one of hearken's cells over all steps of a sequence.
    pub(super) fn loop_node(&mut self, node: &Node) -> Result<Vec<Value>> {
        let body = node.attribute("body").and_then(|a| a.g.as_ref()).ok_or_else(|| unsupported(node))?;
        let body = decode_graph(body).map_err(|e| e.at(node.place()))?;
        let carried: Vec<&Value> = node.proto.input.iter().skip(2).filter_map(|n| self.value(n)).collect();
        let carries = node.proto.input.len().saturating_sub(2);
        if carried.len() != carries || body.input.len() != carries + 2 || body.output.len() < carries + 1 {
            return Err(
                node.error("its body has other inputs and outputs than the loop-carried variables need")
            );
        }
        // A variable that the body returns unchanged is constant over the steps, even if it is zero (an
        // untrained bias).
        let names = body.input[2..].iter().zip(&body.output[1..]);
        let unchanged = names.map(|(input, output)| input.name == output.name);
        let carried: Vec<Term> =
            carried.into_iter().zip(unchanged).map(|(value, unchanged)| entry(value, unchanged)).collect();
        let mut terms = self.entries(&body, &carried);
        let x = self.steps(&body, &mut terms)?;
        let term = |name: &str| match terms.get(name) {
            Some(term) => term.clone(),
            None => Err(node.error(format!("its body does not compute `{name}`"))),
        };
        if !matches!(term(&body.output[0].name)?, Term::Condition) {
            return Err(
                node.error("expected a loop over a number of steps, found one whose end depends on the data")
            );
        }
        let mut state = None;
        for ((input, output), begun) in body.input[2..].iter().zip(&body.output[1..]).zip(&carried) {
            match begun {
                Term::State if state.is_none() => state = Some(term(&output.name)?),
                Term::Counter if matches!(term(&output.name)?, Term::NextCounter) => {}
                Term::LoopInvariant(_) if input.name == output.name => {}
                _ => {
                    return Err(node.error(
                        "expected one state and a step counter as loop-carried variables, found others",
                    ));
                }
            }
        }
        let (Some(state), Some(x)) = (state, x) else {
            return Err(node.error("expected a state and a sequence that is read step by step"));
        };
        let y = self.cell_of_loop(node, &state, &x)?;
        let last = |begun: &Term| match begun {
            Term::State => Value::Last { of: vec![y.stage] },
            _ => Value::Refused(node.error("expected the loop's counter to be unused after the loop")),
        };
        let scanned = body.output[1 + carries..].iter().map(|output| match term(&output.name) {
            Ok(Term::Next(_)) => Value::Sequence(y.clone()),
            Ok(_) => Value::Refused(node.error(format!("its output `{}` is not the new state", output.name))),
            Err(error) => Value::Refused(error),
        });
        Ok(carried.iter().map(last).chain(scanned).collect())
    }

    /// The terms at the start of the body: the iteration number, the loop-carried variables, and the body's
    /// constants.
    fn entries(&self, body: &GraphProto, carried: &[Term]) -> Terms {
        let mut terms = Terms::new();
        let kinds = [Term::Counter, Term::Condition].into_iter().chain(carried.iter().cloned());
        for (input, term) in body.input.iter().zip(kinds) {
            terms.insert(input.name.clone(), Ok(term));
        }
        for tensor in &body.initializer {
            let term = Constant::read(tensor).map(|c| Term::LoopInvariant(Value::Constant(Rc::new(c))));
            terms.insert(tensor.name.clone(), term);
        }
        terms
    }

    /// Interprets the body's nodes. Returns the sequence of which they read one step.
    fn steps(&mut self, body: &GraphProto, terms: &mut Terms) -> Result<Option<Sequence>> {
        let mut scanned: Option<Sequence> = None;
        for (index, proto) in body.node.iter().enumerate() {
            let node = Node::new(proto, index);
            let inputs: Result<Vec<Option<Term>>> = proto
                .input
                .iter()
                .map(|name| match (terms.get(name), self.value(name)) {
                    _ if name.is_empty() => Ok(None),
                    (Some(term), _) => term.clone().map(Some),
                    (None, Some(Value::Refused(error))) => Err(error.clone()),
                    (None, Some(value)) => Ok(Some(Term::LoopInvariant(value.clone()))),
                    (None, None) => Err(node.error(format!("no earlier node computes its input `{name}`"))),
                })
                .collect();
            let outputs = inputs.and_then(|inputs| self.body_step(&node, &inputs, &mut scanned));
            for (k, name) in proto.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let term = match &outputs {
                    Ok(outputs) => outputs.get(k).cloned().ok_or_else(|| unsupported(&node)),
                    Err(error) => Err(error.clone()),
                };
                if terms.insert(name.clone(), term).is_some() {
                    return Err(node.error(format!("the value `{name}` is computed twice")));
                }
            }
        }
        Ok(scanned)
    }

    /// The outputs of a node of the body, given its inputs.
    fn body_step(
        &mut self,
        node: &Node,
        inputs: &[Option<Term>],
        scanned: &mut Option<Sequence>,
    ) -> Result<Vec<Term>> {
        if let [Some(Term::LoopInvariant(Value::Sequence(sequence))), Some(Term::Counter)] = inputs {
            let first = node.proto.op_type == "Gather" && node.int("axis").unwrap_or(0) == 0;
            if !first || scanned.as_ref().is_some_and(|other| other != sequence) {
                return Err(unsupported(node));
            }
            *scanned = Some(sequence.clone());
            return Ok(vec![Term::Input { width: sequence.width }]);
        }
        let outside = inputs.iter().map(|input| match input {
            None => Some(None),
            Some(Term::LoopInvariant(value)) => Some(Some(value.clone())),
            Some(_) => None,
        });
        match outside.collect::<Option<Vec<_>>>() {
            Some(values) => Ok(self.evaluate(node, values)?.into_iter().map(Term::LoopInvariant).collect()),
            None => {
                let terms = apply(node, inputs)?;
                let copied = matches!(node.proto.op_type.as_str(), "Split" | "Slice" | "Gemm");
                self.charge_budget(node, Some(terms.iter().map(|t| t.numbers(copied)).sum()))?;
                Ok(terms)
            }
        }
    }

    /// Adds the cell with this new state on top of the sequence `x`.
    fn cell_of_loop(&mut self, node: &Node, state: &Term, x: &Sequence) -> Result<Sequence> {
        let [Axis::Outer(time), Axis::Outer(batch), Axis::Features] = x.axes[..] else {
            return Err(node.error(format!("expected [time, batch, features], found {}", listed(&x.axes))));
        };
        self.set_time(node, time)?;
        let over = x.over[time].max(1);
        let declared = self.declared[time].map(|n| n / over);
        let whole = match node.proto.input.first().and_then(|name| self.value(name)) {
            Some(Value::Lengths { lengths, .. }) => match lengths[..] {
                [Length::Known(n)] => Some(n) == declared,
                [length] => length == Length::Outer { axis: time, over },
                _ => false,
            },
            Some(Value::Constant(c)) => c.as_i64().is_some_and(|v| v.len() == 1 && Some(v[0]) == declared),
            _ => false,
        };
        if !whole {
            return Err(node.error("expected a loop over all steps of the sequence"));
        }
        let Term::Next(next) = state else { return Err(unsupported(node)) };
        let weights = next.weights(x.width).map_err(|problem| node.error(problem))?;
        self.charge_budget(node, Some(weights.w.len() + weights.r.len()))?;
        let hidden = weights.hidden;
        let mut y = self.push(node, x, Operation::Cell(weights), hidden);
        y.axes = vec![Axis::Outer(time), Axis::Outer(batch), Axis::Features];
        Ok(y)
    }
}

/// The term of a loop-carried variable with this initial value, which the body returns `unchanged` or not.
fn entry(initial: &Value, unchanged: bool) -> Term {
    match initial {
        other if unchanged => Term::LoopInvariant(other.clone()),
        Value::Zeros | Value::Initial => Term::State,
        Value::Constant(c) if c.is_zero() => match c.numbers {
            Numbers::I64(_) if c.len() == 1 => Term::Counter,
            Numbers::F32(_) if c.shape.len() == 2 => Term::State,
            _ => Term::LoopInvariant(initial.clone()),
        },
        other => Term::LoopInvariant(other.clone()),
    }
}
