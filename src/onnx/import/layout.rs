//! Import of operators that rearrange axes: constants are folded; for sequences the order of the axes is
//! tracked.

use std::rc::Rc;

use super::constant::{Constant, MAX_RANK, Numbers};
use super::node::{Node, unsupported};
use super::value::{Axis, Length, Operation, Sequence, Unrolled, Value, listed};
use super::walk::{Walker, lengths_of};
use crate::error::Result;

impl Walker {
    /// The length of an axis of a sequence, as far as the graph declares it.
    fn length(&self, axis: Axis, sequence: &Sequence) -> Length {
        match axis {
            Axis::Outer(axis) => match self.declared[axis] {
                Some(n) => Length::Known(n / sequence.over[axis].max(1)),
                None => Length::Outer { axis, over: sequence.over[axis] },
            },
            Axis::Features => Length::Known(sequence.width as i64),
            Axis::One => Length::Known(1),
            Axis::Rows { .. } => Length::Unknown,
        }
    }

    pub(super) fn shape(&mut self, node: &Node, value: &Value) -> Result<Value> {
        let mut lengths = match value {
            Value::Constant(c) => c.shape.iter().map(|&d| Length::Known(d as i64)).collect(),
            Value::Sequence(s) => s.axes.iter().map(|&a| self.length(a, s)).collect::<Vec<_>>(),
            _ => return Err(unsupported(node)),
        };
        let rank = lengths.len() as i64;
        let bound = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
        let (start, end) = (bound(node.int("start").unwrap_or(0)), bound(node.int("end").unwrap_or(rank)));
        lengths = lengths.get(start..end).unwrap_or(&[]).to_vec();
        Ok(Value::Lengths { lengths, scalar: false })
    }

    pub(super) fn transpose(&mut self, node: &Node, value: &Value) -> Result<Value> {
        let perm = |rank: usize| -> Result<Vec<usize>> {
            let perm: Vec<usize> = match node.ints("perm") {
                Some(perm) if !perm.is_empty() => {
                    perm.iter().map(|&p| usize::try_from(p).unwrap_or(usize::MAX)).collect()
                }
                _ => (0..rank).rev().collect(),
            };
            let mut sorted = perm.clone();
            sorted.sort_unstable();
            if sorted.iter().copied().eq(0..rank) {
                Ok(perm)
            } else {
                Err(node.error("expected perm to be a permutation of the axes"))
            }
        };
        match value {
            Value::Constant(c) => {
                let perm = perm(c.shape.len())?;
                self.charge_budget(node, Some(c.len()))?;
                Ok(Value::Constant(Rc::new(c.transposed(&perm))))
            }
            Value::Sequence(s) => {
                let axes = perm(s.axes.len())?.into_iter().map(|p| s.axes[p]).collect();
                Ok(Value::Sequence(Sequence { axes, ..s.clone() }))
            }
            Value::Zeros | Value::Initial | Value::Last { .. } => Ok(value.clone()),
            _ => Err(unsupported(node)),
        }
    }

    pub(super) fn squeeze(&mut self, node: &Node, values: &[Value]) -> Result<Value> {
        let given: Option<Vec<i64>> = match values.get(1) {
            Some(Value::Constant(c)) => c.as_i64().map(<[i64]>::to_vec),
            Some(_) => return Err(unsupported(node)),
            None => node.ints("axes").map(<[i64]>::to_vec),
        };
        let insert = node.proto.op_type == "Unsqueeze";
        match &values[0] {
            Value::Constant(c) => {
                let shape = change_axes(node, &c.shape, given.as_deref(), insert, 1, |&d| d == 1)?;
                Ok(Value::Constant(Rc::new(c.reshaped(shape).map_err(|e| e.at(node.place()))?)))
            }
            Value::Sequence(s) => {
                let axes =
                    change_axes(node, &s.axes, given.as_deref(), insert, Axis::One, |&a| a == Axis::One)?;
                Ok(Value::Sequence(Sequence { axes, ..s.clone() }))
            }
            Value::Lengths { lengths, .. } if lengths.len() == 1 => {
                Ok(Value::Lengths { lengths: lengths.clone(), scalar: !insert })
            }
            Value::Zeros | Value::Initial | Value::Last { .. } | Value::Unrolled(_) => Ok(values[0].clone()),
            _ => Err(unsupported(node)),
        }
    }

