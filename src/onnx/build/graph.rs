//! A builder of ONNX graphs.

use prost::Message;
use prost::bytes::Bytes;

use crate::onnx::proto::{
    AttributeProto, DimensionProto, FLOAT, FLOAT16, GraphProto, INT8, INT64, NodeProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// The length of an axis in the declared shape of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// A constant length.
    Fixed(usize),
    /// A symbolic length: any value, the same wherever the symbol occurs.
    Symbol(String),
}

impl Dim {
    /// A symbolic length.
    pub fn symbol(name: &str) -> Self {
        Dim::Symbol(name.into())
    }
}

impl From<usize> for Dim {
    fn from(length: usize) -> Self {
        Dim::Fixed(length)
    }
}

/// A graph under construction.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: GraphProto,
}

impl GraphBuilder {
    /// An empty graph called `name`.
    pub fn new(name: &str) -> Self {
        Self { graph: GraphProto { name: name.into(), ..Default::default() } }
    }

    /// Adds a constant tensor of f32, row-major.
    pub fn f32s(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, FLOAT, shape, raw);
    }

    /// Adds a constant tensor of i64, row-major.
    pub fn i64s(&mut self, name: &str, shape: &[usize], data: &[i64]) {
        let raw = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, INT64, shape, raw);
    }

    /// Adds a constant tensor of f16, row-major; `bits` are the IEEE 754 bit patterns.
    pub fn f16s(&mut self, name: &str, shape: &[usize], bits: &[u16]) {
        let raw = bits.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, FLOAT16, shape, raw);
    }

    /// Adds a constant tensor of i8, row-major.
    pub fn i8s(&mut self, name: &str, shape: &[usize], data: &[i8]) {
        self.tensor(name, INT8, shape, data.iter().map(|&v| v as u8).collect());
    }

    /// Adds a scalar constant of f32 (a tensor without axes).
    pub fn scalar(&mut self, name: &str, value: f32) {
        self.f32s(name, &[], &[value]);
    }

    fn tensor(&mut self, name: &str, data_type: i32, shape: &[usize], raw: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            name: name.into(),
            data_type,
            dims: shape.iter().map(|&d| d as i64).collect(),
            raw_data: Some(Bytes::from(raw)),
            ..Default::default()
        });
    }

    /// Declares an input of f32 whose shape is not declared, as in a body.
    pub fn input_of_any_shape(&mut self, name: &str) {
        self.graph.input.push(f32_of_any_shape(name));
    }

    /// Declares an output of f32 whose shape is not declared, as in a body.
    pub fn output_of_any_shape(&mut self, name: &str) {
        self.graph.output.push(f32_of_any_shape(name));
    }

    /// Declares an input of f32.
    pub fn input(&mut self, name: &str, shape: &[Dim]) {
        self.graph.input.push(value_info(name, FLOAT, shape));
    }

    /// Declares an input of i64.
    pub fn input_i64(&mut self, name: &str, shape: &[Dim]) {
        self.graph.input.push(value_info(name, INT64, shape));
    }

    /// Declares an output of f32.
    pub fn output(&mut self, name: &str, shape: &[Dim]) {
        self.graph.output.push(value_info(name, FLOAT, shape));
    }

    /// Declares an output of i64.
    pub fn output_i64(&mut self, name: &str, shape: &[Dim]) {
        self.graph.output.push(value_info(name, INT64, shape));
    }

    /// Adds a node. Nodes must be added in topological order.
    pub fn node(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) {
        self.graph.node.push(NodeProto {
            op_type: op_type.into(),
            name: name.into(),
            input: inputs.iter().map(|&s| s.into()).collect(),
            output: outputs.iter().map(|&s| s.into()).collect(),
            attribute: attributes,
            ..Default::default()
        });
    }

    /// Adds a node with one output, which has the node's name, and returns that name.
    pub fn chain(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.node(op_type, name, inputs, &[name], attributes);
        name.into()
    }

    /// Whether a node called `name` has been added.
    pub fn has_node(&self, name: &str) -> bool {
        self.graph.node.iter().any(|n| n.name == name)
    }

    /// Whether a constant called `name` has been added.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.graph.initializer.iter().any(|t| t.name == name)
    }

    /// The finished graph.
    pub fn finish(self) -> GraphProto {
        self.graph
    }
}

fn value_info(name: &str, elem_type: i32, shape: &[Dim]) -> ValueInfoProto {
    let dim = shape
        .iter()
        .map(|d| match d {
            Dim::Fixed(n) => DimensionProto { dim_value: Some(*n as i64), dim_param: None },
            Dim::Symbol(s) => DimensionProto { dim_value: None, dim_param: Some(s.clone()) },
        })
        .collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { tensor_type: Some(tensor) }),
        ..Default::default()
    }
}

fn f32_of_any_shape(name: &str) -> ValueInfoProto {
    let tensor = TensorTypeProto { elem_type: FLOAT, shape: None };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { tensor_type: Some(tensor) }),
        ..Default::default()
    }
}

/// An attribute holding a graph, such as the body of a `Scan`.
pub fn graph(name: &str, graph: GraphProto) -> AttributeProto {
    let encoded = Bytes::from(graph.encode_to_vec());
    AttributeProto { name: name.into(), g: Some(encoded), r#type: 5, ..Default::default() }
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(value), r#type: 2, ..Default::default() }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f: Some(value), r#type: 1, ..Default::default() }
}

/// An attribute holding a list of integers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: values.to_vec(), r#type: 7, ..Default::default() }
}

/// An attribute holding a list of strings.
pub fn strings(name: &str, values: &[&str]) -> AttributeProto {
    let strings = values.iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect();
    AttributeProto { name: name.into(), strings, r#type: 8, ..Default::default() }
}
