//! Access to a node's attributes and inputs.

use crate::error::{Error, Result, Stage};
use crate::onnx::proto::{AttributeProto, NodeProto};

/// A node of the graph and its position.
pub(super) struct Node<'a> {
    pub proto: &'a NodeProto,
    index: usize,
}

impl<'a> Node<'a> {
    pub fn new(proto: &'a NodeProto, index: usize) -> Self {
        Self { proto, index }
    }

    /// The node's place for error messages: `node GRU_0 (GRU)`, or its number if it has no name.
    pub fn place(&self) -> String {
        match self.proto.name.as_str() {
            "" => format!("node {} ({})", self.index, self.proto.op_type),
            name => format!("node {name} ({})", self.proto.op_type),
        }
    }

    /// An error at this node.
    pub fn error(&self, problem: impl Into<String>) -> Error {
        Error::new(Stage::Model, problem).at(self.place())
    }

    pub fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name).and_then(|a| a.i)
    }

    /// A float attribute.
    pub fn float(&self, name: &str) -> Option<f32> {
        self.attribute(name).and_then(|a| a.f)
    }

    /// An attribute holding a list of integers.
    pub fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// Whether an optional input is present.
    pub fn has(&self, input: usize) -> bool {
        self.proto.input.get(input).is_some_and(|n| !n.is_empty())
    }

    /// Resolves an axis, which counts from the end if negative.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let rank_i = rank as i64;
        let resolved = if axis < 0 { axis.checked_add(rank_i).unwrap_or(-1) } else { axis };
        if (0..rank_i).contains(&resolved) {
            return Ok(resolved as usize);
        }
        Err(self.error(format!("expected an axis from -{rank} to {rank} - 1, found {axis}")))
    }
}

/// The error for an operator, or a combination of operator and inputs, that the importer does not support.
pub(super) fn unsupported(node: &Node) -> Error {
    let op = &node.proto.op_type;
    node.error(format!("the operator {op} does not fit a stacked recurrent network here"))
        .hint("the engines tract and ort may still run the graph without importing it")
}