    pub(super) fn reshape(&mut self, node: &Node, values: &[Value]) -> Result<Value> {
        match (&values[0], values.get(1)) {
            (Value::Zeros | Value::Initial | Value::Last { .. }, _) => Ok(values[0].clone()),
            (Value::Lengths { lengths, .. }, Some(Value::Constant(c))) if lengths.len() == 1 => {
                Ok(Value::Lengths { lengths: lengths.clone(), scalar: c.len() == 0 })
            }
            (Value::Constant(c), Some(shape)) => {
                let target = lengths_of(shape).ok_or_else(|| unsupported(node))?;
                let shape = constant_shape(c, &target)
                    .ok_or_else(|| node.error("the constant cannot be reshaped to this shape"))?;
                Ok(Value::Constant(Rc::new(c.reshaped(shape).map_err(|e| e.at(node.place()))?)))
            }
            (Value::Sequence(s), Some(shape)) => {
                let target = lengths_of(shape).ok_or_else(|| unsupported(node))?;
                self.reshape_sequence(node, s, &target)
            }
            _ => Err(unsupported(node)),
        }
    }

    /// Recognizes the reshapes of a sequence that exporters write: axes of length 1 added or removed, the
    /// outer axes merged into rows or split again, and frames stacked on the feature axis.
    fn reshape_sequence(&mut self, node: &Node, s: &Sequence, target: &[Length]) -> Result<Value> {
        let problem = || {
            node.error(format!(
                "the axes {} cannot be tracked through the shape {}",
                listed(&s.axes),
                listed(target)
            ))
        };
        if target.len() > MAX_RANK {
            return Err(problem());
        }
        // Unless `allowzero` is set, 0 copies the length of the axis at the same position.
        let copied = node.int("allowzero").unwrap_or(0) == 0;
        let target: Vec<Length> = target
            .iter()
            .enumerate()
            .map(|(k, &t)| match s.axes.get(k) {
                Some(&axis) if copied && t == Length::Known(0) => self.length(axis, s),
                _ => t,
            })
            .collect();
        if let Some(axes) = self.align(s, &s.axes, &target) {
            return Ok(Value::Sequence(Sequence { axes, ..s.clone() }));
        }
        let real: Vec<Axis> = s.axes.iter().copied().filter(|&a| a != Axis::One).collect();
        let width = Length::Known(s.width as i64);
        let any = |l: &Length| matches!(l, Length::Known(-1) | Length::Unknown);
        match (real.as_slice(), target.as_slice()) {
            ([Axis::Outer(a), Axis::Outer(_), Axis::Features], [rows, w])
                if (any(rows) || self.is_product(s, *rows)) && (*w == width || any(w)) =>
            {
                let axes = vec![Axis::Rows { first: *a }, Axis::Features];
                Ok(Value::Sequence(Sequence { axes, ..s.clone() }))
            }
            ([Axis::Rows { first }, Axis::Features], [a, b, w]) if *w == width || any(w) => {
                let axes = vec![Axis::Outer(*first), Axis::Outer(1 - first), Axis::Features];
                let fits = |l: &Length, axis: Axis| any(l) || *l == self.length(axis, s);
                if !fits(a, axes[0]) || !fits(b, axes[1]) {
                    return Err(problem());
                }
                Ok(Value::Sequence(Sequence { axes, ..s.clone() }))
            }
            ([Axis::Outer(a), Axis::Outer(b), Axis::Features], [n, t, Length::Known(w)])
                if *w > s.width as i64 && *w % s.width as i64 == 0 =>
            {
                let factor = *w / s.width as i64;
                if !(any(n) || *n == self.length(real[0], s)) {
                    return Err(problem());
                }
                let mut over = s.over;
                over[*b] = over[*b].checked_mul(factor).ok_or_else(problem)?;
                let stacked = Sequence {
                    over,
                    axes: vec![Axis::Outer(*a), Axis::Outer(*b), Axis::Features],
                    ..s.clone()
                };
                if !(any(t) || *t == self.length(real[1], &stacked)) {
                    return Err(problem());
                }
                self.set_time(node, *b)?;
                let width = usize::try_from(*w).map_err(|_| problem())?;
                Ok(Value::Sequence(self.push(
                    node,
                    &stacked,
                    Operation::Stack { factor: factor as usize },
                    width,
                )))
            }
            _ => Err(problem()),
        }
    }

    fn is_product(&self, s: &Sequence, rows: Length) -> bool {
        match (self.length(Axis::Outer(0), s), self.length(Axis::Outer(1), s), rows) {
            (Length::Known(a), Length::Known(b), Length::Known(rows)) => a.checked_mul(b) == Some(rows),
            _ => false,
        }
    }

