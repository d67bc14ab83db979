//! The messages of ONNX's protobuf schema (`onnx/onnx.proto` in onnx/onnx) that hearken reads and writes,
//! written by hand with the schema's field numbers. Parts that hearken does not always read (subgraphs,
//! functions, sparse tensors) are kept as bytes, so nesting is shallow.

// The fields have the names and meanings of `onnx/onnx.proto`, which documents them.
#![allow(missing_docs)]

use prost::Message;
use prost::bytes::Bytes;

use crate::error::{Error, Result, Stage};

/// Maximum size of a file in bytes, the limit of protobuf itself.
pub const MAX_FILE_BYTES: u64 = i32::MAX as u64;

/// `TensorProto.DataType.FLOAT`.
pub const FLOAT: i32 = 1;
/// `TensorProto.DataType.INT8`.
pub const INT8: i32 = 3;
/// `TensorProto.DataType.INT64`.
pub const INT64: i32 = 7;
/// `TensorProto.DataType.FLOAT16`.
pub const FLOAT16: i32 = 10;
/// `TensorProto.DataType.DOUBLE`.
pub const DOUBLE: i32 = 11;

/// A file: a graph, the operator sets that it uses, and metadata.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    #[prost(int64, optional, tag = "1")]
    pub ir_version: Option<i64>,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(string, tag = "4")]
    pub domain: String,
    #[prost(int64, tag = "5")]
    pub model_version: i64,
    #[prost(string, tag = "6")]
    pub doc_string: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
    #[prost(bytes = "bytes", repeated, tag = "20")]
    pub training_info: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "25")]
    pub functions: Vec<Bytes>,
}

/// An operator set; the empty domain is ONNX's standard one.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

/// A metadata entry.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntryProto {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Nodes in topological order, and the constants that they use.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(string, tag = "10")]
    pub doc_string: String,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
    #[prost(bytes = "bytes", repeated, tag = "14")]
    pub quantization_annotation: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "15")]
    pub sparse_initializer: Vec<Bytes>,
}

/// One operation; an omitted optional input is an empty name.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    #[prost(string, tag = "6")]
    pub doc_string: String,
    #[prost(string, tag = "7")]
    pub domain: String,
    #[prost(string, tag = "8")]
    pub overload: String,
}

/// A named constant of a node.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub s: Option<Bytes>,
    #[prost(message, optional, boxed, tag = "5")]
    pub t: Option<Box<TensorProto>>,
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub g: Option<Bytes>,
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub strings: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub graphs: Vec<Bytes>,
    #[prost(string, tag = "13")]
    pub doc_string: String,
    /// `AttributeProto.AttributeType`: FLOAT 1, INT 2, STRING 3, TENSOR 4, GRAPH 5, FLOATS 6,
    /// INTS 7, STRINGS 8.
    #[prost(int32, tag = "20")]
    pub r#type: i32,
    #[prost(string, tag = "21")]
    pub ref_attr_name: String,
}

/// A constant; its elements are either in `raw_data` (little-endian) or in the typed field.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub segment: Option<Bytes>,
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw_data: Option<Bytes>,
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    #[prost(string, tag = "12")]
    pub doc_string: String,
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// 0: the data are in this file; 1: in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// Name and type of an input or output.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
    #[prost(string, tag = "3")]
    pub doc_string: String,
}

/// A type; only tensor types are read.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// Element type and, if known, shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// The axes of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// The length of an axis: a number, a symbol, or unknown.
#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

/// Decodes a file. The memory needed is bounded by a small multiple of the file's size, whatever the file
/// declares.
///
/// # Errors
/// When the bytes are not protobuf, are truncated, or contain no graph.
pub fn decode(bytes: &[u8]) -> Result<ModelProto> {
    decode_shared(Bytes::copy_from_slice(bytes))
}

/// As [`decode`], without copying the tensors' data.
///
/// # Errors
/// As [`decode`].
pub fn decode_shared(bytes: Bytes) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(Error::new(Stage::Model, "expected an ONNX model, found an empty file"));
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Error::new(
            Stage::Model,
            format!("expected at most {MAX_FILE_BYTES} bytes, found {}", bytes.len()),
        ));
    }
    let mut budget = Budget { bytes: 32 * bytes.len() + 65_536 };
    walk(Kind::Model, &bytes, 0, &mut budget)?;
    let model = ModelProto::decode(bytes).map_err(|_| {
        Error::new(Stage::Model, "not an ONNX model: a field is of another type than in ONNX")
    })?;
    if model.graph.is_none() {
        return Err(Error::new(Stage::Model, "not an ONNX model: there is no graph in it"));
    }
    Ok(model)
}

/// Decodes a subgraph (the body of `If`, `Loop` or `Scan`) within the same bounds as [`decode`].
///
/// # Errors
/// When the bytes are not protobuf or are truncated.
pub fn decode_graph(bytes: &Bytes) -> Result<GraphProto> {
    let mut budget = Budget { bytes: 32 * bytes.len() + 65_536 };
    walk(Kind::Graph, bytes, 0, &mut budget)?;
    let problem = "not an ONNX graph: a field is of another type than in ONNX";
    GraphProto::decode(bytes.clone()).map_err(|_| Error::new(Stage::Model, problem))
}

