//! Recurrences that stand as a `Loop` in the graph: tf2onnx writes Keras' `SimpleRNN` and `GRU` so.
//!
//! The body computes one step. Each of its values is followed as a [`Term`], up to the new state,
//! whose form tells the cell: `tanh(x W + h R + b)`, or `z h + (1 - z) c` with the candidate c of
//! either kind of GRU.

use std::collections::HashMap;
use std::rc::Rc;

use super::constant::{Constant, Numbers};
use super::node::{Node, unsupported};
use super::step::{Term, apply};
use super::value::{Axis, Length, Operation, Sequence, Value, listed};
use super::walk::Walker;
use crate::error::Result;
use crate::onnx::proto::{GraphProto, decode_graph};

/// Values of the body by name; what is not understood is an error only for who needs it.
type Terms = HashMap<String, Result<Term>>;

impl Walker {
    /// `Loop` over the steps of a sequence: the last values of what it carries, then the sequences
    /// of what it gives.
    ///
    /// # Errors
    /// When it is anything but a recurrence of one of our cells, over all steps of a sequence.
    pub(super) fn looped(&mut self, node: &Node) -> Result<Vec<Value>> {
        let body = node.attribute("body").and_then(|a| a.g.as_ref()).ok_or_else(|| unsupported(node))?;
        let body = decode_graph(body).map_err(|e| e.at(node.place()))?;
        let carried: Vec<&Value> = node.proto.input.iter().skip(2).filter_map(|n| self.value(n)).collect();
        let carries = node.proto.input.len().saturating_sub(2);
        if carried.len() != carries || body.input.len() != carries + 2 || body.output.len() < carries + 1 {
            return Err(node.error("its body does not take and give what it carries"));
        }
        // What comes out as it went in is the same at every step, be it all zeros (a new bias).
        let names = body.input[2..].iter().zip(&body.output[1..]);
        let unchanged = names.map(|(input, output)| input.name == output.name);
        let carried: Vec<Term> =
            carried.into_iter().zip(unchanged).map(|(value, unchanged)| entry(value, unchanged)).collect();
        let mut terms = self.entries(&body, &carried);
        let x = self.steps(&body, &mut terms)?;
        let term = |name: &str| match terms.get(name) {
            Some(term) => term.clone(),
            None => Err(node.error(format!("its body does not make `{name}`"))),
        };
        if !matches!(term(&body.output[0].name)?, Term::Condition) {
            return Err(node.error("expected a loop that counts steps, found one that ends by what it hears"));
        }
        let mut state = None;
        for ((input, output), begun) in body.input[2..].iter().zip(&body.output[1..]).zip(&carried) {
            match begun {
                Term::State if state.is_none() => state = Some(term(&output.name)?),
                Term::Counter if matches!(term(&output.name)?, Term::NextCounter) => {}
                Term::Outside(_) if input.name == output.name => {}
                _ => return Err(node.error("it carries more than one state and a count of steps")),
            }
        }
        let (Some(state), Some(x)) = (state, x) else {
            return Err(node.error("expected a state and a sequence that is heard step by step"));
        };
        let y = self.cell_of_loop(node, &state, &x)?;
        let last = |begun: &Term| match begun {
            Term::State => Value::Last { of: vec![y.stage] },
            _ => Value::Refused(node.error("what a loop counts is not used")),
        };
        let given = body.output[1 + carries..].iter().map(|output| match term(&output.name) {
            Ok(Term::Next(_)) => Value::Sequence(y.clone()),
            Ok(_) => Value::Refused(node.error(format!("its output `{}` is not the new state", output.name))),
            Err(error) => Value::Refused(error),
        });
        Ok(carried.iter().map(last).chain(given).collect())
    }