    /// The axes after a reshape that only adds and removes axes of length 1.
    fn align(&self, s: &Sequence, axes: &[Axis], target: &[Length]) -> Option<Vec<Axis>> {
        match (axes.split_first(), target.split_first()) {
            (None, None) => return Some(Vec::new()),
            (Some((&axis, rest)), Some((&length, targets))) => {
                let known = length == self.length(axis, s) && length != Length::Unknown;
                if (known || matches!(length, Length::Known(-1) | Length::Unknown))
                    && let Some(mut found) = self.align(s, rest, targets)
                {
                    found.insert(0, axis);
                    return Some(found);
                }
            }
            _ => {}
        }
        if let Some((Axis::One, rest)) = axes.split_first()
            && let Some(found) = self.align(s, rest, target)
        {
            return Some(found);
        }
        if let Some((Length::Known(1), rest)) = target.split_first() {
            let mut found = self.align(s, axes, rest)?;
            found.insert(0, Axis::One);
            return Some(found);
        }
        None
    }

    pub(super) fn slice(&mut self, node: &Node, inputs: &[Option<Value>]) -> Result<Value> {
        let ints = |k: usize, name: &str| -> Result<Option<Vec<i64>>> {
            match inputs.get(k).and_then(Option::as_ref) {
                Some(Value::Constant(c)) => Ok(c.as_i64().map(<[i64]>::to_vec)),
                Some(_) => Err(unsupported(node)),
                None => Ok(node.ints(name).map(<[i64]>::to_vec)),
            }
        };
        let value = inputs.first().cloned().flatten().ok_or_else(|| unsupported(node))?;
        if matches!(value, Value::Zeros | Value::Initial) {
            return Ok(value);
        }
        let (starts, ends) = (ints(1, "starts")?, ints(2, "ends")?);
        let (Some(starts), Some(ends)) = (starts, ends) else { return Err(unsupported(node)) };
        let axes = ints(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = ints(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err(node.error("expected starts, ends, axes and steps of the same length"));
        }
        let mut constant = match &value {
            Value::Constant(c) => (**c).clone(),
            Value::Lengths { lengths, .. } => {
                // Slice the positions, then take the lengths at them.
                Constant::i64s((0..lengths.len() as i64).collect())
            }
            Value::Sequence(s) => return self.step(node, s, &starts, &ends, &axes, &steps),
            _ => return Err(unsupported(node)),
        };
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = node.axis(axis, constant.shape.len())?;
            let (start, count) = span(start, end, step, constant.shape[axis] as i64)
                .ok_or_else(|| node.error("the step is 0"))?;
            self.charge_budget(node, (constant.len() / constant.shape[axis].max(1)).checked_mul(count))?;
            constant = constant.sliced(axis, start, step, count);
        }
        match &value {
            Value::Lengths { lengths, .. } => {
                let gathered =
                    constant.as_i64().unwrap_or(&[]).iter().filter_map(|&i| lengths.get(i as usize).copied());
                Ok(Value::Lengths { lengths: gathered.collect(), scalar: false })
            }
            _ => Ok(Value::Constant(Rc::new(constant))),
        }
    }

    /// A slice of a sequence: one step of it in an unrolled recurrence, or all of it.
    fn step(
        &mut self,
        node: &Node,
        s: &Sequence,
        starts: &[i64],
        ends: &[i64],
        axes: &[i64],
        steps: &[i64],
    ) -> Result<Value> {
        if let ([start], [end], [axis], [1]) = (starts, ends, axes, steps) {
            let at = node.axis(*axis, s.axes.len())?;
            if *start == 0 && *end >= i64::from(i32::MAX) {
                return Ok(Value::Sequence(s.clone()));
            }
            if let Axis::Outer(axis) = s.axes[at] {
                let length = self.declared[axis].map(|n| n / s.over[axis].max(1));
                let from = if *start < 0 { length.map_or(-1, |n| n.saturating_add(*start)) } else { *start };
                let to = if *end < 0 { length.map_or(-1, |n| n.saturating_add(*end)) } else { *end };
                if from >= 0 && from.checked_add(1) == Some(to.min(length.unwrap_or(to))) {
                    return Ok(Value::Unrolled(Unrolled::Step { sequence: s.clone(), axis, at: from }));
                }
            }
        }
        Err(node.error("a part of the sequence is sliced out, which does not stream"))
    }

