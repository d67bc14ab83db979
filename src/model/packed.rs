//! Weight matrices in the layout of the kernels.

use super::real::Real;

/// Columns per panel: two registers of eight f32, or one of sixteen.
pub(super) const PANEL: usize = 16;

/// A weight matrix laid out for `y += x M`: panels of 16 columns, each in row-major order, the last padded with zeros.
#[derive(Clone, Debug, Default)]
pub struct Packed<T> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) panels: Vec<T>,
}

impl<T: Real> Packed<T> {
    /// Packs the transpose of `w [out, in]`, so that `y [n, out] = x [n, in] w^T`.
    pub fn transposed(w: &[T], out: usize, inner: usize) -> Self {
        let mut packed = Self::default();
        packed.pack(out, inner, |k, j| w[j * inner + k]);
        packed
    }

    /// Packs `w [in, out]`, so that `y [n, out] = x [n, in] w`.
    pub fn plain(w: &[T], inner: usize, out: usize) -> Self {
        let mut packed = Self::default();
        packed.pack(out, inner, |k, j| w[k * out + j]);
        packed
    }

    fn pack(&mut self, cols: usize, rows: usize, at: impl Fn(usize, usize) -> T) {
        (self.rows, self.cols) = (rows, cols);
        let panels = cols.div_ceil(PANEL);
        self.panels.clear();
        self.panels.resize(panels * rows * PANEL, T::ZERO);
        for (p, panel) in self.panels.chunks_exact_mut(rows.max(1) * PANEL).enumerate() {
            for (k, row) in panel.chunks_exact_mut(PANEL).enumerate() {
                for (j, value) in row.iter_mut().enumerate().take(cols - p * PANEL) {
                    *value = at(k, p * PANEL + j);
                }
            }
        }
    }

    /// Number of inputs, the length of a row of x.
    pub fn inputs(&self) -> usize {
        self.rows
    }

    /// Number of outputs, the length of a row of y.
    pub fn outputs(&self) -> usize {
        self.cols
    }

    /// The packed values, `[panels, in, 16]`, for `model::wide`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn panels(&self) -> &[T] {
        &self.panels
    }
}
