//! The nodes of each cell. For one that is a single node: its operator, its attributes, how a node is recognized as that
//! cell, and how its state is held at zero.

use super::attention::ATTENTION;
use super::block::Block;
use super::body::SATURATED;
use super::conv::CONV;
use crate::model::CellKind;
use crate::onnx::build::graph::{int, strings};
use crate::onnx::build::lstmp::LSTMP;
use crate::onnx::build::mingru::MINGRU;
use crate::onnx::build::rglru::RGLRU;
use crate::onnx::build::tdnnf::TDNNF;
use crate::onnx::proto::AttributeProto;

/// How an exported graph holds a zero state at zero during the steps before a stream's first sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::onnx) enum Hold {
    /// By values added to the sums of the gates, one for each gate.
    Gates(&'static [f32]),
    /// By an input of zero and by subtracting the biases.
    Input,
}

/// The attribute that distinguishes cells with the same operator.
#[derive(Clone, Copy, Debug)]
enum Variant {
    /// None: only one cell uses the operator.
    Unique,
    /// The attribute `activations`.
    Activations,
    /// The attribute `linear_before_reset`, with its value.
    LinearBeforeReset(bool),
}

/// The ONNX operator of a cell.
#[derive(Debug)]
pub(in crate::onnx) struct CellOperator {
    kind: CellKind,
    pub op_type: &'static str,
    activations: &'static [&'static str],
    variant: Variant,
    pub hold: Hold,
}

impl CellOperator {
    /// The attributes of a layer of width `hidden`.
    pub fn attributes(&self, hidden: usize) -> Vec<AttributeProto> {
        let mut attributes = vec![int("hidden_size", hidden as i64)];
        match self.variant {
            Variant::Unique => {}
            Variant::Activations => attributes.push(strings("activations", self.activations)),
            Variant::LinearBeforeReset(is) => attributes.push(int("linear_before_reset", is.into())),
        }
        attributes
    }
}

const fn row(
    kind: CellKind,
    op_type: &'static str,
    activations: &'static [&'static str],
    variant: Variant,
    hold: Hold,
) -> CellOperator {
    CellOperator { kind, op_type, activations, variant, hold }
}

const RESET_AFTER: Variant = Variant::LinearBeforeReset(true);
const RESET_BEFORE: Variant = Variant::LinearBeforeReset(false);
/// z is 1, so s_t = s_(t-1).
const OPEN_UPDATE: Hold = Hold::Gates(&[SATURATED, 0.0, 0.0]);
/// i and o are 0, f is 1, so c_t = c_(t-1) and s_t = 0.
const KEPT_CELL: Hold = Hold::Gates(&[-SATURATED, -SATURATED, SATURATED, 0.0]);

/// The table of cells with an operator, in the order of [`CellKind`]. Where several rows have the same operator, the first
/// is the default for a node without `activations`.
const CELLS: [CellOperator; 5] = [
    row(CellKind::RnnTanh, "RNN", &["Tanh"], Variant::Activations, Hold::Input),
    row(CellKind::RnnRelu, "RNN", &["Relu"], Variant::Activations, Hold::Input),
    row(CellKind::Gru, "GRU", &["Sigmoid", "Tanh"], RESET_AFTER, OPEN_UPDATE),
    row(CellKind::GruResetBefore, "GRU", &["Sigmoid", "Tanh"], RESET_BEFORE, OPEN_UPDATE),
    row(CellKind::Lstm, "LSTM", &["Sigmoid", "Tanh", "Tanh"], Variant::Unique, KEPT_CELL),
];

/// The nodes of a cell.
pub(in crate::onnx) enum CellNodes {
    /// One node with an operator, and a few around it.
    Operator(&'static CellOperator),
    /// Many nodes.
    Block(&'static Block),
}

impl CellNodes {
    /// Whether it is an operator of ONNX, whose parameters and outputs have an axis of directions.
    pub fn is_operator(&self) -> bool {
        matches!(self, Self::Operator(_))
    }
}

/// The nodes of a cell: the operator of the table above, or the block of this one.
pub(in crate::onnx) fn nodes(kind: CellKind) -> CellNodes {
    match kind {
        CellKind::MinGru => CellNodes::Block(&MINGRU),
        CellKind::RgLru => CellNodes::Block(&RGLRU),
        CellKind::Conv => CellNodes::Block(&CONV),
        CellKind::Attention => CellNodes::Block(&ATTENTION),
        CellKind::Tdnnf => CellNodes::Block(&TDNNF),
        CellKind::Lstmp => CellNodes::Block(&LSTMP),
        _ => CellNodes::Operator(&CELLS[kind as usize]),
    }
}

/// The block that layer `i` of a graph is if it has a node called `node`.
pub(in crate::onnx) fn block_of(i: usize, node: &str) -> Option<(CellKind, &'static Block)> {
    CellKind::ALL.into_iter().find_map(|kind| match nodes(kind) {
        CellNodes::Block(block) if node == format!("layers.{i}.{}", kind.family()) => Some((kind, block)),
        _ => None,
    })
}

/// The cell that a node with this operator and these attributes computes; `None` for another operator, or
/// for activations that no cell has.
pub(in crate::onnx) fn cell_of(op_type: &str, attributes: &[AttributeProto]) -> Option<CellKind> {
    let attribute = |name: &str| attributes.iter().find(|a| a.name == name);
    let activations = attribute("activations").map_or(&[][..], |a| &a.strings);
    let after = attribute("linear_before_reset").and_then(|a| a.i).unwrap_or(0) != 0;
    let is = |cell: &&CellOperator| {
        let names = activations.iter().map(|name| name.as_ref());
        cell.op_type == op_type
            && (activations.is_empty() || names.eq(cell.activations.iter().map(|name| name.as_bytes())))
            && !matches!(cell.variant, Variant::LinearBeforeReset(is) if is != after)
    };
    CELLS.iter().find(is).map(|cell| cell.kind)
}

/// The kind of the block that has a node with this name; `None` for other names.
pub(in crate::onnx) fn block_kind(node: &str) -> Option<CellKind> {
    let (layer, _) = node.strip_prefix("layers.")?.split_once('.')?;
    block_of(layer.parse().ok()?, node).map(|(kind, _)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_is_recognized_from_its_own_attributes() {
        for (i, cell) in CELLS.iter().enumerate() {
            assert_eq!(cell.kind as usize, i, "the table's order");
            assert!(matches!(nodes(cell.kind), CellNodes::Operator(found) if found.kind == cell.kind));
            assert_eq!(cell_of(cell.op_type, &cell.attributes(4)), Some(cell.kind));
        }
        assert_eq!(cell_of("RNN", &[]), Some(CellKind::RnnTanh));
        assert_eq!(cell_of("GRU", &[]), Some(CellKind::GruResetBefore));
        assert_eq!(cell_of("LSTM", &[strings("activations", &["Relu", "Tanh", "Tanh"])]), None);
        assert_eq!(cell_of("Gemm", &[]), None);
    }

    #[test]
    fn blocks_are_recognized_by_the_name_of_a_node() {
        assert_eq!(block_of(3, "layers.3.conv").map(|(kind, _)| kind), Some(CellKind::Conv));
        assert_eq!(block_kind("layers.3.conv"), Some(CellKind::Conv));
        assert_eq!(block_kind("layers.3.conv.gate"), None);
        assert!(block_of(2, "layers.3.conv").is_none());
        assert_eq!(block_kind("layers.0.mingru"), Some(CellKind::MinGru));
        assert!(block_of(3, "layers.3.gru").is_none());
    }
}
