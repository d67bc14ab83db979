//! Constants of a foreign graph and their folding: exporters leave transpositions, slices, concatenations,
//! casts and small arithmetic between a weight and the node that uses it.

use half::f16;

use super::node::{Node, unsupported};
use crate::error::{Error, Result, Stage};
use crate::onnx::proto::TensorProto;

/// Maximum number of axes.
pub(super) const MAX_RANK: usize = 8;

/// The elements of a constant: integers and booleans as i64, floats as f32.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Numbers {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

/// A constant tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    pub shape: Vec<usize>,
    pub numbers: Numbers,
}

/// The supported values of `TensorProto.DataType`.
mod kinds {
    pub const FLOAT: i32 = 1;
    pub const UINT8: i32 = 2;
    pub const INT8: i32 = 3;
    pub const INT32: i32 = 6;
    pub const INT64: i32 = 7;
    pub const BOOL: i32 = 9;
    pub const FLOAT16: i32 = 10;
    pub const DOUBLE: i32 = 11;
}

/// Whether a `TensorProto.DataType` is a supported float type.
pub(super) fn is_float(data_type: i64) -> bool {
    [kinds::FLOAT, kinds::FLOAT16, kinds::DOUBLE].iter().any(|&k| i64::from(k) == data_type)
}

fn wrong(problem: impl Into<String>) -> Error {
    Error::new(Stage::Model, problem)
}

impl Constant {
    /// Reads a tensor of the file.
    ///
    /// # Errors
    /// When its data are external, its type is not float16, float32, float64, int8, uint8, int32, int64 or
    /// bool, or its data do not fit its shape.
    pub fn read(tensor: &TensorProto) -> Result<Self> {
        let place = || format!("tensor {}", tensor.name);
        if tensor.data_location != 0 || !tensor.external_data.is_empty() {
            return Err(wrong(
                "its data are in another file, which is not supported for reasons of security",
            )
            .at(place())
            .hint("save the model as one file: onnx.save(onnx.load(FILE), ONE_FILE)"));
        }
        if tensor.dims.len() > MAX_RANK {
            return Err(
                wrong(format!("expected at most {MAX_RANK} axes, found {}", tensor.dims.len())).at(place())
            );
        }
        match tensor.data_type {
            kinds::FLOAT => {
                let (shape, values) = tensor.to_f32()?;
                Ok(Self { shape, numbers: Numbers::F32(values) })
            }
            kinds::INT64 => {
                let (shape, values) = tensor.to_i64()?;
                Ok(Self { shape, numbers: Numbers::I64(values) })
            }
            _ => Self::read_other(tensor).map_err(|e| e.at(place())),
        }
    }

    fn read_other(tensor: &TensorProto) -> Result<Self> {
        let shape = tensor.shape()?;
        let raw = tensor.raw_data.as_deref();
        let ints = |values: &[i32]| values.iter().map(|&v| i64::from(v)).collect::<Vec<i64>>();
        let numbers = match (tensor.data_type, raw) {
            (kinds::DOUBLE, None) => Numbers::F32(tensor.double_data.iter().map(|&v| v as f32).collect()),
            (kinds::DOUBLE, Some(raw)) => {
                Numbers::F32(raw.as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect())
            }
            (kinds::FLOAT16, None) => {
                Numbers::F32(tensor.int32_data.iter().map(|&v| f16::from_bits(v as u16).to_f32()).collect())
            }
            (kinds::FLOAT16, Some(raw)) => {
                Numbers::F32(raw.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect())
            }
            (kinds::INT32 | kinds::INT8 | kinds::UINT8 | kinds::BOOL, None) => {
                Numbers::I64(ints(&tensor.int32_data))
            }
            (kinds::INT32, Some(raw)) => Numbers::I64(
                raw.as_chunks::<4>().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(),
            ),
            (kinds::INT8, Some(raw)) => {
                Numbers::I64(raw.iter().map(|&b| i64::from(b.cast_signed())).collect())
            }
            (kinds::BOOL | kinds::UINT8, Some(raw)) => {
                Numbers::I64(raw.iter().map(|&b| i64::from(b)).collect())
            }
            (other, _) => return Err(wrong(format!("tensors of type {other} are not supported"))),
        };
        let constant = Self { shape, numbers };
        let (expected, found) = (constant.shape.iter().product::<usize>(), constant.len());
        if expected != found {
            return Err(wrong(format!("expected {expected} values for the shape, found {found}")));
        }
        Ok(constant)
    }