    pub(super) fn gather(&mut self, node: &Node, values: &[Value]) -> Result<Value> {
        let Some(Value::Constant(indices)) = values.get(1) else { return Err(unsupported(node)) };
        let Some(positions) = indices.as_i64() else { return Err(unsupported(node)) };
        let axis = node.int("axis").unwrap_or(0);
        let resolve = |length: usize| -> Result<Vec<usize>> {
            positions.iter().map(|&p| node.axis(p, length)).collect()
        };
        match &values[0] {
            Value::Zeros | Value::Initial => Ok(values[0].clone()),
            Value::Lengths { lengths, .. } if axis == 0 || axis == -1 => {
                let gathered = resolve(lengths.len())?.into_iter().map(|p| lengths[p]).collect();
                Ok(Value::Lengths { lengths: gathered, scalar: indices.shape.is_empty() })
            }
            Value::Constant(c) if indices.shape.len() <= 1 => {
                let axis = node.axis(axis, c.shape.len())?;
                let positions = resolve(c.shape[axis])?;
                let rest = c.len() / c.shape[axis].max(1);
                self.charge_budget(node, rest.checked_mul(positions.len()))?;
                let mut gathered = c.gathered(axis, &positions);
                if indices.shape.is_empty() {
                    gathered.shape.remove(axis);
                }
                Ok(Value::Constant(Rc::new(gathered)))
            }
            _ => Err(unsupported(node)),
        }
    }

    pub(super) fn concat(&mut self, node: &Node, values: &[Value]) -> Result<Value> {
        let axis = node.int("axis").unwrap_or(0);
        let constants: Option<Vec<&Constant>> =
            values.iter().map(|v| if let Value::Constant(c) = v { Some(&**c) } else { None }).collect();
        if let Some(parts) = constants {
            let axis = node.axis(axis, parts.first().map_or(0, |p| p.shape.len()))?;
            self.charge_budget(node, parts.iter().try_fold(0usize, |n, p| n.checked_add(p.len())))?;
            return Ok(Value::Constant(Rc::new(
                Constant::concatenated(&parts, axis).map_err(|e| e.at(node.place()))?,
            )));
        }
        if let Some(lengths) = values.iter().map(lengths_of).collect::<Option<Vec<_>>>() {
            return Ok(Value::Lengths { lengths: lengths.concat(), scalar: false });
        }
        if values.iter().all(|v| matches!(v, Value::Zeros)) {
            return Ok(Value::Zeros);
        }
        let last = |v: &Value| if let Value::Last { of } = v { Some(of.clone()) } else { None };
        if let Some(of) = values.iter().map(last).collect::<Option<Vec<_>>>() {
            return Ok(Value::Last { of: of.concat() });
        }
        self.cell_of_unrolled(node, values)
    }

    pub(super) fn split(&mut self, node: &Node, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let outputs = node.proto.output.len();
        match inputs.first().and_then(Option::as_ref) {
            Some(value @ (Value::Zeros | Value::Initial)) => Ok(vec![value.clone(); outputs]),
            Some(Value::Constant(c)) => {
                let axis = node.axis(node.int("axis").unwrap_or(0), c.shape.len())?;
                let sizes = match inputs.get(1).and_then(Option::as_ref) {
                    Some(Value::Constant(sizes)) => sizes.as_i64().unwrap_or(&[]).to_vec(),
                    _ => node.ints("split").map_or_else(
                        || vec![(c.shape[axis].div_ceil(outputs.max(1))) as i64; outputs],
                        <[i64]>::to_vec,
                    ),
                };
                let mut at = 0;
                let mut parts = Vec::new();
                for size in sizes {
                    let left = c.shape[axis] - at;
                    let size = usize::try_from(size).ok().map_or(usize::MAX, |s| s);
                    let size =
                        if node.ints("split").is_none() && inputs.len() < 2 { size.min(left) } else { size };
                    if size > left {
                        return Err(node.error("its parts are longer than the axis"));
                    }
                    self.charge_budget(node, (c.len() / c.shape[axis].max(1)).checked_mul(size))?;
                    parts.push(Value::Constant(Rc::new(c.sliced(axis, at as i64, 1, size))));
                    at += size;
                }
                Ok(parts)
            }
            _ => Err(unsupported(node)),
        }
    }

