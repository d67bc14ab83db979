//! The layout of factors in bf16: pairs of adjacent values, as the instructions multiply them, each stored as one `u32`, the
//! first value in its lower half.

/// Columns of a panel of weights, as in `model::packed`: those of a tile of sums, or of a register.
pub(super) const PANEL: usize = 16;

/// Pairs of values in a row of an AMX tile; every row of pairs is padded with zeros to a multiple of it.
pub(super) const TILE_PAIRS: usize = 16;

/// Number of pairs in which `inner` values are stored.
pub(super) fn pairs(inner: usize) -> usize {
    inner.div_ceil(2 * TILE_PAIRS) * TILE_PAIRS
}

/// Factors of a product whose lengths match.
pub(super) struct Product<'a> {
    /// x, `[n, pairs]`.
    pub left: &'a [u32],
    /// M, `[panels, pairs, 16]`.
    pub panels: &'a [u32],
    pub pairs: usize,
    /// Columns of the result.
    pub cols: usize,
    /// Distance of its rows.
    pub stride: usize,
    /// Whether the last panel is the first.
    pub backwards: bool,
}

/// Factors of outer products, in pairs of steps; each row is padded to whole registers ([`padded`]).
pub(super) struct OuterProducts<'a> {
    /// a, `[pairs, padded(m)]`.
    pub left: &'a [u32],
    /// b, `[pairs, padded(n)]`.
    pub right: &'a [u32],
    pub pairs: usize,
    pub m: usize,
    pub n: usize,
}

/// The length of a row of `columns` pairs of steps.
pub(super) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(PANEL)
}

/// The weights of `panels [panels, in, 16]` in pairs of inputs, `[panels, pairs, 16]`.
pub(super) fn pair_panels(panels: &[u16], inner: usize) -> Vec<u32> {
    let size = pairs(inner) * PANEL;
    let mut pairs = vec![0; panels.len() / (inner * PANEL).max(1) * size];
    for (panel, pairs) in panels.chunks_exact(inner * PANEL).zip(pairs.chunks_exact_mut(size)) {
        for (rows, pairs) in panel.chunks(2 * PANEL).zip(pairs.chunks_exact_mut(PANEL)) {
            let (first, second) = rows.split_at(PANEL);
            for (j, pair) in pairs.iter_mut().enumerate() {
                *pair = u32::from(first[j]) | u32::from(second.get(j).copied().unwrap_or(0)) << 16;
            }
        }
    }
    pairs
}