/// The messages whose fields [`walk`] examines.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Opset,
    Entry,
    Graph,
    Node,
    Attribute,
    Tensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Dimension,
}

impl Kind {
    /// The kind of message in a field; `None` for fields that are not examined.
    fn child(self, field: u64) -> Option<Kind> {
        match (self, field) {
            (Kind::Model, 7) => Some(Kind::Graph),
            (Kind::Model, 8) => Some(Kind::Opset),
            (Kind::Model, 14) | (Kind::Tensor, 13) => Some(Kind::Entry),
            (Kind::Graph, 1) => Some(Kind::Node),
            (Kind::Graph, 5) | (Kind::Attribute, 5) => Some(Kind::Tensor),
            (Kind::Graph, 11..=13) => Some(Kind::ValueInfo),
            (Kind::Node, 5) => Some(Kind::Attribute),
            (Kind::ValueInfo, 2) => Some(Kind::Type),
            (Kind::Type, 1) => Some(Kind::TensorType),
            (Kind::TensorType, 2) => Some(Kind::Shape),
            (Kind::Shape, 1) => Some(Kind::Dimension),
            _ => None,
        }
    }

    /// Size of the decoded message in bytes, without the heap memory of its fields.
    fn size(self) -> usize {
        match self {
            Kind::Model => size_of::<ModelProto>(),
            Kind::Opset => size_of::<OperatorSetIdProto>(),
            Kind::Entry => size_of::<StringStringEntryProto>(),
            Kind::Graph => size_of::<GraphProto>(),
            Kind::Node => size_of::<NodeProto>(),
            Kind::Attribute => size_of::<AttributeProto>(),
            Kind::Tensor => size_of::<TensorProto>(),
            Kind::ValueInfo => size_of::<ValueInfoProto>(),
            Kind::Type => size_of::<TypeProto>(),
            Kind::TensorType => size_of::<TensorTypeProto>(),
            Kind::Shape => size_of::<TensorShapeProto>(),
            Kind::Dimension => size_of::<DimensionProto>(),
        }
    }
}

/// Memory that decoding may still allocate.
struct Budget {
    bytes: usize,
}

/// Checks the wire format without decoding it: every length must lie inside its message, and the decoded
/// messages must fit into `budget` (an empty message takes two bytes in a file and hundreds in memory).
/// `start` is the position of `bytes` in the file, for errors.
fn walk(kind: Kind, bytes: &[u8], start: usize, budget: &mut Budget) -> Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        let place = start + at;
        let key = varint(bytes, &mut at).ok_or_else(|| broken(place, "a broken field number"))?;
        let length = match key & 7 {
            0 => {
                varint(bytes, &mut at).ok_or_else(|| broken(place, "a broken number"))?;
                0
            }
            1 => 8,
            2 => varint(bytes, &mut at).ok_or_else(|| broken(place, "a broken length"))?,
            5 => 4,
            _ => return Err(broken(place, "a field of a kind that ONNX does not have")),
        };
        let rest = bytes.len() - at;
        let length = usize::try_from(length).ok().filter(|&n| n <= rest).ok_or_else(|| {
            broken(place, &format!("a field of {length} bytes where {rest} are left: the file is truncated"))
        })?;
        if key & 7 == 2 {
            let child = kind.child(key >> 3);
            let size = child.map_or(size_of::<String>(), Kind::size);
            budget.bytes = budget
                .bytes
                .checked_sub(size)
                .ok_or_else(|| broken(place, "far more messages than the file's size allows"))?;
            if let Some(child) = child {
                walk(child, &bytes[at..at + length], start + at, budget)?;
            }
        }
        at += length;
    }
    Ok(())
}