    pub(super) fn expand(&mut self, node: &Node, values: &[Value]) -> Result<Value> {
        match (&values[0], values.get(1).and_then(lengths_of)) {
            (Value::Zeros, _) => Ok(Value::Zeros),
            (Value::Constant(c), _) if c.is_zero() => Ok(Value::Zeros),
            (Value::Lengths { lengths, .. }, _) if lengths.len() == 1 => Ok(Value::Filled(lengths[0])),
            (Value::Constant(c), Some(lengths)) if node.proto.op_type == "Expand" => {
                let shape: Option<Vec<usize>> = lengths
                    .iter()
                    .map(|l| if let Length::Known(n) = l { usize::try_from(*n).ok() } else { None })
                    .collect();
                let shape = shape.filter(|s| s.len() <= MAX_RANK).ok_or_else(|| unsupported(node))?;
                let count = shape.iter().try_fold(c.len().max(1), |n, &d| n.checked_mul(d));
                self.charge_budget(node, count)?;
                Ok(Value::Constant(Rc::new(c.expanded(&shape).map_err(|e| e.at(node.place()))?)))
            }
            _ => Err(unsupported(node)),
        }
    }

    pub(super) fn constant_of_shape(&mut self, node: &Node, shape: &Value) -> Result<Value> {
        let value = match node.attribute("value").and_then(|a| a.t.as_ref()) {
            Some(tensor) => Constant::read(tensor)?,
            None => Constant { shape: vec![1], numbers: Numbers::F32(vec![0.0]) },
        };
        match (value.is_zero(), lengths_of(shape).as_deref()) {
            // A vector may hold positions; anything else is a state.
            (true, Some([_]) | None) | (false, _) => {
                self.expand(node, &[Value::Constant(Rc::new(value)), shape.clone()])
            }
            (true, Some(_)) => Ok(Value::Zeros),
        }
    }
}

/// Inserts axes (`Unsqueeze`) or removes axes of length 1 (`Squeeze`).
fn change_axes<A: Copy>(
    node: &Node,
    axes: &[A],
    given: Option<&[i64]>,
    insert: bool,
    one: A,
    is_one: impl Fn(&A) -> bool,
) -> Result<Vec<A>> {
    if insert {
        let given = given.unwrap_or(&[]);
        let rank = axes.len() + given.len();
        if rank > MAX_RANK {
            return Err(node.error(format!("expected at most {MAX_RANK} axes, found {rank}")));
        }
        let mut places: Vec<usize> = given.iter().map(|&a| node.axis(a, rank)).collect::<Result<_>>()?;
        places.sort_unstable();
        let mut result = axes.to_vec();
        for place in places {
            if place > result.len() {
                return Err(node.error("its axes contain one twice"));
            }
            result.insert(place, one);
        }
        return Ok(result);
    }
    let drop: Vec<usize> = match given {
        Some(given) => given.iter().map(|&a| node.axis(a, axes.len())).collect::<Result<_>>()?,
        None => (0..axes.len()).filter(|&k| is_one(&axes[k])).collect(),
    };
    if drop.iter().any(|&k| !is_one(&axes[k])) {
        return Err(node.error("an axis longer than 1 cannot be squeezed"));
    }
    Ok(axes.iter().enumerate().filter(|(k, _)| !drop.contains(k)).map(|(_, &a)| a).collect())
}

/// Resolves 0 and -1 in the new shape of a constant.
fn constant_shape(c: &Constant, target: &[Length]) -> Option<Vec<usize>> {
    let known: Vec<i64> = target
        .iter()
        .map(|l| if let Length::Known(n) = l { Some(*n) } else { None })
        .collect::<Option<_>>()?;
    let mut shape = Vec::with_capacity(known.len());
    let mut free = None;
    for (k, n) in known.into_iter().enumerate() {
        match n {
            -1 if free.is_none() => {
                free = Some(k);
                shape.push(1);
            }
            0 => shape.push(*c.shape.get(k)?),
            n => shape.push(usize::try_from(n).ok()?),
        }
    }
    let rest = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    if let Some(k) = free {
        shape[k] = c.len().checked_div(rest)?;
    }
    Some(shape)
}

/// First position and number of positions of a slice, clamped as ONNX specifies; `None` for a step of 0.
fn span(start: i64, end: i64, step: i64, length: i64) -> Option<(i64, usize)> {
    let from_end = |v: i64| if v < 0 { v.saturating_add(length) } else { v };
    let (start, end) = (from_end(start), from_end(end));
    match step {
        0 => None,
        s if s > 0 => {
            let (start, end) = (start.clamp(0, length), end.clamp(0, length));
            let count = if end > start { (end - start - 1) / s + 1 } else { 0 };
            Some((start, count as usize))
        }
        s => {
            let (start, end) = (start.clamp(-1, length - 1), end.clamp(-1, length - 1));
            let back = s.checked_neg().unwrap_or(i64::MAX);
            let count = if start > end { (start - end - 1) / back + 1 } else { 0 };
            Some((start, count as usize))
        }
    }
}