    /// What the body begins with: the step's number, what is carried, and its own constants.
    fn entries(&self, body: &GraphProto, carried: &[Term]) -> Terms {
        let mut terms = Terms::new();
        let kinds = [Term::Counter, Term::Condition].into_iter().chain(carried.iter().cloned());
        for (input, term) in body.input.iter().zip(kinds) {
            terms.insert(input.name.clone(), Ok(term));
        }
        for tensor in &body.initializer {
            let term = Constant::read(tensor).map(|c| Term::Outside(Value::Constant(Rc::new(c))));
            terms.insert(tensor.name.clone(), term);
        }
        terms
    }

    /// Follows the body's nodes; the sequence that they hear a step of.
    fn steps(&mut self, body: &GraphProto, terms: &mut Terms) -> Result<Option<Sequence>> {
        let mut heard: Option<Sequence> = None;
        for (index, proto) in body.node.iter().enumerate() {
            let node = Node::new(proto, index);
            let inputs: Result<Vec<Option<Term>>> = proto
                .input
                .iter()
                .map(|name| match (terms.get(name), self.value(name)) {
                    _ if name.is_empty() => Ok(None),
                    (Some(term), _) => term.clone().map(Some),
                    (None, Some(Value::Refused(error))) => Err(error.clone()),
                    (None, Some(value)) => Ok(Some(Term::Outside(value.clone()))),
                    (None, None) => Err(node.error(format!("its input `{name}` is not made before it"))),
                })
                .collect();
            let outputs = inputs.and_then(|inputs| self.body_step(&node, &inputs, &mut heard));
            for (k, name) in proto.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let term = match &outputs {
                    Ok(outputs) => outputs.get(k).cloned().ok_or_else(|| unsupported(&node)),
                    Err(error) => Err(error.clone()),
                };
                if terms.insert(name.clone(), term).is_some() {
                    return Err(node.error(format!("the value `{name}` is made twice")));
                }
            }
        }
        Ok(heard)
    }

    /// What a node of the body makes of its inputs.
    fn body_step(
        &mut self,
        node: &Node,
        inputs: &[Option<Term>],
        heard: &mut Option<Sequence>,
    ) -> Result<Vec<Term>> {
        if let [Some(Term::Outside(Value::Sequence(sequence))), Some(Term::Counter)] = inputs {
            let first = node.proto.op_type == "Gather" && node.int("axis").unwrap_or(0) == 0;
            if !first || heard.as_ref().is_some_and(|other| other != sequence) {
                return Err(unsupported(node));
            }
            *heard = Some(sequence.clone());
            return Ok(vec![Term::Input { width: sequence.width }]);
        }
        let outside = inputs.iter().map(|input| match input {
            None => Some(None),
            Some(Term::Outside(value)) => Some(Some(value.clone())),
            Some(_) => None,
        });
        match outside.collect::<Option<Vec<_>>>() {
            Some(values) => Ok(self.evaluate(node, values)?.into_iter().map(Term::Outside).collect()),
            None => {
                let terms = apply(node, inputs)?;
                let copied = matches!(node.proto.op_type.as_str(), "Split" | "Slice" | "Gemm");
                self.take_room(node, Some(terms.iter().map(|t| t.numbers(copied)).sum()))?;
                Ok(terms)
            }
        }
    }

    /// Adds the cell whose new state this is, on top of the sequence `x`.
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
        self.take_room(node, Some(weights.w.len() + weights.r.len()))?;
        let hidden = weights.hidden;
        let mut y = self.push(node, x, Operation::Cell(weights), hidden);
        y.axes = vec![Axis::Outer(time), Axis::Outer(batch), Axis::Features];
        Ok(y)
    }
}

/// What a value is that a loop begins with, and leaves `unchanged` or not.
fn entry(initial: &Value, unchanged: bool) -> Term {
    match initial {
        other if unchanged => Term::Outside(other.clone()),
        Value::Zeros | Value::Initial => Term::State,
        Value::Constant(c) if c.is_zero() => match c.numbers {
            Numbers::I64(_) if c.len() == 1 => Term::Counter,
            Numbers::F32(_) if c.shape.len() == 2 => Term::State,
            _ => Term::Outside(initial.clone()),
        },
        other => Term::Outside(other.clone()),
    }
}