fn broken(place: usize, found: &str) -> Error {
    Error::new(Stage::Model, format!("not an ONNX model: found {found}"))
        .at(format!("byte {place}"))
        .hint("the file is of another kind, or damaged")
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl TensorProto {
    /// The shape, checked to have no negative axis and no overflow in the number of elements. The data are
    /// not checked.
    ///
    /// # Errors
    /// Names the tensor and the axes.
    pub fn shape(&self) -> Result<Vec<usize>> {
        let bad = || {
            self.error(format!(
                "expected lengths of at least 0 whose product does not overflow, found {:?}",
                self.dims
            ))
        };
        let shape: Vec<usize> = self
            .dims
            .iter()
            .map(|&d| usize::try_from(d))
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| bad())?;
        shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(bad)?;
        Ok(shape)
    }

    /// Shape and values, row-major, of a tensor of f32.
    ///
    /// # Errors
    /// When the type is another one, the data are external, or their number does not fit the shape.
    pub fn to_f32(&self) -> Result<(Vec<usize>, Vec<f32>)> {
        let shape = self.checked_shape(FLOAT, "float32")?;
        let values: Vec<f32> = match &self.raw_data {
            Some(raw) => {
                self.check_length(&shape, raw.len() / 4 + usize::from(raw.len() % 4 != 0))?;
                if raw.len() % 4 != 0 {
                    return Err(
                        self.error(format!("expected whole float32 values, found {} bytes", raw.len()))
                    );
                }
                raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            None => {
                self.check_length(&shape, self.float_data.len())?;
                self.float_data.clone()
            }
        };
        Ok((shape, values))
    }

    /// The values of a tensor of 16-bit floats, row-major.
    ///
    /// # Errors
    /// As [`TensorProto::to_f32`]; also if the data are not in `raw_data`, where hearken writes them.
    pub fn to_f16(&self) -> Result<Vec<f32>> {
        let shape = self.checked_shape(FLOAT16, "float16")?;
        let raw = self.raw_data.as_deref().unwrap_or_default();
        self.check_length(&shape, raw.len() / 2 + raw.len() % 2)?;
        let (values, _) = raw.as_chunks::<2>();
        Ok(values.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect())
    }

    /// Shape and values, row-major, of a tensor of i64.
    ///
    /// # Errors
    /// As [`TensorProto::to_f32`].
    pub fn to_i64(&self) -> Result<(Vec<usize>, Vec<i64>)> {
        let shape = self.checked_shape(INT64, "int64")?;
        let values: Vec<i64> = match &self.raw_data {
            Some(raw) => {
                self.check_length(&shape, raw.len() / 8 + usize::from(raw.len() % 8 != 0))?;
                if raw.len() % 8 != 0 {
                    return Err(self.error(format!("expected whole int64 values, found {} bytes", raw.len())));
                }
                raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
            }
            None => {
                self.check_length(&shape, self.int64_data.len())?;
                self.int64_data.clone()
            }
        };
        Ok((shape, values))
    }

    fn checked_shape(&self, data_type: i32, name: &str) -> Result<Vec<usize>> {
        if self.data_location != 0 || !self.external_data.is_empty() {
            return Err(self.error("its data are outside the file, which is not supported".into()));
        }
        if self.segment.is_some() {
            return Err(self.error("its data are in segments, which is not supported".into()));
        }
        if self.data_type != data_type {
            return Err(
                self.error(format!("expected {name} (type {data_type}), found type {}", self.data_type))
            );
        }
        self.shape()
    }

    fn check_length(&self, shape: &[usize], found: usize) -> Result<()> {
        let expected: usize = shape.iter().product();
        if expected == found {
            return Ok(());
        }
        Err(self.error(format!("expected {expected} values for the shape {shape:?}, found {found}")))
    }

    fn error(&self, problem: String) -> Error {
        Error::new(Stage::Model, problem).at(format!("tensor {}", self.name))
    }
}

impl ValueInfoProto {
    /// Element type and axes; `None` if it is not a tensor or its rank is unknown.
    pub fn tensor(&self) -> Option<(i32, &[DimensionProto])> {
        let tensor = self.r#type.as_ref()?.tensor_type.as_ref()?;
        Some((tensor.elem_type, &tensor.shape.as_ref()?.dim))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dims: &[i64], bytes: usize) -> TensorProto {
        TensorProto {
            name: "w".into(),
            dims: dims.to_vec(),
            data_type: FLOAT,
            raw_data: Some(Bytes::from(vec![0; bytes])),
            ..Default::default()
        }
    }

    #[test]
    fn a_tensors_data_must_fit_its_shape() {
        assert_eq!(tensor(&[2, 3], 24).to_f32().expect("fits").0, [2, 3]);
        for bad in [
            tensor(&[1 << 40, 1 << 40], 4),
            tensor(&[1 << 40], 4),
            tensor(&[-1], 4),
            tensor(&[2], 7),
            tensor(&[2], 4),
        ] {
            let error = bad.to_f32().expect_err("the shape does not fit").to_string();
            assert!(error.contains("tensor w"), "{error}");
        }
        let outside = TensorProto { data_location: 1, ..tensor(&[1], 4) };
        assert!(outside.to_f32().expect_err("external data").to_string().contains("outside the file"));
    }

    #[test]
    fn a_flood_of_empty_messages_is_refused() {
        // Field 1 (node) of the graph, empty, half a million times: two bytes each.
        let nodes = [0x0a, 0x00].repeat(500_000);
        let mut bytes = vec![0x3a];
        prost::encoding::encode_varint(nodes.len() as u64, &mut bytes);
        bytes.extend(nodes);
        let error = decode(&bytes).expect_err("a flood").to_string();
        assert!(error.contains("far more messages"), "{error}");
    }

    #[test]
    fn other_files_are_refused() {
        assert!(decode(b"").is_err());
        assert!(decode(b"RIFF....WAVEfmt ").is_err());
        let model =
            ModelProto { graph: Some(GraphProto::default()), ir_version: Some(8), ..Default::default() };
        let bytes = model.encode_to_vec();
        assert_eq!(decode(&bytes).expect("a model"), model);
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
    }
}
