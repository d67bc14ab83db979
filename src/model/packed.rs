//! Weight matrices in the layout of the kernels.

use half::f16;

use super::real::Real;

/// Columns per panel: two registers of eight f32, or one of sixteen.
pub(super) const PANEL: usize = 16;

/// Inputs that are transposed together: a cache line of a row of the weights.
const LINE: usize = 16;

/// A weight matrix laid out for `y += x M`: panels of 16 columns, each in row-major order, the last padded with zeros.
#[derive(Clone, Debug, Default)]
pub struct Packed<T> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// `[panels, in, 16]`; empty if `halves` is not.
    pub(super) singles: Vec<T>,
    /// The same values as 16-bit floats.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    halves: Vec<f16>,
}

/// The values of a packed matrix, `[panels, in, 16]`.
#[cfg(target_arch = "x86_64")]
pub(super) enum Panels<'a, T> {
    /// As they are.
    Single(&'a [T]),
    /// As 16-bit floats, which have the same values.
    Half(&'a [f16]),
}

/// Whether the processor has the instructions of the products with intrinsics, `model::avx2`, which read 16-bit floats.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_wide_kernels() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_wide_kernels() -> bool {
    false
}

impl<T: Real> Packed<T> {
    /// Packs the transpose of `w [out, in]`, so that `y [n, out] = x [n, in] w^T`. For inference, matrices whose values
    /// are 16-bit floats are stored as such if the processor has instructions for them: a product of few rows takes as
    /// long as reading the weights.
    pub fn transposed(w: &[T], out: usize, inner: usize, training: bool) -> Self {
        let mut packed = Self::zeros(inner, out);
        for (w, panel) in
            w.chunks(PANEL * inner.max(1)).zip(packed.singles.chunks_exact_mut(inner.max(1) * PANEL))
        {
            let panel = panel.as_chunks_mut::<PANEL>().0;
            for (first, lines) in (0..inner).step_by(LINE).zip(panel.chunks_mut(LINE)) {
                for (j, row) in w.chunks_exact(inner).enumerate() {
                    for (line, &value) in lines.iter_mut().zip(&row[first..]) {
                        line[j] = value;
                    }
                }
            }
        }
        let halves = || packed.singles.iter().map(|value| value.exact_half()).collect();
        if !training
            && has_wide_kernels()
            && let Some(halves) = halves()
        {
            packed.halves = halves;
            packed.singles = Vec::new();
        }
        packed
    }

    /// Packs `w [in, out]`, so that `y [n, out] = x [n, in] w`.
    pub fn plain(w: &[T], inner: usize, out: usize) -> Self {
        let mut packed = Self::zeros(inner, out);
        for (p, panel) in packed.singles.chunks_exact_mut(inner.max(1) * PANEL).enumerate() {
            let columns = p * PANEL..out.min((p + 1) * PANEL);
            for (row, w) in panel.chunks_exact_mut(PANEL).zip(w.chunks_exact(out)) {
                row[..columns.len()].copy_from_slice(&w[columns.clone()]);
            }
        }
        packed
    }

    fn zeros(rows: usize, cols: usize) -> Self {
        let singles = vec![T::ZERO; cols.div_ceil(PANEL) * rows * PANEL];
        Self { rows, cols, singles, halves: Vec::new() }
    }
}

impl<T: Real> Packed<T> {
    /// Number of inputs, the length of a row of x.
    pub fn inputs(&self) -> usize {
        self.rows
    }

    /// Number of outputs, the length of a row of y.
    pub fn outputs(&self) -> usize {
        self.cols
    }

    /// The packed values, for the kernels with intrinsics.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn panels(&self) -> Panels<'_, T> {
        if self.halves.is_empty() { Panels::Single(&self.singles) } else { Panels::Half(&self.halves) }
    }
}