    /// Reads the constant of a `Constant` node.
    ///
    /// # Errors
    /// When it is not numeric or cannot be read.
    pub fn from_node(node: &Node) -> Result<Self> {
        let attribute = node.proto.attribute.first().ok_or_else(|| unsupported(node))?;
        Ok(match attribute.name.as_str() {
            "value" => match &attribute.t {
                Some(tensor) => Self::read(tensor)?,
                None => return Err(unsupported(node)),
            },
            "value_int" => {
                Self { shape: vec![], numbers: Numbers::I64(vec![attribute.i.unwrap_or_default()]) }
            }
            "value_ints" => Self::i64s(attribute.ints.clone()),
            "value_float" => {
                Self { shape: vec![], numbers: Numbers::F32(vec![attribute.f.unwrap_or_default()]) }
            }
            "value_floats" => {
                Self { shape: vec![attribute.floats.len()], numbers: Numbers::F32(attribute.floats.clone()) }
            }
            _ => return Err(unsupported(node)),
        })
    }

    /// A vector of integers.
    pub fn i64s(values: Vec<i64>) -> Self {
        Self { shape: vec![values.len()], numbers: Numbers::I64(values) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.numbers {
            Numbers::F32(v) => v.len(),
            Numbers::I64(v) => v.len(),
        }
    }

    /// The elements as f32.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.numbers {
            Numbers::F32(v) => v.clone(),
            Numbers::I64(v) => v.iter().map(|&v| v as f32).collect(),
        }
    }

    /// The elements, if they are integers.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.numbers {
            Numbers::I64(v) => Some(v),
            Numbers::F32(_) => None,
        }
    }

    /// Whether every element is zero.
    pub fn is_zero(&self) -> bool {
        match &self.numbers {
            Numbers::F32(v) => v.iter().all(|&v| v == 0.0),
            Numbers::I64(v) => v.iter().all(|&v| v == 0),
        }
    }

    /// A new constant whose element at `index` is this constant's element at offset `from(index)`.
    fn rearranged(&self, shape: Vec<usize>, from: impl Fn(&[usize]) -> usize) -> Self {
        let count: usize = shape.iter().product();
        let mut index = vec![0; shape.len()];
        let mut order = Vec::with_capacity(count);
        for _ in 0..count {
            order.push(from(&index));
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        let numbers = match &self.numbers {
            Numbers::F32(v) => Numbers::F32(order.into_iter().map(|i| v[i]).collect()),
            Numbers::I64(v) => Numbers::I64(order.into_iter().map(|i| v[i]).collect()),
        };
        Self { shape, numbers }
    }

    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.shape.len()];
        for axis in (1..self.shape.len()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        strides
    }

    /// The same elements in another shape.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self> {
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if count != Some(self.len()) || shape.len() > MAX_RANK {
            return Err(wrong(format!("{:?} cannot be reshaped to {shape:?}", self.shape)));
        }
        Ok(Self { shape, numbers: self.numbers.clone() })
    }

    /// Reorders the axes; `perm` must be a permutation of them.
    pub fn transposed(&self, perm: &[usize]) -> Self {
        let strides = self.strides();
        let shape = perm.iter().map(|&p| self.shape[p]).collect();
        self.rearranged(shape, |index| index.iter().zip(perm).map(|(i, &p)| i * strides[p]).sum())
    }

    /// Takes `count` elements of an axis, every `step`-th from `start`.
    pub fn sliced(&self, axis: usize, start: i64, step: i64, count: usize) -> Self {
        let strides = self.strides();
        let mut shape = self.shape.clone();
        shape[axis] = count;
        self.rearranged(shape, |index| {
            let at = |(k, &i): (usize, &usize)| {
                let i = if k == axis { (start + step * i as i64) as usize } else { i };
                i * strides[k]
            };
            index.iter().enumerate().map(at).sum()
        })
    }

    /// Takes elements of an axis by their positions, which must be inside it.
    pub fn gathered(&self, axis: usize, positions: &[usize]) -> Self {
        let strides = self.strides();
        let mut shape = self.shape.clone();
        shape[axis] = positions.len();
        self.rearranged(shape, |index| {
            let at = |(k, &i): (usize, &usize)| (if k == axis { positions[i] } else { i }) * strides[k];
            index.iter().enumerate().map(at).sum()
        })
    }

    /// Concatenates constants along an axis.
    pub fn concatenated(parts: &[&Constant], axis: usize) -> Result<Self> {
        let first = parts.first().ok_or_else(|| wrong("nothing to concatenate"))?;
        let differs = |part: &&&Constant| {
            part.shape.len() != first.shape.len()
                || part.shape.iter().zip(&first.shape).enumerate().any(|(k, (a, b))| k != axis && a != b)
                || matches!(part.numbers, Numbers::F32(_)) != matches!(first.numbers, Numbers::F32(_))
        };
        if axis >= first.shape.len() || parts.iter().any(|p| differs(&p)) {
            return Err(wrong("constants of different shapes or types are concatenated"));
        }
        let mut shape = first.shape.clone();
        shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        let numbers = match &first.numbers {
            Numbers::F32(_) => Numbers::F32(join(parts, outer, inner, axis, |c| match &c.numbers {
                Numbers::F32(v) => v,
                Numbers::I64(_) => &[],
            })),
            Numbers::I64(_) => Numbers::I64(join(parts, outer, inner, axis, |c| c.as_i64().unwrap_or(&[]))),
        };
        Ok(Self { shape, numbers })
    }

    /// Broadcasts to `shape`: repeats axes of length 1 and adds leading axes.
    pub fn expanded(&self, shape: &[usize]) -> Result<Self> {
        let shape = broadcast(&self.shape, shape)
            .ok_or_else(|| wrong(format!("{:?} cannot be expanded to {shape:?}", self.shape)))?;
        let (strides, lead) = (self.strides(), shape.len() - self.shape.len());
        let own = self.shape.clone();
        Ok(self.rearranged(shape, |index| {
            index[lead..].iter().enumerate().map(|(k, &i)| if own[k] == 1 { 0 } else { i * strides[k] }).sum()
        }))
    }

    /// `Add`, `Sub`, `Mul` or `Div` of two constants; `None` for another operator or on integer overflow.
    pub fn elementwise(&self, other: &Constant, op: &str) -> Option<Self> {
        let shape = broadcast(&self.shape, &other.shape)?;
        let (a, b) = (self.expanded(&shape).ok()?, other.expanded(&shape).ok()?);
        let numbers = match (&a.numbers, &b.numbers) {
            (Numbers::I64(a), Numbers::I64(b)) => {
                let f = |(&a, &b): (&i64, &i64)| match op {
                    "Add" => a.checked_add(b),
                    "Sub" => a.checked_sub(b),
                    "Mul" => a.checked_mul(b),
                    "Div" => a.checked_div(b),
                    _ => None,
                };
                Numbers::I64(a.iter().zip(b).map(f).collect::<Option<_>>()?)
            }
            (Numbers::F32(a), Numbers::F32(b)) => {
                let f = |(&a, &b): (&f32, &f32)| match op {
                    "Add" => Some(a + b),
                    "Sub" => Some(a - b),
                    "Mul" => Some(a * b),
                    "Div" => Some(a / b),
                    _ => None,
                };
                Numbers::F32(a.iter().zip(b).map(f).collect::<Option<_>>()?)
            }
            _ => return None,
        };
        Some(Self { shape, numbers })
    }

    /// The same elements as floats or as integers.
    pub fn cast(&self, float: bool) -> Self {
        let numbers = match &self.numbers {
            Numbers::F32(v) if !float => Numbers::I64(v.iter().map(|&v| v as i64).collect()),
            Numbers::I64(_) if float => Numbers::F32(self.to_f32()),
            same => same.clone(),
        };
        Self { shape: self.shape.clone(), numbers }
    }
}

fn join<'a, T: Copy + 'a>(
    parts: &[&'a Constant],
    outer: usize,
    inner: usize,
    axis: usize,
    numbers: impl Fn(&'a Constant) -> &'a [T],
) -> Vec<T> {
    let mut all = Vec::new();
    for row in 0..outer {
        for &part in parts {
            let run = part.shape[axis] * inner;
            all.extend_from_slice(&numbers(part)[row * run..(row + 1) * run]);
        }
    }
    all
}

/// The shape to which both shapes broadcast (numpy's rule); `None` if there is none.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    if rank > MAX_RANK {
        return None;
    }
    let at = |s: &[usize], k: usize| if k + s.len() >= rank { s[k + s.len() - rank] } else { 1 };
    (0..rank)
        .map(|k| match (at(a, k), at(b, k)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices_in_order(shape: &[usize]) -> Constant {
        let n = shape.iter().product::<usize>() as i64;
        Constant { shape: shape.to_vec(), numbers: Numbers::I64((0..n).collect()) }
    }

    #[test]
    fn rearranging_equals_numpy() {
        let a = indices_in_order(&[2, 3]);
        assert_eq!(a.transposed(&[1, 0]).as_i64(), Some(&[0, 3, 1, 4, 2, 5][..]));
        assert_eq!(a.sliced(1, 2, -1, 2).as_i64(), Some(&[2, 1, 5, 4][..]));
        assert_eq!(a.gathered(1, &[2, 0]).as_i64(), Some(&[2, 0, 5, 3][..]));
        let both = Constant::concatenated(&[&a, &a], 1).expect("alike");
        assert_eq!(
            (both.shape, both.numbers),
            (vec![2, 6], Numbers::I64(vec![0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]))
        );
        let row = indices_in_order(&[1, 3]).expanded(&[2, 3]).expect("fits");
        assert_eq!(row.as_i64(), Some(&[0, 1, 2, 0, 1, 2][..]));
        let sum = a.elementwise(&indices_in_order(&[3]), "Add").expect("fits");
        assert_eq!(sum.as_i64(), Some(&[0, 2, 4, 3, 5, 7][..]));
        assert!(a.elementwise(&indices_in_order(&[2]), "Add").is_none());
        assert!(Constant::i64s(vec![1]).elementwise(&Constant::i64s(vec![0]), "Div").is_none());
    }

    #[test]
    fn halves_are_read() {
        let tensor = |raw_data, int32_data| TensorProto {
            dims: vec![4],
            data_type: kinds::FLOAT16,
            raw_data,
            int32_data,
            ..Default::default()
        };
        let halves = [0x3c00, 0xc000, 0x0001, 0x3555];
        let raw: Vec<u8> = halves.iter().flat_map(|half: &u16| half.to_le_bytes()).collect();
        for tensor in [tensor(Some(raw.into()), vec![]), tensor(None, halves.map(i32::from).to_vec())] {
            let found = Constant::read(&tensor).expect("four halves").to_f32();
            assert_eq!(found, [1.0, -2.0, 5.960_464_5e-8, 0.333_251_95]);
        }
    }
}
